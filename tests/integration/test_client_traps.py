"""Traps of both client libraries: each test fails if our client falls into one."""

import gc
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import kafka as kafka_python
import pytest
from kafka.admin import MemberToRemove

from stream_detector.clients import _limits, connect
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import BrokerError, BrokerUnavailableError, DeliveryError
from stream_detector.ports import Client
from stream_detector.settings import ClientName, ConnectionSettings

if TYPE_CHECKING:
    from local_kafka import LocalKafka

pytestmark = pytest.mark.kafka

LIBRARIES: tuple[ClientName, ...] = ("kafka-python", "confluent")

Connect = Callable[..., Client]

PROBE_AFTER_S = 1.5

# A dead broker shows after a silence, or at once, and one request that finds no answer.
NOTICED_S = PROBE_AFTER_S + _limits.CONNECT_TIMEOUT_MS / 1000 + 3


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> ClientName:
    name: ClientName = request.param
    if name == "confluent":
        pytest.importorskip("confluent_kafka")
    return name


@pytest.fixture
def opened(library: ClientName) -> Iterator[Connect]:
    """Make clients of one library and close them in the end."""
    clients: list[Client] = []

    def open_client(address: str, *topics: str, **options: str | None) -> Client:
        settings = ConnectionSettings(bootstrap_servers=address, client=library)
        clients.append(connect(settings, topics=topics, **options))  # type: ignore[arg-type]
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()
    # The sockets that kafka-python leaves open are collected here, where a warning is expected.
    gc.collect()


@pytest.fixture
def short_waits() -> Iterator[None]:
    """Members that died are given up, and silent brokers asked, in less time than by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_limits, "SESSION_TIMEOUT_MS", 3_000)
        patch.setattr(_limits, "HEARTBEAT_MS", 500)
        patch.setattr(_limits, "PROBE_AFTER_S", PROBE_AFTER_S)
        yield


def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


def read(client: Client, n_records: int, deadline_s: float = 30.0) -> list[RecordBatch]:
    batches: list[RecordBatch] = []
    until_s = time.monotonic() + deadline_s
    while sum(map(len, batches)) < n_records and time.monotonic() < until_s:
        batch = client.poll(32_768, 100)
        if len(batch):
            batches.append(batch)
    return batches


def offsets_to_commit(
    batch: RecordBatch, metadata: str = ""
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the next offsets to commit after a batch."""
    return {
        each: OffsetAndMetadata(offset, metadata) for each, offset in batch.next_offsets.items()
    }


