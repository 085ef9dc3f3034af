"""Windows round peaks of an ECG: the beats that they find, and what they cost.

    python benchmarks/aligned.py peaks
    python benchmarks/aligned.py cost

Peaks are compared with the beats that experts annotated in the eight MIT-BIH records: a beat is
found if there is a peak within 150 ms of it, and doubled if there are two.

For the cost, both detectors step through the same records of 36 samples of an MIT-BIH record, batch
by batch, in turn. Nothing of Kafka is measured. Prints samples a second of processor time, and the
ratio within a round: median and range over the rounds.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import ROOT
from numpy.typing import NDArray

from stream_detector.assembly import open_bundle
from stream_detector.core.detector import Detector
from stream_detector.core.records import RecordBatch, Samples, SeriesColumns
from stream_detector.datasets import load_samples, mitdb
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.windowing import cut_samples
from stream_detector.recipes import load_recipe
from stream_detector.training import train

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

BEATS = (*"NLRBAaJSVrFejnE/fQ?",)
"""Annotations that are beats, as the package wfdb lists them."""

NEAR = 54
"""Samples between a beat and its peak: 150 ms."""

CHUNK, RECORDS_A_BATCH = 36, 512
FIXED, ALIGNED = "mitdb-dense", "mitdb-beats"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["peaks", "cost"])
    parser.add_argument("--series", default="106")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.what == "peaks":
        compare_peaks()
    else:
        compare_cost(options.series, options.rounds)
    return 0


def compare_peaks() -> None:
    """Print how many annotated beats of each record have a peak."""
    rules = load_recipe(ROOT / "models" / f"{ALIGNED}.toml").rules
    assert rules.peaks is not None
    sys.stdout.write("| record | beats | found | doubled | peaks that are no beat |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for series in mitdb.SERIES:
        samples = load_samples("mitdb", series=series).test
        windows = cut_samples(samples, rules)
        first = round((samples.times_ms[0] - BASE_MS) * mitdb.SAMPLES_PER_SECOND / 1000)
        numbers = (windows.start_ms - BASE_MS) * mitdb.SAMPLES_PER_SECOND / 1000
        peaks = np.rint(numbers).astype(np.int64) + rules.peaks.n_before
        places, symbols = mitdb.beats(series)
        # A key warms up for the time of a frame.
        beats = places[np.isin(symbols, BEATS) & (places >= first + rules.peaks.n_frame)]
        n_near = count_near(peaks, beats)
        n_others = int((count_near(beats, peaks[peaks >= beats[0] - NEAR]) == 0).sum())
        sys.stdout.write(
            f"| {series} | {len(beats):,} | {(n_near > 0).mean():.2%} | {int((n_near > 1).sum())} "
            f"| {n_others} |\n"
        )


def count_near(places: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many places are near each of those wanted; places ascend."""
    stops = np.searchsorted(places, wanted + NEAR, side="right")
    return np.asarray(stops - np.searchsorted(places, wanted - NEAR), dtype=np.int64)


def compare_cost(series: str, n_rounds: int) -> None:
    """Print samples a second with both recipes."""
    samples = load_samples("mitdb", series=series).test
    batches = [
        batch_of(samples, start)
        for start in range(0, len(samples) - CHUNK + 1, CHUNK * RECORDS_A_BATCH)
    ]
    with tempfile.TemporaryDirectory() as folder:
        detectors = {name: fit(name, series, Path(folder) / name) for name in (FIXED, ALIGNED)}
    rates: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(n_rounds):
        for name, detector in detectors.items():
            rates[name].append(len(samples) / seconds_of(detector, batches))
    for name, found in rates.items():
        sys.stdout.write(f"{name}: {statistics.median(found):,.0f} samples/s\n")
    ratios = sorted(a / b for a, b in zip(rates[ALIGNED], rates[FIXED], strict=True))
    sys.stdout.write(
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})\n"
    )


def fit(recipe: str, series: str, out: Path) -> Detector:
    """Return the detector of a shipped recipe."""
    train(load_recipe(ROOT / "models" / f"{recipe}.toml", [f"data.series={series}"]), out)
    return open_bundle(out).detector


def batch_of(samples: Samples, start: int) -> RecordBatch:
    """Return the records of one batch, as float32."""
    stop = min(start + CHUNK * RECORDS_A_BATCH, len(samples) - CHUNK + 1)
    firsts = range(start, stop, CHUNK)
    values = [
        np.asarray(samples.values[first : first + CHUNK], "<f4").tobytes() for first in firsts
    ]
    n_records, numbers = len(firsts), np.array(firsts)
    series = SeriesColumns(
        keys=[b"106"] * n_records,
        partitions=np.zeros(n_records, np.int64),
        timestamps_ms=np.rint(samples.times_ms[numbers]).astype(np.int64),
    )
    headers = [[("content-type", b"application/vnd.stream-detector.float32")]] * n_records
    return RecordBatch.from_columns("ecg", values, series, numbers // CHUNK, headers)


def seconds_of(detector: Detector, batches: list[RecordBatch]) -> float:
    """Return the processor time of stepping through all batches."""
    state: DetectorState = detector.initial_state()
    began_s = time.process_time()
    for batch in batches:
        step = detector.step(state, batch, "float32")
        assert not step.rejected
        state = step.state
    return time.process_time() - began_s


if __name__ == "__main__":
    sys.exit(main())
