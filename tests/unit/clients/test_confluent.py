"""What the confluent client keeps in addition to the library."""

import ctypes
import threading
from typing import Any

import pytest

# ruff: noqa: E402
confluent_kafka = pytest.importorskip("confluent_kafka")

from stream_detector.clients import _limits
from stream_detector.clients._subscription import Subscription
from stream_detector.clients.confluent import client as library_client
from stream_detector.clients.confluent import producer
from stream_detector.clients.confluent.client import ConfluentClient
from stream_detector.clients.confluent.config import consumer_config
from stream_detector.clients.confluent.consumer import ConsumerState
from stream_detector.clients.confluent.producer import ConfluentProducer
from stream_detector.clients.embedded import EmbeddedBroker
from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.settings import ConnectionSettings

FIRST, SECOND = TopicPartition("telemetry", 0), TopicPartition("telemetry", 1)


def theirs(partition: TopicPartition, offset: int = -1001) -> Any:
    return confluent_kafka.TopicPartition(*partition, offset)


@pytest.fixture
def state() -> ConsumerState:
    """Return a state with three messages that arrived during the wait for a commit."""
    made = ConsumerState()
    for partition, offset in ((FIRST, 5), (SECOND, 8), (FIRST, 6)):
        topic, number = partition
        made.read_ahead.append(
            confluent_kafka.Message(topic=topic, partition=number, offset=offset)
        )
    return made


def test_positions_lie_before_what_was_read_ahead(state: ConsumerState) -> None:
    library = [theirs(FIRST, 7), theirs(SECOND, 9), theirs(TopicPartition("telemetry", 2))]
    assert state.positions(library) == {FIRST: 5, SECOND: 8}
    assert ConsumerState().positions([theirs(FIRST, 0), theirs(SECOND)]) == {FIRST: 0}


def test_a_revoked_partition_loses_what_was_read_ahead(state: ConsumerState) -> None:
    state.newly_assigned = {FIRST, SECOND}
    state.sought[FIRST] = 3

    state.on_revoke(None, [theirs(FIRST)])

    assert state.newly_assigned == {SECOND}
    assert [(each.partition(), each.offset()) for each in state.read_ahead] == [(1, 8)]
    assert state.positions([theirs(FIRST), theirs(SECOND, 9)]) == {SECOND: 8}


def test_a_sought_offset_is_the_position_until_the_library_got_there() -> None:
    state = ConsumerState(sought={FIRST: 40})
    assert state.positions([theirs(FIRST)]) == {FIRST: 40}
    assert state.positions([theirs(FIRST, 43)]) == {FIRST: 43}
    assert state.positions([theirs(FIRST)]) == {}


class BusyConsumer:
    """Stands for a consumer with many queued messages and the answer to a commit behind some."""

    def __init__(self, state: ConsumerState, n_calls: int) -> None:
        self.asked: list[int] = []
        self._state, self._n_calls = state, n_calls

    def consume(self, n_messages: int, timeout_s: float) -> list[Any]:
        del timeout_s
        self.asked.append(n_messages)
        if len(self.asked) == self._n_calls:
            self._state.commit_answers.append((None, []))
        message = confluent_kafka.Message(topic="telemetry", partition=0, value=b"four")
        return [message] * n_messages


def test_what_is_queued_during_a_commit_is_taken_in_bulk_as_far_as_a_poll_has_room() -> None:
    client = ConfluentClient(ConnectionSettings(poll_bytes_max=4 * 3_000), Subscription())
    filling = BusyConsumer(client._state, 0)
    client._consume(filling, 5_000, 0.0)
    assert sum(filling.asked) == 3_000
    waiting = BusyConsumer(client._state, 5)
    client._await_commit(waiting)
    assert waiting.asked == [2_048, 952, 1, 1, 1]


def test_members_rebalance_cooperatively_and_may_be_static() -> None:
    config = consumer_config(Subscription(("telemetry",), "g", instance_id="one"))
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert config["group.instance.id"] == "one"
    assert "group.instance.id" not in consumer_config(Subscription(("telemetry",), "g"))


