"""After a crash at any step: the alerts of an uninterrupted run, each once, byte for byte.

For both shapes of records, both kinds of delivery and every step of the loop. With delivery at
least once an alert may be published again, with the same bytes.
"""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest
from delivery_service import (  # tests/support
    GROUP,
    assert_complete,
    broker_of,
    change_after,
    service_on,
    undisturbed,
)
from delivery_stream import (
    DELIVERIES,
    N_PARTITIONS,
    N_RECORDS,
    SHAPES,
    detector_of,
    record_of,
)

from stream_detector.clients.memory import ABORT, PAUSE, Aborted, Fault, MemoryBroker, Operation
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.core.state.restore_plan import CommitMetadata
from stream_detector.errors import StateError
from stream_detector.telemetry import Metrics

each_shape = pytest.mark.parametrize("shape", SHAPES)
each_delivery = pytest.mark.parametrize("delivery", DELIVERIES)


def run_until_it_ends(broker: MemoryBroker, shape: str, delivery: str) -> int:
    """Start the service again after each crash; return how often it crashed.

    Its successors poll more at a time, which may change nothing either.
    """
    for n_crashes in itertools.count():
        n_records_max = 60 if n_crashes else 15
        try:
            service_on(broker, shape, delivery, poll_records_max=n_records_max).run()
        except Aborted:
            continue
        return n_crashes
    raise AssertionError


@each_shape
def test_the_stream_has_alerts_to_lose(shape: str) -> None:
    expected = undisturbed(shape)
    assert len(expected) >= 15
    assert set(expected.values()) == {1}
    kinds = ("open", "update", "close")
    events = {
        kind for kind in kinds for each in expected if b'"event":"%s"' % kind.encode() in each
    }
    assert events == ({"open"} if shape == "windows" else {"open", "update", "close"})
    reasons = {"no_data", "feature_missing", "data_again"}
    found = {
        reason
        for reason in reasons
        for each in expected
        if b'"anomaly_score":null' in each and b'"reason":"%s"' % reason.encode() in each
    }
    assert found == (set() if shape == "windows" else reasons)


N_CALLS = {
    "poll": 14,
    "produce": 12,
    "flush": 12,
    "commit": 12,
    "committed": 1,
    "beginning_offsets": 1,
}
"""How often a run that nothing disturbs makes each call, and polls before it is idle."""
IN_TRANSACTIONS = {"begin": 12, "send_offsets": 12, "end": 12}


def calls(delivery: str) -> list[tuple[Operation, int, bool]]:
    numbers = N_CALLS | (IN_TRANSACTIONS if delivery == "exactly_once" else {})
    return [
        (operation, nth, is_after)  # type: ignore[misc]
        for operation, n_calls in numbers.items()
        for nth in range(1, n_calls + 1)
        for is_after in (False, True)
    ]


@each_shape
@each_delivery
@pytest.mark.parametrize("effect", [ABORT, PAUSE], ids=["crash", "broker away"])
def test_a_fault_at_any_step_changes_nothing(shape: str, delivery: str, effect: Any) -> None:
    n_met = 0
    for operation, nth, is_after in calls(delivery):
        broker = broker_of(shape)
        broker.faults = [Fault(operation, effect, nth, is_after)]
        n_crashes = run_until_it_ends(broker, shape, delivery)
        n_met += n_crashes if effect is ABORT else broker.n_calls[operation] >= nth
        assert_complete(broker, shape, delivery)
    assert n_met == len(calls(delivery))


@each_shape
@each_delivery
def test_a_crash_before_any_record_changes_nothing(shape: str, delivery: str) -> None:
    for place in range(0, N_RECORDS + 1, 3):
        broker = broker_of(shape, place)
        broker.feed("telemetry", [ABORT], place % 3 % 2)
        for number in range(place, N_RECORDS):
            broker.append(record_of(number, shape))
        assert run_until_it_ends(broker, shape, delivery) == 1
        assert_complete(broker, shape, delivery)


@each_shape
@each_delivery
def test_crash_after_crash_changes_nothing(shape: str, delivery: str) -> None:
    broker = broker_of(shape)
    broker.faults = [
        Fault(operation, ABORT, nth, nth % 2 == 0)
        for operation in ("poll", "flush", "commit")
        for nth in range(2, 60, 4)
    ]
    assert run_until_it_ends(broker, shape, delivery) > 10
    assert_complete(broker, shape, delivery)


