"""Another bundle takes over: what the one before left open is closed once, whatever fails."""

import copy
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from delivery_service import GROUP, broker_of, published, service_on
from delivery_stream import DELIVERIES, N_RECORDS, SHAPES, START_MS, detector_of, record_of

from stream_detector.clients.memory import ABORT, PAUSE, Aborted, Fault, MemoryBroker
from stream_detector.core.alerting.alert import ALERT_BYTES_MAX
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.restore_plan import CommitMetadata
from stream_detector.errors import BrokerError, RecordRefusedError, StateError
from stream_detector.service import Service, takeover
from stream_detector.telemetry import Metrics

each_delivery = pytest.mark.parametrize("delivery", DELIVERIES)

N_BEFORE = 80
"""Records that the first bundle judges: then alerts of two keys are open."""

OLD, NEW = "v1", "v2"


def events(broker: MemoryBroker) -> list[dict[str, Any]]:
    """Return what readers of the alerts topic see, in its order, with the id of each event."""
    found = []
    for record in broker.records("alerts"):
        headers = dict(record.metadata.headers)
        found.append(orjson.loads(record.value or b"") | {"ce_id": headers["ce_id"]})
    return found


def open_alerts(broker: MemoryBroker, version: str = OLD) -> set[str]:
    """Return the alerts of a bundle that readers see as open."""
    last = {each["alert_id"]: each for each in events(broker) if is_of(each, version)}
    return {name for name, each in last.items() if each["event"] != "close"}


def is_of(event: dict[str, Any], version: str) -> bool:
    return bool(event["bundle"]["version"] == version)


def stopped_with_open_alerts(delivery: str, n_records: int = N_BEFORE) -> MemoryBroker:
    """Return a broker whose group was left by the old bundle."""
    return copy.deepcopy(_stopped_once(delivery, n_records))


@functools.cache
def _stopped_once(delivery: str, n_records: int) -> MemoryBroker:
    broker = broker_of("samples", n_records)
    service_on(broker, "samples", delivery).run()
    for number in range(n_records, N_RECORDS):
        broker.append(record_of(number, "samples"))
    return broker


def new_service(
    broker: MemoryBroker, delivery: str, shape: str = "samples", **changes: Any
) -> Service:
    return service_on(broker, shape, delivery, detector=detector_of(shape, NEW), **changes)


def run_until_it_ends(make: Callable[[], Service]) -> int:
    for n_crashes in itertools.count():
        try:
            make().run()
        except Aborted:
            continue
        return n_crashes
    raise AssertionError


def closes(broker: MemoryBroker) -> Counter[bytes]:
    """Return the ids of the events that close because of the takeover, with how often they are."""
    return Counter(each["ce_id"] for each in events(broker) if each["reason"] == "bundle_changed")


