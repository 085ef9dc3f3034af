"""Measure what `init` finds in wind turbines, whose power and pitch follow the wind.

For each seed: six turbines, a sample a minute. Power grows with the cube of the wind until the
blades turn out of it, and the gearbox warms up with it. Twelve days are trained on without a label,
six are judged, with a fault of six kinds for each turbine. In most of these no feature is where it
never was. Measured with the recipe that `init` writes, and with the same without its check
`relation`.

    python benchmarks/turbines.py --seeds 0 1 2
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from simulated import Labels, Simulation, begins_of, labels_of, measure, wander

FEATURES = ("wind", "power", "pitch", "gearbox")
N_TURBINES, N_DAYS, N_TRAIN_DAYS, DAY = 6, 18, 12, 1_440
FAULTS = (
    ("power", "derated", 180),
    ("power", "yaw", 240),
    ("gearbox", "hot", 180),
    ("pitch", "stuck", 60),
    ("wind", "anemometer", 120),
    ("power", "trip", 10),
)
"""Feature, kind and minutes of each."""

RATED, FULL_WIND, LEAST_WIND = 2_000, 12, 3
WITHOUT = "check=[{kind='shape'},{kind='peak'},{kind='flat'},{kind='noise'},{kind='level'}]"


def main() -> None:
    """Print a row for each seed and recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    turbines = Simulation(
        "turbine", FEATURES, FAULTS, N_TURBINES, N_TRAIN_DAYS * DAY, 60_000, simulate
    )
    kinds = {kind: f"{feature} {kind}" for feature, kind, _ in FAULTS}
    measure(turbines, parser.parse_args().seeds, "relation", kinds, "--set", WITHOUT)


def simulate(rng: np.random.Generator) -> tuple[NDArray[np.float64], Labels]:
    """Return the values of a turbine, shape (n, n_features), and what is wrong at which minute."""
    n = N_DAYS * DAY
    wind = np.clip(8 + wander(rng, n, 0.998, 0.22) + wander(rng, n, 0.7, 0.63), 0, 28)
    begins = begins_of(rng, FAULTS, N_TRAIN_DAYS * DAY, n)
    spans = {
        kind: slice(at, at + length) for (_, kind, length), at in zip(FAULTS, begins, strict=True)
    }
    caught = wind.copy()
    caught[spans["yaw"]] *= 0.88  # it does not face the wind
    cubes = np.clip(caught, LEAST_WIND, FULL_WIND) ** 3 - LEAST_WIND**3
    power = RATED * cubes / (FULL_WIND**3 - LEAST_WIND**3)
    power[spans["derated"]] = np.minimum(0.7 * power[spans["derated"]], 0.45 * RATED)
    power[spans["trip"]] = 0
    pitch = np.clip(2.2 * (caught - FULL_WIND), 0, 30)
    pitch[spans["stuck"]] = pitch[spans["stuck"].start] + 4
    too_warm = np.zeros(n)
    too_warm[spans["hot"]] = 0.25
    gearbox = np.full(n, 55.0)
    for at in range(1, n):
        before = gearbox[at - 1]
        gearbox[at] = before + 0.02 * (45 + 0.012 * power[at] - before) + too_warm[at]
    wind[spans["anemometer"]] *= 0.6
    values = np.column_stack([wind, power, pitch, gearbox])
    values += rng.normal(size=values.shape) * np.array([0.15, 12, 0.1, 0.3])
    return values, labels_of(FAULTS, begins)


if __name__ == "__main__":
    main()