def test_a_denial_behind_another_error_is_one() -> None:
    client = ConfluentClient(ConnectionSettings(), Subscription())
    denial = confluent_kafka.KafkaError(confluent_kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    behind = SystemError("returned a result with an exception set")
    with pytest.raises(BrokerError, match="denied access") as caught, client._mapped_errors():
        raise behind from confluent_kafka.KafkaException(denial)
    assert not caught.value.retriable


def raise_as_the_library_does(error: object) -> None:
    """Raise what is no exception, which only C code can."""
    raise_object = ctypes.pythonapi.PyErr_SetObject
    raise_object(ctypes.py_object(type(error)), ctypes.py_object(error))


def test_a_fatal_error_that_is_no_exception_is_mapped_as_well() -> None:
    client = ConfluentClient(ConnectionSettings(), Subscription())
    denial = confluent_kafka.KafkaError(confluent_kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    cleaned: list[bool] = []
    with (
        pytest.raises(BrokerError, match="denied access") as caught,
        client._mapped_errors(lambda: cleaned.append(True)),
    ):
        raise_as_the_library_does(denial)
    assert not caught.value.retriable
    assert cleaned == [True]


def test_what_has_nothing_to_do_with_the_library_passes() -> None:
    client = ConfluentClient(ConnectionSettings(), Subscription())
    with pytest.raises(KeyboardInterrupt), client._mapped_errors():
        raise KeyboardInterrupt


class Admin:
    """Stands for what asks a broker for the settings of a topic."""

    def topic_settings(self, topic: str) -> dict[str, str]:
        return {"topic": topic}


@pytest.mark.parametrize(("newest", "found"), [(2, {}), (3, {"topic": "telemetry"})])
def test_old_brokers_are_not_asked_for_the_settings_of_a_topic(
    monkeypatch: pytest.MonkeyPatch, newest: int, found: dict[str, str]
) -> None:
    monkeypatch.setattr(library_client, "check_connection", lambda _: newest)
    client = ConfluentClient(ConnectionSettings(), Subscription())
    monkeypatch.setattr(client, "_require_admin", Admin)
    assert client._describe_topic("telemetry") == found


class SilentProducer:
    """Stands for a producer of the library that waits for a dead broker without a limit."""

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
    monkeypatch.setattr(_limits, "REQUEST_TIMEOUT_MS", 50)
    monkeypatch.setattr(producer, "_GRACE_S", 0.05)
    silent, next_one = SilentProducer(), SilentProducer()
    made = [next_one, silent]
    monkeypatch.setattr(confluent_kafka, "Producer", lambda _: made.pop())
    own = ConfluentProducer("here", dict, lambda _: 1, "g-1")
    with pytest.raises(confluent_kafka.KafkaException, match="_TIMED_OUT"):
        own.commit([theirs(FIRST, 7)], None)
    assert not own.is_in_transaction
    own.discard()
    assert silent.n_aborted == 0, "it still works on a step and takes no other"
    assert own.require_handle() is next_one
    silent.is_over.set()


@pytest.mark.parametrize(
    ("code", "words"),
    [("_TRANSPORT", "refused"), ("_ALL_BROKERS_DOWN", "refused"), ("_TIMED_OUT", "_TIMED_OUT")],
)
def test_why_there_is_no_connection_is_found_out(code: str, words: str) -> None:
    client = ConfluentClient(ConnectionSettings(bootstrap_servers="127.0.0.1:1"), Subscription())
    failed = confluent_kafka.KafkaError(getattr(confluent_kafka.KafkaError, code))
    error = client._map_error(confluent_kafka.KafkaException(failed))
    assert words in str(error)
    assert ("no connection ([Errno 111] Connection refused)" in str(error)) == (words == "refused")
    assert error.retriable


def test_a_broker_that_can_be_connected_to_leaves_the_library_s_words() -> None:
    with EmbeddedBroker() as broker:
        settings = ConnectionSettings(bootstrap_servers=broker.bootstrap_servers)
        failed = confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)
        error = ConfluentClient(settings, Subscription())._map_error(
            confluent_kafka.KafkaException(failed)
        )
    assert "cannot serve now: _TRANSPORT" in str(error)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "Fatal error: Broker: Cluster authorization failed: no producer id",
            "denied access: Fatal",
        ),
        ("Fatal error: Broker: Out of order sequence number", "refused: Fatal error"),
        (
            "Fatal error: Local: This instance has been fenced by a newer instance",
            "another process took this one's place",
        ),
    ],
)
def test_a_fatal_error_that_a_log_line_hides_has_the_line_s_reason(line: str, words: str) -> None:
    client = ConfluentClient(ConnectionSettings(), Subscription())
    hidden = SystemError("<method 'flush'> returned NULL without setting an exception")
    assert "returned NULL" in str(client._map_error(hidden))
    client._log.log(50, "%s [%s] %s", "FATAL", "rdkafka#producer-1", line)
    client._log.log(40, "%s [%s] %s", "FAIL", "rdkafka#producer-1", "another line")
    error = client._map_error(hidden)
    assert words in str(error)
    assert not error.retriable
