"""The bundle on disk: what is written is what is read, and nothing else is accepted."""

import hashlib
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from stream_detector.assembly import build_detector
from stream_detector.bundle import (
    Bundle,
    BundleParts,
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    library_versions,
    read_bundle,
    read_content,
    renamed,
    write_bundle,
    write_content,
)
from stream_detector.bundle.arrays import check_archive
from stream_detector.bundle.folder import BYTES_MAX
from stream_detector.bundle.manifest import CONTENT, digest, dump_manifest
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.logarithmic import Logarithmic
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.errors import (
    BundleError,
    BundleIntegrityError,
    BundleMismatchError,
    BundleNotFoundError,
    ConfigError,
)
from stream_detector.recipes import load_recipe

RECIPE = load_recipe(
    Path(__file__).parents[3] / "models" / "synthetic-ecg-dense.toml",
    ["data.name=csv", "data.path=mine.csv", "window.steps=3", "window.features=2"],
)
WINDOW = np.linspace(-1.0, 2.0, 6, dtype=np.float32).reshape(3, 2)
SCALER = fit_scaler("min-max", WINDOW[np.newaxis])


def half(windows: FloatArray) -> FloatArray:
    """Stand in for a network: halves what it is given."""
    return windows * np.float32(0.5)


def facts(**changes: Any) -> Facts:
    expected = float(np.abs(0.5 * SCALER.transform(WINDOW[np.newaxis])).mean())
    values: dict[str, Any] = {
        "name": "test",
        "n_steps": 3,
        "n_features": 2,
        "features": ("flow", "heat"),
        "data": TrainingData(name="mine", split="", fingerprint="0" * 64, n_windows=80),
        "threshold": Threshold(
            value=0.4, error="mae", method="quantile", calibrated_on="held-out", n_windows=20
        ),
        "metrics": {"accuracy": 0.5, "positive_class": "anomaly", "n_windows": 4, "auroc": None},
        "self_test": SelfTest(window=tuple(map(tuple, WINDOW.tolist())), score=expected),
        "recipe": RECIPE,
    }
    return Facts(**values | changes)


def write(out: Path, **changes: Any) -> Bundle:
    return write_bundle(
        out, facts(**changes), BundleParts(b"keras network", b"onnx network", SCALER)
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "bundle")


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def rewrite_manifest(path: Path, **changes: Any) -> None:
    """Change the manifest and give it the version that fits what it says now."""
    values = json.loads((path / "manifest.json").read_text()) | changes
    values["version"] = digest(values)
    (path / "manifest.json").write_bytes(dump_manifest(values))


def test_units_of_features_come_back_and_without_them_nothing_is_written(
    tmp_path: Path, bundle: Bundle
) -> None:
    assert bundle.features.units == ()
    assert bundle.features.unit_name(0) == ""
    assert "units" not in json.loads((bundle.path / "manifest.json").read_text())["recipe"]["data"]
    data = RECIPE.data.model_copy(update={"units": {"heat": "°C"}})
    measured = write(tmp_path / "measured", recipe=RECIPE.model_copy(update={"data": data}))
    assert measured.features.units == ("", "°C")
    assert measured.features.unit_name(1) == "°C"
    values = json.loads((measured.path / "manifest.json").read_text())["recipe"]
    rewrite_manifest(measured.path, recipe=changed(values, "data.units", {"hot": "°C"}))
    with pytest.raises(BundleIntegrityError, match=r"recipe: data\.units: .* received hot; train"):
        read_bundle(measured.path)


