"""How much memory is free, how much a file takes, and that no larger one is read."""

import gzip
import math
import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from stream_detector.core.records import Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets import cutting
from stream_detector.datasets.files import room
from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.room import (
    available_bytes,
    bytes_a_row,
    count_rows,
    require_memory,
)
from stream_detector.datasets.windowing import cut_samples
from stream_detector.errors import TooLargeError
from stream_detector.inspection.table import read_raw
from stream_detector.recipes.columns import ColumnMap

GIB = 1 << 30
NUMBER, REFERENCES, FLOAT = 16, 16, sys.getsizeof(0.5)
PUMP, FLOW = sys.getsizeof("pump-1"), sys.getsizeof("flow")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which 8 GiB are free, and whose process may take as many; return its root."""
    files = {
        "proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {8 * GIB // 1024} kB\n",
        "proc/self/cgroup": "0::/user/run\n",
        "proc/self/statm": "1000 5 5",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(room, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(room, "_GROUPS", tmp_path / "groups")
    return tmp_path


def limit_group(folder: Path, limit: str, used: int = GIB, *, is_old: bool = False) -> None:
    """Make a control group that gives back three bytes of files, old ones of version 1."""
    names = ("limit_in_bytes", "usage_in_bytes") if is_old else ("max", "current")
    prefix = "total_" if is_old else ""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    stat = f"anon 7\n{prefix}active_file 1\n{prefix}inactive_file 2\n"
    (folder / "memory.stat").write_text(stat)


def test_free_is_what_the_machine_has_left(machine: Path) -> None:
    assert available_bytes() == 8 * GIB
    (machine / "proc" / "self" / "cgroup").unlink()
    assert available_bytes() == 8 * GIB


def test_free_is_no_more_than_any_control_group_has_left(machine: Path) -> None:
    groups = machine / "groups"
    limit_group(groups / "user" / "run", "max")
    limit_group(groups / "user", str(7 * GIB))
    assert available_bytes() == 6 * GIB + 3
    limit_group(groups, str(3 * GIB))  # what a container sees as the root
    assert available_bytes() == 2 * GIB + 3
    limit_group(groups / "user" / "run", str(2 * GIB))
    assert available_bytes() == GIB + 3
    limit_group(machine, str(GIB))  # above the root
    assert available_bytes() == GIB + 3


def test_old_control_groups_count_as_well(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("9:cpu:/a\n4:memory:/docker/x\n1:name=systemd:/a\n")
    limit_group(machine / "groups" / "memory", str(4 * GIB), is_old=True)
    limit_group(machine / "groups" / "a", str(GIB))
    assert available_bytes() == 3 * GIB + 3


def test_free_is_no_more_than_the_process_may_address(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del machine
    limits = {resource.RLIMIT_AS: (4 * GIB, resource.RLIM_INFINITY)}
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    assert available_bytes() == 4 * GIB - 1_000 * resource.getpagesize()


def test_elsewhere_free_is_all_that_the_machine_has(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PROC", machine / "none")
    sizes = {"SC_PAGE_SIZE": 4_096, "SC_PHYS_PAGES": 1_000}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__)
    assert available_bytes() == 4_096_000
    monkeypatch.delattr("os.sysconf")
    assert available_bytes() is None
    require_memory("anything", math.inf)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are free: its last number."""
    limits = [0]
    monkeypatch.setattr(room, "available_bytes", lambda: limits[-1])
    return limits


def test_what_does_not_fit_is_refused_with_how_much_it_is(free: list[int]) -> None:
    free.append(2_500_000_000)
    require_memory("large.csv", 2_500_000_000)
    with pytest.raises(TooLargeError) as refused:
        require_memory("large.csv", 2_500_000_001, "do without")
    assert str(refused.value) == (
        "large.csv: expected data that fit into the 2.50 GB of memory that are free, received "
        "data that take about 2.50 GB; do without"
    )
    free.append(-1)
    with pytest.raises(TooLargeError, match=r"the 0\.00 GB .*; give a part of it, such as some"):
        require_memory("large.csv", 0)


def test_cells_of_one_object_count_once() -> None:
    key = "".join(["pump", "-1"])
    assert bytes_a_row(3, []) == 3 * NUMBER
    assert bytes_a_row(0, [[key, key]]) == PUMP / 2 + REFERENCES
    assert bytes_a_row(1, [[0.5, 1.5], [None, None]]) == (
        NUMBER + FLOAT + 2 * REFERENCES + sys.getsizeof(None) / 2
    )
    assert bytes_a_row(1, [[]]) == NUMBER + REFERENCES


def samples_file(path: Path, n_rows: int = 50, *, is_keyed: bool = False) -> Path:
    """Write samples of one feature, with a key or without."""
    key = [",key", ",pump-1"] if is_keyed else ["", ""]
    lines = [f"{1_767_225_600_000 + 1_000 * row}{key[1]},{row / 7:.4f}" for row in range(n_rows)]
    path.write_text("\n".join([f"timestamp_ms{key[0]},flow", *lines]) + "\n")
    return path


