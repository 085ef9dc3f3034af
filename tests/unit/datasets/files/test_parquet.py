"""Parquet: every type that holds numbers is converted, and every other is named."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.datasets import load_dataset, load_samples
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.windows import read_windows, window_parts
from stream_detector.errors import DatasetError

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

START = 1_767_225_600_000
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_table(columns: dict[str, Any], name: str = "pump.parquet") -> Path:
        path = tmp_path / name
        parquet.write_table(pyarrow.table(columns), path)
        return path

    return write_table


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save_frame(frame: Any) -> Path:
        path = tmp_path / "pump.parquet"
        frame.to_parquet(path)
        return path

    return save_frame


def obey(message: str) -> Path:
    """Run the lines of Python that a message gives, and return the file they write."""
    found = re.search(r"in Python: (.*?); then give (\S+?)(?:;|$)", message)
    assert found is not None, message
    exec(found[1], {})  # noqa: S102
    return Path(found[2])


@pytest.mark.parametrize(
    "cells",
    [
        pyarrow.array([1, 0, None], pyarrow.int8()),
        pyarrow.array([1, 0, None], pyarrow.uint64()),
        pyarrow.array([1, 0, None], pyarrow.float32()),
        pyarrow.array([True, False, None]),
        pyarrow.array([Decimal("1.00"), Decimal("0.00"), None]),
        pyarrow.array(["1", " 0.0 ", None]),
        pyarrow.array(["true", "False", None]),
        pyarrow.array(["1", "0", ""]),
        pyarrow.array(["1", "0", "nan"], pyarrow.large_string()),
        pyarrow.array(["1", "0", None]).dictionary_encode(),
        pyarrow.array([b"1", b"0", None]),
        pyarrow.array([b"1.", b"0.", None], pyarrow.binary(2)),
        pyarrow.array([1, 0, None]).dictionary_encode(),
    ],
    ids=lambda cells: str(cells.type)[:20],
)
def test_values_of_any_type_that_holds_numbers_are_read(
    write: Callable[..., Path], cells: Any
) -> None:
    path = write({"timestamp_ms": [START, START + 1, START + 2], "a": cells})
    np.testing.assert_array_equal(read_samples(path).samples.values, [[1], [0], [np.nan]])


def test_decimals_come_by_way_of_float64(write: Callable[..., Path]) -> None:
    text = "1.00000017881393432617187499"
    windows = read_windows(write({"a": pyarrow.array([Decimal(text)])})).windows
    assert windows[0, 0, 0] == np.float32(float(text))


def test_a_column_of_nothing_is_missing_throughout(write: Callable[..., Path]) -> None:
    path = write({"timestamp_ms": [START], "a": [1.0], "b": pyarrow.nulls(1)})
    np.testing.assert_array_equal(read_samples(path).samples.values, [[1, np.nan]])


@pytest.mark.parametrize(
    ("cells", "keys"),
    [
        (pyarrow.array([7, 9], pyarrow.int64()), ("7", "9")),
        (pyarrow.array([b"a", b"\xc3\xa9"]), ("a", "é")),
        (pyarrow.array([b"a\xff", b"b"], pyarrow.large_binary()), ("a\\xff", "b")),
        (pyarrow.array([b"ab", b"cd"], pyarrow.binary(2)), ("ab", "cd")),
        (pyarrow.array(["a", "b"]).dictionary_encode(), ("a", "b")),
        (pyarrow.array([b"a", b"b"]).dictionary_encode(), ("a", "b")),
        (pyarrow.array([7.0, 9.0]), ("7", "9")),
        (pyarrow.array([7.5, 9.0]), ("7.5", "9")),
        (pyarrow.array([Decimal("7.10"), Decimal("9.10")]), ("7.10", "9.10")),
    ],
    ids=lambda each: str(getattr(each, "type", ""))[:20],
)
def test_keys_of_any_type_are_text(
    write: Callable[..., Path], cells: Any, keys: tuple[str, str]
) -> None:
    path = write({"key": cells, "timestamp_ms": [START, START], "a": [1.0, 2.0]})
    assert read_samples(path).samples.keys == keys
    assert read_windows(path).keys == keys


def test_missing_keys_are_named_in_samples_and_empty_in_windows(
    save: Callable[..., Path],
) -> None:
    key = pandas.array([7, None, 9], dtype="Int64")
    path = save(pandas.DataFrame({"key": key, "timestamp_ms": [START] * 3, "a": [1.0, 2, 3]}))
    with pytest.raises(DatasetError, match="row 2, column key: expected the name of a series"):
        read_samples(path)
    assert read_windows(path).keys == ("7", "", "9")


@pytest.mark.parametrize(
    "label",
    [
        pyarrow.array([True, False]),
        pyarrow.array(["1", "0"]),
        pyarrow.array(["True", "false"]),
        pyarrow.array([1.0, 0.0]),
        pyarrow.array([Decimal(1), Decimal(0)]),
    ],
    ids=lambda each: str(each.type),
)
def test_labels_of_any_type_are_read(write: Callable[..., Path], label: Any) -> None:
    path = write({"a": [1.0, 2.0], "b": [1.0, 2.0], "Label": label})
    assert present(read_windows(path).labels).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pyarrow.array([[1.0, 2.0]]), "row 1, column a (list<element: double>): expected a column"),
        (pyarrow.array(["pump"]), "row 1, column a (string): expected a number, received 'pump'"),
        (pyarrow.array([b"\xff"]), "column a (binary): expected a column of numbers; name it key"),
        (pyarrow.array([{"x": 1}]), "column a (struct<x: int64>): expected a column of numbers"),
    ],
    ids=["list", "text", "binary", "struct"],
)
def test_what_cannot_be_converted_is_named_with_its_type(
    write: Callable[..., Path], column: Any, expected: str
) -> None:
    path = write({"a": column, "b": [1.0]})
    with pytest.raises(DatasetError) as caught:
        read_windows(path)
    assert expected in str(caught.value)


def test_text_among_numbers_is_named_by_its_row_and_mended(write: Callable[..., Path]) -> None:
    path = write({"a": ["1", "off", "3"], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(DatasetError, match=r"row 2, column a \(string\): .* 'off'") as caught:
        read_windows(path)
    found = read_windows(obey(str(caught.value)))
    assert found.windows[:, :, 0].tolist() == [[1, 1], [3, 3]]


def test_lists_are_mended_by_obeying(write: Callable[..., Path]) -> None:
    path = write({"key": ["x", "y"], "signal": [[1.0, 2.0, 4.0], [3.0, 4.0, 9.0]]})
    with pytest.raises(DatasetError, match="give each element a column of its own") as caught:
        read_windows(path)
    found = read_windows(obey(str(caught.value)))
    assert found.windows[:, :, 0].tolist() == [[1, 2, 4], [3, 4, 9]]
    assert found.keys == ("x", "y")


def test_durations_are_mended_by_obeying(write: Callable[..., Path]) -> None:
    path = write({"timestamp_ms": [START], "a": pyarrow.array([timedelta(seconds=1.5)])})
    with pytest.raises(DatasetError, match=r"column a \(duration") as caught:
        read_samples(path)
    assert read_samples(obey(str(caught.value))).samples.values.tolist() == [[1.5]]


@pytest.mark.parametrize("name", ["timestamp_ms", "when"])
def test_dates_are_times(write: Callable[..., Path], name: str) -> None:
    path = write({name: [DAY, DAY + timedelta(seconds=1.5)], "a": [1.0, 2.0]})
    times_ms = read_samples(path).samples.times_ms
    assert times_ms.tolist() == [START, START + 1500]


@pytest.mark.parametrize("name", ["timestamp_ms", " Timestamp_ms", "key", "label"])
def test_a_named_column_may_be_the_index(save: Callable[..., Path], name: str) -> None:
    frame = pandas.DataFrame({name: [0, 1], "a": [1.0, 2.0]})
    if "time" not in name.lower():
        frame["timestamp_ms"] = START
    table = read_samples(save(frame.set_index(name)))
    assert table.feature_names == ("a",)
    assert table.samples.values.tolist() == [[1], [2]]
    if name == "key":
        assert table.samples.keys == ("0", "1")


@pytest.mark.parametrize("name", [None, "number"])
def test_another_index_is_no_value(save: Callable[..., Path], name: str | None) -> None:
    frame = pandas.DataFrame({"a": [1.0, 2.0]}, index=pandas.Index([3, 5], name=name))
    assert read_windows(save(frame)).windows.tolist() == [[[1]], [[2]]]


@pytest.mark.parametrize("name", [None, "when", "timestamp_ms"])
def test_an_index_of_dates_is_the_time(save: Callable[..., Path], name: str | None) -> None:
    index = pandas.DatetimeIndex([DAY, DAY + timedelta(seconds=1.5)], name=name)
    path = save(pandas.DataFrame({"a": [1.0, 2.0]}, index=index))
    found = read_samples(path)
    assert found.samples.times_ms.tolist() == [START, START + 1500]
    assert found.feature_names == ("a",)


@pytest.mark.parametrize("name", ["pump.pq", "pump.PQ", "pump.Parquet"])
def test_other_ends_of_names_are_parquet_too(write: Callable[..., Path], name: str) -> None:
    path = write({"timestamp_ms": [START, START + 1], "a": [1.0, 2.0], "b": [2.0, 1.0]}, name)
    assert load_samples("parquet", path=path).feature_names == ("a", "b")
    assert load_dataset("parquet", path=path).train.shape == (2, 2, 1)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    array = pyarrow.array([1.0, 2.0])
    path = tmp_path / "pump.parquet"
    parquet.write_table(pyarrow.Table.from_arrays([array, array], ["a", "a"]), path)
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        read_windows(path)


@pytest.mark.parametrize(
    "metadata",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"index_columns": 7}',
        b'{"index_columns": [{"kind": "range", "name": "key", "start": 0, "stop": 1e15}]}',
        b'{"index_columns": [{"name": "key", "start": 0, "stop": 1000000000000, "step": 1}]}',
        b'{"index_columns": [{"name": "key", "start": 0, "stop": 2, "step": 0}]}',
        b'{"index_columns": [null, {"name": null}]}',
    ],
)
def test_metadata_of_others_costs_nothing(tmp_path: Path, metadata: bytes) -> None:
    table = pyarrow.table({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    path = tmp_path / "pump.parquet"
    parquet.write_table(table.replace_schema_metadata({b"pandas": metadata}), path)
    found = read_windows(path)
    assert (found.windows.shape, found.keys) == ((2, 2, 1), None)


def test_half_precision_is_read(write: Callable[..., Path]) -> None:
    cells = pyarrow.array(np.array([1.5, 2.5], np.float16))
    assert read_windows(write({"a": cells})).windows[:, 0, 0].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("n_cells", "n_rows", "expected"),
    [(30, 99, [10, 10, 5]), (29, 99, [9, 9, 7]), (30, 9, [9, 9, 7]), (2, 99, [1] * 25)],
)
def test_parts_have_no_more_rows_or_cells_than_may_be_held(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    n_cells: int,
    n_rows: int,
    expected: list[int],
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "wide.parquet"
    parquet.write_table(pyarrow.table({name: np.arange(25.0) for name in "abc"}), path)
    monkeypatch.setattr("stream_detector.datasets.files.parquet._VALUES_A_PART", n_cells)
    monkeypatch.setattr("stream_detector.datasets.files.parquet._ROWS_A_PART", n_rows)
    parts = window_parts(path if kind == "file" else tmp_path, 3)
    assert [len(part.windows) for part in parts] == expected
