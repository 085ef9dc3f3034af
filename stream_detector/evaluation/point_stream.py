"""Scores of samples that are too many for memory: those of `offline.point_scores`, bit for bit.

The causal score of a sample is known at once. Its put back score is the mean of all windows that
cover it, so the sample waits until no later window of its series can: for as long as a detector
needs to know a series again that it starts to read (`WindowRules.needed_ms`). With windows of 4
samples, one each 2, a sample every 10 ms and so 90 ms needed, and 20 to spare::

    samples     0 10 20 30 .. 100 110 120 | 130 140
    windows     0-30, 20-50, .. 80-110    | 100-130
    known                                 | 0 10        130, the newest but one, is 110 after 20
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.arrays import is_group_end, is_group_start, join_ranges
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.evaluation.offline import OfflineRun

_SAMPLES_AT_ONCE = 65_536
_COVERED_AT_ONCE = 1 << 20

_SPARE_INTERVALS = 2
"""Jitter moves the ends of a window by one at most."""

Packed = NDArray[Any]
"""Rows with the fields of `_POINT` or `_WINDOW`."""

_POINT = np.dtype(
    [
        *(("number", "f8"), ("series", "i8"), ("time_ms", "f8"), ("is_used", "?")),
        *(("causal", "f8"), ("total", "f8"), ("n_windows", "i8")),
    ]
)
_WINDOW = np.dtype([("series", "i8"), ("begin_ms", "f8"), ("end_ms", "f8"), ("score", "f8")])


class ScoredPoints(NamedTuple):
    """Samples whose scores are known.

    Parameters
    ----------
    keys, series, times_ms
        As those of `Samples`.
    numbers
        What was given beside the values of each, shape (n_samples,).
    causal, put_back
        As those of `offline.PointScores`.
    """

    keys: tuple[str, ...]
    series: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    numbers: NDArray[np.float64]
    causal: NDArray[np.float64]
    put_back: NDArray[np.float64]


class PointStream:
    """Scores samples that come some at a time, in the order of their times.

    Parameters
    ----------
    detector
        The detector of a bundle.

    Attributes
    ----------
    rejected, first_rejection
        As those of `offline.StreamRun`, of the samples so far.
    """

    def __init__(self, detector: SampleDetector) -> None:
        self.rejected: Counter[str] = Counter()
        self.first_rejection = ""
        self._detector = detector

    def score(self, parts: Iterable[Samples]) -> Iterator[ScoredPoints]:
        """Yield samples once their scores are known.

        Parameters
        ----------
        parts
            At least one, all with the same `keys`. The last column of the values is no feature but
            a number of the sample, which is returned with its scores.
        """
        run, waiting = OfflineRun(self._detector), _Waiting(self._detector.windows)
        newest, new = np.empty(0), []  # newest causal score of each series
        for samples in parts:
            step = run.step(replace(samples, values=samples.values[:, :-1]))
            self._note(step)
            if not len(newest):
                newest = np.full(len(samples.keys), np.nan)
            points, windows = _points(samples, step, newest), _windows(samples, step)
            new.append((points, windows))
            # What waits is sorted each time, so it must not be more than what is new.
            if sum(len(each) for each, _ in new) >= max(_SAMPLES_AT_ONCE, len(waiting)):
                yield _scored(samples.keys, waiting.add(new))
                new = []
        yield _scored(samples.keys, waiting.add(new))
        yield _scored(samples.keys, waiting.rest())

    def _note(self, step: Step) -> None:
        """Count what was rejected."""
        self.rejected.update(type(each.error).__name__ for each in step.rejected)
        if step.rejected and not self.first_rejection:
            self.first_rejection = str(step.rejected[0].error)


class _Waiting:
    """Samples that a later window may cover, by series and then by time.

    Parameters
    ----------
    rules
        How windows are cut.
    """

    def __init__(self, rules: WindowRules) -> None:
        self._margin_ms = rules.sample_interval_ms / 2
        self._needed_ms, self._gap_ms = rules.needed_ms, rules.gap_ms_max
        self._span_ms = rules.frame.span_ms
        self._spare_ms = _SPARE_INTERVALS * rules.sample_interval_ms
        self._points, self._windows = np.empty(0, _POINT), np.empty(0, _WINDOW)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, new: list[tuple[Packed, Packed]]) -> Packed:
        """Return the samples that no later window covers, having added some, and their windows."""
        n_open = len(self._windows)
        points = np.concatenate([self._points, *(each for each, _ in new)])
        windows = np.concatenate([self._windows, *(each for _, each in new)])
        if not len(points):
            return points
        windows["begin_ms"][n_open:] -= self._margin_ms
        windows["end_ms"][n_open:] += self._margin_ms
        order = np.argsort(points["series"], kind="stable")
        points = points[order]
        n_series = int(points["series"][-1]) + 1
        known = np.bincount(self._points["series"], minlength=n_series)  # (n_series,)
        spans = _spans(points, windows)  # (2, n_windows)
        # Windows that came before have what was there already.
        series = windows["series"][:n_open]
        firsts = np.searchsorted(points["series"], series) + known[series]
        spans[0, :n_open] = np.maximum(spans[0, :n_open], firsts)
        _cover(points, spans, windows["score"])
        lasts = np.flatnonzero(is_group_end(points["series"]))  # (n_there,)
        newest_ms = np.full(n_series, -np.inf)
        newest_ms[points["series"][lasts]] = points["time_ms"][lasts]
        self._windows = windows[windows["end_ms"] > newest_ms[windows["series"]]]
        is_known = self._is_known(points, newest_ms)
        self._points = points[~is_known]
        known_points: Packed = points[is_known]
        return known_points

    def rest(self) -> Packed:
        """Return the samples that are left, after which none comes."""
        return self._points

    def _is_known(self, points: Packed, newest_ms: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points no later window covers, shape (n_points,).

        The newest sample of a series may be held, as one of a wrong clock is, but not the one
        before it: the next one shows what it was. After a gap a series starts again, so what was
        rejected within the gap is in no window, but just before the next sample: where samples are
        faster than expected, the time of a window begins before its first one.
        """
        used_ms, before_ms = np.full((2, len(newest_ms)), -np.inf)
        used = points[points["is_used"]]
        lasts = np.flatnonzero(is_group_end(used["series"]))
        used_ms[used["series"][lasts]] = used["time_ms"][lasts]
        befores = lasts[~is_group_start(used["series"])[lasts]] - 1
        before_ms[used["series"][befores]] = used["time_ms"][befores]
        series, times_ms = points["series"], points["time_ms"]
        is_past = times_ms < (before_ms - self._needed_ms - self._spare_ms)[series]
        has_gap = newest_ms > used_ms + self._gap_ms + self._spare_ms  # (n_series,)
        is_within = (times_ms > (used_ms + self._spare_ms)[series]) & (
            times_ms < (newest_ms - self._span_ms - self._spare_ms)[series]
        )
        is_known: NDArray[np.bool_] = is_past | (has_gap[series] & is_within)
        return is_known