def test_a_bundle_is_kept_in_memory_and_written_elsewhere(tmp_path: Path, bundle: Bundle) -> None:
    content = read_content(bundle)
    again = write_content(str(tmp_path / "deep" / "again"), content)
    assert again.manifest == bundle.manifest
    other = write_content(tmp_path / "other", renamed(content, "pump"))
    assert (other.manifest.name, other.manifest.recipe.name) == ("pump", "pump")
    assert other.manifest.version != bundle.manifest.version
    assert other.manifest.files == bundle.manifest.files
    with pytest.raises(ConfigError, match="which the bundle of pump would replace"):
        write_content(again.path, renamed(content, "pump"))
    replaced = write_content(again.path, renamed(content, "pump"), overwrite=True)
    assert replaced.manifest == other.manifest
    (other.path / "network.onnx").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        read_content(other)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        write_content(tmp_path / "file" / "bundle", content)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    out = str(tmp_path / "bundle")
    written = write_bundle(out, facts(), BundleParts(b"keras network", b"onnx network", SCALER))
    assert written.path == Path(out)
    assert read_bundle(out).manifest == written.manifest
    with pytest.raises(BundleNotFoundError, match=re.escape(f"bundle {out}-2: no manifest.json")):
        read_bundle(f"{out}-2")


LEFT_OUT = {
    "n_windows": 10,
    "n_left_out": 3,
    "n_keys": 1,
    "by_key": [{"key": "", "n_windows": 10, "n_left_out": 3, "left_out": [9], "kept": [0]}],
}


def test_what_was_left_out_of_training_is_read_back(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", left_out=LEFT_OUT)
    left_out = read_bundle(bundle.path).manifest.left_out
    assert left_out is not None
    assert left_out.model_dump(mode="json") == LEFT_OUT


@pytest.mark.parametrize(
    "changes",
    [
        {"n_left_out": 2},
        {"n_windows": 9},
        {"n_keys": 0},
        {"by_key": []},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1}] * 2},
        {"by_key": [{"key": "", "n_windows": 0, "n_left_out": 0}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 3}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1, "left_out": [10]}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1, "kept": [-1]}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1, "left_out": [0, 1]}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1, "kept": [0, 1]}]},
        {"by_key": [{"key": "", "n_windows": 2, "n_left_out": 1, "left_out": [0], "kept": [0]}]},
    ],
)
def test_counts_of_what_was_left_out_that_contradict_are_refused(
    bundle: Bundle, changes: dict[str, Any]
) -> None:
    every = {"n_windows": 3, "n_left_out": 1, "left_out": [0], "kept": [1, 9]}
    for right in (LEFT_OUT, LEFT_OUT | {"by_key": [{"key": "", **every}]}):
        rewrite_manifest(bundle.path, left_out=right)
        assert read_bundle(bundle.path).manifest.left_out is not None
    rewrite_manifest(bundle.path, left_out=LEFT_OUT | changes)
    with pytest.raises(BundleIntegrityError, match="missing or wrong values: left_out"):
        read_bundle(bundle.path)


def test_a_robust_scaler_is_read_back_with_the_features_that_never_moved(tmp_path: Path) -> None:
    scaler = fit_scaler("robust", np.array([[[1, 5], [2, 5], [4, 5]]], np.float32))
    bundle = write_bundle(tmp_path / "bundle", facts(), BundleParts(b"keras", b"onnx", scaler))
    assert (bundle.scaler.kind, bundle.scaler.scale.tolist()) == ("robust", scaler.scale.tolist())
    assert bundle.scaler.is_constant is not None
    assert bundle.scaler.is_constant.tolist() == [False, True]
    arrays = {"kind": np.array("robust"), "offset": scaler.offset, "scale": scaler.scale}
    for wrong in (np.zeros(3, np.bool_), np.zeros(2, np.uint8)):
        put_scaler(bundle, archive_of(**arrays, is_constant=wrong))
        with pytest.raises(BundleMismatchError, match=r"scaler\.npz is_constant: expected bool"):
            read_bundle(bundle.path)


