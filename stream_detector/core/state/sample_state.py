"""What is remembered between batches of samples: series, alerts, gaps, and how far back to read.

Pure values; `stream_detector.core.sample_detector` steps from one to the next, and
`stream_detector.core.state.rewinding` says from where one can be restored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_detector.core.alerting.lifecycle import SeriesAlerts
from stream_detector.core.results import DetectorState
from stream_detector.core.windowing.windows import WindowState


class RestorePoint(NamedTuple):
    """A place in a partition from which reading is of use.

    Every key that was remembered when the next generation began had, in this one, so many samples
    that its windows under way began in it too.

    Parameters
    ----------
    offset
        Its first record.
    stream_time_ms
        The partition's clock before that record, -inf where it had none.
    """

    offset: int
    stream_time_ms: float


class RestoreHold(NamedTuple):
    """How far back one must read for the alerts and gaps of one key.

    Parameters
    ----------
    since_ms
        Of the key's unrest, to see that it began anew; None where there are only gaps.
    offsets
        Beginnings of generations: when the key became restless, and each time its alerts began
        anew after that. The first one counts.
    """

    since_ms: int | None
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampleState(DetectorState):
    """What is remembered between batches.

    Parameters
    ----------
    windows
        Cells of windows under way.
    alerts, gaps, holds
        By slot of the key, of restless keys only: its alerts, when it started again after a gap,
        and what of the past is needed for these.
    restore_points
        Of each partition, the oldest that is needed first.
    """

    windows: WindowState
    alerts: Mapping[int, SeriesAlerts] = field(default_factory=dict)
    gaps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    holds: Mapping[int, RestoreHold] = field(default_factory=dict)
    restore_points: Mapping[int, tuple[RestorePoint, ...]] = field(default_factory=dict)


def of_samples(state: DetectorState) -> SampleState:
    """Return the state as one of samples; TypeError for another, a caller's mistake."""
    if not isinstance(state, SampleState):
        message = f"expected a state from SampleDetector.start, received {type(state).__name__}"
        raise TypeError(message)
    return state
