"""A small bundle, and what must hold of one that was damaged."""

import contextlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from halving_bundle import scaling_network

from stream_detector.assembly import build_detector
from stream_detector.bundle import (
    Bundle,
    BundleParts,
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    write_bundle,
)
from stream_detector.bundle.arrays import dump_key_scales, load_key_scales, load_scaler
from stream_detector.bundle.folder import check_content
from stream_detector.bundle.manifest import (
    MANIFEST,
    NETWORK_KERAS,
    NETWORK_ONNX,
    Manifest,
    check_libraries,
    digest,
    dump_manifest,
    parse_manifest,
)
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.engines.onnx_graph import check_graph
from stream_detector.errors import BundleError
from stream_detector.recipes import load_recipe

RECIPE = load_recipe(
    Path(__file__).parents[2] / "models" / "synthetic-ecg-dense.toml",
    ["data.name=csv", "data.path=mine.csv", "data.n_windows=", "window.steps=2"],
)
NOWHERE = Path("bundle")


def small_bundle(path: Path) -> Bundle:
    """Write a bundle for windows of 2 steps; its networks are bytes that no engine reads."""
    window = np.zeros((1, 2, 1), dtype=np.float32)
    facts = Facts(
        name="test",
        n_steps=2,
        n_features=1,
        features=("feature_0",),
        data=TrainingData(name="mine", split="", fingerprint="0" * 64, n_windows=80),
        threshold=Threshold(
            value=0.4, error="mae", method="sigma", calibrated_on="train", n_windows=80
        ),
        metrics={"auroc": 0.5, "positive_class": "\u00e9", "n_windows": 4, "recall": None},
        self_test=SelfTest(window=window[0].tolist(), score=0.0),
        recipe=RECIPE,
    )
    return write_bundle(
        path, facts, BundleParts(bytes(range(256)) * 4, b"onnx" * 64, fit_scaler("none", window))
    )


def check_every_byte(bundle: Bundle, values_for: Callable[[str, int], Iterable[int]]) -> int:
    """Check that a bundle with any one byte changed is refused; return how many were tried.

    Parameters
    ----------
    bundle
        As it was written.
    values_for
        What to put in place of a byte, given the file's name and that byte; never the byte itself.
    """
    n_tried = 0
    for name in (MANIFEST, *bundle.manifest.files):
        changed = bytearray((bundle.path / name).read_bytes())
        for at, before in enumerate(bytes(changed)):
            for value in values_for(name, before):
                changed[at] = value
                assert is_refused(bundle.manifest, name, changed), f"{name}[{at}] = {value}"
                n_tried += 1
            changed[at] = before
    return n_tried


def many_values(name: str, before: int) -> Iterable[int]:
    """Return the 255 other values of a byte; of a network, which is long, the 8 one bit away."""
    if name in (NETWORK_KERAS, NETWORK_ONNX):
        return [before ^ 1 << bit for bit in range(8)]
    return [value for value in range(256) if value != before]


def is_refused(manifest: Manifest, name: str, content: bytes | bytearray) -> bool:
    """Return whether the check of one file refuses this content, as a BundleError."""
    try:
        if name == MANIFEST:
            parse_manifest(NOWHERE, bytes(content))
        else:
            check_content(NOWHERE, manifest, name, bytes(content))
    except BundleError:
        return True
    return False


def check_any_manifest(original: bytes, content: bytes) -> None:
    """Check that any content but the one written is refused, or says in all what it must.

    A content that is JSON is also given the version and the form that fit it, as somebody who
    makes bundles by hand would: it is refused or can be used, and nothing else happens.
    """
    if content != original:
        assert is_refused_or_consistent(content)
    try:
        values = json.loads(content)
        if isinstance(values, dict):
            is_refused_or_consistent(dump_manifest(values | {"version": digest(values)}))
    except (ValueError, RecursionError):
        return


def is_refused_or_consistent(content: bytes) -> bool:
    """Return whether a manifest is refused, or vouches for each of its bytes and can be used."""
    try:
        manifest = parse_manifest(NOWHERE, content)
        check_libraries(NOWHERE, manifest)
    except BundleError:
        return True
    scaler = fit_scaler("none", np.zeros((1, 1, manifest.n_features), np.float32))
    bundle = Bundle(NOWHERE, manifest, scaler)
    build_detector(manifest.recipe, bundle.scorer(np.zeros_like), bundle.reference)
    values = json.loads(content)
    return values["version"] == digest(values) and content == dump_manifest(values)


def check_any_scaler(content: bytes) -> None:
    """Check that any content of scaler.npz is refused or is a scaler of one feature.

    The same content is also tried as an array within an archive, of which every checksum is right.
    """
    for archive in (content, _archive_of(content)):
        try:
            with warnings.catch_warnings(action="ignore"):  # old ways of writing an array
                scaler = load_scaler(NOWHERE, archive, 1)
        except BundleError:
            continue
        assert scaler.offset.shape == scaler.scale.shape == (1,)
        assert np.isfinite(scaler.offset).all()
        assert (scaler.scale > 0).all()


