"""How features belong together in training, and whether that holds over its time.

Two features may move alike for some days and not on the next. So each fifth of the time is compared
with regressions that were fitted to the other four, as what comes is with those of all five.
"""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import Looks
from stream_detector.core.scoring.look_limits import N_PARTS, Parts
from stream_detector.core.scoring.relations import N_FIT_MAX, Relations, fit_relations, unexplained
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import WINDOWS_MAX
from stream_detector.core.scoring.statistics import WindowView

UNRELATED = 0.25
"""Part of how a feature varies that the others may leave unexplained in a fifth of the time, for
its relation to them to be judged: what is left is then half of its spread."""


def judge_relations(
    looks: Looks,
    values: NDArray[np.float64],
    windows: FloatArray,
    scaler: Scaler,
    parts: Parts | None,
    n_short: int,
) -> tuple[Looks, NDArray[np.float64], Relations | None]:
    """Fit regressions to normal windows, and see of which features they can be trusted.

    Parameters
    ----------
    looks, values
        See `Looks.values`.
    windows
        Shape (n_windows, n_steps, n_features), n_windows >= 1.
    scaler
        Of the network.
    parts
        Which fifth of its series each window is in; None where there are too few, and each window
        is looked at by the regressions of all.
    n_short
        Steps of a short look.

    Returns
    -------
    The looks, of which those at features are off that others say too little of; numbers of the
    windows, in which those of relations are of regressions that were not fitted to their fifth; and
    the regressions of all windows, None where no look at relations is left.
    """
    is_relation = looks.is_of("relation")
    if not is_relation.any():
        return looks, values, None
    relations, groups = _fit(windows, scaler, parts)
    left_out = [unexplained(each, scaler.transform(_some(windows, rows))) for each, rows in groups]
    looks = looks.without(is_relation & (np.max(left_out, axis=0) > UNRELATED)[looks.features])
    values, columns = values.copy(), np.flatnonzero(is_relation).tolist()
    for each, rows in groups:
        for start in range(0, len(rows), WINDOWS_MAX):
            chunk = rows[start : start + WINDOWS_MAX]
            scaled = scaler.transform(windows[chunk])
            view = WindowView(scaled, scaled, n_short, n_short, each)
            for column in columns:
                number = getattr(view, looks.statistics[column])  # (n_chunk, n_features)
                values[chunk, column] = number[:, looks.features[column]]
    is_judged = bool((is_relation & (looks.signs != 0)).any())
    return looks, values, relations if is_judged else None


def _fit(
    windows: FloatArray, scaler: Scaler, parts: Parts | None
) -> tuple[Relations, list[tuple[Relations, NDArray[np.intp]]]]:
    """Return the regressions of all windows, and others with the windows that they look at."""
    everything = np.arange(len(windows))
    relations = fit_relations(scaler.transform(_some(windows, everything)))
    if parts is None:
        return relations, [(relations, everything)]
    groups = []
    for part in range(N_PARTS):
        others = scaler.transform(_some(windows, np.flatnonzero(parts != part)))
        groups.append((fit_relations(others), np.flatnonzero(parts == part)))
    return relations, groups


def _some(windows: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
    """Return some of the windows, as many as are enough, evenly spread."""
    return windows[rows[:: -(-len(rows) // N_FIT_MAX)]]
