"""The scales of keys in a bundle: what is written is what is read, and nothing else is accepted."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_bundle import check_every_byte
from halving_bundle import ROOT, make_bundle

from stream_detector.bundle import Bundle, arrays, read_bundle
from stream_detector.bundle.arrays import dump_key_scales
from stream_detector.bundle.manifest import digest, dump_manifest
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.errors import (
    BundleError,
    BundleIntegrityError,
    BundleMismatchError,
    BundleNotFoundError,
)
from stream_detector.recipes import load_recipe

TWO = np.array([[1, 2], [3, 4]], np.float32)
KEYS = [b"a", "p\u00fcmp, 7\n".encode()]
SCALES = KeyScales(KEYS, TWO, TWO + 4)
PARTS: dict[str, Any] = {
    "keys": np.frombuffer(b"abc", np.uint8),
    "key_lengths": np.array([1, 2], np.uint32),
    "offset": TWO,
    "scale": TWO,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Write a bundle of two keys and two features."""
    recipe = load_recipe(
        ROOT / "models" / "smd-dense.toml",
        [
            "window.features=2",
            "scaling.per_key=true",
            "data.name=csv",
            "data.series=",
            "data.path=a.csv",
        ],
    )
    make_bundle(tmp_path / "bundle", recipe, features=Features(("p", "t"), (), SCALES))
    return read_bundle(tmp_path / "bundle")


def put(bundle: Bundle, content: bytes) -> None:
    """Replace the scales and let the manifest vouch for them."""
    (bundle.path / "key_scales.npz").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    change_manifest(bundle, files=bundle.manifest.files | {"key_scales.npz": sha256})


def change_manifest(bundle: Bundle, **changes: Any) -> None:
    values = json.loads((bundle.path / "manifest.json").read_text()) | changes
    values["version"] = digest(values)
    (bundle.path / "manifest.json").write_bytes(dump_manifest(values))


def archive_of(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **(PARTS | changes))
    return buffer.getvalue()


def test_scales_are_read_back(bundle: Bundle) -> None:
    found = bundle.features.key_scales
    assert found is not None
    assert found.keys == SCALES.keys
    assert found.offset.tobytes() == SCALES.offset.tobytes()
    assert found.scale.tobytes() == SCALES.scale.tobytes()
    assert bundle.manifest.recipe.scaling.per_key
    assert "key_scales.npz" in bundle.manifest.files


def test_the_scales_must_be_there_and_the_ones_that_were_written(bundle: Bundle) -> None:
    (bundle.path / "key_scales.npz").write_bytes(dump_key_scales(KeyScales(KEYS, TWO, TWO)))
    with pytest.raises(BundleIntegrityError, match=r"key_scales\.npz is not the file"):
        read_bundle(bundle.path)
    (bundle.path / "key_scales.npz").unlink()
    with pytest.raises(BundleNotFoundError, match=r"key_scales\.npz missing"):
        read_bundle(bundle.path)


def test_scales_belong_to_a_recipe_with_a_scale_for_each_key(
    bundle: Bundle, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "plain", "smd-dense")
    (tmp_path / "plain" / "key_scales.npz").write_bytes(dump_key_scales(SCALES))
    with pytest.raises(BundleIntegrityError, match=r"key_scales\.npz does not belong there"):
        read_bundle(tmp_path / "plain")
    files = {name: each for name, each in bundle.manifest.files.items() if "key" not in name}
    change_manifest(bundle, files=files)
    with pytest.raises(BundleIntegrityError, match=r"expected the files .*key_scales\.npz"):
        read_bundle(bundle.path)


