"""The spans of samples that a detector finds strangest, whether or not there are labels."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scorer import Scorer, WindowScores
from stream_detector.evaluation.offline import StreamRun, run_offline

N_STRANGEST = 10
"""Spans that are named."""


_JUST_BELOW = 1 - 1e-9
"""Factor of a score that gives a threshold which it exceeds."""


class StrangeSpan(NamedTuple):
    """A window with a high score, none of whose samples is in a window with a higher one here.

    Parameters
    ----------
    key
        The series.
    start_ms, end_ms
        Times of the first and the last sample.
    anomaly_score
        Score / threshold; above 1 is anomalous.
    feature, check
        The feature that an alert about it would name first, and the check; empty where it names
        none.
    sentence
        What such an alert would say is unusual; may be empty.
    """

    key: str
    start_ms: int
    end_ms: int
    anomaly_score: float
    feature: str
    check: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class _Eager:
    """The same scorer with another threshold, with which more is explained."""

    scorer: Scorer
    threshold: float

    @property
    def score_kind(self) -> str:
        """What a score is."""
        return self.scorer.score_kind

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values can be scored."""
        return self.scorer.in_range(values)

    def score(self, windows: FloatArray) -> WindowScores:
        """Return the scores of windows."""
        return self.scorer.score(windows)


def find_strangest(
    detector: SampleDetector, samples: Samples, run: StreamRun, n_max: int = N_STRANGEST
) -> list[StrangeSpan]:
    """Return the windows with the highest scores that do not overlap each other.

    Each is given to the detector once more, with a threshold that it exceeds: so feature and check
    are what an alert about it would say.

    Parameters
    ----------
    detector
        What scored the samples.
    samples, run
        The samples, and the run over them.
    n_max
        Most spans, >= 0.

    Returns
    -------
    The highest score first. Windows without any error are not strange.
    """
    found = []
    for window in _apart(samples, run, n_max):
        series = int(samples.series[run.rows[window]])
        start_ms, end_ms = int(run.start_ms[window]), int(run.end_ms[window])
        score = float(run.scores[window])
        part = _part(samples, series, start_ms, end_ms, detector)
        names = _explain(detector, part, end_ms, score)
        anomaly_score = score / run.threshold
        found.append(StrangeSpan(samples.keys[series], start_ms, end_ms, anomaly_score, *names))
    return found


def _apart(samples: Samples, run: StreamRun, n_max: int) -> list[int]:
    """Return windows by falling score, leaving out each that overlaps one before it."""
    order = np.argsort(-run.scores, kind="stable")  # (n_windows,)
    left = order[run.scores[order] > 0]
    series = samples.series[run.rows]  # (n_windows,)
    chosen: list[int] = []
    while len(left) and len(chosen) < n_max:
        best = int(left[0])
        chosen.append(best)
        is_over = (
            (series[left] == series[best])
            & (run.start_ms[left] <= run.end_ms[best])
            & (run.end_ms[left] >= run.start_ms[best])
        )
        left = left[~is_over]
    return chosen


def _part(
    samples: Samples, series: int, start_ms: int, end_ms: int, detector: SampleDetector
) -> Samples:
    """Return the samples of one window, and those without which it is not finished or not found."""
    rules = detector.windows
    from_ms = start_ms - rules.sample_interval_ms / 2
    until_ms = end_ms + rules.allowed_lateness_ms + rules.gap_ms_max
    if rules.peaks is not None:
        n_before = rules.peaks.n_context + rules.peaks.n_search
        n_after = rules.peaks.n_frame - rules.peaks.n_context
        from_ms -= n_before * rules.sample_interval_ms
        until_ms += n_after * rules.sample_interval_ms
    rows = np.flatnonzero(
        (samples.series == series) & (samples.times_ms >= from_ms) & (samples.times_ms <= until_ms)
    )
    return Samples(samples.keys, samples.series[rows], samples.times_ms[rows], samples.values[rows])


def _explain(
    detector: SampleDetector, samples: Samples, end_ms: int, score: float
) -> tuple[str, str, str]:
    """Return what an alert about a window of samples names.

    Without peaks that is the first window, and it has about this score: it may be cut in another
    way. Round a peak it has the same score, and others before it may have about as much.
    """
    peaks = detector.windows.peaks
    eager = replace(
        detector,
        scorer=_Eager(detector.scorer, score / 2 if peaks is None else score * _JUST_BELOW),
        alerting=replace(detector.alerting, open_after=1, open_within=1),
        windows=replace(detector.windows, no_data_after_ms=None),
    )
    if peaks is not None:
        alerting = replace(eager.alerting, close_after_ms=1, cooldown_ms=0)
        eager = replace(eager, alerting=alerting)
    alerts = run_offline(eager, samples).alerts
    if peaks is not None:
        alerts = [each for each in alerts if abs(each.opened_ms - end_ms) <= 1]
    if not alerts:
        return "", "", ""
    return alerts[0].feature, alerts[0].check, alerts[0].sentence
