"""pyarrow reads the blocks that are regular, `csv` the others, and both give the same."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream_detector.datasets.files import csv_rows
from stream_detector.datasets.files.csv_rows import Parsed, Split, Wanted, open_csv
from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError
from stream_detector.inspection.table import read_raw
from stream_detector.recipes.columns import ColumnMap

pytest.importorskip("pyarrow")

START = 1_767_225_600_000
LINE = "pump-1,1767225600000,1.5,-2e3\n"
SAMPLES = Wanted([2, 3], 1, [0], blank_is_missing=True)


@pytest.fixture(autouse=True)
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one row for the first ones, and then one line a block."""
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 1)
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 1)


def blocks(path: Path, wanted: Wanted = SAMPLES) -> Iterator[Split | Parsed]:
    with open_csv(path) as reader:
        reader.first()
        yield from reader.rest(wanted)


@pytest.mark.parametrize(
    "line",
    [
        "pump 2,1767225600000,0.1,1e-320\n",
        '"pump ""2""",1767225600000,"0.1",\n',
        "pump;2,1767225600000.5,NaN,Unavailable\n",
        "#pump,1767225600000, 1,-inf\n",
        " pump ,+1767225600000,+5,.5\r\n",
        'pu"mp,1767225600000,9007199254740993,-0\n',
        "pümp\u2028\x85,1767225600000,1.,null\n",
        ",1767225600000,1e400,0.30000000000000004",
    ],
)
def test_a_regular_line_is_read_by_pyarrow_as_by_csv(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"{LINE}{line}".encode())
    (found,) = blocks(path)
    assert isinstance(found, Parsed)
    (cells,) = csv.reader([line])
    assert found.rows.tolist() == [2]
    assert found.texts == [[cells[0]]]
    assert found.times is not None
    assert found.times.tolist() == [float(cells[1])]
    words = {"unavailable": "nan", "null": "nan", "": "nan"}
    wanted = [float(words.get(cell.lower(), cell)) for cell in cells[2:]]
    np.testing.assert_array_equal(found.numbers, [wanted])
    assert np.signbit(found.numbers[0, 1]) == np.signbit(wanted[1])


@pytest.mark.parametrize(
    "line",
    [
        "pump-1,1767225600000,1.5\n",
        "pump-1,1767225600000,1.5,2,3\n",
        "# a comment\n",
        "   \n",
        '"pump\n1",1767225600000,1.5,2\n',
        "pump-1,1767225600000,1.5,word\n",
        "pump-1,1767225600000,1.5,nan(1)\n",
        "pump-1,1767225600000,1.5,1_000\n",
        "pump-1,1767225600000,1.5,٣\n",
        'pump-1,1767225600000,1.5,"1,5"\n',
        "pump-1,1767225600000,1.5,True\n",
        "pump-1,,1.5,2\n",
        "pump-1,inf,1.5,2\n",
        "pump-1,2026-01-01,1.5,2\n",
        "\ufeffpump-1,1767225600000,1.5,2\n",
    ],
)
def test_a_block_with_any_other_line_is_split(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{LINE}{LINE}{line}{LINE}")
    before, *others, after = blocks(path)
    assert isinstance(before, Parsed)
    assert isinstance(after, Parsed)
    assert before.rows.tolist() == [2]
    assert after.rows.tolist() == [3 + line.count("\n")]
    wanted = [cells for cells in csv.reader([*line.splitlines(keepends=True)])]
    wanted = [cells for cells in wanted if cells and not cells[0].startswith("# ")]
    assert [each.lines for each in others if isinstance(each, Split)] == [wanted] * bool(wanted)
    assert len(others) == bool(wanted)


def test_a_cell_may_be_as_long_as_csv_takes_it(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text(f"k,{START},1,2\n{'k' * (limit + 1)},{START},1,2\n")
    with pytest.raises(DatasetError, match=r"row 2 cannot be read as CSV: field larger than"):
        list(blocks(path))
    path.write_text(f"k,{START},1,2\n{'k' * limit},{START},1,2\n")
    assert [type(each) for each in blocks(path)] == [Split]
    rest = f",{START},1,2\n"
    # Of the whole line, since that is cheaper to look at.
    for n_key, kind in ((limit + 1 - len(rest), Parsed), (limit + 2 - len(rest), Split)):
        path.write_text(f"k,{START},1,2\n{'k' * n_key}{rest}")
        assert [type(each) for each in blocks(path)] == [kind]


def test_a_comment_is_one_in_a_file_of_one_column_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1\n2\n#3\n\n4\n")
    wanted = Wanted([0], None, [], blank_is_missing=False)
    assert [type(each) for each in blocks(path, wanted)] == [Parsed, Split]
    assert [list(each.rows) for each in blocks(path, wanted)] == [[2], [5]]
    (_, after) = blocks(path, Wanted([], None, [0], blank_is_missing=False))
    assert list(after.rows) == [5]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_and_all_ends_of_lines_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 3 * len(LINE))
    path = tmp_path / "a.csv"
    lines = [LINE.strip()] * 9 + ["", "", LINE.strip()]
    path.write_bytes(end.join(lines).encode())
    found = [*blocks(path)]
    assert [row for each in found for row in each.rows] == [*range(2, 10), 12]
    assert {type(each) for each in found[:2]} == {Parsed}


@pytest.mark.parametrize("texts", [[1, 2], [1], []])
@pytest.mark.parametrize("row", ['2,x,"a\n3,y,b"\n', '2,5" pipe,"a\n3,y,b"\n', '2,x,"5"" a\nb"\n'])
def test_a_cell_may_go_on_behind_its_block(tmp_path: Path, row: str, texts: list[int]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"1,x,y\n{row}4,x,y\n")
    first, second = blocks(path, Wanted([0], None, texts, blank_is_missing=True))
    assert isinstance(first, Split)
    assert isinstance(second, Parsed)
    (cells,) = first.lines
    assert len(cells) == 3
    assert cells[2].count("\n") == 1
    assert (list(first.rows), list(second.rows)) == ([3], [4])


@pytest.mark.parametrize(("n_after", "end"), [(1, ""), (3, "\n"), (20_000, "\n")])
def test_a_quote_that_is_not_closed_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_after: int, end: str
) -> None:
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 3)
    path = tmp_path / "a.csv"
    rows = [
        "key,timestamp_ms,a",
        *[f"k,{START},1"] * 7,
        f'"k,{START},1',
        *[f"k,{START},1"] * n_after,
    ]
    path.write_text("\n".join(rows) + end)
    if n_after == 20_000:
        what = r"a.csv, row 9 cannot be read as CSV: .* a quote that is not closed"
    else:
        what = rf"a.csv, row {9 + n_after}: expected 3 .* received 1; it begins on line 9, with a q"
    with pytest.raises(DatasetError, match=what):
        read_samples(path)


