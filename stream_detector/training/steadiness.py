"""Turn off looks at features that training does not show the normal state of, and say so."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import Looks
from stream_detector.core.scoring.look_limits import (
    Parts,
    coarse_looks,
    habitual_looks,
    parts_of,
    repeating_looks,
    resolutions,
    wandering_looks,
)
from stream_detector.core.scoring.relative import Relative
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe
from stream_detector.text import printable, shorten
from stream_detector.training.splits import Rows, window_times

_N_SHOWN = 8
"""Most features that a warning names for each check."""

_WHY_COARSE = (
    "their values come in steps about as large as they usually vary, so a calm feature is not told "
    "from a stuck one"
)
_WHY_UNRELATED = (
    "the other features explain less than three quarters of how they vary, or do not over all the "
    "time of training"
)
_WHY_WANDERING = (
    "in training this went on to what it had not been before, so what is normal is not known; "
    "train on a longer time if it comes back"
)
_WHY_HABIT = (
    "went on to what they had not been before, and others may do so too; train on a longer time if "
    "they come back"
)


def training_parts(recipe: Recipe, dataset: Dataset, rows: Rows) -> Parts | None:
    """Return which fifth of its series each window is in; None of records that are windows."""
    if recipe.window.record != "samples":
        return None
    series, _, ends_ms = window_times(recipe, dataset, rows)
    return parts_of(series, ends_ms, min(1.0, recipe.rules.stride / recipe.rules.n_steps))


def describe_unrelated(looks: Looks, names: Sequence[str]) -> tuple[str, ...]:
    """Say of which features the check `relation` is off, if it is of any.

    Parameters
    ----------
    looks
        From `judge_relations`.
    names
        Names of the features.
    """
    is_off = looks.is_of("relation") & (looks.signs == 0)
    return tuple(_not_judged(looks, is_off, names, _WHY_UNRELATED))


def turn_off(
    looks: Looks,
    values: NDArray[np.float64],
    scaled: FloatArray,
    parts: Parts | None,
    names: Sequence[str],
    relative: Relative | None = None,
) -> tuple[Looks, tuple[str, ...]]:
    """Turn off the looks that cannot be calibrated on the windows at hand.

    Parameters
    ----------
    looks, values, parts
        See `wandering_looks`; without parts no look wanders.
    scaled
        Some of the windows, scaled, shape (n_some, n_steps, n_features).
    names
        Names of the features.
    relative
        Which of them count from the mean of their window. The level of those that are no counters
        went on to what it had not been, which speaks of others, too.

    Returns
    -------
    The looks, and sentences that say which checks of which features are off.
    """
    looks = looks.without(repeating_looks(looks, scaled))
    is_coarse = coarse_looks(looks, values, resolutions(scaled)) & (looks.signs != 0)
    left, warnings = looks.without(is_coarse), [*_not_judged(looks, is_coarse, names, _WHY_COARSE)]
    if parts is None:
        return left, tuple(warnings)
    is_wandering = wandering_looks(left, values, parts)
    is_going_on = is_wandering | _level_looks(left, relative)
    is_habit = habitual_looks(left, is_going_on)
    for check, some in _named(looks, is_going_on & is_habit, names):
        warnings.append(f"not judged: {check} of any feature: in training {some} {_WHY_HABIT}")
    warnings += _not_judged(looks, is_wandering & ~is_habit, names, _WHY_WANDERING)
    return left.without(is_wandering | is_habit), tuple(warnings)


def _level_looks(looks: Looks, relative: Relative | None) -> NDArray[np.bool_]:
    """Return which looks are at the level of features that go one way, shape (n_looks,)."""
    if relative is None:
        return np.zeros(len(looks), dtype=np.bool_)
    is_trend = relative.is_relative & ~relative.is_counter  # (n_features,)
    found: NDArray[np.bool_] = looks.is_at("mean") & is_trend[looks.features]
    return found


def _not_judged(
    looks: Looks, is_off: NDArray[np.bool_], names: Sequence[str], why: str
) -> Iterator[str]:
    """Yield a sentence about looks at some features, if there are any."""
    if is_off.any():
        listed = [f"{check} of {some}" for check, some in _named(looks, is_off, names)]
        yield f"not judged: {'; '.join(listed)}: {why}"


def _named(
    looks: Looks, is_off: NDArray[np.bool_], names: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield each check whose looks are off, and the names of their features."""
    for check in dict.fromkeys(looks.checks):
        found = np.unique(looks.features[is_off & looks.is_of(check)]).tolist()
        if found:
            shown = [shorten(printable(names[at]), 64) for at in found[:_N_SHOWN]]
            more = f" and {len(found) - _N_SHOWN} more" if len(found) > _N_SHOWN else ""
            yield check, ", ".join(shown) + more
