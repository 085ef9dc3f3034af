"""Patterns and folders of files are read as one file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream_detector.datasets.files.parquet import to_columns
from stream_detector.datasets.files.reading import column_parts
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.several import files_of, holds_tables, stacked
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError
from stream_detector.inspection.table import read_raw
from stream_detector.recipes import load_recipe
from stream_detector.recipes.columns import BY_NAME

START = 1_767_225_600_000
RECIPE = Path(__file__).parents[4] / "models" / "nab-dense.toml"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("T", str(START)))
        return path

    return write_file


@pytest.mark.parametrize("given", ["data/p*.csv", "data/p?.csv", "data/p[12].csv", "data"])
@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_pattern_and_a_folder_are_all_their_files(
    write: Callable[[str, str], Path], tmp_path: Path, given: str, is_absolute: bool
) -> None:
    write("data/p2.csv", "b;timestamp_ms;a\n4;T;3,5\n")
    write("data/p1.csv", "timestamp_ms,a,b\nT,1.5,2\nT,5,6\n")
    write("data/notes.txt", "none")
    path = tmp_path / given if is_absolute else Path(given)
    found = read_samples(path)
    assert found.samples.keys == ("p1", "p2")
    assert found.feature_names == ("a", "b")
    assert found.exact.tolist() == [[1.5, 2], [5, 6], [3.5, 4]]
    assert found.samples.series.tolist() == [0, 0, 1]
    assert holds_tables(path)


def test_keys_of_files_stay(write: Callable[[str, str], Path]) -> None:
    write("a.csv", "key,timestamp_ms,v\nx,T,1\n")
    write("b.csv", "v,key,timestamp_ms\n2,y,T\n3,x,T\n")
    found = read_samples(Path("*.csv"))
    assert found.samples.keys == ("x", "y")
    assert found.samples.series.tolist() == [0, 1, 0]
    windows = read_windows(Path("*.csv"))
    assert windows.keys == ("x", "y", "x")
    assert windows.exact[:, 0, 0].tolist() == [1, 2, 3]


def test_windows_of_several_files_have_no_keys(write: Callable[[str, str], Path]) -> None:
    write("a.csv", "1,2\n3,4\n")
    write("b.csv", "5,6\n")
    assert read_windows(Path("?.csv")).keys is None
    assert read_windows(Path("?.csv")).exact[:, :, 0].tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timestamp_ms,a,c\nT,1,2\n", "b.csv: expected the columns of a.csv, timestamp_ms, a, b"),
        ("timestamp_ms,a\nT,1\n", "received timestamp_ms, a; give files of one kind"),
        ("timestamp_ms,a,b,label\nT,1,2,0\n", "received timestamp_ms, label, a, b"),
    ],
)
def test_a_file_of_another_kind_is_named(
    write: Callable[[str, str], Path], text: str, expected: str
) -> None:
    write("a.csv", "timestamp_ms,a,b\nT,1,2\n")
    write("b.csv", text)
    with pytest.raises(DatasetError) as caught:
        read_samples(Path("?.csv"))
    assert expected in str(caught.value)


def test_a_cell_is_named_by_its_own_file(write: Callable[[str, str], Path]) -> None:
    write("a.csv", "timestamp_ms,v\nT,1\n")
    write("b.csv", "timestamp_ms,v\nT,x\n")
    with pytest.raises(DatasetError, match=r"^b\.csv, row 2, column v"):
        read_samples(Path("?.csv"))


def test_a_pattern_that_fits_nothing_is_refused(write: Callable[[str, str], Path]) -> None:
    write("a.csv", "timestamp_ms,v\nT,1\n")
    with pytest.raises(DatasetError, match="expected files that fit the pattern, received none"):
        read_samples(Path("z*.csv"))
    starred = write("a[1].csv", "timestamp_ms,v\nT,1\n")
    assert files_of(starred) == [starred]


def test_init_looks_at_one_file(write: Callable[[str, str], Path]) -> None:
    write("a1.csv", "timestamp_ms,v\nT,1\n")
    assert read_raw(Path("a*.csv")).n_rows == 1
    write("a2.csv", "timestamp_ms,v\nT,1\n")
    with pytest.raises(DatasetError, match=r"received 2; give a1\.csv alone, .*data\.path='a\*"):
        read_raw(Path("a*.csv"))


def test_a_folder_of_parquet_is_one_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in range(2):
        folder = tmp_path / "lake" / f"key=m{number}"
        folder.mkdir(parents=True)
        table = pyarrow.table({"timestamp_ms": [START, START + 1], "v": [number, 2.0]})
        parquet.write_table(table, folder / "part-0.parquet")
    found = read_samples(tmp_path / "lake")
    assert sorted(found.samples.keys) == ["m0", "m1"]
    assert found.feature_names == ("v",)
    assert len(found.samples) == 4
    assert holds_tables(tmp_path / "lake")
    assert read_raw(tmp_path / "lake").n_rows == 4
    data = [f"data.path={tmp_path / 'lake'}", "data.name=parquet"]
    assert load_recipe(RECIPE, data).data.path == str(tmp_path / "lake")


def test_a_folder_of_parquet_is_read_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its files have columns of other types and in another order, or lack one."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    times = [START + row for row in range(50)]
    tables = [
        {"timestamp_ms": times, "v": [0.5] * 50, "w": [*range(50)]},
        {"w": [*range(50)], "timestamp_ms": times, "v": [*range(50)]},
        {"timestamp_ms": times, "w": [*range(50)]},
    ]
    for number, table in enumerate(tables):
        folder = tmp_path / f"key={number}"
        folder.mkdir()
        parquet.write_table(pyarrow.table(table), folder / "a.parquet", row_group_size=20)
    monkeypatch.setattr("stream_detector.datasets.files.parquet._ROWS_A_PART", 16)
    parts = list(column_parts(tmp_path, blank_is_missing=True))
    assert max(len(part.rows) for part in parts) == 16
    found = stacked(tmp_path, parts)
    at_once = to_columns(
        tmp_path, parquet.read_table(tmp_path), blank_is_missing=True, columns=BY_NAME
    )
    np.testing.assert_array_equal(found.values, at_once.values)
    np.testing.assert_array_equal(found.rows, at_once.rows)
    assert found.named == at_once.named
    assert found.value_names == at_once.value_names
