"""Cut the samples of a data set into windows, with the code that cuts them on a stream."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.state.new_keys import NewKeys
from stream_detector.core.state.warm_up import follow, units_of
from stream_detector.core.timestamps import keep
from stream_detector.core.windowing.diagnosis import REASONS, Diagnosis, samples_apart
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.keyed_state import name_of
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.core.windowing.peak_windows import cut_windows
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.series_health import SeriesFacts, SeriesHealth
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.datasets.base import Dataset, SampleDataset
from stream_detector.datasets.feature_order import in_order
from stream_detector.errors import DatasetError
from stream_detector.text import printable, shorten

_SAMPLES_AT_ONCE = 65_536
_ROWS_A_PAGE = 1 << 20


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


def cut_samples(
    samples: Samples, rules: WindowRules, features: Features | None = None
) -> CutWindows:
    """Cut windows from samples.

    Parameters
    ----------
    samples
        Samples of any number of series; they are read in the order of their times.
    rules
        Rules by which windows are cut; see `stream_detector.core.windowing.windows`.
    features
        Those of a bundle, for which keys that it does not know get a scale where keys have one, as
        on a stream; None leaves that.

    Returns
    -------
    The windows that can be scored; none if there are fewer samples than a window has.
    """
    return _Cutting(rules, features).add(samples, np.empty((len(samples), 0)))[0]


def cut_with_rows(
    samples: Samples, rules: WindowRules, features: Features | None = None
) -> tuple[CutWindows, NDArray[np.intp]]:
    """Cut windows from samples, and return the samples that each window is made of.

    Parameters
    ----------
    samples, rules, features
        See `cut_samples`.

    Returns
    -------
    The windows, and the row in `samples` of each of their steps, shape (n_windows, n_steps); -1
    where a sample is missing.
    """
    # A row number takes two columns, since float32 holds integers up to 2 ** 24 only.
    beside = np.column_stack(np.divmod(np.arange(len(samples)), _ROWS_A_PAGE))
    found, pages = _Cutting(rules, features).add(samples, beside)
    rows = pages[:, :, 0] * _ROWS_A_PAGE + pages[:, :, 1]  # (n_windows, n_steps)
    return found, np.where(np.isnan(rows), -1, rows).astype(np.intp)


def join_windows(
    values: NDArray[np.float64], rows: NDArray[np.intp], n_samples: int
) -> NDArray[np.float64]:
    """Join windows to samples: the mean of all values that a sample has in them.

    Parameters
    ----------
    values
        Shape (n_windows, n_steps, n_features), any unit.
    rows
        Row of the sample of each step; see `cut_with_rows`.
    n_samples
        Number of samples.

    Returns
    -------
    Shape (n_samples, n_features), same unit; NaN for a sample outside all windows.

    Examples
    --------
    >>> join_windows(np.array([[[2.0], [4.0]], [[6.0], [8.0]]]), np.array([[0, 1], [1, -1]]), 3)
    array([[ 2.],
           [ 5.],
           [nan]])
    """
    is_there = rows >= 0
    there = rows[is_there]  # (n_values,)
    counts = np.bincount(there, minlength=n_samples)
    sums = [
        np.bincount(there, values[:, :, feature][is_there], n_samples)
        for feature in range(values.shape[2])
    ]
    with np.errstate(invalid="ignore"):
        joined: NDArray[np.float64] = np.column_stack(sums) / counts[:, np.newaxis]
    return joined


def cut_in_parts(
    parts: Iterable[Samples], rules: WindowRules, features: Features | None = None
) -> Iterator[tuple[Samples, CutWindows]]:
    """Cut windows from samples that come some at a time, in the order of their times.

    Parameters
    ----------
    parts
        All with the same `keys`.
    rules, features
        See `cut_samples`.

    Yields
    ------
    Each part and the windows that it completes: together those of `cut_samples`.
    """
    cut = _Cutting(rules, features)
    for samples in parts:
        yield samples, cut.add(samples, np.empty((len(samples), 0)))[0]


class _Cutting:
    """Cuts windows from samples, and from further columns, shape (n_samples, n_columns)."""

    def __init__(self, rules: WindowRules, features: Features | None) -> None:
        self._rules, self._new_keys = rules, _NewKeys(features)
        self._state: WindowState | None = None

    def add(self, samples: Samples, beside: NDArray[Any]) -> tuple[CutWindows, NDArray[np.float64]]:
        """Return the windows that samples complete after those before them."""
        numbers = {key.encode(): number for number, key in enumerate(samples.keys)}
        # The label is cut as one more feature, so that it cannot get into another window.
        labels = np.zeros(len(samples)) if samples.labels is None else samples.labels
        values = np.column_stack([samples.values, labels, beside]).astype(np.float32)
        wider = replace(self._rules, n_features=values.shape[1])
        new_keys, n_before, parts = self._new_keys, self._new_keys.n_warm_up, []
        for some, _ in _assign(samples, wider, values, self._state):
            self._state = some.state
            is_kept = ~new_keys.follow(some)  # (n_windows,)
            received = some.gather(slice(None))[is_kept]  # (n_kept, n_steps, n_columns)
            keys = [numbers[key] for key in some.state.keys_of(some.slots[is_kept])]
            times = some.start_ms[is_kept], some.end_ms[is_kept]
            intervals = None if some.intervals is None else some.intervals.of(is_kept)
            parts.append(_Part(received, np.array(keys, dtype=np.intp), *times, intervals))
        found, others = _joined(parts, samples, self._rules, values.shape[1])
        n_warm_up, features = new_keys.n_warm_up - n_before, new_keys.known(samples.keys)
        return replace(found, n_warm_up=n_warm_up, features=features), others


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

    def known(self, keys: Sequence[str]) -> Features | None:
        """Return the features with the scales of new keys among these."""
        if self._features is None or self._features.key_scales is None:
            return self._features
        found = self._state.places_of(0).scales
        scales = {key: found.get(name_of(key)) for key in (each.encode() for each in keys)}
        fitted = {key: each for key, each in scales.items() if each is not None}
        if not fitted:
            return self._features
        offset, scale = (np.stack(column) for column in zip(*fitted.values(), strict=True))
        known = self._features.key_scales.with_keys(list(fitted), offset, scale)
        return replace(self._features, key_scales=known)


def _assign(
    samples: Samples, rules: WindowRules, values: FloatArray, state: WindowState | None = None
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
    """
    order = np.argsort(samples.times_ms, kind="stable")  # (n_samples,)
    names = [key.encode() for key in samples.keys]
    state = WindowState.empty(rules) if state is None else state
    for start in range(0, len(samples), _SAMPLES_AT_ONCE):
        rows = order[start : start + _SAMPLES_AT_ONCE]
        arrivals = Arrivals(
            keys=[names[number] for number in samples.series[rows].tolist()],
            partitions=np.zeros(len(rows), dtype=np.int64),
            counts=np.ones(len(rows), dtype=np.intp),
            times_ms=keep(samples.times_ms[rows]),
            values=values[rows],
        )
        some = cut_windows(state, rules, arrivals)
        yield some, arrivals
        state = some.state


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


