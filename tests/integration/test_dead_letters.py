"""Dead letters on a real Kafka: seen, sent again, and back when they are still bad."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kafka as kafka_python
import pytest
from command_line import CommandLine
from fault_stage import read_all
from local_kafka import LocalKafka

from stream_detector.clients import connect
from stream_detector.core.codec.dead_letters import REDRIVEN_FROM, encode_dead_letter
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected
from stream_detector.errors import RecordDecodeError
from stream_detector.settings import ConnectionSettings

pytestmark = pytest.mark.kafka

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])

Topics = Callable[..., str]


def send(servers: str, *records: OutputRecord) -> None:
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    client.produce(records)
    client.flush(30_000)
    client.close()


def read(servers: str, topic: str, n_records: int) -> list[tuple[RecordMetadata, bytes | None]]:
    client = connect(ConnectionSettings(bootstrap_servers=servers), topics=[topic])
    found: list[tuple[RecordMetadata, bytes | None]] = []
    for _ in range(100):
        batch = client.poll(1_000, 200)
        found += [(batch.metadata(index), value) for index, value in enumerate(batch.values)]
        if len(found) >= n_records:
            break
    client.close()
    return found


@pytest.fixture(scope="module")
def kafka(mortal_kafka: LocalKafka) -> str:
    """A broker that nobody else uses: its groups are counted."""
    return mortal_kafka.bootstrap_servers


@pytest.fixture
def producers(kafka: str) -> Iterator[list[Any]]:
    """Two producers with a transactional id each."""
    made = [
        kafka_python.KafkaProducer(bootstrap_servers=kafka, transactional_id=uuid.uuid4().hex)
        for _ in range(2)
    ]
    for each in made:
        each.init_transactions()
    yield made
    for each in made:
        each.close()


def transact(writer: Any, topic: str, *offsets: int) -> None:
    """Send dead letters to partition 0 in a transaction, and leave it open."""
    writer.begin_transaction()
    for offset in offsets:
        record = dead_letter(topic, offset)
        headers = list(record.headers)
        writer.send(topic, record.value, record.key, headers=headers, partition=0)
    writer.flush()


def groups(servers: str) -> set[str]:
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=servers)
    try:
        return {str(each) for each in admin.list_groups()}
    finally:
        admin.close()


def dead_letter(topic: str, offset: int) -> OutputRecord:
    metadata = RecordMetadata("telemetry", 0, offset, 1_767_225_600_000, b"pump-7", ())
    return encode_dead_letter(Rejected(0, RecordDecodeError("why")), b"x", metadata, topic, 4_096)


@pytest.mark.slow
@each_client
def test_a_redriven_record_is_the_same_and_comes_back_while_it_is_bad(
    client: str, kafka: str, bundle: Path, topics: Topics, command_line: CommandLine
) -> None:
    telemetry, dead = topics(4, retention_ms="-1"), topics(2, retention_ms="-1")
    options = {"--input-topic": telemetry, "--dead-letter-topic": dead, "--alerts-topic": topics(1)}
    common = ("--bootstrap-servers", kafka, "--client", client)
    headers = [("trace", b"\x00\xff"), ("trace", b"")]
    # Partition 3 is not the one that any of the partitioners would choose for both keys.
    bad = [
        OutputRecord(telemetry, b"\xff\x00", b"{oops", headers, 1_600_000_000_000, 3),
        OutputRecord(telemetry, b"pump-7", None, headers, 1_600_000_000_001, 3),
        OutputRecord(telemetry, None, b"\xff", headers, 1_600_000_000_002, 3),
    ]
    send(kafka, *bad)

    def detect() -> None:
        command_line.run(
            *("detect", bundle, *common, *itertools.chain(*options.items())),
            *("--group", dead, "--stop-when-idle", "1s"),
        )

    def dead_letters(command: str, *arguments: str) -> str:
        run = ("dead-letters", command, *arguments, "--topic", dead, *common)
        return command_line.run(*run).stdout

    detect()
    listed = [json.loads(line) for line in dead_letters("list", "--json").splitlines()]
    assert sorted(each["source"]["offset"] for each in listed) == [0, 1, 2]
    assert {each["error"] for each in listed} == {"RecordDecodeError"}
    place = next(f"{each['partition']}:{each['offset']}" for each in listed if each["key"] is None)
    assert "ff" in dead_letters("show", place)
    dead_letters("redrive", "--yes")

    redriven = read(kafka, telemetry, 6)[3:]
    found = [(*metadata[3:5], *metadata[1:2], value) for metadata, value in redriven]
    expected = [(each.timestamp_ms, each.key, 3, each.value) for each in bad]
    assert sorted(found) == sorted(expected)
    for metadata, _ in redriven:
        *own, (name, mark) = metadata.headers
        assert [tuple(each) for each in own] == headers
        assert name == REDRIVEN_FROM
        assert mark is not None
        assert mark.startswith(dead.encode())

    detect()
    again = [json.loads(line) for line in dead_letters("list", "--json").splitlines()]
    marks = {each["redriven_from"] for each in again}
    assert marks == {None, *(f"{dead}[{each['partition']}]@{each['offset']}" for each in listed)}
    assert len(again) == 6


@each_client
def test_list_ends_at_the_last_committed_record_and_joins_no_group(
    client: str, kafka: str, topics: Topics, producers: list[Any], command_line: CommandLine
) -> None:
    topic, (writer, other) = topics(2, retention_ms="-1"), producers
    options = ("--topic", topic, "--bootstrap-servers", kafka, "--client", client)

    def listed() -> list[int]:
        lines = command_line.run("dead-letters", "list", "--json", *options).stdout.splitlines()
        return [json.loads(line)["source"]["offset"] for line in lines]

    before = groups(kafka)
    assert listed() == []
    transact(writer, topic, 0, 1)
    writer.commit_transaction()
    assert listed() == [0, 1]  # the log ends with the mark of the commit
    transact(writer, topic, 2)
    writer.abort_transaction()
    assert listed() == [0, 1]
    transact(other, topic, 3)
    send(kafka, dead_letter(topic, 4)._replace(partition=0))
    assert listed() == [0, 1]  # what follows an open transaction is not to be read yet
    other.commit_transaction()
    assert listed() == [0, 1, 3, 4]
    done = command_line.run("dead-letters", "show", "0:2", *options, check=False)
    assert done.returncode == 2
    assert "holds no record there" in done.stderr  # but the mark of the first commit
    assert groups(kafka) == before


@each_client
def test_what_is_incomplete_is_not_sent_and_one_offset_is_read_alone(
    client: str, kafka: str, topics: Topics, command_line: CommandLine
) -> None:
    telemetry, dead = topics(1, retention_ms="-1"), topics(2, retention_ms="-1")
    metadata = RecordMetadata(telemetry, 0, 17, 1_767_225_600_000, b"pump-7", ())
    rejected = Rejected(0, RecordDecodeError("why"))
    letters = [
        encode_dead_letter(rejected, b"x" * n_bytes, metadata, dead, 1_000)._replace(
            partition=n % 2
        )
        for n, n_bytes in enumerate([*[1] * 3_000, 5_000, 1])
    ]
    send(kafka, *letters)
    options = ("--topic", dead, "--bootstrap-servers", kafka, "--client", client)

    shown = command_line.run("dead-letters", "show", "0:1500", *options).stdout
    done = command_line.run("dead-letters", "redrive", "--yes", *options)

    assert f"lacks value (5,000 bytes); the whole record is at {telemetry}[0]@17" in shown
    assert "3,001 of 3,002 records to send" in done.stderr
    assert "refused 1, incomplete\n0:1500 lacks value" in done.stderr
    assert [value for value, *_ in read_all(kafka, telemetry)] == [b"x"] * 3_001