def test_a_scaler_is_read_back_with_its_relative_features(tmp_path: Path) -> None:
    right = {"is_relative": np.array([False, True]), "is_counter": np.array([False, True])}
    scaler = fit_scaler("robust", np.zeros((1, 3, 2), np.float32), Relative(**right))
    bundle = write_bundle(tmp_path / "bundle", facts(), BundleParts(b"keras", b"onnx", scaler))
    assert bundle.scaler.relative is not None
    assert bundle.scaler.relative.is_relative.tolist() == [False, True]
    assert bundle.scaler.relative.is_counter.tolist() == [False, True]
    arrays = {"kind": np.array("robust"), "offset": scaler.offset, "scale": scaler.scale}
    for name in right:
        put_scaler(bundle, archive_of(**arrays, **right | {name: np.zeros(3, np.bool_)}))
        with pytest.raises(BundleMismatchError, match=rf"scaler\.npz {name}: expected bool"):
            read_bundle(bundle.path)
    put_scaler(bundle, archive_of(**arrays, is_relative=right["is_relative"]))
    with pytest.raises(BundleError, match="scaler"):
        read_bundle(bundle.path)


def test_a_scaler_is_read_back_with_its_logarithmic_features(tmp_path: Path) -> None:
    log = Logarithmic(np.array([0, 2.5], np.float32))
    scaler = fit_scaler("robust", np.zeros((1, 3, 2), np.float32), None, log)
    bundle = write_bundle(tmp_path / "bundle", facts(), BundleParts(b"keras", b"onnx", scaler))
    assert bundle.scaler.logarithmic is not None
    assert bundle.scaler.logarithmic.unit.tolist() == [0, 2.5]
    arrays = {"kind": np.array("robust"), "offset": scaler.offset, "scale": scaler.scale}
    for wrong in (np.zeros(3, np.float32), np.zeros(2)):
        put_scaler(bundle, archive_of(**arrays, log_unit=wrong))
        with pytest.raises(BundleMismatchError, match=r"scaler\.npz log_unit: expected float32"):
            read_bundle(bundle.path)
    for unit in (-1, np.nan, np.inf, 1e-39):
        put_scaler(bundle, archive_of(**arrays, log_unit=np.array([0, unit], np.float32)))
        with pytest.raises(BundleIntegrityError, match=r"finite units, received .* of feature 1"):
            read_bundle(bundle.path)


def test_reads_back_what_was_written(bundle: Bundle) -> None:
    again = read_bundle(bundle.path)
    assert again.manifest == bundle.manifest
    assert again.manifest.recipe == RECIPE
    assert again.features.names == ("flow", "heat")
    assert again.manifest.libraries == library_versions()
    assert (again.scaler.kind, again.scaler.offset.dtype) == ("min-max", np.dtype(np.float32))
    np.testing.assert_array_equal(again.scaler.offset, SCALER.offset)
    np.testing.assert_array_equal(again.scaler.scale, SCALER.scale)
    assert again.network_onnx.read_bytes() == b"onnx network"
    assert again.network_keras.read_bytes() == b"keras network"


def test_manifest_names_the_sha256_of_every_file(bundle: Bundle) -> None:
    for name, sha256 in bundle.manifest.files.items():
        assert hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() == sha256
    assert names(bundle.path) == {*bundle.manifest.files, "manifest.json"}


def test_version_is_a_digest_of_the_content(tmp_path: Path, bundle: Bundle) -> None:
    assert write(tmp_path / "same").manifest.version == bundle.manifest.version
    other = write(tmp_path / "other", name="other")
    assert other.manifest.version != bundle.manifest.version


def test_detector_is_what_the_bundle_says(bundle: Bundle) -> None:
    scorer = bundle.scorer(half)
    assert isinstance(scorer, ReconstructionScorer)
    detector = build_detector(bundle.manifest.recipe, scorer, bundle.reference, 7)
    assert isinstance(detector, WindowDetector)
    assert (detector.bundle.name, detector.bundle.version) == ("test", bundle.manifest.version)
    assert (detector.shape, scorer.threshold, scorer.error_kind) == ((3, 2), 0.4, "mae")
    assert list(detector.severities) == [("warning", 1.0), ("critical", 2.0)]
    assert detector.model_rows_max == 7


