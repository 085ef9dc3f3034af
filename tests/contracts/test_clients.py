"""Promises of every client, tested with all of them on every kind of broker."""

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
from present import present

from stream_detector.clients import _limits
from stream_detector.core.records import OffsetAndMetadata, OutputRecord, TopicPartition
from stream_detector.errors import BrokerError


def test_a_record_comes_back_as_it_was_sent(world: World) -> None:
    topic = world.make_topic(2)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, b"key", b"value", headers, timestamp_ms=1234, partition=1))

    (batch,) = read(client, 1)

    metadata = batch.metadata(0)
    assert batch.values == [b"value"]
    assert metadata[:5] == (topic, 1, 0, 1234, b"key")
    assert [tuple(each) for each in metadata.headers] == headers
    assert batch.headers is not None
    assert [tuple(each) for each in batch.headers[0] or ()] == headers
    assert batch.next_offsets == {TopicPartition(topic, 1): 1}


def test_bytes_are_never_interpreted(world: World) -> None:
    topic = world.make_topic()
    everything = bytes(range(256)) * 3
    records = [
        OutputRecord(topic, everything, everything),
        OutputRecord(topic, b"tombstone", None),
        OutputRecord(topic, None, b""),
        OutputRecord(topic, None, None),
        OutputRecord(topic, b"", b"empty key"),
    ]
    client = world.connect(topic, group=group())
    send(client, *records)

    batches = read(client, len(records))

    assert values_of(batches) == [record.value for record in records]
    keys = [batch.metadata(index).key for batch in batches for index in range(len(batch))]
    assert keys == [record.key for record in records]


def test_no_headers_anywhere_is_the_fast_case(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"a"), OutputRecord(topic, None, b"b"))

    assert all(batch.headers is None for batch in read(client, 2))
    send(client, OutputRecord(topic, None, b"c"), OutputRecord(topic, None, b"d", [("h", b"1")]))

    with_headers = read(client, 2)
    found = [
        [tuple(pair) for pair in each or ()]
        for batch in with_headers
        for each in (batch.headers if batch.headers is not None else [None] * len(batch))
    ]
    assert found == [[], [("h", b"1")]]


def test_a_record_without_a_timestamp_gets_the_present(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    before_ms = time.time() * 1000 - 1

    send(client, OutputRecord(topic, None, b"x"))

    (batch,) = read(client, 1)
    assert before_ms <= batch.metadata(0).timestamp_ms <= time.time() * 1000 + 1


def test_the_order_within_a_partition_is_kept(world: World) -> None:
    topic = world.make_topic(4)
    client = world.connect(topic, group=group())
    sent = [OutputRecord(topic, b"%d" % (n % 7), b"%d" % n) for n in range(5000)]
    send(client, *sent)

    batches = read(client, 5000, n_records_max=999)

    by_key: dict[bytes | None, list[int]] = {}
    partitions: dict[bytes | None, set[int]] = {}
    end_offsets: dict[TopicPartition, int] = {}
    for batch in batches:
        assert len(batch) <= 999
        for index, value in enumerate(batch.values):
            metadata = batch.metadata(index)
            by_key.setdefault(metadata.key, []).append(int(value or b""))
            partitions.setdefault(metadata.key, set()).add(metadata.partition)
            where = TopicPartition(metadata.topic, metadata.partition)
            assert metadata.offset == end_offsets.get(where, 0)
            end_offsets[where] = metadata.offset + 1
        assert all(end_offsets[where] == offset for where, offset in batch.next_offsets.items())
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert all(len(of_key) == 1 for of_key in partitions.values())
    assert sum(map(len, by_key.values())) == 5000


@on_real_and_memory
def test_a_group_continues_from_its_committed_offset(world: World) -> None:
    topic = world.make_topic()
    name = group()
    first = world.connect(topic, group=name)
    send(first, *(OutputRecord(topic, None, b"%d" % n) for n in range(10)))
    batch = read(first, 4, n_records_max=4)[0]
    first.commit(offsets_to_commit(batch))
    read(first, 6)  # read, not committed: to be read again
    first.close()

    second = world.connect(topic, group=name)

    assert values_of(read(second, 6)) == [b"%d" % n for n in range(4, 10)]


@on_real_and_memory
def test_reset_returns_to_the_committed_offset(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, *(OutputRecord(topic, None, b"%d" % n) for n in range(6)))
    batch = read(client, 2, n_records_max=2)[0]
    client.commit(offsets_to_commit(batch))
    read(client, 4)

    client.reset()

    assert values_of(read(client, 4)) == [b"2", b"3", b"4", b"5"]
    send(client, OutputRecord(topic, None, b"after"))
    assert values_of(read(client, 1)) == [b"after"]


def test_the_first_offset_is_one_that_can_be_committed(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"x"))
    read(client, 1)
    first = {TopicPartition(topic, 0): OffsetAndMetadata(0)}
    client.commit(first)
    assert client.committed([*first]) == first


