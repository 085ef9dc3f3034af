"""Write a bundle, read it back, and refuse whatever is not as it was written."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stream_detector.bundle.arrays import (
    KEY_SCALES_FILE_BYTES_MAX,
    SCALER_BYTES_MAX,
    dump_key_scales,
    dump_scaler,
    load_key_scales,
    load_scaler,
)
from stream_detector.bundle.check_arrays import CHECKS_BYTES_MAX, dump_checks, load_checks
from stream_detector.bundle.manifest import (
    CHECKS,
    FORMAT_VERSION,
    KEY_SCALES,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    NETWORK_KERAS,
    NETWORK_ONNX,
    SCALER,
    Facts,
    Manifest,
    check_libraries,
    content_of,
    digest,
    dump_manifest,
    library_versions,
    parse_manifest,
)
from stream_detector.bundle.target import check_target
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.check_scorer import Checks, CheckScorer
from stream_detector.core.scoring.reconstruction import Reconstruct, ReconstructionScorer
from stream_detector.core.scoring.rhythm import RHYTHM
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.errors import (
    BundleError,
    BundleIntegrityError,
    BundleMismatchError,
    BundleNotFoundError,
)
from stream_detector.files import (
    NETWORK_BYTES_MAX,
    AnyPath,
    UnusableFileError,
    open_regular,
)
from stream_detector.recipes.units import units_of
from stream_detector.text import printable, shorten

BYTES_MAX: Mapping[str, int] = {
    MANIFEST: MANIFEST_BYTES_MAX,
    NETWORK_KERAS: NETWORK_BYTES_MAX,
    NETWORK_ONNX: NETWORK_BYTES_MAX,
    SCALER: SCALER_BYTES_MAX,
    KEY_SCALES: KEY_SCALES_FILE_BYTES_MAX,
    CHECKS: CHECKS_BYTES_MAX,
}
"""Largest size of each file."""

_ARRAYS = frozenset((SCALER, KEY_SCALES, CHECKS))

SELF_TEST_TOLERANCE = 1e-5
"""Engines agree to 1e-7; another network, scaler or error kind differs by far more."""


class BundleParts(NamedTuple):
    """What a bundle consists of beside its manifest.

    Parameters
    ----------
    network_keras, network_onnx
        Content of the two network files.
    scaler
        Brings windows to the range the network knows.
    key_scales
        The scale of each key; None where all have the same.
    checks
        The calibrated checks; None where the score is the reconstruction error.
    """

    network_keras: bytes
    network_onnx: bytes
    scaler: Scaler
    key_scales: KeyScales | None = None
    checks: Checks | None = None


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
    key_scales
        The scale of each key, to which windows are brought before; None where all have the same.
    checks
        The calibrated checks; None where the score is the reconstruction error.
    """

    path: Path
    manifest: Manifest
    scaler: Scaler
    key_scales: KeyScales | None = None
    checks: Checks | None = None

    @property
    def network_onnx(self) -> Path:
        """Return the path of the network for `stream_detector.engines.onnx`."""
        return self.path / NETWORK_ONNX

    @property
    def network_keras(self) -> Path:
        """Return the path of the network for `stream_detector.engines.keras`."""
        return self.path / NETWORK_KERAS

    @property
    def image(self) -> ImageShape | None:
        """Return what the images of the records are, None where records are no images."""
        return self.manifest.recipe.window.image

    @property
    def features(self) -> Features:
        """Return names, origin and units of the features, and the scales of keys."""
        # One series has a name by chance, such as that of its file: its scale is that of any key.
        has_fleet = self.key_scales is not None and len(self.key_scales) > 1
        warm_up_samples = self.manifest.recipe.scaling.warm_up_samples if has_fleet else 0
        names, origin = self.manifest.features, self.manifest.origin
        recipe = self.manifest.recipe
        units, countings = units_of(recipe.data.units, names), recipe.countings(names)
        return Features(names, origin, self.key_scales, warm_up_samples, units, countings)

    @property
    def reference(self) -> BundleReference:
        """Return name and version, as alerts carry them."""
        return BundleReference(self.manifest.name, self.manifest.version)

    def scorer(self, reconstruct: Reconstruct) -> ReconstructionScorer | CheckScorer:
        """Return the scorer of this bundle.

        Parameters
        ----------
        reconstruct
            Its network, loaded by an engine.
        """
        normal_errors = self.manifest.normal_errors
        network = ReconstructionScorer(
            reconstruct=reconstruct,
            scaler=self.scaler,
            error_kind=self.manifest.threshold.error,
            threshold=self.manifest.threshold.value,
            bundle=self.reference,
            image=self.image,
            normal_errors=np.array(normal_errors) if normal_errors else None,
        )
        return network if self.checks is None else CheckScorer(network, self.checks)

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

    def check_self_test(self, reconstruct: Reconstruct) -> None:
        """Score the self-test window with a loaded network and compare with what is expected.

        Raises
        ------
        BundleIntegrityError
            If the error differs by more than `SELF_TEST_TOLERANCE` (relative above 1).
        """
        test = self.manifest.self_test
        window: FloatArray = np.array([test.window], dtype=np.float32)  # (1, n_steps, n_features)
        measured = float(score_windows(self.scorer(reconstruct), window)[0])
        expected = test.score
        if not abs(measured - expected) <= SELF_TEST_TOLERANCE * max(1.0, abs(expected)):
            message = (
                f"bundle {self.path}: the self-test window must give the score {expected!r}, "
                f"received {measured!r}; this machine's libraries compute something else: "
                "use the versions in its manifest, or train it again"
            )
            raise BundleIntegrityError(message)