def test_self_test_passes_with_the_right_network_only(bundle: Bundle) -> None:
    bundle.check_self_test(half)
    with pytest.raises(BundleIntegrityError, match="self-test window must give the score"):
        bundle.check_self_test(lambda windows: windows * np.float32(0.51))


def test_shape_is_checked(bundle: Bundle) -> None:
    bundle.check_shape(np.zeros((5, 3, 2), dtype=np.float32))
    with pytest.raises(BundleMismatchError, match="3 steps x 2 features"):
        bundle.check_shape(np.zeros((5, 140, 1), dtype=np.float32))


def test_replaces_an_older_bundle_and_leaves_nothing_behind(tmp_path: Path, bundle: Bundle) -> None:
    again = write(bundle.path, history={"loss": (1.0,)})
    assert read_bundle(bundle.path).manifest.version == again.manifest.version
    assert names(tmp_path) == {"bundle"}


def test_parents_are_made(tmp_path: Path) -> None:
    assert write(tmp_path / "a" / "b" / "bundle").path.is_dir()


def test_refuses_to_replace_anything_else(tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"is not a bundle: it has thesis\.txt"):
        write(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"
    with pytest.raises(ConfigError, match="is not a bundle"):
        write(folder / "thesis.txt")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="is not a bundle"):
        write(tmp_path / "link")


def test_an_older_bundle_survives_a_failed_write(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(BundleError, match="No space left"):
            write(bundle.path, history={"loss": (1.0,)})
    assert read_bundle(bundle.path).manifest.version == bundle.manifest.version
    assert names(tmp_path) == {"bundle"}


@pytest.mark.parametrize("name", ["manifest.json", *CONTENT])
def test_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(BundleNotFoundError, match=name):
        read_bundle(bundle.path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="give the folder that train wrote"):
        read_bundle(tmp_path / "absent")


@pytest.mark.parametrize("name", CONTENT)
def test_changed_file_is_refused(bundle: Bundle, name: str) -> None:
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=f"{name} is not the file that was written"):
        read_bundle(bundle.path)


def test_changed_manifest_is_refused(bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    path.write_text(path.read_text().replace('"value": 0.4', '"value": 0.9'))
    with pytest.raises(BundleIntegrityError, match="was changed: expected version"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: text.replace(": 2,", ":  2,", 1),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace('"value": 0.4', '"value": 0.40'),
        lambda text: text.replace('"value": 0.4', '"value": 0.9, "value": 0.4'),
        lambda text: text.replace('"name": "test"', '"name": "t\\u0065st"'),
        lambda text: text.rstrip("\n"),
    ],
    ids=["white space", "line ends", "number", "key twice", "escape", "last line"],
)
def test_manifest_written_in_another_way_is_refused(
    bundle: Bundle, rewritten: Callable[[str], str]
) -> None:
    path = bundle.path / "manifest.json"
    text = path.read_text()
    path.write_bytes(rewritten(text).encode())
    assert path.read_text() != text or b"\r" in path.read_bytes()
    with pytest.raises(BundleIntegrityError, match="is written in another way"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"format_version": 1}',
        "\udcff",
        '{"a": ' + "[" * 100_000,
        '{"format_version": 1, "version": ' + "1" * 5_000 + "}",
        '{"format_version": 1, "version": NaN}',
    ],
    ids=str.__len__,
)
def test_broken_manifest_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.path / "manifest.json").write_text(text, errors="surrogateescape")
    with pytest.raises(BundleIntegrityError, match="cannot be read"):
        read_bundle(bundle.path)


def test_extra_file_is_refused(bundle: Bundle) -> None:
    (bundle.path / "notes.txt").write_text("hello")
    with pytest.raises(BundleIntegrityError, match=r"notes\.txt does not belong there"):
        read_bundle(bundle.path)


