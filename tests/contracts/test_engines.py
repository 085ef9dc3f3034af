"""What both engines promise of `Reconstruct` (`core.scoring.reconstruction`), bit for bit."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.engines.backend import has_gpu, import_keras
from stream_detector.engines.keras import (
    AutoencoderParts,
    _in_fixed_batches,
    load_keras,
    load_parts,
)
from stream_detector.engines.onnx import load_onnx
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.networks import build_network
from stream_detector.networks.export import export_keras, export_onnx
from stream_detector.recipes import NetworkSection
from stream_detector.recipes.networks import (
    AdversarialNetwork,
    ConvNetwork,
    DenseNetwork,
    LstmNetwork,
    PcaNetwork,
    VariationalNetwork,
)

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NETWORKS: dict[str, tuple[tuple[int, ...], NetworkSection]] = {
    "dense": ((140, 1), DenseNetwork(kind="dense", units=(32, 16, 8), output_activation="sigmoid")),
    "conv": ((37, 2), ConvNetwork(kind="conv", filters=(8, 4), kernel_size=5)),
    "conv-pooling": (
        (140, 1),
        ConvNetwork(kind="conv", filters=(8, 4, 2), downsampling="pooling"),
    ),
    "image-conv": (
        (28, 28),
        ConvNetwork(kind="image-conv", filters=(16, 8), output_activation="sigmoid"),
    ),
    "image-conv-pooling": (
        (9, 33, 3),
        ConvNetwork(kind="image-conv", filters=(4, 4), downsampling="pooling"),
    ),
    "lstm": ((30, 2), LstmNetwork(kind="lstm", units=(16, 8, 4))),
    "pca": ((30, 2), PcaNetwork(kind="pca", components=8)),
    "vae": ((140, 1), VariationalNetwork(kind="vae", units=(32, 8))),
    "adversarial": (
        (140, 1),
        AdversarialNetwork(kind="adversarial", units=(32, 8), discriminator_units=(8,)),
    ),
}
LOADERS = {"onnx": load_onnx, "keras": load_keras}

only_dense = pytest.mark.parametrize("kind", ["dense"], indirect=True)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shape(kind: str) -> tuple[int, int]:
    """Return the shape of a window."""
    n_steps, n_features, *_ = NETWORKS[kind][0]
    return n_steps, n_features


@pytest.fixture(scope="module")
def networks(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one untrained network as both engines read it; return the folder."""
    folder = tmp_path_factory.mktemp("networks")
    import_keras().utils.set_random_seed(3)
    model = build(kind)
    (folder / "network.keras").write_bytes(export_keras(model))
    (folder / "network.onnx").write_bytes(export_onnx(model))
    return folder


@pytest.fixture(scope="module", params=sorted(LOADERS))
def reconstruct(
    request: pytest.FixtureRequest, networks: Path, shape: tuple[int, int]
) -> Reconstruct:
    return LOADERS[request.param](networks / f"network.{request.param}", *shape)


