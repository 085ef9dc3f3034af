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

import numpy as np
from numpy.typing import NDArray
from simulated import Labels, Simulation, labels_of, measure

FEATURES = ("load", "latency", "errors", "requests_total", "disk")
N_SERVERS, N_DAYS, N_TRAIN_DAYS, DAY = 8, 14, 9, 1_440
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
    servers = Simulation(
        "server", FEATURES, FAULTS, N_SERVERS, N_TRAIN_DAYS * DAY, 60_000, simulate
    )
    kinds = {kind: f"{feature} {kind}" for feature, kind, _ in FAULTS}
    measure(servers, parser.parse_args().seeds, "relative", kinds, *WITHOUT)


def simulate(rng: np.random.Generator) -> tuple[NDArray[np.float64], Labels]:
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
    return values, labels_of(FAULTS, faults)


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


if __name__ == "__main__":
    main()
