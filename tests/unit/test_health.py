"""Whether processes work and are ready, as their metrics tell: each condition, to its edge."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge

from stream_detector.health import ANSWER_S_MAX, TURN_S_MAX, Health
from stream_detector.telemetry import Metrics

NOW_S = 1_000_000.0
EDGE_S = 0.001


@pytest.fixture
def metrics() -> Metrics:
    """Those of a process that is ready."""
    made = Metrics()
    made.turned.set(NOW_S)
    made.answered.set(NOW_S)
    made.partitions.set(4)
    return made


def health_of(metrics: Metrics, n_processes: int = 1) -> Health:
    return Health(metrics.registry, n_processes, now_s=lambda: NOW_S)


def test_a_process_with_partitions_and_an_answer_is_ready(metrics: Metrics) -> None:
    assert health_of(metrics).why_stuck() == []
    assert health_of(metrics).why_not_ready() == []


def test_a_process_that_starts_works_and_is_not_ready() -> None:
    health = Health(Metrics().registry)  # by the clock of the machine
    assert health.why_stuck() == []
    assert health.why_not_ready() == [
        "partitions: the group has assigned none",
        "Kafka: expected an answer within 30 s, there was none yet",
    ]


def test_before_any_worker_has_begun_the_command_works_and_is_not_ready() -> None:
    health = Health(CollectorRegistry(), 2)
    assert health.why_stuck() == []
    assert health.why_not_ready()[0] == "processes: expected 2, 0 are running"


def test_a_loop_is_stuck_once_its_last_turn_is_too_long_ago(metrics: Metrics) -> None:
    metrics.turned.set(NOW_S - TURN_S_MAX)
    assert health_of(metrics).why_stuck() == []
    metrics.turned.set(NOW_S - TURN_S_MAX - EDGE_S)
    assert health_of(metrics).why_stuck() == [
        "the loop: expected a turn within 300 s, the last was 300 s ago"
    ]


def test_a_broker_that_is_silent_for_too_long_is_not_there(metrics: Metrics) -> None:
    metrics.answered.set(NOW_S - ANSWER_S_MAX)
    assert health_of(metrics).why_not_ready() == []
    metrics.answered.set(NOW_S - ANSWER_S_MAX - EDGE_S)
    (problem,) = health_of(metrics).why_not_ready()
    assert problem == "Kafka: expected an answer within 30 s, the last was 30 s ago"
    assert health_of(metrics).why_stuck() == []  # starting it again would not help


def broken(metrics: Metrics) -> Iterator[tuple[Gauge, float, str]]:
    yield metrics.partitions, 0, "partitions: the group has assigned none"
    yield metrics.restoring, 1, "state: being restored, partitions left: 1"
    yield metrics.processes, 0, "processes: expected 1, 0 are running"
    held = "a batch is held: Kafka or a Schema Registry refuses or does not answer"
    yield metrics.held, 1, held


@pytest.mark.parametrize("number", range(4))
def test_each_condition_is_named_alone(metrics: Metrics, number: int) -> None:
    gauge, value, problem = list(broken(metrics))[number]
    gauge.set(value)
    assert health_of(metrics).why_not_ready() == [problem]
    assert health_of(metrics).why_stuck() == []


def test_all_workers_of_a_command_must_run(metrics: Metrics) -> None:
    metrics.processes.set(2)
    assert health_of(metrics, 2).why_not_ready() == []
    assert health_of(metrics, 3).why_not_ready() == ["processes: expected 3, 2 are running"]
