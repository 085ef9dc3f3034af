"""Measure the memory and the time of training on more windows than memory is wanted for.

Windows are slow waves with noise, made by a seed, in Parquet files of row groups of 16 MB. One
epoch is trained, with at most so many windows in memory as `--held` says; `--devices` and other
keys of the recipe can be changed by `--set`.

    python benchmarks/large_training.py --gigabytes 1 4
"""

import argparse
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--held", type=int, default=50_000, help="windows in memory")
    parser.add_argument("--folder", type=Path, help="to write to, for a while")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    chosen = parser.parse_args()
    print("| windows | on disk | written in | peak of resident memory | trained in |")
    print("|---|---|---|---|---|")
    for gigabytes in chosen.gigabytes:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            windows = Path(folder) / "windows"
            started_s = time.monotonic()
            n_windows = write_windows(windows, gigabytes)
            written_s = time.monotonic() - started_s
            on_disk = sum(each.stat().st_size for each in windows.iterdir()) / 1e9
            keys = [
                *("data.name=parquet", f"data.path={windows}", f"window.steps={N_STEPS}"),
                *(f"data.n_windows_in_memory={chosen.held}", "training.batch_size=512"),
                *("window.sample_interval_ms=0", "training.epochs=1", *chosen.set),
            ]
            words = [word for key in keys for word in ("--set", key)]
            run = run_program("train", RECIPE, *words, "--out", Path(folder) / "bundle")
        cells = f"{n_windows:,} x {N_STEPS} | {on_disk:.2f} GB | {written_s:.0f} s"
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