@each_delivery
def test_open_alerts_close_before_anything_of_the_new_bundle(
    delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker, metrics = stopped_with_open_alerts(delivery), Metrics()
    left = open_alerts(broker)
    before = {each["alert_id"]: each for each in events(broker)}
    ends = {each.partition: saved.next_offset for each, saved in broker.committed[GROUP].items()}
    assert len(left) == 2
    caplog.set_level("INFO", "stream_detector")

    new_service(broker, delivery, metrics=metrics).run()

    after = events(broker)
    first_new = next(n for n, each in enumerate(after) if is_of(each, NEW))
    by_takeover = [n for n, each in enumerate(after) if each["reason"] == "bundle_changed"]
    assert max(by_takeover) < first_new
    assert {after[n]["alert_id"] for n in by_takeover} == left
    assert len(by_takeover) == len(left)
    assert not open_alerts(broker)
    for n in by_takeover:
        close, last = after[n], before[after[n]["alert_id"]]
        assert close["event"] == "close"
        assert close["event_number"] == last["event_number"] + 1
        assert close["ce_id"] == f"{close['alert_id']}-{close['event_number']}".encode()
        assert close["source"]["offset"] == ends[last["source"]["partition"]]
        same = ("key", "bundle", "anomaly_score", "explanation", "event_time_ms", "opened_ms")
        assert {name: close[name] for name in same} == {name: last[name] for name in same}
    assert "alerts-closed n_alerts=2" in caplog.text
    assert "alerts-left-open" not in caplog.text
    assert "bundle-changed" in caplog.text
    assert "group-shared" not in caplog.text
    value = metrics.registry.get_sample_value
    labels = {"event": "close", "severity": "critical"}
    assert value("stream_detector_alerts_total", labels) is not None


def test_the_commit_says_how_many_alerts_are_open() -> None:
    broker = stopped_with_open_alerts("at_least_once")
    n_open = {
        each.partition: CommitMetadata.decode(saved.metadata, "").restore_plan.n_open_alerts
        for each, saved in broker.committed[GROUP].items()
    }
    places = {each["alert_id"]: each["source"]["partition"] for each in events(broker)}
    left = Counter(places[name] for name in open_alerts(broker))
    assert n_open == {0: left[0], 1: left[1]}


N_CALLS = {
    "poll": 8,
    "produce": 3,
    "flush": 3,
    "commit": 3,
    "committed": 1,
    "beginning_offsets": 2,
    "end_offsets": 1,
}
IN_TRANSACTIONS = {"begin": 3, "send_offsets": 3, "end": 3}


def faults(delivery: str, effect: Any) -> Iterator[Fault]:
    numbers = N_CALLS | (IN_TRANSACTIONS if delivery == "exactly_once" else {})
    for operation, n_calls in numbers.items():
        for nth, is_after in itertools.product(range(1, n_calls + 1), (False, True)):
            yield Fault(operation, effect, nth, is_after)  # type: ignore[arg-type]


@each_delivery
@pytest.mark.parametrize("effect", [ABORT, PAUSE], ids=["crash", "broker away"])
def test_a_fault_at_any_step_of_the_takeover_changes_nothing(delivery: str, effect: Any) -> None:
    undisturbed = stopped_with_open_alerts(delivery)
    new_service(undisturbed, delivery).run()
    expected = closes(undisturbed)
    assert len(expected) == 2
    for fault in faults(delivery, effect):
        broker = stopped_with_open_alerts(delivery)
        broker.n_calls.clear()
        broker.faults = [fault]
        run_until_it_ends(lambda broker=broker: new_service(broker, delivery))  # type: ignore[misc]
        assert broker.n_calls[fault.operation] >= fault.nth
        assert set(closes(broker)) == set(expected)
        assert not open_alerts(broker)
        assert set(published(broker)) == set(published(undisturbed))
        if delivery == "exactly_once":
            assert published(broker) == published(undisturbed)


@each_delivery
def test_a_crash_of_the_old_bundle_leaves_nothing_open(delivery: str) -> None:
    for operation, nth in itertools.product(("produce", "flush", "commit"), (3, 5, 6)):
        broker = broker_of("samples", N_BEFORE)
        broker.faults = [Fault(operation, ABORT, nth, is_after=True)]  # type: ignore[arg-type]
        with pytest.raises(Aborted):
            service_on(broker, "samples", delivery).run()
        broker.faults = []
        new_service(broker, delivery).run()
        assert not open_alerts(broker)
        assert delivery == "at_least_once" or max(Counter(closes(broker)).values(), default=1) == 1


@each_delivery
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(SHAPES)))
def test_bundles_of_other_shapes_of_records_take_over(
    before: str, after: str, delivery: str
) -> None:
    broker = broker_of(before, N_BEFORE)
    service_on(broker, before, delivery).run()
    left = open_alerts(broker)
    new_service(broker, delivery, after).run()
    assert len(closes(broker)) == (2 if before == "samples" else 0)
    assert open_alerts(broker) == (set() if before == "samples" else left)
    versions = {
        CommitMetadata.decode(each.metadata, "").bundle_version
        for each in broker.committed[GROUP].values()
    }
    assert versions == {NEW}


def lose_state(broker: MemoryBroker, what: str) -> dict[str, Any]:
    """Let the state of both partitions be lost; return settings of the next start."""
    for number in range(2):
        place = TopicPartition("telemetry", number)
        saved = broker.committed[GROUP][place]
        metadata = CommitMetadata.decode(saved.metadata, "")
        assert metadata.restore_plan.offset < saved.next_offset
        if what == "retention":
            broker.truncate("telemetry", number, metadata.restore_plan.offset + 1)
        elif what == "unread":
            broker.truncate("telemetry", number, saved.next_offset + 1)
        else:
            other = {"rules": "d" * 16} if what == "rules" else {"n_partitions": 1}
            changed = metadata._replace(**other).encode()
            broker.committed[GROUP][place] = saved._replace(metadata=changed)
    return {"accept_repartition": what == "repartitioned"}


@each_delivery
@pytest.mark.parametrize("what", ["retention", "unread", "repartitioned", "rules"])
def test_alerts_whose_state_cannot_be_restored_close_once(delivery: str, what: str) -> None:
    for fault in (None, Fault("flush", ABORT), Fault("commit", ABORT), Fault("commit", PAUSE)):
        broker = stopped_with_open_alerts(delivery)
        left, n_before = open_alerts(broker), len(events(broker))
        changes = lose_state(broker, what)
        broker.n_calls.clear()
        broker.faults = [fault] if fault else []
        run_until_it_ends(lambda: service_on(broker, "samples", delivery, **changes))  # noqa: B023
        after = events(broker)[n_before:]
        reason = "rules_changed" if what == "rules" else "state_reset"
        closed = [each for each in after if each["reason"] == reason]
        assert {each["alert_id"] for each in closed} == left
        assert after[: len(closed)] == closed
        assert {each["event"] for each in closed} == {"close"}
        if delivery == "exactly_once":
            assert len(closed) == len(left)
        assert not left & open_alerts(broker)