def require_windows(
    found: CutWindows,
    name: str,
    samples: Samples,
    rules: WindowRules,
    features: Features,
) -> None:
    """Refuse samples that no window can be cut from.

    Parameters
    ----------
    found
        The windows that were cut.
    name
        Name of the data, for the message.
    samples, rules
        What they were cut from, and how.
    features
        Names of the features.

    Raises
    ------
    DatasetError
        If there is no window. The message has the interval between the samples, which reveals
        times in another unit.
    """
    if len(found.windows):
        return
    order = np.argsort(samples.series, kind="stable")  # series by series
    is_same = np.diff(samples.series[order]) == 0
    apart_ms = np.diff(samples.times_ms[order])[is_same]
    received = f"{len(samples)} samples"
    if len(apart_ms):
        received = f"{len(samples)} {samples_apart(float(np.median(apart_ms)))}"
    why = _why(samples, rules, features)
    needs = f" round a peak, sought in {rules.frame.n_steps}" if rules.peaks else ""
    warm_up = f", {found.n_warm_up} came before their key had a scale" if found.n_warm_up else ""
    message = (
        f"data {name}: expected at least one window of {rules.n_steps} samples "
        f"{rules.sample_interval_ms:g} ms apart{needs}, received {received} that make none "
        f"({found.n_missing} windows have too many missing values{warm_up}){why}; give "
        "more data, in milliseconds, or check the recipe's window.steps, "
        "window.sample_interval_ms and window.missing_share_max"
    )
    raise DatasetError(message)