def check_any_key_scales(content: bytes) -> None:
    """Check that any content of key_scales.npz is refused, or scales any key of one feature.

    The same content is also tried as an array within an archive, of which every checksum is right.
    """
    for archive in (content, _archive_of_keys(content)):
        try:
            with warnings.catch_warnings(action="ignore"):  # old ways of writing an array
                scales = load_key_scales(NOWHERE, archive, 1)
        except BundleError:
            continue
        rows = scales.rows([*scales.keys[:9], b"another"])
        zeros = np.zeros((len(rows), 2, 1), np.float32)
        with np.errstate(over="ignore"):
            assert not np.isnan(scales.transform(zeros, rows)).any()
        assert np.isfinite(scales.inverse(zeros.astype(np.float64), rows)).all()


def _archive_of_keys(array: bytes) -> bytes:
    """Return an archive of scales of which one array is given as the bytes of an .npy file."""
    buffer = io.BytesIO()
    one = np.ones((1, 1), np.float32)
    np.savez(buffer, keys=np.frombuffer(b"ab", np.uint8), offset=one, scale=one)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("key_lengths.npy", array)
    return buffer.getvalue()


def key_scales_seeds() -> Iterator[bytes]:
    """Yield contents of key_scales.npz: right ones, absurd numbers, and single arrays."""
    one = np.ones((2, 1), np.float32)
    yield dump_key_scales(KeyScales([b"a", "p\u00fcmp".encode()], one, one))
    for absurd in (np.nan, np.inf, -np.inf, 0, -1, 1e-45, 3e38):
        for name in ("offset", "scale"):
            buffer = io.BytesIO()
            numbers: dict[str, Any] = {
                "offset": one,
                "scale": one,
                name: np.full((2, 1), absurd, np.float32),
            }
            keys = np.frombuffer(b"ab", np.uint8)
            np.savez(buffer, keys=keys, key_lengths=np.ones(2, np.uint32), **numbers)
            yield buffer.getvalue()
    for lengths in ([2], [1, 1], [0, 2], [3], [2**32 - 1], []):
        buffer = io.BytesIO()
        np.save(buffer, np.array(lengths, np.uint32))
        yield buffer.getvalue()


def check_any_network(content: bytes) -> None:
    """Check that any content of network.onnx is let through to ONNX Runtime or refused."""
    with contextlib.suppress(BundleError):
        check_graph(NOWHERE, content)


def network_seeds() -> Iterator[bytes]:
    """Yield contents of network.onnx."""
    yield scaling_network(2, 1, 0.5)
    yield scaling_network(262_144, 2**40, 1e38)


def _archive_of(array: bytes) -> bytes:
    """Return an archive of a scaler of which one array is given as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.savez(buffer, kind=np.array("none"), scale=np.ones(1, np.float32))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("offset.npy", array)
    return buffer.getvalue()


def scaler_seeds(original: bytes) -> Iterator[bytes]:
    """Yield contents of scaler.npz: the one written, compressed ones, and single arrays."""
    yield original
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, array in arrays.items():
                archive.writestr(name, array)
        yield buffer.getvalue()
    for absurd in (np.nan, np.inf, -np.inf, 0, -1):
        buffer = io.BytesIO()
        one, other = np.ones(1, np.float32), np.full(1, absurd, np.float32)
        np.savez(buffer, kind=np.array("none"), offset=one, scale=other)
        yield buffer.getvalue()
    for array in arrays.values():
        yield array
        yield array.replace(b"(1,)", b"(9999999999999,)")
        yield array.replace(b"(1,)", b"(1,((((")
        yield array.replace(b"(1,)", b"(1L,)")


ABSURD: tuple[Any, ...] = (
    None,
    -1,
    1e308,
    10**30,
    "\u00e9\n",
    [],
    {},
    [[[]]],
    True,
    "NaN",
)
"""Values that a manifest has nowhere, or not where they are put."""


def manifest_seeds(original: bytes) -> Iterator[bytes]:
    """Yield contents of a manifest: the one written, and absurd ones."""
    values = json.loads(original)
    yield original
    yield b"[" * 5_000
    yield b'{"format_version": 1, "version": ' + b"9" * 5_000 + b"}"
    for name in sorted(values):
        for absurd in ABSURD:
            yield dump_manifest(values | {name: absurd})
        yield original.replace(b'"' + name.encode() + b'"', b'"version"', 1)
    yield dump_manifest(values | {"libraries": {"keras": "1.\u00b2"}})
    for value in (1e308, 1e-300, 0, -1):
        yield dump_manifest(values | {"threshold": values["threshold"] | {"value": value}})
    sizes: tuple[tuple[str, Any], ...] = (
        ("steps", 10**9),
        ("features", 2**40),
        ("stride", 10**30),
        ("record", "samples"),
        ("record", "image"),
        ("key_ttl_ms", 1e308),
        ("channels", 3),
    )
    for place, size in sizes:
        window = values["recipe"]["window"] | {place: size}
        yield dump_manifest(values | {"recipe": values["recipe"] | {"window": window}})
    yield original.replace(b"0.4", b"[" * 20_000, 1)
    yield original.replace(b"0.4", b"NaN", 1)
    yield original.replace(b"0.4", b"1e999", 1)
