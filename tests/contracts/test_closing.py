"""Promises of every client about closing: who leaves its group, who stays, and that it ends."""

import time
from typing import Any

import pytest
from client_world import (  # tests/support
    DEADLINE_S,
    REAL,
    World,
    group,
    on_real_and_memory,
    poll_until,
)

from stream_detector.clients import _limits
from stream_detector.core.records import TopicPartition

# The group takes the partitions of a member that does not leave after 10 s.
LEFT_S = _limits.SESSION_TIMEOUT_MS / 1000 / 2
# Longest orderly closing, and what a busy machine adds.
CLOSED_S = _limits.CLOSE_TIMEOUT_MS / 1000 + 1


@on_real_and_memory
def test_the_partitions_of_a_member_that_closes_go_to_the_others_at_once(world: World) -> None:
    topic, name = world.make_topic(2), group()
    first, second = (world.connect(topic, group=name) for _ in range(2))
    poll_until(
        lambda: [len(each.assignment()) for each in (first, second)] == [1, 1], first, second
    )

    first.close()
    closed_s = time.monotonic()
    poll_until(lambda: len(second.assignment()) == 2, second)

    assert time.monotonic() - closed_s < LEFT_S


@pytest.mark.parametrize("world", REAL, indirect=True)  # the one in memory has no such members
def test_a_static_member_keeps_its_partitions_over_a_restart(world: World) -> None:
    topic, name = world.make_topic(2), group()
    first, second = (world.connect(topic, group=name, instance_id=each) for each in ("a", "b"))
    poll_until(
        lambda: [len(each.assignment()) for each in (first, second)] == [1, 1], first, second
    )
    mine, theirs = first.assignment(), second.assignment()
    assert second.newly_assigned() >= theirs

    first.close()
    for _ in range(30):  # longer than two heartbeats, in which a rebalance would be learnt of
        second.poll(1, 100)
    again = world.connect(topic, group=name, instance_id="a")
    poll_until(lambda: bool(again.assignment()), again, second)

    assert again.assignment() == mine
    assert second.assignment() == theirs
    assert second.newly_assigned() == frozenset()


@on_real_and_memory
@pytest.mark.parametrize("instance_ids", [(None, None), ("a", "b")])
def test_closing_while_the_group_rebalances_ends(
    world: World, instance_ids: tuple[str | None, str | None]
) -> None:
    topic, name = world.make_topic(4), group()
    first, second = (world.connect(topic, group=name, instance_id=each) for each in instance_ids)
    poll_until(lambda: len(first.assignment()) == 4, first)
    second.poll(1, 1)  # begins to join: the first is to give partitions up
    time.sleep(1.5 * _limits.HEARTBEAT_MS / 1000)

    start_s = time.monotonic()
    first.close()
    closed_s = time.monotonic()
    second.close()

    assert closed_s - start_s < CLOSED_S
    assert time.monotonic() - closed_s < CLOSED_S


@pytest.mark.parametrize("world", [REAL[1]], indirect=True)
@pytest.mark.parametrize("instance_id", [None, "a"])
def test_an_assignment_that_waits_is_served_before_the_library_closes(
    world: World, kafka: str, instance_id: str | None
) -> None:
    from stream_detector.clients.confluent.client import ConfluentClient
    from stream_detector.clients.confluent.consumer import prepare_close

    topic, name = world.make_topic(3), group()
    client = world.connect(topic, group=name, instance_id=instance_id)
    assert isinstance(client, ConfluentClient)
    consumer, state = client._require_consumer(), client._state
    _wait_joined(kafka, name)  # without a poll
    assert state.newly_assigned == set()

    prepare_close(consumer, is_static=instance_id is not None)

    if instance_id is None:
        assert consumer.memberid() is None
        assert consumer.assignment() == []
        assert state.newly_assigned == set()
    else:
        assert consumer.memberid() is not None
        assert state.newly_assigned == {TopicPartition(topic, number) for number in range(3)}


def _wait_joined(address: str, name: str) -> None:
    """Wait until a group has assigned its partitions and its member has heard of it."""
    import kafka as kafka_python

    admin: Any = kafka_python.KafkaAdminClient(bootstrap_servers=address)
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while (found := admin.describe_groups([name])[name])["group_state"] != "Stable":
            assert time.monotonic() < deadline_s, found
            time.sleep(0.05)
    finally:
        admin.close()
    time.sleep(0.5)