def test_nothing_closes_where_another_number_of_partitions_is_refused() -> None:
    broker = stopped_with_open_alerts("at_least_once")
    lose_state(broker, "repartitioned")
    n_before = len(events(broker))
    with pytest.raises(StateError, match="--accept-repartition"):
        service_on(broker, "samples", "at_least_once").run()
    assert len(events(broker)) == n_before


def watching_for_silence(version: str) -> SampleDetector:
    detector = detector_of("samples", version)
    assert isinstance(detector, SampleDetector)
    return replace(detector, windows=replace(detector.windows, no_data_after_ms=100))


@each_delivery
def test_alerts_about_silent_keys_close_too(
    delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_of("samples", 0)
    for number in range(20):  # two keys of one partition, of which one stops after five records
        for key in (b"pump", b"fan")[: 2 if number < 5 else 1]:
            at_ms = START_MS + 10 * number
            value = orjson.dumps({"values": [0.0], "timestamp_ms": at_ms})
            broker.append(OutputRecord("telemetry", key, value, (), at_ms, 0))
    service_on(broker, "samples", delivery, detector=watching_for_silence(OLD)).run()
    assert [each["reason"] for each in events(broker)] == ["no_data"]
    service_on(broker, "samples", delivery, detector=watching_for_silence(NEW)).run()
    assert [each["reason"] for each in events(broker)] == ["no_data", "bundle_changed"]
    assert not open_alerts(broker)
    assert "alerts-left-open" not in caplog.text


def test_the_same_bundle_and_other_groups_close_nothing() -> None:
    broker = stopped_with_open_alerts("at_least_once")
    service_on(broker, "samples", "at_least_once").run()
    assert not closes(broker)


def spoil(broker: MemoryBroker, **changes: Any) -> None:
    """Publish an event like the last one of an open alert, changed."""
    name = min(open_alerts(broker))
    last = next(
        each
        for each in reversed(broker.records("alerts"))
        if orjson.loads(each.value or b"")["alert_id"] == name
    )
    value = orjson.loads(last.value or b"") | {"alert_id": "f" * 32} | changes
    headers = last.metadata.headers
    broker.append(OutputRecord("alerts", b"k", orjson.dumps(value), headers))


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"topic": "other", "partition": 0, "offset": 1}},
        {"source": {"topic": "telemetry", "partition": 7, "offset": 1}},
        {"source": {"topic": "telemetry", "partition": 0, "offset": "1"}},
        {"source": None},
        {"bundle": {"name": "pumps", "version": "v0"}},
        {"bundle": []},
        {"event_number": "1"},
        {"event_number": 2**64 - 1},
        {"event_time_ms": None},
        {"severity": "x" * 65},
        {"explanation": "x" * 600_000},
    ],
    ids=str,
)
def test_alerts_of_others_and_forged_ones_are_left_alone(changes: dict[str, Any]) -> None:
    broker = stopped_with_open_alerts("exactly_once")
    spoil(broker, **changes)
    for value in (None, b"", b"{", b"[]", b"\xff" * 100):
        broker.append(OutputRecord("alerts", b"k", value, [("ce_source", b"/x/v1")]))
    n_before = len(broker.records("alerts"))
    new_service(broker, "exactly_once").run()
    after = broker.records("alerts")[n_before:]
    reasons = [orjson.loads(each.value or b"")["reason"] for each in after]
    assert reasons.count("bundle_changed") == 2


@pytest.mark.parametrize(("n_more", "n_closed"), [(0, 1), (1, 0)])
def test_an_alert_of_the_largest_size_is_closed(n_more: int, n_closed: int) -> None:
    broker = stopped_with_open_alerts("exactly_once")
    spoil(broker, explanation="")
    n_bytes = len(broker.records("alerts")[-1].value or b"") - n_more
    spoil(broker, alert_id="e" * 32, explanation="x" * (ALERT_BYTES_MAX - n_bytes))
    new_service(broker, "exactly_once").run()
    assert sum(name.startswith(b"e" * 32) for name in closes(broker)) == n_closed


def test_an_alert_with_the_longest_severity_is_closed() -> None:
    broker = stopped_with_open_alerts("exactly_once")
    spoil(broker, severity="x" * 64)
    new_service(broker, "exactly_once").run()
    assert sum(name.startswith(b"f" * 32) for name in closes(broker)) == 1


