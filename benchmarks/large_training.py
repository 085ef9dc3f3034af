"""Measure the memory and the time of training on more windows than memory is wanted for.

Windows are slow waves with noise, made by a seed, in Parquet files of row groups of 16 MB. One
epoch is trained, with at most so many windows in memory as `--held` says; `--devices` and other
keys of the recipe can be changed by `--set`. With `--samples` the files hold samples of several
keys, in the order of time, which the recipe cuts into windows; with `--long` each of their rows has
one value.

    python benchmarks/large_training.py --gigabytes 1 4
    python benchmarks/large_training.py --gigabytes 0.25 2 --samples
    python benchmarks/large_training.py --gigabytes 0.2 1.6 --long --held 20000
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from common import ROOT
from large_files import run_program
from pyarrow import parquet

from stream_detector.core.records import FloatArray

RECIPE = ROOT / "models" / "synthetic-ecg-dense.toml"
N_STEPS = 256
GROUP_ROWS = 16_384
"""Windows of a row group: 16 MiB of float32."""

GROUPS_A_FILE = 16

N_KEYS, N_FEATURES, SAMPLE_GROUP_ROWS = 20, 8, 400_000
"""Samples: keys, features, and rows of a row group, 16 MiB with their times."""

START_MS = 1_767_225_600_000
WINDOW_KEYS = (f"window.steps={N_STEPS}", "window.sample_interval_ms=0")
SAMPLE_KEYS = (
    *("window.record=samples", "window.steps=64", "window.stride=64"),
    *(f"window.features={N_FEATURES}", "window.sample_interval_ms=1000", "window.gap_ms_max=5000"),
)
LONG_KEYS = ("data.feature_name=feature", "data.feature_value=value")


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--held", type=int, default=50_000, help="windows in memory")
    parser.add_argument("--folder", type=Path, help="to write to, for a while")
    parser.add_argument("--samples", action="store_true", help="write samples, not windows")
    parser.add_argument("--long", action="store_true", help="write a row for each value")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    chosen = parser.parse_args()
    print("| records | on disk | written in | peak of resident memory | trained in |")
    print("|---|---|---|---|---|")
    for gigabytes in chosen.gigabytes:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            windows = Path(folder) / "windows"
            started_s = time.monotonic()
            write = write_windows
            if chosen.samples or chosen.long:
                write = partial(write_samples, is_long=chosen.long)
            n_records = write(windows, gigabytes)
            written_s = time.monotonic() - started_s
            on_disk = sum(each.stat().st_size for each in windows.iterdir()) / 1e9
            keys = [
                *("data.name=parquet", f"data.path={windows}"),
                *(SAMPLE_KEYS if chosen.samples or chosen.long else WINDOW_KEYS),
                *(LONG_KEYS if chosen.long else ()),
                *(f"data.n_windows_in_memory={chosen.held}", "training.batch_size=512"),
                *("training.epochs=1", *chosen.set),
            ]
            words = [word for key in keys for word in ("--set", key)]
            run = run_program("train", RECIPE, *words, "--out", Path(folder) / "bundle")
        n_values = 1 if chosen.long else N_FEATURES if chosen.samples else N_STEPS
        cells = f"{n_records:,} x {n_values} | {on_disk:.2f} GB | {written_s:.0f} s"
        print(f"| {cells} | {run.peak_mib:.0f} MiB | {run.seconds:.0f} s |", flush=True)


def write_windows(folder: Path, gigabytes: float) -> int:
    """Write so many gigabytes of windows as float32; return how many they are."""
    folder.mkdir()
    n_groups = max(round(gigabytes * 1e9 / (GROUP_ROWS * N_STEPS * 4)), 1)
    names = [f"v{at}" for at in range(N_STEPS)]
    for first in range(0, n_groups, GROUPS_A_FILE):
        schema = pyarrow.schema([(name, pyarrow.float32()) for name in names])
        path = folder / f"part-{first:06}.parquet"
        # Noise does not compress.
        with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
            for group in range(first, min(first + GROUPS_A_FILE, n_groups)):
                values = waves(np.random.default_rng(group))
                file.write_table(pyarrow.table(list(values.T.copy()), names=names))
    return n_groups * GROUP_ROWS


def write_samples(folder: Path, gigabytes: float, *, is_long: bool) -> int:
    """Write so many gigabytes of rows, each of a time and float32; return how many they are."""
    folder.mkdir()
    n_rows = SAMPLE_GROUP_ROWS * (N_FEATURES if is_long else 1)
    n_groups = max(round(gigabytes * 1e9 / (n_rows * (12 if is_long else 8 + 4 * N_FEATURES))), 1)
    n_times = SAMPLE_GROUP_ROWS // N_KEYS
    names = [f"f{at}" for at in range(N_FEATURES)]
    keys = pyarrow.array([f"pump-{at}" for at in range(N_KEYS)]).dictionary_encode()
    key_column = keys.take(pyarrow.array(np.tile(np.arange(N_KEYS), n_times)))
    for group in range(n_groups):
        rng, times = np.random.default_rng(group), np.arange(n_times) + group * n_times
        phases = np.repeat(times * 0.1, N_KEYS) + np.tile(np.arange(N_KEYS), n_times)
        noise = rng.standard_normal((N_FEATURES, len(phases)), dtype=np.float32)
        values = [
            np.sin(phases * (1 + at / 8)).astype(np.float32) + np.float32(0.05) * each
            for at, each in enumerate(noise)
        ]
        times_ms = START_MS + 1_000 * np.repeat(times, N_KEYS)
        columns = {"key": key_column, "timestamp_ms": times_ms}
        if is_long:
            columns = _long(columns, values)
        else:
            columns |= dict(zip(names, values, strict=True))
        # Noise does not compress.
        path, texts = folder / f"part-{group:06}.parquet", ["key", "feature"]
        table = pyarrow.table(columns)
        parquet.write_table(table, path, compression="none", use_dictionary=texts[: 1 + is_long])
    return n_groups * n_rows


def _long(columns: dict[str, Any], values: list[FloatArray]) -> dict[str, Any]:
    """Return columns with a row for each value, those of a sample one after the other."""
    n_features, n_samples = len(values), len(values[0])
    rows = np.repeat(np.arange(n_samples), n_features)
    names = pyarrow.array([f"f{at}" for at in range(n_features)]).dictionary_encode()
    return {
        "key": columns["key"].take(pyarrow.array(rows)),
        "timestamp_ms": columns["timestamp_ms"][rows],
        "feature": names.take(pyarrow.array(np.tile(np.arange(n_features), n_samples))),
        "value": np.stack(values, axis=1).ravel(),
    }


def waves(rng: np.random.Generator) -> FloatArray:
    """Return the windows of a row group: waves of any phase, of one of a few lengths."""
    phases = rng.uniform(0, 2 * np.pi, (GROUP_ROWS, 1)).astype(np.float32)
    lengths = rng.integers(2, 6, (GROUP_ROWS, 1)).astype(np.float32)
    steps = np.arange(N_STEPS, dtype=np.float32) * np.float32(2 * np.pi / N_STEPS)
    noise = rng.standard_normal((GROUP_ROWS, N_STEPS), dtype=np.float32)
    found: FloatArray = np.sin(lengths * steps + phases) + np.float32(0.05) * noise
    return found


if __name__ == "__main__":
    main()
