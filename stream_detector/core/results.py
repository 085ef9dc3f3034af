"""The results of one batch: scores, alerts, rejected records, counts and the next state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import RaisedAlert
from stream_detector.core.records import Rejected
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.windowing.series_health import SeriesFacts

Outcome = Literal[
    "normal", "anomalous", "unscored", "buffered", "warm_up", "late", "duplicate", "dead_letter"
]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of the windows of one batch.

    Parameters
    ----------
    indices
        Which record of the batch each window came from, shape (n_windows,), ascending.
    scores
        Shape (n_windows,), float64, range [0, inf), unit: the scorer's.
    threshold
        Same unit; above zero.
    start_ms, end_ms
        Times of the first and last sample of each window, int64, shape (n_windows,); None where
        records are whole windows.
    """

    indices: NDArray[np.intp]
    scores: NDArray[np.float64]
    threshold: float
    start_ms: NDArray[np.int64] | None = None
    end_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def anomaly_scores(self) -> NDArray[np.float64]:
        """Score / threshold, shape (n_windows,); above 1 is anomalous."""
        return self.scores / self.threshold

    @property
    def is_anomalous(self) -> NDArray[np.bool_]:
        """Whether each score exceeds the threshold, shape (n_windows,); equal is normal."""
        return self.scores > self.threshold


@dataclass(slots=True)
class Counts:
    """Counts of what one batch held, by outcome.

    Parameters
    ----------
    records
        Records by outcome; together all records of the batch. A record is late if any of its
        samples is, and a duplicate if all of them are. Else it is anomalous or normal if a window
        that it completed was scored, and unscored if none of those could be, or if it came after a
        gap that ended a series before its first complete window. One that completed no window is
        in warm-up while its key has had none since its series started, and else buffered: its
        samples wait for the rest of their window.
    windows
        Windows by outcome: normal, anomalous, missing.
    samples
        Samples by outcome: used, late, duplicate.
    n_missing_values
        Missing values of samples.
    n_gaps, n_idle_keys
        Keys that restarted after a gap, and keys that expired.
    n_keys
        Keys with state after the batch.
    n_suppressed
        Alerts that a summary counts instead of opening them.
    """

    records: Mapping[str, int]
    windows: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    n_missing_values: int = 0
    n_gaps: int = 0
    n_idle_keys: int = 0
    n_keys: int = 0
    n_suppressed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one batch.

    Parameters
    ----------
    state
        For the next step.
    scores
        One for each window; `scores.indices` says which record completed it.
    alerts
        In the order of the batch.
    rejected
        Records to set aside as dead letters, in the order of the batch.
    counts
        How many records, windows and samples had which outcome.
    series
        What the batch held of each series; None where records are whole windows, or none could be
        used.
    """

    state: DetectorState
    scores: Scores
    alerts: Sequence[RaisedAlert]
    rejected: Sequence[Rejected]
    counts: Counts
    series: SeriesFacts | None = None
