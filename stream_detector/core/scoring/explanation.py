"""Which features, which span of time, and what was expected there instead.

Pure. Every alert pays for its explanation, so this is a few passes over one
window and lists of at most 64 points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, LinearUnit
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction_error import ErrorKind, value_errors
from stream_detector.core.scoring.scaling import Scaler

N_FEATURES_MAX = 3
"""Most features that are shown with what was expected and seen."""

N_POINTS_MAX = 64
"""Most times at which they are shown."""

N_UNRELIABLE_MAX = 16
"""Most features that are named because they were not believed."""

UnreliableReason = Literal["noise", "off"]
RhythmKind = Literal["normal", "early", "late", "irregular", "missing"]

WORST_SHARE_MIN = 0.5
"""A step belongs to the worst span from this part of the largest step error on."""

_POINTS = np.arange(N_POINTS_MAX)


@dataclass(frozen=True, slots=True)
class FeatureExplanation:
    """What was expected of one feature over the worst span, and what was seen.

    Parameters
    ----------
    feature
        Which feature, counted from 0.
    share
        Its part of the window's error, 0 to 1; see `shares`.
    expected
        What the network reconstructed at `times_ms`, in the signal's unit.
    observed
        What was measured then, in the same unit; null where the value was missing and imputed.
    name
        Its name in the data; `feature_0` and so on where the data names none.
    low
        Lower end of what is normal, in the same unit, of what the check looked at: of `flat` and
        `noise` how much the feature varies, of `peak` its largest step, of `level` its value or how
        far it moves, of `shape` its value. Of a feature that counts by its logarithm, what is no
        value is a factor. Null where that is unknown.
    high
        Upper end of it.
    """

    feature: int
    share: float
    expected: tuple[float, ...]
    observed: tuple[float | None, ...]
    name: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class ImageExplanation:
    """Where in an image the error lies.

    Parameters
    ----------
    n_rows
        Rows of the image, in pixels.
    n_columns
        Columns of the image, in pixels.
    n_channels
        Values of a pixel: 1 of grey, 3 of colour.
    first_row
        First of the worst rows, counted from 0 at the top: the contiguous ones around the largest
        error that have at least half of it. Where rows and columns were nine tenths of the image,
        only the error beyond that of the median pixel counts, or of a brighter one, until they are
        less. All rows and columns where the error is about the same everywhere.
    last_row
        Last of them, included.
    first_column
        First of the worst columns within these rows, counted from 0 at the left.
    last_column
        Last of them, included.
    share
        Part of the whole error that lies in these rows and columns, 0 to 1.
    heat_map
        The error of each pixel as a grey PNG in base64, at most 64 x 64 pixels and 6,144
        characters; of a larger image each pixel is the mean of a square. Black is no error.
    heat_map_max
        The error that is white on the heat map, in the unit of the scaled image.
    """

    n_rows: int
    n_columns: int
    n_channels: int
    first_row: int
    last_row: int
    first_column: int
    last_column: int
    share: float
    heat_map: str
    heat_map_max: float


@dataclass(frozen=True, slots=True)
class UnreliableFeature:
    """A feature that was not believed, and why.

    Parameters
    ----------
    feature
        Which feature, counted from 0.
    name
        Its name in the data.
    reason
        `noise` where it is more than ten times as large as usual, `off` where it is less than a
        tenth as large, as of a sensor that came loose.
    """

    feature: int
    name: str
    reason: UnreliableReason


@dataclass(frozen=True, slots=True)
class RhythmExplanation:
    """When the peak came that a window was cut round.

    Parameters
    ----------
    kind
        `normal`; `early` or `late`, where the interval is out of its limits; `irregular`, where it
        differs too much from the one before; the one that is farther from normal; or `missing`:
        there is no peak.
    interval_ms
        Time since the peak before; null where there was none within `pause_ms`.
    before_ms
        The same of the peak before; null where both together are longer than `pause_ms`.
    low_ms
        Shortest interval that is normal.
    high_ms
        Longest interval that is normal.
    change_max
        By which factor an interval is normally longer or shorter than the one before, at most.
    pause_ms
        Time without a peak from which on one is missing.
    """

    kind: RhythmKind
    interval_ms: float | None
    before_ms: float | None
    low_ms: float
    high_ms: float
    change_max: float
    pause_ms: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in a window the error lies: when and in which features, or in which pixels.

    Parameters
    ----------
    worst_start_ms
        Start of the worst span: the contiguous steps around the largest error that have at least
        half of it; the start of the window where it is an image. Where the bundle knows the normal
        error of each feature, errors count as much as the share of their feature.
    worst_end_ms
        End of the worst span.
    features
        At most 3 features, those with the largest shares, the largest first; empty for an image.
    shares
        Each feature's part of the window's error, in the bundle's order of features; they sum to 1.
        Where the bundle knows the normal error of each feature, of the error beyond it; with
        checks, what a feature adds to the errors of others is its own. Empty for an image.
    times_ms
        At most 64 times, spread evenly over the worst span, including its first and last step.
        Empty for an image.
    imputed_share
        Part of the window's values that were missing and imputed, 0 to 1.
    n_gaps
        How often the series started again after a gap in the last `flood_window_ms` before the
        event.
    image
        Where in an image the error lies; null where the record is no image.
    sentence
        What is unusual, in one sentence of at most 256 characters, all printable.
    unreliable
        Features that the check `shape` did not believe, at most 16 of them, where it looks at each
        feature alone (`combine` of its recipe). Where it is so of all features, the least anomalous
        counts. Empty where every feature was believed.
    rhythm
        When the peak came that the window was cut round; null where the bundle has no check
        `rhythm`.
    """

    worst_start_ms: int
    worst_end_ms: int
    features: tuple[FeatureExplanation, ...]
    shares: tuple[float, ...]
    times_ms: tuple[int, ...]
    imputed_share: float
    n_gaps: int
    image: ImageExplanation | None = None
    sentence: str = ""
    unreliable: tuple[UnreliableFeature, ...] = ()
    rhythm: RhythmExplanation | None = None


