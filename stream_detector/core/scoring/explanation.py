"""Which features, which span of time, and what was expected there instead.

Pure. Every alert pays for its explanation, so this is a few passes over one
window and lists of at most 64 points.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanations import Explanation, FeatureExplanation
from stream_detector.core.scoring.reconstruction import ErrorKind, value_errors
from stream_detector.core.scoring.scaling import Scaler

N_FEATURES_MAX = 3
"""Most features that are shown with what was expected and seen."""

N_POINTS_MAX = 64
"""Most times at which they are shown."""

WORST_SHARE_MIN = 0.5
"""A step belongs to the worst span from this part of the largest step error on."""

_POINTS = np.arange(N_POINTS_MAX)


@dataclass(frozen=True, slots=True, eq=False)
class WindowEvidence:
    """One window with all that an explanation needs of it.

    Parameters
    ----------
    window
        As it came, missing values imputed; float32, shape (n_steps, n_features), unit: the
        signal's.
    scaled
        What the network saw, same shape, without unit.
    reconstruction
        What the network gave, same shape, without unit, finite.
    start_ms
        Time of the first step, milliseconds since 1970-01-01 UTC.
    sample_interval_ms
        Between two steps; 0 where unknown, and then every time is that of the first step.
    imputed
        Which values were missing, shape (n_steps, n_features); None where none was.
    """

    window: FloatArray
    scaled: FloatArray
    reconstruction: FloatArray
    start_ms: float
    sample_interval_ms: float
    imputed: NDArray[np.bool_] | None = None


def explain(scored: WindowEvidence, scaler: Scaler, error_kind: ErrorKind) -> Explanation:
    """Say where in a window the error lies.

    Parameters
    ----------
    scored
        The window.
    scaler
        Brings the reconstruction back to the unit of the signal.
    error_kind
        How the distance is measured; the one the window was scored with.

    Returns
    -------
    Shares are equal, and the worst span is the whole window, where the error is 0. An error below
    zero, which "bce" has for values outside [0, 1], counts as 0.

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
    is_single = errors.shape[1] == 1
    first, last = worst_span(errors[:, 0] if is_single else errors.sum(axis=1, dtype=np.float64))
    steps = _spread(first, last)
    shares = [1.0] if is_single else _shares(errors.sum(axis=0, dtype=np.float64))
    times_ms = scored.start_ms + steps * scored.sample_interval_ms  # (n_points,)
    # Whole milliseconds stay as they are: as floats, absurd ones would not come back.
    is_whole = times_ms.dtype.kind == "i"
    times = (times_ms if is_whole else np.rint(times_ms).astype(np.int64)).tolist()
    return Explanation(
        worst_start_ms=times[0],
        worst_end_ms=times[-1],
        features=_features(scored, scaler, shares, steps),
        shares=tuple(shares),
        times_ms=tuple(times),
        imputed_share=0.0 if scored.imputed is None else float(scored.imputed.mean()),
        n_gaps=0,  # whoever knows the series fills it in
    )


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
    scored: WindowEvidence, scaler: Scaler, shares: list[float], steps: NDArray[np.intp]
) -> tuple[FeatureExplanation, ...]:
    """Return what was expected and seen of the features with the largest shares."""
    top = sorted(range(len(shares)), key=lambda feature: -shares[feature])[:N_FEATURES_MAX]
    expected = scaler.inverse(scored.reconstruction[steps])  # (n_points, n_features)
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
