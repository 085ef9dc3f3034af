"""Files whose columns have other names than the standard ones, as a recipe names them."""

from pathlib import Path

import numpy as np
import pytest
from present import present

from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.samples import load, read_samples
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import ColumnMap

START = 1_767_225_600_000
COLUMNS = ColumnMap(
    key="Machine",
    time="When",
    time_format="iso",
    label="State",
    normal_label="ok",
    features=("flow", "heat"),
)
TEXT = (
    "When,Machine,flow,note,heat,State\n"
    "2026-01-01T00:00:00Z,b,1,x,10,ok\n"
    "2026-01-01T01:00:00+01:00,a,2,,20,Leak\n"
    "2026-01-01 00:00:01.5,b,NA,y,30,\n"
    "2026-01-01 00:00:02.5,b,4,y,40,Jam\n"
)


def test_a_csv_file_is_read_by_the_names_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text(TEXT, encoding="utf-8")
    table = read_samples(path, columns=COLUMNS)
    assert table.feature_names == ("flow", "heat")
    assert table.samples.keys == ("b", "a")
    assert table.samples.times_ms.tolist() == [START, START, START + 1500, START + 2500]
    assert present(table.samples.labels).tolist() == [0, 1, 0, 1]
    values = [[1, 10], [2, 20], [np.nan, 30], [4, 40]]
    np.testing.assert_array_equal(table.samples.values, values)
    assert {(fault.key, fault.kind) for fault in table.faults} == {("a", "Leak"), ("b", "Jam")}


def test_one_kind_of_label_alone_says_no_more_than_the_label(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text(TEXT.replace("Jam", "Leak"), encoding="utf-8")
    found = read_samples(path, columns=COLUMNS)
    assert present(found.samples.labels).tolist() == [0, 1, 0, 1]
    assert found.faults == ()


@pytest.mark.parametrize("kind", ["text", "timestamp", "date"])
def test_a_parquet_file_is_read_by_the_names_of_a_recipe(tmp_path: Path, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    when = pyarrow.array([START, START + 86_400_000], pyarrow.timestamp("ms"))
    kinds = {"text": pyarrow.string(), "timestamp": when.type, "date": pyarrow.date32()}
    columns = {
        "When": when.cast(kinds[kind]),
        "Machine": ["a", "a"],
        "flow": [1.0, None],
        "note": ["x", "y"],
        "heat": [3, 4],
        "State": ["ok", "leak"],
    }
    path = tmp_path / "fleet.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    samples = read_samples(path, columns=COLUMNS).samples
    assert samples.times_ms.tolist() == [START, START + 86_400_000]
    assert present(samples.labels).tolist() == [0, 1]
    np.testing.assert_array_equal(samples.values, [[1, 3], [np.nan, 4]])


def test_the_pandas_index_may_be_the_time(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2026-01-01", periods=3, freq="s", name="When", tz="UTC")
    path = tmp_path / "fleet.parquet"
    pandas.DataFrame({"flow": [1.0, 2.0, 3.0]}, index=index).to_parquet(path)
    samples = read_samples(path, columns=ColumnMap(time="When")).samples
    assert samples.times_ms.tolist() == [START, START + 1000, START + 2000]


def test_windows_are_read_by_the_names_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "beats.csv"
    path.write_text("who,t,v0,v1,kind,note\na,1767225600,1,2,N,x\nb,1767225601,3,4,V,y\n")
    columns = ColumnMap("who", "t", "s", "kind", "N", ("v0", "v1"))
    table = read_windows(path, columns=columns)
    assert table.keys == ("a", "b")
    assert present(table.timestamps_ms).tolist() == [START, START + 1000]
    assert present(table.labels).tolist() == [0, 1]
    assert table.windows[:, :, 0].tolist() == [[1, 2], [3, 4]]


def test_a_cell_that_is_no_time_of_the_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text(TEXT.replace("2026-01-01 00:00:01.5", "noon"), encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        read_samples(path, columns=COLUMNS)
    assert "row 4, column When: expected a time as data.time_format = 'iso'" in str(caught.value)
    assert "received 'noon'" in str(caught.value)


def test_a_column_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text("timestamp_ms,flow,heat\n1767225600000,1,2\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="expected the columns Machine, When, State that"):
        read_samples(path, columns=COLUMNS)
    assert read_samples(path, columns=COLUMNS.lenient).samples.times_ms.tolist() == [START]


def test_rows_that_are_not_in_order_of_time_are_sorted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text("key,timestamp_ms,a,label\nx,9,1,0\ny,3,2,0\nx,8,3,1\nx,8,4,0\n")
    samples = read_samples(path).samples
    assert samples.times_ms.tolist() == [3, 8, 8, 9]
    assert samples.values.ravel().tolist() == [2, 3, 4, 1]
    assert samples.series.tolist() == [1, 0, 0, 0]
    assert present(samples.labels).tolist() == [0, 1, 0, 0]
    assert f"rows-sorted file={path} row=4 key=x n_rows=1 reason=" in caplog.text


@pytest.mark.parametrize(("share", "n_test"), [(None, 2), (0.0, 0), (0.5, 5)])
def test_the_test_part_is_the_last_share_of_each_series(
    tmp_path: Path, share: float | None, n_test: int
) -> None:
    path = tmp_path / "fleet.csv"
    rows = "".join(f"{START + 1000 * step},{step},0\n" for step in range(11))
    path.write_text(f"timestamp_ms,a,label\n{rows}")
    data = load(path, test_share=share)
    assert data.test.times_ms.tolist() == [START + 1000 * step for step in range(11 - n_test, 11)]
    assert len(data.train) == 11 - n_test


def test_without_labels_there_is_a_test_part_only_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    rows = "".join(f"{START + 1000 * step},{step % 3}\n" for step in range(11))
    path.write_text(f"timestamp_ms,a\n{rows}")
    assert len(load(path).test) == 0
    assert len(load(path, test_share=0.2).test) == 2


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), ""),
        (("device",), ", not read: device"),
        (("a", "b", "c"), ", not read: a, b, c"),
        (("a", "b", "c", "d", "e"), ", not read: a, b, c, 2 more"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_not_read_are_said(
    tmp_path: Path, others: tuple[str, ...], said: str, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    names = ("timestamp_ms", "flow", *others)
    if kind == "csv":
        numbers = ",".join("1" * len(names))
        path.write_text(f"{','.join(names)},\n{numbers},\n")
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({name: [1] for name in names}), path)
    read = read_columns(path, blank_is_missing=True, columns=ColumnMap(features=("flow",)))
    assert read.described.endswith(f", 1 column of values{said}")
