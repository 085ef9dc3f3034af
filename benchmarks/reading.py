"""Measure the CPU time of reading a CSV file of samples, with pyarrow and without it.

The rows of a file are repeated up to the number that is asked for: as they are, and as programs in
much of Europe write them. Both ways of reading take turns; each prints the median of its runs, the
least and the most.

    stream-detector generate-data pumps --hours 8 --seed 22 --out pumps.csv
    python benchmarks/reading.py pumps.csv --rows 300000
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from unittest.mock import patch

from stream_detector.datasets.files.reading import column_parts


def main() -> None:
    """Print a row for each form of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="with the columns key and timestamp_ms first")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    header, *lines = chosen.file.read_text().splitlines()
    lines = [header, *(lines * (chosen.rows // len(lines) + 1))[: chosen.rows]]
    print(f"| {chosen.rows:,} rows | with pyarrow | without |")
    print("|---|---|---|")
    forms = {"as it is": lines, "semicolons, decimal commas, ISO times": [*map(european, lines)]}
    for name, form in forms.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"
            path.write_text("\n".join(form) + "\n")
            read_s(path)  # imports, and the file in the cache
            runs = [(read_s(path), read_without_s(path)) for _ in range(chosen.repeats)]
        print(f"| {name} | {' | '.join(map(described, zip(*runs, strict=True)))} |", flush=True)


def european(line: str) -> str:
    """Return a line with semicolons, decimal commas and the time as ISO 8601."""
    key, time_ms, *values = line.split(",")
    if not time_ms.isdecimal():
        return ";".join((key, "time", *values))
    at = datetime.fromtimestamp(int(time_ms) / 1_000, UTC)
    return ";".join((key, f"{at:%Y-%m-%d %H:%M:%S}", *values)).replace(".", ",")


def read_s(path: Path) -> float:
    """Return the CPU seconds of reading a file."""
    started_s = time.process_time()
    for _ in column_parts(path, blank_is_missing=True):
        pass
    return time.process_time() - started_s


def read_without_s(path: Path) -> float:
    """Return the same as if pyarrow were not installed."""
    with patch.dict(sys.modules, {"pyarrow": None}):
        return read_s(path)


def described(seconds: Sequence[float]) -> str:
    """Return the median of runs, the least and the most."""
    return f"{median(seconds):.3f} s ({min(seconds):.3f} - {max(seconds):.3f})"


if __name__ == "__main__":
    main()
