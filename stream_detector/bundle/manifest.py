"""The manifest of a bundle: facts, library versions, and the sha256 of every other file."""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream_detector.core.features import NAME_CHARACTERS_MAX
from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.core.scoring.scorer import SCALED_MAX
from stream_detector.core.scoring.thresholds import THRESHOLD_MIN
from stream_detector.errors import BundleIntegrityError, BundleMismatchError, ConfigError
from stream_detector.recipes import BundleName, Recipe, combination_problems
from stream_detector.recipes.thresholds import CalibratedOn
from stream_detector.recipes.units import units_of
from stream_detector.text import printable, shorten

FORMAT_VERSION = 5

MANIFEST = "manifest.json"
NETWORK_KERAS = "network.keras"
NETWORK_ONNX = "network.onnx"
SCALER = "scaler.npz"
KEY_SCALES = "key_scales.npz"
CHECKS = "checks.npz"
CONTENT = (NETWORK_KERAS, NETWORK_ONNX, SCALER)
"""Files that every bundle has beside the manifest."""
MAYBE = (KEY_SCALES, CHECKS)
"""Files that a bundle has where its recipe wants them."""

MANIFEST_BYTES_MAX = 16 * 1024 * 1024
"""Largest manifest. Most of it is the self-test window, about 32 bytes a value, and a window has
at most `recipes.sections.WINDOW_VALUES_MAX` values."""

LEFT_OUT_KEYS_MAX = 20
"""Most keys whose windows left out of training are counted one by one."""

LEFT_OUT_ROWS_MAX = 200
"""Most windows left out of training that a bundle names, and as many of those that were kept."""

_ONNXRUNTIME_MIN = (1, 20)
"""The oldest ONNX Runtime that the project's own dependencies allow."""
_LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "numpy")

