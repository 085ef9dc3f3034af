"""What the benchmarks share: a broker, a bundle, records to send, and how figures are shown."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stream_detector.core.records import FloatArray
from stream_detector.datasets import load_dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

N_PARTITIONS = 4


@contextmanager
def running_broker() -> Iterator[str]:
    """Give the address of a real Kafka: the one named by KAFKA_BOOTSTRAP_SERVERS, or our own."""
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if named:
        yield named
        return
    from local_kafka import LocalKafka

    with LocalKafka(java_options=()) as broker:
        yield broker.bootstrap_servers


def make_topics(servers: str, *names: str) -> None:
    """Make topics of `N_PARTITIONS` partitions and wait for them."""
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.create_topics([NewTopic(name, N_PARTITIONS) for name in names]).values():
        done.result(timeout=30)


def delete_topics(servers: str, *names: str) -> None:
    """Delete topics, so that the disk does not fill up over the rounds."""
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.delete_topics(list(names)).values():
        done.result(timeout=30)


def fill(servers: str, topic: str, values: Sequence[bytes], n_records: int) -> None:
    """Write `n_records` records, going round `values`, spread evenly over the partitions."""
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 20, "batch.size": 1_000_000, "acks": "all"}
    )
    for number in range(n_records):
        while True:
            try:
                producer.produce(
                    topic, values[number % len(values)], b"series", number % N_PARTITIONS
                )
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def normal_beats() -> FloatArray:
    """Return the normal test beats of ECG5000's official split."""
    data = load_dataset("ecg5000", split="official")
    assert data.test_labels is not None
    return np.ascontiguousarray(data.test[data.test_labels == 0])


def anomalous_beats() -> FloatArray:
    """Return the anomalous test beats of ECG5000's official split."""
    data = load_dataset("ecg5000", split="official")
    assert data.test_labels is not None
    return np.ascontiguousarray(data.test[data.test_labels == 1])


RARELY = ("method=quantile", "quantile=0.999", "calibrate_on=held-out")
"""A threshold that about one normal beat in a thousand exceeds."""


def train_bundle(folder: Path, *changes: str) -> Path:
    """Train the tutorial's network; `changes` are made to the recipe's threshold."""
    out = folder / "bundle"
    command = [sys.executable, "-m", "stream_detector", "train"]
    command += [str(ROOT / "models" / "ecg5000-dense.toml"), "--out", str(out)]
    for change in changes:
        command += ["--set", f"threshold.{change}"]
    subprocess.run(command, check=True)
    return out


def run_worker(command: Sequence[str]) -> dict[str, Any]:
    """Run one measured process and return the JSON object on its last line."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        message = f"{' '.join(command)} failed:\n{done.stderr[-3000:]}"
        raise SystemExit(message)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def processor_s() -> float:
    """Return the processor time of this process and all below it, those that ended included."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(fields[1])
            seconds[int(entry.name)] = sum(map(int, fields[11:15])) / ticks
    ours, more = {os.getpid()}, True
    while more:
        below = {each for each, parent in parents.items() if parent in ours} - ours
        ours |= below
        more = bool(below)
    return sum(seconds[each] for each in ours)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and most of several runs."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def tell(values: Mapping[str, float], digits: int = 0) -> str:
    """Return "median (min - max)"."""
    return "{median:,.{d}f} ({min:,.{d}f} - {max:,.{d}f})".format(**values, d=digits)
