"""Faults of the memory broker: what a process loses when it dies, and what stays."""

from collections.abc import Callable

import pytest

from stream_detector.clients.memory import (
    ABORT,
    EOF,
    PAUSE,
    Aborted,
    Fault,
    MemoryBroker,
    MemoryClient,
    Operation,
)
from stream_detector.core.records import OffsetAndMetadata, OutputRecord, TopicPartition
from stream_detector.errors import BrokerError, BrokerUnavailableError, FencedError

ALERT = OutputRecord("alerts", None, b"alert")
WHERE = TopicPartition("telemetry", 0)
DONE_1 = {WHERE: OffsetAndMetadata(1)}


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("telemetry")
    made.create_topic("alerts")
    return made


def test_items_in_a_log_take_effect_once_and_in_order(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", EOF, b"2", PAUSE, b"3"])
    client = broker.connect(topics=["telemetry"], group="g")

    assert client.poll(10, 0).values == [b"1"]
    assert client.poll(10, 0).values == []
    assert client.poll(10, 0).values == [b"2"]
    with pytest.raises(BrokerUnavailableError):
        client.poll(10, 0)
    assert client.poll(10, 0).values == [b"3"]


def test_what_was_not_flushed_or_committed_dies_with_the_process(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", ABORT, b"2"])
    client = broker.connect(topics=["telemetry"], group="g")
    client.poll(10, 0)
    client.produce([ALERT])
    with pytest.raises(Aborted):
        client.poll(10, 0)

    assert broker.records("alerts") == []
    again = broker.connect(topics=["telemetry"], group="g")
    assert again.poll(10, 0).values == [b"1", b"2"]


def test_what_was_flushed_and_committed_stays(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", ABORT, b"2"])
    client = broker.connect(topics=["telemetry"], group="g")
    client.poll(10, 0)
    client.produce([ALERT])
    client.flush(1000)
    client.commit(DONE_1)
    with pytest.raises(Aborted):
        client.poll(10, 0)

    assert [record.value for record in broker.records("alerts")] == [b"alert"]
    assert broker.committed["g"] == DONE_1
    assert broker.connect(topics=["telemetry"], group="g").poll(10, 0).values == [b"2"]


@pytest.mark.parametrize("is_after", [False, True])
def test_a_fault_fails_the_nth_call_before_or_after_its_work(
    broker: MemoryBroker, is_after: bool
) -> None:
    broker.feed("telemetry", [b"1", b"2"])
    broker.faults.append(Fault("commit", ABORT, nth=2, is_after=is_after))
    client = broker.connect(topics=["telemetry"], group="g")
    client.poll(1, 0)
    client.commit(DONE_1)

    client.poll(1, 0)
    with pytest.raises(Aborted):
        client.commit({WHERE: OffsetAndMetadata(2)})

    assert broker.committed["g"] == {WHERE: OffsetAndMetadata(2 if is_after else 1)}
    assert broker.n_calls["commit"] == 2


def test_a_fault_may_raise_any_broker_error(broker: MemoryBroker) -> None:
    broker.faults.append(Fault("flush", FencedError("replaced")))
    client = broker.connect()
    client.produce([ALERT])
    with pytest.raises(FencedError):
        client.flush(1000)


def test_no_handler_of_exceptions_catches_an_abort() -> None:
    assert not issubclass(Aborted, Exception)


def test_a_partition_of_another_member_cannot_be_committed(broker: MemoryBroker) -> None:
    broker.create_topic("telemetry", 2)
    first = broker.connect(topics=["telemetry"], group="g")
    second = broker.connect(topics=["telemetry"], group="g")
    first.poll(1, 0)
    second.poll(1, 0)

    with pytest.raises(BrokerError, match="rebalanced"):
        first.commit({TopicPartition("telemetry", 1): OffsetAndMetadata(1)})


@pytest.fixture
def transactional(broker: MemoryBroker) -> Callable[[], MemoryClient]:
    """Make clients that share one transactional id."""
    return lambda: broker.connect(topics=["telemetry"], group="g", transactional_id="one")


STEPS = ("begin", "produce", "flush", "send_offsets", "end", "commit")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("operation", STEPS)
def test_a_transaction_interrupted_anywhere_is_committed_or_aborted(
    broker: MemoryBroker,
    transactional: Callable[[], MemoryClient],
    operation: Operation,
    is_after: bool,
) -> None:
    broker.feed("telemetry", [b"1", b"2"])
    broker.faults.append(Fault(operation, ABORT, is_after=is_after))
    client = transactional()
    client.poll(1, 0)

    def turn() -> None:
        client.produce([ALERT])
        client.flush(1_000)
        client.commit(DONE_1)

    with pytest.raises(Aborted):
        turn()

    is_done = is_after and operation in ("end", "commit")
    alerts = [record.value for record in broker.records("alerts")]
    assert alerts == ([b"alert"] if is_done else [])
    assert broker.committed["g"] == (DONE_1 if is_done else {})
    again = transactional()
    assert again.poll(1, 0).values == [b"2" if is_done else b"1"]


def test_the_records_of_a_transaction_become_visible_when_it_ends(
    broker: MemoryBroker, transactional: Callable[[], MemoryClient]
) -> None:
    broker.feed("telemetry", [b"1"])
    client, reader = transactional(), broker.connect(topics=["alerts"])
    client.poll(1, 0)
    client.produce([ALERT])
    client.flush(1_000)
    assert reader.poll(10, 0).values == []
    client.commit(DONE_1)

    assert reader.poll(10, 0).values == [b"alert"]
    # The control record that ended the transaction has an offset too.
    assert reader.positions([TopicPartition("alerts", 0)]) == {TopicPartition("alerts", 0): 2}


def test_a_client_that_takes_an_instance_id_takes_its_partitions(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", b"2"])
    first, second = (
        broker.connect(topics=["telemetry"], group="g", instance_id="i") for _ in range(2)
    )
    first.poll(1, 0)

    assert second.poll(1, 0).values == [b"1"]
    assert second.assignment() == second.newly_assigned() == {WHERE}
    for use in (lambda: first.commit(DONE_1), lambda: first.poll(1, 0)):
        with pytest.raises(FencedError):
            use()


def test_retention_may_delete_the_first_records(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", b"2", b"3"])
    broker.truncate("telemetry", 0, 2)

    client = broker.connect(topics=["telemetry"], group="g")
    assert client.beginning_offsets([WHERE]) == {WHERE: 2}
    assert client.poll(10, 0).values == [b"3"]
    assert [record.value for record in broker.records("telemetry")] == [b"3"]


def test_any_offset_that_a_log_can_have_may_be_sought(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b"1", b"2"])
    client = broker.connect(topics=["telemetry"])
    client.poll(10, 0)
    client.seek(WHERE, 0)
    assert client.poll(10, 0).values == [b"1", b"2"]
    client.seek(WHERE, 2**63 - 1)
    for offset in (-1, 2**63):
        with pytest.raises(BrokerError, match=f"offset {offset}"):
            client.seek(WHERE, offset)


@pytest.mark.parametrize(
    ("settings", "taken", "refused"),
    [
        (
            {"max.message.bytes": str(ALERT.n_bytes)},
            ALERT,
            ALERT._replace(value=b"alerts"),
        ),
        (
            {"message.timestamp.before.max.ms": "10"},
            ALERT._replace(timestamp_ms=90),
            ALERT._replace(timestamp_ms=89),
        ),
        (
            {"message.timestamp.after.max.ms": "10"},
            ALERT._replace(timestamp_ms=110),
            ALERT._replace(timestamp_ms=111),
        ),
    ],
)
def test_a_topic_refuses_what_its_settings_say(
    settings: dict[str, str], taken: OutputRecord, refused: OutputRecord
) -> None:
    broker = MemoryBroker(now_ms=lambda: 100)
    broker.create_topic("alerts")
    broker.topic_settings["alerts"] = settings
    client = broker.connect()
    client.produce([taken])
    client.flush(1_000)
    client.produce([refused])
    with pytest.raises(BrokerError):
        client.flush(1_000)
    assert len(broker.records("alerts")) == 1


def test_a_partition_lost_and_returned_between_two_polls_is_newly_assigned(
    broker: MemoryBroker,
) -> None:
    broker.create_topic("telemetry", 2)
    first, second = (broker.connect(topics=["telemetry"], group="g") for _ in range(2))
    first.poll(1, 0)
    assert len(first.newly_assigned()) == 2
    first.pause(first.assignment())

    second.poll(1, 0)
    second.close()
    first.poll(1, 0)

    assert first.newly_assigned() == {TopicPartition("telemetry", 1)}
    broker.feed("telemetry", [b"x"], 0)
    broker.feed("telemetry", [b"y"], 1)
    assert first.poll(10, 0).values == [b"y"]  # the other one is still paused