def _why(samples: Samples, rules: WindowRules, features: Features) -> str:
    """Return why no window of a series can be scored, as `detect` says it live.

    Nothing is added where the time between the samples, or their number, says it already.
    """
    health, keyed_state = SeriesHealth(rules.n_features), None
    for some, arrivals in _assign(samples, rules, samples.values):
        is_scored = np.zeros(len(some), dtype=np.bool_)  # (n_windows,)
        health.add(SeriesFacts(some, is_scored, arrivals.counts, arrivals.values))
        keyed_state = some.state.apply_delta()
    if keyed_state is None:
        return ""
    diagnosis = Diagnosis(health, keyed_state, rules, features)
    unscored = diagnosis.find()
    told = [REASONS.index("interval"), REASONS.index("warm_up")]
    rows = np.flatnonzero(~np.isin(unscored.reasons, told))
    if not len(rows):
        return ""
    slot, reason = int(unscored.slots[rows[0]]), REASONS[int(unscored.reasons[rows[0]])]
    key = (keyed_state.keys[slot] or b"").decode()
    detail = printable(diagnosis.describe(slot, reason))
    return f"; series {shorten(printable(key), 64)}: {detail}"


def to_windows(
    dataset: SampleDataset, rules: WindowRules, features: Features | None = None
) -> Dataset:
    """Cut a data set of samples into a data set of windows.

    Parameters
    ----------
    dataset
        The samples.
    rules
        Rules by which windows are cut.
    features
        The features of a bundle, in whose order the windows have theirs, whose origin is
        subtracted, and to whose scales of keys the windows are brought; None keeps the order of the
        data set, subtracts nothing, and scales nothing.

    Raises
    ------
    DatasetError
        If the number of features differs from the recipe's, their names from the bundle's, or there
        is no window to train on.
    """
    if features is not None:
        dataset = in_order(dataset, features)
    n_features = dataset.train.values.shape[1]
    if n_features != rules.n_features:
        message = (
            f"data {dataset.name}: expected {rules.n_features} features a sample as the recipe's "
            f"window.features says, received {n_features}: "
            f"{', '.join(dataset.feature_names)[:200]}; give other data, or train with "
            f"window.features = {n_features}"
        )
        raise DatasetError(message)
    origin = () if features is None else features.origin
    train, test = (
        cut_samples(replace(part, values=to_float32(part.values, origin)), rules)
        for part in (dataset.train, dataset.test)
    )
    if features is not None:
        train, test = (each.in_key_units(features) for each in (train, test))
    train = train.without_pauses()  # a person says what a pause is, no data
    named = Features(dataset.feature_names or Features.generated(n_features).names)
    require_windows(train, dataset.name, dataset.train, rules, named)
    return Dataset(
        name=dataset.name,
        split=dataset.split,
        train=train.windows,
        train_labels=train.labels,
        test=test.windows,
        test_labels=test.labels,
        train_keys=train.keys,
        test_keys=test.keys,
        train_timestamps_ms=train.start_ms,
        test_timestamps_ms=test.start_ms,
        feature_names=dataset.feature_names,
        origin=origin,
        key_scales=None if features is None else features.key_scales,
        train_intervals=train.intervals,
        test_intervals=test.intervals,
    )