@pytest.fixture(scope="module")
def windows(shape: tuple[int, int]) -> FloatArray:
    rng = np.random.default_rng(11)
    return rng.normal(0.5, 2.0, (2 * 2049, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def alone(reconstruct: Reconstruct, windows: FloatArray) -> FloatArray:
    """Return the first windows' reconstructions, each in a batch of its own."""
    return np.concatenate([reconstruct(windows[row : row + 1]) for row in range(512)])


def build(kind: str) -> Any:
    shape, section = NETWORKS[kind]
    return build_network(section, *shape)


def test_same_shape_and_type_and_the_input_is_left_alone(
    reconstruct: Reconstruct, windows: FloatArray
) -> None:
    before = windows[:7].copy()
    result = reconstruct(windows[:7])
    assert (result.shape, result.dtype) == (before.shape, np.dtype(np.float32))
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, windows)
    np.testing.assert_array_equal(windows[:7], before)


@pytest.mark.parametrize("n_windows", [1, 2, 3, 5, 17, 63, 64, 65, 500, 2048, 2049])
def test_window_does_not_depend_on_its_batch(
    reconstruct: Reconstruct, windows: FloatArray, alone: FloatArray, n_windows: int
) -> None:
    for start in (0, 1, 7, 130, 511):
        batch = np.ascontiguousarray(windows[start : start + n_windows])
        known = alone[start : start + n_windows]
        np.testing.assert_array_equal(reconstruct(batch)[: len(known)], known)


@pytest.mark.parametrize("n_windows", [2, 64, 500, 2049])
def test_window_does_not_depend_on_its_place_in_the_batch(
    reconstruct: Reconstruct, windows: FloatArray, alone: FloatArray, n_windows: int
) -> None:
    for place in (0, 1, n_windows // 2, n_windows - 1):
        batch = windows[-n_windows:].copy()
        batch[place] = windows[5]
        np.testing.assert_array_equal(reconstruct(batch)[place], alone[5])


@pytest.mark.parametrize("n_windows", [56, 57, 120, 128, 504, 512, 2040, 2041])
def test_a_window_is_the_same_at_each_place_of_a_batch(
    reconstruct: Reconstruct, windows: FloatArray, alone: FloatArray, n_windows: int
) -> None:
    found = reconstruct(np.repeat(windows[5:6], n_windows, axis=0))
    assert np.flatnonzero((found != alone[5]).any(axis=(1, 2))).tolist() == []


def test_large_neighbours_change_nothing(
    reconstruct: Reconstruct, windows: FloatArray, alone: FloatArray
) -> None:
    batch = windows[:100].copy()
    batch[1::2] *= np.float32(1e6)
    np.testing.assert_array_equal(reconstruct(batch)[::2], alone[:100:2])


def test_same_again(reconstruct: Reconstruct, windows: FloatArray) -> None:
    np.testing.assert_array_equal(reconstruct(windows[:500]), reconstruct(windows[:500]))


def test_empty_batch_gives_an_empty_batch(
    reconstruct: Reconstruct, windows: FloatArray, shape: tuple[int, int]
) -> None:
    result = reconstruct(windows[:0])
    assert (result.shape, result.dtype) == ((0, *shape), np.dtype(np.float32))


@only_dense
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 140, 1)),
        np.zeros((2, 140, 1), dtype=np.float16),
        np.zeros((2, 140), dtype=np.float32),
        np.zeros((140, 1), dtype=np.float32),
        np.zeros((2, 141, 1), dtype=np.float32),
        np.zeros((2, 140, 2), dtype=np.float32),
        np.zeros((0, 140), dtype=np.float32),
        np.zeros((4, 140, 1), dtype=np.float32)[::2],
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_anything_else_is_refused(reconstruct: Reconstruct, wrong: Any) -> None:
    with pytest.raises(ValueError, match="windows: expected"):
        reconstruct(wrong)


def test_engines_agree(networks: Path, windows: FloatArray, shape: tuple[int, int]) -> None:
    onnx, keras = (
        LOADERS[name](networks / f"network.{name}", *shape)(windows[:2049])
        for name in ("onnx", "keras")
    )
    np.testing.assert_allclose(onnx, keras, rtol=0, atol=1e-5)


@only_dense
@pytest.mark.parametrize("name", sorted(LOADERS))
@pytest.mark.parametrize("other", [(141, 1), (140, 2), (1, 140)])
def test_network_for_another_shape_is_refused(
    networks: Path, name: str, other: tuple[int, int]
) -> None:
    with pytest.raises(BundleMismatchError, match="train a bundle for windows of this shape"):
        LOADERS[name](networks / f"network.{name}", *other)


@pytest.mark.parametrize("name", sorted(LOADERS))
@pytest.mark.parametrize("content", [b"", b"no network at all"])
def test_file_that_is_no_network_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / f"network.{name}"
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match="cannot be loaded"):
        LOADERS[name](path, 140, 1)


def test_code_in_a_keras_file_is_refused(tmp_path: Path) -> None:
    keras = import_keras()
    inputs = keras.Input((140, 1))
    model = keras.Model(inputs, keras.layers.Lambda(lambda values: values)(inputs))
    path = tmp_path / "network.keras"
    model.save(path)
    with pytest.raises(BundleIntegrityError, match="cannot be loaded"):
        load_keras(path, 140, 1)


def keras_file(path: Path, networks: Path, **parts: bytes) -> Path:
    """Write a network for Keras with other parts, compressed, and return its path."""
    with zipfile.ZipFile(networks / "network.keras") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in (content | {k.replace("_", "."): v for k, v in parts.items()}).items():
            archive.writestr(name, part)
    return path


