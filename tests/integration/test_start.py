"""How soon the service reads: whatever the number of partitions, on a quiet topic or a full one."""

import time
import uuid
from collections.abc import Callable

import pytest
from delivery_stream import detector_of, record_of  # tests/support

from stream_detector.clients import connect
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import ClientName, ConnectionSettings, DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.kafka

READY_S_MAX = 5.0
"""Seconds. 600 partitions with state take one of computing, and more on a busy machine. Half a
second of waiting for each partition, as a quiet topic once cost, would be 16 for 32 partitions."""
N_TRIES = 3
"""The machine may be busy: the best of so many starts counts."""


class ReadyClock(SystemClock):
    """Notes when a service is ready."""

    service: Service | None = None
    ready_at_s = 0.0

    def monotonic_s(self) -> float:
        now_s = super().monotonic_s()
        if not self.ready_at_s and self.service is not None and self.service.is_ready:
            self.ready_at_s = now_s
        return now_s


def seconds_until_ready(settings: DetectSettings, shape: str) -> tuple[float, int]:
    """Run a service until it is idle; return when it was ready, and how many records it read."""
    clock = ReadyClock()
    client = connect(settings, topics=[settings.input_topic], group=settings.group)
    clock.service = Service(client, detector_of(shape), settings, Metrics(), clock)
    began_s = time.monotonic()
    totals = clock.service.run()
    return clock.ready_at_s - began_s, totals.n_records


@pytest.mark.parametrize("n_partitions", [1, 32, 600])
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_reading_begins_soon_whatever_the_number_of_partitions(
    client: ClientName, n_partitions: int, kafka: str, topics: Callable[..., str]
) -> None:
    names = {
        "input_topic": topics(n_partitions, retention_ms="-1"),
        "alerts_topic": topics(1),
        "dead_letter_topic": topics(1),
    }

    def start(shape: str, n_records: int, groups: list[str]) -> str:
        """Start a service in one group after the other until it is soon ready; return that one."""
        seconds = []
        for group in groups:
            settings = DetectSettings(
                bootstrap_servers=kafka,
                client=client,
                group=group,
                stop_when_idle_s=0.3,
                **names,  # type: ignore[arg-type]
            )
            ready_s, n_read = seconds_until_ready(settings, shape)
            assert n_read == n_records
            if ready_s < READY_S_MAX:
                return group
            seconds.append(ready_s)
        raise AssertionError(seconds)

    def new_groups() -> list[str]:
        return [uuid.uuid4().hex for _ in range(N_TRIES)]

    for shape in ("windows", "samples"):
        start(shape, 0, new_groups())
    n_records = max(100, n_partitions)
    writer = connect(ConnectionSettings(bootstrap_servers=kafka))
    writer.produce(
        record_of(number, "samples", names["input_topic"])._replace(partition=number % n_partitions)
        for number in range(n_records)
    )
    writer.flush(30_000)
    writer.close()
    group = start("samples", n_records, new_groups())
    # Every partition has a committed offset now, and state to be restored.
    start("samples", 0, [group] * N_TRIES)