def test_link_is_refused_even_to_the_same_content(tmp_path: Path, bundle: Bundle) -> None:
    network = bundle.path / "network.onnx"
    outside = tmp_path / "outside.onnx"
    network.rename(outside)
    network.symlink_to(outside)
    with pytest.raises(BundleIntegrityError, match=r"network\.onnx is a link"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"files": {}}, "expected the files"),
        ({"files": {"../network.onnx": "0" * 64}}, "expected the files"),
        ({"n_steps": 4}, "expected a self-test window of"),
        ({"n_steps": 0}, "n_steps"),
        ({"origin": [1.0]}, "expected the origin of each of 2 features, received 1"),
        ({"origin": [0.0, 3.403e38]}, r"origin\.1"),
        ({"origin": [-1e308, 0.0]}, r"origin\.0"),
        ({"normal_errors": [0.5]}, "expected the normal error of each of 2 features, received 1"),
        ({"normal_errors": [0.5, -0.1]}, r"normal_errors\.1"),
        ({"features": ["a"]}, "expected different names of 2 features, received 1 among 1"),
        ({"features": ["a", "a"]}, "expected different names of 2 features, received 1 among 2"),
        ({"features": ["a", ""]}, r"features\.1"),
        ({"features": ["a", "b" * 201]}, r"features\.1"),
        ({"surprise": 1}, "surprise"),
        ({"threshold": {}}, r"threshold\.value"),
        ({"libraries": {"keras": "three"}}, r"libraries\.keras"),
        ({"libraries": {"keras": "1.\u00b2"}}, r"libraries\.keras"),
        ({"libraries": {"keras": "\u0663.1"}}, r"libraries\.keras"),
        ({"libraries": {"keras": "3." + "1" * 65}}, r"libraries\.keras"),
        ({"libraries": {"keras": "3.1\n"}}, r"libraries\.keras"),
        ({"name": "pump\x1b[31m"}, "name: "),
        ({"name": "a" * 129}, "name: "),
        ({"n_steps": 10**9}, "expected a self-test window of"),
        ({"n_features": 10**9}, "expected a self-test window of"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(
    bundle: Bundle, changes: dict[str, Any], expected: str
) -> None:
    rewrite_manifest(bundle.path, **changes)
    with pytest.raises(BundleIntegrityError, match=expected):
        read_bundle(bundle.path)


def changed(values: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Return values with one changed, at `section.key`; the key may be new."""
    first, _, rest = place.partition(".")
    return values | {first: changed(values.get(first) or {}, rest, value) if rest else value}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("threshold.value", 1e308, r"at most 1e\+12, received 1e\+308: no window .* exceed"),
        ("threshold.value", 1.0000001e12, "at most"),
        ("threshold.value", 0, r"threshold\.value"),
        ("threshold.value", 9.9e-10, r"threshold\.value"),
        ("threshold.value", -1, r"threshold\.value"),
        ("threshold.value", "NaN", r"threshold\.value"),
        ("recipe.window.steps", 10**9, r"recipe\.window\.steps"),
        ("recipe.window.steps", 4, r"a recipe for windows of \(3, 2\), received \(4, 2\)"),
        ("recipe.window.features", 3, r"a recipe for windows of \(3, 2\), received \(3, 3\)"),
        ("recipe.window.channels", 3, "channels: expected only with record = 'image'"),
        ("recipe.window.gap_ms_max", 5, "gap_ms_max: expected only with record = 'samples'"),
        ("recipe.window.stride", 10**30, r"recipe\.window\.stride"),
        ("recipe.alerting.severity", {"\x9b31m": 1.0}, "printable"),
        ("recipe.alerting.severity", {"loud": 2.0}, "lowest level to be 1.0"),
        ("recipe." + ".".join("n" * 300), 1, "missing or wrong|cannot be read"),
    ],
)
def test_values_with_which_nothing_would_be_found_are_refused(
    bundle: Bundle, place: str, value: Any, expected: str
) -> None:
    values = json.loads((bundle.path / "manifest.json").read_text())
    rewrite_manifest(bundle.path, **changed(values, place, value))
    with pytest.raises(BundleIntegrityError, match=expected) as caught:
        read_bundle(bundle.path)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("error", "value"), [("mae", 1e12), ("mse", 1e24), ("bce", 1e12), ("mae", 1e-9)]
)
def test_the_largest_and_the_smallest_threshold_are_read(
    bundle: Bundle, error: str, value: float
) -> None:
    values = json.loads((bundle.path / "manifest.json").read_text())
    values = changed(values, "threshold.error", error)
    rewrite_manifest(bundle.path, **changed(values, "threshold.value", value))
    assert read_bundle(bundle.path).manifest.threshold.value == value


@pytest.mark.parametrize("name", ["manifest.json", *CONTENT])
@pytest.mark.parametrize("n_more", [0, 1])
def test_sizes_are_checked_before_reading(
    bundle: Bundle, name: str, n_more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = (bundle.path / name).stat().st_size
    if n_more:
        with (bundle.path / name).open("ab") as file:
            file.write(b"\n")
    monkeypatch.setattr("stream_detector.bundle.folder.BYTES_MAX", {**BYTES_MAX, name: limit})
    if not n_more:
        read_bundle(bundle.path)
        return
    with pytest.raises(BundleIntegrityError, match=f"{name}: expected at most {limit:,} bytes"):
        read_bundle(bundle.path)


def test_a_file_of_gigabytes_is_refused_unread(bundle: Bundle) -> None:
    for name in ("network.keras", "network.onnx", "scaler.npz", "manifest.json"):
        content = (bundle.path / name).read_bytes()
        os.truncate(bundle.path / name, 3 * 1024**3)  # sparse: it takes no room
        began_s = time.process_time()
        with pytest.raises(BundleIntegrityError, match=rf"{name}: expected at most"):
            read_bundle(bundle.path)
        assert time.process_time() - began_s < 1  # the machine may be busy
        (bundle.path / name).write_bytes(content)


@pytest.mark.parametrize("version", [4, 6])
def test_another_format_is_refused(bundle: Bundle, version: int) -> None:
    rewrite_manifest(bundle.path, format_version=version, surprise=1)
    expected = f"expected format_version 5, received {version}; train the bundle again"
    with pytest.raises(BundleMismatchError, match=expected):
        read_bundle(bundle.path)


def pretend_installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))


def test_other_major_version_of_keras_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_manifest(bundle.path, libraries={"keras": "3.15.1"})
    pretend_installed(monkeypatch, keras="4.0.0")
    with pytest.raises(BundleMismatchError, match=r"made with keras 3\.15\.1, received keras 4"):
        read_bundle(bundle.path)
    pretend_installed(monkeypatch, keras="3.99.0")
    read_bundle(bundle.path)


def test_too_old_onnxruntime_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, onnxruntime="1.9.2")
    with pytest.raises(BundleMismatchError, match=r"onnxruntime 1\.20 or newer, received 1\.9\.2"):
        read_bundle(bundle.path)
    pretend_installed(monkeypatch, onnxruntime="1.20rc1")
    read_bundle(bundle.path)


def npy(shape: str) -> bytes:
    """Return an array file whose header gives that shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(8)


def damaged_archive(name: str, array: bytes, method: int) -> bytes:
    """Return an archive with one array of its own; compressed data is spoilt."""
    buffer = io.BytesIO()
    np.savez(buffer, kind=np.array("none"), scale=np.ones(2, np.float32))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, array, method)
        at = archive.getinfo(name).header_offset + 30 + len(name)
    content = bytearray(buffer.getvalue())
    if method != zipfile.ZIP_STORED:
        content[at + 10 : at + 20] = b"\xff" * 10
    return bytes(content)


@pytest.mark.parametrize(
    "scaler",
    [
        b"no archive",
        {"kind": np.array("none")},
        {"kind": np.array("none"), "offset": np.zeros(2), "scale": np.ones(2, np.float32)},
        {"kind": np.array("none"), "offset": np.array([{}]), "scale": np.ones(2, np.float32)},
        ("offset.npy", b"no array", zipfile.ZIP_STORED),
        ("offset.npy", npy("(2,((("), zipfile.ZIP_STORED),
        ("offset.npy", npy("(999999999999999,)"), zipfile.ZIP_STORED),
        ("offset.npy", npy("(2,)"), zipfile.ZIP_DEFLATED),
        ("offset.npy", npy("(2,)"), zipfile.ZIP_LZMA),
    ],
    ids=lambda case: type(case).__name__,
)
def test_scaler_of_another_kind_is_refused(bundle: Bundle, scaler: Any) -> None:
    path = bundle.path / "scaler.npz"
    if isinstance(scaler, bytes):
        path.write_bytes(scaler)
    elif isinstance(scaler, tuple):
        path.write_bytes(damaged_archive(*scaler))
    else:
        np.savez(path, **scaler)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    rewrite_manifest(bundle.path, files=bundle.manifest.files | {"scaler.npz": sha256})
    with pytest.raises(BundleError, match=r"scaler\.npz"):
        read_bundle(bundle.path)


def put_scaler(bundle: Bundle, content: bytes) -> None:
    """Replace the scaler and let the manifest vouch for it."""
    (bundle.path / "scaler.npz").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    rewrite_manifest(bundle.path, files=bundle.manifest.files | {"scaler.npz": sha256})


def archive_of(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offset", np.nan),
        ("offset", np.inf),
        ("scale", np.nan),
        ("scale", -np.inf),
        ("scale", 0),
        ("scale", -1),
    ],
)
def test_a_scaler_that_is_not_finite_or_hides_a_feature_is_refused(
    bundle: Bundle, name: str, value: float
) -> None:
    arrays = {"offset": np.zeros(2, np.float32), "scale": np.ones(2, np.float32)}
    arrays[name][1] = value
    put_scaler(bundle, archive_of(kind=np.array("none"), **arrays))
    with pytest.raises(BundleIntegrityError, match=r"scaler\.npz: expected .* of feature 1"):
        read_bundle(bundle.path)


