"""The tutorial's beats as whole windows, and one after the other as samples of a recording.

    python benchmarks/raw_beats.py [--seeds 0 1 2]

Trains `ecg5000-dense` and `ecg5000-raw` with the same seeds. The test beats of each pass through
the service and the in-memory broker: as 1,000 records of a beat, and as records of 36, 140 and 997
samples. Compares scores with `==`, and counts verdicts and alerts.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import ROOT
from numpy.typing import NDArray

from stream_detector.assembly import open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import Detector
from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.datasets import load_dataset, load_samples
from stream_detector.datasets.ecg5000 import SAMPLE_INTERVAL_MS
from stream_detector.ports import SystemClock
from stream_detector.recipes import load_recipe
from stream_detector.replay import ReplayOptions, SampleReplayOptions, replay, replay_samples
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics
from stream_detector.training import train

CHUNKS = (36, 140, 997)


class Found(NamedTuple):
    """Scores of the beats, their threshold, and the alert events."""

    scores: NDArray[np.float64]
    threshold: float
    events: Sequence[dict[str, Any]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    logging.getLogger("stream_detector").setLevel(logging.ERROR)
    labels = load_dataset("ecg5000").test_labels
    assert labels is not None
    row("seed", "records of", "accuracy", "anomalous", "scores and threshold", "alerts")
    row(*["---"] * 6)
    with tempfile.TemporaryDirectory() as folder:
        for seed in parser.parse_args().seeds:
            whole = fit("ecg5000-dense", seed, Path(folder))
            raw = fit("ecg5000-raw", seed, Path(folder))
            expected = run(whole, None)
            for chunk in (None, *CHUNKS):
                found = expected if chunk is None else run(raw, chunk)
                is_equal = np.array_equal(found.scores, expected.scores)
                is_equal &= found.threshold == expected.threshold
                is_anomalous = found.scores > found.threshold
                row(
                    seed,
                    "a beat" if chunk is None else f"{chunk} samples",
                    f"{(is_anomalous == (labels == 1)).mean():.3f}",
                    is_anomalous.sum(),
                    "equal" if is_equal else "DIFFERENT",
                    counted(found.events),
                )


def fit(name: str, seed: int, folder: Path) -> Detector:
    """Return the detector of a shipped recipe."""
    out = folder / f"{name}-{seed}"
    train(load_recipe(ROOT / "models" / f"{name}.toml", [f"training.seed={seed}"]), out)
    return open_bundle(out).detector


def run(detector: Detector, chunk: int | None) -> Found:
    """Run the service over the test beats, or over samples so many to a record."""
    broker, clock = MemoryBroker(), SystemClock()
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    if chunk is None:
        beats = load_dataset("ecg5000").test
        replay(beats, broker.connect(), "telemetry", options=ReplayOptions(), clock=clock)
    else:
        samples = load_samples("ecg5000-raw", series="tutorial").test
        options = SampleReplayOptions(SAMPLE_INTERVAL_MS, chunk, content_type="float32")
        replay_samples(samples, broker.connect(), "telemetry", options=options, clock=clock)
    steps: list[Step] = []

    def on_step(batch: RecordBatch, step: Step) -> None:
        del batch
        steps.append(step)

    settings = load_settings(DetectSettings, group="beats", stop_when_idle_s=0.5)
    client = broker.connect(topics=["telemetry"], group="beats")
    service = Service(client, detector, settings, Metrics(), clock)
    service.add_observer(on_step)
    service.run()
    scores = np.concatenate([step.scores.scores for step in steps])
    events = [json.loads(value) for _, value in broker.records("alerts") if value is not None]
    return Found(scores, steps[0].scores.threshold, events)


def counted(events: Sequence[dict[str, Any]]) -> str:
    """Return how many alerts opened and closed, and how many beats these were about."""
    last = {event["alert_id"]: event for event in events}
    n_closed = sum(event["event"] == "close" for event in last.values())
    n_beats = sum(event["n_anomalous"] for event in last.values())
    return f"{len(last)} opened, {n_closed} closed, of {n_beats} beats"


def row(*cells: object) -> None:
    """Print a row of the table."""
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