FLOAT32_MAX = 3.4028234663852886e38
"""Largest float32. An origin beyond it would make every value infinite."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9A-Za-z.+-]{0,64})?$")]
THRESHOLD_MAX: Mapping[ErrorKind, float] = {
    "mae": SCALED_MAX,
    "mse": SCALED_MAX**2,
    "bce": SCALED_MAX,
}
"""Largest threshold by kind of error: about that of a window at the limit of what is scored, which
the network reconstructs as zeros. Above it nothing would ever be anomalous."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
NormalError = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Origin = Annotated[float, Field(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]


class _Part(BaseModel):
    """Part of a manifest; it is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


FeatureName = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Row = Annotated[int, Field(ge=0)]


class TrainingData(_Part):
    """The training data; `n_windows` normal windows were fitted to."""

    name: str
    split: str
    fingerprint: Sha256
    n_windows: int


class Calibration(_Part):
    """How often the windows that a threshold is fitted to exceed it, against what was stated.

    `days` are days of one series that the windows cover, None without times. `n_clusters` are the
    alerts that these windows would be, without times the windows above. `stated` and `reached` are
    false alarms a day and series, or a share of windows; `low` and `high` are the 95 % interval of
    what was reached. `extrapolated` says that the rate is too low to have been seen.
    """

    unit: Literal["per day", "share"]
    days: Finite | None
    n_clusters: int
    stated: Finite | None
    reached: Finite
    low: Finite
    high: Finite
    extrapolated: bool


class Threshold(_Part):
    """The threshold, and the method that fitted it to `n_windows` normal windows."""

    value: Annotated[float, Field(ge=THRESHOLD_MIN, allow_inf_nan=False)]
    error: ErrorKind
    method: str
    calibrated_on: CalibratedOn
    n_windows: int
    calibration: Calibration | None = None


class LeftOutKey(_Part):
    """Training windows of a key, "" where windows have none, and how many were left out.

    `left_out` and `kept` are some of both, as rows of the training part: enough to show a person
    what they look like.
    """

    key: str
    n_windows: Annotated[int, Field(ge=1)]
    n_left_out: Annotated[int, Field(ge=0)]
    left_out: Annotated[tuple[Row, ...], Field(max_length=LEFT_OUT_ROWS_MAX)] = ()
    kept: Annotated[tuple[Row, ...], Field(max_length=LEFT_OUT_ROWS_MAX)] = ()

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        """Refuse rows that are more than the windows, or in both lists."""
        n_kept = self.n_windows - self.n_left_out
        is_few = len(self.left_out) <= self.n_left_out and len(self.kept) <= n_kept
        rows = (*self.left_out, *self.kept)
        if not is_few or len(set(rows)) < len(rows):
            message = f"expected rows of {self.n_left_out} windows left out and {n_kept} kept"
            raise ValueError(message)
        return self


class LeftOut(_Part):
    """Training windows that were left out because they are unlike the others.

    `by_key` has the keys with the most of them, the most first, up to `LEFT_OUT_KEYS_MAX`.
    """

    n_windows: Annotated[int, Field(ge=1)]
    n_left_out: Annotated[int, Field(ge=0)]
    n_keys: Annotated[int, Field(ge=1)]
    by_key: Annotated[tuple[LeftOutKey, ...], Field(min_length=1, max_length=LEFT_OUT_KEYS_MAX)]

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        """Refuse keys that have more windows than there are, and rows that do not exist."""
        counts = (
            (self.n_keys, len(self.by_key)),
            (self.n_windows, sum(each.n_windows for each in self.by_key)),
            (self.n_left_out, sum(each.n_left_out for each in self.by_key)),
            (self.n_windows, self.n_left_out),
        )
        rows = [row for each in self.by_key for row in (*each.left_out, *each.kept)]
        if any(part > whole for whole, part in counts) or max(rows, default=-1) >= self.n_windows:
            message = f"expected parts of {self.n_windows} windows, {self.n_left_out} left out"
            raise ValueError(message)
        return self

    def counts(self) -> dict[str, Any]:
        """Return the counts alone, without rows."""
        return self.model_dump(exclude={"by_key": {"__all__": {"left_out", "kept"}}})


class SelfTest(_Part):
    """A window in the signal's unit, (n_steps, n_features), and its expected score."""

    window: tuple[tuple[Finite, ...], ...]
    score: Finite


class Facts(_Part):
    """What training records about a bundle."""

    name: BundleName
    n_steps: Annotated[int, Field(ge=1)]
    n_features: Annotated[int, Field(ge=1)]
    features: tuple[FeatureName, ...]
    origin: tuple[Origin, ...] = ()
    normal_errors: tuple[NormalError, ...] = ()
    data: TrainingData
    threshold: Threshold
    metrics: dict[str, int | float | str | None] | None
    self_test: SelfTest
    recipe: Recipe
    history: dict[str, tuple[Finite, ...]] = {}
    # A bundle of one device is written as it was before there were several.
    n_devices: Annotated[int, Field(ge=1, exclude_if=lambda n_devices: n_devices == 1)] = 1
    warnings: tuple[str, ...] = ()
    left_out: LeftOut | None = None


class Manifest(Facts):
    """The content of `manifest.json`."""

    format_version: int
    version: Sha256
    libraries: dict[str, Version]
    files: dict[str, Sha256]


def content_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the files that a bundle of this recipe has beside the manifest."""
    content = list(CONTENT)
    if recipe.scaling.per_key:
        content.append(KEY_SCALES)
    if recipe.scorer.kind == "checks":
        content.append(CHECKS)
    return tuple(content)


def library_versions() -> dict[str, str]:
    """Return the versions of those libraries a bundle depends on that are installed."""
    versions = {}
    for name in _LIBRARIES:
        version = _installed_version(name)
        if version is not None:
            versions[name] = version
    return versions


def digest(values: Mapping[str, Any]) -> str:
    """Return the bundle's version: a digest of everything else in the manifest."""
    rest = {name: value for name, value in values.items() if name != "version"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump_manifest(values: Mapping[str, Any]) -> bytes:
    """Return the content of `manifest.json`, in the only form that is accepted."""
    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode()


def parse_manifest(path: Path, content: bytes) -> Manifest:
    """Return the manifest, refusing one that was changed or is of another format.

    Parameters
    ----------
    path
        Path of the file, for messages.
    content
        Content of the file.

    Raises
    ------
    BundleIntegrityError
        If it differs in any byte from what was written, or values are missing or wrong.
    BundleMismatchError
        If it is of another format version.
    """
    try:
        values = json.loads(content.decode())
        format_version = values["format_version"]
        version = values["version"]
        expected = digest(values)
        written = dump_manifest(values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"{path} cannot be read: {shorten(repr(error))}; copy the bundle again or retrain"
        raise BundleIntegrityError(message) from None
    if format_version != FORMAT_VERSION:
        message = (
            f"{path}: expected format_version {FORMAT_VERSION}, received "
            f"{shorten(repr(format_version))}; "
            "train the bundle again, or use the version of stream-detector that wrote it"
        )
        raise BundleMismatchError(message)
    if version != expected:
        message = (
            f"{path} was changed: expected version {expected} for its content, received "
            f"{shorten(repr(version))}; copy the bundle again or retrain"
        )
        raise BundleIntegrityError(message)
    if content != written:  # white space, a repeated key, a number in another notation
        message = (
            f"{path} was changed: it has the same values, but is written in another way; "
            "copy the bundle again or retrain"
        )
        raise BundleIntegrityError(message)
    try:
        manifest = Manifest.model_validate_json(json.dumps(values))
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        places = shorten(printable(places))
        message = f"{path}: missing or wrong values: {places}; train the bundle again"
        raise BundleIntegrityError(message) from None
    _check_manifest(path, manifest)
    return manifest


def _check_manifest(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself, or with which nothing would ever be anomalous."""
    expected = content_of(manifest.recipe)
    if set(manifest.files) != set(expected):
        received = shorten(printable(", ".join(sorted(manifest.files))))
        message = (
            f"{path}: expected the files {', '.join(expected)}, received {received}; train the "
            "bundle again"
        )
        raise BundleIntegrityError(message)
    window, shape = manifest.self_test.window, (manifest.n_steps, manifest.n_features)
    recipe = manifest.recipe.window
    shapes: dict[str, tuple[int, ...]] = {
        "a self-test window": (len(window), *sorted({len(step) for step in window})),
        "a recipe for windows": (recipe.steps, recipe.features),
    }
    for what, found in shapes.items():
        if found != shape:
            message = (
                f"{path}: expected {what} of {shape}, received {shorten(str(found))}; train the "
                "bundle again"
            )
            raise BundleIntegrityError(message)
    of_features = {"origin": manifest.origin, "normal error": manifest.normal_errors}
    for what, numbers in of_features.items():
        if len(numbers) not in (0, manifest.n_features):
            message = (
                f"{path}: expected the {what} of each of {manifest.n_features} features, received "
                f"{len(numbers)}; train the bundle again"
            )
            raise BundleIntegrityError(message)
    names = manifest.features
    if len(names) != manifest.n_features or len(set(names)) < len(names):
        message = (
            f"{path}: expected different names of {manifest.n_features} features, received "
            f"{len(set(names))} among {len(names)}; train the bundle again"
        )
        raise BundleIntegrityError(message)
    try:
        units_of(manifest.recipe.data.units, names)
    except ConfigError as error:
        message = f"{path}: recipe: {shorten(printable(str(error)))}; train the bundle again"
        raise BundleIntegrityError(message) from None
    problems = list(combination_problems(manifest.recipe.model_dump(exclude_defaults=True)))
    if problems:
        message = f"{path}: recipe: {shorten('; '.join(problems))}; train the bundle again"
        raise BundleIntegrityError(message)
    threshold = manifest.threshold
    if threshold.value > THRESHOLD_MAX[threshold.error]:
        message = (
            f"{path}: expected a threshold of at most {THRESHOLD_MAX[threshold.error]:g}, received "
            f"{threshold.value!r}: no window that is scored could exceed it; train the bundle again"
        )
        raise BundleIntegrityError(message)


def check_libraries(path: Path, manifest: Manifest) -> None:
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
    # Not `isdigit`, which is true of characters that `int` refuses.
    found = re.match(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?", version)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
