"""Measure what `init` finds in solar panels, whose power and temperature follow the irradiance.

For each seed: six roofs, a sample each five minutes. The sky is clear or cloudy, and nights are
dark; power is proportional to the irradiance within 2 %, and the panels heat up with it. Forty days
are trained on without a label, twenty are judged, with a fault of six kinds for each roof. In four
of these no feature is where it never was. Measured with the recipe that `init` writes, and with the
same without its check `relation`.

    python benchmarks/panels.py --seeds 0 1 2
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from simulated import Labels, Simulation, labels_of, measure

FEATURES = ("irradiance", "power", "panel_temp")
N_ROOFS, N_DAYS, N_TRAIN_DAYS, DAY = 6, 60, 40, 288
FAULTS = (
    ("power", "string", 100),
    ("power", "stuck", 24),
    ("power", "zero", 24),
    ("power", "night", 6),
    ("panel_temp", "hot", 60),
    ("irradiance", "spike", 1),
)
"""Feature, kind and number of samples of each."""

BEGINS = {"string": 90, "night": 10}
"""Sample of the day with which a fault begins, give or take ten; others begin before noon."""

BEFORE_NOON = 124

WITHOUT = "check=[{kind='shape'},{kind='peak'},{kind='flat'},{kind='noise'},{kind='level'}]"


def main() -> None:
    """Print a row for each seed and recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    roofs = Simulation("roof", FEATURES, FAULTS, N_ROOFS, N_TRAIN_DAYS * DAY, 300_000, simulate)
    kinds = {kind: f"{feature} {kind}" for feature, kind, _ in FAULTS}
    measure(roofs, parser.parse_args().seeds, "relation", kinds, "--set", WITHOUT)


def simulate(rng: np.random.Generator) -> tuple[NDArray[np.float64], Labels]:
    """Return the values of a roof, shape (n, n_features), and what is wrong at which sample."""
    n = N_DAYS * DAY
    hour = np.arange(n) % DAY / 12
    clear = 1_000 * np.clip(np.sin(np.pi * (hour - 6) / 12), 0, None)
    clouds = 1 / (1 + np.exp(-1.5 - 1.5 * _wander(rng, n, 0.97, 0.24)))
    days = np.repeat(rng.beta(4, 1.5, N_DAYS), DAY)
    irradiance = clear * clouds * (0.4 + 0.6 * days)
    power = rng.uniform(0.003, 0.009) * irradiance * rng.normal(1, 0.02, n)
    air = 12 + 6 * np.sin(2 * np.pi * (hour - 9) / 24) + _wander(rng, n, 0.99, 0.1)
    heat = np.zeros(n)
    for at in range(1, n):
        heat[at] = heat[at - 1] + 0.3 * (0.025 * irradiance[at] - heat[at - 1])
    values = np.column_stack([irradiance, power, air + heat])
    begins = _add_faults(values, rng)
    values += rng.normal(size=values.shape) * np.array([0.5, 0.001, 0.1])
    return values, labels_of(FAULTS, begins)


def _wander(rng: np.random.Generator, n: int, stays: float, sd: float) -> NDArray[np.float64]:
    """Return noise of which so much stays from sample to sample, shape (n,)."""
    noise = sd * rng.normal(size=n)
    for at in range(1, n):
        noise[at] += stays * noise[at - 1]
    return noise


def _add_faults(values: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Add a fault to every third of the days that are judged; return where each begins."""
    days = N_TRAIN_DAYS + 3 * rng.permutation(len(FAULTS)) + 1
    highest, begins = values[:, 1].max(), []
    for (feature, kind, length), day in zip(FAULTS, days.tolist(), strict=True):
        at = day * DAY + BEGINS.get(kind, BEFORE_NOON) + int(rng.integers(-10, 10))
        column, span = values[:, FEATURES.index(feature)], slice(at, at + length)
        if kind == "string":
            column[span] *= 0.6
        elif kind == "stuck":
            column[span] = column[at]
        elif kind == "zero":
            column[span] = 0
        elif kind == "night":
            column[span] = 0.3 * highest
        elif kind == "hot":
            column[span] += 15
        elif kind == "spike":
            column[span] += 900
        begins.append(at)
    return begins


if __name__ == "__main__":
    main()
