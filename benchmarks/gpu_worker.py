"""The processes of the GPU benchmark: one device each, or the `onnx` engine."""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import spread
from gpu import recipe_of

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.core.scoring.reconstruction_error import window_errors
from stream_detector.engines.backend import has_gpu, import_keras
from stream_detector.engines.keras import load_keras
from stream_detector.engines.onnx import load_onnx
from stream_detector.networks import build_network
from stream_detector.training.fitting import fit_network
from stream_detector.training.pairs import Pairs
from stream_detector.training.task import Task

N_REPEATS = 3
N_FIT = 4096
"""Windows of an epoch."""
LARGE_BATCH = 1024
"""The batch size that each network is fitted with beside that of its recipe."""

BATCHES = (1, 64, 1024, 8192)
CALLS_S = 0.25
"""Shortest time that calls are counted for."""

BATCHES_CUT = (1, 2, 3, 65, 500, 1024, 2048, 2049)
N_ALONE = 64


def main() -> None:
    """Measure what the arguments name; the result is JSON on the last line."""
    device, folder, *names = sys.argv[1:]
    if device == "gpu" and not has_gpu():
        print("{}")
        return
    measure = measure_onnx if device == "onnx" else measure_keras
    figures = {name: measure(Path(folder) / name) for name in names}
    libraries = {"onnxruntime": version("onnxruntime")}
    if device != "onnx":
        backend = import_keras().backend.backend()
        libraries = {"keras": version("keras"), backend: version(backend)}
    print(json.dumps({"libraries": libraries, "networks": figures}))


def measure_onnx(folder: Path) -> dict[str, Any]:
    """Return the throughput of the engine that runs on one thread of the CPU."""
    windows = read_windows(folder)
    return {"engine": engine_rates(load_onnx(folder / "network.onnx", *windows.shape[1:]), windows)}


def measure_keras(folder: Path) -> dict[str, Any]:
    """Return how fast one network is fitted and run with Keras, and whether the contract holds."""
    name, windows = folder.name, read_windows(folder)
    shape = windows.shape[1:]
    run = load_keras(folder / "network.keras", *shape)
    reference = load_onnx(folder / "network.onnx", *shape)
    print(name, file=sys.stderr)
    return {
        "contract": contract(run, reference, windows, recipe_of(name).threshold.error),
        "engine": engine_rates(run, windows),
        "training": {
            str(batch_size): training_rate(name, windows[:N_FIT], batch_size)
            for batch_size in (recipe_of(name).training.batch_size, LARGE_BATCH)
        },
    }


def read_windows(folder: Path) -> FloatArray:
    """Return the scaled windows of a network, shape (n_windows, n_steps, n_features)."""
    windows: FloatArray = np.load(folder / "windows.npz")["windows"]
    return windows


def engine_rates(run: Reconstruct, windows: FloatArray) -> dict[str, Any]:
    """Return windows/s, and milliseconds of the median call, by batch size, each over repeats."""
    found = {}
    for n_windows in BATCHES:
        batch = windows[:n_windows]
        run(batch)  # compiles
        rates, medians_ms = [], []
        for _ in range(N_REPEATS):
            seconds = call_times(run, batch)
            rates.append(n_windows * len(seconds) / sum(seconds))
            medians_ms.append(1000 * float(np.median(seconds)))
        found[str(n_windows)] = {"windows_per_s": spread(rates), "median_ms": spread(medians_ms)}
    return found


def call_times(run: Reconstruct, batch: FloatArray) -> list[float]:
    """Return the seconds of each call; it ends when the result is an array in this memory."""
    seconds: list[float] = []
    while sum(seconds) < CALLS_S:
        began_s = time.perf_counter()
        run(batch)
        seconds.append(time.perf_counter() - began_s)
    return seconds


def training_rate(name: str, windows: FloatArray, batch_size: int) -> dict[str, float]:
    """Return windows/s over the epochs after the first, in which functions are compiled."""
    recipe = recipe_of(name)
    changes = {"epochs": 1 + N_REPEATS, "batch_size": batch_size, "patience": None}
    ends_s: list[float] = []
    task = Task(
        recipe.training.model_copy(update=changes),
        Pairs(windows, windows),
        None,
        lambda *_: ends_s.append(time.perf_counter()),
    )
    import_keras().utils.set_random_seed(0)
    window = recipe.window
    network = build_network(recipe.network, window.steps, window.features, window.channels)
    fit_network(network, recipe.network, task)
    return spread([len(windows) / float(seconds) for seconds in np.diff(ends_s)])


def contract(
    run: Reconstruct, reference: Reconstruct, windows: FloatArray, error: Any
) -> dict[str, Any]:
    """Return how far the engine keeps to what `tests/contracts/test_engines.py` asks of it.

    The largest differences from the `onnx` engine, of a value and of a window's error; whether a
    batch gives the same bits again; and how many of the first windows have other bits in another
    batch than alone.
    """
    batch = windows[:2049]
    whole, expected = run(batch), reference(batch)
    errors = [window_errors(batch, found, error) for found in (whole, expected)]
    return {
        "value_difference": float(np.abs(whole - expected).max()),
        "error_difference": float(np.abs(errors[0] - errors[1]).max()),
        "is_repeatable": all(bool((run(batch) == whole).all()) for _ in range(N_REPEATS)),
        "n_dependent": n_dependent(run, windows),
        "n_windows": N_ALONE,
    }


def n_dependent(run: Reconstruct, windows: FloatArray) -> int:
    """Return how many of the first windows depend, in a bit, on their batch or place in it."""
    alone = np.concatenate([run(windows[row : row + 1]) for row in range(N_ALONE)])
    is_dependent = np.zeros(N_ALONE, bool)
    for n_windows in BATCHES_CUT:
        for start in (0, 7, 33):
            known = alone[start : start + n_windows]
            found = run(windows[start : start + n_windows])[: len(known)]
            is_dependent[start : start + len(known)] |= (found != known).any(axis=(1, 2))
        for row, place in enumerate((0, n_windows // 2, n_windows - 1)):
            batch = windows[-n_windows:].copy()
            batch[place] = windows[row]
            is_dependent[row] |= bool((run(batch)[place] != alone[row]).any())
    return int(is_dependent.sum())


if __name__ == "__main__":
    main()
