"""A person's own CSV and Parquet files."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.datasets import load_dataset
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "windows.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


@pytest.fixture
def parquet_file(tmp_path: Path) -> Callable[..., Path]:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(columns: dict[str, Any]) -> Path:
        path = tmp_path / "windows.parquet"
        parquet.write_table(pyarrow.table(columns), path)
        return path

    return write


def test_csv_without_header(csv_file: Callable[..., Path]) -> None:
    table = read_windows(csv_file("1,2.5,3\n4,5,-6e-1\n"))
    np.testing.assert_array_equal(
        table.windows[:, :, 0], np.array([[1, 2.5, 3], [4, 5, -0.6]], np.float32)
    )
    assert table.windows.dtype == np.float32
    assert table.windows.flags.c_contiguous
    assert (table.keys, table.timestamps_ms, table.labels) == (None, None, None)


def test_csv_with_header_named_columns_and_byte_order_mark(csv_file: Callable[..., Path]) -> None:
    text = "key,a,timestamp_ms,b,label\npump 1,1,1700000000000,2,0\npump 2,3,1700000000007,4,1\n"
    table = read_windows(csv_file(text, "utf-8-sig"), n_steps=2)
    np.testing.assert_array_equal(table.windows[:, :, 0], [[1, 2], [3, 4]])
    assert table.keys == ("pump 1", "pump 2")
    times_ms, labels = present(table.timestamps_ms), present(table.labels)
    assert times_ms.tolist() == [1700000000000, 1700000000007]
    assert labels.tolist() == [0, 1]
    assert (times_ms.dtype, labels.dtype) == (np.dtype(np.int64), np.dtype(np.int8))


def test_times_that_float64_does_not_hold_are_exact(csv_file: Callable[..., Path]) -> None:
    table = read_windows(csv_file(f"a,timestamp_ms\n1,{2**53 + 1}\n"))
    assert present(table.timestamps_ms).tolist() == [2**53 + 1]


def test_blank_lines_are_passed_over(csv_file: Callable[..., Path]) -> None:
    assert read_windows(csv_file("a,b\n\n1,2\n\n3,4\n")).windows.shape == (2, 2, 1)


def test_features_of_a_step_lie_together(csv_file: Callable[..., Path]) -> None:
    table = read_windows(csv_file("1,2,3,4,5,6\n"), n_steps=3, n_features=2)
    np.testing.assert_array_equal(table.windows, [[[1, 2], [3, 4], [5, 6]]])


def test_values_come_by_way_of_float64(csv_file: Callable[..., Path]) -> None:
    # Straight to float32 this text would round to the other neighbour.
    text = "1.00000017881393432617187499"
    assert read_windows(csv_file(f"{text},0\n")).windows[0, 0, 0] == np.float32(float(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,x\n", "row 2, column b: expected a number, received 'x'"),
        ("1,2\n3,\n", "row 2, column 2: expected a number, received an empty cell"),
        ("1,2\n3\n", "row 2: expected 2 columns as in the first row, received 1"),
        ("a,b\n1,2,3\n", "row 2: expected 2 columns as in the first row, received 3"),
        ("1,2\n\n3,nan\n", "row 3, column 2: expected a finite number"),
        ("1,2\n3,inf\n", "row 2, column 2: expected a finite number"),
        ("1,2\n3,1e39\n", "received 1e+39"),
        ("", "has no rows"),
        ("a,b\n", "has no rows"),
        ("a,label\n1,2\n", "row 2, column label: expected 0 (normal) or 1 (anomalous), received 2"),
        ("a,label\n1,yes\n", "row 2, column label: expected a whole number, received 'yes'"),
        ("a,timestamp_ms\n1,1.5\n", "row 2, column timestamp_ms: expected a whole number"),
        ("key,label\nx,1\n", "value columns, received 0"),
    ],
)
def test_bad_csv_names_file_row_and_column(
    csv_file: Callable[..., Path], text: str, expected: str
) -> None:
    path = csv_file(text)
    with pytest.raises(DatasetError) as caught:
        read_windows(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_labels_may_be_written_as_decimals(csv_file: Callable[..., Path]) -> None:
    table = read_windows(csv_file("a,label\n1,1.0\n2,0.0\n"))
    assert present(table.labels).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [{"n_steps": 4}, {"n_features": 2}])
def test_wrong_number_of_columns_says_what_was_expected(
    csv_file: Callable[..., Path], shape: dict[str, Any]
) -> None:
    with pytest.raises(DatasetError, match="value columns, received 3"):
        read_windows(csv_file("1,2,3\n"), **shape)


def test_missing_and_undecodable_files(tmp_path: Path, csv_file: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"absent\.csv cannot be read as CSV"):
        read_windows(tmp_path / "absent.csv")
    assert read_windows(csv_file("é,b\n1,2\n", "latin-1")).windows[:, :, 0].tolist() == [[1, 2]]


def test_parquet_is_read_like_csv(
    parquet_file: Callable[..., Path], csv_file: Callable[..., Path]
) -> None:
    path = parquet_file(
        {"key": ["x", "y"], "a": [0.1, 0.2], "b": [3, 4], "label": [0, 1], "timestamp_ms": [5, 6]}
    )
    ours = read_windows(path)
    same = read_windows(csv_file("key,a,b,label,timestamp_ms\nx,0.1,3,0,5\ny,0.2,4,1,6\n"))
    np.testing.assert_array_equal(ours.windows, same.windows)
    np.testing.assert_array_equal(ours.labels, same.labels)
    np.testing.assert_array_equal(ours.timestamps_ms, same.timestamps_ms)
    assert ours.keys == same.keys


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": ["x", "y"]}, "row 1, column a (string): expected a number, received 'x'"),
        ({"a": [1.0, None]}, "row 2, column a: expected a finite number"),
        ({"a": [1.0], "label": [None]}, "row 1, column label: expected a whole number"),
    ],
)
def test_bad_parquet_names_row_and_column(
    parquet_file: Callable[..., Path], columns: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        read_windows(parquet_file(columns))
    assert expected in str(caught.value)


def test_empty_and_broken_parquet(parquet_file: Callable[..., Path], tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    with pytest.raises(DatasetError, match="has no rows"):
        read_windows(parquet_file({"a": pyarrow.array([], pyarrow.float64())}))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no table")
    for path in (broken, tmp_path / "absent.parquet"):
        with pytest.raises(DatasetError, match="cannot be read as Parquet"):
            read_windows(path)


def test_parquet_without_its_library_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_pyarrow(name: str, *rest: Any) -> object:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(DatasetError, match=r"pip install 'stream-detector\[train\]'"):
        read_windows(tmp_path / "windows.parquet")


def test_labelled_file_keeps_its_last_fifth_for_the_test(csv_file: Callable[..., Path]) -> None:
    rows = "\n".join(f"k{row},{row},{row % 2}" for row in range(10))
    data = load_dataset("csv", path=csv_file(f"key,a,label\n{rows}\n"))
    assert data.train[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert data.test[:, 0, 0].tolist() == [8, 9]
    assert present(data.test_labels).tolist() == [0, 1]
    assert data.test_keys == ("k8", "k9")


def test_unlabelled_file_is_all_for_training(csv_file: Callable[..., Path]) -> None:
    data = load_dataset("csv", path=csv_file("1,2\n3,4\n"))
    assert (len(data.train), len(data.test)) == (2, 0)
    assert data.train_labels is data.test_labels is None
    assert data.normal_train is data.train


def test_the_test_part_is_the_last_fifth_of_each_key(csv_file: Callable[..., Path]) -> None:
    rows = "\n".join(f"{key},{row},{row + 0.5},0" for key in ("a", "b") for row in range(10))
    data = load_dataset("csv", path=csv_file(f"key,v,w,label\n{rows}\n"))
    assert data.test_keys == ("a", "a", "b", "b")
    assert data.test[:, 0, 0].tolist() == [8, 9, 8, 9]
    assert data.train[:, 0, 0].tolist() == [*range(8), *range(8)]
    assert present(data.train_keys) == ("a",) * 8 + ("b",) * 8


def test_the_last_fifth_is_that_of_time_where_there_are_times(
    csv_file: Callable[..., Path],
) -> None:
    rows = "\n".join(f"a,{1_000_000_000_000 - row},{row},{row + 0.5},0" for row in range(10))
    data = load_dataset("csv", path=csv_file(f"key,timestamp_ms,v,w,label\n{rows}\n"))
    assert data.test[:, 0, 0].tolist() == [0, 1]
    assert present(data.test_timestamps_ms).tolist() == [1_000_000_000_000, 999_999_999_999]


@pytest.mark.parametrize(
    ("n_of_key", "expected"),
    [
        (4, ["b3"]),
        (5, ["a4", "b4"]),
    ],
)
def test_keys_of_fewer_than_five_windows_are_split_together(
    csv_file: Callable[..., Path], n_of_key: int, expected: list[str]
) -> None:
    names = [f"{key}{row}" for key in ("a", "b") for row in range(n_of_key)]
    rows = "\n".join(f"{name[0]},{at},{at + 0.5},0" for at, name in enumerate(names))
    data = load_dataset("csv", path=csv_file(f"key,v,w,label\n{rows}\n"))
    assert [names[int(at)] for at in data.test[:, 0, 0]] == expected
