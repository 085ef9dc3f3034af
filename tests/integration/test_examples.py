"""The programs in docs/examples, on a real Kafka."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kafka as kafka_python
import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
READER = ROOT / "docs" / "examples" / "read_alerts.py"
EXAMPLE = json.loads((ROOT / "docs" / "alert.example.json").read_bytes())


def test_the_small_reader_drops_repeats_and_knows_what_is_open(
    kafka: str, topics: Callable[..., str]
) -> None:
    topic = topics(n_partitions=2)
    producer = kafka_python.KafkaProducer(bootstrap_servers=kafka)
    for key, number, event in [
        ("a", 1, "open"),
        ("b", 1, "open"),
        ("a", 2, "update"),
        ("a", 1, "open"),
        ("a", 2, "update"),
        ("a", 3, "close"),
    ]:
        alert = EXAMPLE | {"key": key, "alert_id": key, "event_number": number, "event": event}
        producer.send(topic, key=key.encode(), value=json.dumps(alert).encode())
    producer.send(topic, value=b"?")
    producer.flush()
    producer.close()
    command = [sys.executable, str(READER), "--topic", topic]
    options = ["--bootstrap-servers", kafka, "--stop-when-idle", "5"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=True, timeout=60
    )
    *lines, n_open, left = done.stdout.splitlines()
    assert done.stderr == ""
    assert sum(line.startswith("skipped: ") for line in lines) == 1
    events = [line.split() for line in lines if not line.startswith("skipped: ")]
    assert [words[1] for words in events if words[5] == "a"] == ["open", "update", "close"]
    assert [words[1] for words in events if words[5] == "b"] == ["open"]
    assert n_open == "open: 1"
    assert " key b " in left


def test_the_small_reader_refuses_a_topic_that_is_not_there(kafka: str) -> None:
    command = [sys.executable, str(READER), "--topic", "nowhere"]
    options = ["--bootstrap-servers", kafka, "--stop-when-idle", "5"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {kafka} has no topic nowhere\n"
