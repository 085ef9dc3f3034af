"""What a sample costs at 100 and at 100,000 keys, and what a key costs in memory.

Two parts. The detector alone: prepared batches through `SampleDetector.step`, all keys warm, keys
out of step so that windows complete all the time, both numbers of keys in turn within each round.
And the whole `detect` path on a real Kafka, in a process of its own. There the keys begin cold, so
the table says how many samples there were to a window: a warm stream has one in `stride`, 32.

    python benchmarks/keys.py [--rounds 5] [--skip-kafka] [--profile] [--json FILE]
"""

import argparse
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from common import (
    N_PARTITIONS,
    ROOT,
    delete_topics,
    make_topics,
    run_worker,
    running_broker,
    spread,
    tell,
)
from confluent_kafka import Producer
from rich.progress import track

from stream_detector.assembly import Served, open_bundle
from stream_detector.core.records import RecordBatch, SeriesColumns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.recipes import load_recipe
from stream_detector.training import train

if TYPE_CHECKING:
    from stream_detector.core.windowing.window_batch import WindowState

RECORDS_PER_BATCH = 32_768
BATCHES = 8
START_MS = int(time.time() * 1000) - 7_200_000  # not past what a topic keeps
INTERVAL_MS = 1_000 / 360
CHUNK = 36
WARM_CHUNK = 64
MANY, FEW = 100_000, 100
FORMATS = (("float32", CHUNK), ("json", 1))
# What is sent is noise, which an ordinary threshold would find anomalous throughout: what alerts
# cost is not asked here.
QUICKLY = ("data.series=100", "training.epochs=1", "threshold.n_mad=100")


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kafka-rounds", type=int, default=3)
    parser.add_argument(
        "--records", type=int, default=600_000, help="JSON; four times as many float32"
    )
    parser.add_argument("--skip-kafka", action="store_true")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        train(load_recipe(ROOT / "models" / "mitdb-dense.toml", QUICKLY), bundle)
        served = open_bundle(bundle)
        figures = {"detector": measure_detector(served, options.rounds, options.profile)}
        if not options.skip_kafka:
            with running_broker() as servers:
                figures["detect"] = measure_detect(servers, bundle, options)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@dataclass
class Fleet:
    """Sensors of which each is so many samples further along, a step apart from its neighbour."""

    n_keys: int
    n_features: int
    n_sent: int = 0  # samples of each key

    def __post_init__(self) -> None:
        self.keys = [b"sensor-%06d" % number for number in range(self.n_keys)]
        self.random = np.random.default_rng(0)
        self.at = 0

    def batch(self, content_type: str, chunk: int, n_records: int) -> RecordBatch:
        """Return the next records: the keys in turn, `chunk` samples each."""
        keys, times = [], np.empty(n_records, dtype=np.int64)
        for row in range(n_records):
            keys.append(self.keys[self.at])
            times[row] = START_MS + round((self.n_sent + self.at) * INTERVAL_MS)
            self.at += 1
            if self.at == self.n_keys:
                self.at, self.n_sent = 0, self.n_sent + chunk
        shape = (n_records, chunk, self.n_features)
        samples = self.random.normal(0.0, 0.1, shape).astype(np.float32)
        pairs = zip(samples, times.tolist(), strict=True)
        values = [encode(each, time_ms, content_type) for each, time_ms in pairs]
        series = SeriesColumns(keys, np.zeros(n_records, np.int64), times)
        return RecordBatch.from_columns("telemetry", values, series, range(n_records))


def encode(samples: Any, time_ms: int, content_type: str) -> bytes:
    """Return some samples as a record's value."""
    if content_type == "float32":
        return bytes(samples.tobytes())
    values = samples.astype(np.float64).round(5).tolist()
    return orjson.dumps({"values": values, "timestamp_ms": time_ms})


def measure_detector(served: Served, rounds: int, profile: bool) -> dict[str, Any]:
    """Return cost by format and number of keys, their ratio, and bytes a key."""
    detector = served.detector
    assert isinstance(detector, SampleDetector)
    found: dict[str, Any] = {}
    for content_type, chunk in FORMATS:
        runs: dict[int, list[float]] = {FEW: [], MANY: []}
        fleets = {n_keys: Fleet(n_keys, detector.windows.n_features) for n_keys in runs}
        states = {n_keys: warm(detector, fleet) for n_keys, fleet in fleets.items()}
        for _ in track(range(rounds), description=f"detector, {content_type}"):
            for n_keys, fleet in fleets.items():
                batches = [
                    fleet.batch(content_type, chunk, RECORDS_PER_BATCH) for _ in range(BATCHES)
                ]
                states[n_keys], seconds = run(
                    detector, states[n_keys], (content_type, batches), profile
                )
                runs[n_keys].append(seconds * 1e6 / (BATCHES * RECORDS_PER_BATCH * chunk))
        ratios = [many / few for few, many in zip(runs[FEW], runs[MANY], strict=True)]
        found[content_type] = {
            "chunk": chunk,
            "us_per_sample": {n_keys: spread(values) for n_keys, values in runs.items()},
            "ratio": spread(ratios),
            "bytes_per_key": bytes_per_key(states[MANY], MANY),
            "bytes_per_window": 4 * detector.windows.n_steps * detector.windows.n_features,
        }
    return found


