"""What a change of the assigned partitions requires: of state, reading positions and a held batch.

The in-memory broker deals partitions out in turn: of three, the first of two members has 0 and 2.
"""

import logging
from collections.abc import Callable

import pytest

from stream_detector.clients.memory import MemoryBroker, MemoryClient
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.ports import SystemClock
from stream_detector.service.assignment import Assignment, AssignmentChange, describe_partitions
from stream_detector.service.context import RunContext
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

FIRST, SECOND, THIRD, FOURTH = (TopicPartition("telemetry", number) for number in range(4))
NOTHING = frozenset[TopicPartition]()


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 3)
    for topic in ("alerts", "dead-letters"):
        broker.create_topic(topic)
    return broker


@pytest.fixture
def client(broker: MemoryBroker) -> MemoryClient:
    client = broker.connect(topics=["telemetry"], group="g")
    client.poll(1, 0)
    return client


@pytest.fixture
def context(client: MemoryClient, make_detector: Callable[..., WindowDetector]) -> RunContext:
    settings = load_settings(DetectSettings, group="g")
    return RunContext(client, make_detector(), settings, Metrics(), SystemClock())


@pytest.fixture
def assignment(context: RunContext) -> Assignment:
    assignment = Assignment(context)
    assignment.check_topics()
    return assignment


def held_batch(broker: MemoryBroker, *partitions: TopicPartition) -> RecordBatch:
    """Return a batch with one record of each of these partitions."""
    for each in partitions:
        broker.feed("telemetry", [b"?"], each.partition)
    batch = broker.connect(topics=["telemetry"]).poll(10, 0)
    assert batch.next_offsets.keys() == set(partitions)
    return batch


def join_another(broker: MemoryBroker, client: MemoryClient) -> MemoryClient:
    """Let another member join, which gets the second partition."""
    other = broker.connect(topics=["telemetry"], group="g")
    other.poll(1, 0)
    client.poll(1, 0)
    assert other.assignment() == {SECOND}
    return other


def test_first_partitions_are_restored(assignment: Assignment) -> None:
    every = frozenset((FIRST, SECOND, THIRD))
    assert assignment.update(None) == AssignmentChange(False, NOTHING, [], every)
    assert assignment.partitions == every


def test_without_a_change_nothing_is_to_be_done(
    client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    client.poll(1, 0)
    assert assignment.update(None) is None


def test_a_revoked_partition_loses_its_state(
    broker: MemoryBroker, client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    join_another(broker, client)
    assert assignment.update(None) == AssignmentChange(False, NOTHING, [SECOND], NOTHING)
    assert assignment.partitions == {FIRST, THIRD}


def test_a_held_batch_is_kept_where_none_of_its_partitions_is_revoked(
    broker: MemoryBroker, client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    held = held_batch(broker, FIRST, THIRD)
    join_another(broker, client)
    assert assignment.update(held) == AssignmentChange(False, NOTHING, [SECOND], NOTHING)


def test_a_held_batch_is_dropped_where_one_of_its_partitions_is_revoked(
    broker: MemoryBroker, client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    held = held_batch(broker, FIRST, SECOND)
    join_another(broker, client)
    first = frozenset((FIRST,))
    assert assignment.update(held) == AssignmentChange(True, first, [FIRST, SECOND], first)


def test_a_partition_that_was_lost_and_assigned_again_is_restored_and_not_rewound(
    broker: MemoryBroker, client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    held = held_batch(broker, FIRST, SECOND)
    join_another(broker, client).close()
    client.poll(1, 0)
    change = assignment.update(held)
    assert change == AssignmentChange(
        True, frozenset((FIRST,)), [FIRST, SECOND], frozenset((FIRST, SECOND))
    )


def test_all_partitions_are_restored_if_the_topic_has_more_than_before(
    broker: MemoryBroker, client: MemoryClient, assignment: Assignment
) -> None:
    assignment.update(None)
    held = held_batch(broker, FIRST)
    broker.add_partitions("telemetry", 4)
    client.poll(1, 0)
    change = assignment.update(held)
    assert change is not None
    assert change.to_restore == {FIRST, SECOND, THIRD, FOURTH}
    assert change.to_drop == [FIRST, SECOND, THIRD]
    assert change.drops_held_batch
    assert change.to_rewind == {FIRST}
    assert assignment.n_partitions == 4


def test_readiness_is_logged_once_and_lost_with_the_last_partition(
    assignment: Assignment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stream_detector")
    assert not assignment.become_ready()
    assignment.update(None)
    assert not assignment.is_ready
    assert [assignment.become_ready() for _ in range(2)] == [True, False]
    assert assignment.is_ready
    assert [each.getMessage().split()[0] for each in caplog.records] == ["assigned", "ready"]
    assignment.clear()
    assert not assignment.is_ready
    assert not assignment.become_ready()


def test_each_change_of_the_partitions_is_logged(
    broker: MemoryBroker,
    client: MemoryClient,
    assignment: Assignment,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "stream_detector")
    assignment.update(None)
    other = join_another(broker, client)
    assignment.update(None)
    other.close()
    client.poll(1, 0)
    assignment.update(None)
    assignment.update(None)
    assert [each.getMessage() for each in caplog.records] == [
        "assigned partitions=telemetry[0-2] group=g",
        "revoked partitions=telemetry[1] group=g",
        "assigned partitions=telemetry[1] group=g",
    ]


def test_the_text_of_many_partitions_is_short() -> None:
    text = describe_partitions(TopicPartition("t", number) for number in range(0, 10_000, 2))
    assert len(text) <= 123
    assert text.startswith("t[0,2,4,")
    assert describe_partitions([]) == ""


def test_topics_are_checked_once(
    broker: MemoryBroker, context: RunContext, assignment: Assignment
) -> None:
    assert assignment.n_partitions == 3
    del broker.logs["alerts"]
    assignment.check_topics()
    with pytest.raises(BrokerError, match="--create --topic alerts "):
        Assignment(context).check_topics()
