"""A person's own samples, from CSV and Parquet."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.datasets import load_samples
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError

START = 1_767_225_600_000


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "pump-7.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def parquet_file(tmp_path: Path) -> Callable[..., Path]:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(columns: dict[str, Any]) -> Path:
        path = tmp_path / "pump-7.parquet"
        parquet.write_table(pyarrow.table(columns), path)
        return path

    return write


def test_rows_of_several_keys_may_lie_between_each_other(csv_file: Callable[..., Path]) -> None:
    text = (
        "key,pressure,timestamp_ms,temperature,label\n"
        f"b,1,{START},10,0\n"
        f"a,2,{START - 5},20,1\n"
        f"b,3,{START + 2.5},30,0\n"
        f"a,4,{START - 5},40,0\n"
    )
    table = read_samples(csv_file(text))
    assert table.feature_names == ("pressure", "temperature")
    assert table.samples.keys == ("b", "a")
    assert table.samples.series.tolist() == [0, 1, 0, 1]
    assert table.samples.times_ms.tolist() == [START, START - 5, START + 2.5, START - 5]
    np.testing.assert_array_equal(table.samples.values, [[1, 10], [2, 20], [3, 30], [4, 40]])
    labels = present(table.samples.labels)
    assert labels.tolist() == [0, 1, 0, 0]
    assert table.samples.values.dtype == np.float32
    assert table.samples.values.flags.c_contiguous
    assert (table.samples.series.dtype, labels.dtype) == (np.dtype(np.intp), np.dtype(np.int8))


def test_without_keys_the_file_is_the_series(csv_file: Callable[..., Path]) -> None:
    table = read_samples(csv_file(f"timestamp_ms,a\n{START},1\n{START + 1},2\n"))
    assert table.samples.keys == ("pump-7",)
    assert table.samples.series.tolist() == [0, 0]
    assert table.samples.labels is None


@pytest.mark.parametrize("time_ms", [0, 999_999_999, 10_000_000_000, 253_402_300_799_999])
def test_times_from_1970_to_the_year_9999_are_milliseconds(
    csv_file: Callable[..., Path], time_ms: int
) -> None:
    table = read_samples(csv_file(f"timestamp_ms,a\n{time_ms},1\n"))
    assert table.samples.times_ms.tolist() == [time_ms]


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN"])
def test_an_empty_cell_is_a_missing_value(csv_file: Callable[..., Path], cell: str) -> None:
    text = f"timestamp_ms,a,b\n{START},1,2\n{START + 1},{cell},3\n"
    values = read_samples(csv_file(text)).samples.values
    np.testing.assert_array_equal(values, [[1, 2], [np.nan, 3]])


def test_a_feature_may_be_missing_throughout(csv_file: Callable[..., Path]) -> None:
    values = read_samples(csv_file(f"timestamp_ms,a,b\n{START},1,\n")).samples.values
    np.testing.assert_array_equal(values, [[1, np.nan]])


def test_values_come_by_way_of_float64(csv_file: Callable[..., Path]) -> None:
    # Straight to float32 this text would round to the other neighbour.
    text = "1.00000017881393432617187499"
    table = read_samples(csv_file(f"timestamp_ms,a\n{START},{text}\n"))
    assert table.samples.values[0, 0] == np.float32(float(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timestamp_ms,a\nT,x\n", "row 2, column a: expected a number, received 'x'"),
        ("timestamp_ms,a\nT,inf\n", "row 2, column a: expected a finite number"),
        ("timestamp_ms,a\nT,1e39\n", "row 2, column a: expected a finite number"),
        ("timestamp_ms,a\n\nT,1\nT,1,2\n", "row 4: expected 2 columns as in the first row"),
        ("timestamp_ms,a\nnoon,1\n", "row 2, column timestamp_ms: expected a number, received 'n"),
        ("timestamp_ms,a\nT,1\n,2\n", "row 3, column timestamp_ms: expected a number, received ''"),
        ("timestamp_ms,a\ninf,2\n", "row 2, column timestamp_ms: expected a number"),
        ("timestamp_ms,a\n1000000000,2\n", "received 1000000000, which looks like seconds"),
        ("timestamp_ms,a\n9999999999,2\n", "received 9999999999, which looks like seconds"),
        ("timestamp_ms,a\n253402300800000,2\n", "to the year 9999, received 253402300800000"),
        (
            "timestamp_ms,a\nT,1\nT000,2\n",
            "row 3, column timestamp_ms: expected milliseconds since 1970-01-01 UTC up to the year "
            "9999, received 1767225600000000; correct the cell, or convert the column",
        ),
        ("timestamp_ms,a\n-1,2\n", "up to the year 9999, received -1; correct the cell"),
        ("timestamp_ms,a\n2026-01-01 00:00:00,1\n2026,2\n", "expected a time as ISO 8601"),
        ("key,timestamp_ms,a\nx,T,1\n,T,2\n", "row 3, column key: expected the name of a series"),
        ("timestamp_ms,a,label\nT,1,2\n", "row 2, column label: expected 0 (normal) or 1"),
        ("timestamp_ms,a,label\nT,1,\n", "row 2, column label: expected a whole number"),
        ("time,a\n5,1\n", "a column timestamp_ms, received the columns time, a"),
        ("1,2\n3,4\n", "a column timestamp_ms, received the columns 1, 2"),
        ("timestamp_ms,a,a\nT,1,2\n", "columns of different names, received a more than once"),
        ("timestamp_ms,key\nT,x\n", "expected at least one feature column beside"),
        ("timestamp_ms,a\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_bad_file_is_refused_by_file_row_and_column(
    csv_file: Callable[..., Path], text: str, expected: str
) -> None:
    path = csv_file(text.replace("T", str(START)))
    with pytest.raises(DatasetError) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(("keys", "expected"), [([b"p7"], "p7"), ([b"p7", b"p8"], "pump-7")])
def test_a_file_without_keys_is_the_only_series_that_the_bundle_knows(
    csv_file: Callable[..., Path], keys: list[bytes], expected: str
) -> None:
    ones = np.ones((len(keys), 1), np.float32)
    features = Features(("a",), key_scales=KeyScales(keys, ones, ones))
    path = csv_file(f"timestamp_ms,a\n{START},2\n")
    assert read_samples(path, features).samples.keys == (expected,)
    keyed = csv_file(f"key,timestamp_ms,a\np9,{START},2\n")
    assert read_samples(keyed, features).samples.keys == ("p9",)


def test_features_are_matched_by_name_in_any_order(csv_file: Callable[..., Path]) -> None:
    path = csv_file(f"b,timestamp_ms, a\n1,{START},2\n3,{START},4\n")
    table = read_samples(path, Features(("a", "b")))
    assert table.feature_names == ("a", "b")
    assert table.samples.values.tolist() == [[2, 1], [4, 3]]
    assert table.samples.values.flags.c_contiguous


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b", "c"), "expected the features a, b, c; missing c; give those that"),
        (("a",), "expected the features a; unknown b; give"),
        (("a", "c", "d"), "expected the features a, c, d; missing c, d, unknown b; give"),
        (("A", "b"), "missing A, unknown a"),
        (("feature_0",), "expected the features feature_0; missing feature_0, unknown a, b"),
    ],
)
def test_missing_and_unknown_features_are_listed(
    csv_file: Callable[..., Path], names: tuple[str, ...], expected: str
) -> None:
    path = csv_file(f"timestamp_ms,a,b\n{START},1,2\n")
    with pytest.raises(DatasetError, match=r"pump-7\.csv: ") as caught:
        read_samples(path, Features(names))
    assert expected in str(caught.value)


def test_features_without_names_are_matched_by_place(csv_file: Callable[..., Path]) -> None:
    path = csv_file(f"timestamp_ms,b,a\n{START},1,2\n")
    assert read_samples(path, Features.generated(2)).samples.values.tolist() == [[1, 2]]


def test_the_name_of_a_feature_has_a_longest_length(csv_file: Callable[..., Path]) -> None:
    longest = read_samples(csv_file(f"timestamp_ms,{'a' * 200}\n{START},1\n")).feature_names
    assert longest == ("a" * 200,)
    with pytest.raises(DatasetError, match="at most 200 characters, received one of 201: aaa"):
        read_samples(csv_file(f"timestamp_ms,{'a' * 201}\n{START},1\n"))


def test_a_row_far_down_is_named_by_its_line(csv_file: Callable[..., Path]) -> None:
    lines = [f"{START + row},{row}" for row in range(10_000)]
    lines[9_000] = f"{START + 9_000},oops"
    with pytest.raises(DatasetError, match="row 9002, column a: expected a number"):
        read_samples(csv_file("timestamp_ms,a\n" + "\n".join(lines)))


def test_many_rows_are_read_whole(csv_file: Callable[..., Path]) -> None:
    lines = [f"{row % 3},{START + row},{row},{row % 2}" for row in range(20_000)]
    samples = read_samples(csv_file("key,timestamp_ms,a,label\n" + "\n".join(lines))).samples
    rows = np.arange(20_000)
    np.testing.assert_array_equal(samples.values[:, 0], rows.astype(np.float32))
    np.testing.assert_array_equal(samples.times_ms, START + rows)
    np.testing.assert_array_equal(samples.series, rows % 3)
    np.testing.assert_array_equal(samples.labels, rows % 2)


def test_parquet_is_read_like_csv(
    csv_file: Callable[..., Path], parquet_file: Callable[..., Path]
) -> None:
    columns = {
        "key": ["x", "y", "x"],
        "timestamp_ms": [START, START, START + 2.5],
        "a": [0.1, None, 0.3],
        "b": [1, 2, 3],
        "label": [0, 1, 0],
    }
    ours = read_samples(parquet_file(columns))
    text = (
        f"key,timestamp_ms,a,b,label\nx,{START},0.1,1,0\ny,{START},,2,1\nx,{START + 2.5},0.3,3,0\n"
    )
    same = read_samples(csv_file(text))
    assert ours.feature_names == same.feature_names
    assert ours.samples.keys == same.samples.keys == ("x", "y")
    for name in ("series", "times_ms", "values", "labels"):
        np.testing.assert_array_equal(getattr(ours.samples, name), getattr(same.samples, name))


def test_a_key_that_is_null_in_parquet_is_refused(parquet_file: Callable[..., Path]) -> None:
    path = parquet_file({"key": ["x", None], "timestamp_ms": [START, START], "a": [1.0, 2.0]})
    with pytest.raises(DatasetError, match="row 2, column key: expected the name of a series"):
        read_samples(path)


@pytest.mark.parametrize("name", ["timestamp_ms", "when"])
def test_dates_in_parquet_are_times(parquet_file: Callable[..., Path], name: str) -> None:
    path = parquet_file({name: [datetime(2026, 1, 1, tzinfo=UTC)], "a": [1.0]})
    assert read_samples(path).samples.times_ms.tolist() == [1_767_225_600_000]


def test_a_missing_time_in_parquet_is_refused(parquet_file: Callable[..., Path]) -> None:
    path = parquet_file({"timestamp_ms": [START, None], "a": [1.0, 2.0]})
    with pytest.raises(DatasetError, match="row 2, column timestamp_ms: expected a number"):
        read_samples(path)


def test_a_labelled_file_keeps_the_last_fifth_of_its_time_for_the_test(
    csv_file: Callable[..., Path],
) -> None:
    rows = "\n".join(f"{key},{START + ms},{ms},0" for ms in range(11) for key in "xy" if ms != 9)
    data = load_samples("csv", path=csv_file(f"key,timestamp_ms,a,label\n{rows}\n"))
    assert (data.name, data.split, data.feature_names) == ("pump-7.csv", "", ("a",))
    assert data.train.keys == data.test.keys == ("x", "y")
    assert set(data.train.values[:, 0]) == set(range(9))
    assert data.test.values[:, 0].tolist() == [10, 10]
    assert present(data.test.labels).tolist() == [0, 0]


def test_an_unlabelled_file_is_all_for_training(csv_file: Callable[..., Path]) -> None:
    data = load_samples("csv", path=csv_file(f"timestamp_ms,a\n{START},1\n"))
    assert (len(data.train), len(data.test)) == (1, 0)
    assert data.train.labels is data.test.labels is None
    assert data.test.values.shape == (0, 1)


@pytest.mark.parametrize("wrong", [{"name": "ecg5000"}, {"name": "csv"}, {"name": "mitdb"}])
def test_what_is_not_given_is_the_callers_mistake(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        load_samples(**wrong)


def test_a_series_that_is_tested_was_trained_on(csv_file: Callable[..., Path]) -> None:
    rows = [f"a,{START + ms},{ms},0" for ms in range(11)]
    rows += [f"b,{START + 100 + ms},{ms},0" for ms in range(11)]
    text = "key,timestamp_ms,x,label\n" + "\n".join([*rows, f"c,{START + 200},7,0"])
    data = load_samples("csv", path=csv_file(text))
    assert data.test.series.tolist() == [0, 0, 1, 1]
    assert data.test.values[:, 0].tolist() == [9, 10, 9, 10]
    assert data.train.series.tolist() == [0] * 9 + [1] * 9 + [2]


NOTED = (
    "key,timestamp_ms,flow,heat,label,Label_Kind, label_feature\n"
    f"a,{START},1,1,0,stuck,flow\n"
    f"a,{START + 1},1,1,1, stuck ,flow; heat\n"
    f"b,{START + 1},1,1,1,,\n"
    f"a,{START + 2},1,1,1,drift,heat\n"
    f"a,{START + 3},1,1,0,,\n"
)


def test_a_fault_has_the_kind_and_the_features_of_its_first_row(
    csv_file: Callable[..., Path],
) -> None:
    path = csv_file(NOTED)
    expected = (
        LabelledEvent("a", START + 1, START + 2, "stuck", ("flow", "heat")),
        LabelledEvent("b", START + 1, START + 1),
    )
    assert read_samples(path).faults == expected
    assert read_samples(path).feature_names == ("flow", "heat")
    data = load_samples("csv", path=path)
    assert data.faults == expected
    plain = csv_file(f"timestamp_ms,flow,label\n{START},1,1\n")
    assert read_samples(plain).faults == ()


def test_notes_of_labels_in_parquet(parquet_file: Callable[..., Path]) -> None:
    columns = {"timestamp_ms": [START], "flow": [1.0], "label": [1], "label_kind": ["stuck"]}
    found = read_samples(parquet_file(columns | {"label_feature": [None]})).faults
    assert found == (LabelledEvent("pump-7", START, START, "stuck"),)


def test_notes_need_labels_and_features_that_exist(csv_file: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"expected a column label .* beside the column label_k"):
        read_samples(csv_file(f"timestamp_ms,flow,label_kind\n{START},1,stuck\n"))
    text = f"timestamp_ms,flow,label,label_feature\n{START},1,0,x\n{START + 1},1,1,flow;flaw\n"
    with pytest.raises(DatasetError, match=r"row 3, column label_feature.* received 'flaw'"):
        read_samples(csv_file(text))


def test_windows_may_carry_the_notes_too(csv_file: Callable[..., Path]) -> None:
    table = read_windows(csv_file("a,b,label,label_kind\n1,2,1,stuck\n"))
    assert table.windows.shape == (1, 2, 1)