def scores_after(shape: str, delivery: str, faults: list[Fault]) -> Counter[bytes]:
    """Return the scores that are there in the end, the service started again after each crash."""
    broker = broker_of(shape)
    broker.create_topic("scores")
    broker.faults = faults
    plain: Any = detector_of(shape)
    detector = replace(plain, gives_details=True)
    while True:
        try:
            service_on(broker, shape, delivery, detector=detector, scores_topic="scores").run()
        except Aborted:
            continue
        return Counter(record.value or b"" for record in broker.records("scores"))


@each_shape
@each_delivery
def test_scores_are_published_as_alerts_are(shape: str, delivery: str) -> None:
    expected = scores_after(shape, delivery, [])
    assert set(expected.values()) == {1}
    assert len(expected) > 50
    for operation in ("produce", "flush", "commit"):
        faults = [Fault(operation, ABORT, nth, nth % 2 == 0) for nth in range(2, 12, 3)]
        found = scores_after(shape, delivery, faults)
        assert found.keys() == expected.keys()
        if delivery == "exactly_once":
            assert found == expected


@each_delivery
def test_the_next_owner_of_a_partition_restores_its_state(delivery: str) -> None:
    broker = broker_of("samples")
    first = service_on(broker, "samples", delivery)
    n_batches = itertools.count()
    first.add_observer(lambda *_: first.stop() if next(n_batches) == 5 else None)
    first.run()
    service_on(broker, "samples", delivery).run()
    assert_complete(broker, "samples", delivery)


def committed_metadata(broker: MemoryBroker, partition: int = 0) -> CommitMetadata:
    saved = broker.committed[GROUP][TopicPartition("telemetry", partition)]
    return CommitMetadata.decode(saved.metadata, "here")