def test_a_scaler_of_an_unknown_kind_is_refused(bundle: Bundle) -> None:
    two = np.ones(2, np.float32)
    put_scaler(bundle, archive_of(kind=np.array("\x1b[31m" * 100), offset=two, scale=two))
    with pytest.raises(BundleIntegrityError, match="expected one of the kinds none, min-max"):
        read_bundle(bundle.path)


def test_a_scaler_that_inflates_to_gigabytes_is_refused_before_it_does(bundle: Bundle) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kind.npy", b"")
        with archive.open("offset.npy", "w", force_zip64=True) as member:
            for _ in range(512):
                member.write(bytes(1024 * 1024))
    put_scaler(bundle, buffer.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleIntegrityError, match=r"at most 4,194,304 bytes inflated, received 5"):
        read_bundle(bundle.path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_an_archive_may_be_as_large_as_is_said() -> None:
    content = archive_of(a=np.zeros(1_000))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        n_bytes = sum(len(archive.read(name)) for name in archive.namelist())
    check_archive(content, n_bytes)
    with pytest.raises(ValueError, match=f"expected at most {n_bytes - 1:,} bytes inflated"):
        check_archive(content, n_bytes - 1)


def test_importing_it_loads_no_engine() -> None:
    code = (
        "import sys; import stream_detector.bundle; "
        "print(sorted({'keras', 'tensorflow', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
