"""Samples as if they came now: what is due at once, and the rest each at its time."""

import numpy as np
import pytest

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import Samples
from stream_detector.replay import replay_live

NOW_MS = 1_767_225_600_000


class SteppedClock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_ms(self) -> int:
        return NOW_MS + int(self.time_s * 1_000)

    def monotonic_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


def samples_at(*seconds: float) -> Samples:
    """Return samples of two keys in turn at times around now."""
    n_samples = len(seconds)
    return Samples(
        ("a", "b"),
        np.arange(n_samples) % 2,
        NOW_MS + 1_000.0 * np.array(seconds),
        np.arange(n_samples, dtype=np.float32).reshape(-1, 1),
    )


class Sent:
    """A topic on which each record has the second at which it was sent."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.broker = MemoryBroker(now_ms=self.clock.now_ms)
        self.broker.create_topic("telemetry", 1)
        self.parts: list[tuple[int, int]] = []

    def run(self, *seconds: float, n_parts_max: int = 100) -> None:
        replay_live(
            samples_at(*seconds),
            self.broker.connect(),
            "telemetry",
            clock=self.clock,
            is_stopping=lambda: len(self.parts) >= n_parts_max,
            on_part=lambda number: self.parts.append((number, self.n_records)),
        )

    @property
    def n_records(self) -> int:
        return sum(len(log.records) for log in self.broker.partitions_of("telemetry"))


def test_what_is_due_is_sent_at_once_and_the_rest_second_by_second() -> None:
    sent = Sent()
    sent.run(-3_600, -1, 0, 0.5, 0.9, 1.5, 7.25)
    assert sent.n_records == 7
    # Parts from 0.5 s, from 1.5 s and from 7.25 s on, behind what was due.
    assert [number for number, _ in sent.parts] == [1, 2, 3]
    assert sent.parts[0] == (1, 3)
    assert sent.clock.time_s == pytest.approx(6.75, abs=0.1)  # the first one left counts as due


def test_it_stops_between_two_seconds() -> None:
    sent = Sent()
    sent.run(-1, 0.5, 1.4, 1.5, 3, n_parts_max=1)
    assert (sent.parts, sent.n_records) == ([(1, 1)], 3)


def test_without_anything_to_come_it_ends() -> None:
    sent = Sent()
    sent.run(-2, -1)
    assert (sent.parts, sent.n_records, sent.clock.time_s) == ([], 2, 0.0)
