"""A service on the in-memory broker over the stream of `delivery_stream`, and the comparison."""

import itertools
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from delivery_stream import (
    N_PARTITIONS,
    N_RECORDS,
    alert_bytes,
    dead_letter_bytes,
    detector_of,
    record_of,
)

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import TopicPartition
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

GROUP = "g"


class PassingClock:
    """Time goes by at each look, and sleeping is free."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.on_sleep: Callable[[], object] = lambda: None

    def now_ms(self) -> int:
        self.now_s += 0.001
        return int(1_000 * self.now_s)

    def monotonic_s(self) -> float:
        self.now_s += 0.02
        assert self.now_s < 500, "the loop did not end"
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.now_s += seconds


def broker_of(shape: str, n_records: int = N_RECORDS) -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: 0)
    broker.create_topic("telemetry", N_PARTITIONS)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    for number in range(n_records):
        broker.append(record_of(number, shape))
    return broker


@cache
def settings_of(**given: Any) -> DetectSettings:
    """Return settings, which no run changes: most tests begin many with the same."""
    return load_settings(DetectSettings, **given)


def service_on(
    broker: MemoryBroker, shape: str, delivery: str, metrics: Metrics | None = None, **changes: Any
) -> Service:
    detector = changes.pop("detector", None) or detector_of(shape)
    schemas = changes.pop("schemas", None)
    given = {"poll_records_max": 10, "stop_when_idle_s": 1.0, "broker_timeout_s": 60.0} | changes
    settings = settings_of(group=GROUP, delivery=delivery, **given)
    client = broker.connect(
        topics=["telemetry"],
        group=GROUP,
        offset_reset=settings.offset_reset,
        transactional_id=f"g-{settings.instance_id}" if delivery == "exactly_once" else None,
    )
    return Service(client, detector, settings, metrics or Metrics(), PassingClock(), schemas)


def published(broker: MemoryBroker) -> Counter[bytes]:
    """Return what a reader sees, the time of detection apart, with how often it is there."""
    found: Counter[bytes] = Counter()
    for topic, bytes_of in (("alerts", alert_bytes), ("dead-letters", dead_letter_bytes)):
        for record in broker.records(topic):
            found[bytes_of(record.value, record.metadata.key, record.metadata.headers)] += 1
    return found


@cache
def undisturbed_broker(shape: str) -> MemoryBroker:
    broker = broker_of(shape)
    service_on(broker, shape, "at_least_once").run()
    return broker


def undisturbed(shape: str) -> Counter[bytes]:
    return published(undisturbed_broker(shape))


def assert_complete(broker: MemoryBroker, shape: str, delivery: str) -> None:
    found, expected = published(broker), undisturbed(shape)
    assert set(found) == set(expected)
    if delivery == "exactly_once":
        assert found == expected
    ends = {
        TopicPartition("telemetry", n): len(log.records)
        for n, log in enumerate(broker.logs["telemetry"])
        if log.records
    }
    assert {each: saved.next_offset for each, saved in broker.committed[GROUP].items()} == ends


def change_after(service: Service, n_batches: int, change: Callable[[], None]) -> None:
    """Do something to the broker while a service runs."""
    numbers = itertools.count(1)
    service.add_observer(lambda *_: change() if next(numbers) == n_batches else None)