def test_any_changed_byte_is_refused(bundle: Bundle) -> None:
    check_every_byte(bundle, lambda name, before: [before ^ 1] if "key" in name else [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key_lengths": np.array([1, 1], np.uint32)}, "2 keys in 3 bytes"),
        ({"key_lengths": np.array([3, 1], np.uint32)}, "2 keys in 3 bytes"),
        ({"key_lengths": np.array([0, 3], np.uint32)}, "different keys of 1 to 4,096 bytes"),
        ({"keys": PARTS["keys"][:2] * 0, "key_lengths": np.ones(2, np.uint32)}, "different keys"),
        ({"offset": TWO * np.float32(np.nan)}, "finite offsets .* of feature 0 of key a"),
        ({"scale": np.array([[1, 1], [1, 0]], np.float32)}, "scale 0.0 of feature 1 of key bc"),
        ({"scale": np.array([[1, 1e-45], [1, 1]], np.float32)}, "of feature 1 of key a"),
        ({"scale": np.array([[1, -1], [1, 1]], np.float32)}, "scale -1.0 of feature 1"),
        ({"offset": np.array([[{}, 1], [1, 1]])}, "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_scales_are_refused(bundle: Bundle, changes: dict[str, Any], words: str) -> None:
    put(bundle, archive_of(**changes))
    with pytest.raises(BundleIntegrityError, match=f"key_scales.npz.*{words}"):
        read_bundle(bundle.path)


def test_the_smallest_scale_is_read(bundle: Bundle) -> None:
    smallest = np.finfo(np.float32).smallest_normal
    put(bundle, archive_of(scale=np.array([[1, smallest], [1, 1]], np.float32)))
    scales = read_bundle(bundle.path).features.key_scales
    assert scales is not None
    assert scales.scale[0, 1] == smallest


def test_from_one_key_on_to_the_most_scales_are_read(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key alone has its name by chance, so that a new one is no reason to wait."""
    monkeypatch.setattr(arrays, "KEY_SCALES_MAX", 2)
    for n_keys, is_right in ((1, True), (2, True), (3, False)):
        numbers = np.ones((n_keys, 2), np.float32)
        lengths = np.ones(n_keys, np.uint32)
        text = np.arange(97, 97 + n_keys, dtype=np.uint8)
        put(bundle, archive_of(keys=text, key_lengths=lengths, offset=numbers, scale=numbers))
        if is_right:
            warm_up_samples = read_bundle(bundle.path).features.warm_up_samples
            assert (warm_up_samples > 0) == (n_keys > 1)
        else:
            with pytest.raises(BundleIntegrityError, match="expected 1 to 2 different keys"):
                read_bundle(bundle.path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key_lengths": np.array([1, 2], np.int64)}, "key_lengths: expected uint32"),
        ({"keys": np.array(["a", "b"])}, "keys: expected uint8"),
        ({"offset": TWO[:1]}, r"offset: expected float32 \(2, 2\), received float32 \(1, 2\)"),
        ({"scale": TWO.astype(np.float64)}, "scale: expected float32"),
        ({"scale": TWO[:, :1]}, r"scale: expected float32 \(2, 2\)"),
    ],
)
def test_arrays_of_another_type_or_shape_are_refused(
    bundle: Bundle, changes: dict[str, Any], words: str
) -> None:
    put(bundle, archive_of(**changes))
    with pytest.raises(BundleMismatchError, match=words):
        read_bundle(bundle.path)


def test_no_keys_and_longer_keys_than_a_record_can_have_are_refused(bundle: Bundle) -> None:
    none = np.empty((0, 2), np.float32)
    nothing = np.empty(0, np.uint32)
    put(bundle, archive_of(keys=PARTS["keys"][:0], key_lengths=nothing, offset=none, scale=none))
    with pytest.raises(BundleError, match="received 0 keys"):
        read_bundle(bundle.path)
    for length, is_right in ((4_096, True), (4_097, False)):
        text = np.full(length + 2, 97, np.uint8)
        put(bundle, archive_of(keys=text, key_lengths=np.array([2, length], np.uint32)))
        if is_right:
            read_bundle(bundle.path)
        else:
            with pytest.raises(BundleIntegrityError, match="1 to 4,096 bytes"):
                read_bundle(bundle.path)
