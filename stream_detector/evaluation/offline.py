"""Run a detector over samples without Kafka, with the code that runs on a stream.

Each sample becomes a record of one partition, in the order of time, and the records go through
`SampleDetector.step`: decoding, windows, scores and the life cycle of alerts are those of `detect`.
The samples may also be read from a topic, in any number of partitions; only the time at which a
silent key expires can then be another, since each partition has a stream time of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.samples import encode_samples
from stream_detector.core.records import (
    RecordBatch,
    Samples,
    SeriesColumns,
)
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import AlertSpan
from stream_detector.datasets.cutting import some_samples

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

Rows = NDArray[np.intp]

SAMPLES_AT_ONCE = 16_384
_TOPIC = "samples"
SILENCE = "no_data"
"""The check of an alert about a key that sends nothing."""

_NOTHING_COMES = (SILENCE, "feature_missing")
"""Reasons of alerts about data that does not come, which no check opens."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamRun:
    """What a detector made of samples.

    Parameters
    ----------
    rows
        Row of the sample that completed each scored window, in the order in which they were
        completed, shape (n_windows,).
    start_ms, end_ms
        Times of the first and the last sample of each window, int64, shape (n_windows,).
    scores
        Float64, shape (n_windows,), unit: the scorer's.
    threshold
        Anomalous iff score > threshold.
    alerts
        The alerts, each from its first event to its last. One that continues another is part of it.
    n_missing
        Windows without a score, because too many of their values are missing.
    rejected
        Number of rejected samples, by the class of the error.
    first_rejection
        What was wrong with the first of them; empty if there is none.
    """

    rows: Rows
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    scores: NDArray[np.float64]
    threshold: float
    alerts: Sequence[AlertSpan]
    n_missing: int
    rejected: Counter[str]
    first_rejection: str

    @property
    def judged(self) -> list[AlertSpan]:
        """Return the alerts that can be right or wrong: not those of keys that sent nothing.

        That a key is silent is a fact, and no verdict on its samples.
        """
        return [alert for alert in self.alerts if alert.check != SILENCE]


class PointScores(NamedTuple):
    """A score for each sample.

    Parameters
    ----------
    causal
        Score of the newest window of its series that was finished when the sample came: what
        `detect` knew at that moment. Float64, shape (n_samples,); NaN before the first window.
    put_back
        Mean of the scores of all windows that cover the sample: where in time the anomaly is, known
        only a window later. Same shape; NaN where no scored window covers it.
    """

    causal: NDArray[np.float64]
    put_back: NDArray[np.float64]


class OfflineRun:
    """A detector that is run over samples, some at a time.

    Parameters
    ----------
    detector
        The detector of a bundle.
    """

    def __init__(self, detector: SampleDetector) -> None:
        self._detector = replace(detector, mapping=None)  # these records are our own
        self._state: DetectorState = detector.initial_state()
        self._offset = 0

    def step(self, samples: Samples) -> Step:
        """Return what comes of the next samples, in the order of their times, one a record."""
        batch = _batch(samples, self._offset)
        step = self._detector.step(self._state, batch, "json")
        self._state, self._offset = step.state, self._offset + len(samples)
        return step


