"""Measure what `init` finds in simulated series, with its recipe and with a part of it left out."""

import csv
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fleet import run
from numpy.typing import NDArray

START_MS = 1_767_225_600_000

Labels = dict[int, tuple[int, str, str]]
"""Label, kind and feature of the samples that are part of a fault, by their number."""


class Simulation(NamedTuple):
    """Series of one kind.

    Parameters
    ----------
    key
        What a series is of.
    features
        Names of the features.
    faults
        Feature, kind and number of samples of each fault of a series.
    n_keys, n_train
        Number of series, and samples of each that are trained on.
    interval_ms
        Between two samples.
    simulate
        Returns the values of a series, shape (n, n_features), and what is wrong at which sample.
    """

    key: str
    features: Sequence[str]
    faults: Sequence[tuple[str, str, int]]
    n_keys: int
    n_train: int
    interval_ms: int
    simulate: Callable[[np.random.Generator], tuple[NDArray[np.float64], Labels]]


def measure(
    simulation: Simulation, seeds: Sequence[int], what: str, kinds: Mapping[str, str], *words: str
) -> None:
    """Print a row for each seed and recipe: that of `init`, and the same without a part of it.

    Parameters
    ----------
    simulation
        What is judged.
    seeds
        Of the simulation.
    what
        The part that is left out.
    kinds
        Title of the column of each kind of fault.
    words
        Of `train`, that leave it out.
    """
    print(f"| seed | {what} | found | false | false a day and key | {' | '.join(kinds.values())} |")
    print("|---" * (5 + len(kinds)) + "|")
    for seed in seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(simulation, np.random.default_rng(seed), folder)
            run(folder, "init", "train.csv", "--yes", "--recipe-only", "--out", "mine.toml")
            for has_it, without in (("yes", ()), ("no", words)):
                run(folder, "train", "mine.toml", "--out", has_it, *without)
                printed = run(folder, "evaluate", has_it, "--dataset", "test.csv", "--json")
                print(row_of([seed, has_it], list(kinds), json.loads(printed)), flush=True)


def write_files(simulation: Simulation, rng: np.random.Generator, folder: Path) -> None:
    """Write the samples to train on, and those to judge with their labels."""
    features = simulation.features
    with (folder / "train.csv").open("w") as train, (folder / "test.csv").open("w") as test:
        trained_on, judged = csv.writer(train), csv.writer(test)
        trained_on.writerow([simulation.key, "time", *features])
        judged.writerow(["key", "timestamp_ms", *features, "label", "label_kind", "label_feature"])
        for number in range(simulation.n_keys):
            values, faults = simulation.simulate(rng)
            for at, row in enumerate(values.tolist()):
                time_ms = START_MS + simulation.interval_ms * at
                words = [f"{simulation.key}-{number}", time_ms, *(f"{x:.3f}" for x in row)]
                if at < simulation.n_train:
                    trained_on.writerow(words)
                else:
                    judged.writerow([*words, *faults.get(at, (0, "", ""))])


def labels_of(faults: Sequence[tuple[str, str, int]], begins: Sequence[int]) -> Labels:
    """Return what is wrong at which sample, from where each fault begins."""
    return {
        at + step: (1, kind, feature)
        for (feature, kind, length), at in zip(faults, begins, strict=True)
        for step in range(length)
    }


def begins_of(
    rng: np.random.Generator, faults: Sequence[tuple[str, str, int]], first: int, n_samples: int
) -> list[int]:
    """Return where each fault begins: one in each of as many parts of the samples judged.

    Parameters
    ----------
    rng
        Draws the order of the faults, and where in its part each begins.
    faults
        Feature, kind and number of samples of each.
    first
        First sample that is judged.
    n_samples
        Of the series.
    """
    slot = (n_samples - first) // len(faults)
    parts = rng.permutation(len(faults)).tolist()
    return [
        first + part * slot + int(rng.integers(slot // 10, slot - length - slot // 10))
        for part, (_, _, length) in zip(parts, faults, strict=True)
    ]


def wander(rng: np.random.Generator, n: int, stays: float, sd: float) -> NDArray[np.float64]:
    """Return noise of which so much stays from sample to sample, shape (n,)."""
    noise = sd * rng.normal(size=n)
    for at in range(1, n):
        noise[at] += stays * noise[at - 1]
    return noise


def row_of(first: Sequence[object], kinds: Sequence[str], found: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    events, alerts = found["events"], found["alerts"]
    parts = [found["by_kind"][kind] for kind in kinds]
    cells: list[object] = [
        *first,
        f"{events['n_found']} of {events['n_events']}",
        alerts["n_false"],
        f"{alerts['false_per_day']['value']:.2f}",
        *(f"{part['n_found']} of {part['n_events']}" for part in parts),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"
