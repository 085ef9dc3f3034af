"""How windows are cut from samples, part by part: as a stream does, and as if each key had one.

A table that engines share out by key has no stream time of its own, and no order but that of its
keys. There each key stands in a partition of its own, so its windows follow from its samples alone,
whatever else is in the table and however it is shared out. Keys come one after the other, and what
is known of a key is dropped once the next one begins::

    part      a a a a | a a b c c | c c d        keys in order, each in the order of time
    kept      a         c           d            between two parts
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.state.new_keys import NewKeys
from stream_detector.core.state.warm_up import follow, units_of
from stream_detector.core.timestamps import keep
from stream_detector.core.windowing.arrays import is_group_start
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.keyed_state import name_of
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.core.windowing.peak_windows import cut_windows
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.datasets.files.room import require_memory

_SAMPLES_AT_ONCE = 65_536
_WINDOWS_BYTES = 1 << 26
_COPIES = 4
"""How many times windows are held while those that can be scored are chosen of them."""

_STATE_BYTES = 1 << 26
"""Most bytes of the windows under way of keys that are cut together."""


@dataclass(frozen=True, slots=True, eq=False)
class CutWindows:
    """Windows cut from samples, in the order in which a stream completes them.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), missing values imputed, unit: the
        signal's.
    keys
        Series key of each window.
    start_ms, end_ms
        Times of its first and last sample, int64.
    labels
        Int8, 1 if any sample of the window has the label 1; None if the samples have no labels.
    n_missing
        Number of windows left out because too many of their values are missing.
    n_warm_up
        Number of windows left out because their key was new and had no scale yet.
    features
        The features that were given, with the scales of new keys; None where none were given.
    intervals
        How far the peaks are apart that the windows are cut round; None where the rules do not
        ask.
    """

    windows: FloatArray
    keys: tuple[str, ...]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    labels: NDArray[np.int8] | None
    n_missing: int
    n_warm_up: int = 0
    features: Features | None = None
    intervals: PeakIntervals | None = None

    def in_key_units(self, features: Features) -> "CutWindows":
        """Return the windows as a scorer takes them, in the units of their keys if these differ."""
        return replace(self, windows=features.to_key_units(self.windows, self.keys))

    def without_pauses(self) -> "CutWindows":
        """Return the windows round peaks, without those that stand for a pause."""
        if self.intervals is None:
            return self
        rows = np.flatnonzero(~self.intervals.is_pause)
        return replace(
            self,
            windows=self.windows[rows],
            keys=tuple(self.keys[row] for row in rows.tolist()),
            start_ms=self.start_ms[rows],
            end_ms=self.end_ms[rows],
            labels=None if self.labels is None else self.labels[rows],
            intervals=self.intervals.of(rows),
        )


class _Part(NamedTuple):
    """Windows of some samples, as received; keys are numbers of series."""

    received: FloatArray
    keys: NDArray[np.intp]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    intervals: PeakIntervals | None


class Cutting:
    """Cuts windows from samples that come part by part.

    Parameters
    ----------
    rules, features
        See `stream_detector.datasets.windowing.cut_samples`.
    is_by_key
        Whether each key stands in a partition of its own, and samples are in order already.
    """

    def __init__(
        self, rules: WindowRules, features: Features | None, *, is_by_key: bool = False
    ) -> None:
        self._rules, self._new_keys = rules, _NewKeys(features)
        self._state: WindowState | None = None
        self._partitions: dict[str, int] | None = {} if is_by_key else None

    def add(self, samples: Samples, beside: NDArray[Any]) -> tuple[CutWindows, NDArray[np.float64]]:
        """Return the windows that samples complete after those before them.

        Parameters
        ----------
        samples
            With the same `keys` in all parts, or any where each key stands in a partition.
        beside
            Further columns, which are cut as the values are, shape (n_samples, n_columns).

        Returns
        -------
        The windows, and what is beside them, shape (n_windows, n_steps, n_columns).

        Raises
        ------
        TooLargeError
            If the windows do not fit into memory, as far as those of the first samples tell.
        """
        numbers = {key.encode(): number for number, key in enumerate(samples.keys)}
        partitions = self._partitions_of(samples.keys)  # (n_series,)
        # The label is cut as one more feature, so that it cannot get into another window.
        labels = np.zeros(len(samples)) if samples.labels is None else samples.labels
        values = np.column_stack([samples.values, labels, beside]).astype(np.float32)
        wider = replace(self._rules, n_features=values.shape[1])
        new_keys, n_before, parts = self._new_keys, self._new_keys.n_warm_up, []
        n_done, n_bytes = 0, 0
        for some, arrivals in assign(samples, wider, values, self._state, partitions):
            self._state = some.state
            is_kept = ~new_keys.follow(some)  # (n_windows,)
            received = some.gather(slice(None))[is_kept]  # (n_kept, n_steps, n_columns)
            keys = [numbers[key] for key in some.state.keys_of(some.slots[is_kept])]
            times = some.start_ms[is_kept], some.end_ms[is_kept]
            intervals = None if some.intervals is None else some.intervals.of(is_kept)
            parts.append(_Part(received, np.array(keys, dtype=np.intp), *times, intervals))
            n_done, n_bytes = n_done + len(arrivals.keys), n_bytes + received.nbytes
            if n_done < len(samples):
                needed = (_COPIES * len(samples) / n_done - 1) * n_bytes
                require_memory(f"windows of {self._rules.n_steps} samples", needed)
        found, others = _joined(parts, samples, self._rules, values.shape[1])
        n_warm_up, features = (
            new_keys.n_warm_up - n_before,
            new_keys.known(samples.keys, partitions),
        )
        return replace(found, n_warm_up=n_warm_up, features=features), others

    def _partitions_of(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return the partition of each key, shape (n_keys,)."""
        known = self._partitions
        if known is None:
            return np.zeros(len(keys), np.int64)
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


