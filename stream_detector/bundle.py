"""The bundle on disk: network, scaler, threshold, and a manifest that vouches for them.

A bundle is a folder of exactly four files. It is written beside its place and renamed, so nobody
sees half of one, and read without pickle, after every file's sha256 was checked. Its version is a
digest of the manifest, which names those sha256: the same content always has the same version.
"""

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_detector.core.detector import Detector
from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scaling import Scaler
from stream_detector.core.scoring import ErrorKind
from stream_detector.core.thresholds import ThresholdMethod
from stream_detector.errors import (
    BundleError,
    BundleIntegrityError,
    BundleMismatchError,
    BundleNotFoundError,
    ConfigError,
)
from stream_detector.ports import Reconstructor
from stream_detector.recipes import Recipe

FORMAT_VERSION = 1
SELF_TEST_TOLERANCE = 1e-5
"""Engines agree to 1e-7; another network, scaler or error kind differs by far more."""

MANIFEST = "manifest.json"
NETWORK_KERAS = "network.keras"
NETWORK_ONNX = "network.onnx"
SCALER = "scaler.npz"
CONTENT = (NETWORK_KERAS, NETWORK_ONNX, SCALER)

_ONNXRUNTIME_MIN = (1, 20)
"""The oldest ONNX Runtime the project is tested with."""
_LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "numpy")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Frozen, and nothing in it that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingData(_Part):
    """What the network was fitted to."""

    name: str
    split: str
    fingerprint: Sha256
    n_windows: int


class Threshold(_Part):
    """The threshold and how it came about; `n_windows` normal windows calibrated it."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    error: ErrorKind
    method: ThresholdMethod
    calibrated_on: Literal["held-out", "train"]
    n_windows: int


class SelfTest(_Part):
    """A window in the signal's unit, (n_steps, n_features), and the error it must give."""

    window: tuple[tuple[Finite, ...], ...]
    reconstruction_error: Finite


class Facts(_Part):
    """All that training knows about a bundle."""

    name: str
    n_steps: Annotated[int, Field(ge=1)]
    n_features: Annotated[int, Field(ge=1)]
    data: TrainingData
    threshold: Threshold
    metrics: dict[str, int | float | str | None] | None
    self_test: SelfTest
    recipe: Recipe


