"""Measure what `init` and nothing else finds in fleets of pumps that it has never seen.

For each seed: 20 pumps, 5 hours to train on without a label, 3 hours with 45 faults of five kinds
to judge. The columns have other names than the product's own. With `--mixed`, all eight hours are
given to train on, faults included and without labels. With `--held`, only so many windows are in
memory while the recipe that `init` writes is trained, and the others are read from Parquet. With
`--hours`, so many are judged, in which the time of day goes on to where training never saw it.

    python benchmarks/fleet.py --seeds 10 11 12 [--mixed] [--held 10000] [--hours 9]
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import csv as csv_files
from pyarrow import parquet

from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.pumps import FEATURES, TEST_HOURS, TRAIN_HOURS, Fleet, simulate

KINDS = ("spike", "stuck", "shift", "drift", "oscillation")


def main() -> None:
    """Print a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--mixed", action="store_true", help="train on the faults, too")
    parser.add_argument("--held", type=int, help="windows in memory")
    parser.add_argument("--hours", type=float, default=TEST_HOURS, help="hours to judge")
    chosen = parser.parse_args()
    print("| seed | found | false | feature right | median delay | " + " | ".join(KINDS) + " |")
    print("|---" * (5 + len(KINDS)) + "|")
    for seed in chosen.seeds:
        with tempfile.TemporaryDirectory() as folder:
            fleet = simulate(seed, kinds=KINDS, test_hours=chosen.hours)
            found = measure(fleet, Path(folder), chosen.held, is_mixed=chosen.mixed)
        print(row_of(seed, found), flush=True)


def measure(fleet: Fleet, folder: Path, n_held: int | None, *, is_mixed: bool) -> dict[str, Any]:
    """Return what `evaluate --json` prints of the detector that `init` makes."""
    write_files(fleet, folder, is_mixed=is_mixed)
    run(folder, "init", "train.csv", "--yes", "--recipe-only", "--out", "fleet.toml")
    keys = []
    if n_held is not None:
        convert_to_parquet(folder / "train.csv")
        keys = [
            "data.name=parquet",
            "data.path=train.parquet",
            f"data.n_windows_in_memory={n_held}",
        ]
    words = [word for key in keys for word in ("--set", key)]
    run(folder, "train", "fleet.toml", "--out", "bundle", *words)
    printed = run(folder, "evaluate", "bundle", "--dataset", "test.csv", "--json")
    found: dict[str, Any] = json.loads(printed)
    return found


def write_files(fleet: Fleet, folder: Path, *, is_mixed: bool) -> None:
    """Write the samples to train on, and those to judge with their labels."""
    samples, cut_ms = fleet.samples, BASE_MS + TRAIN_HOURS * 3_600_000 - 500
    order = np.argsort(samples.times_ms, kind="stable")
    named = {name: (folder / f"{name}.csv").open("w", newline="") for name in ("train", "test")}
    with named["train"] as train_file, named["test"] as test_file:
        train, test = csv.writer(train_file), csv.writer(test_file)
        train.writerow(["machine", "time", *FEATURES])
        notes = ["label", "label_kind", "label_feature"]
        test.writerow(["key", "timestamp_ms", *FEATURES, *notes])
        for at in order.tolist():
            key, time_ms = samples.keys[samples.series[at]], float(samples.times_ms[at])
            values = ["" if np.isnan(each) else f"{each:.4f}" for each in samples.values[at]]
            if is_mixed or time_ms < cut_ms:
                train.writerow([key, round(time_ms), *values])
            if time_ms >= cut_ms:
                test.writerow([key, round(time_ms), *values, *notes_of(fleet, at)])


def convert_to_parquet(path: Path) -> None:
    """Write a CSV file as Parquet beside it, with small row groups."""
    parquet.write_table(
        csv_files.read_csv(path), path.with_suffix(".parquet"), row_group_size=16_384
    )


def notes_of(fleet: Fleet, at: int) -> tuple[int, str, str]:
    """Return label, kind and feature of the fault that a sample is part of."""
    samples = fleet.samples
    if samples.labels is None or not samples.labels[at]:
        return 0, "", ""
    key, time_ms = samples.keys[samples.series[at]], float(samples.times_ms[at])
    of_key = [each for each in fleet.faults if each.key == key]
    fault = min(of_key, key=lambda each: abs((each.start_ms + each.end_ms) / 2 - time_ms))
    return 1, fault.kind, fault.feature


def run(folder: Path, *words: str) -> str:
    """Run a command of the product in a folder, and return what it prints."""
    command = [sys.executable, "-m", "stream_detector", *words]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def row_of(seed: int, found: dict[str, Any]) -> str:
    """Return the row of a seed."""
    events, alerts, kinds = found["events"], found["alerts"], found["by_kind"]
    right = f"{events['n_feature_right']} of {events['n_feature_known']}"
    cells: list[object] = [seed, f"{events['n_found']} of {events['n_events']}", alerts["n_false"]]
    cells += [right, f"{events['delay_ms'] / 1_000:.0f} s"]
    for kind in KINDS:
        one = kinds[kind]
        delay = f", {one['delay_ms'] / 1_000:.0f} s" if one["n_found"] else ""
        cells.append(f"{one['n_found']} of {one['n_events']}{delay}")
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