def _points(samples: Samples, step: Step, newest: NDArray[np.float64]) -> Packed:
    """Return the samples of a step with their causal scores.

    Parameters
    ----------
    samples, step
        The samples, and what came of them.
    newest
        Newest score of each series before them; what it is after them is set.
    """
    points = np.zeros(len(samples), _POINT)
    points["number"], points["series"] = samples.values[:, -1], samples.series
    points["time_ms"], points["is_used"] = samples.times_ms, True
    points["is_used"][[each.index for each in step.rejected]] = False
    causal = np.full(len(samples), np.nan)
    causal[step.scores.indices] = step.scores.scores  # of several windows, the last one stays
    order = np.argsort(samples.series, kind="stable")  # (n_samples,)
    series, of_series = samples.series[order], causal[order]
    starts = is_group_start(series)  # (n_samples,)
    of_series = np.where(starts & np.isnan(of_series), newest[series], of_series)
    at = np.where(np.isnan(of_series) & ~starts, 0, np.arange(len(order)))
    of_series = of_series[np.maximum.accumulate(at)]
    ends = is_group_end(series)
    newest[series[ends]] = of_series[ends]
    points["causal"][order] = of_series
    return points


def _windows(samples: Samples, step: Step) -> Packed:
    """Return the windows of a step."""
    scores = step.scores
    if scores.start_ms is None or scores.end_ms is None:
        message = "expected a step of a detector of samples"
        raise TypeError(message)
    windows = np.empty(len(scores.scores), _WINDOW)
    windows["series"], windows["score"] = samples.series[scores.indices], scores.scores
    windows["begin_ms"], windows["end_ms"] = scores.start_ms, scores.end_ms
    return windows


def _spans(points: Packed, windows: Packed) -> NDArray[np.intp]:
    """Return the first point of each window and the one after its last, shape (2, n_windows)."""
    places = _codes(points["series"], points["time_ms"])
    ends = [_codes(windows["series"], windows[name]) for name in ("begin_ms", "end_ms")]
    return np.searchsorted(places, np.array(ends))


def _codes(series: NDArray[np.int64], times_ms: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return numbers that are in order by series and then by time, as complex ones are."""
    codes = np.empty(len(series), np.complex128)
    codes.real, codes.imag = series, times_ms
    return codes


def _cover(points: Packed, spans: NDArray[np.intp], scores: NDArray[np.float64]) -> None:
    """Add the scores of windows to the points in their spans, window by window."""
    lengths = np.maximum(spans[1] - spans[0], 0)  # (n_windows,)
    n_at_once = max(_COVERED_AT_ONCE // int(lengths.max(initial=1)), 1)
    for start in range(0, len(lengths), n_at_once):
        some = slice(start, start + n_at_once)
        covered = join_ranges(spans[0, some], lengths[some])  # (n_covered,)
        np.add.at(points["total"], covered, np.repeat(scores[some], lengths[some]))
        np.add.at(points["n_windows"], covered, 1)


def _scored(keys: tuple[str, ...], points: Packed) -> ScoredPoints:
    """Return points with the means of their windows."""
    with np.errstate(invalid="ignore"):
        put_back = points["total"] / points["n_windows"]
    return ScoredPoints(
        keys,
        points["series"].astype(np.intp),
        points["time_ms"].copy(),
        points["number"].copy(),
        points["causal"].copy(),
        put_back,
    )