class Manifest(Facts):
    """Everything `manifest.json` says."""

    format_version: int
    version: Sha256
    libraries: dict[str, str]
    files: dict[str, Sha256]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were all found to be the ones that were written.

    Parameters
    ----------
    path
        Its folder.
    manifest
        What `manifest.json` says.
    scaler
        Brings windows to the range the network knows.
    """

    path: Path
    manifest: Manifest
    scaler: Scaler

    @property
    def network_onnx(self) -> Path:
        """Return the path of the network for `stream_detector.engines.onnx`."""
        return self.path / NETWORK_ONNX

    @property
    def network_keras(self) -> Path:
        """Return the path of the network for `stream_detector.engines.keras`."""
        return self.path / NETWORK_KERAS

    def detector(self, model_rows_max: int = 2048) -> Detector:
        """Return the detector this bundle describes; `model_rows_max` as in `Detector`."""
        manifest = self.manifest
        severity = manifest.recipe.alerting.severity
        return Detector(
            bundle=BundleReference(manifest.name, manifest.version),
            shape=(manifest.n_steps, manifest.n_features),
            sample_interval_ms=manifest.recipe.window.sample_interval_ms,
            scaler=self.scaler,
            error_kind=manifest.threshold.error,
            threshold=manifest.threshold.value,
            severities=tuple(sorted(severity.items(), key=lambda item: item[1])),
            model_rows_max=model_rows_max,
        )

    def check_shape(self, windows: FloatArray) -> None:
        """Refuse windows of another shape than the bundle's.

        Raises
        ------
        BundleMismatchError
            Naming both shapes.
        """
        expected = (self.manifest.n_steps, self.manifest.n_features)
        if windows.shape[1:] != expected:
            message = (
                f"bundle {self.path} is for windows of {expected[0]} steps x {expected[1]} "
                f"features, received windows of shape {windows.shape[1:]}; train a bundle for them"
            )
            raise BundleMismatchError(message)

    def check_self_test(self, reconstruct: Reconstructor) -> None:
        """Score the self-test window with a loaded network and compare with what is expected.

        Raises
        ------
        BundleIntegrityError
            If the error differs by more than `SELF_TEST_TOLERANCE` (relative above 1).
        """
        test = self.manifest.self_test
        window: FloatArray = np.array([test.window], dtype=np.float32)  # (1, n_steps, n_features)
        measured = float(self.detector().score(window, reconstruct)[0])
        expected = test.reconstruction_error
        if not abs(measured - expected) <= SELF_TEST_TOLERANCE * max(1.0, abs(expected)):
            message = (
                f"bundle {self.path}: the self-test window must give the error {expected!r}, "
                f"received {measured!r}; this machine's libraries compute something else: "
                "use the versions in its manifest, or train it again"
            )
            raise BundleIntegrityError(message)


def write_bundle(
    out: Path, facts: Facts, network_keras: bytes, network_onnx: bytes, scaler: Scaler
) -> Bundle:
    """Write a bundle, replacing an older one at the same place.

    Parameters
    ----------
    out
        Its folder; the parents are made.
    facts
        What training knows.
    network_keras, network_onnx
        Content of the two network files.
    scaler
        Goes into scaler.npz.

    Returns
    -------
    The bundle as read back and checked.

    Raises
    ------
    ConfigError
        If `out` is there and is not a bundle.
    BundleError
        If it cannot be written.
    """
    check_target(out)
    content = dict(zip(CONTENT, (network_keras, network_onnx, _dump_scaler(scaler)), strict=True))
    values = facts.model_dump(mode="json") | {
        "format_version": FORMAT_VERSION,
        "libraries": library_versions(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    }
    values = {"format_version": FORMAT_VERSION, "version": _digest(values)} | values
    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    try:
        _place(out, content | {MANIFEST: text.encode()})
    except OSError as error:
        message = f"bundle {out} cannot be written: {error}; choose another folder with --out"
        raise BundleError(message) from None
    return read_bundle(out)


def check_target(out: Path) -> None:
    """Refuse to write a bundle over anything that is not one.

    Raises
    ------
    ConfigError
        If `out` is a file, or a folder that holds anything else than a bundle's files.
    """
    if not out.exists() and not out.is_symlink():
        return
    others = [out.name]
    if out.is_dir() and not out.is_symlink():
        others = sorted(entry.name for entry in out.iterdir() if entry.name not in _ALL)
    if others:
        message = (
            f"{out} is there and is not a bundle: it has {', '.join(others[:3])}; "
            "choose another folder with --out, or move it away"
        )
        raise ConfigError(message)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check every file of it.

    Raises
    ------
    BundleNotFoundError
        If the folder, or one of the files, is not there.
    BundleIntegrityError
        If a file is not the one that was written, or something is there that does not belong.
    BundleMismatchError
        If it was made by a newer format or for other library versions.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        message = f"bundle {path}: no {MANIFEST} there; give the folder that train wrote"
        raise BundleNotFoundError(message)
    _check_entries(path)
    manifest = _read_manifest(manifest_path)
    _check_libraries(path, manifest)
    content = {name: (path / name).read_bytes() for name in CONTENT}
    for name, data in content.items():
        received = hashlib.sha256(data).hexdigest()
        if received != manifest.files[name]:
            message = (
                f"bundle {path}: {name} is not the file that was written: expected sha256 "
                f"{manifest.files[name]}, received {received}; copy the bundle again or retrain"
            )
            raise BundleIntegrityError(message)
    return Bundle(path, manifest, _load_scaler(path, content[SCALER], manifest.n_features))


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries a bundle depends on, those that are installed."""
    versions = {}
    for name in _LIBRARIES:
        version = _installed_version(name)
        if version is not None:
            versions[name] = version
    return versions


_ALL = frozenset((*CONTENT, MANIFEST))


