"""Artificial faults in normal samples: what a detector would find, tried before it is trusted.

A fault changes one feature of one series for some time. Its size is in standard deviations of that
feature of that series. The kinds, with the length in samples for windows of 60::

    kind          length   what it does to the feature
    spike         1 to 3   adds the size
    shift         300      adds the size
    drift         900      adds what grows from 0 to the size
    oscillation   300      adds a sine of this amplitude, with a period of 8 to 15 samples
    noise         300      adds noise of this standard deviation
    stuck         300      repeats the value at its start
    dead          300      has no value
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import LabelledEvent

SIZED = ("spike", "shift", "drift", "oscillation", "noise")
"""Kinds of faults that have a size."""

UNSIZED = ("stuck", "dead")
"""Kinds of faults that have none."""

SIZES_SD = (2.0, 3.0, 5.0)

_LONG, _DRIFT = 5, 15
"""Lengths of most faults and of a drift, in windows."""
_SHORT = 20
"""A series of fewer windows has room for one window only between faults."""
_SPIKE_STEPS = (1, 4)
_PERIODS = (8.0, 15.0)


class Kind(NamedTuple):
    """A kind of fault, and its size in standard deviations; 0 where it has none."""

    name: str
    size_sd: float

    @property
    def text(self) -> str:
        """Return the kind as a label has it.

        Examples
        --------
        >>> Kind("shift", 3.0).text, Kind("stuck", 0.0).text
        ('shift 3 sd', 'stuck')
        """
        return f"{self.name} {self.size_sd:g} sd" if self.size_sd else self.name


KINDS = (
    *(Kind(name, size) for name in SIZED for size in SIZES_SD),
    *(Kind(name, 0.0) for name in UNSIZED),
)
"""All faults that are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class FaultySamples:
    """Samples with faults, and where these are."""

    samples: Samples
    faults: tuple[LabelledEvent, ...]


class Place(NamedTuple):
    """Where faults go.

    Parameters
    ----------
    n_steps
        Length of a window. Two windows before each fault and after it stay without one, and one
        window where a series is short.
    n_apart
        Least number of samples between two faults: what an alert needs to close.
    seed
        The same seed gives the same faults.
    first
        How many faults were put in before, so that another call goes on with the next ones.
    """

    n_steps: int
    n_apart: int = 0
    seed: int = 0
    first: int = 0


def inject(
    normal: Samples,
    spread: NDArray[np.float64],
    features: Sequence[str],
    place: Place,
    kinds: Sequence[Kind] = KINDS,
) -> FaultySamples:
    """Put as many faults into normal samples as have room, each apart from the next.

    Parameters
    ----------
    normal
        Samples of any number of series, each in the order of time; not changed.
    spread
        Standard deviation of each feature of each series, shape (n_series, n_features).
    features
        Names of the features.
    place
        How far apart faults are, and which ones.
    kinds
        What to put in, one after the other and from the start again.

    Returns
    -------
    The faults in the order in which they were put in; none where no series is long enough.
    """
    n_steps, first = place.n_steps, place.first
    rng = np.random.default_rng((place.seed, first))
    values = np.array(normal.values, dtype=np.float64)  # (n_samples, n_features), a copy
    faults: list[LabelledEvent] = []
    places = [np.flatnonzero(normal.series == number) for number in range(len(normal.keys))]
    rests = [max(_rest(n_steps, len(rows)), -(-place.n_apart // 2)) for rows in places]
    at = [rest + int(rng.integers(max(rest // 2, 1))) for rest in rests]
    is_open = [bool(sds.any()) for sds in spread]
    number = first
    while any(is_open):
        for series, rows in enumerate(places):
            if not is_open[series]:
                continue
            kind = kinds[number % len(kinds)]
            length, rest = _length(kind, n_steps, len(rows), rng), rests[series]
            if at[series] + length + rest > len(rows):
                is_open[series] = False
                continue
            moving = np.flatnonzero(spread[series])  # what never moves has no deviation
            feature = int(moving[number // len(kinds) % len(moving)])
            span = rows[at[series] : at[series] + length]
            sd = float(spread[series, feature])
            values[span, feature] = _changed(values[span, feature], kind, sd, rng)
            start_ms, end_ms = normal.times_ms[span[[0, -1]]].tolist()
            name = features[feature]
            key = normal.keys[series]
            faults.append(LabelledEvent(key, start_ms, end_ms, kind.text, (name,)))
            at[series] += length + 2 * rest + int(rng.integers(max(rest // 2, 1)))
            number += 1
    return FaultySamples(replace(normal, values=values, labels=None), tuple(faults))


def spreads(samples: Samples) -> NDArray[np.float64]:
    """Return the standard deviation of each feature of each series, robust against a few faults.

    It is half the distance from the 16 % to the 84 % quantile. Where that is zero it is the plain
    standard deviation.
    """
    found = np.zeros((len(samples.keys), samples.values.shape[1]))
    for number in range(len(samples.keys)):
        own = samples.values[samples.series == number].astype(np.float64)
        if not len(own) or np.isnan(own).all(axis=0).any():
            own = np.where(np.isnan(own), 0.0, own) if len(own) else np.zeros((1, own.shape[1]))
        low, high = np.nanquantile(own, [0.1587, 0.8413], axis=0)
        half = (high - low) / 2
        found[number] = np.where(half > 0, half, np.nanstd(own, axis=0))
    return found


def _rest(n_steps: int, n_rows: int) -> int:
    """Return how many samples before and after a fault are without one; one window at least."""
    return 2 * n_steps if n_rows >= _SHORT * n_steps else n_steps


def _length(kind: Kind, n_steps: int, n_rows: int, rng: np.random.Generator) -> int:
    """Return the length of a fault in samples; shorter where a series is short."""
    if kind.name == "spike":
        return int(rng.integers(*_SPIKE_STEPS))
    windows = _DRIFT if kind.name == "drift" else _LONG
    return max(min(windows * n_steps, n_rows // 3), 1)


def _changed(
    values: NDArray[np.float64], kind: Kind, sd: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the values of a feature with a fault, shape (n_steps,)."""
    n_steps, size = len(values), kind.size_sd * sd
    steps, sign = np.arange(n_steps), float(rng.choice((-1.0, 1.0)))
    if kind.name == "stuck":
        known = values[~np.isnan(values)]
        return np.full(n_steps, known[0] if len(known) else np.nan)
    if kind.name == "dead":
        return np.full(n_steps, np.nan)
    if kind.name == "drift":
        return values + sign * size * steps / n_steps
    if kind.name == "oscillation":
        changed: NDArray[np.float64] = values + size * np.sin(
            2 * np.pi * steps / rng.uniform(*_PERIODS)
        )
        return changed
    if kind.name == "noise":
        return values + rng.normal(0.0, size, n_steps)
    return values + sign * size
