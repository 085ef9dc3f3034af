"""Measure what `init` finds in the traffic of network links, which varies by factors.

For each seed: six links, a sample each half minute of traffic in and out, errors and latency.
Traffic follows the time of day, wanders by a factor, and has bursts. Seven days are trained on
without a label, three are judged, with a fault of six kinds for each link. Measured with the recipe
that `init` writes, and with the same without what it says of logarithms.

    python benchmarks/traffic.py --seeds 0 1 2
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from simulated import Labels, Simulation, begins_of, labels_of, measure, wander

FEATURES = ("in", "out", "errors", "latency")
N_LINKS, N_DAYS, N_TRAIN_DAYS, DAY = 6, 10, 7, 2_880
FAULTS = (
    ("in", "low", 60),
    ("in", "nothing", 10),
    ("in", "saturated", 60),
    ("out", "upload", 60),
    ("errors", "errors", 20),
    ("latency", "latency", 40),
)
"""Feature, kind and samples of each."""

WITHOUT = "scaling.logarithmic=[]"


def main() -> None:
    """Print a row for each seed and recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    links = Simulation("link", FEATURES, FAULTS, N_LINKS, N_TRAIN_DAYS * DAY, 30_000, simulate)
    kinds = {kind: f"{feature}: {kind}" for feature, kind, _ in FAULTS}
    measure(links, parser.parse_args().seeds, "`logarithmic`", kinds, "--set", WITHOUT)


def simulate(rng: np.random.Generator) -> tuple[NDArray[np.float64], Labels]:
    """Return the values of a link, shape (n, n_features), and what is wrong at which sample."""
    n = N_DAYS * DAY
    begins = begins_of(rng, FAULTS, N_TRAIN_DAYS * DAY, n)
    spans = {
        kind: slice(at, at + length) for (_, kind, length), at in zip(FAULTS, begins, strict=True)
    }
    daily = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(n) / DAY + rng.uniform()))
    received = rng.uniform(50, 400) * daily * np.exp(0.35 * wander(rng, n, 0.8, 0.6))
    for at in rng.integers(0, n, n // 400).tolist():
        received[at : at + int(rng.integers(1, 8))] *= 1 + rng.pareto(2)
    sent = 0.2 * received * np.exp(0.1 * rng.normal(size=n))
    capacity = 1.3 * np.quantile(received, 0.999)
    received = np.minimum(received, capacity)
    errors = rng.poisson(0.05, n).astype(np.float64)
    latency = 5 + rng.gamma(2, 0.5, n) + 3 * (received / capacity) ** 4
    for traffic in (received, sent):
        traffic[spans["low"]] *= 0.15
        traffic[spans["nothing"]] = 0
    received[spans["saturated"]] = capacity
    latency[spans["saturated"]] += 3
    sent[spans["upload"]] *= 5
    errors[spans["errors"]] += rng.poisson(4, 20)
    latency[spans["latency"]] += 12
    return np.column_stack([received, sent, errors, latency]), labels_of(FAULTS, begins)


if __name__ == "__main__":
    main()