@only_dense
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: "[" * 100_000, "recursion"),
        (lambda _: "[" * 70 + "]" * 70, "deeper than 64 levels"),
        (lambda text: text.replace('"Dense"', '"Lambda"'), "received 'Lambda'"),
        (lambda text: text.replace('"Dense"', '["Dense"]'), "expected only classes"),
        (lambda text: text.replace("[null, 140, 1]", "[null, 1e9, 1]"), "numbers up to 262,144"),
        (lambda text: text.replace("[null, 140, 1]", "[null, NaN, 1]"), "numbers up to 262,144"),
        (lambda text: text.replace("[null, 140, 1]", "[null, 262144, 262144]"), "by Keras"),
        (lambda text: text.replace('"inbound_nodes"', '"nodes"'), "by Keras"),
        (lambda _: "{}", "by Keras"),
        (lambda _: "null", "by Keras"),
        (lambda _: "{" + " " * 4_194_304 + "}", r"config\.json: expected at most 4,194,304"),
    ],
)
def test_a_keras_file_that_train_does_not_write_is_refused(
    networks: Path, tmp_path: Path, change: Callable[[str], str], expected: str
) -> None:
    with zipfile.ZipFile(networks / "network.keras") as archive:
        config = archive.read("config.json").decode()
    changed = change(config)
    assert changed != config
    path = keras_file(tmp_path / "network.keras", networks, config_json=changed.encode())
    began_s = time.monotonic()
    with pytest.raises(BundleIntegrityError, match=expected) as caught:
        load_keras(path, 140, 1)
    assert "cannot be loaded" in str(caught.value)
    assert time.monotonic() - began_s < 10
    assert len(str(caught.value)) < 1_000


@only_dense
def test_a_keras_file_with_other_parts_is_refused_unread(networks: Path, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "network.keras", networks, more_txt=b"")
    with pytest.raises(BundleIntegrityError, match="received"):
        load_keras(path, 140, 1)
    load_keras(keras_file(path, networks), 140, 1)
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)
    with pytest.raises(BundleIntegrityError, match="expected at most 536,870,912 bytes"):
        load_keras(path, 140, 1)


def test_exported_bytes_are_the_same_for_the_same_weights(networks: Path, kind: str) -> None:
    known = import_keras().saving.load_model(networks / "network.keras", compile=False)
    model = build(kind)
    model.set_weights(known.get_weights())
    assert export_keras(model) == (networks / "network.keras").read_bytes()
    assert export_onnx(model) == (networks / "network.onnx").read_bytes()


@only_dense
def test_onnx_engine_never_imports_a_training_library(networks: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np\n"
        "from stream_detector.engines.onnx import load_onnx\n"
        f"reconstruct = load_onnx(pathlib.Path({str(networks / 'network.onnx')!r}), 140, 1)\n"
        "reconstruct(np.zeros((3, 140, 1), dtype=np.float32))\n"
        "print(sorted({'tensorflow', 'keras', 'torch', 'jax', 'onnx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_encoder_and_decoder_of_the_file_can_be_taken_apart(
    networks: Path, windows: FloatArray
) -> None:
    model = import_keras().saving.load_model(networks / "network.keras", compile=False)
    latent = model.get_layer("encoder").predict_on_batch(windows[:64])
    whole = model.get_layer("decoder").predict_on_batch(latent)
    np.testing.assert_array_equal(whole, model.predict_on_batch(windows[:64]))


@pytest.fixture(scope="module")
def parts(networks: Path, shape: tuple[int, int]) -> AutoencoderParts:
    return load_parts(networks / "network.keras", *shape)


def test_the_halves_make_the_whole(
    parts: AutoencoderParts, windows: FloatArray, shape: tuple[int, int]
) -> None:
    latent = parts.encode(windows[:500])
    assert (latent.shape, latent.dtype) == ((500, parts.n_latent), np.dtype(np.float32))
    made = parts.decode(latent)
    assert (made.shape, made.dtype) == ((500, *shape), np.dtype(np.float32))
    np.testing.assert_allclose(made, parts.reconstruct(windows[:500]), rtol=0, atol=1e-5)


