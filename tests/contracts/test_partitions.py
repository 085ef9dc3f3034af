"""Promises of every client about its partitions: offsets, positions and assignment."""

import contextlib
import time

import pytest
from client_world import (  # tests/support
    DEADLINE_S,
    World,
    group,
    offsets_to_commit,
    on_real_and_memory,
    poll_until,
    read,
    send,
    values_of,
)

from stream_detector.clients import _limits
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import BrokerError, BrokerUnavailableError, FencedError


def numbered(topic: str, n_records: int, partition: int = 0) -> list[OutputRecord]:
    return [OutputRecord(topic, None, b"%d" % n, partition=partition) for n in range(n_records)]


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_offsets_are_those_of_the_records(world: World, n_partitions: int) -> None:
    topic = world.make_topic(n_partitions)
    client = world.connect(topic)
    for partition in range(n_partitions):
        send(client, *numbered(topic, 4, partition))

    for batch in read(client, 4 * n_partitions, n_records_max=3):
        offsets = batch.offsets()
        assert offsets.dtype == "int64"
        assert offsets.tolist() == [batch.metadata(index).offset for index in range(len(batch))]


@on_real_and_memory
def test_committed_offsets_come_back_with_their_metadata(world: World) -> None:
    topic, name = world.make_topic(2), group()
    client = world.connect(topic, group=name)
    send(client, *numbered(topic, 3))
    done, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert client.committed([done, other]) == {done: None, other: None}
    (batch,) = read(client, 3)
    metadata = '{"restore":17}' + "ü" * 2_000

    client.commit(offsets_to_commit(batch, metadata))

    assert client.committed([done, other]) == {done: OffsetAndMetadata(3, metadata), other: None}
    client.close()
    again = world.connect(topic, group=name)
    assert again.committed([done]) == {done: OffsetAndMetadata(3, metadata)}
    poll_until(lambda: done in again.assignment(), again)
    # Test many lengths: one library does not know the length.
    for length in (0, 1, 5, 4_095, 7, 8, 23, 24, 25, 2, 63, 64, 65, 3):
        expected = {done: OffsetAndMetadata(3, "ö" * (length // 2) + "x" * (length % 2))}
        again.commit(expected)
        assert again.committed([done]) == expected
    with pytest.raises(ValueError, match="one line"):
        again.commit({done: OffsetAndMetadata(3, "two\nlines")})
    assert again.committed([]) == {}
    with pytest.raises(ValueError, match="without a group"):
        world.connect(topic).committed([done])


@on_real_and_memory
@pytest.mark.parametrize("transactional_id", [None, "id"])
def test_metadata_that_is_too_long_is_refused_for_good(
    world: World, transactional_id: str | None
) -> None:
    topic = world.make_topic()
    own_id = transactional_id and group()
    client = world.connect(topic, group=group(), transactional_id=own_id)
    send(world.connect(), *numbered(topic, 1))
    (batch,) = read(client, 1)

    with pytest.raises(BrokerError, match="refused") as caught:
        client.commit(offsets_to_commit(batch, "x" * 4_096))
    assert not caught.value.retriable

    if transactional_id is None:  # the member is as it was, and may commit again
        client.commit(offsets_to_commit(batch, "x"))
        (where,) = batch.next_offsets
        assert client.committed([where]) == {where: OffsetAndMetadata(1, "x")}
        assert client.assignment() == {where}


@on_real_and_memory
def test_only_partitions_that_move_are_newly_assigned(world: World) -> None:
    topic, name = world.make_topic(4), group()
    everything = {TopicPartition(topic, number) for number in range(4)}
    first, second = (world.connect(topic, group=name) for _ in range(2))
    assert first.newly_assigned() == frozenset()
    poll_until(lambda: len(first.assignment()) == 4, first)
    assert first.newly_assigned() == everything
    assert first.newly_assigned() == frozenset()
    first.pause(everything)

    poll_until(
        lambda: [len(each.assignment()) for each in (first, second)] == [2, 2], first, second
    )
    assert first.newly_assigned() == frozenset()
    kept, moved = first.assignment(), second.assignment()
    assert second.newly_assigned() == moved == everything - kept

    second.close()
    poll_until(lambda: len(first.assignment()) == 4, first)
    assert first.newly_assigned() == moved
    # A partition that was paused before it moved is not paused any more.
    for each in everything:
        send(first, OutputRecord(topic, None, b"x", partition=each.partition))
    assert {each for batch in read(first, 2) for each in batch.next_offsets} == moved
    assert len(first.poll(10, 200)) == 0
    first.resume(kept)
    assert {each for batch in read(first, 2) for each in batch.next_offsets} == kept

    first.reset()
    assert first.newly_assigned() == frozenset()
    poll_until(lambda: len(first.assignment()) == 4, first)
    assert first.newly_assigned() == everything


@on_real_and_memory
@pytest.mark.parametrize("instance_ids", [(None, None), ("a", "b")])
def test_members_that_poll_briefly_share_the_partitions(
    world: World, instance_ids: tuple[str | None, str | None]
) -> None:
    topic, name = world.make_topic(2), group()
    members = [world.connect(topic, group=name, instance_id=each) for each in instance_ids]
    deadline_s = time.monotonic() + DEADLINE_S
    while [len(each.assignment()) for each in members] != [1, 1]:
        assert time.monotonic() < deadline_s
        for each in members:
            each.poll(1, 1)
            time.sleep(0.05)  # a join ends while nobody polls


@on_real_and_memory
def test_a_member_that_works_right_after_a_join_stays_in_its_group(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "SESSION_TIMEOUT_MS", 1_000)
    monkeypatch.setattr(_limits, "HEARTBEAT_MS", 200)
    topic = world.make_topic()
    client = world.connect(topic, group=group(), instance_id="a")
    where = TopicPartition(topic, 0)
    deadline_s = time.monotonic() + DEADLINE_S
    while not client.assignment():
        assert time.monotonic() < deadline_s
        client.poll(1, 1)
        time.sleep(1.3)

    client.commit({where: OffsetAndMetadata(0)})

    assert client.committed([where]) == {where: OffsetAndMetadata(0)}


@on_real_and_memory
def test_a_removed_member_is_assigned_its_partitions_again(world: World) -> None:
    topic, name = world.make_topic(2), group()
    client = world.connect(topic, group=name)
    poll_until(lambda: len(client.newly_assigned()) == 2, client)
    world.remove_members(name)

    assigned_again: set[TopicPartition] = set()

    def is_back() -> bool:
        assigned_again.update(client.newly_assigned())
        return len(assigned_again) == 2

    poll_until(is_back, client)


def test_without_a_group_all_partitions_are_newly_assigned_at_once(world: World) -> None:
    topic = world.make_topic(2)
    reader = world.connect(topic)
    assert reader.newly_assigned() == frozenset()
    reader.poll(1, 100)

    assert reader.newly_assigned() == {TopicPartition(topic, number) for number in range(2)}
    assert reader.newly_assigned() == frozenset()


@on_real_and_memory
@pytest.mark.parametrize("n_first", [1, 100])
def test_seek_works_right_after_the_poll_that_assigned_a_partition(
    world: World, n_first: int
) -> None:
    topic, name = world.make_topic(2), group()
    send(world.connect(), *numbered(topic, 50, 0), *numbered(topic, 50, 1))
    where = TopicPartition(topic, 0)
    client = world.connect(topic, group=name)
    newly_assigned: frozenset[TopicPartition] = frozenset()
    while where not in newly_assigned:
        client.poll(n_first, 50)
        newly_assigned = client.newly_assigned()

    client.seek(where, 40)

    assert client.positions([where]) == {where: 40}
    seen: list[int] = []
    while len(seen) < 10:
        batch = client.poll(7, 100)
        offsets = batch.offsets().tolist()
        seen += [
            offset
            for index, offset in enumerate(offsets)
            if batch.metadata(index).partition == where.partition
        ]
    assert seen == list(range(40, 50))


def test_seek_goes_back_and_forth_and_drops_what_was_read_ahead(world: World) -> None:
    topic = world.make_topic()
    where = TopicPartition(topic, 0)
    client = world.connect(topic, group=group())
    send(client, *numbered(topic, 100))
    read(client, 10, n_records_max=10)

    for offset in (3, 90, 0, 55):
        client.seek(where, offset)
        assert client.positions([where]) == {where: offset}
        assert values_of(read(client, 4)) == [b"%d" % n for n in range(offset, offset + 4)]
        assert client.positions([where]) == {where: offset + 4}


@on_real_and_memory
def test_seek_refuses_the_partition_of_another_member(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    where = TopicPartition(topic, 0)
    other = TopicPartition(topic, 7)
    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        client.seek(where, 0)
    poll_until(lambda: bool(client.assignment()), client)

    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        client.seek(other, 0)
    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        client.commit({where: OffsetAndMetadata(0), other: OffsetAndMetadata(0)})
    client.pause([other])
    client.resume([other])
    assert client.positions([other]) == {}


@on_real_and_memory
def test_records_before_the_beginning_offset_are_gone(world: World) -> None:
    topic = world.make_topic(2)
    partitions = [TopicPartition(topic, number) for number in range(2)]
    client = world.connect(topic, group=group())
    send(client, *numbered(topic, 10))
    assert client.beginning_offsets(partitions) == dict.fromkeys(partitions, 0)
    read(client, 10)

    world.truncate(partitions[0], 6)

    assert client.beginning_offsets(partitions) == {partitions[0]: 6, partitions[1]: 0}
    client.seek(partitions[0], 2)
    assert values_of(read(client, 4)) == [b"6", b"7", b"8", b"9"]


def test_end_offsets_come_from_the_broker(world: World) -> None:
    topic = world.make_topic(3)
    partitions = [TopicPartition(topic, number) for number in range(3)]
    reader, writer = world.connect(topic), world.connect()
    send(writer, *numbered(topic, 5, 0), *numbered(topic, 3, 1))
    assert reader.end_offsets(partitions) == dict(zip(partitions, (5, 3, 0), strict=True))
    read(reader, 8)

    send(writer, *numbered(topic, 2, 2))

    assert reader.end_offsets(partitions[1:]) == {partitions[1]: 3, partitions[2]: 2}
    assert reader.end_offsets([]) == {}


def test_without_a_group_one_offset_may_be_read_alone(world: World) -> None:
    topic = world.make_topic(2)
    where, other = (TopicPartition(topic, number) for number in range(2))
    send(world.connect(), *numbered(topic, 50, 0), *numbered(topic, 50, 1))
    reader = world.connect(topic)
    reader.poll(1, 0)
    assert reader.assignment() == {where, other}

    reader.seek(where, 40)
    reader.pause([other])

    (batch,) = read(reader, 3, n_records_max=3)
    assert batch.offsets().tolist() == [40, 41, 42]
    assert reader.positions([where]) == {where: 43}


def test_a_paused_partition_gives_nothing_until_it_is_resumed(world: World) -> None:
    topic = world.make_topic(2)
    paused, other = (TopicPartition(topic, number) for number in range(2))
    client = world.connect(topic, group=group())
    send(client, *numbered(topic, 20, 0), *numbered(topic, 20, 1))
    poll_until(lambda: len(client.assignment()) == 2, client)
    for each in (paused, other):
        client.seek(each, 5)
    client.pause([paused])

    batches = read(client, 15)
    assert len(client.poll(100, 300)) == 0
    assert {each for batch in batches for each in batch.next_offsets} == {other}
    assert client.positions([paused, other]) == {paused: 5, other: 20}
    client.seek(paused, 8)
    assert len(client.poll(100, 300)) == 0
    client.resume([paused])

    assert values_of(read(client, 12)) == [b"%d" % n for n in range(8, 20)]


@on_real_and_memory
def test_one_partition_after_the_other_may_be_read_alone(world: World) -> None:
    topic = world.make_topic(3)
    partitions = [TopicPartition(topic, number) for number in range(3)]
    writer, reader = world.connect(), world.connect(topic)
    for number in range(3):
        send(writer, *numbered(topic, 100, number))
    reader.poll(1, 0)
    for turn, offset in enumerate((3, 50, 97, 10, 80, 0, 33)):
        where = partitions[turn % 3]
        reader.pause(partitions)
        reader.seek(where, offset)
        reader.resume([where])
        batch = reader.poll(64, 5_000)  # more than the partition has left, in some turns
        assert batch.offsets().tolist() == list(range(offset, min(offset + 64, 100)))
        assert set(batch.next_offsets) == {where}


@on_real_and_memory
def test_records_read_ahead_before_a_pause_come_after_it(world: World) -> None:
    topic = world.make_topic(2)
    partitions = [TopicPartition(topic, number) for number in range(2)]
    client = world.connect(topic, group=group())
    send(client, *numbered(topic, 2_000, 0), *numbered(topic, 2_000, 1))
    seen: dict[int, list[int]] = {0: [], 1: []}

    def keep(batch: RecordBatch) -> None:
        for index, offset in enumerate(batch.offsets().tolist()):
            seen[batch.metadata(index).partition].append(offset)

    for n_records in (10, 7, 1):
        (batch,) = read(client, n_records, n_records)
        keep(batch)
        client.commit(offsets_to_commit(batch))  # may read ahead
        client.pause(partitions)
        for _ in range(3):
            assert len(client.poll(100, 50)) == 0
        client.commit(offsets_to_commit(batch))
        client.resume(partitions)
    for batch in read(client, 4_000 - 18):
        keep(batch)
    assert seen == {0: list(range(2_000)), 1: list(range(2_000))}
    assert client.newly_assigned() == set(partitions)


@on_real_and_memory
def test_a_member_that_returns_under_its_instance_id_has_its_partitions_at_once(
    world: World,
) -> None:
    topic, name = world.make_topic(2), group()
    first, second = (world.connect(topic, group=name, instance_id=each) for each in ("a", "b"))
    poll_until(
        lambda: [len(each.assignment()) for each in (first, second)] == [1, 1], first, second
    )
    mine = first.assignment()

    again = world.connect(topic, group=name, instance_id="a")
    poll_until(lambda: bool(again.assignment()), again)

    assert again.assignment() == again.newly_assigned() == mine
    assert len(second.assignment()) == 1

    def keep_polling() -> None:
        # Until it learns of it, a member may find the group in the middle of a rebalance.
        for _ in range(100):
            with contextlib.suppress(BrokerUnavailableError):
                first.poll(1, 50)
                first.commit(dict.fromkeys(mine, OffsetAndMetadata(0)))

    with pytest.raises(FencedError, match="place"):
        keep_polling()
