"""How many bytes a poll takes where batches hold far more than what is fetched of them."""

import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine  # tests/support

from stream_detector.clients import connect
from stream_detector.core.records import TopicPartition
from stream_detector.settings import ClientName, ConnectionSettings

pytestmark = pytest.mark.kafka

N_BYTES = 3_000_000
N_SMALL = 40

Topics = Callable[..., str]

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


def send_alone(servers: str, topic: str, *values: tuple[int, bytes]) -> None:
    """Send values to their partitions, compressed, each in a batch of its own."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": servers,
            "compression.type": "gzip",
            "batch.num.messages": 1,
            "message.max.bytes": 20 * N_BYTES,
        }
    )
    for partition, value in values:
        producer.produce(topic, value, partition=partition)
        assert producer.flush(30) == 0


@pytest.mark.parametrize("n_partitions", [1, 3])
@each_client
def test_a_poll_takes_no_more_large_records_than_its_bytes_have_room_for(
    client: ClientName, n_partitions: int, kafka: str, topics: Topics
) -> None:
    topic = topics(n_partitions, max_message_bytes="10000000")
    large = [(number % n_partitions, bytes(N_BYTES - number)) for number in range(12)]
    small = [(number % n_partitions, b"small") for number in range(N_SMALL)]
    send_alone(kafka, topic, *large, *small)
    settings = ConnectionSettings(
        bootstrap_servers=kafka, client=client, poll_bytes_max=2 * N_BYTES + 100_000
    )
    reader = connect(settings, topics=[topic])
    sizes: list[int] = []
    polled: list[int] = []
    deadline_s = time.monotonic() + 30
    while len(sizes) < 12 + N_SMALL and time.monotonic() < deadline_s:
        batch = reader.poll(1_000, 200)
        of_poll = [len(value or b"") for value in batch.values]
        sizes += of_poll
        polled.append(sum(of_poll))
    where = [TopicPartition(topic, number) for number in range(n_partitions)]
    assert reader.positions(where) == reader.end_offsets(where)
    reader.close()

    assert sorted(sizes) == sorted(len(value) for _, value in [*large, *small])
    assert max(polled) <= 2 * N_BYTES + 100_000
    # Small records come together again.
    assert len([size for size in polled if 0 < size < N_BYTES]) <= 12


@each_client
def test_a_record_that_is_larger_than_a_poll_may_be_comes_alone(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    topic = topics(1, max_message_bytes="10000000")
    send_alone(kafka, topic, *[(0, bytes(N_BYTES))] * 4)
    settings = ConnectionSettings(bootstrap_servers=kafka, client=client, poll_bytes_max=1)
    reader = connect(settings, topics=[topic])
    counts: list[int] = []
    deadline_s = time.monotonic() + 30
    while sum(counts) < 4 and time.monotonic() < deadline_s:
        counts.append(len(reader.poll(1_000, 200)))
    reader.close()

    assert [count for count in counts if count] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "mib_max"), [("kafka-python", 400), ("confluent", 750)])
def test_detect_holds_few_large_records_at_once(
    client: str,
    mib_max: int,
    kafka: str,
    halving_bundle: Path,
    topics: Topics,
    command_line: CommandLine,
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process' memory is read from /proc")
    topic, alerts, dead = topics(1, max_message_bytes="50000000"), topics(1), topics(1)
    send_alone(kafka, topic, *[(0, bytes(10 * N_BYTES))] * 12, (0, b"small"))
    running = command_line.start_python(
        *("detect", halving_bundle, "--bootstrap-servers", kafka, "--client", client),
        *("--input-topic", topic, "--alerts-topic", alerts, "--dead-letter-topic", dead),
        *("--group", uuid.uuid4().hex, "--metrics-port", "0"),
    )
    running.wait_for("ready")
    running.wait_until_done(13)
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    assert running.terminate() == 0

    assert int(peak_kib) / 1024 < mib_max
