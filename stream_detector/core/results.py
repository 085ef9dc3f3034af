"""The results of one batch: scores, alerts, rejected records, counts and the next state."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import RaisedAlert
from stream_detector.core.records import Rejected
from stream_detector.core.scoring.scorer import ScoreParts
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.timestamps import describe_time, looks_like
from stream_detector.core.windowing.series_health import SeriesFacts
from stream_detector.core.windowing.window_batch import WindowBatch
from stream_detector.errors import RecordDeletionError, RecordSkippedError

Outcome = Literal[
    "normal",
    "anomalous",
    "unscored",
    "buffered",
    "warm_up",
    "held",
    "late",
    "duplicate",
    "dead_letter",
    "deletion",
    "skipped",
]

ClockFault = Literal["outlier", "clock_set", "since_boot", "record_time"]
"""What was wrong with a key's clock: it was so for one sample, it was set back, its times look like
milliseconds since a device started, or the time of the Kafka record is in another unit."""

CLOCK_ADVICE: Mapping[ClockFault, str] = {
    "outlier": "correct the sender's clock; a sample that is far ahead is used only if another "
    "one confirms it",
    "clock_set": "nothing, if the clock was wrong before; else correct the sender's clock: the "
    "key started over, and is in warm-up until its next window is complete",
    "since_boot": "send milliseconds since 1970, or leave the time out: then that of the Kafka "
    "record counts; windows are scored, but alerts bear these dates",
    "record_time": "let the producer set the record's time in milliseconds since 1970; alerts "
    "bear these dates",
}
"""How to mend each, in one clause."""


class ClockNotice(NamedTuple):
    """A key whose clock was wrong.

    Parameters
    ----------
    fault
        How.
    key
        The key.
    time_ms
        Time of the outlier, or of the first sample of the series that began.
    newest_ms
        Newest time of the key before it; NaN where it had none.
    """

    fault: ClockFault
    key: bytes
    time_ms: float
    newest_ms: float

    def describe(self) -> str:
        """Return the times in words."""
        time = f"{describe_time(self.time_ms)}{looks_like(self.time_ms).partition(';')[0]}"
        if self.fault in ("outlier", "clock_set"):
            return f"received {time}, while the newest was {describe_time(self.newest_ms)}"
        return f"received {self.time_ms:.16g}: {time}"


def clock_notices(completed: WindowBatch) -> list[ClockNotice]:
    """Return the keys of a batch whose clock was wrong."""
    outliers, sets, early = completed.outliers, completed.clock_sets, completed.early_starts
    faults: list[ClockFault] = ["outlier"] * len(outliers)
    faults += ["clock_set"] * len(sets)
    faults += ["since_boot"] * len(early)
    events = [*outliers, *sets, *early]
    keys = completed.state.keys_of(np.array([each.slot for each in events], dtype=np.intp))
    return [
        ClockNotice(fault, key, each.time_ms, each.newest_ms)
        for fault, key, each in zip(faults, keys, events, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreDetails:
    """Whose scores they are, and what they are made of.

    Parameters
    ----------
    keys
        Series key of each window; None where its record has none. Length n_windows.
    start_ms, end_ms
        Times of the first and last sample of each window, int64, shape (n_windows,).
    parts
        What the scores are made of; its checks and features in no column where a scorer does not
        say.
    """

    keys: Sequence[bytes | None]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    parts: ScoreParts

    @classmethod
    def joined(cls, details: "Sequence[ScoreDetails]") -> "ScoreDetails":
        """Return the details of windows one after the other; at least one."""
        return cls(
            [key for each in details for key in each.keys],
            np.concatenate([each.start_ms for each in details]),
            np.concatenate([each.end_ms for each in details]),
            ScoreParts.joined([each.parts for each in details]),
        )


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
    details
        More about them, if the detector is to give it.
    """

    indices: NDArray[np.intp]
    scores: NDArray[np.float64]
    threshold: float
    start_ms: NDArray[np.int64] | None = None
    end_ms: NDArray[np.int64] | None = None
    details: ScoreDetails | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def with_details(self, keys: Sequence[bytes | None], parts: ScoreParts) -> "Scores":
        """Return the scores of windows cut from samples, with what they are made of.

        Parameters
        ----------
        keys
            Of each record of the batch.
        parts
            Of the same windows.
        """
        assert self.start_ms is not None and self.end_ms is not None  # noqa: S101, PT018  (samples)
        of = [keys[index] for index in self.indices.tolist()]
        details = ScoreDetails(of, self.start_ms, self.end_ms, parts)
        return replace(self, details=details)

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
        held if all of its samples are, in warm-up while its key has had no window since its series
        started, and else buffered: its samples wait for the rest of their window. One whose windows
        came before a new key had a scale is in warm-up, too. One that only says that a row was
        deleted is a deletion, and one with other features only is skipped.
    windows
        Windows by outcome: normal, anomalous, missing, and warm_up, those of a key without a scale.
    samples
        Samples by outcome: used, late, duplicate, outlier. One that is held is counted once it is
        known to be used or an outlier.
    n_missing_values
        Missing values of samples.
    n_gaps, n_idle_keys
        Keys that restarted after a gap, and keys that expired.
    n_clock_sets
        Keys that started over because their clock was set back.
    n_suppressed
        Alerts that a summary counts instead of opening them.
    """

    records: Mapping[str, int]
    windows: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    n_missing_values: int = 0
    n_gaps: int = 0
    n_idle_keys: int = 0
    n_clock_sets: int = 0
    n_suppressed: int = 0


_ONLY_COUNTED: Mapping[type[Exception], Outcome] = {
    RecordDeletionError: "deletion",
    RecordSkippedError: "skipped",
}
"""Outcomes of records that are not used and no dead letters, by their error."""


def divide_rejected(rejected: Iterable[Rejected]) -> tuple[list[Rejected], list[Rejected]]:
    """Return the records to set aside, and those that are only counted; both in order."""
    ordered = sorted(rejected, key=lambda each: each.index)
    skipped = [each for each in ordered if type(each.error) in _ONLY_COUNTED]
    if skipped:
        ordered = [each for each in ordered if type(each.error) not in _ONLY_COUNTED]
    return ordered, skipped


def count_unused(rejected: Sequence[Rejected], skipped: Sequence[Rejected]) -> dict[str, int]:
    """Return how many records had an outcome without any use of them."""
    outcomes: Counter[str] = Counter(_ONLY_COUNTED[type(each.error)] for each in skipped)
    return {"dead_letter": len(rejected), **outcomes}


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
    clock_notices
        Keys whose clock was wrong.
    skipped
        Records that say that a row was deleted, or that have other features only: they are only
        counted.
    unknown_keys
        Keys of windows that have the fleet's scale, because training did not know them; none where
        all keys have the same.
    new_keys, fitted_keys
        Keys that training did not know whose warm-up begins, and those that have a scale of their
        own from now on.
    """

    state: DetectorState
    scores: Scores
    alerts: Sequence[RaisedAlert]
    rejected: Sequence[Rejected]
    counts: Counts
    series: SeriesFacts | None = None
    clock_notices: Sequence[ClockNotice] = ()
    unknown_keys: Sequence[bytes] = ()
    new_keys: Sequence[bytes] = ()
    fitted_keys: Sequence[bytes] = ()
    skipped: Sequence[Rejected] = ()
