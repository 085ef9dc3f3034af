"""No changed bundle is ever read as if it were the one that was written."""

import json
import os
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from fuzz_bundle import (
    check_any_key_scales,
    check_any_manifest,
    check_any_scaler,
    check_every_byte,
    is_refused,
    key_scales_seeds,
    manifest_seeds,
    scaler_seeds,
    small_bundle,
)
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.bundle import Bundle, read_bundle
from stream_detector.errors import BundleError

FILES = ("manifest.json", "network.keras", "network.onnx", "scaler.npz")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The folder of a bundle that a test may damage."""
    return small_bundle(tmp_path / "bundle").path


def test_every_byte_is_vouched_for(bundle: Bundle) -> None:
    draw = random.Random(20_250_714)
    n_tried = check_every_byte(bundle, lambda _, before: [before ^ draw.randint(1, 255)])
    assert n_tried == sum((bundle.path / name).stat().st_size for name in FILES)


@given(data=st.data())
def test_a_changed_byte_is_refused_by_whoever_reads_the_folder(
    bundle: Bundle, data: st.DataObject
) -> None:
    path = bundle.path / data.draw(st.sampled_from(FILES))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            read_bundle(bundle.path)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_or_grown_is_refused(bundle: Bundle, name: str) -> None:
    original = (bundle.path / name).read_bytes()
    assert not is_refused(bundle.manifest, name, original)
    for length in range(len(original)):
        assert is_refused(bundle.manifest, name, original[:length])
        assert is_refused(bundle.manifest, name, original[length + 1 :])
    for byte in range(256):
        assert is_refused(bundle.manifest, name, original + bytes([byte]))
        assert is_refused(bundle.manifest, name, bytes([byte]) + original)


@pytest.mark.parametrize(("name", "other"), list(permutations(FILES, 2)))
def test_a_file_in_place_of_another_is_refused(copy: Path, name: str, other: str) -> None:
    (copy / name).write_bytes((copy / other).read_bytes())
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_unread(copy: Path, name: str, put: Any) -> None:
    (copy / name).unlink()
    put(copy / name)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("name", [".hidden", "manifest.json~", "Network.onnx", "network.onnx.data"])
def test_anything_else_in_the_folder_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(BundleError):
        read_bundle(copy)


def test_absurd_manifests_and_scalers_are_refused(bundle: Bundle) -> None:
    manifest, scaler = ((bundle.path / name).read_bytes() for name in (FILES[0], FILES[-1]))
    for content in manifest_seeds(manifest):
        check_any_manifest(manifest, content)
    for content in key_scales_seeds():
        check_any_key_scales(content)
    for content in scaler_seeds(scaler):
        check_any_scaler(content)


@given(data=st.data(), value=JSON_VALUES)
def test_a_manifest_that_says_something_else_is_refused_or_vouches_for_it(
    bundle: Bundle, data: st.DataObject, value: Any
) -> None:
    original = (bundle.path / FILES[0]).read_bytes()
    values = json.loads(original)
    place, name = values, data.draw(st.sampled_from(sorted(values)))
    while isinstance(place[name], dict) and place[name] and data.draw(st.booleans()):
        place = place[name]
        name = data.draw(st.sampled_from(sorted(place)))
    place[name] = value
    check_any_manifest(original, json.dumps(values, indent=2).encode())


@given(content=st.binary(max_size=300))
def test_any_scaler_is_refused_or_is_one(content: bytes) -> None:
    check_any_scaler(content)
