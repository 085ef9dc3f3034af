"""Records of any form through a client and a detector: what comes of them."""

import time
from dataclasses import dataclass, field
from typing import Any

from stream_detector.core.detector import Detector
from stream_detector.ports import Client


@dataclass(slots=True)
class Found:
    """What a detector makes of a topic.

    Parameters
    ----------
    scores
        Of each window, by the key of its alert-to-be and its start.
    alerts
        Key in Kafka and key, start and score in the value of each event.
    rejected
        Key of the record as it was sent, and reason.
    partitions
        In which partitions records of each key were.
    """

    scores: dict[tuple[str, int], float] = field(default_factory=dict)
    alerts: set[tuple[Any, ...]] = field(default_factory=set)
    rejected: list[tuple[bytes | None, str]] = field(default_factory=list)
    partitions: dict[str, set[int]] = field(default_factory=dict)


def run(client: Client, detector: Detector, n_records: int) -> Found:
    """Step through a topic until so many records have come."""
    found, state, n_read = Found(), detector.initial_state(), 0
    deadline_s = time.monotonic() + 60
    while n_read < n_records:
        assert time.monotonic() < deadline_s, f"{n_read} of {n_records} records came"
        batch = client.poll(7, 200)  # small, so that state goes on from one to the next
        n_read += len(batch)
        step = detector.step(state, batch)
        state = step.state
        for each in step.rejected:
            found.rejected.append((batch.metadata(each.index).key, str(each.error)))
        for _, alert, key in step.alerts:
            facts = (alert.key, alert.window_start_ms, alert.event, alert.score)
            found.alerts.add((key, *facts))
            found.partitions.setdefault(alert.key or "", set()).add(alert.source.partition)
        assert step.scores.start_ms is not None
        if step.series is not None:
            windows = step.series.windows
            keys = windows.state.keys_of(windows.slots[step.series.is_scored])
            rows = zip(
                keys, step.scores.start_ms.tolist(), step.scores.scores.tolist(), strict=True
            )
            found.scores |= {(key.decode(), start_ms): score for key, start_ms, score in rows}
    return found
