"""What one batch leads to: scores, alerts, records put aside, counts, and the state after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from stream_detector.core.records import Alert, Rejected, Scores

Outcome = Literal["normal", "anomalous", "warm_up", "late", "duplicate", "missing", "dead_letter"]


@dataclass(frozen=True, slots=True)
class DetectorState:
    """What the detector remembers between batches: nothing, while each record is a window."""


class RaisedAlert(NamedTuple):
    """An alert event, which record of the batch led to it, and the series key it is about."""

    record: int
    alert: Alert
    key: bytes | None


@dataclass(slots=True)
class Counts:
    """How much of what one batch held.

    Parameters
    ----------
    records
        Records by outcome; together all records of the batch. A record is late or a duplicate if
        that is so of a sample of it, or of all; warm-up while its key has not had a complete
        window; missing if too much was missing in the windows it completed.
    windows
        Windows by outcome: normal, anomalous, missing.
    samples
        Samples by outcome: used, late, duplicate.
    n_missing_values
        Single values that were not there.
    n_gaps, n_idle_keys
        Keys that started again after a gap, and that were forgotten.
    n_keys
        Keys remembered after the batch.
    n_suppressed
        Alerts that were counted in a summary instead of opened.
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
    """What one batch led to.

    Parameters
    ----------
    state
        For the next step.
    scores
        One for each window; `scores.indices` says which record completed it.
    alerts
        In the order of the batch.
    rejected
        Records put aside, in the order of the batch.
    counts
        How much of what there was.
    """

    state: DetectorState
    scores: Scores
    alerts: Sequence[RaisedAlert]
    rejected: Sequence[Rejected]
    counts: Counts