@dataclass(slots=True)
class _Gathered:
    """What the steps of a run have given so far."""

    rows: list[Rows] = field(default_factory=list)
    start_ms: list[NDArray[np.int64]] = field(default_factory=list)
    end_ms: list[NDArray[np.int64]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    spans: dict[str, AlertSpan] = field(default_factory=dict)
    """Alerts by id, of those that continue another by the id of the first."""
    first_ids: dict[str, str] = field(default_factory=dict)
    n_missing: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejection: str = ""

    def add(self, step: Step, rows: Rows, samples: Samples) -> None:
        """Add one step, whose records are the samples in some rows."""
        scores = step.scores
        if scores.start_ms is None or scores.end_ms is None:
            message = "expected a step of a detector of samples"
            raise TypeError(message)
        self.rows.append(rows[scores.indices])
        self.start_ms.append(scores.start_ms)
        self.end_ms.append(scores.end_ms)
        self.scores.append(scores.scores)
        self.n_missing += step.counts.windows.get("missing", 0)
        self.rejected.update(type(each.error).__name__ for each in step.rejected)
        if step.rejected and not self.first_rejection:
            self.first_rejection = str(step.rejected[0].error)
        for raised in step.alerts:
            self.add_alert(raised.alert, float(samples.times_ms[rows[raised.record]]))

    def add_alert(self, alert: Alert, now_ms: float) -> None:
        """Add one event of an alert."""
        first = self.first_ids.get(alert.continues_alert_id or "", alert.alert_id)
        first = self.first_ids.setdefault(alert.alert_id, first)
        if alert.event == "open" and first == alert.alert_id:
            check = alert.reason if alert.reason in _NOTHING_COMES else alert.check or ""
            sentence = alert.explanation.sentence if alert.explanation is not None else ""
            self.spans[first] = AlertSpan(
                alert.key, alert.opened_ms, np.inf, feature_of(alert), check, now_ms, sentence
            )
        elif alert.event == "open":
            self.spans[first] = self.spans[first]._replace(closed_ms=np.inf)
        elif alert.event == "close":
            self.spans[first] = self.spans[first]._replace(closed_ms=alert.event_time_ms)


def run_offline(
    detector: SampleDetector,
    samples: Samples,
    on_alert: Callable[[Alert], None] = lambda _: None,
) -> StreamRun:
    """Run a detector over samples.

    Parameters
    ----------
    detector
        The detector of a bundle.
    samples
        Of any number of series, whose features are those of the detector in its order; values may
        be float64, from which the detector takes its origin.
    on_alert
        Called with each event of an alert, in the order in which `detect` would publish them.

    Returns
    -------
    Scores and alerts, bit for bit those of a stream of these samples. No samples give none.
    """
    gathered, run = _Gathered(), OfflineRun(detector)
    order = np.argsort(samples.times_ms, kind="stable")  # (n_samples,)
    for start in range(0, len(samples), SAMPLES_AT_ONCE):
        rows = order[start : start + SAMPLES_AT_ONCE]
        step = run.step(some_samples(samples, rows))
        gathered.add(step, rows, samples)
        for raised in step.alerts:
            on_alert(raised.alert)
    return StreamRun(
        rows=np.concatenate([np.empty(0, np.intp), *gathered.rows]),
        start_ms=np.concatenate([np.empty(0, np.int64), *gathered.start_ms]),
        end_ms=np.concatenate([np.empty(0, np.int64), *gathered.end_ms]),
        scores=np.concatenate([np.empty(0), *gathered.scores]),
        threshold=detector.scorer.threshold,
        alerts=_closed(gathered.spans.values(), samples),
        n_missing=gathered.n_missing,
        rejected=gathered.rejected,
        first_rejection=gathered.first_rejection,
    )


def feature_of(alert: Alert) -> str:
    """Return the feature that an alert names first, empty if it names none."""
    if alert.feature is not None:
        return alert.feature
    features = alert.explanation.features if alert.explanation is not None else ()
    return features[0].name if features else ""


def spans_of(samples: Samples) -> dict[str, tuple[float, float]]:
    """Return times of the first and the last sample of each series that has any."""
    n_series = len(samples.keys)
    first, last = np.full(n_series, np.inf), np.full(n_series, -np.inf)
    np.minimum.at(first, samples.series, samples.times_ms)
    np.maximum.at(last, samples.series, samples.times_ms)
    return {
        key: (float(first[number]), float(last[number]))
        for number, key in enumerate(samples.keys)
        if first[number] <= last[number]
    }


def point_scores(run: StreamRun, samples: Samples, interval_ms: float) -> PointScores:
    """Return the scores of samples: of the newest finished window, and put back.

    Parameters
    ----------
    run
        The run over these samples.
    samples
        The samples.
    interval_ms
        Time between two samples.

    Returns
    -------
    In the order of the samples.
    """
    causal, put_back = np.full(len(samples), np.nan), np.full(len(samples), np.nan)
    causal[run.rows] = run.scores  # of several windows, the last one stays
    window_series = samples.series[run.rows]  # (n_windows,)
    for number in range(len(samples.keys)):
        rows = np.flatnonzero(samples.series == number)  # (n_rows,)
        rows = rows[np.argsort(samples.times_ms[rows], kind="stable")]
        causal[rows] = _fill_forward(causal[rows])
        chosen = np.flatnonzero(window_series == number)
        ends_ms = [run.start_ms[chosen], run.end_ms[chosen]]
        spans = np.searchsorted(
            samples.times_ms[rows], [ends_ms[0] - interval_ms / 2, ends_ms[1] + interval_ms / 2]
        )  # (2, n_own_windows)
        put_back[rows] = _mean_over(spans, run.scores[chosen], len(rows))
    return PointScores(causal, put_back)


def newest_windows(run: StreamRun, samples: Samples, interval_ms: float) -> Rows:
    """Return the newest scored window of each sample's series that ends with it or before it.

    Unlike a causal score, that does not depend on how long a sample waits for others.

    Parameters
    ----------
    run, samples, interval_ms
        See `point_scores`.

    Returns
    -------
    Which window of the run, shape (n_samples,), in the order of the samples; -1 before the first.
    """
    newest = np.full(len(samples), -1)
    window_series = samples.series[run.rows]  # (n_windows,)
    for number in range(len(samples.keys)):
        rows = np.flatnonzero(samples.series == number)  # (n_rows,)
        rows = rows[np.argsort(samples.times_ms[rows], kind="stable")]
        chosen = np.flatnonzero(window_series == number)
        limits_ms = run.end_ms[chosen] + interval_ms / 2
        last = np.searchsorted(samples.times_ms[rows], limits_ms) - 1  # (n_own_windows,)
        newest[rows[last]] = chosen
        newest[rows] = np.maximum.accumulate(newest[rows])
    return newest


def _batch(samples: Samples, offset: int) -> RecordBatch:
    """Return samples as records, one each, the first of them at an offset."""
    values = [
        encode_samples(samples.values[row : row + 1], "json", time_ms)
        for row, time_ms in enumerate(samples.times_ms.tolist())
    ]
    keys = [key.encode() for key in samples.keys]
    series = SeriesColumns(
        keys=[keys[number] for number in samples.series.tolist()],
        partitions=np.zeros(len(samples), np.int64),
        timestamps_ms=np.rint(samples.times_ms).astype(np.int64),
    )
    return RecordBatch.from_columns(_TOPIC, values, series, range(offset, offset + len(samples)))


def _closed(spans: Iterable[AlertSpan], samples: Samples) -> list[AlertSpan]:
    """Return alerts of which those that are still open end with their series."""
    ends_ms = {key: end for key, (_, end) in spans_of(samples).items()}
    return [
        span
        if np.isfinite(span.closed_ms)
        else span._replace(closed_ms=max(ends_ms[span.key], span.opened_ms))
        for span in spans
    ]


def _fill_forward(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores in which NaN is replaced by the score before it, where there is one."""
    at = np.where(np.isnan(scores), -1, np.arange(len(scores)))
    at = np.maximum.accumulate(at)
    return np.where(at < 0, np.nan, scores[at])


def _mean_over(
    spans: NDArray[np.intp], scores: NDArray[np.float64], n_samples: int
) -> NDArray[np.float64]:
    """Return the mean score of the windows that cover each sample, NaN where none does.

    Parameters
    ----------
    spans
        Of each window its first sample and the one after its last, shape (2, n_windows).
    scores
        Shape (n_windows,).
    n_samples
        Number of samples.
    """
    lengths = spans[1] - spans[0]  # (n_windows,)
    first = np.repeat(spans[0] - (np.cumsum(lengths) - lengths), lengths)
    covered = first + np.arange(len(first))  # (n_covered,), the samples of each window
    total = np.bincount(covered, np.repeat(scores, lengths), n_samples)  # (n_samples,)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = total / np.bincount(covered, minlength=n_samples)
    return mean
