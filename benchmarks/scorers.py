"""What a window costs with calibrated checks, against the plain reconstruction error.

Both have the network of the recipe `telemetry` and score the same windows of the fleet of pumps: 60
steps of 3 features, one window every 5 samples, records of one sample in float32. Within each round
both are run in turn, so that a ratio compares what ran under the same load; the cost is time of the
processor, not of the clock. Alerts are rare in both. Where a Kafka is asked for, `detect` runs with
checks in a process of its own, in turn with a loop that only polls.

    python benchmarks/scorers.py [--rounds 9] [--bundle FOLDER] [--kafka] [--json FILE]
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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

from stream_detector.assembly import open_bundle
from stream_detector.core.detector import Detector
from stream_detector.core.records import FloatArray, RecordBatch, SeriesColumns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.scorer import Scorer
from stream_detector.datasets import load_samples
from stream_detector.recipes import load_recipe
from stream_detector.training import train

RECORDS_PER_BATCH = 8_192
BATCHES = 8
START_MS = int(time.time() * 1000) - 7_200_000  # not past what a topic keeps
N_WARM = 60
THRESHOLD = 3.0
"""Of the plain error, in scaled units: far above that of a normal window, as that of checks is."""

SHAPES = ((2048, 60, 3), (64, 60, 3), (1, 60, 3))


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--records", type=int, default=400_000, help="on Kafka")
    parser.add_argument("--kafka-rounds", type=int, default=3)
    parser.add_argument("--bundle", type=Path, help="of the recipe telemetry; trained if not given")
    parser.add_argument("--kafka", action="store_true", help="measure `detect` on a broker too")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = options.bundle
        if bundle is None:
            bundle = Path(name) / "telemetry"
            train(load_recipe(ROOT / "models" / "telemetry.toml", ["training.epochs=1"]), bundle)
        detectors = both(open_bundle(bundle).detector)
        figures = {
            "score": measure_scores(detectors, options.rounds),
            "step": measure_steps(detectors, options.rounds),
        }
        if options.kafka:
            with running_broker() as servers:
                figures["detect"] = measure_detect(servers, bundle, options)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def both(detector: Detector) -> dict[str, SampleDetector]:
    """Return the detector, and one that scores by the error of the same network alone."""
    assert isinstance(detector, SampleDetector)
    assert isinstance(detector.scorer, CheckScorer)
    plain = replace(detector.scorer.network, threshold=THRESHOLD)
    return {"plain": replace(detector, scorer=plain), "checks": detector}


def normal_samples() -> dict[str, FloatArray]:
    """Return the training samples of each pump without missing values."""
    samples = load_samples("pumps", series="0").train
    is_whole = ~np.isnan(samples.values).any(axis=1)  # (n_samples,)
    return {
        key: samples.values[is_whole & (samples.series == number)]
        for number, key in enumerate(samples.keys)
    }


class Fleet:
    """Pumps that send one sample a record, in turn, and begin again at their end."""

    def __init__(self) -> None:
        samples = normal_samples()
        self.keys = [key.encode() for key in samples]
        n_steps = min(map(len, samples.values()))
        values = np.stack([each[:n_steps] for each in samples.values()], axis=1)
        self._values = values.astype(np.float32)  # (n_steps, n_keys, n_features)
        self._at = 0

    def batch(self, n_records: int) -> RecordBatch:
        """Return the next records."""
        n_keys, numbers = len(self.keys), np.arange(self._at, self._at + n_records)
        self._at += n_records
        steps, columns = numbers // n_keys, numbers % n_keys
        values = [each.tobytes() for each in self._values[steps % len(self._values), columns]]
        keys = [self.keys[column] for column in columns.tolist()]
        times = START_MS + 1_000 * steps  # (n_records,)
        series = SeriesColumns(keys, np.zeros(n_records, np.int64), times)
        return RecordBatch.from_columns("telemetry", values, series, numbers)


def measure_scores(detectors: Mapping[str, SampleDetector], rounds: int) -> dict[str, Any]:
    """Return microseconds a window of `Scorer.score` alone, by number of windows in a call."""
    values = np.concatenate(list(normal_samples().values())).astype(np.float32)
    found = {}
    for n_windows, n_steps, n_features in SHAPES:
        starts = np.linspace(0, len(values) - n_steps, n_windows).astype(np.intp)
        windows = np.stack([values[start : start + n_steps] for start in starts])
        assert windows.shape[2] == n_features
        n_calls = max(4, 4096 // n_windows)
        costs: dict[str, list[float]] = {name: [] for name in detectors}
        for _ in range(rounds):
            for name, each in detectors.items():
                seconds = processor_s(score_often(each.scorer, windows, n_calls))
                costs[name].append(seconds * 1e6 / (n_calls * n_windows))
        found[str(n_windows)] = compare(costs)
    return found


def measure_steps(detectors: Mapping[str, SampleDetector], rounds: int) -> dict[str, Any]:
    """Return microseconds a window of `SampleDetector.step`, and the ratio of both."""
    fleet = Fleet()
    states, stride = {}, detectors["checks"].windows.stride
    first = fleet.batch(N_WARM * len(fleet.keys))
    for name, detector in detectors.items():
        states[name] = detector.step(detector.initial_state(), first, "float32").state

    def stepping(name: str) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                states[name] = detectors[name].step(states[name], batch, "float32").state

        return run

    costs: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(rounds):
        batches = [fleet.batch(RECORDS_PER_BATCH) for _ in range(BATCHES)]
        for name in detectors:
            seconds = processor_s(stepping(name))
            costs[name].append(seconds * 1e6 * stride / (BATCHES * RECORDS_PER_BATCH))
    return compare(costs)


def score_often(scorer: Scorer, windows: FloatArray, n_calls: int) -> Callable[[], None]:
    """Return what scores the same windows several times."""

    def run() -> None:
        for _ in range(n_calls):
            scorer.score(windows)

    return run


def compare(costs: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return the spread of costs, and of their ratio within a round."""
    pairs = zip(costs["checks"], costs["plain"], strict=True)
    return {name: spread(each) for name, each in costs.items()} | {
        "ratio": spread([checks / plain for checks, plain in pairs])
    }


