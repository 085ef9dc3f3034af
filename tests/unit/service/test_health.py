"""What a running service lets its health be judged by, on the in-memory broker."""

import itertools
from typing import Any

import pytest
from delivery_service import broker_of, service_on  # tests/support

from stream_detector.clients.memory import ABORT, PAUSE, Aborted, Fault, MemoryBroker
from stream_detector.health import Health
from stream_detector.service import Service
from stream_detector.telemetry import Metrics


def watched(broker: MemoryBroker, service: Service, metrics: Metrics) -> list[tuple[str, str]]:
    """Return each call that a service makes while it runs, and why it is not ready then."""
    seen: list[tuple[str, str]] = []
    health = Health(metrics.registry, now_s=lambda: service.context.clock.now_ms() / 1000)

    def look(operation: Any, *, is_after: bool) -> None:
        if not is_after:
            seen.append((operation, "; ".join(health.why_not_ready())))
        MemoryBroker.on_call(broker, operation, is_after=is_after)

    broker.on_call = look  # type: ignore[method-assign]
    service.run()
    return seen


def test_a_service_is_ready_once_its_restores_have_ended() -> None:
    broker = broker_of("samples")
    broker.faults = [Fault("commit", ABORT, 9)]
    with pytest.raises(Aborted):
        service_on(broker, "samples", "at_least_once").run()
    broker.faults = []
    metrics = Metrics()
    seen = watched(broker, service_on(broker, "samples", "at_least_once", metrics), metrics)
    stages = [
        (operation, problem.partition(":")[0])
        for (operation, problem), _ in itertools.groupby(seen)
    ]
    assert stages[:4] == [
        ("poll", "partitions"),
        ("committed", "partitions"),
        ("beginning_offsets", "partitions"),
        ("poll", "state"),
    ]
    assert {problem for operation, problem in stages if operation == "commit"} == {""}


def test_a_service_that_lost_its_connections_is_not_ready() -> None:
    broker, metrics = broker_of("windows"), Metrics()
    broker.faults = [Fault("poll", PAUSE, 3)]
    service = service_on(broker, "windows", "at_least_once", metrics)
    seen = watched(broker, service, metrics)
    polls = [problem.partition(":")[0] for operation, problem in seen if operation == "poll"]
    assert polls[:6] == ["partitions", "", "", "partitions", "", ""]


def test_an_outage_is_no_answer_and_no_standstill() -> None:
    broker, metrics = broker_of("windows"), Metrics()
    broker.faults = [Fault("poll", PAUSE, nth) for nth in range(3, 60)]
    service = service_on(broker, "windows", "at_least_once", metrics)
    clock, ages = service.context.clock, []

    def look(operation: Any, *, is_after: bool) -> None:
        if operation == "poll" and not is_after:
            values = [
                metrics.registry.get_sample_value(f"stream_detector_{name}_timestamp_seconds")
                for name in ("loop_turn", "broker_answer")
            ]
            ages.append([clock.now_ms() / 1000 - (value or 0.0) for value in values])
        MemoryBroker.on_call(broker, operation, is_after=is_after)

    broker.on_call = look  # type: ignore[method-assign]
    with pytest.raises(Exception, match="gave up after"):
        service.run()
    assert max(turn_s for turn_s, _ in ages) < 5
    assert ages[-1][1] > 30
    assert ages[2][1] < 5


def test_a_batch_that_is_held_turns_the_loop() -> None:
    broker, metrics = broker_of("windows"), Metrics()
    broker.faults = [Fault("flush", PAUSE, nth) for nth in range(1, 20)]
    service = service_on(broker, "windows", "at_least_once", metrics)
    health = Health(metrics.registry, now_s=lambda: service.context.clock.now_ms() / 1000)
    ages: list[float] = []

    def look() -> None:
        value = metrics.registry.get_sample_value("stream_detector_loop_turn_timestamp_seconds")
        ages.append(service.context.clock.now_ms() / 1000 - (value or 0.0))
        assert [each.partition(":")[0] for each in health.why_not_ready()] == ["a batch is held"]

    service.context.clock.on_sleep = look  # type: ignore[attr-defined]
    service.run()
    assert len(ages) == 19
    assert max(ages) < 1
    assert metrics.registry.get_sample_value("stream_detector_held_batches") == 0


def test_a_held_batch_that_is_dropped_is_held_no_more() -> None:
    broker, metrics = broker_of("windows"), Metrics()
    broker.faults = [Fault("flush", PAUSE), Fault("poll", PAUSE, 2)]  # while it is held
    totals = service_on(broker, "windows", "at_least_once", metrics).run()
    assert totals.n_retries == 2
    assert metrics.registry.get_sample_value("stream_detector_held_batches") == 0
