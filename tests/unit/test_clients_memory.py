"""The faults of the memory broker: what is lost with a process, and what stays."""

import pytest

from stream_detector.clients.memory import ABORT, EOF, PAUSE, Aborted, Fault, MemoryBroker
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.errors import BrokerError, BrokerUnavailableError, FencedError

ALERT = OutputRecord("alerts", None, b"alert")
WHERE = TopicPartition("telemetry", 0)


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("telemetry")
    made.create_topic("alerts")
    return made


def test_items_in_the_input_are_met_once_and_in_order(broker: MemoryBroker) -> None:
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
    batch = client.poll(10, 0)
    client.produce([ALERT])
    client.flush(1000)
    client.commit(batch.next_offsets)
    with pytest.raises(Aborted):
        client.poll(10, 0)

    assert [record.value for record in broker.records("alerts")] == [b"alert"]
    assert broker.committed["g"] == {WHERE: 1}
    assert broker.connect(topics=["telemetry"], group="g").poll(10, 0).values == [b"2"]


@pytest.mark.parametrize("is_after", [False, True])
def test_the_script_fails_the_nth_call_before_or_after_its_work(
    broker: MemoryBroker, is_after: bool
) -> None:
    broker.feed("telemetry", [b"1", b"2"])
    broker.faults.append(Fault("commit", ABORT, nth=2, is_after=is_after))
    client = broker.connect(topics=["telemetry"], group="g")
    client.commit(client.poll(1, 0).next_offsets)

    batch = client.poll(1, 0)
    with pytest.raises(Aborted):
        client.commit(batch.next_offsets)

    assert broker.committed["g"] == {WHERE: 2 if is_after else 1}
    assert broker.n_calls["commit"] == 2


def test_the_script_may_raise_any_broker_error(broker: MemoryBroker) -> None:
    broker.faults.append(Fault("flush", FencedError("replaced")))
    client = broker.connect()
    client.produce([ALERT])
    with pytest.raises(FencedError):
        client.flush(1000)


def test_no_handler_of_errors_holds_an_abort_up() -> None:
    assert not issubclass(Aborted, Exception)


def test_a_partition_of_another_member_cannot_be_committed(broker: MemoryBroker) -> None:
    broker.create_topic("telemetry", 2)
    first = broker.connect(topics=["telemetry"], group="g")
    second = broker.connect(topics=["telemetry"], group="g")
    first.poll(1, 0)
    second.poll(1, 0)

    with pytest.raises(BrokerError, match="rebalanced"):
        first.commit({TopicPartition("telemetry", 1): 1})