def test_rows_of_csv_are_counted_by_the_length_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "1,2\n" * 999 + "3,4\n"
    (tmp_path / "a.csv").write_text(lines)
    (tmp_path / "b.csv").write_text(lines.replace("\n", "\r"))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    assert [count_rows(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv.gz")] == [1_000] * 3
    assert count_rows(tmp_path) == count_rows(tmp_path / "*") == 3_000
    monkeypatch.setattr(room, "_COUNTED_BYTES", 40)
    assert count_rows(tmp_path / "a.csv") == 1_000
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(lines.encode(), mtime=0)[:-9])
    monkeypatch.undo()
    assert count_rows(tmp_path / "c.csv.gz") == 0  # damaged, as who reads it says


def test_rows_of_parquet_are_counted_exactly(tmp_path: Path) -> None:
    table = pyarrow.table({"key": ["a"] * 30 + ["b"] * 40, "v": np.arange(70.0)})
    parquet.write_table(table, tmp_path / "one.parquet", row_group_size=20)
    assert count_rows(tmp_path / "one.parquet") == 70
    parquet.write_to_dataset(table, tmp_path / "lake", partition_cols=["key"])
    assert count_rows(tmp_path / "lake") == 70


LONG = ColumnMap(feature_name="tag", feature_value="value")
LINES = 51
TIMED = 2 * NUMBER + FLOAT + REFERENCES
"""Of a row with a time: its value and its number in messages, and the time."""


@pytest.mark.parametrize("kind", ["wide", "keyed", "parquet", "long", "windows"])
def test_files_that_do_not_fit_are_not_read(tmp_path: Path, free: list[int], kind: str) -> None:
    path, needed = tmp_path / "data.csv", 1.4 * TIMED * LINES
    samples_file(path, is_keyed=kind == "keyed")
    columns, is_samples = ColumnMap(), kind != "windows"
    if kind == "keyed":
        needed = 1.4 * (TIMED + PUMP + REFERENCES) * LINES
    elif kind == "parquet":
        path = tmp_path / "data.parquet"
        times = np.arange(50) + 1_767_225_600_000
        parquet.write_table(pyarrow.table({"timestamp_ms": times, "v": np.arange(50.0)}), path)
        needed = 1.4 * (2 * NUMBER + sys.getsizeof(1_767_225_600_000) + REFERENCES) * 50
    elif kind == "long":
        lines = [f"{1_767_225_600_000 + row},flow,{row / 7}" for row in range(50)]
        path.write_text("\n".join(["timestamp_ms,tag,value", *lines]) + "\n")
        columns, needed = LONG, 1.4 * (TIMED + FLOW + REFERENCES) * LINES
    elif kind == "windows":
        path.write_text("a,b,c\n" + "1,2,3.5\n" * 50)
        needed = 2 * 4 * NUMBER * LINES
    free.append(math.ceil(needed))
    assert len(read_columns(path, blank_is_missing=is_samples, columns=columns).rows) == 50
    free.append(math.ceil(needed) - 1)
    with pytest.raises(TooLargeError, match=r"data\..*: expected data that fit .*; give a part"):
        read_columns(path, blank_is_missing=is_samples, columns=columns)


@pytest.mark.parametrize("kind", ["numbers", "texts", "texts further down", "parquet"])
def test_files_whose_columns_are_not_known_are_refused_as_well(
    tmp_path: Path, free: list[int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, needed = samples_file(tmp_path / "data.csv"), 2 * 2 * NUMBER * LINES
    text = 2 * NUMBER + PUMP + REFERENCES
    if kind == "texts":
        samples_file(path, is_keyed=True)
        needed = 2 * text * LINES
    elif kind == "texts further down":
        samples_file(path, is_keyed=True)
        path.write_text(path.read_text().replace("pump-1", "512345", 30))
        monkeypatch.setattr("stream_detector.datasets.files.csv_rows._FIRST_ROWS", 10)
        needed = 2 * text * LINES
    elif kind == "parquet":
        path = tmp_path / "data.parquet"
        keys = [f"pump-{row % 10}" for row in range(50)]
        parquet.write_table(
            pyarrow.table({"t": np.arange(50), "key": keys, "v": np.arange(50.0)}), path
        )
        needed = 2 * text * 50
    free.append(math.ceil(needed))
    assert read_raw(path).n_rows == 50
    free.append(math.ceil(needed) - 1)
    with pytest.raises(TooLargeError, match="and train the recipe on all of it, as docs/how-to"):
        read_raw(path)


def test_windows_that_do_not_fit_are_not_all_cut(
    free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_SAMPLES_AT_ONCE", 40)
    rules = WindowRules(4, 1, 2, 10.0, 40.0, 0.0, "hold", 0.5, 1000.0)
    values = np.zeros((100, 1), np.float32)
    samples = Samples(("a",), np.zeros(100, np.intp), np.arange(0.0, 1_000.0, 10.0), values)
    n_bytes = [4 * (4 * 2) * n_windows for n_windows in (19, 39)]  # with a label, of 40 and of 80
    left = [(4 * 100 / n_done - 1) * n for n_done, n in zip((40, 80), n_bytes, strict=True)]
    free.append(math.ceil(max(left)))
    assert len(cut_samples(samples, rules).windows) == 49
    free.append(math.ceil(max(left)) - 1)
    with pytest.raises(TooLargeError, match=r"^windows of 4 samples: expected data that fit"):
        cut_samples(samples, rules)
    free.append(0)  # the last samples are looked at no more
    assert len(cut_samples(cutting.some_samples(samples, slice(40)), rules).windows) == 19