def test_offsets_from_before_a_reset_are_refused(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"x"))
    (batch,) = read(client, 1)
    client.reset()

    with pytest.raises(BrokerError, match="rebalanced") as caught:
        client.commit(offsets_to_commit(batch))
    assert caught.value.retriable


def test_nothing_is_lost_or_read_twice_while_it_commits(world: World) -> None:
    topic = world.make_topic(3)
    client = world.connect(topic, group=group())
    seen: list[bytes] = []
    for start in range(0, 300, 30):
        send(client, *(OutputRecord(topic, None, b"%d" % n) for n in range(start, start + 30)))
        for batch in read(client, 30, n_records_max=7):
            seen += map(present, batch.values)
            client.commit(offsets_to_commit(batch))

    assert sorted(seen) == sorted(b"%d" % n for n in range(300))


def test_without_a_group_every_partition_is_read(world: World) -> None:
    topic = world.make_topic(3)
    writer = world.connect()
    send(writer, *(OutputRecord(topic, None, b"%d" % n, partition=n % 3) for n in range(9)))

    reader = world.connect(topic)

    assert sorted(map(present, values_of(read(reader, 9)))) == [b"%d" % n for n in range(9)]
    assert reader.assignment() == {TopicPartition(topic, number) for number in range(3)}
    reader.reset()
    send(writer, OutputRecord(topic, None, b"later", partition=2))
    assert values_of(read(reader, 1)) == [b"later"]
    with pytest.raises(ValueError, match="without a group"):
        reader.commit({TopicPartition(topic, 0): OffsetAndMetadata(1)})


def test_latest_skips_what_was_there_before(world: World) -> None:
    topic = world.make_topic(2)
    writer = world.connect()
    send(writer, *(OutputRecord(topic, None, b"old", partition=n) for n in (0, 1)))
    reader = world.connect(topic, offset_reset="latest")
    assert len(reader.poll(10, 200)) == 0

    send(writer, *(OutputRecord(topic, None, b"new", partition=n) for n in (0, 1)))

    assert values_of(read(reader, 2)) == [b"new", b"new"]


@on_real_and_memory
def test_two_members_share_the_partitions(world: World) -> None:
    topic = world.make_topic(4)
    name = group()
    members = [world.connect(topic, group=name) for _ in range(2)]
    deadline_s = time.monotonic() + DEADLINE_S
    shares = [member.assignment() for member in members]
    while [len(share) for share in shares] != [2, 2] and time.monotonic() < deadline_s:
        for member in members:
            assert len(member.poll(10, 50)) == 0
        shares = [member.assignment() for member in members]

    assert len(shares[0] | shares[1]) == 4
    members[0].close()
    while time.monotonic() < deadline_s and len(members[1].assignment()) < 4:
        members[1].poll(10, 50)
    assert len(members[1].assignment()) == 4


def test_lag_counts_what_is_left(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    assert client.lag_records() == {}
    send(client, *(OutputRecord(topic, None, b"%d" % n) for n in range(100)))

    read(client, 30, n_records_max=30)

    partition = TopicPartition(topic, 0)
    assert client.lag_records() == {partition: 70}
    read(client, 70)
    assert client.lag_records() == {partition: 0}
    client.reset()
    assert client.lag_records() == {}


def test_a_reader_of_another_topic_reads_it_backwards_and_disturbs_nothing(world: World) -> None:
    topic, other = world.make_topic(), world.make_topic(2)
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"mine"))
    send(client, *(OutputRecord(other, None, b"%d" % n, partition=n % 2) for n in range(40)))
    read(client, 1)

    reader = client.connect_reader(other)
    try:
        reader.poll(1, 0)  # assigns the partitions
        partitions = reader.assignment()
        assert partitions == {TopicPartition(other, 0), TopicPartition(other, 1)}
        assert reader.end_offsets(partitions) == dict.fromkeys(partitions, 20)
        for first, expected in ((15, range(30, 40)), (10, range(20, 40))):
            reader.pause(partitions)
            for each in partitions:
                reader.seek(each, first)
            reader.resume(partitions)
            values = values_of(read(reader, len(expected)))
            assert sorted(map(int, filter(None, values))) == list(expected)
            assert reader.positions(partitions) == dict.fromkeys(partitions, 20)
    finally:
        reader.close()

    send(client, OutputRecord(topic, None, b"more"))
    assert values_of(read(client, 1)) == [b"more"]


