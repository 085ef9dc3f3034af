"""Measure what `init` and nothing else makes of series that it has never seen.

Each series of SMD or NAB as two CSV files: what `init` is given, and what follows, with labels, to
judge. A sample is a row; SMD has 38 metrics of a server a minute, NAB one feature, mostly each five
minutes.

    python benchmarks/unseen.py smd|nab [--series 1-6 2-1 2-7 3-3]
"""

import argparse
import csv
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fleet import run

from stream_detector.core.records import Samples
from stream_detector.datasets import load_samples, nab, smd

SETS = {"smd": smd.SERIES, "nab": nab.SERIES}
STATED = 0.2
"""False alarms a day that `init` states."""

CONSTANT = "artificialNoAnomaly/art_flatline"
"""The one series of NAB whose values never vary, so `init` refuses it."""

COLUMNS = (
    "series", "VUS-PR causal", "put back", "faults", "found", "alerts", "false", "false a day",
    "time on alert", "false, by check",
)  # fmt: skip


def main() -> None:
    """Print a row for each series, and one for all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--series", nargs="+", help="all of the set if not given")
    chosen = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    found = []
    for name in chosen.series or [each for each in SETS[chosen.data] if each != CONSTANT]:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(chosen.data, name, Path(folder)))
        print(row_of(name, found[-1]), flush=True)
    print(totals_of(found))


def measure(data: str, name: str, folder: Path) -> dict[str, Any]:
    """Return what `evaluate --json` prints of the detector that `init` makes."""
    dataset = load_samples(data, series=name)
    write(folder / "train.csv", dataset.train, dataset.feature_names, has_labels=False)
    write(folder / "test.csv", dataset.test, dataset.feature_names, has_labels=True)
    run(folder, "init", "train.csv", "--yes", "--recipe-only", "--out", "unseen.toml")
    run(folder, "train", "unseen.toml", "--out", "bundle")
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


def row_of(name: str, found: dict[str, Any]) -> str:
    """Return the row of a series; VUS-PR is of those with faults."""
    events, alerts, points = found["events"], found["alerts"], found["points"]
    checks = Counter(each["check"] for each in found["false_alarms"])
    cells: list[object] = [
        name,
        *(f"{points[each]['vus_pr']:.3f}" if points else "" for each in ("causal", "put_back")),
        events["n_events"],
        events["n_found"],
        alerts["n_alerts"],
        alerts["n_false"],
        f"{alerts['false_per_day']['value']:.2f}",
        f"{alerts['alert_share']:.3f}",
        ", ".join(f"{check} {n}" for check, n in checks.most_common()),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def totals_of(found: Sequence[dict[str, Any]]) -> str:
    """Return what all series together come to."""
    n_events, n_found = (
        sum(each["events"][name] for each in found) for name in ("n_events", "n_found")
    )
    rates = [each["alerts"]["false_per_day"]["value"] for each in found]
    shares = [each["alerts"]["alert_share"] for each in found]
    return (
        f"\n{n_found} of {n_events} faults found; false a day: median {median(rates):.2f}, at most "
        f"{STATED} in {sum(rate <= STATED for rate in rates)} of {len(rates)}, largest "
        f"{max(rates):.2f}; time on alert: median {median(shares):.3f}"
    )


if __name__ == "__main__":
    main()