def test_nothing_is_missing_where_blanks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,nan\n3,\n3,NA\n3,4\n")
    kinds = [type(each) for each in blocks(path, Wanted([0, 1], None, [], blank_is_missing=False))]
    assert kinds == [Split, Split, Split, Parsed]


@pytest.mark.parametrize(
    ("separator", "cell", "value"),
    [(";", "1,5", 1.5), (";", "-,5e3", -500.0), (",", '"1,5"', 1.5), ("\t", "7", 7.0)],
)
def test_decimal_commas_are_read_by_pyarrow(
    tmp_path: Path, separator: str, cell: str, value: float
) -> None:
    path = tmp_path / "a.csv"
    half = '"0,5"' if separator == "," else "0,5"
    lines = [separator.join(("1", half)), separator.join(("2", cell))]
    path.write_text("\n".join(lines))
    (found,) = blocks(path, Wanted([1], 0, [], blank_is_missing=True))
    assert isinstance(found, Parsed)
    assert found.numbers.tolist() == [[value]]
    # Thousands, and a point that stays one.
    for other in ("1.234,5", *(["2.5"] if separator != "," else [])):
        path.write_text("\n".join([lines[0], separator.join(("2", f'"{other}"'))]))
        assert [type(each) for each in blocks(path, Wanted([1], 0, [], True))] == [Split]


def test_files_are_read_the_same_without_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 4)
    path = tmp_path / "a.csv"
    rows = [f"{'ab'[row % 2]},{START + row},{row / 7!r},{row % 3}" for row in range(50)]
    rows[20] = f"a,{START + 20},NA,True"
    path.write_text("\n".join(["key,timestamp_ms,flow,on", *rows]) + "\n")
    found = (
        read_samples(path),
        read_raw(path),
        read_windows(path, columns=ColumnMap(features=("on",))),
    )
    assert {type(each) for each in blocks(path)} == {Split, Parsed}
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    other = (
        read_samples(path),
        read_raw(path),
        read_windows(path, columns=ColumnMap(features=("on",))),
    )
    assert {type(each) for each in blocks(path)} == {Split}
    np.testing.assert_array_equal(found[0].exact, other[0].exact)
    np.testing.assert_array_equal(found[0].samples.times_ms, other[0].samples.times_ms)
    np.testing.assert_array_equal(found[0].samples.series, other[0].samples.series)
    for column, wanted in zip(found[1].columns, other[1].columns, strict=True):
        assert column.name == wanted.name
        assert [*column.cells] == [*wanted.cells]
        if wanted.numbers is not None:
            np.testing.assert_array_equal(column.numbers, wanted.numbers)
    np.testing.assert_array_equal(found[2].exact, other[2].exact)
    assert found[2].timestamps_ms is not None
    np.testing.assert_array_equal(found[2].timestamps_ms, other[2].timestamps_ms)


def test_missing_values_stand_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 1 << 18)
    path = tmp_path / "a.csv"
    is_missing = np.random.default_rng(3).random(1_001) < 0.3
    rows = [f"k,{row},{'' if each else row},1" for row, each in enumerate(is_missing)]
    path.write_text("\n".join([LINE.strip(), *rows]))
    (found,) = blocks(path)
    assert isinstance(found, Parsed)
    np.testing.assert_array_equal(
        found.numbers[:, 0], np.where(is_missing, np.nan, np.arange(1_001))
    )


def test_pandas_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{LINE}k,1,,2\n")
    code = (
        "import pathlib, sys; from stream_detector.datasets.files import csv_rows\n"
        "with csv_rows.open_csv(pathlib.Path(sys.argv[1])) as reader:\n"
        "    csv_rows._FIRST_ROWS = 1; reader.first()\n"
        "    wanted = csv_rows.Wanted([2, 3], 1, [0], blank_is_missing=True)\n"
        "    print(*(type(each).__name__ for each in reader.rest(wanted)), 'pandas' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True
    )
    assert found.stdout == "Parsed False\n"


def test_times_are_numbers_whichever_way_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 3)
    path = tmp_path / "a.csv"
    times = [f"{START}", f"{START}.0", f"{START + 1}", f" {START + 2}", f"{START + 1}.5"]
    path.write_text("timestamp_ms,a\n" + "".join(f"{time},1\n" for time in times))
    named = read_columns(path, blank_is_missing=True).named["timestamp_ms"]
    assert named == [float(time) for time in times]
    assert {type(each) for each in named} == {float}