@pytest.mark.usefixtures("soon_missing")
def test_counting_partitions_creates_no_topic(world: World) -> None:
    topic = world.make_topic(3)
    client = world.connect()

    assert client.n_partitions(topic) == 3
    assert client.n_partitions("not-there") == 0
    assert client.n_partitions("not-there") == 0


@pytest.mark.usefixtures("soon_missing")
def test_the_error_for_a_missing_topic_names_the_command_that_creates_it(world: World) -> None:
    reader = world.connect("not-there", group=group())
    writer = world.connect()

    for use in (
        lambda: reader.poll(1, 10),
        lambda: writer.produce([OutputRecord("not-there", None, b"")]),
    ):
        with pytest.raises(BrokerError, match=r"not-there.*kafka-topics\.sh.*--create") as caught:
            use()
        assert not caught.value.retriable


def test_a_poll_returns_at_once_when_something_is_there(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"warm up"))
    read(client, 1)

    waits_s = []
    for _ in range(5):
        send(client, OutputRecord(topic, None, b"x"))
        start_s = time.monotonic()
        (batch,) = (client.poll(30_000, 5_000),)
        waits_s.append(time.monotonic() - start_s)
        assert len(batch) == 1
    assert sorted(waits_s)[2] < 1.0


def test_a_client_without_topics_cannot_read(world: World) -> None:
    with pytest.raises(ValueError, match="without topics"):
        world.connect().poll(1, 0)


def test_flush_and_commit_of_nothing_and_closing_twice_are_harmless(world: World) -> None:
    client = world.connect(world.make_topic(), group=group())
    client.flush(100)
    client.commit({})
    assert client.assignment() == frozenset()

    client.close()
    client.close()


def test_more_records_than_may_wait_are_all_delivered(world: World) -> None:
    topic = world.make_topic(4)
    client = world.connect(topic, group=group())

    send(client, *(OutputRecord(topic, b"%d" % n, b"%d" % n) for n in range(25_000)))

    found = {int(value or b"") for value in values_of(read(client, 25_000, 32_768))}
    assert found == set(range(25_000))


def test_an_answer_is_told_once(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    assert not client.has_answered()
    send(client, OutputRecord(topic, b"k", b"v"))
    (batch,) = read(client, 1)
    client.has_answered()

    client.committed(batch.next_offsets)
    assert [client.has_answered() for _ in range(2)] == [True, False]
    client.commit(offsets_to_commit(batch))
    assert [client.has_answered() for _ in range(2)] == [True, False]


def test_nothing_is_taken_for_empty_before_it_was_fetched(world: World) -> None:
    topic, name = world.make_topic(2), group()
    client = world.connect(topic, group=name)
    assert not client.has_fetched()
    poll_until(client.has_fetched, client)  # both partitions are empty
    send(client, OutputRecord(topic, None, b"0", partition=0))
    (batch,) = read(client, 1)
    client.commit(offsets_to_commit(batch))
    client.close()
    assert not client.has_fetched()

    send(world.connect(), OutputRecord(topic, None, b"1", partition=1))
    again = world.connect(topic, group=name)
    found: list[bytes | None] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not again.has_fetched():
        assert time.monotonic() < deadline_s
        found += again.poll(10, 10).values
    found += again.poll(10, 2_000).values
    assert found == [b"1"]
    assert again.has_fetched()


def test_silence_is_broken_by_an_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "PROBE_AFTER_S", 0.5)
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    poll_until(lambda: bool(client.assignment()), client)
    client.has_answered()
    poll_until(client.has_answered, client)
