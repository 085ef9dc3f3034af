"""What is to be known of samples in a file before windows are cut from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import to_float32
from stream_detector.core.records import FloatArray, Samples
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.files.samples import TEST_SHARE
from stream_detector.errors import DatasetError

_LOSS_MAX = 2.0**-10
"""Largest error of rounding to float32, as a share of the variation; as in `training.origin`."""

_N_EACH_MIN = 1_000
"""Fewest samples of a key that are kept, if it has as many."""

Mark = Callable[[Samples], Samples]


class SampleSurvey:
    """What is to be known of all samples before the first window is cut.

    Parameters
    ----------
    path, names
        The file and its features, for messages.
    origin
        What is taken from each feature before values are rounded to float32; empty takes nothing.

    Attributes
    ----------
    names, origin
        As given.
    has_labels, is_labelled
        Whether the samples have labels in the file, and once they were marked.
    spans, counts
        First and last time of each key, and how many samples it has.
    """

    def __init__(self, path: Path, names: Sequence[str], origin: Sequence[float] = ()) -> None:
        self.names, self.origin = tuple(names), tuple(origin)
        self.has_labels = self.is_labelled = False
        self.spans: dict[str, tuple[float, float]] = {}
        self.counts: dict[str, int] = {}
        self._path = path
        self._moments: dict[str, _Moments] = {}
        self._lost = np.zeros(len(names))
        self._low, self._high = np.full((2, len(names)), np.nan)

    def follow(self, parts: Iterable[Samples], mark: Mark) -> Iterator[Samples]:
        """Yield samples marked and as float32, and keep what is to be known of them."""
        for part in parts:
            self.has_labels = part.labels is not None
            marked = mark(part)
            self.is_labelled = marked.labels is not None
            values = to_float32(part.values, self.origin)
            self._add(part, values)
            yield replace(marked, values=values)

    def test_begins(self, keys: tuple[str, ...], share: float | None) -> NDArray[np.float64]:
        """Return after which time the samples of each key are the test part, shape (n_keys,)."""
        if share is None:
            share = TEST_SHARE if self.has_labels else 0.0
        start, end = np.array([self.spans[key] for key in keys]).T
        limits: NDArray[np.float64] = end - share * (end - start)
        return limits if share else np.full(len(keys), np.inf)

    def better_origin(self) -> tuple[float, ...]:
        """Return what to take from each feature, so that float32 holds more of its values.

        Returns
        -------
        The middle of a feature that loses too much, 0 of another; empty if none does.
        """
        origin = np.where(self._is_lossy, self._low / 2 + self._high / 2, 0.0)
        return tuple(origin.tolist()) if origin.any() else ()

    def require_float32(self) -> None:
        """Refuse features of which float32 loses too much.

        Raises
        ------
        DatasetError
            Naming the first one.
        """
        for at in np.flatnonzero(self._is_lossy).tolist():
            message = (
                f"{self._path}: the variation of feature {self.names[at]} within a series is "
                f"smaller than what float32 can hold of values from {self._low[at]:.15g} to "
                f"{self._high[at]:.15g}; subtract an offset before sending, for each series its "
                "own, or train a bundle for each series"
            )
            raise DatasetError(message)

    @property
    def _is_lossy(self) -> NDArray[np.bool_]:
        """Return which features lose too much of their variation, shape (n_features,)."""
        around = sum(each.around for each in self._moments.values())
        lossy: NDArray[np.bool_] = (self._lost > _LOSS_MAX**2 * around) & (around > 0)
        return lossy

    def _add(self, part: Samples, values: FloatArray) -> None:
        """Add the times and values of keys, and what rounding loses of their variation."""
        for number in np.unique(part.series).tolist():
            key, own = part.keys[number], part.series == number
            start, end = part.times_ms[own].min(), part.times_ms[own].max()
            known = self.spans.get(key, (start, end))
            self.spans[key] = min(start, known[0]), max(end, known[1])
            self.counts[key] = self.counts.get(key, 0) + int(own.sum())
            moments = self._moments.setdefault(key, _Moments(part.values.shape[1]))
            moments.add(part.values[own])
        centred = part.values - np.array(self.origin) if self.origin else part.values
        self._lost += np.nansum((centred - values) ** 2, axis=0)
        self._low = np.fmin(self._low, np.fmin.reduce(part.values, axis=0))
        self._high = np.fmax(self._high, np.fmax.reduce(part.values, axis=0))


class _Moments:
    """Number, sum and squares of the values of a key, less the first value of each feature."""

    def __init__(self, n_features: int) -> None:
        self._first = np.full(n_features, np.nan)
        self._count, self._total, self._squares = np.zeros((3, n_features))

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, shape (n_samples, n_features); NaN is missing."""
        is_there = ~np.isnan(values)
        first = values[is_there.argmax(axis=0), np.arange(values.shape[1])]  # (n_features,)
        self._first = np.where(np.isnan(self._first), first, self._first)
        centred = np.where(is_there, values - self._first, 0.0)
        self._count += is_there.sum(axis=0)
        self._total += centred.sum(axis=0)
        self._squares += (centred**2).sum(axis=0)

    @property
    def around(self) -> NDArray[np.float64]:
        """Return the sum of the squares round the mean of each feature, shape (n_features,)."""
        found: NDArray[np.float64] = self._squares - self._total**2 / np.maximum(self._count, 1)
        return found


class SomeSamples:
    """Normal training samples of each key, in stretches evenly spread over its time.

    Parameters
    ----------
    survey
        Has seen all samples.
    n_most
        How many stretches of all keys together are kept; all of them where there are no more. A key
        of which not all are has at least `_N_EACH_MIN` samples.
    n_steps
        Samples of a stretch.
    """

    def __init__(self, survey: SampleSurvey, n_most: int, n_steps: int) -> None:
        n_all, n_samples_max = sum(survey.counts.values()), n_most * n_steps
        n_each = n_all if n_all <= n_samples_max else n_samples_max // len(survey.counts)
        self._n_steps = n_steps
        n_each = max(n_each, _N_EACH_MIN)
        self._every = {key: -(-count // n_each) for key, count in survey.counts.items()}
        self._n_seen = dict.fromkeys(survey.counts, 0)
        self._parts: list[Samples] = []

    def add(self, samples: Samples) -> None:
        """Keep some of the next samples, in the order of their times; all have the same `keys`."""
        kept = [np.empty(0, np.intp)]
        is_normal = np.ones(len(samples), np.bool_)
        if samples.labels is not None:
            is_normal = samples.labels == 0
        for number in np.unique(samples.series).tolist():
            key, rows = samples.keys[number], np.flatnonzero(is_normal & (samples.series == number))
            stretches = (self._n_seen[key] + np.arange(len(rows))) // self._n_steps
            kept.append(rows[stretches % self._every[key] == 0])
            self._n_seen[key] += len(rows)
        self._parts.append(some_samples(samples, np.concatenate(kept)))

    def joined(self) -> Samples:
        """Return the samples that were kept, none of them labelled."""
        parts = self._parts
        return Samples(
            parts[0].keys,
            np.concatenate([each.series for each in parts]),
            np.concatenate([each.times_ms for each in parts]),
            np.concatenate([each.values for each in parts]),
        )
