"""Metrics of what a service knows: open alerts and silent keys are what readers of alerts see."""

from typing import Any

import orjson
import pytest
from delivery_service import GROUP, broker_of, service_on  # tests/support
from delivery_stream import SHAPES, detector_of, record_of

from stream_detector.clients.memory import PAUSE, Fault, MemoryBroker
from stream_detector.service import Service
from stream_detector.telemetry import Metrics

N_RECORDS = 152
"""Then an alert is open in each of the two partitions."""


def broker_with_silence() -> MemoryBroker:
    """Return a broker whose first key sends nothing for a while."""
    broker = broker_of("samples", 0)
    for number in range(80):
        if number % 3 or number // 3 not in range(9, 18):
            broker.append(record_of(number, "samples"))
    return broker


def value(metrics: Metrics, what: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"stream_detector_{what}", labels)


def shown(metrics: Metrics) -> tuple[float | None, ...]:
    return value(metrics, "open_alerts"), value(metrics, "silent_keys")


def seen(broker: MemoryBroker, partition: int | None = None) -> tuple[int, int]:
    """Return how many alerts readers see as open, and how many of them are about silent keys."""
    alerts = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    last = {
        alert["alert_id"]: alert
        for alert in alerts
        if partition in (None, alert["source"]["partition"])
    }
    left = [alert for alert in last.values() if alert["event"] != "close"]
    silent = [each for each in left if each["reason"] == "no_data"]
    return len(left), len(silent)


def follow(broker: MemoryBroker, service: Service, metrics: Metrics) -> list[tuple[int, int]]:
    """Run a service; at each of its polls the metrics must be what readers see."""
    found: list[tuple[int, int]] = []

    def look(operation: Any, *, is_after: bool) -> None:
        if operation == "poll" and not is_after:
            found.append(seen(broker))
            assert shown(metrics) == found[-1]
        MemoryBroker.on_call(broker, operation, is_after=is_after)

    broker.on_call = look  # type: ignore[method-assign]
    service.run()
    return found


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_open_alerts_and_silent_keys_are_those_that_readers_see(delivery: str) -> None:
    broker, metrics = broker_with_silence(), Metrics()
    found = follow(broker, service_on(broker, "samples", delivery, metrics), metrics)
    assert {n_silent for _, n_silent in found} == {0, 1}
    assert max(n_open for n_open, _ in found) == 2
    assert (1, 0) in found
    assert value(metrics, "keys") == 3


def test_a_restart_shows_them_before_the_next_record() -> None:
    broker = broker_of("samples", N_RECORDS)
    service_on(broker, "samples", "at_least_once").run()
    assert seen(broker)[0] == 2
    metrics = Metrics()
    assert service_on(broker, "samples", "at_least_once", metrics).run().n_records == 0
    assert shown(metrics) == seen(broker)
    assert value(metrics, "keys") == 3


def test_partitions_that_another_member_reads_are_not_counted() -> None:
    broker, metrics = broker_of("samples", N_RECORDS), Metrics()
    service = service_on(broker, "samples", "at_least_once", metrics)
    other = broker.connect(topics=["telemetry"], group=GROUP)

    def join(operation: Any, *, is_after: bool) -> None:
        if operation == "poll" and not is_after and service.totals.n_records == N_RECORDS:
            broker.join(GROUP, other)
        MemoryBroker.on_call(broker, operation, is_after=is_after)

    broker.on_call = join  # type: ignore[method-assign]
    service.run()
    assert (seen(broker)[0], seen(broker, 0)[0]) == (2, 1)
    assert shown(metrics) == seen(broker, 0)
    assert value(metrics, "keys") == 2


def test_connections_that_are_lost_take_the_state_along_until_it_is_restored() -> None:
    broker, metrics = broker_of("samples", N_RECORDS), Metrics()
    service_on(broker, "samples", "at_least_once").run()
    broker.faults = [Fault("poll", PAUSE, broker.n_calls["poll"] + 4)]
    service = service_on(broker, "samples", "at_least_once", metrics)
    at_sleep = []
    clock: Any = service.context.clock
    clock.on_sleep = lambda: at_sleep.append(shown(metrics))
    service.run()
    assert len(at_sleep) == 1
    assert shown(metrics) == seen(broker)


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_counted_by_outcome(shape: str) -> None:
    broker, metrics = broker_of(shape), Metrics()
    service = service_on(broker, shape, "at_least_once", metrics)
    scores: list[float] = []
    service.add_observer(lambda _, step: scores.extend(step.scores.anomaly_scores.tolist()))
    service.run()
    for outcome, expected in (
        ("normal", [each for each in scores if each <= 1]),
        ("anomalous", [each for each in scores if each > 1]),
    ):
        assert expected
        found = value(metrics, "anomaly_score_count", outcome=outcome)
        assert found == len(expected) == value(metrics, "windows_total", outcome=outcome)
        total = value(metrics, "anomaly_score_sum", outcome=outcome)
        assert total == pytest.approx(sum(expected))
    below = value(metrics, "anomaly_score_bucket", outcome="anomalous", le="1.0")
    assert below == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_bundle_and_threshold_are_shown(shape: str) -> None:
    metrics = Metrics()
    service_on(broker_of(shape, 3), shape, "at_least_once", metrics).run()
    assert value(metrics, "bundle_info", name="pumps", version="v1") == 1
    assert value(metrics, "threshold") == detector_of(shape).scorer.threshold