class _NewKeys:
    """Gives keys that a bundle does not know their scales, as on a stream."""

    def __init__(self, features: Features | None) -> None:
        self.n_warm_up = 0
        self._features = features
        self._state = NewKeys()

    def follow(self, some: WindowBatch) -> NDArray[np.bool_]:
        """Return which windows came before their key had a scale, shape (n_windows,)."""
        if self._features is None or self._features.key_scales is None:
            return np.zeros(len(some), dtype=np.bool_)
        followed = follow(self._state, some, self._features)
        self._state = followed.state
        is_warm_up = units_of(followed, some, self._features.key_scales).is_warm_up
        self.n_warm_up += int(is_warm_up.sum())
        return is_warm_up

    def known(self, keys: Sequence[str], partitions: NDArray[np.int64]) -> Features | None:
        """Return the features with the scales of new keys among these, each in its partition."""
        if self._features is None or self._features.key_scales is None:
            return self._features
        scales = {
            key: self._state.places_of(number).scales.get(name_of(key))
            for key, number in zip(map(str.encode, keys), partitions.tolist(), strict=True)
        }
        fitted = {key: each for key, each in scales.items() if each is not None}
        if not fitted:
            return self._features
        offset, scale = (np.stack(column) for column in zip(*fitted.values(), strict=True))
        known = self._features.key_scales.with_keys(list(fitted), offset, scale)
        return replace(self._features, key_scales=known)


def assign(
    samples: Samples,
    rules: WindowRules,
    values: FloatArray,
    state: WindowState | None = None,
    partitions: NDArray[np.int64] | None = None,
) -> Iterator[tuple[WindowBatch, Arrivals]]:
    """Yield the windows of samples in the order of their times, some samples at a time.

    Parameters
    ----------
    samples
        Give series and time of each sample.
    rules
        Rules by which windows are cut.
    values
        Shape (n_samples, n_features of `rules`).
    state
        After earlier samples; None where these are the first.
    partitions
        Partition of each series, shape (n_series,); the samples of one come before those of the
        next. None puts all into one.
    """
    numbers = np.zeros(len(samples), np.int64)  # (n_samples,)
    if partitions is not None:
        numbers = partitions[samples.series]
    order = np.lexsort((samples.times_ms, numbers))  # (n_samples,)
    names = [key.encode() for key in samples.keys]
    state = WindowState.empty(rules) if state is None else state
    for start in range(0, len(samples), _SAMPLES_AT_ONCE):
        rows = order[start : start + _SAMPLES_AT_ONCE]
        arrivals = Arrivals(
            keys=[names[number] for number in samples.series[rows].tolist()],
            partitions=numbers[rows],
            counts=np.ones(len(rows), dtype=np.intp),
            times_ms=keep(samples.times_ms[rows]),
            values=values[rows],
        )
        some = cut_windows(state, rules, arrivals)
        yield some, arrivals
        state = some.state