class WindowContext(NamedTuple):
    """What an explanation needs to know of a window besides its values.

    Parameters
    ----------
    start_ms
        Time of the first step, milliseconds since 1970-01-01 UTC.
    sample_interval_ms
        Between two steps; 0 where unknown, and then every time is that of the first step.
    imputed
        Which values were missing, shape (n_steps, n_features); None where none was.
    """

    start_ms: float
    sample_interval_ms: float
    imputed: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WindowEvidence:
    """One window with all that an explanation needs of it.

    Parameters
    ----------
    window
        As received, missing values imputed; float32, shape (n_steps, n_features), unit: the
        signal's.
    scaled
        The input of the network, same shape, without unit.
    reconstruction
        The output of the network, same shape, without unit, finite.
    start_ms
        Time of the first step, milliseconds since 1970-01-01 UTC.
    sample_interval_ms
        Between two steps; 0 where unknown, and then every time is that of the first step.
    imputed
        Which values were missing, shape (n_steps, n_features); None where none was.
    counts
        Which features count, shape (n_features,); None where all do.
    """

    window: FloatArray
    scaled: FloatArray
    reconstruction: FloatArray
    start_ms: float
    sample_interval_ms: float
    imputed: NDArray[np.bool_] | None = None
    counts: NDArray[np.bool_] | None = None


def explain(
    scored: WindowEvidence,
    scaler: Scaler,
    error_kind: ErrorKind,
    normal_errors: NDArray[np.float64] | None = None,
) -> Explanation:
    """Say where in a window the error lies.

    Parameters
    ----------
    scored
        The window.
    scaler
        Brings the reconstruction back to the unit of the signal.
    error_kind
        How the distance is measured; the one the window was scored with.
    normal_errors
        Median of `feature_errors` over normal windows, shape (n_features,). A feature that is
        always hard to reconstruct then has no share of what happens to another one. None takes the
        whole error of each feature.

    Returns
    -------
    Shares are equal, and the worst span is the whole window, where the error is 0; shares are equal
    too where no feature has more than its normal error. An error below zero, which "bce" has for
    values outside [0, 1], counts as 0.

    Examples
    --------
    >>> observed = np.float32([[0.0], [0.0], [3.0], [2.0], [0.0]])
    >>> scaler = Scaler("none", np.float32([0.0]), np.float32([1.0]))
    >>> found = explain(WindowEvidence(observed, observed, 0 * observed, 1_000, 10), scaler, "mae")
    >>> found.worst_start_ms, found.worst_end_ms, found.shares
    (1020, 1030, (1.0,))
    >>> found.features[0].expected, found.features[0].observed
    ((0.0, 0.0), (3.0, 2.0))
    """
    errors = value_errors(scored.scaled, scored.reconstruction, error_kind)
    if error_kind == "bce":
        np.maximum(errors, 0, out=errors)  # (n_steps, n_features)
    if scored.counts is not None:
        errors[:, ~scored.counts] = 0
    if errors.shape[1] == 1:
        shares, step_errors = [1.0], errors[:, 0]
    else:
        feature_errors = errors.sum(axis=0, dtype=np.float64)  # (n_features,)
        if normal_errors is not None:
            feature_errors = np.maximum(feature_errors - len(errors) * normal_errors, 0)
        shares = _shares(feature_errors)
        weighted = errors if normal_errors is None else errors * np.array(shares)
        step_errors = weighted.sum(axis=1, dtype=np.float64)  # (n_steps,)
    return explain_span(scored, scaler, shares, worst_span(step_errors))


