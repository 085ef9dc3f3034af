"""A signal with a pulse a second, some of them of another shape, and a bundle for its windows."""

from pathlib import Path

import numpy as np
from halving_bundle import make_bundle

from stream_detector.assembly import Served, open_bundle
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.recipes import Recipe, load_recipe

ROOT = Path(__file__).parents[2]
START_MS = 1_767_225_600_000.0
INTERVAL_MS = 10.0
N_STEPS = 40
PULSES = 40
STRANGE = (12, 20)
"""Pulses that are strange, of the second feature."""


def pulse_recipe(*changes: str) -> Recipe:
    """Return a recipe whose windows are 40 steps round the peaks of two features."""
    overrides = ["data.name=csv", "data.path=pulses.csv", f"window.steps={N_STEPS}"]
    overrides += ["window.stride=", "window.gap_ms_max=", "window.align=peaks"]
    overrides += [f"window.sample_interval_ms={INTERVAL_MS}", "peaks.band_hz=[2, 15]"]
    overrides += ["alerting.open_after=1", "alerting.open_within=1"]
    overrides += ["alerting.close_after_ms=500", *changes]
    return load_recipe(ROOT / "models" / "mitdb-dense.toml", overrides)


def pulses(keys: tuple[str, ...] = ("a",), *, has_labels: bool = True) -> Samples:
    """Return a pulse a second of each key; at some the second feature goes far down, labelled."""
    rng = np.random.default_rng(0)
    n = PULSES * 100
    values = rng.normal(0, 0.01, (len(keys), n, 2))
    labels = np.zeros((len(keys), n), np.int8)
    shape = np.exp(-0.5 * np.square(np.arange(-10, 11) / 3.0))
    for number in range(PULSES):
        at = slice(100 * number + 40, 100 * number + 61)
        size = -20.0 if number in STRANGE else 1.0
        values[:, at, 0] += shape
        values[:, at, 1] += size * shape
        labels[:, at] = number in STRANGE
    return Samples(
        keys,
        np.repeat(np.arange(len(keys)), n),
        np.tile(START_MS + INTERVAL_MS * np.arange(n), len(keys)),
        values.reshape(-1, 2).astype(np.float32),
        labels.ravel() if has_labels else None,
    )


def serve_pulses(path: Path, features: Features | None = None, *changes: str) -> Served:
    """Return a bundle whose network halves: a window is anomalous with a mean size above 1."""
    make_bundle(path, pulse_recipe(*changes), features=features or Features(("flow", "heat")))
    return open_bundle(path)
