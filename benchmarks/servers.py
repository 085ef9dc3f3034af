"""Measure what `init` and nothing else makes of a server that it has never seen.

Each machine of SMD as two CSV files: what `init` is given, and what follows, with labels, to judge.
A minute is a row, and a metric is a column.

    python benchmarks/servers.py [--machines 1-6 2-1 2-7 3-3]
"""

import argparse
import csv
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from fleet import run

from stream_detector.core.records import Samples
from stream_detector.datasets import smd

COLUMNS = (
    "machine", "VUS-PR causal", "put back", "faults", "found", "alerts", "false", "false a day",
    "time on alert", "false, by check",
)  # fmt: skip


def main() -> None:
    """Print a row for each machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", nargs="+", default=smd.SERIES, choices=smd.SERIES)
    chosen = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for machine in chosen.machines:
        with tempfile.TemporaryDirectory() as folder:
            print(row_of(machine, measure(machine, Path(folder))), flush=True)


def measure(machine: str, folder: Path) -> dict[str, Any]:
    """Return what `evaluate --json` prints of the detector that `init` makes."""
    dataset = smd.load(machine)
    write(folder / "train.csv", dataset.train, dataset.feature_names, has_labels=False)
    write(folder / "test.csv", dataset.test, dataset.feature_names, has_labels=True)
    run(folder, "init", "train.csv", "--yes", "--recipe-only", "--out", "server.toml")
    run(folder, "train", "server.toml", "--out", "bundle")
    printed = run(folder, "evaluate", "bundle", "--dataset", "test.csv", "--json")
    found: dict[str, Any] = json.loads(printed)
    return found


def write(path: Path, samples: Samples, names: tuple[str, ...], *, has_labels: bool) -> None:
    """Write samples as a person would have them."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", *(f"metric_{name}" for name in names), *["label"] * has_labels])
        labels = samples.labels if has_labels else None
        for at, (time_ms, values) in enumerate(zip(samples.times_ms, samples.values, strict=True)):
            label = [] if labels is None else [int(labels[at])]
            table.writerow([round(float(time_ms)), *values.tolist(), *label])


def row_of(machine: str, found: dict[str, Any]) -> str:
    """Return the row of a machine."""
    events, alerts, points = found["events"], found["alerts"], found["points"]
    checks = Counter(each["check"] for each in found["false_alarms"])
    cells: list[object] = [
        machine,
        f"{points['causal']['vus_pr']:.3f}",
        f"{points['put_back']['vus_pr']:.3f}",
        events["n_events"],
        events["n_found"],
        alerts["n_alerts"],
        alerts["n_false"],
        f"{alerts['false_per_day']['value']:.2f}",
        f"{alerts['alert_share']:.3f}",
        ", ".join(f"{name} {n}" for name, n in checks.most_common()),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