def explain_span(
    scored: WindowEvidence, scaler: Scaler, shares: Sequence[float], span: tuple[int, int]
) -> Explanation:
    """Say what was expected and observed in some steps of a window.

    Parameters
    ----------
    scored
        The window.
    scaler
        Brings the reconstruction back to the unit of the signal.
    shares
        Each feature's part in what was found; they sum to 1. Length n_features.
    span
        First and last step, both included.
    """
    steps = _spread(*span)
    times_ms = scored.start_ms + steps * scored.sample_interval_ms  # (n_points,)
    # Whole milliseconds stay integers: as floats, very large ones would change.
    is_whole = times_ms.dtype.kind == "i"
    times = (times_ms if is_whole else np.rint(times_ms).astype(np.int64)).tolist()
    return Explanation(
        worst_start_ms=times[0],
        worst_end_ms=times[-1],
        features=_features(scored, scaler, shares, steps),
        shares=tuple(shares),
        times_ms=tuple(times),
        imputed_share=0.0 if scored.imputed is None else float(scored.imputed.mean()),
        n_gaps=0,  # `AlertBatch` knows the series and sets it
    )


def name_features(
    explanation: Explanation, features: Features, of_key: Sequence[LinearUnit] = ()
) -> Explanation:
    """Return an explanation whose features carry their names, with values in the signal's unit.

    Scorers know neither the names nor the origin of the features, nor whose key a window is, so a
    detector adds them.

    Parameters
    ----------
    explanation
        From a scorer.
    features
        The features of the bundle.
    of_key
        What the key's windows were brought from, one a feature; empty where keys have no unit of
        their own.
    """
    named = []
    for each in explanation.features:
        expected, observed = each.expected, each.observed
        unit = features.unit(each.feature, of_key[each.feature] if of_key else None)
        if unit != LinearUnit():
            expected = tuple(unit.value(value) for value in expected)
            observed = tuple(None if value is None else unit.value(value) for value in observed)
        name = features.names[each.feature]
        named.append(replace(each, name=name, expected=expected, observed=observed))
    unreliable = tuple(
        replace(each, name=features.names[each.feature]) for each in explanation.unreliable
    )
    return replace(explanation, features=tuple(named), unreliable=unreliable)


def worst_span(step_errors: NDArray[np.floating]) -> tuple[int, int]:
    """Return the first and the last step of the worst span, both included.

    Parameters
    ----------
    step_errors
        Shape (n_steps,), n_steps >= 1, no error below zero.
    """
    worst = int(step_errors.argmax())
    is_small = step_errors < WORST_SHARE_MIN * step_errors[worst]  # (n_steps,)
    # argmax is 0 where no step is small, for the worst step itself never is.
    after = int(is_small[worst:].argmax())
    before = int(is_small[worst::-1].argmax())
    first = worst - before + 1 if before else 0
    last = worst + after - 1 if after else len(step_errors) - 1
    return first, last


def _spread(first: int, last: int) -> NDArray[np.intp]:
    """Return at most `N_POINTS_MAX` steps, evenly from the first to the last, both included."""
    length = last - first
    if length < N_POINTS_MAX:
        return np.arange(first, last + 1)
    gaps = N_POINTS_MAX - 1
    return first + (length * _POINTS + gaps // 2) // gaps  # (n_points,)


def _shares(feature_errors: NDArray[np.float64]) -> list[float]:
    """Return each feature's part of the whole error; equal parts where there is none."""
    n_features = len(feature_errors)
    total = float(feature_errors.sum())
    if not total > 0.0:
        return [1.0 / n_features] * n_features
    shares: list[float] = (feature_errors / total).tolist()
    return shares


def _features(
    scored: WindowEvidence, scaler: Scaler, shares: Sequence[float], steps: NDArray[np.intp]
) -> tuple[FeatureExplanation, ...]:
    """Return expected and observed values of the features with the largest shares."""
    top = sorted(range(len(shares)), key=lambda feature: -shares[feature])[:N_FEATURES_MAX]
    made = scaler.inverse(scored.reconstruction[np.newaxis], scored.window[np.newaxis])
    expected = made[0, steps]  # (n_points, n_features)
    observed = scored.window[steps]  # (n_points, n_features)
    found = []
    for feature in top:
        values: list[float | None] = observed[:, feature].tolist()
        if scored.imputed is not None:
            for point in scored.imputed[steps, feature].nonzero()[0]:
                values[point] = None
        column = tuple(expected[:, feature].tolist())
        found.append(FeatureExplanation(feature, shares[feature], column, tuple(values)))
    return tuple(found)
