"""The loop on an in-memory broker: order of effects, counts, readiness, ends and refusals."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import orjson
import pytest

from stream_detector.clients.memory import EOF, PAUSE, Fault, MemoryBroker, MemoryClient
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import FloatArray, OutputRecord, RecordBatch
from stream_detector.core.results import Step
from stream_detector.core.state.detector_state import IncidentState
from stream_detector.errors import BrokerError, DeliveryError
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NORMAL, ANOMALOUS = b'{"values":[0,0,0,0]}', b'{"values":[3,3,3,3]}'
OUTPUT_TOPICS = ("alerts", "dead-letters")


class TickingClock:
    """A clock that advances a tenth of a second each time it is read; sleeping takes no time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_ms(self) -> int:
        return 5_000

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class RecordingBroker(MemoryBroker):
    """Records the operations of the loop in their order."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 4_000)
        self.operations: list[str] = []

    def on_call(self, operation: Any, *, is_after: bool) -> None:
        if not is_after and operation in ("poll", "produce", "flush", "commit"):
            self.operations.append(operation)
        super().on_call(operation, is_after=is_after)


@pytest.fixture
def broker() -> RecordingBroker:
    broker = RecordingBroker()
    for topic in ("telemetry", *OUTPUT_TOPICS):
        broker.create_topic(topic)
    return broker


@pytest.fixture
def serve(
    broker: RecordingBroker, make_detector: Callable[..., WindowDetector]
) -> Callable[..., Service]:
    """Return a maker of services that stop after a second without records."""

    def make(metrics: Metrics | None = None, window_s: float = 0.0, **changes: Any) -> Service:
        settings = load_settings(DetectSettings, **({"stop_when_idle_s": 1.0} | changes))
        client = broker.connect(topics=["telemetry"], group="g")
        clock = TickingClock()

        def reconstruct(windows: FloatArray) -> FloatArray:
            clock.sleep(window_s * len(windows))
            return np.zeros_like(windows)

        metrics = metrics or Metrics()
        detector = make_detector(reconstruct=metrics.timed(reconstruct))
        return Service(client, detector, settings, metrics, clock)

    return make


def feed(broker: MemoryBroker, *values: Any) -> None:
    broker.feed("telemetry", values)


def test_offsets_are_committed_after_outputs_are_acknowledged(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, NORMAL, ANOMALOUS, b"?")
    serve().run()
    assert broker.operations[:4] == ["poll", "produce", "flush", "commit"]
    assert set(broker.operations[4:]) == {"poll"}


def test_a_batch_without_outputs_is_only_committed(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, NORMAL, NORMAL)
    serve().run()
    assert broker.operations[:2] == ["poll", "commit"]
    assert "flush" not in broker.operations


def test_an_idle_stream_is_never_committed(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    assert serve().run().n_batches == 0
    assert set(broker.operations) == {"poll"}


def test_one_poll_is_one_batch_of_at_most_poll_records_max(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, *[NORMAL] * 5)
    assert serve(poll_records_max=2).run().n_batches == 3
    assert broker.n_calls["commit"] == 3


def sizes_of_polls(service: Service) -> list[int]:
    """Run a service and return how many records each finished batch held."""
    sizes: list[int] = []
    service.add_observer(lambda batch, _: sizes.append(len(batch)))
    service.run()
    return sizes


def test_polls_begin_small_and_double_where_the_network_is_fast(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, *[NORMAL] * 3_000)
    sizes = sizes_of_polls(serve(poll_records_max=1_000))
    assert sizes == [256, 512, 1_000, 1_000, 232]


def test_polls_are_as_large_as_the_network_does_in_the_time_of_a_batch(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, *[NORMAL] * 400)
    first, *later, _ = sizes_of_polls(serve(window_s=1.0))
    assert first == 256
    assert set(later) <= {19, 20}  # a second each


def test_a_batch_that_took_long_and_failed_is_smaller_when_it_comes_again(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, *[NORMAL] * 50)
    broker.faults = [Fault("commit", DeliveryError("no longer a member")), Fault("poll", PAUSE, 2)]
    sizes = sizes_of_polls(serve(window_s=2.0, broker_timeout_s=1_000))
    assert sum(sizes) == 50
    assert sizes[0] in (9, 10)


def test_outputs_go_to_their_topics_under_the_record_s_key(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    for value in (ANOMALOUS, b"?"):
        feed(broker, OutputRecord("telemetry", b"\xffkey", value, [("label", b"1")], 70))
    serve().run()
    ((alert, alert_value),) = broker.records("alerts")
    ((dead, dead_value),) = broker.records("dead-letters")
    assert (alert.key, dead.key) == (b"\xffkey", b"\xffkey")
    assert orjson.loads(alert_value or b"")["detected_at_ms"] == 5_000
    assert (dead_value, dead.timestamp_ms, dead.headers[0]) == (b"?", 70, ("label", b"1"))


def test_headers_choose_the_format_record_by_record(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    name = b"application/vnd.stream-detector.float32"
    value = np.array([3, 3, 3, 3], np.float32).tobytes()
    feed(broker, OutputRecord("telemetry", b"k", value, [("content-type", name)]), ANOMALOUS)
    totals = serve().run()
    assert (totals.n_alerts, totals.n_dead_letters) == (2, 0)


def test_totals_and_metrics_agree(broker: RecordingBroker, serve: Callable[..., Service]) -> None:
    feed(broker, NORMAL, NORMAL, ANOMALOUS, b"?", b"")
    metrics = Metrics()
    totals = serve(metrics).run()
    assert (totals.n_records, totals.n_alerts, totals.n_dead_letters) == (5, 1, 2)
    value = metrics.registry.get_sample_value
    for outcome, n_records in (("normal", 2), ("anomalous", 1), ("dead_letter", 2)):
        assert value("stream_detector_records_total", {"outcome": outcome}) == n_records
    assert value("stream_detector_alerts_total", {"event": "open", "severity": "critical"}) == 1
    assert value("stream_detector_batch_records_sum") == 5
    assert value("stream_detector_latency_seconds_sum") == 1.0
    assert value("stream_detector_inference_seconds_count") == 1
    assert value("stream_detector_assigned_partitions") == 1
    assert value("stream_detector_lag_records", {"topic": "telemetry", "partition": "0"}) == 0


@pytest.mark.parametrize(
    ("timestamp_ms", "n_observed", "seconds"), [(4_999, 1, 0.001), (5_001, 1, 0.0), (-1, 0, 0.0)]
)
def test_latency_is_never_below_zero_and_needs_a_time(
    broker: RecordingBroker,
    serve: Callable[..., Service],
    timestamp_ms: int,
    n_observed: int,
    seconds: float,
) -> None:
    feed(broker, OutputRecord("telemetry", b"k", ANOMALOUS, (), timestamp_ms))
    metrics = Metrics()
    assert serve(metrics).run().n_alerts == 1
    value = metrics.registry.get_sample_value
    assert value("stream_detector_latency_seconds_count") == n_observed
    assert value("stream_detector_latency_seconds_sum") == seconds


def test_a_retry_is_counted_by_its_error(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, PAUSE, NORMAL)
    metrics = Metrics()
    assert serve(metrics).run().n_retries == 1
    labels = {"error": "BrokerUnavailableError"}
    assert metrics.registry.get_sample_value("stream_detector_retries_total", labels) == 1


def test_observers_see_each_finished_batch_in_the_order_in_which_they_were_added(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, NORMAL, EOF, ANOMALOUS)
    service = serve()
    seen: list[tuple[str, list[Any], int]] = []

    def observer_named(name: str) -> Callable[[RecordBatch, Step], None]:
        def observe(batch: RecordBatch, step: Step) -> None:
            assert broker.operations[-1] == "commit"
            seen.append((name, list(batch.values), len(step.alerts)))

        return observe

    for name in ("first", "second"):
        service.add_observer(observer_named(name))
    service.run()
    assert seen == [
        (name, [value], n_alerts)
        for value, n_alerts in ((NORMAL, 0), (ANOMALOUS, 1))
        for name in ("first", "second")
    ]


def test_ready_is_logged_once_partitions_are_assigned(
    serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    service = serve()
    assert not service.is_ready
    with caplog.at_level(logging.INFO, "stream_detector"):
        service.run()
    assert service.is_ready
    (line,) = (each.getMessage() for each in caplog.records if "ready" in each.getMessage())
    assert (
        line == "ready topic=telemetry group=stream-detector-pumps n_partitions=1 bundle=pumps/v1"
    )


def test_dead_letters_are_logged_once_a_batch(
    broker: RecordingBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    feed(broker, NORMAL, b"", b"?")
    serve().run()
    (line,) = (each.getMessage() for each in caplog.records)
    assert line.startswith("dead-letters n_records=2 first=telemetry[0]@1 error=RecordDecodeError ")


def test_dead_letters_that_are_too_large_are_counted_in_the_log(
    broker: RecordingBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    feed(broker, b"?", b"?" * 5_000, NORMAL)
    serve(dead_letter_bytes_max=4_096).run()
    assert [value for _, value in broker.records("dead-letters")] == [b"?", None]
    (line,) = (each.getMessage() for each in caplog.records)
    assert "n_records=2" in line
    assert "n_left_out=1" in line


def test_idle_counts_from_the_last_record(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    feed(broker, *[EOF] * 3, NORMAL, *[EOF] * 3, NORMAL)
    assert serve().run().n_records == 2


@pytest.mark.parametrize(("n_waits", "n_records"), [(0, 0), (20, 1)])
def test_idle_counts_from_when_all_partitions_could_be_read(
    n_waits: int,
    n_records: int,
    broker: RecordingBroker,
    serve: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed(broker, *[EOF] * 20, NORMAL)
    answers = iter([False] * n_waits)
    monkeypatch.setattr(MemoryClient, "has_fetched", lambda _: next(answers, True))
    assert serve().run().n_records == n_records


def test_a_service_that_was_stopped_does_not_start(
    broker: RecordingBroker, serve: Callable[..., Service]
) -> None:
    service = serve()
    service.stop()
    assert service.run().n_records == 0
    assert broker.operations == []


@pytest.mark.parametrize(
    "missing", [("telemetry",), ("alerts",), ("alerts", "dead-letters")], ids="+".join
)
def test_missing_topics_are_refused_with_the_commands_that_make_them(
    broker: RecordingBroker, serve: Callable[..., Service], missing: Sequence[str]
) -> None:
    for topic in missing:
        del broker.logs[topic]
    with pytest.raises(BrokerError) as caught:
        serve().run()
    assert caught.value.exit_code == 4
    for topic in missing:
        assert f"--create --topic {topic} " in str(caught.value)
    assert broker.operations == []


@dataclass(frozen=True, slots=True)
class RecordingState(IncidentState):
    """Notes which partitions were dropped."""

    dropped: list[Sequence[int]] = field(default_factory=list)

    def drop_partitions(self, partitions: Sequence[int]) -> "RecordingState":
        self.dropped.append(partitions)
        return self


class RecordingDetector(WindowDetector):
    """Starts with a state that records which partitions were dropped."""

    state = RecordingState()

    def initial_state(self) -> RecordingState:
        return self.state


def test_state_of_revoked_partitions_is_dropped(
    broker: RecordingBroker, make_detector: Callable[..., WindowDetector]
) -> None:
    broker.create_topic("telemetry", 3)
    for partition in range(3):
        broker.feed("telemetry", [NORMAL] * 4, partition)
    settings = load_settings(DetectSettings, stop_when_idle_s=1.0, poll_records_max=3)
    facts = make_detector()
    detector = RecordingDetector(**{each.name: getattr(facts, each.name) for each in fields(facts)})
    client = broker.connect(topics=["telemetry"], group="g")
    other = broker.connect(topics=["telemetry"], group="g")
    service = Service(client, detector, settings, Metrics(), TickingClock())
    dropped_by_step: list[list[Sequence[int]]] = []

    def share_with_another(_: RecordBatch, __: Step) -> None:
        dropped_by_step.append(list(detector.state.dropped))
        if len(dropped_by_step) == 1:
            other.poll(1, 0)

    service.add_observer(share_with_another)
    service.run()
    assert dropped_by_step[:2] == [[], [[1]]]  # before the first batch without it is scored
    assert detector.state.dropped == [[1]]