@pytest.mark.parametrize(("ahead", "n_closed"), [(-1, 1), (0, 0)])
def test_what_the_same_bundle_has_not_committed_it_does_not_close(
    ahead: int, n_closed: int
) -> None:
    broker = stopped_with_open_alerts("at_least_once")
    lose_state(broker, "rules")
    offset = broker.committed[GROUP][TopicPartition("telemetry", 0)].next_offset + ahead
    spoil(broker, source={"topic": "telemetry", "partition": 0, "offset": offset})
    service_on(broker, "samples", "at_least_once").run()
    found = [(each["alert_id"], each["reason"]) for each in events(broker)]
    assert found.count(("f" * 32, "rules_changed")) == n_closed


@each_delivery
def test_alerts_far_back_in_a_busy_topic_are_found(
    delivery: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(takeover, "BLOCK_RECORDS", 4)
    broker = stopped_with_open_alerts(delivery)
    for number in range(300):
        broker.append(OutputRecord("alerts", b"other", b'{"n": %d}' % number))
    new_service(broker, delivery).run()
    assert not open_alerts_among(broker)
    assert "alerts-left-open" not in caplog.text


def open_alerts_among(broker: MemoryBroker) -> set[str]:
    """Return the open alerts of the old bundle in a topic with records of others."""
    last = {}
    for record in broker.records("alerts"):
        event = orjson.loads(record.value or b"")
        if "alert_id" in event and is_of(event, OLD):
            last[event["alert_id"]] = event["event"]
    return {name for name, event in last.items() if event != "close"}


def test_alerts_that_cannot_be_found_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(takeover, "BLOCK_RECORDS", 4)
    monkeypatch.setattr(takeover, "ALERTS_MAX", 50)
    broker = stopped_with_open_alerts("exactly_once")
    for number in range(300):
        broker.append(OutputRecord("alerts", b"other", b'{"n": %d}' % number))
    assert new_service(broker, "exactly_once").run().n_records > 0
    assert "alerts-left-open n_alerts=2" in caplog.text


def test_a_search_ends_where_the_alerts_topic_begins(caplog: pytest.LogCaptureFixture) -> None:
    broker = stopped_with_open_alerts("exactly_once")
    broker.truncate("alerts", 0, len(broker.logs["alerts"][0].records))
    broker.n_calls.clear()
    new_service(broker, "exactly_once").run()
    assert "alerts-left-open n_alerts=2" in caplog.text
    assert broker.n_calls["poll"] < 100


def test_an_alerts_topic_that_may_not_be_read_does_not_stop_the_takeover(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = stopped_with_open_alerts("exactly_once")
    broker.n_calls.clear()
    broker.faults = [Fault("end_offsets", BrokerError("Topic authorization failed"))]
    assert new_service(broker, "exactly_once").run().n_records > 0
    assert "alerts-left-open n_alerts=2" in caplog.text
    assert "Topic authorization failed" in caplog.text


@each_delivery
def test_a_close_that_kafka_refuses_does_not_stop_the_takeover(
    delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = stopped_with_open_alerts(delivery)
    broker.n_calls.clear()
    # Of two that are sent together both are named, though one alone is taken.
    both = RecordRefusedError("too large", {0: "size", 1: "size"}, [0, 1])
    alone = RecordRefusedError("too large", {0: "size"}, [0])
    broker.faults = [Fault("flush", both), Fault("flush", alone, nth=2)]
    assert new_service(broker, delivery).run().n_records > 0
    assert "alerts-left-open n_alerts=1" in caplog.text
    assert len(closes(broker)) == 1


@each_delivery
def test_two_bundles_in_one_group_notice_each_other(
    delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_of("samples", N_BEFORE)
    old = service_on(broker, "samples", delivery)
    numbers = itertools.count(1)

    def share(*_: object) -> None:
        if next(numbers) == 3:
            new_service(broker, delivery, instance_id="new").run()

    old.add_observer(share)
    old.run()
    lines = [each.getMessage().split(" ")[0] for each in caplog.records]
    assert "bundle-changed" in lines, "the new bundle"
    assert "group-shared" in lines, "the old one, once its partitions came back"


def test_the_partition_of_the_takeover_is_committed_before_its_first_record() -> None:
    broker = stopped_with_open_alerts("exactly_once")
    ends = {each: saved.next_offset for each, saved in broker.committed[GROUP].items()}
    broker.n_calls.clear()
    broker.faults = [Fault("commit", ABORT, 1, is_after=True)]
    with pytest.raises(Aborted):
        new_service(broker, "exactly_once").run()
    for number in range(2):
        saved = broker.committed[GROUP][TopicPartition("telemetry", number)]
        metadata = CommitMetadata.decode(saved.metadata, "")
        assert saved.next_offset == ends[TopicPartition("telemetry", number)]
        assert (metadata.bundle_version, metadata.restore_plan.n_open_alerts) == (NEW, 0)
