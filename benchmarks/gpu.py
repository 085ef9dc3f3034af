"""Training and the `keras` engine on a GPU, beside the same on the CPU and the `onnx` engine.

Each device has a process of its own. The networks and the windows of the recipes are written
first, which needs TensorFlow and the data. Where the machine with the GPU has neither, the folder
is made elsewhere and taken along:

    python benchmarks/gpu.py [--json FILE]
    python benchmarks/gpu.py --write FOLDER
    KERAS_BACKEND=jax python benchmarks/gpu.py --read FOLDER
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, run_worker, tell

from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows
from stream_detector.training.network import NetworkFitter, fit_final
from stream_detector.training.splits import split_normal

WORKER = ROOT / "benchmarks" / "gpu_worker.py"

NETWORKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ecg5000-dense": ("ecg5000-dense", ()),
    "ecg5000-conv": ("ecg5000-conv", ()),
    "ecg5000-lstm": ("ecg5000-lstm", ()),
    "mnist-conv": ("mnist-vs-fashion-conv", ("data.anomalous_from=", "data.test_each=")),
    "mnist-conv-wide": (
        "mnist-vs-fashion-conv",
        ("data.anomalous_from=", "data.test_each=", "network.filters=[64,32,16]"),
    ),
}
"""By name: a recipe, and what is changed in it. No recipe of `models/` is as large as the last."""

N_WINDOWS = 8192
"""Windows of each recipe that are written: the largest batch. Fewer are repeated."""

HIDDEN = {"cpu": {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}}
"""What hides the GPU from every backend of Keras."""


def main() -> None:
    """Write the networks, measure each device, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="only write the networks")
    parser.add_argument("--read", type=Path, metavar="FOLDER", help="networks that were written")
    parser.add_argument("--names", nargs="*", default=list(NETWORKS), help="of networks")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if options.write:
        write_networks(options.write, options.names)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.read or Path(name)
        if not options.read:
            write_networks(folder, options.names)
        figures = {
            device: measure(device, folder, options.names) for device in ("gpu", "cpu", "onnx")
        }
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def recipe_of(name: str) -> Recipe:
    """Return a recipe with its changes, fitted for one epoch."""
    base, changes = NETWORKS[name]
    return load_recipe(ROOT / "models" / f"{base}.toml", [*changes, "training.epochs=1"])


def write_networks(folder: Path, names: list[str]) -> None:
    """Write each network for both engines, and scaled windows."""
    for name in names:
        print(f"writing {name}", file=sys.stderr)
        recipe = recipe_of(name)
        split = split_normal(recipe, load_windows(recipe))
        split = replace(split, fit=split.fit[:N_WINDOWS])
        scaler = fit_scaler(recipe.scaling.kind, split.fit)
        fitted = fit_final(NetworkFitter(recipe, scaler), split, None, None)
        out = folder / name
        out.mkdir(parents=True, exist_ok=True)
        (out / "network.keras").write_bytes(fitted.network_keras)
        (out / "network.onnx").write_bytes(fitted.network_onnx)
        shape = (N_WINDOWS, *split.fit.shape[1:])
        windows = np.resize(scaler.transform(split.fit), shape)
        np.savez_compressed(out / "windows.npz", windows=windows)


def measure(device: str, folder: Path, names: list[str]) -> dict[str, Any]:
    """Return the figures of one device, measured by a process of its own; empty without it."""
    hidden = [f"{name}={value}" for name, value in HIDDEN.get(device, {}).items()]
    found = run_worker(["env", *hidden, sys.executable, str(WORKER), device, str(folder), *names])
    print(f"{device}: {found}", file=sys.stderr)
    return found


def card() -> str:
    """Return the name of the GPU and the version of its driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]) is None:
        return "none was found"
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print the figures as Markdown tables."""
    print(f"GPU: {card()}; {os.cpu_count()} cores; Python {platform.python_version()}")
    found = {device: each["networks"] for device, each in figures.items() if each}
    for device in found:
        print(f"{device}: {figures[device]['libraries']}")
    fitted = {device: each for device, each in found.items() if device != "onnx"}
    show_rates("training, windows/s", fitted, lambda each: each["training"], tell)
    rates = "engine, windows/s, and milliseconds of the median call"
    show_rates(rates, found, lambda each: each["engine"], tell_rate)
    print("\n| contract | device | values differ | errors differ | repeatable | dependent |")
    print("|---|---|---|---|---|---|")
    for device, networks in fitted.items():
        for name, each in networks.items():
            kept = each["contract"]
            print(
                f"| {name} | {device} | {kept['value_difference']:.1e} | "
                f"{kept['error_difference']:.1e} | {kept['is_repeatable']} | "
                f"{kept['n_dependent']} of {kept['n_windows']} |"
            )


def show_rates(
    title: str,
    found: dict[str, dict[str, Any]],
    part: Callable[[dict[str, Any]], dict[str, Any]],
    write: Callable[[Any], str],
) -> None:
    """Print a table with a row for each network and batch size and a column for each device."""
    print(f"\n| {title} | batch | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
    for name in next(iter(found.values())):
        tables = [part(networks[name]) for networks in found.values()]
        for batch in tables[0]:
            cells = " | ".join(write(table[batch]) for table in tables)
            print(f"| {name} | {int(batch):,} | {cells} |")


def tell_rate(values: dict[str, Any]) -> str:
    """Return a rate and the milliseconds of a call."""
    return f"{tell(values['windows_per_s'])}, {values['median_ms']['median']:.2f} ms"


if __name__ == "__main__":
    main()