def values_of(batches: list[RecordBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def test_a_backlog_comes_in_polls_of_tens_of_thousands(
    kafka: str, topics: Callable[..., str], opened: Connect
) -> None:
    topic = topics(4)
    writer = opened(kafka)
    value = bytes(560)
    writer.produce(OutputRecord(topic, None, value, partition=n % 4) for n in range(60_000))
    writer.flush(30_000)
    reader = opened(kafka, topic, group=group())

    start_s = time.monotonic()
    batches = read(reader, 60_000)

    assert sum(map(len, batches)) == 60_000
    assert max(map(len, batches)) >= 10_000
    # confluent's default sleeps a whole second each time its queue runs empty.
    assert time.monotonic() - start_s < 8.0


def test_no_more_than_so_many_records_wait_for_an_acknowledgement(
    kafka: str, topics: Callable[..., str]
) -> None:
    # kafka-python's own buffer has no bound.
    topic = topics()
    client = connect(ConnectionSettings(bootstrap_servers=kafka, client="kafka-python"))
    waiting: list[int] = []

    def records() -> Iterator[OutputRecord]:
        for _ in range(3 * _limits.UNACKNOWLEDGED_RECORDS_MAX):
            waiting.append(client._producer.n_unacknowledged)  # type: ignore[attr-defined]
            yield OutputRecord(topic, None, b"x")

    try:
        client.produce(records())
        client.flush(30_000)
    finally:
        client.close()
    assert max(waiting) <= _limits.UNACKNOWLEDGED_RECORDS_MAX


def test_bytes_that_wait_are_bounded_too(
    kafka: str, topics: Callable[..., str], monkeypatch: pytest.MonkeyPatch, opened: Connect
) -> None:
    monkeypatch.setattr(_limits, "UNACKNOWLEDGED_BYTES_MAX", 1024 * 1024)
    topic = topics()
    client = opened(kafka, topic, group=group())

    client.produce(OutputRecord(topic, None, bytes(200_000)) for _ in range(50))
    client.flush(30_000)

    assert sum(map(len, read(client, 50))) == 50


def test_aborted_records_are_hidden_and_markers_are_no_lag(
    kafka: str, topics: Callable[..., str], opened: Connect
) -> None:
    topic = topics()
    producer = kafka_python.KafkaProducer(bootstrap_servers=kafka, transactional_id=group())
    producer.init_transactions()
    for value, is_kept in ((b"kept", True), (b"aborted", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.send(topic, value)
        producer.flush()
        if is_kept:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    client = opened(kafka, topic, group=group())

    batches = read(client, 2)
    # One more poll passes the marker that ends the last transaction.
    client.poll(10, 500)

    assert values_of(batches) == [b"kept", b"kept too"]
    assert client.lag_records() == {TopicPartition(topic, 0): 0}


def test_both_libraries_give_a_key_the_same_partition(
    kafka: str, topics: Callable[..., str]
) -> None:
    topic = topics(7)
    for name in LIBRARIES:
        client = connect(ConnectionSettings(bootstrap_servers=kafka, client=name))
        client.produce(OutputRecord(topic, b"key-%d" % n, name.encode()) for n in range(100))
        client.flush(10_000)
        client.close()
    reader = connect(ConnectionSettings(bootstrap_servers=kafka), topics=[topic])
    partitions: dict[bytes | None, set[int]] = {}
    for batch in read(reader, 200):
        for index in range(len(batch)):
            metadata = batch.metadata(index)
            partitions.setdefault(metadata.key, set()).add(metadata.partition)
    reader.close()

    assert len(partitions) == 100
    assert all(len(of_key) == 1 for of_key in partitions.values())


def test_a_ten_megabyte_record_passes_where_its_topic_takes_it(
    kafka: str, topics: Callable[..., str], opened: Connect
) -> None:
    large = bytes(10 * 1024 * 1024)
    roomy, tight = topics(max_message_bytes="20000000"), topics()
    client = opened(kafka, roomy, group=group())
    client.produce([OutputRecord(roomy, b"k", large), OutputRecord(roomy, b"k", b"neighbour")])
    client.flush(30_000)
    assert values_of(read(client, 2)) == [large, b"neighbour"]

    client.produce([OutputRecord(tight, b"k", large)])
    with pytest.raises(BrokerError, match=r"max\.message\.bytes") as caught:
        client.flush(30_000)
    assert not caught.value.retriable
    client.produce([OutputRecord(tight, b"k", b"small")])
    client.flush(10_000)


def test_an_absent_broker_is_reported_within_seconds(opened: Connect) -> None:
    nobody = "127.0.0.1:1"

    def try_it(use: Callable[[], object]) -> float:
        start_s = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 .* refused\)"):
            use()
        return time.monotonic() - start_s

    uses: tuple[Callable[[], object], ...] = (
        lambda: opened(nobody, "t", group="g").poll(1, 10),
        lambda: opened(nobody, "t").poll(1, 10),
        lambda: opened(nobody).produce([OutputRecord("t", None, b"")]),
        lambda: opened(nobody).n_partitions("t"),
    )
    with ThreadPoolExecutor(len(uses)) as side_by_side:
        assert max(side_by_side.map(try_it, uses)) < 6.0


@pytest.mark.slow
@pytest.mark.usefixtures("short_waits")
def test_a_broker_that_dies_and_comes_back_loses_nothing(
    own_kafka: "LocalKafka", opened: Connect
) -> None:
    address = own_kafka.bootstrap_servers
    topic = _create_topic(address)
    client = opened(address, topic, group=group())
    client.produce(OutputRecord(topic, None, b"%d" % n) for n in range(10))
    client.flush(10_000)
    batch = read(client, 10)[0]
    assert len(batch) == 10
    client.commit(offsets_to_commit(batch))
    client.produce([OutputRecord(topic, None, b"10")])
    client.flush(10_000)

    own_kafka.kill()

    start_s = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="Connection refused"):
        _poll_for(client, NOTICED_S, n_records_max=1)  # fetched before the broker died
    client.reset()
    assert time.monotonic() - start_s < NOTICED_S + 5
    own_kafka.start()
    assert b"10" in values_of(read(client, 1))
    client.produce([OutputRecord(topic, None, b"11")])
    client.flush(10_000)
    assert b"11" in values_of(read(client, 1))


@pytest.mark.slow
@pytest.mark.usefixtures("short_waits")
def test_a_hanging_broker_holds_nothing_up(
    own_kafka: "LocalKafka", opened: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "REQUEST_TIMEOUT_MS", 3_000)
    limit_s = 2 * _limits.REQUEST_TIMEOUT_MS / 1000 + 2 * _limits.CLOSE_TIMEOUT_MS / 1000
    address = own_kafka.bootstrap_servers
    topic, output = _create_topic(address), _create_topic(address)
    where, name = TopicPartition(topic, 0), group()
    plain = opened(address, topic, group=group())
    exact = opened(address, topic, group=name, transactional_id=name)
    plain.produce([OutputRecord(topic, None, b"first")])
    plain.flush(10_000)
    batches = [(client, read(client, 1)[0]) for client in (plain, exact)]
    exact.produce([OutputRecord(output, None, b"first try")])
    exact.flush(10_000)
    threads_before = set(threading.enumerate())

    own_kafka.pause()
    try:
        plain.produce(OutputRecord(topic, None, b"lost") for _ in range(5))
        assert _seconds_until(DeliveryError, lambda: plain.flush(1_000)) < 4.0
        for client, batch in batches:
            committing = lambda: client.commit(offsets_to_commit(batch))  # noqa: B023, E731
            assert _seconds_until(BrokerUnavailableError, committing) < limit_s
            start_s = time.monotonic()
            client.reset()
            assert time.monotonic() - start_s < limit_s
    finally:
        own_kafka.resume()
    # No thread of an old connection keeps sending.
    assert not [
        thread
        for thread in set(threading.enumerate()) - threads_before
        if "kafka" in thread.name.lower()
    ]
    monkeypatch.undo()
    # Only a question tells whether the broker stored a commit that it did not answer.
    if _committed(plain, where) is None:
        assert values_of(read(plain, 1))[0] == b"first"
    if _committed(exact, where) is None:
        batch = read(exact, 1)[0]
        exact.produce([OutputRecord(output, None, b"second try")])
        exact.flush(10_000)
        exact.commit(offsets_to_commit(batch))
    assert len(values_of(read(opened(address, output), 2, 1.0))) == 1


@pytest.mark.slow
def test_a_damaged_record_is_an_error_each_time_and_never_a_spin(
    own_kafka: "LocalKafka", opened: Connect
) -> None:
    address = own_kafka.bootstrap_servers
    topic = _create_topic(address)
    client = opened(address, topic, group=group())
    marker = b"damage-me-" * 20
    client.produce([OutputRecord(topic, None, marker)])
    client.flush(10_000)
    own_kafka.stop()
    (segment,) = own_kafka.folder.glob(f"data/{topic}-0/*.log")
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"damage-me-", b"damaged!!!", 1))
    own_kafka.start()
    client.reset()

    for _ in range(2):
        with pytest.raises(BrokerUnavailableError, match="came damaged"):
            _poll_for(client, 15.0)


