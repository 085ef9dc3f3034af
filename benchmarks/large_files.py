"""Measure the memory and the time that `score` or `replay` takes for large files of samples.

The rows of a file are repeated, each time later, until the file has the size that is asked for:
in the order of time, or with the rows of each key together, as `--by-key` says. With `--parquet`
these rows are a folder of Parquet files of a million rows each.

    stream-detector generate-data pumps --hours 8 --seed 22 --out pumps.csv
    stream-detector init pumps.csv --yes
    python benchmarks/large_files.py bundles/pumps pumps.csv --megabytes 200 2000
    python benchmarks/large_files.py bundles/pumps pumps.csv --megabytes 20 200 --replay
    python benchmarks/large_files.py bundles/pumps pumps.csv --megabytes 200 2000 --parquet
    python benchmarks/large_files.py bundles/pumps pumps.csv --megabytes 20 200 --points
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pyarrow
from common import make_topics, running_broker
from pyarrow import csv, parquet

MEGABYTE = 1_000_000
ROWS_A_FILE = 1_000_000


class Run(NamedTuple):
    """What one run took."""

    peak_mib: float
    seconds: float
    cpu_s: float


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("file", type=Path, help="with the columns key and timestamp_ms first")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[200])
    parser.add_argument("--by-key", action="store_true", help="the rows of each key together")
    parser.add_argument("--parquet", action="store_true", help="as a folder of Parquet")
    parser.add_argument("--points", action="store_true", help="score each sample")
    parser.add_argument("--replay", action="store_true", help="send the file to a real Kafka")
    chosen = parser.parse_args()
    print("| file | peak of resident memory | time | CPU time |")
    print("|---|---|---|---|")
    for megabytes in chosen.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "large.csv"
            write_large(chosen.file, path, megabytes, is_by_key=chosen.by_key)
            if chosen.parquet:
                path = to_folder(path)
            if chosen.replay:
                run = replay(chosen.bundle, path)
            else:
                options = ["--points"] if chosen.points else []
                run = run_program("score", chosen.bundle, path, "--out", os.devnull, *options)
        times = f"{run.seconds:.0f} s | {run.cpu_s:.0f} s"
        print(f"| {megabytes:,} MB | {run.peak_mib:.0f} MiB | {times} |", flush=True)


def write_large(source: Path, path: Path, megabytes: int, *, is_by_key: bool) -> None:
    """Write a file of so many megabytes from the rows of another."""
    header, *lines = source.read_text().splitlines()
    rows = [line.split(",", 2) for line in lines]
    times = [int(time_ms) for _, time_ms, _ in rows]
    span_ms = max(times) - min(times) + 1_000
    n_rounds = megabytes * MEGABYTE // source.stat().st_size + 1
    groups = defaultdict(list) if is_by_key else {"": list(zip(rows, times, strict=True))}
    if is_by_key:
        for row, time_ms in zip(rows, times, strict=True):
            groups[row[0]].append((row, time_ms))
    with path.open("w") as file:
        file.write(header + "\n")
        for group in groups.values():
            for number in range(n_rounds):
                later = number * span_ms
                file.writelines(f"{row[0]},{time_ms + later},{row[2]}\n" for row, time_ms in group)


def to_folder(path: Path) -> Path:
    """Write a CSV file as a folder of Parquet files, and remove it."""
    folder = path.with_suffix("")
    folder.mkdir()
    texts = dict.fromkeys(("label_kind", "label_feature"), pyarrow.string())
    table = csv.open_csv(path, convert_options=csv.ConvertOptions(column_types=texts))
    pending: list[pyarrow.RecordBatch] = []
    for number, batch in enumerate(table):
        pending.append(batch)
        if sum(map(len, pending)) >= ROWS_A_FILE:
            write_file(pending, folder / f"part-{number:06}.parquet")
    if pending:
        write_file(pending, folder / "part-last.parquet")
    path.unlink()
    return folder


def write_file(pending: list[pyarrow.RecordBatch], path: Path) -> None:
    """Write rows as a file of one row group; none is pending any more."""
    parquet.write_table(pyarrow.Table.from_batches(pending), path)
    pending.clear()


def replay(bundle: Path, path: Path) -> Run:
    """Send a file to a topic of a real Kafka."""
    with running_broker() as servers:
        make_topics(servers, "telemetry")
        options = ("--bundle", bundle, "--client", "confluent", "--bootstrap-servers", servers)
        return run_program("replay", path, *options)


def run_program(*words: object) -> Run:
    """Run a command in a process of its own."""
    program = Path(sys.executable).with_name("stream-detector")
    started_s = time.monotonic()
    process = subprocess.Popen([program, *map(str, words)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words[0]} ended with {os.waitstatus_to_exitcode(status)}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(usage.ru_maxrss / 1_024, time.monotonic() - started_s, cpu_s)


if __name__ == "__main__":
    main()
