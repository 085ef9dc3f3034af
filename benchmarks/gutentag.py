"""Draw time series with anomalies of every kind by GutenTAG, as files for detection.py.

    python -m venv gutentag && gutentag/bin/pip install timeeval-gutentag==1.5.0
    gutentag/bin/python benchmarks/gutentag.py FOLDER [--series 24] [--seed 11]

The package wants older libraries than this project, so it has an environment of its own. Each file
holds one series of 10,000 normal samples, and then the same signal again with one to three
anomalies. Kinds of anomalies take turns, and so do one and five features; of the latter half have
features of one kind, and half have features that have nothing to do with each other.
"""

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gutenTAG import GutenTAG
from gutenTAG.utils.compatibility import Compatibility

N_SAMPLES = 10_000
INTERVAL_MS = 1_000
ANOMALIES = (
    "amplitude", "extremum", "frequency", "mean", "pattern", "pattern-shift", "platform", "trend",
    "variance", "mode-correlation",
)  # fmt: skip
PERIODIC = (
    "sine", "cosine", "square", "sawtooth", "cylinder-bell-funnel", "ecg", "dirichlet",
)  # fmt: skip
SIGNALS = (
    "sine", "cosine", "square", "sawtooth", "random-walk", "cylinder-bell-funnel", "ecg",
    "polynomial", "random-mode-jump", "dirichlet",
)  # fmt: skip
PLACES = (0.25, 0.5, 0.75)
"""Where anomalies lie, as shares of the series, give or take a tenth."""

LONG = ("frequency", "pattern-shift", "pattern")
"""Kinds that need at least 100 samples to be there at all."""


def main() -> None:
    """Draw the series and write one file each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.series):
        config = draw(number, options.seed)
        tables = generate(config, options.seed * 1_000 + number)
        write(options.folder / f"{config['name']}.csv", *tables)


def draw(number: int, seed: int) -> dict[str, Any]:
    """Return the configuration of one series."""
    rng = np.random.default_rng([seed, number])
    kind = ANOMALIES[number % len(ANOMALIES)]
    n_features = (1, 5)[(number // 10 + number) % 2]
    fitting = [each for each in SIGNALS if Compatibility.check(kind, each)]
    first = signal(rng, str(rng.choice(fitting)))
    if kind == "mode-correlation":
        features = [first] * max(n_features, 2)
    else:
        is_alike = number % 4 < 2 and "amplitude" in first
        others = [
            first | {"amplitude": float(np.round(rng.uniform(0.5, 2), 2))}
            if is_alike
            else signal(rng, str(rng.choice(PERIODIC)))
            for _ in range(n_features - 1)
        ]
        features = [first, *others]
    n_anomalies = int(rng.integers(1, 4))
    return {
        "name": f"{number:02d}-{kind}-{first['kind']}-{len(features)}",
        "length": N_SAMPLES,
        "base-oscillations": features,
        "anomalies": [place(rng, at, kind, features) for at in range(n_anomalies)],
        "semi-supervised": True,
        "supervised": False,
    }


def signal(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    """Return a signal of one kind."""
    amplitude = float(np.round(rng.uniform(0.5, 2), 2))
    noise = float(rng.choice([0.01, 0.02, 0.05, 0.1]))
    found: dict[str, Any] = {"kind": kind, "amplitude": amplitude, "variance": noise}
    if kind == "ecg":
        found["frequency"] = float(np.round(rng.uniform(1, 2.5), 2))
    elif kind == "random-mode-jump":
        jumps, random_seed = int(rng.integers(8, 20)), int(rng.integers(1_000))
        found = {"kind": kind, "variance": 0.02, "frequency": jumps, "random-seed": random_seed}
        found |= {"channel-diff": 0.1, "channel-offset": 1.0}
    elif kind == "cylinder-bell-funnel":
        found["avg-pattern-length"] = int(rng.integers(30, 60))
        found["variance-pattern-length"] = float(rng.choice([0.0, 0.1]))
        found["variance-amplitude"] = 0.1
    elif kind == "random-walk":
        found["smoothing"] = 0.01
    elif kind == "polynomial":
        found = {"kind": kind, "variance": noise}
        found["polynomial"] = (rng.uniform(-1, 1, 3) * [1, 2e-4, 1e-8]).tolist()
    else:
        found["frequency"] = float(np.round(rng.uniform(1, 4), 2))
    return found


def place(
    rng: np.random.Generator, number: int, kind: str, features: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return one anomaly: the first has the kind of the series, the others any that fits."""
    feature = 0
    if number and kind != "mode-correlation":
        feature = int(rng.integers(len(features)))
        of_feature = features[feature]["kind"]
        kind = str(
            rng.choice([each for each in ANOMALIES if Compatibility.check(each, of_feature)])
        )
    length = 1 if kind == "extremum" else int(rng.choice([20, 50, 100, 200]))
    length = max(length, 100) if kind in LONG else length
    at = int(N_SAMPLES * (PLACES[number] + rng.uniform(-0.1, 0.1)))
    what = anomaly(rng, kind, float(features[feature].get("amplitude", 1.0)))
    return {"exact-position": at, "length": length, "channel": feature, "kinds": [what]}


