"""What every client promises, held against all of them and both kinds of broker."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from stream_detector.clients import connect
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import OutputRecord, RecordBatch, TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.ports import Client
from stream_detector.settings import ConnectionSettings

DEADLINE_S = 40.0


@dataclass
class World:
    """One kind of broker seen through one kind of client."""

    make_topic: Callable[..., str]
    open: Callable[..., Client]
    clients: list[Client] = field(default_factory=list)

    def connect(self, *topics: str, **options: str | None) -> Client:
        client = self.open(topics=topics, **options)
        self.clients.append(client)
        return client


REAL = (
    pytest.param("kafka-python on kafka", marks=pytest.mark.kafka),
    pytest.param("confluent on kafka", marks=pytest.mark.kafka),
)
# The embedded broker takes nine seconds for each change of a group's members.
IN_CHANGING_GROUPS = pytest.mark.parametrize("world", [*REAL, "memory"], indirect=True)


@pytest.fixture(params=[*REAL, "kafka-python on embedded", "confluent on embedded", "memory"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    name = request.param
    if name == "memory":
        broker = MemoryBroker()

        def make_in_memory(n_partitions: int = 1) -> str:
            topic = f"topic-{len(broker.logs)}"
            broker.create_topic(topic, n_partitions)
            return topic

        made = World(make_in_memory, broker.connect)
    else:
        library, _, kind = name.partition(" on ")
        if library == "confluent" or kind == "embedded":
            pytest.importorskip("confluent_kafka")
        if kind == "kafka":
            address = request.getfixturevalue("kafka")
            make_topic = request.getfixturevalue("topics")
        else:
            embedded = request.getfixturevalue("embedded")
            address = embedded.bootstrap_servers
            numbers = itertools.count()

            def make_topic(n_partitions: int = 1) -> str:
                topic = f"topic-{next(numbers)}"
                embedded.create_topic(topic, n_partitions)
                return topic

        settings = ConnectionSettings(bootstrap_servers=address, client=library)
        made = World(make_topic, lambda **options: connect(settings, **options))
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture
def embedded() -> Iterator[object]:
    from stream_detector.clients.embedded import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker


def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


def send(client: Client, *records: OutputRecord) -> None:
    client.produce(records)
    client.flush(10_000)


def read(client: Client, n_records: int, n_records_max: int = 10_000) -> list[RecordBatch]:
    """Poll until so many records came, or the time is up."""
    batches: list[RecordBatch] = []
    deadline_s = time.monotonic() + DEADLINE_S
    n_left = n_records
    while n_left and time.monotonic() < deadline_s:
        batch = client.poll(min(n_left, n_records_max), 100)
        if len(batch):
            batches.append(batch)
            n_left -= len(batch)
    assert n_left == 0
    return batches


def values_of(batches: list[RecordBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def test_a_record_comes_back_as_it_was_sent(world: World) -> None:
    topic = world.make_topic(2)
    headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, b"key", b"value", headers, timestamp_ms=1234, partition=1))

    (batch,) = read(client, 1)

    origin = batch.origin(0)
    assert batch.values == [b"value"]
    assert origin[:5] == (topic, 1, 0, 1234, b"key")
    assert [tuple(each) for each in origin.headers] == headers
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
    keys = [batch.origin(index).key for batch in batches for index in range(len(batch))]
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
    assert before_ms <= batch.origin(0).timestamp_ms <= time.time() * 1000 + 1


def test_the_order_within_a_partition_is_kept(world: World) -> None:
    topic = world.make_topic(4)
    client = world.connect(topic, group=group())
    sent = [OutputRecord(topic, b"%d" % (n % 7), b"%d" % n) for n in range(5000)]
    send(client, *sent)

    batches = read(client, 5000, n_records_max=999)

    by_key: dict[bytes | None, list[int]] = {}
    partitions: dict[bytes | None, set[int]] = {}
    ends: dict[TopicPartition, int] = {}
    for batch in batches:
        assert len(batch) <= 999
        for index, value in enumerate(batch.values):
            origin = batch.origin(index)
            by_key.setdefault(origin.key, []).append(int(value or b""))
            partitions.setdefault(origin.key, set()).add(origin.partition)
            where = TopicPartition(origin.topic, origin.partition)
            assert origin.offset == ends.get(where, 0)
            ends[where] = origin.offset + 1
        assert all(ends[where] == offset for where, offset in batch.next_offsets.items())
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert all(len(of_key) == 1 for of_key in partitions.values())
    assert sum(map(len, by_key.values())) == 5000


@IN_CHANGING_GROUPS
def test_a_group_goes_on_where_it_committed(world: World) -> None:
    topic = world.make_topic()
    name = group()
    first = world.connect(topic, group=name)
    send(first, *(OutputRecord(topic, None, b"%d" % n) for n in range(10)))
    batch = read(first, 4, n_records_max=4)[0]
    first.commit(batch.next_offsets)
    read(first, 6)  # read, not committed: to be read again
    first.close()

    second = world.connect(topic, group=name)

    assert values_of(read(second, 6)) == [b"%d" % n for n in range(4, 10)]


@IN_CHANGING_GROUPS
def test_reset_forgets_what_was_not_committed(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, *(OutputRecord(topic, None, b"%d" % n) for n in range(6)))
    batch = read(client, 2, n_records_max=2)[0]
    client.commit(batch.next_offsets)
    read(client, 4)

    client.reset()

    assert values_of(read(client, 4)) == [b"2", b"3", b"4", b"5"]
    send(client, OutputRecord(topic, None, b"after"))
    assert values_of(read(client, 1)) == [b"after"]


def test_offsets_from_before_a_reset_are_refused(world: World) -> None:
    topic = world.make_topic()
    client = world.connect(topic, group=group())
    send(client, OutputRecord(topic, None, b"x"))
    (batch,) = read(client, 1)
    client.reset()

    with pytest.raises(BrokerError, match="rebalanced") as caught:
        client.commit(batch.next_offsets)
    assert caught.value.retriable


def test_nothing_is_lost_or_read_twice_while_it_commits(world: World) -> None:
    topic = world.make_topic(3)
    client = world.connect(topic, group=group())
    seen: list[bytes | None] = []
    for start in range(0, 300, 30):
        send(client, *(OutputRecord(topic, None, b"%d" % n) for n in range(start, start + 30)))
        for batch in read(client, 30, n_records_max=7):
            seen += batch.values
            client.commit(batch.next_offsets)

    assert sorted(seen) == sorted(b"%d" % n for n in range(300))


def test_without_a_group_every_partition_is_read(world: World) -> None:
    topic = world.make_topic(3)
    writer = world.connect()
    send(writer, *(OutputRecord(topic, None, b"%d" % n, partition=n % 3) for n in range(9)))

    reader = world.connect(topic)

    assert sorted(values_of(read(reader, 9))) == [b"%d" % n for n in range(9)]
    assert reader.assignment() == {TopicPartition(topic, number) for number in range(3)}
    reader.reset()
    send(writer, OutputRecord(topic, None, b"later", partition=2))
    assert values_of(read(reader, 1)) == [b"later"]
    with pytest.raises(ValueError, match="without a group"):
        reader.commit({TopicPartition(topic, 0): 1})


def test_latest_skips_what_was_there_before(world: World) -> None:
    topic = world.make_topic(2)
    writer = world.connect()
    send(writer, *(OutputRecord(topic, None, b"old", partition=n) for n in (0, 1)))
    reader = world.connect(topic, offset_reset="latest")
    assert len(reader.poll(10, 200)) == 0

    send(writer, *(OutputRecord(topic, None, b"new", partition=n) for n in (0, 1)))

    assert values_of(read(reader, 2)) == [b"new", b"new"]


@IN_CHANGING_GROUPS
def test_two_members_share_the_partitions(world: World) -> None:
    topic = world.make_topic(4)
    name = group()
    members = [world.connect(topic, group=name) for _ in range(2)]
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for member in members:
            assert len(member.poll(10, 50)) == 0
        shares = [member.assignment() for member in members]
        if [len(share) for share in shares] == [2, 2]:
            break

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


def test_what_is_left_to_read_is_asked_of_the_broker(world: World) -> None:
    topic = world.make_topic(3)
    writer = world.connect()
    send(writer, *(OutputRecord(topic, None, b"%d" % n, partition=n % 2) for n in range(10)))
    reader = world.connect(topic)
    partitions = [TopicPartition(topic, number) for number in range(3)]

    assert reader.unread() == dict(zip(partitions, (range(5), range(5), range(0)), strict=True))
    read(reader, 10)
    send(writer, OutputRecord(topic, None, b"later", partition=2))

    left = reader.unread()
    assert [left[each] for each in partitions] == [range(5, 5), range(5, 5), range(1)]
    read(reader, 1)
    assert not any(reader.unread().values())


def test_only_without_a_group_is_it_known_what_is_left_to_read(world: World) -> None:
    with pytest.raises(ValueError, match="a member of a group"):
        world.connect(world.make_topic(), group=group()).unread()
    with pytest.raises(ValueError, match="without topics"):
        world.connect().unread()
    with pytest.raises(BrokerError, match="no such topic"):
        world.connect("not-there").unread()


def test_partitions_are_counted_and_none_is_made(world: World) -> None:
    topic = world.make_topic(3)
    client = world.connect()

    assert client.n_partitions(topic) == 3
    assert client.n_partitions("not-there") == 0
    assert client.n_partitions("not-there") == 0


def test_a_missing_topic_is_said_with_the_command_that_makes_it(world: World) -> None:
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


def test_flush_of_nothing_and_closing_twice_are_harmless(world: World) -> None:
    client = world.connect(world.make_topic(), group=group())
    client.flush(100)
    assert client.assignment() == frozenset()

    client.close()
    client.close()


def test_more_records_than_may_wait_are_all_delivered(world: World) -> None:
    topic = world.make_topic(4)
    client = world.connect(topic, group=group())

    send(client, *(OutputRecord(topic, b"%d" % n, b"%d" % n) for n in range(25_000)))

    found = {int(value or b"") for value in values_of(read(client, 25_000, 32_768))}
    assert found == set(range(25_000))