@pytest.mark.slow
def test_a_removed_member_may_join_again(
    kafka: str, topics: Callable[..., str], opened: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "SESSION_TIMEOUT_MS", 6_000)  # the shortest of most brokers
    topic, name = topics(), group()
    client = opened(kafka, topic, group=name)
    client.produce(OutputRecord(topic, None, b"%d" % n) for n in range(3))
    client.flush(10_000)
    batch = read(client, 3)[-1]
    _remove_members(kafka, name)

    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        client.commit(offsets_to_commit(batch))
    client.reset()

    assert values_of(read(client, 3)) == [b"0", b"1", b"2"]


def test_offsets_of_an_open_transaction_are_waited_for(
    kafka: str, topics: Callable[..., str], opened: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, name = topics(), group()
    where = TopicPartition(topic, 0)
    client = opened(kafka, topic, group=name)
    assert client.committed([where]) == {where: None}
    producer = kafka_python.KafkaProducer(bootstrap_servers=kafka, transactional_id=group())
    producer.init_transactions()
    producer.begin_transaction()
    offsets = {
        kafka_python.TopicPartition(*where): kafka_python.OffsetAndMetadata(5, "metadata\n", -1)
    }
    producer.send_offsets_to_transaction(offsets, name)

    monkeypatch.setattr(_limits, "REQUEST_TIMEOUT_MS", 700)
    assert _seconds_until(BrokerUnavailableError, lambda: client.committed([where])) < 3.0
    monkeypatch.undo()
    ending = threading.Timer(0.7, producer.commit_transaction)
    ending.start()

    assert client.committed([where]) == {where: OffsetAndMetadata(5, "metadata")}
    ending.join()
    producer.close()


def test_a_transaction_that_was_open_for_long_is_retried_before_it_is_fenced(
    kafka: str, topics: Callable[..., str], opened: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, name = topics(), topics(), group()
    client = opened(kafka, source, group=name, transactional_id=name)
    writer = opened(kafka)
    writer.produce([OutputRecord(source, None, b"x")])
    writer.flush(10_000)
    read(client, 1)
    monkeypatch.setattr(_limits, "FLUSH_IN_TRANSACTION_MS", 0)
    client.produce(OutputRecord(target, None, bytes(100_000)) for _ in range(50))
    assert _seconds_until(DeliveryError, lambda: client.flush(10_000)) < 2.0
    monkeypatch.undo()

    client.reset()

    batch = read(client, 1)[0]
    client.produce([OutputRecord(target, None, b"done")])
    client.flush(10_000)
    client.commit(offsets_to_commit(batch))
    assert values_of(read(opened(kafka, target), 2, 1.0)) == [b"done"]


def test_seeking_at_once_is_never_lost_to_the_committed_offset(
    kafka: str, topics: Callable[..., str], opened: Connect
) -> None:
    topic = topics()
    where = TopicPartition(topic, 0)
    writer = opened(kafka)
    writer.produce(OutputRecord(topic, None, b"%d" % n) for n in range(10))
    writer.flush(10_000)
    for _ in range(8):
        client = opened(kafka, topic, group=group())
        while where not in client.newly_assigned():
            client.poll(1, 5)
        client.seek(where, 7)
        assert values_of(read(client, 3)) == [b"7", b"8", b"9"]
        client.close()


@pytest.mark.usefixtures("short_waits")
def test_a_member_that_was_removed_claims_nothing_when_it_joins_again(
    kafka: str, topics: Callable[..., str], opened: Connect
) -> None:
    topic, name = topics(2), group()
    client = opened(kafka, topic, group=name)
    joined: list[TopicPartition] = []
    for n_joined in (2, 4):
        deadline_s = time.monotonic() + 30
        while len(joined) < n_joined:
            assert time.monotonic() < deadline_s
            client.poll(1, 100)
            joined += client.newly_assigned()
        if n_joined == 2:
            _remove_members(kafka, name)

    admin = kafka_python.KafkaAdminClient(bootstrap_servers=kafka)
    try:
        (member,) = admin.describe_groups([name])[name]["members"]
    finally:
        admin.close()
    assert member["member_metadata"]["owned_partitions"] == []


def _create_topic(address: str) -> str:
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=address)
    try:
        name = f"own-{uuid.uuid4().hex[:8]}"
        topics = {name: {"num_partitions": 1, "replication_factor": 1}}
        admin.create_topics(topics, wait_for_metadata=True)
        return name
    finally:
        admin.close()


def _remove_members(address: str, name: str) -> None:
    """Remove a group's members as an administrator does."""
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=address)
    try:
        described = admin.describe_groups([name])
        members = [MemberToRemove(each["member_id"]) for each in described[name]["members"]]
        admin.remove_group_members(name, members)
    finally:
        admin.close()


def _committed(client: Client, where: TopicPartition) -> OffsetAndMetadata | None:
    """Return what is committed, once a broker that hung has noticed that it serves again."""
    deadline_s = time.monotonic() + 30
    while True:
        try:
            return client.committed([where])[where]
        except BrokerUnavailableError:
            assert time.monotonic() < deadline_s
            time.sleep(0.2)


def _poll_for(client: Client, seconds: float, n_records_max: int = 0) -> None:
    """Poll for a number of seconds; fail if more than `n_records_max` records arrive."""
    start_s = time.monotonic()
    n_records = 0
    while time.monotonic() - start_s < seconds:
        n_records += len(client.poll(10, 200))
        assert n_records <= n_records_max


def _seconds_until(kind: type[BrokerError], call: Callable[[], object]) -> float:
    start_s = time.monotonic()
    with pytest.raises(kind):
        call()
    return time.monotonic() - start_s
