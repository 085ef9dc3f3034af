"""What the confluent client keeps beside the library."""

import threading
from typing import Any

import pytest

# ruff: noqa: E402
confluent_kafka = pytest.importorskip("confluent_kafka")

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.clients.confluent import producer
from stream_detector.clients.confluent.client import ConfluentClient
from stream_detector.clients.confluent.config import consumer_config
from stream_detector.clients.confluent.producer import ConfluentWriter
from stream_detector.clients.confluent.records import Reading
from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.settings import ConnectionSettings

FIRST, SECOND = TopicPartition("telemetry", 0), TopicPartition("telemetry", 1)


def theirs(partition: TopicPartition, offset: int = -1001) -> Any:
    return confluent_kafka.TopicPartition(*partition, offset)


@pytest.fixture
def reading() -> Reading:
    """Three messages came while a commit was awaited."""
    made = Reading()
    for partition, offset in ((FIRST, 5), (SECOND, 8), (FIRST, 6)):
        topic, number = partition
        made.held.append(confluent_kafka.Message(topic=topic, partition=number, offset=offset))
    return made


def test_what_is_held_is_still_to_be_handed_out(reading: Reading) -> None:
    library = [theirs(FIRST, 7), theirs(SECOND, 9), theirs(TopicPartition("telemetry", 2))]
    assert reading.positions(library) == {FIRST: 5, SECOND: 8}


def test_what_is_held_of_a_partition_goes_with_it(reading: Reading) -> None:
    reading.newly_assigned = {FIRST, SECOND}
    reading.sought[FIRST] = 3

    reading.on_revoke(None, [theirs(FIRST)])

    assert reading.newly_assigned == {SECOND}
    assert [(each.partition(), each.offset()) for each in reading.held] == [(1, 8)]
    assert reading.positions([theirs(FIRST), theirs(SECOND, 9)]) == {SECOND: 8}


def test_a_place_that_was_sought_counts_until_the_library_got_there() -> None:
    reading = Reading(sought={FIRST: 40})
    assert reading.positions([theirs(FIRST)]) == {FIRST: 40}
    assert reading.positions([theirs(FIRST, 43)]) == {FIRST: 43}
    assert reading.positions([theirs(FIRST)]) == {}


def test_members_share_cooperatively_and_may_be_static() -> None:
    config = consumer_config(Subscription(("telemetry",), "g", instance_id="one"))
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert config["group.instance.id"] == "one"
    assert "group.instance.id" not in consumer_config(Subscription(("telemetry",), "g"))


def test_a_denial_behind_another_error_is_one() -> None:
    client = ConfluentClient(ConnectionSettings(), Subscription())
    denial = confluent_kafka.KafkaError(confluent_kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    behind = SystemError("returned a result with an exception set")
    with pytest.raises(BrokerError, match="denied access") as caught, client._translated():
        raise behind from confluent_kafka.KafkaException(denial)
    assert not caught.value.retriable


class SilentProducer:
    """The library's, where a broker died while it sent offsets: it waits without a limit."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.n_aborted = 0

    def init_transactions(self, *_: object) -> None: ...

    def begin_transaction(self) -> None: ...

    def flush(self, *_: object) -> int:
        return 0

    def send_offsets_to_transaction(self, *_: object) -> None:
        self.is_over.wait()

    def abort_transaction(self, *_: object) -> None:
        self.n_aborted += 1


def test_a_step_of_a_transaction_that_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_common, "REQUEST_TIMEOUT_MS", 50)
    monkeypatch.setattr(producer, "_GRACE_S", 0.05)
    silent, next_one = SilentProducer(), SilentProducer()
    made = [next_one, silent]
    monkeypatch.setattr(confluent_kafka, "Producer", lambda _: made.pop())
    writer = ConfluentWriter("here", dict, "g-1")
    with pytest.raises(confluent_kafka.KafkaException, match="_TIMED_OUT"):
        writer.commit([theirs(FIRST, 7)], None)
    assert not writer.is_in_transaction
    writer.drop()
    assert silent.n_aborted == 0, "it is still at work and takes no other step"
    assert writer.producer() is next_one
    silent.is_over.set()