def test_a_code_does_not_depend_on_its_batch(parts: AutoencoderParts, windows: FloatArray) -> None:
    latent = parts.encode(windows[:500])
    made = parts.decode(latent)
    for row in (0, 7, 130, 499):
        np.testing.assert_array_equal(parts.encode(windows[row : row + 1])[0], latent[row])
        np.testing.assert_array_equal(parts.decode(latent[row : row + 1])[0], made[row])


@pytest.mark.parametrize("name", ["encoder", "other"])
def test_a_network_without_halves_is_refused(tmp_path: Path, name: str) -> None:
    keras = import_keras()
    windows = keras.Input((4, 1), name="windows")
    half = keras.Model(windows, keras.layers.Dense(1, name="dense")(windows), name=name)
    path = tmp_path / "network.keras"
    path.write_bytes(export_keras(keras.Model(windows, half(windows))))
    with pytest.raises(BundleMismatchError, match="the layers encoder and decoder"):
        load_parts(path, 4, 1)


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    keras = import_keras()
    windows = keras.Input((4, 1), name="windows")
    halves = []
    for name in ("encoder", "decoder"):
        given = keras.Input((None, 1), name=f"{name}_input")
        half = keras.layers.Dense(1, name=f"{name}_0")(given)
        halves.append(keras.Model(given, half, name=name))
    path = tmp_path / "network.keras"
    path.write_bytes(export_keras(keras.Model(windows, halves[1](halves[0](windows)))))
    with pytest.raises(BundleMismatchError, match="whose latent codes the decoder takes"):
        load_parts(path, 4, 1)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(["cpu:0"], False), (["gpu:0", "gpu:1"], True), (["tpu:0"], False), ([], False)],
)
@only_dense
def test_a_gpu_is_looked_for_as_every_backend_allows(
    networks: Path, monkeypatch: pytest.MonkeyPatch, devices: list[str], expected: bool
) -> None:
    def list_devices(kind: str | None = None) -> list[str]:
        """Answer as JAX does, which refuses a kind of device that is not there."""
        if kind is not None and not any(name.startswith(kind) for name in devices):
            raise RuntimeError(kind)
        return devices

    monkeypatch.setattr(import_keras().distribution, "list_devices", list_devices)
    assert has_gpu() is expected
    load_keras(networks / "network.keras", 140, 1)


@pytest.mark.parametrize(("n_gpus", "expected"), [(0, False), (1, True)])
def test_pytorch_itself_is_asked_for_its_gpus(
    monkeypatch: pytest.MonkeyPatch, n_gpus: int, expected: bool
) -> None:
    keras = import_keras()
    torch = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: n_gpus))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.delattr(keras.distribution, "list_devices")  # Keras has none for PyTorch
    assert has_gpu() is expected


@pytest.mark.parametrize(
    ("backend", "expected"), [("tensorflow", False), ("jax", True), ("torch", False)]
)
@only_dense
def test_only_jax_compiles_a_network_as_a_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch, backend: str, expected: bool
) -> None:
    monkeypatch.setattr(import_keras().backend, "backend", lambda: backend)
    model = build(kind)
    _in_fixed_batches(model)
    assert model.jit_compile is expected


@pytest.mark.parametrize(
    ("backend", "devices", "expected"),
    [
        ("tensorflow", ["cpu:0"], [64, 64, 128, 2048, 2048, 64]),
        ("tensorflow", ["gpu:0"], [1024] * 7),
        ("jax", ["cpu:0"], [1024] * 7),
        ("torch", ["cpu:0"], [1024] * 7),
    ],
)
def test_only_tensorflow_on_a_cpu_runs_batches_of_several_sizes_whose_last_rows_stay_empty(
    monkeypatch: pytest.MonkeyPatch, backend: str, devices: list[str], expected: list[int]
) -> None:
    keras = import_keras()
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: devices)
    sizes: list[int] = []

    def predict_on_batch(rows: FloatArray) -> FloatArray:
        sizes.append(len(rows))
        return rows

    model = SimpleNamespace(
        compile=lambda **_: None, output_shape=(None, 3), predict_on_batch=predict_on_batch
    )
    run = _in_fixed_batches(model)
    for n_windows in (1, 56, 57, 2040, 2041):
        rows = np.arange(3 * n_windows, dtype=np.float32).reshape(n_windows, 3)
        np.testing.assert_array_equal(run(rows), rows)
    assert sizes == expected
