"""Processor time a window of tables in Spark, against the command `score` on the same files.

    python benchmarks/spark_tables.py --rounds 3

`windows` are beats of ECG5000, 140 values in an array; `samples` are of eight patients of MIT-BIH,
cut into windows of 256 x 2, one each 32 samples. Both sides read Parquet, where the command has a
column for each value, and write CSV. Spark runs in local mode, one Java process with two tasks; its
time is that of all of its processes, and each contender runs once before it is measured.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import ROOT, normal_beats, processor_s, spread, tell

sys.path.append(str(ROOT / "tests" / "support"))
# Workers of Spark inherit it.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from halving_bundle import make_bundle
from local_spark import open_session

from stream_detector.cli.score import score
from stream_detector.datasets import load_samples
from stream_detector.integrations.spark.tables import score_table, windows_table

PATIENTS = ("100", "106", "112", "115", "119", "200", "208", "221")
MINUTES = 10
SESSION = {
    "spark.driver.extraJavaOptions": "-Xss4m",
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
}
"""Spark as it is by default, where the tests' sessions save the time of its compilers."""


def main() -> None:
    """Run the rounds and print a line for each contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open_session(Path(name), **SESSION) as spark:
        folder = Path(name)
        n_beats, n_cut = write_beats(folder, options.windows), write_samples(folder)
        contenders: dict[str, tuple[int, Callable[[], None]]] = {
            "windows, score": (n_beats, lambda: by_command(folder, "beats")),
            "windows, score_table": (n_beats, lambda: by_spark(spark, folder, "beats")),
            "samples, score": (n_cut, lambda: by_command(folder, "hearts")),
            "samples, both tables": (n_cut, lambda: by_spark(spark, folder, "hearts")),
        }
        for text, (n_windows, run) in contenders.items():
            run()
            found = spread([measured_us(run) / n_windows for _ in range(options.rounds)])
            print(f"{text}: {tell(found, 1)} us of processor time a window of {n_windows:,}")


def write_beats(folder: Path, n_windows: int) -> int:
    """Write the bundle beats and its windows, in columns and in arrays; return how many."""
    make_bundle(folder / "beats", "ecg5000-dense")
    beats = normal_beats()[:, :, 0].astype(np.float64)
    values = beats[np.arange(n_windows) % len(beats)]
    columns = {"key": [f"k{number % 100}" for number in range(n_windows)]}
    packed = columns | {"values": pa.FixedSizeListArray.from_arrays(values.reshape(-1), 140)}
    (folder / "beats-table").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(n_windows), 4)):
        part = pa.table(packed).take(rows)
        part = part.set_column(1, "values", part["values"].cast(pa.list_(pa.float64())))
        pq.write_table(part, folder / "beats-table" / f"part-{number}.parquet")
    apart = columns | {f"v{at}": values[:, at] for at in range(140)}
    pq.write_table(pa.table(apart), folder / "beats.parquet")
    return n_windows


def write_samples(folder: Path) -> int:
    """Write the bundle hearts and its samples; return how many windows they make."""
    make_bundle(folder / "hearts", "mitdb-dense")
    (folder / "hearts-table").mkdir()
    parts = []
    for name in PATIENTS:
        data = load_samples("mitdb", series=name).test
        rows = np.flatnonzero(data.times_ms < data.times_ms.min() + MINUTES * 60_000)
        columns: dict[str, Any] = {"key": [name] * len(rows), "timestamp_ms": data.times_ms[rows]}
        values = data.values[rows].astype(np.float64)
        parts.append(pa.table(columns | {"first": values[:, 0], "second": values[:, 1]}))
        pq.write_table(parts[-1], folder / "hearts-table" / f"{name}.parquet")
    pq.write_table(pa.concat_tables(parts), folder / "hearts.parquet")
    by_command(folder, "hearts")
    return len((folder / "hearts.csv").read_text().splitlines()) - 1


def by_command(folder: Path, name: str) -> None:
    """Score a file by the command."""
    score(folder / name, folder / f"{name}.parquet", folder / f"{name}.csv")


def by_spark(spark: Any, folder: Path, name: str) -> None:
    """Score a table in Spark."""
    table = spark.read.parquet(str(folder / f"{name}-table"))
    windows = windows_table(table, folder / name) if name == "hearts" else table
    found = score_table(windows, folder / name).drop("values")
    shutil.rmtree(folder / "scores", ignore_errors=True)
    found.write.csv(str(folder / "scores"))


def measured_us(run: Callable[[], None]) -> float:
    """Return the processor time that something takes, in microseconds."""
    before_s = processor_s()
    run()
    return (processor_s() - before_s) * 1e6


if __name__ == "__main__":
    main()