def _digest(values: Mapping[str, Any]) -> str:
    """Return the version: a digest of everything in the manifest but the version."""
    rest = {name: value for name, value in values.items() if name != "version"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _place(out: Path, content: Mapping[str, bytes]) -> None:
    """Write the files into a new folder beside `out`, make sure of them, and rename it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    fresh, stale = (out.parent / f".{out.name}.{role}-{token}" for role in ("new", "old"))
    fresh.mkdir()
    try:
        for name, data in content.items():
            with (fresh / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(fresh)
        if out.exists():
            out.rename(stale)
        fresh.rename(out)
        _sync_folder(out.parent)
    except OSError:
        if stale.exists() and not out.exists():
            stale.rename(out)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(stale, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    """Make sure that a folder's entries outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_entries(path: Path) -> None:
    """Refuse a folder that lacks a file, holds another, or holds a link."""
    entries = {entry.name: entry for entry in path.iterdir()}
    missing = sorted(_ALL - set(entries))
    if missing:
        message = f"bundle {path}: {', '.join(missing)} missing; copy the whole folder or retrain"
        raise BundleNotFoundError(message)
    extra = sorted(set(entries) - _ALL)
    if extra:
        message = f"bundle {path}: {', '.join(extra)} does not belong there; take it away"
        raise BundleIntegrityError(message)
    for name, entry in sorted(entries.items()):
        if entry.is_symlink() or not entry.is_file():
            message = f"bundle {path}: {name} is a link or no file; copy the file itself there"
            raise BundleIntegrityError(message)


def _read_manifest(path: Path) -> Manifest:
    """Return the manifest, refusing one that was changed or is of a newer format."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        format_version = values["format_version"]
        version = values["version"]
        digest = _digest(values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{path} cannot be read: {error!r}; copy the bundle again or retrain"
        raise BundleIntegrityError(message) from None
    if format_version != FORMAT_VERSION:
        message = (
            f"{path}: expected format_version {FORMAT_VERSION}, received {format_version!r}; "
            "use the stream-detector that wrote it, or train it again with this one"
        )
        raise BundleMismatchError(message)
    if version != digest:
        message = (
            f"{path} was changed: expected version {digest} for what it says, received "
            f"{version!r}; copy the bundle again or retrain"
        )
        raise BundleIntegrityError(message)
    try:
        manifest = Manifest.model_validate_json(json.dumps(values))
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        message = f"{path} does not say what it must: {places}; train the bundle again"
        raise BundleIntegrityError(message) from None
    _check_manifest(path, manifest)
    return manifest


def _check_manifest(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest that names other files, or a self-test of another shape."""
    if set(manifest.files) != set(CONTENT):
        message = (
            f"{path}: expected the files {', '.join(CONTENT)}, received "
            f"{', '.join(sorted(manifest.files))}; train the bundle again"
        )
        raise BundleIntegrityError(message)
    window = manifest.self_test.window
    shapes = (len(window), *{len(step) for step in window})
    if shapes != (manifest.n_steps, manifest.n_features):
        message = (
            f"{path}: expected a self-test window of ({manifest.n_steps}, "
            f"{manifest.n_features}), received {shapes}; train the bundle again"
        )
        raise BundleIntegrityError(message)


def _check_libraries(path: Path, manifest: Manifest) -> None:
    """Refuse library versions that could give other scores or cannot read the networks."""
    onnxruntime = _installed_version("onnxruntime")
    if onnxruntime is not None and _numbers(onnxruntime) < _ONNXRUNTIME_MIN:
        wanted = ".".join(map(str, _ONNXRUNTIME_MIN))
        message = (
            f"bundle {path}: expected onnxruntime {wanted} or newer, received {onnxruntime}; "
            f"pip install 'onnxruntime>={wanted}'"
        )
        raise BundleMismatchError(message)
    made_with, here = manifest.libraries.get("keras"), _installed_version("keras")
    if made_with and here and _numbers(made_with)[0] != _numbers(here)[0]:
        message = (
            f"bundle {path}: made with keras {made_with}, received keras {here}; "
            f"pip install 'keras=={_numbers(made_with)[0]}.*', or train it again"
        )
        raise BundleMismatchError(message)


def _installed_version(name: str) -> str | None:
    """Return a library's version without importing it, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, int]:
    """Return major and minor of a version such as 3.15.1 or 1.20rc1."""
    major, minor = (*version.split("."), "0")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit())[:3] or 0)


def _dump_scaler(scaler: Scaler) -> bytes:
    """Return the scaler as the content of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, kind=np.array(scaler.kind), offset=scaler.offset, scale=scaler.scale)
    return buffer.getvalue()


def _load_scaler(path: Path, content: bytes, n_features: int) -> Scaler:
    """Return the scaler from the content of an .npz file; nothing in it is executed."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            scaler = Scaler(str(arrays["kind"]), arrays["offset"], arrays["scale"])
    except (OSError, ValueError, KeyError) as error:
        message = f"bundle {path}: {SCALER} cannot be read: {error!r}; train the bundle again"
        raise BundleIntegrityError(message) from None
    for name, array in (("offset", scaler.offset), ("scale", scaler.scale)):
        if array.dtype != np.float32 or array.shape != (n_features,):
            message = (
                f"bundle {path}: {SCALER} {name}: expected float32 ({n_features},), received "
                f"{array.dtype} {array.shape}; train the bundle again"
            )
            raise BundleMismatchError(message)
    return scaler