def warm(detector: SampleDetector, fleet: Fleet) -> DetectorState:
    """Return the state once every key has had more than a window."""
    state: DetectorState = detector.initial_state()
    n_records = -(-(detector.windows.n_steps + WARM_CHUNK) // WARM_CHUNK) * fleet.n_keys
    for start in range(0, n_records, RECORDS_PER_BATCH):
        n_here = min(RECORDS_PER_BATCH, n_records - start)
        batch = fleet.batch("float32", WARM_CHUNK, n_here)
        state = detector.step(state, batch, "float32").state
    return state


def run(
    detector: SampleDetector,
    state: DetectorState,
    work: tuple[Any, list[RecordBatch]],
    profile: bool,
) -> tuple[DetectorState, float]:
    """Step through some batches, the collector at rest as in the service, and time it."""
    content_type, batches = work
    profiler = cProfile.Profile() if profile else None
    gc.collect()
    gc.disable()
    if profiler:
        profiler.enable()
    start_s = time.perf_counter()
    for batch in batches:
        state = detector.step(state, batch, content_type).state
    seconds = time.perf_counter() - start_s
    gc.enable()
    if profiler:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(14)
    return state, seconds


def bytes_per_key(state: Any, n_keys: int) -> float:
    """Return all that is held for a key: its row, its numbers, its name and its place."""
    windows: WindowState = state.windows
    keyed_state = windows.apply_delta()
    index = keyed_state._slots[0]
    small = (
        sum(map(sys.getsizeof, keyed_state.keys))
        + sys.getsizeof(keyed_state.keys)
        + sys.getsizeof(index)
    )
    small += sum(map(sys.getsizeof, index.values()))
    return (keyed_state.n_bytes + small) / n_keys


def measure_detect(servers: str, bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return samples a second of the shipped path by client, format and number of keys."""
    found: dict[str, Any] = {}
    for content_type, chunk in FORMATS:
        n_records = options.records * (4 if content_type == "float32" else 1)
        topics = {n_keys: f"keys-{content_type}-{n_keys}" for n_keys in (FEW, MANY)}
        make_topics(servers, *topics.values())
        for n_keys, topic in topics.items():
            fill(servers, topic, Fleet(n_keys, 2), (content_type, chunk, n_records))
        rates: dict[str, list[float]] = {}
        windows: dict[str, int] = {}
        for number in track(range(options.kafka_rounds), description=f"detect, {content_type}"):
            for client in ("kafka-python", "confluent"):
                for n_keys, topic in topics.items():
                    name = f"{client}, {n_keys:,} keys"
                    outputs = [f"{topic}-{client}-{number}-{kind}" for kind in "ad"]
                    make_topics(servers, *outputs)
                    command = [sys.executable, str(ROOT / "benchmarks" / "workers.py"), "detect"]
                    command += ["--client", client, "--bundle", str(bundle), "--servers", servers]
                    command += ["--topic", topic, "--content-type", content_type]
                    command += ["--n-records", str(n_records), "--group", outputs[0]]
                    command += ["--alerts-topic", outputs[0], "--dead-letter-topic", outputs[1]]
                    result = run_worker(command)
                    rates.setdefault(name, []).append(result["records_per_s"] * chunk)
                    windows[name] = result["n_windows"]
                    delete_topics(servers, *outputs)
        delete_topics(servers, *topics.values())
        found[content_type] = {
            name: spread(values) | {"samples_per_window": n_records * chunk / max(windows[name], 1)}
            for name, values in rates.items()
        }
    return found


def fill(servers: str, topic: str, fleet: Fleet, what: tuple[str, int, int]) -> None:
    """Write records of a fleet, each key always to the same partition."""
    content_type, chunk, n_records = what
    settings = {"linger.ms": 20, "batch.size": 1_000_000, "acks": "all"}
    producer = Producer({"bootstrap.servers": servers, **settings})
    for start in range(0, n_records, RECORDS_PER_BATCH):
        n_here = min(RECORDS_PER_BATCH, n_records - start)
        batch = fleet.batch(content_type, chunk, n_here)
        columns = batch.series()
        for row, value in enumerate(batch.values):
            key, time_ms = columns.keys[row], int(columns.timestamps_ms[row])
            assert key is not None
            partition = int(key[-6:]) % N_PARTITIONS
            while True:
                try:
                    producer.produce(topic, value, key, partition, timestamp=time_ms)
                    break
                except BufferError:
                    producer.poll(0.05)
    producer.flush()


def show(figures: dict[str, Any]) -> None:
    """Print the figures as Markdown tables."""
    print("\n| format | samples a record | us a sample, 100 keys | 100,000 keys | ratio |")
    print("|---|---|---|---|---|")
    for content_type, found in figures["detector"].items():
        few, many = (tell(found["us_per_sample"][n_keys], 2) for n_keys in (FEW, MANY))
        ratio = tell(found["ratio"], 2)
        print(f"| {content_type} | {found['chunk']} | {few} | {many} | {ratio} |")
        share = found["bytes_per_key"] / found["bytes_per_window"]
        print(f"\nbytes a key {found['bytes_per_key']:,.0f}, {share:.2f} of its window\n")
    for content_type, rates in figures.get("detect", {}).items():
        print(
            f"\n{content_type}\n\n| detect | samples/s, median (min - max) | samples to a window |"
        )
        print("|---|---|---|")
        for name, values in rates.items():
            print(f"| {name} | {tell(values)} | {values['samples_per_window']:,.0f} |")


if __name__ == "__main__":
    main()