def processor_s(work: Callable[[], Any]) -> float:
    """Return the processor's time for some work, the collector at rest as in the service."""
    gc.collect()
    gc.disable()
    start_s = time.process_time()
    work()
    seconds = time.process_time() - start_s
    gc.enable()
    return seconds


def measure_detect(servers: str, bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return records a second of the shipped path, and their share of a loop that only polls."""
    topic = "scorers"
    make_topics(servers, topic)
    fill(servers, topic, options.records)
    rates: dict[str, list[float]] = {"bare": [], "detect": []}
    for number in range(options.kafka_rounds):
        for name, each in rates.items():
            outputs = [f"{topic}-{name}-{number}-{kind}" for kind in "ad"]
            make_topics(servers, *outputs)
            command = [sys.executable, str(ROOT / "benchmarks" / "workers.py"), name]
            command += ["--client", "confluent", "--bundle", str(bundle), "--servers", servers]
            command += ["--topic", topic, "--content-type", "float32", "--group", outputs[0]]
            command += ["--n-records", str(options.records)]
            command += ["--alerts-topic", outputs[0], "--dead-letter-topic", outputs[1]]
            each.append(run_worker(command)["records_per_s"])
            delete_topics(servers, *outputs)
    delete_topics(servers, topic)
    share = spread([a / b for a, b in zip(rates["detect"], rates["bare"], strict=True)])
    return {"records_per_s": {name: spread(each) for name, each in rates.items()}, "share": share}


def fill(servers: str, topic: str, n_records: int) -> None:
    """Write records of the fleet, each pump always to the same partition."""
    fleet = Fleet()
    settings = {"linger.ms": 20, "batch.size": 1_000_000, "acks": "all"}
    producer = Producer({"bootstrap.servers": servers, **settings})
    for start in range(0, n_records, RECORDS_PER_BATCH):
        batch = fleet.batch(min(RECORDS_PER_BATCH, n_records - start))
        columns = batch.series()
        for row, value in enumerate(batch.values):
            key = columns.keys[row]
            assert key is not None
            partition = fleet.keys.index(key) % N_PARTITIONS
            while True:
                try:
                    at_ms = int(columns.timestamps_ms[row])
                    producer.produce(topic, value, key, partition, timestamp=at_ms)
                    break
                except BufferError:
                    producer.poll(0.05)
    producer.flush()


def show(figures: Mapping[str, Any]) -> None:
    """Print the figures as Markdown tables."""
    print("\n| us a window, median (min - max) | plain | checks | ratio |\n|---|---|---|---|")
    rows = {f"`score` of {name} windows": found for name, found in figures["score"].items()}
    for name, found in (rows | {"`SampleDetector.step`": figures["step"]}).items():
        print(f"| {name} | {tell(found['plain'], 2)} | {tell(found['checks'], 2)} | "
              f"{tell(found['ratio'], 2)} |")  # fmt: skip
    if "detect" in figures:
        print("\n| confluent, float32 | records/s, median (min - max) |\n|---|---|")
        for name, values in figures["detect"]["records_per_s"].items():
            print(f"| {name} | {tell(values)} |")
        print(f"| detect / bare | {tell(figures['detect']['share'], 2)} |")


if __name__ == "__main__":
    main()