def stopped_half_way() -> MemoryBroker:
    broker = broker_of("samples", N_RECORDS // 2)
    service_on(broker, "samples", "exactly_once").run()
    for number in range(N_RECORDS // 2, N_RECORDS):
        broker.append(record_of(number, "samples"))
    return broker


def n_from(broker: MemoryBroker, partition: int) -> int:
    """Return how many alerts there are of one partition's records."""
    values = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    return sum(each["source"]["partition"] == partition for each in values)


def test_a_restored_state_with_another_digest_is_refused() -> None:
    broker = stopped_half_way()
    n_before = n_from(broker, 0)
    place = TopicPartition("telemetry", 0)
    saved = broker.committed[GROUP][place]
    commit_metadata = committed_metadata(broker)
    damaged = commit_metadata._replace(
        restore_plan=commit_metadata.restore_plan._replace(digest="0" * 16)
    )
    broker.committed[GROUP][place] = saved._replace(metadata=damaged.encode())
    with pytest.raises(StateError, match=r"expected digest 0{16}, received [0-9a-f]{16}") as caught:
        service_on(broker, "samples", "exactly_once").run()
    assert caught.value.exit_code == 5
    assert n_from(broker, 0) == n_before


def test_commit_metadata_of_another_program_is_refused() -> None:
    broker = stopped_half_way()
    place = TopicPartition("telemetry", 1)
    saved = broker.committed[GROUP][place]
    broker.committed[GROUP][place] = saved._replace(metadata="checkpoint-7")
    with pytest.raises(StateError, match="metadata of another program"):
        service_on(broker, "samples", "exactly_once").run()


@pytest.mark.parametrize("what", ["no_checkpoint", "bundle_changed", "retention", "repartitioned"])
def test_without_a_usable_restore_plan_keys_warm_up_and_the_reset_is_counted(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = stopped_half_way()
    place, metrics = TopicPartition("telemetry", 0), Metrics()
    saved, commit_metadata = broker.committed[GROUP][place], committed_metadata(broker)
    assert 0 < commit_metadata.restore_plan.offset < saved.next_offset
    changed = {
        "no_checkpoint": "",
        "bundle_changed": commit_metadata._replace(bundle_version="v0").encode(),
        "retention": saved.metadata,
        "repartitioned": commit_metadata._replace(n_partitions=1).encode(),
    }
    broker.committed[GROUP][place] = saved._replace(metadata=changed[what])
    if what == "retention":
        broker.truncate("telemetry", 0, commit_metadata.restore_plan.offset + 1)
    service_on(broker, "samples", "exactly_once", metrics, accept_repartition=True).run()
    counted = metrics.registry.get_sample_value("stream_detector_restores_total", {"outcome": what})
    assert counted == 1
    assert f"state-reset reason={what}" in caplog.text
    assert broker.committed[GROUP][place].next_offset == len(broker.logs["telemetry"][0].records)


@pytest.mark.parametrize(("shape", "n_restored"), [("samples", N_PARTITIONS), ("windows", 0)])
def test_what_has_state_is_restored_although_nothing_more_comes(
    shape: str, n_restored: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_of(shape, 20)
    service_on(broker, shape, "exactly_once").run()
    caplog.set_level("INFO", "stream_detector")
    service_on(broker, shape, "exactly_once").run()
    lines = [each.getMessage().partition(" ")[0] for each in caplog.records]
    assert lines.count("restored") == n_restored


def test_another_number_of_partitions_is_refused_until_it_is_accepted() -> None:
    broker = stopped_half_way()
    place = TopicPartition("telemetry", 0)
    saved = broker.committed[GROUP][place]
    commit_metadata = committed_metadata(broker)._replace(n_partitions=1)
    broker.committed[GROUP][place] = saved._replace(metadata=commit_metadata.encode())
    with pytest.raises(StateError, match=r"had 1 partitions when .* has 2 now: .*--accept-repart"):
        service_on(broker, "samples", "exactly_once").run()


def test_records_that_retention_deletes_unread_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = stopped_half_way()
    end = broker.committed[GROUP][TopicPartition("telemetry", 0)].next_offset
    broker.truncate("telemetry", 0, end + 3)
    totals = service_on(broker, "samples", "exactly_once").run()
    assert totals.n_records == N_RECORDS // 2 - 3, "records after the gap were counted twice"
    assert "state-reset reason=retention" in caplog.text
    assert "n_records_lost=3" in caplog.text


@pytest.mark.parametrize(("n_unread", "is_loss"), [(0, False), (1, True)])
def test_what_retention_deletes_after_it_was_read_is_no_loss(
    n_unread: int, is_loss: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_of("windows", 20)
    service_on(broker, "windows", "exactly_once").run()
    end = broker.committed[GROUP][TopicPartition("telemetry", 0)].next_offset
    for number in range(20, 40):
        broker.append(record_of(number, "windows"))
    broker.truncate("telemetry", 0, end + n_unread)
    service_on(broker, "windows", "exactly_once").run()
    assert ("state-reset reason=retention" in caplog.text) is is_loss


def n_restores(metrics: Metrics, outcome: str) -> float | None:
    labels = {"outcome": outcome}
    return metrics.registry.get_sample_value("stream_detector_restores_total", labels)


@each_shape
@each_delivery
def test_retention_that_overtakes_a_running_service_is_counted_and_keys_warm_up(
    delivery: str, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker, metrics = broker_of(shape), Metrics()
    service = service_on(broker, shape, delivery, metrics)

    def overtake() -> None:
        positions = service.context.client.positions(service.context.client.assignment())
        broker.truncate("telemetry", 0, positions[TopicPartition("telemetry", 0)] + 7)

    change_after(service, 5, overtake)
    totals = service.run()
    assert totals.n_records == N_RECORDS - 7
    assert n_restores(metrics, "retention") == 1
    assert caplog.text.count("state-reset reason=retention") == 1
    assert "n_records_lost=7" in caplog.text
    # The state is that of a group that reads only the records that are kept.
    digest = committed_metadata(broker).restore_plan.digest
    broker.committed.clear()
    service_on(broker, shape, delivery).run()
    assert committed_metadata(broker).restore_plan.digest == digest


def test_ends_of_transactions_and_aborted_records_are_no_loss() -> None:
    broker = broker_of("samples", 0)
    for start in range(0, N_RECORDS, 9):
        broker.append_together(record_of(number, "samples") for number in range(start, start + 9))
    metrics = Metrics()
    totals = service_on(broker, "samples", "exactly_once", metrics).run()
    assert totals.n_records == N_RECORDS
    assert n_restores(metrics, "retention") is None
    # At the beginning, and where more was missing than in any poll before.
    assert broker.n_calls["beginning_offsets"] <= 4


@each_delivery
def test_a_group_that_starts_at_the_end_loses_no_later_record(delivery: str) -> None:
    broker = broker_of("samples", 40)
    broker.faults = [Fault("poll", ABORT, 2)]  # the first assignment, and nothing to read yet
    with pytest.raises(Aborted):
        service_on(broker, "samples", delivery, offset_reset="latest").run()
    begun = dict(broker.committed[GROUP])
    end_offsets = [each.next_offset for _, each in sorted(begun.items())]
    assert end_offsets == [len(log.records) for log in broker.logs["telemetry"]]
    for number in range(40, N_RECORDS):
        broker.append(record_of(number, "samples"))

    metrics = Metrics()
    totals = service_on(broker, "samples", delivery, metrics, offset_reset="latest").run()

    assert totals.n_records == N_RECORDS - 40
    assert n_restores(metrics, "replayed") == N_PARTITIONS
    assert n_restores(metrics, "new") is None


@each_delivery
def test_a_start_at_the_end_that_cannot_be_committed_is_retried(delivery: str) -> None:
    broker = broker_of("samples", 40)
    broker.faults = [Fault("commit", PAUSE, nth) for nth in (1, 2)]
    broker.faults += [Fault("end_offsets", PAUSE)]
    totals = service_on(broker, "samples", delivery, offset_reset="latest").run()
    assert (totals.n_retries, totals.n_records) == (3, 0)
    assert len(broker.committed[GROUP]) == N_PARTITIONS


def test_a_recreated_topic_is_refused() -> None:
    broker = stopped_half_way()
    broker.create_topic("telemetry", 2)
    for number in range(9):
        broker.append(record_of(number, "samples"))
    with pytest.raises(StateError, match="the topic was recreated"):
        service_on(broker, "samples", "exactly_once").run()


@each_shape
def test_a_topic_that_is_recreated_under_a_running_service_is_refused(shape: str) -> None:
    broker = broker_of(shape)
    service = service_on(broker, shape, "exactly_once")

    def recreate() -> None:
        broker.create_topic("telemetry", N_PARTITIONS)
        for number in range(30):
            broker.append(record_of(number, shape))

    change_after(service, 8, recreate)
    with pytest.raises(StateError, match=r"expected records from .* received 0: .* recreated"):
        service.run()


def test_partitions_added_under_a_running_service_are_refused() -> None:
    broker = broker_of("samples")
    service = service_on(broker, "samples", "exactly_once")
    change_after(service, 8, lambda: broker.add_partitions("telemetry", 3))
    with pytest.raises(StateError, match=r"had 2 partitions .* has 3 now: .*--accept-repartition"):
        service.run()


def test_partitions_added_under_a_running_service_make_keys_warm_up_where_accepted() -> None:
    broker, metrics = broker_of("samples"), Metrics()
    service = service_on(broker, "samples", "exactly_once", metrics, accept_repartition=True)
    change_after(service, 8, lambda: broker.add_partitions("telemetry", 3))
    totals = service.run()
    outcome = {"outcome": "repartitioned"}
    counted = metrics.registry.get_sample_value("stream_detector_restores_total", outcome)
    assert counted == N_PARTITIONS
    assert totals.n_records == N_RECORDS
    assert totals.n_retries == 0


@each_delivery
def test_a_partition_assigned_while_another_is_restored_disturbs_neither(delivery: str) -> None:
    broker = stopped_half_way()
    other = broker.connect(topics=["telemetry"], group=GROUP)
    other.poll(1, 0)
    service = service_on(broker, "samples", delivery, poll_records_max=3)
    poll, n_polls = service.context.client.poll, itertools.count(1)

    def poll_and_gain(n_records_max: int, timeout_ms: int) -> RecordBatch:
        if next(n_polls) == 11:  # at the end of the first one's restore
            other.close()
        return poll(n_records_max, timeout_ms)

    service.context.client.poll = poll_and_gain  # type: ignore[method-assign]
    service.run()
    assert_complete(broker, "samples", delivery)


def test_records_of_a_revoked_partition_are_left_to_its_new_owner() -> None:
    broker = broker_of("samples")
    service = service_on(broker, "samples", "at_least_once")
    poll, n_polls, others = service.context.client.poll, itertools.count(1), []

    def poll_and_lose(n_records_max: int, timeout_ms: int) -> RecordBatch:
        batch = poll(n_records_max, timeout_ms)
        if next(n_polls) == 6:  # the partition is revoked within one poll
            others.append(broker.connect(topics=["telemetry"], group=GROUP))
            others[0].poll(1, 0)
            poll(1, 0)
        return batch

    def close_others(*_: object) -> None:
        for each in others:
            each.close()

    service.context.client.poll = poll_and_lose  # type: ignore[method-assign]
    service.add_observer(close_others)
    service.run()
    assert_complete(broker, "samples", "at_least_once")
