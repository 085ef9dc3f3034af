"""Stop the loop at every step and restart it: the outputs are those of an uninterrupted run."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import orjson
import pytest
from detectors import make_window_detector

from stream_detector.clients.memory import (
    ABORT,
    EOF,
    PAUSE,
    Aborted,
    Fault,
    Member,
    MemoryBroker,
    MemoryClient,
    Operation,
    StoredRecord,
)
from stream_detector.core.records import (
    FloatArray,
    OutputRecord,
    TopicPartition,
)
from stream_detector.errors import (
    BrokerUnavailableError,
    DeliveryError,
    FencedError,
    NonFiniteScoreError,
)
from stream_detector.service import BACKOFF_S_MAX, BACKOFF_S_MIN, Service, Totals
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

GROUP = "g"
N_PARTITIONS = 2
RECORDS_PER_POLL = 3


def value_of(number: int) -> bytes:
    """Every third record is anomalous, every fifth no window, all others normal."""
    if number % 5 == 4:
        return b"no window %d" % number
    return orjson.dumps({"values": [3.0 if number % 3 == 0 else 0.5, 0.0]})


RECORDS = [OutputRecord("telemetry", b"pump", value_of(number), (), number) for number in range(11)]


@dataclass(slots=True)
class FakeClock:
    """A clock that advances only when it is read or slept."""

    now_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def now_ms(self) -> int:
        self.now_s += 0.001
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        self.now_s += 0.05
        if self.now_s > 200:
            pytest.fail("the loop did not end")
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.slept_s.append(seconds)
        self.now_s += seconds


class WatchfulBroker(MemoryBroker):
    """Checks at every commit that nothing before the committed offsets is still to be published."""

    def on_call(self, operation: Operation, *, is_after: bool) -> None:
        if operation == "commit" and is_after:
            published = set(published_sources(self))
            for (topic, partition), progress in self.committed[GROUP].items():
                for offset in range(progress.next_offset):
                    source = (topic, partition, offset)
                    assert source in published or not has_output(self, source)
        super().on_call(operation, is_after=is_after)


def has_output(broker: MemoryBroker, source: tuple[str, int, int]) -> bool:
    topic, partition, offset = source
    value = broker.logs[topic][partition].records[offset].value or b""
    return value.startswith((b"no window", b'{"values":[3.0'))


def published_sources(broker: MemoryBroker) -> Iterator[tuple[str, int, int]]:
    for record in broker.records("alerts"):
        source = orjson.loads(record.value or b"")["source"]
        yield source["topic"], source["partition"], source["offset"]
    for record in broker.records("dead-letters"):
        headers = {name: cast("bytes", value) for name, value in record.metadata.headers}
        topic, partition, offset = (
            headers[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset")
        )
        yield topic.decode(), int(partition), int(offset)


def broker_with(*items: Any, n_partitions: int = N_PARTITIONS) -> WatchfulBroker:
    """Return a broker whose input holds these items, dealt out to the partitions."""
    broker = WatchfulBroker(now_ms=lambda: 0)
    broker.create_topic("telemetry", n_partitions)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    for number, item in enumerate(items):
        broker.feed("telemetry", [item], number % n_partitions)
    return broker


def zeros(windows: FloatArray) -> FloatArray:
    return np.zeros_like(windows)


def service_on(
    broker: MemoryBroker, clock: FakeClock | None = None, reconstruct: Any = zeros
) -> Service:
    client: MemoryClient = broker.connect(topics=["telemetry"], group=GROUP)
    settings = load_settings(
        DetectSettings,
        poll_records_max=RECORDS_PER_POLL,
        stop_when_idle_s=1.0,
        broker_timeout_s=20.0,
        group=GROUP,
    )
    detector = make_window_detector(
        shape=(2, 1),
        sample_interval_ms=0,
        severities=(("warning", 1.0),),
        reconstruct=reconstruct,
    )
    return Service(client, detector, settings, Metrics(), clock or FakeClock())


def run(broker: MemoryBroker) -> Totals:
    return service_on(broker).run()


def outputs(broker: MemoryBroker) -> dict[str, set[bytes]]:
    """Return what was published, by id: alerts without their detection time, dead letters whole."""
    found: dict[str, set[bytes]] = defaultdict(set)
    for record in broker.records("alerts"):
        alert = orjson.loads(record.value or b"")
        alert.pop("detected_at_ms")
        found[alert["alert_id"]].add(orjson.dumps(alert) + repr(_stable(record)).encode())
    for record in broker.records("dead-letters"):
        found[repr(record.value)].add(repr((record.value, _stable(record))).encode())
    return found


def _stable(record: StoredRecord) -> tuple[Any, ...]:
    return record.metadata.key, record.metadata.headers, record.metadata.timestamp_ms


def n_committed(broker: MemoryBroker) -> int:
    return sum(each.next_offset for each in broker.committed[GROUP].values())


def assert_complete(broker: MemoryBroker, records: list[OutputRecord] = RECORDS) -> None:
    """Everything an uninterrupted run publishes is there; a repeat is equal to the first."""
    undisturbed = broker_with(*records)
    run(undisturbed)
    assert outputs(broker) == outputs(undisturbed)
    assert all(len(versions) == 1 for versions in outputs(broker).values())
    assert broker.committed[GROUP] == undisturbed.committed[GROUP]
    assert n_committed(broker) == len(records)


EVERY_STEP = [
    pytest.param(operation, nth, is_after, id=f"{operation}-{nth}-{'after' if is_after else 'in'}")
    for operation, n_calls in (("poll", 7), ("produce", 4), ("flush", 4), ("commit", 4))
    for nth, is_after in itertools.product(range(1, n_calls + 1), (False, True))
]


def test_an_uninterrupted_run_publishes_each_output_once() -> None:
    broker = broker_with(*RECORDS)
    totals = run(broker)
    assert (totals.n_records, totals.n_alerts, totals.n_dead_letters) == (11, 3, 2)
    assert (totals.n_batches, totals.n_retries) == (4, 0)
    assert len(broker.records("alerts")) == 3
    assert len(broker.records("dead-letters")) == 2
    assert {operation: broker.n_calls[operation] for operation in ("produce", "commit")} == {
        "produce": 4,
        "commit": 4,
    }


@pytest.mark.parametrize(("operation", "nth", "is_after"), EVERY_STEP)
def test_a_crash_at_any_step_loses_nothing(operation: Any, nth: int, is_after: bool) -> None:
    broker = broker_with(*RECORDS)
    broker.faults = [Fault(operation, ABORT, nth, is_after)]
    with pytest.raises(Aborted):
        run(broker)
    run(broker)
    assert_complete(broker)


@pytest.mark.parametrize("place", range(len(RECORDS) + 1))
def test_a_crash_before_any_record_loses_nothing(place: int) -> None:
    broker = broker_with(*RECORDS[:place])
    broker.feed("telemetry", [ABORT], place % N_PARTITIONS)
    for number, record in enumerate(RECORDS[place:], start=place):
        broker.feed("telemetry", [record], number % N_PARTITIONS)
    with pytest.raises(Aborted):
        run(broker)
    run(broker)
    assert_complete(broker)


@pytest.mark.parametrize(("operation", "nth", "is_after"), EVERY_STEP)
@pytest.mark.parametrize("effect", [PAUSE, DeliveryError("not acknowledged")], ids=str)
def test_a_broker_away_at_any_step_is_retried(
    effect: Any, operation: Any, nth: int, is_after: bool
) -> None:
    broker, clock = broker_with(*RECORDS), FakeClock()
    broker.faults = [Fault(operation, effect, nth, is_after)]
    totals = service_on(broker, clock).run()
    assert totals.n_retries == 1
    assert clock.slept_s == [BACKOFF_S_MIN]
    assert_complete(broker)


def test_crash_after_crash_loses_nothing() -> None:
    broker = broker_with(*RECORDS)
    broker.faults = [
        Fault(operation, ABORT, nth, nth % 2 == 0)
        for operation in ("produce", "flush", "commit")
        for nth in range(1, 12, 3)
    ]
    n_crashes = 0
    while True:
        try:
            run(broker)
            break
        except Aborted:
            n_crashes += 1
    assert n_crashes > 5
    assert_complete(broker)


def test_a_refused_delivery_is_never_committed() -> None:
    broker = broker_with(*RECORDS)
    broker.faults = [Fault("flush", DeliveryError("refused"), nth) for nth in range(1, 1_000)]
    with pytest.raises(DeliveryError, match=r"gave up after 2\d s \(--broker-timeout\): refused"):
        run(broker)
    assert broker.n_calls["commit"] == 0
    assert not broker.committed[GROUP]


def test_waits_grow_up_to_a_limit_and_shrink_after_a_success() -> None:
    broker, clock = broker_with(*[PAUSE] * 7, RECORDS[0], PAUSE, n_partitions=1), FakeClock()
    service_on(broker, clock).run()
    doubled = [BACKOFF_S_MIN * 2**n for n in range(7)]
    assert clock.slept_s == [*(min(each, BACKOFF_S_MAX) for each in doubled), BACKOFF_S_MIN]


def test_a_broker_that_stays_away_ends_the_service_with_exit_code_4(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker, clock = broker_with(*[PAUSE] * 1_000), FakeClock()
    with pytest.raises(BrokerUnavailableError, match=r"gave up after 2\d s") as caught:
        service_on(broker, clock).run()
    assert caught.value.exit_code == 4
    assert 20 <= clock.now_s < 25
    logged = [record for record in caplog.records if "retrying" in record.getMessage()]
    assert len(logged) == 4


@pytest.mark.parametrize("records", [[], [RECORDS[0]]])
def test_the_end_of_an_outage_is_logged_also_where_there_is_nothing_to_read(
    records: list[OutputRecord], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker = broker_with(*records, *[PAUSE] * 7, n_partitions=1)
    run(broker)
    logged = [record.getMessage() for record in caplog.records]
    assert len([line for line in logged if line.startswith("connected-again")]) == 1


class SlowGroup(WatchfulBroker):
    """A member that has just joined gets nothing from its first poll, as with Kafka."""

    def join(self, group: str, client: Member) -> None:
        is_new = not self.assigned_to(group, ["telemetry"], client)
        super().join(group, client)
        if is_new:
            self.logs["telemetry"][0].items[0].append(EOF)


def test_polls_that_succeed_do_not_hide_a_sink_that_is_down() -> None:
    broker = SlowGroup(now_ms=lambda: 0)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    broker.feed("telemetry", RECORDS)
    broker.faults = [Fault("flush", DeliveryError("refused"), nth) for nth in range(1, 1_000)]
    with pytest.raises(DeliveryError, match="gave up after"):
        run(broker)


@pytest.mark.parametrize("operation", ["poll", "produce", "flush", "commit"])
def test_a_fenced_process_does_not_try_again(operation: Any) -> None:
    broker, clock = broker_with(*RECORDS), FakeClock()
    broker.faults = [Fault(operation, FencedError("replaced"))]
    with pytest.raises(FencedError, match="replaced"):
        service_on(broker, clock).run()
    assert clock.slept_s == []
    run(broker)
    assert_complete(broker)


def test_stop_finishes_the_current_batch() -> None:
    broker = broker_with(*RECORDS)

    def stop_while_scoring(windows: FloatArray) -> FloatArray:
        service.stop()
        return np.zeros_like(windows)

    service = service_on(broker, reconstruct=stop_while_scoring)
    totals = service.run()
    assert (totals.n_batches, totals.n_records) == (1, RECORDS_PER_POLL)
    assert n_committed(broker) == RECORDS_PER_POLL
    assert broker.n_calls["poll"] == 1
    run(broker)
    assert_complete(broker)


def test_stop_ends_the_wait_for_a_broker() -> None:
    broker, clock = broker_with(*[PAUSE] * 1_000), FakeClock()
    service = service_on(broker, clock)
    clock.on_sleep = service.stop
    assert service.run().n_retries == 1


def test_a_non_finite_score_stops_the_service_and_commits_nothing_of_its_batch() -> None:
    broker = broker_with(*RECORDS)
    n_calls = itertools.count(1)

    def break_second_call(windows: FloatArray) -> FloatArray:
        return np.full_like(windows, np.nan if next(n_calls) == 2 else 0.0)

    with pytest.raises(NonFiniteScoreError) as caught:
        service_on(broker, reconstruct=break_second_call).run()
    assert caught.value.exit_code == 3
    assert n_committed(broker) == RECORDS_PER_POLL
    run(broker)
    assert_complete(broker)


def test_whatever_an_engine_raises_goes_through_and_commits_nothing_of_its_batch() -> None:
    broker = broker_with(*RECORDS)
    n_calls = itertools.count(1)

    def fail_in_second_call(windows: FloatArray) -> FloatArray:
        if next(n_calls) == 2:
            raise MemoryError
        return np.zeros_like(windows)

    with pytest.raises(MemoryError):
        service_on(broker, reconstruct=fail_in_second_call).run()
    assert n_committed(broker) == RECORDS_PER_POLL
    run(broker)
    assert_complete(broker)


@pytest.mark.parametrize("is_crash", [False, True])
def test_the_group_is_left_however_the_service_ends(is_crash: bool) -> None:
    broker = broker_with(*RECORDS)
    broker.faults = [Fault("produce", FencedError("replaced"))] if is_crash else []
    try:
        run(broker)
    except FencedError:
        assert is_crash
    heir = broker.connect(topics=["telemetry"], group=GROUP)
    heir.poll(1, 0)
    assert heir.assignment() == {TopicPartition("telemetry", n) for n in range(N_PARTITIONS)}
