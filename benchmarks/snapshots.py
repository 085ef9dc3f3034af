"""Snapshots of a state: bytes a key, and microseconds to write and read them.

    python benchmarks/snapshots.py --keys 1000

Each key sends 300 samples of two features; a window is 256 samples, and samples wait for 2 s. No
alert is open. Prints, for 1,000 keys: the fastest, the median and the slowest of the rounds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference, RecordBatch, SeriesColumns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.snapshot import dump, load
from stream_detector.core.windowing.rules import WindowRules

START_MS = 1_767_225_600_000
N_SAMPLES, N_RECORDS_A_KEY = 60, 5
RULES = WindowRules(256, 2, 64, 1_000, 5_000, 2_000, "interpolate", 0.5, 10**9)
ALERTING = AlertRules(1, 1, 60_000, 100_000, 0, 600_000, 10, 600_000, (("warning", 1.0),))
BUNDLE = BundleReference("snapshots", "1")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    detector = make_detector()
    state = state_of(detector, options.keys)
    data = dump(state, BUNDLE.version)
    n_row = 4 * RULES.n_steps * RULES.n_features
    print(f"{len(data) / options.keys:,.0f} bytes a key, {n_row:,} of them the row")
    measure(
        "a copy of the bytes alone", lambda: bytes(memoryview(data)), options.keys, options.rounds
    )
    measure("dump", lambda: dump(state, BUNDLE.version), options.keys, options.rounds)
    empty = detector.initial_state
    measure("load", lambda: load([data], empty(), BUNDLE.version), options.keys, options.rounds)
    return 0


def make_detector() -> SampleDetector:
    """Return a detector whose network gives zeros, and that finds nothing anomalous."""
    scorer = ReconstructionScorer(
        reconstruct=np.zeros_like,
        scaler=Scaler("none", np.zeros(2, np.float32), np.ones(2, np.float32)),
        error_kind="mae",
        threshold=100.0,
        bundle=BUNDLE,
        image=None,
    )
    return SampleDetector(BUNDLE, scorer, RULES, ALERTING, Features.generated(2))


def state_of(detector: SampleDetector, n_keys: int) -> DetectorState:
    """Return the state after five records of each key."""
    random, numbers = np.random.default_rng(1), np.arange(n_keys)
    keys, partitions = [b"pump-%06d" % number for number in numbers], np.zeros(n_keys, np.int64)
    state: DetectorState = detector.initial_state().open_partition(0, 0)
    for at in range(N_RECORDS_A_KEY):
        shape = (n_keys, N_SAMPLES, RULES.n_features)
        values = [each.tobytes() for each in random.normal(size=shape).astype("<f4")]
        times_ms = np.full(n_keys, START_MS + at * N_SAMPLES * 1_000)
        series = SeriesColumns(keys, partitions, times_ms)
        batch = RecordBatch.from_columns("telemetry", values, series, numbers + at * n_keys)
        step = detector.step(state, batch, "float32")
        assert not step.rejected
        state = step.state
    return state


def measure(name: str, call: Callable[[], object], n_keys: int, n_rounds: int) -> None:
    """Time a call and print microseconds for 1,000 keys."""
    times = []
    for _ in range(n_rounds):
        began_s = time.perf_counter()
        call()
        times.append((time.perf_counter() - began_s) * 1e9 / n_keys)
    fastest, slowest, median = min(times), max(times), statistics.median(times)
    print(f"{name}: {fastest:,.0f} us, median {median:,.0f}, slowest {slowest:,.0f}")


if __name__ == "__main__":
    sys.exit(main())