def cut_by_key(
    parts: Iterable[Samples], rules: WindowRules, features: Features | None = None
) -> Iterator[CutWindows]:
    """Cut windows from samples that come key by key, each as if it had a partition of its own.

    So no key expires, since only another one could advance its stream time, and each new key gets a
    scale where keys have one. What is held does not grow with the number of keys, nor with that of
    the samples of a key.

    Parameters
    ----------
    parts
        Samples in the order of their keys and, of a key, of their times; a key may go on in the
        next part.
    rules, features
        See `stream_detector.datasets.windowing.cut_samples`.

    Yields
    ------
    The windows of some samples, in the same order; they do not depend on where parts end.

    Examples
    --------
    >>> rules = WindowRules(2, 1, 2, 10.0, 40.0, 0.0, "hold", 0.5, 1000.0)
    >>> def part(series, *times_ms):
    ...     n = len(times_ms)
    ...     values = np.arange(n, dtype=np.float32)[:, None]
    ...     return Samples(("a", "b"), np.array(series), np.array(times_ms), values)
    >>> found = cut_by_key(
    ...     [part([0, 0], 0.0, 10.0), part([0, 0, 1, 1], 20.0, 30.0, 0.0, 10.0)], rules
    ... )
    >>> [(each.keys, each.start_ms.tolist()) for each in found]
    [(('a',), [0]), (('a',), [20]), (('b',), [0])]
    """
    n_keys_max = max(_STATE_BYTES // (rules.frame.n_steps * (rules.n_features + 1) * 4), 1)
    cutting, last = Cutting(rules, features, is_by_key=True), None
    for samples in parts:
        starts = np.flatnonzero(is_group_start(samples.series))  # (n_keys,)
        keys = [samples.keys[number] for number in samples.series[starts].tolist()]
        n_more = int(keys[:1] == [last])  # keys that go on
        begins = [*range(n_more), *range(n_more, len(keys), n_keys_max)]
        for begin, end in pairwise([*begins, len(keys)]):
            if begin >= n_more:
                cutting = Cutting(rules, features, is_by_key=True)
            rows = slice(*np.append(starts, len(samples))[[begin, end]].tolist())
            yield cutting.add(some_samples(samples, rows), np.empty((rows.stop - rows.start, 0)))[0]
            last = keys[end - 1]


def some_samples(samples: Samples, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Samples:
    """Return some of the samples, or all in another order, with the same keys."""
    return replace(
        samples,
        series=samples.series[rows],
        times_ms=samples.times_ms[rows],
        values=samples.values[rows],
        labels=None if samples.labels is None else samples.labels[rows],
    )


def samples_at_once(rules: WindowRules) -> int:
    """Return of how many samples the windows are cut together, so that these take little memory."""
    n_bytes = rules.frame.n_steps * (rules.n_features + 1) * 4  # of a window, with its labels
    return min(max(_WINDOWS_BYTES * rules.stride // n_bytes, 1_024), _SAMPLES_AT_ONCE)


def _joined(
    parts: list[_Part], samples: Samples, rules: WindowRules, n_columns: int
) -> tuple[CutWindows, NDArray[np.float64]]:
    """Return the windows that can be scored, with their labels, and the further columns."""
    nothing = np.empty((0, rules.n_steps, n_columns), dtype=np.float32)
    received = np.concatenate([nothing, *(part.received for part in parts)])
    keys = np.concatenate([np.empty(0, np.intp), *(part.keys for part in parts)])
    start_ms = np.concatenate([np.empty(0, np.int64), *(part.start_ms for part in parts)])
    end_ms = np.concatenate([np.empty(0, np.int64), *(part.end_ms for part in parts)])
    intervals = [part.intervals for part in parts if part.intervals is not None]
    filled, _ = impute_windows(np.ascontiguousarray(received[:, :, : rules.n_features]), rules)
    usable = np.flatnonzero(~np.isnan(filled).any(axis=(1, 2)))
    # A missing sample has no label.
    labels = np.nanmax(received[usable, :, rules.n_features], axis=1, initial=0)
    found = CutWindows(
        windows=np.ascontiguousarray(filled[usable]),
        keys=tuple(samples.keys[number] for number in keys[usable].tolist()),
        start_ms=start_ms[usable],
        end_ms=end_ms[usable],
        labels=None if samples.labels is None else labels.astype(np.int8),
        n_missing=len(received) - len(usable),
        intervals=PeakIntervals.joined(intervals).of(usable) if intervals else None,
    )
    return found, received[usable, :, rules.n_features + 1 :].astype(np.float64)
