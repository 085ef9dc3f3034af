"""What a .keras file may hold is checked before Keras reads it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stream_detector.engines import keras_archive
from stream_detector.engines.keras_archive import CONFIG, DEPTH_MAX, NUMBER_MAX, check_archive
from stream_detector.errors import BundleIntegrityError

PARTS = ("metadata.json", "model.weights.h5")


def write(folder: Path, config: Any, names: tuple[str, ...] = PARTS) -> Path:
    path = folder / "network.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CONFIG, json.dumps(config))
        for name in names:
            archive.writestr(name, b"content")
    return path


def nested(depth: int) -> Any:
    """Return a configuration of so many levels, the innermost a number."""
    config: Any = 1
    for level in range(depth - 1):
        config = [config] if level % 2 else {"a": config}
    return config


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "Dense", "config": {"units": NUMBER_MAX, "low": -NUMBER_MAX, "use": True}},
        {"class_name": None},
        nested(DEPTH_MAX),
    ],
)
def test_what_train_writes_is_let_through(tmp_path: Path, config: Any) -> None:
    check_archive(write(tmp_path, config))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([{"class_name": "Lambda"}], "only classes that its networks need, received 'Lambda'"),
        ({"class_name": ["Dense"]}, "only classes"),
        ({"units": NUMBER_MAX + 1}, "numbers up to 262,144, received 262145"),
        ([[-NUMBER_MAX - 1]], "numbers up to 262,144"),
        ({"rate": float("nan")}, "numbers up to 262,144, received nan"),
        (nested(DEPTH_MAX + 1), "nested deeper than 64 levels"),
    ],
)
def test_what_train_does_not_write_is_refused(tmp_path: Path, config: Any, words: str) -> None:
    with pytest.raises(BundleIntegrityError, match=words):
        check_archive(write(tmp_path, config))


@pytest.mark.parametrize("names", [PARTS[:1], (*PARTS, "more.py")])
def test_other_parts_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BundleIntegrityError, match=r"expected config\.json, metadata\.json"):
        check_archive(write(tmp_path, {}, names))


def test_each_part_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, {})
    monkeypatch.setitem(keras_archive.MEMBER_BYTES_MAX, "metadata.json", len(b"content"))
    check_archive(path)
    monkeypatch.setitem(keras_archive.MEMBER_BYTES_MAX, "metadata.json", len(b"content") - 1)
    with pytest.raises(BundleIntegrityError, match=r"metadata\.json: expected at most 6 bytes"):
        check_archive(path)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.keras"
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match="train does not write such a network"):
        check_archive(path)