def write_bundle(
    out: AnyPath,
    facts: Facts,
    parts: BundleParts,
    *,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle, replacing an older one of the same recipe at the same place.

    Parameters
    ----------
    out
        Its folder; the parents are made.
    facts
        What training knows.
    parts
        Content of the other files.
    overwrite
        Replace a bundle of any recipe.

    Returns
    -------
    The bundle as read back and checked.

    Raises
    ------
    ConfigError
        If `out` is there and is not a bundle, or that of another recipe.
    BundleError
        If it cannot be written.
    """
    out = Path(out)
    check_target(out, facts.name, overwrite=overwrite)
    content = {
        NETWORK_KERAS: parts.network_keras,
        NETWORK_ONNX: parts.network_onnx,
        SCALER: dump_scaler(parts.scaler),
    }
    if parts.key_scales is not None:
        content[KEY_SCALES] = dump_key_scales(parts.key_scales)
    if parts.checks is not None:
        content[CHECKS] = dump_checks(parts.checks)
    values = facts.model_dump(mode="json") | {
        "format_version": FORMAT_VERSION,
        "libraries": library_versions(),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    }
    values = {"format_version": FORMAT_VERSION, "version": digest(values)} | values
    try:
        place(out, content | {MANIFEST: dump_manifest(values)})
    except OSError as error:
        message = f"bundle {out} cannot be written: {error}; choose another folder with --out"
        raise BundleError(message) from None
    return read_bundle(out)


def read_bundle(path: AnyPath) -> Bundle:
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
    path = Path(path)
    manifest_path = path / MANIFEST
    try:
        if not manifest_path.is_file():
            message = f"bundle {path}: no {MANIFEST} there; give the folder that train wrote"
            raise BundleNotFoundError(message)
        manifest = parse_manifest(manifest_path, _read(path, MANIFEST))
        _check_entries(path, (MANIFEST, *content_of(manifest.recipe)))
        check_libraries(path, manifest)
        for name in (NETWORK_KERAS, NETWORK_ONNX):
            _check_file(path, manifest, name)
        content = {name: _read(path, name) for name in manifest.files if name in _ARRAYS}
    except (OSError, ValueError) as error:
        message = f"bundle {path} cannot be read: {error}; check that this user may read it"
        raise BundleError(message) from None
    for name, data in content.items():
        check_content(path, manifest, name, data)
    scaler = load_scaler(path, content[SCALER], manifest.n_features)
    key_scales = None
    if KEY_SCALES in content:
        key_scales = load_key_scales(path, content[KEY_SCALES], manifest.n_features)
    checks = None
    if CHECKS in content:
        checks = load_checks(path, content[CHECKS], manifest.n_steps, manifest.n_features)
        _check_rhythm(path, manifest, checks)
    return Bundle(path, manifest, scaler, key_scales, checks)


def _check_rhythm(path: Path, manifest: Manifest, checks: Checks) -> None:
    """Refuse a bundle with a check `rhythm` that does not know when peaks come, or the reverse."""
    is_wanted = any(each.kind == RHYTHM for each in manifest.recipe.check)
    if is_wanted != (checks.rhythm is not None):
        wanted, received = ("limits", "none") if is_wanted else ("no limits", "some")
        message = (
            f"bundle {path}: {CHECKS}: expected {wanted} of the check {RHYTHM!r}, as the recipe "
            f"says, received {received}; train the bundle again"
        )
        raise BundleIntegrityError(message)


def _read(path: Path, name: str) -> bytes:
    """Return the content of a file; OSError names the file."""
    with _open(path, name) as file:
        return file.read(BYTES_MAX[name])


@contextmanager
def _open(path: Path, name: str) -> Iterator[BufferedReader]:
    """Open a file of the bundle whose size is within its limit.

    Raises
    ------
    BundleIntegrityError
        If it is no regular file, or larger.
    """
    try:
        with open_regular(path / name, BYTES_MAX[name]) as file:
            yield file
    except UnusableFileError as error:
        message = f"bundle {path}: {name}: {error}; copy the bundle again or retrain"
        raise BundleIntegrityError(message) from None


def _check_file(path: Path, manifest: Manifest, name: str) -> None:
    """Refuse a file that is not the one its manifest names, without holding it in memory."""
    with _open(path, name) as file:
        _compare(path, manifest, name, hashlib.file_digest(file, "sha256").hexdigest())


def check_content(path: Path, manifest: Manifest, name: str, data: bytes) -> None:
    """Refuse a file that is not the one its manifest names.

    Raises
    ------
    BundleIntegrityError
        Naming both sha256.
    """
    _compare(path, manifest, name, hashlib.sha256(data).hexdigest())


def _compare(path: Path, manifest: Manifest, name: str, received: str) -> None:
    """Refuse a file whose sha256 is not the one in the manifest."""
    if received != manifest.files[name]:
        message = (
            f"bundle {path}: {name} is not the file that was written: expected sha256 "
            f"{manifest.files[name]}, received {received}; copy the bundle again or retrain"
        )
        raise BundleIntegrityError(message)


def place(out: Path, content: Mapping[str, bytes]) -> None:
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


def _check_entries(path: Path, names: Collection[str]) -> None:
    """Refuse a folder that lacks a file, holds another, or holds a link."""
    entries = {entry.name: entry for entry in path.iterdir()}
    missing = sorted(set(names) - set(entries))
    if missing:
        message = f"bundle {path}: {', '.join(missing)} missing; copy the whole folder or retrain"
        raise BundleNotFoundError(message)
    extra = sorted(set(entries) - set(names))
    if extra:
        shown = shorten(printable(", ".join(extra)))
        message = f"bundle {path}: {shown} does not belong there; take it away"
        raise BundleIntegrityError(message)
    for name, entry in sorted(entries.items()):
        if entry.is_symlink() or not entry.is_file():
            message = f"bundle {path}: {name} is a link or no file; copy the file itself there"
            raise BundleIntegrityError(message)
