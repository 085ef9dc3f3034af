"""Windows that are least like the others of their key: what to look at before training.

No network is needed. Of each feature, five statistics are taken of each window: mean, standard
deviation, largest and mean absolute difference, and slope. Each is compared with the median and the
spread that it has over all windows of the key; the spread is the larger of that to the 10 % and to
the 90 % quantile, so a fault in one window of ten does not hide itself. What cannot be negative is
compared by its logarithm where it is low, since a stuck sensor has hardly less than a calm one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset

STATISTICS = ("mean", "variation", "largest step", "mean step", "slope")
"""What is taken of each feature of a window."""

_TINY = 1e-6
_NORMAL_SPREADS = 8.0
"""Windows of steady telemetry are rarely farther out; a fault of several deviations is."""
_FAULT_SHARE, _LEFT_OUT_MAX = 0.002, 0.05
"""From so many windows that are far out on, data are likely to hold faults; with more than one in
twenty they are no faults but what the machines do."""
_APART = 5
_PER_BLOCK = 4_096
_POSITIVE = slice(1, 4)
"""Variation, largest and mean step: what cannot be negative."""

_LOG_SPREAD_MIN = 0.15


class Strange(NamedTuple):
    """A window that is unlike the others.

    Parameters
    ----------
    key
        The series.
    start_ms, end_ms
        Its first and last sample, milliseconds since 1970-01-01 UTC.
    feature
        Name of the feature in which it differs most.
    statistic
        One of `STATISTICS`.
    spreads
        How many usual spreads of that statistic it lies from the median.
    """

    key: str
    start_ms: int
    end_ms: int
    feature: str
    statistic: str
    spreads: float


class StrangeWindows(NamedTuple):
    """The windows least like the rest, and whether that means faults in the data.

    Parameters
    ----------
    windows
        The strangest first; none overlaps another of its key.
    share
        Share of all windows that are farther out than windows of steady telemetry are.
    spans
        Times of these windows, joined where they overlap: key, start and end.
    """

    windows: tuple[Strange, ...]
    share: float
    spans: tuple[tuple[str, float, float], ...]

    @property
    def is_likely_faulty(self) -> bool:
        """Return whether the data are likely to hold faults."""
        return self.share > _FAULT_SHARE

    @property
    def left_out(self) -> tuple[tuple[str, float, float], ...]:
        """Return the spans that are better not trained on; none where they are few or too many."""
        return self.spans if _FAULT_SHARE < self.share <= _LEFT_OUT_MAX else ()


def find_strange_in(dataset: Dataset, span_ms: float) -> StrangeWindows:
    """Find the training windows that are least like the others of their key.

    Parameters
    ----------
    dataset
        Windows cut from samples; those that a label marks as anomalous are left out.
    span_ms
        Time from the first to the last sample of a window.
    """
    windows, keys, starts = dataset.train, dataset.train_keys, dataset.train_timestamps_ms
    if keys is None or starts is None or dataset.feature_names is None:
        message = "dataset: expected windows cut from samples, received others"
        raise ValueError(message)
    labels = dataset.train_labels
    rows = np.arange(len(windows)) if labels is None else np.flatnonzero(labels == 0)
    its_keys = [keys[row] for row in rows.tolist()]
    return find_strange(windows[rows], its_keys, starts[rows], span_ms, dataset.feature_names)


def find_strange(
    windows: FloatArray,
    keys: Sequence[str],
    start_ms: NDArray[np.int64],
    span_ms: float,
    features: Sequence[str],
    n_most: int = 10,
) -> StrangeWindows:
    """Find the windows that are least like the others of their key.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), finite.
    keys, start_ms
        Key and start of each window.
    span_ms
        Time from the first to the last sample of a window.
    features
        Names of the features.
    n_most
        Most windows to return.
    """
    if not len(windows):
        return StrangeWindows((), 0.0, ())
    _, series = np.unique(np.array(keys, dtype=object).astype(str), return_inverse=True)
    far = np.concatenate(
        [
            statistics(windows[start : start + _PER_BLOCK])
            for start in range(0, len(windows), _PER_BLOCK)
        ]
    )  # (n_windows, n_features, n_statistics)
    for number in range(int(series.max()) + 1):
        rows = np.flatnonzero(series == number)
        far[rows] = _spreads(far[rows])
    flat = far.reshape(len(far), -1)  # (n_windows, n_features * n_statistics)
    worst = flat.argmax(axis=1)  # (n_windows,)
    scores = flat[np.arange(len(flat)), worst]  # (n_windows,)
    chosen: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == n_most or scores[row] < _NORMAL_SPREADS / 2:
            break
        if all(
            series[row] != series[other] or abs(start_ms[row] - start_ms[other]) > _APART * span_ms
            for other in chosen
        ):
            chosen.append(row)
    found = []
    for row in chosen:
        feature, statistic = divmod(int(worst[row]), len(STATISTICS))
        start = int(start_ms[row])
        what = (features[feature], STATISTICS[statistic], float(scores[row]))
        found.append(Strange(keys[row], start, round(start + span_ms), *what))
    is_far = scores > _NORMAL_SPREADS  # (n_windows,)
    rows = np.flatnonzero(is_far)
    rows = rows[np.lexsort((start_ms[rows], series[rows]))]
    spans = _joined([(keys[row], float(start_ms[row])) for row in rows.tolist()], span_ms)
    return StrangeWindows(tuple(found), float(is_far.mean()), spans)


def _joined(
    starts: Sequence[tuple[str, float]], span_ms: float
) -> tuple[tuple[str, float, float], ...]:
    """Return spans of windows, by key and start, with those that overlap joined."""
    spans: list[tuple[str, float, float]] = []
    for key, start_ms in starts:
        if spans and spans[-1][0] == key and start_ms <= spans[-1][2]:
            spans[-1] = (key, spans[-1][1], start_ms + span_ms)
        else:
            spans.append((key, start_ms, start_ms + span_ms))
    return tuple(spans)


def statistics(windows: FloatArray) -> NDArray[np.float64]:
    """Return the statistics of each feature, shape (n_windows, n_features, n_statistics).

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), n_steps >= 2, finite.
    """
    values = windows.astype(np.float64)  # (n_windows, n_steps, n_features)
    steps = np.abs(np.diff(values, axis=1))  # (n_windows, n_steps - 1, n_features)
    at = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2  # (n_steps,)
    slope = np.einsum("t,wtf->wf", at, values) / (at @ at)  # (n_windows, n_features)
    return np.stack(
        [values.mean(axis=1), values.std(axis=1), steps.max(axis=1), steps.mean(axis=1), slope],
        axis=-1,
    )


def _spreads(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far out each statistic of each window of one key is, in usual spreads."""
    low, middle, high = np.quantile(own, [0.1, 0.5, 0.9], axis=0)  # (n_features, n_statistics)
    spread = np.maximum(high - middle, middle - low)
    least = _TINY * (1.0 + np.abs(middle))
    found = np.where(spread > least, np.abs(own - middle) / np.maximum(spread, least), 0.0)
    floor = np.maximum(_TINY * middle[:, _POSITIVE], np.finfo(np.float64).tiny)
    logs = np.log(np.maximum(own[..., _POSITIVE], floor))  # (n_windows, n_features, 3)
    low, middle, high = np.quantile(logs, [0.1, 0.5, 0.9], axis=0)
    spread = np.maximum(np.maximum(high - middle, middle - low), _LOG_SPREAD_MIN)
    below = np.maximum(middle - logs, 0.0) / spread
    found[..., _POSITIVE] = np.maximum(found[..., _POSITIVE], below)
    return found
