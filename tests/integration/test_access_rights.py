"""The rights that docs/security.md names are enough, and each is needed, by Kafka's authoriser."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import kafka as kafka_python
import pytest
from command_line import CommandLine
from kafka.structs import OffsetAndMetadata
from secure_kafka import (
    CLIENTS,
    DETECT,
    GRANTS,
    MARKER,
    TRANSACTIONS,
    Grant,
    SecureKafka,
    Settings,
    client_of,
    write_one,
)

from stream_detector.clients import _confluent, _kafka_python
from stream_detector.errors import BrokerError
from stream_detector.settings import ConnectionSettings

ERRORS = (kafka_python.errors.KafkaError, confluent_kafka.KafkaException)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def run_without(
    grants: list[Grant],
    command: list[object],
    secure_kafka: SecureKafka,
    command_line: CommandLine,
) -> Iterator[tuple[Grant, str]]:
    """Run a command once for each of its rights without it; yields the right and the error."""
    for missing in grants:
        secure_kafka.allow(*(grant for grant in grants if grant != missing))
        start_s = time.monotonic()
        done = command_line.run(*command, check=False)
        assert time.monotonic() - start_s < 10
        assert done.returncode == 4, (missing, done.stderr)
        assert MARKER not in done.stdout + done.stderr
        yield missing, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_documented_right_is_needed(
    client: str,
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    windows_csv: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    assert {user: len(grants) for user, grants in GRANTS.items()} == {
        "detector": 5,
        "producer": 1,
        "reader": 1,
    }
    common = [*give_settings(secure_kafka.sasl(), "environment"), "--client", client]
    idle = ["--stop-when-idle", "1s"]
    commands: list[tuple[list[Grant], list[object]]] = [
        (DETECT, ["detect", halving_bundle, *common, "--group", "ecg", *idle]),
        (GRANTS["producer"], ["replay", windows_csv, *common]),
        (GRANTS["reader"], ["alerts", *common, *idle]),
    ]
    for grants, command in commands:
        for missing, error in run_without(grants, command, secure_kafka, command_line):
            cause = error.partition("; check")[0]
            assert "denied access" in cause
            assert missing.kind in cause.lower()
            assert missing.kind != "topic" or missing.name in cause


@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_that_may_only_be_described_cannot_be_written(
    client: str, secure_kafka: SecureKafka
) -> None:
    secure_kafka.allow(Grant("Read", "topic", "alerts"))
    with pytest.raises(BrokerError, match=r"denied access") as nothing_writable:
        write_one(client, secure_kafka.sasl(), "alerts")
    secure_kafka.allow(Grant("Read", "topic", "alerts"), Grant("Write", "topic", "dead-letters"))
    with pytest.raises(BrokerError, match=r"denied access.*alerts") as other_writable:
        write_one(client, secure_kafka.sasl(), "alerts")
    for caught in (nothing_writable, other_writable):
        assert not caught.value.retriable


def transact_by_confluent(settings: ConnectionSettings, consumer: Any) -> None:
    """Write an alert and commit an offset in one transaction, with the bare library."""
    config = _confluent.connection_config(settings) | {"transactional.id": "ecg-1"}
    producer = confluent_kafka.Producer(config)
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce("alerts", b"one")
    offsets = [confluent_kafka.TopicPartition("telemetry", 0, 1)]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 10)
    producer.commit_transaction(10)


def transact_by_kafka_python(settings: ConnectionSettings, consumer: Any) -> None:
    """Write an alert and commit an offset in one transaction, with the bare library."""
    config = _kafka_python.connection_config(settings) | {"transactional_id": "ecg-1"}
    producer = kafka_python.KafkaProducer(**config)
    try:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("alerts", b"one")
        offsets = {kafka_python.TopicPartition("telemetry", 0): OffsetAndMetadata(1, "", -1)}
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
    finally:
        producer.close(timeout=1)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_right_to_transactions(client: str, secure_kafka: SecureKafka) -> None:
    given = secure_kafka.sasl()
    settings = ConnectionSettings(client=client, **given)  # type: ignore[arg-type]
    transact, map_error = {
        "kafka-python": (transact_by_kafka_python, _kafka_python.map_error),
        "confluent": (transact_by_confluent, _confluent.map_error),
    }[client]
    secure_kafka.allow(*DETECT, *TRANSACTIONS)
    reader = client_of(client, given, topics=["telemetry"], group="ecg")
    try:
        for _ in range(50):
            reader.poll(1, 200)
            if reader.assignment():
                break
        transact(settings, reader._consumer)
        secure_kafka.allow(*DETECT)
        with pytest.raises(ERRORS) as caught:
            transact(settings, reader._consumer)
    finally:
        reader.close()
    ours = map_error(caught.value, settings.bootstrap_servers)
    assert "denied access" in str(ours)
    assert not ours.retriable
