"""Every codec of Kafka with the base install: in what is read, and in what is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine  # tests/support

from stream_detector.clients import connect
from stream_detector.core.records import OutputRecord
from stream_detector.settings import ClientName, ConnectionSettings

pytestmark = pytest.mark.kafka

CODECS = ("gzip", "snappy", "lz4", "zstd")

Topics = Callable[..., str]

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


def send_compressed(servers: str, codec: str, topic: str, values: list[bytes]) -> None:
    """Send values in batches that the producer itself compresses."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    options = {"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 50}
    producer = confluent_kafka.Producer(options)
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


@pytest.mark.parametrize("codec", CODECS)
@each_client
def test_a_topic_in_any_codec_is_read_and_written(
    client: ClientName, codec: str, kafka: str, topics: Topics
) -> None:
    # The second value is larger than what a decoder may allot before it knows the size.
    values = [b"small", bytes(3_000_000), b"last"]
    by_producer = topics(max_message_bytes="10000000")
    by_broker = topics(max_message_bytes="10000000", compression_type=codec)
    send_compressed(kafka, codec, by_producer, [values[0], values[2]])
    settings = ConnectionSettings(bootstrap_servers=kafka, client=client)
    writer = connect(settings)
    writer.produce(OutputRecord(by_broker, None, value) for value in values)
    writer.flush(30_000)
    writer.close()

    for topic, sent in ((by_producer, [values[0], values[2]]), (by_broker, values)):
        reader = connect(settings, topics=[topic])
        read: list[bytes | None] = []
        for _ in range(50):
            read += reader.poll(1_000, 200).values
            if len(read) == len(sent):
                break
        reader.close()
        assert read == sent


@each_client
def test_compressed_topics_of_every_kind_go_through_detect_and_what_reads_its_output(
    client: str, kafka: str, halving_bundle: Path, topics: Topics, command_line: CommandLine
) -> None:
    common = ("--bootstrap-servers", kafka, "--client", client)
    telemetry = topics(1)
    for codec in CODECS:
        window = json.dumps({"values": [3.0] * 140}).encode()
        send_compressed(kafka, codec, telemetry, [window, b"{oops"])
    for codec in CODECS:
        alerts, dead = topics(1, compression_type=codec), topics(1, compression_type=codec)
        command_line.run(
            *("detect", halving_bundle, *common, "--group", dead, "--stop-when-idle", "1s"),
            *("--input-topic", telemetry, "--alerts-topic", alerts, "--dead-letter-topic", dead),
        )
        options = ("--topic", alerts, "--from-beginning", "--stop-when-idle", "1s", "--json")
        found = command_line.run("alerts", *options, *common).stdout.splitlines()
        assert [json.loads(line)["source"]["offset"] for line in found] == [0, 2, 4, 6]
        listed = command_line.run("dead-letters", "list", "--topic", dead, "--json", *common)
        offsets = [json.loads(line)["source"]["offset"] for line in listed.stdout.splitlines()]
        assert offsets == [1, 3, 5, 7]