def anomaly(rng: np.random.Generator, kind: str, amplitude: float) -> dict[str, Any]:
    """Return what an anomaly of one kind changes."""
    found: dict[str, Any] = {"kind": kind}
    if kind == "amplitude":
        found["amplitude_factor"] = float(rng.choice([0.3, 0.5, 1.5, 2.0]))
    elif kind == "extremum":
        found |= {"min": bool(rng.integers(2)), "local": False, "context_window": 10}
    elif kind == "frequency":
        found["frequency_factor"] = float(rng.choice([0.5, 1.5, 2.0]))
    elif kind == "mean":
        found["offset"] = float(rng.choice([-1, 1]) * amplitude * rng.uniform(0.4, 1))
    elif kind == "pattern":
        found["sinusoid_k"] = float(rng.choice([2.0, 5.0, 10.0]))
        found |= {"cbf_pattern_factor": 2.0, "square_duty": 0.8, "sawtooth_width": 0.3}
    elif kind == "pattern-shift":
        found |= {"shift_by": int(rng.integers(5, 15)), "transition_window": 20}
    elif kind == "platform":
        found["value"] = float(np.round(rng.uniform(-0.5, 1) * amplitude, 2))
    elif kind == "trend":
        slope = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5) * amplitude / 100)
        found["oscillation"] = {"kind": "polynomial", "polynomial": [0.0, slope]}
    elif kind == "variance":
        found["variance"] = float(rng.choice([0.3, 0.5]))
    return found


def generate(config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
    """Return the normal samples and those with anomalies, as data frames."""
    program = GutenTAG.from_dict({"timeseries": [dict(config)]}, seed=seed)
    parts = {
        each.training_type.value: each.timeseries
        for each in program.generate(return_timeseries=True)
    }
    return parts["train-no-anomaly"], parts["test"]


def write(path: Path, normal: Any, faulty: Any) -> None:
    """Write one file of samples; the second half is the test part."""
    names = [name for name in normal.columns if name not in ("timestamp", "is_anomaly")]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        features = [f"value_{number}" for number in range(len(names))]
        rows.writerow(["key", "timestamp_ms", *features, "label"])
        for start, table in ((0, normal), (len(normal), faulty)):
            values = np.round(table[names].to_numpy(float), 6)
            labels = table["is_anomaly"].to_numpy(int)
            for number, (row, label) in enumerate(
                zip(values.tolist(), labels.tolist(), strict=True)
            ):
                rows.writerow([path.stem, (start + number) * INTERVAL_MS, *row, label])


if __name__ == "__main__":
    main()
