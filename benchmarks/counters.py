"""Measure what `init` finds in servers that have counters and disks that fill.

For each seed: eight servers, a sample a minute. Load, latency and errors go up and down with the
day; a counter of requests starts again now and then, and the disk fills. Nine days are trained on
without a label, five are judged, with faults of four kinds on load and latency of each server, and
two on what has no level: a counter that stands still, and a disk that fills by 15 points in half an
hour. Measured with the recipe that `init` writes, and with the same without its
`scaling.counters` and `scaling.relative`.

    python benchmarks/counters.py --seeds 0 1 2
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fleet import run
from numpy.typing import NDArray

FEATURES = ("load", "latency", "errors", "requests_total", "disk")
N_SERVERS, N_DAYS, N_TRAIN_DAYS, DAY = 8, 14, 9, 1_440
START_MS = 1_767_225_600_000
FAULTS = (
    ("load", "outage", 60),
    ("load", "spike", 2),
    ("latency", "shift", 90),
    ("latency", "drift", 240),
    ("requests_total", "stuck", 60),
    ("disk", "jump", 30),
)
"""Feature, kind and minutes of each."""

WITHOUT = ("--set", "scaling.relative=[]", "--set", "scaling.counters=[]")


def main() -> None:
    """Print a row for each seed and recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    kinds = [f"{feature} {kind}" for feature, kind, _ in FAULTS]
    print("| seed | relative | found | false | false a day and key | " + " | ".join(kinds) + " |")
    print("|---" * (5 + len(kinds)) + "|")
    for seed in parser.parse_args().seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(seed, folder)
            run(folder, "init", "train.csv", "--yes", "--recipe-only", "--out", "servers.toml")
            for words, is_relative in (
                ((), "yes"),
                (("--set", "scaling.relative=[]", "--set", "scaling.counters=[]"), "no"),
            ):
                run(folder, "train", "servers.toml", "--out", is_relative, *words)
                printed = run(folder, "evaluate", is_relative, "--dataset", "test.csv", "--json")
                print(row_of(seed, is_relative, json.loads(printed)), flush=True)


def write_files(seed: int, folder: Path) -> None:
    """Write the samples to train on, and those to judge with their labels."""
    rng = np.random.default_rng(seed)
    with (folder / "train.csv").open("w") as train, (folder / "test.csv").open("w") as test:
        trained_on, judged = csv.writer(train), csv.writer(test)
        trained_on.writerow(["server", "time", *FEATURES])
        judged.writerow(["key", "timestamp_ms", *FEATURES, "label", "label_kind", "label_feature"])
        for number in range(N_SERVERS):
            values, faults = simulate(rng)
            for at, row in enumerate(values.tolist()):
                words = [f"server-{number}", START_MS + 60_000 * at, *(f"{x:.3f}" for x in row)]
                if at < N_TRAIN_DAYS * DAY:
                    trained_on.writerow(words)
                else:
                    judged.writerow([*words, *faults.get(at, (0, "", ""))])


def simulate(rng: np.random.Generator) -> tuple[NDArray[np.float64], dict[int, tuple[Any, ...]]]:
    """Return the values of a server, shape (n, n_features), and what is wrong at which minute."""
    n = N_DAYS * DAY
    clock = 2 * np.pi * (np.arange(n) / DAY + rng.uniform())
    noise = rng.normal(size=n)
    for at in range(1, n):
        noise[at] += 0.8 * noise[at - 1]
    load = rng.uniform(50, 400) * (1 + 0.5 * np.sin(clock) + 0.06 * noise)
    latency = 20 + 0.05 * load + rng.gamma(4, 0.5, n)
    errors = rng.poisson(0.004 * load).astype(np.float64)
    disk = rng.uniform(10, 40) + np.cumsum(rng.gamma(0.5, 0.002, n))
    values = np.column_stack([load, latency, errors, np.zeros(n), disk])
    faults = _add_faults(values, rng)
    requests = np.cumsum(np.rint(60 * values[:, 0]))
    for (feature, _, length), at in zip(FAULTS, faults, strict=True):
        if feature == "requests_total":  # the requests of that time are not counted
            requests[at:] -= requests[at : at + length][-1] - requests[at - 1]
            requests[at : at + length] = requests[at - 1]
    for at in rng.integers(0, N_TRAIN_DAYS * DAY, 3).tolist():
        requests[at:] -= requests[at]
    values[:, 3] = requests
    rows = {
        at + step: (1, kind, feature)
        for (feature, kind, length), at in zip(FAULTS, faults, strict=True)
        for step in range(length)
    }
    return values, rows


def _add_faults(values: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Add faults to the days that are judged, some hours apart; return where each begins."""
    slot = (N_DAYS - N_TRAIN_DAYS) * DAY // len(FAULTS)
    begins = []
    for number, (feature, kind, length) in enumerate(FAULTS):
        at = N_TRAIN_DAYS * DAY + number * slot + int(rng.integers(120, slot - length - 240))
        column, span = values[:, FEATURES.index(feature)], slice(at, at + length)
        if kind == "outage":
            column[span] *= 0.1
        elif kind == "spike":
            column[span] *= 1.8
        elif kind == "shift":
            column[span] += 6
        elif kind == "drift":
            column[span] += np.linspace(0, 10, length)
        elif kind == "jump":
            column[at:] += 15 * np.minimum(1, np.arange(len(column) - at) / length)
        begins.append(at)
    return begins


def row_of(seed: int, is_relative: str, found: dict[str, Any]) -> str:
    """Return one line of the table."""
    events, alerts = found["events"], found["alerts"]
    parts = [found["by_kind"][kind] for _, kind, _ in FAULTS]
    cells: list[object] = [
        seed,
        is_relative,
        f"{events['n_found']} of {events['n_events']}",
        alerts["n_false"],
        f"{alerts['false_per_day']['value']:.2f}",
        *(f"{part['n_found']} of {part['n_events']}" for part in parts),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
