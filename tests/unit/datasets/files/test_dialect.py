"""CSV files as people have them give the same samples and windows as one of commas and points."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream_detector.datasets.files.dialect import find_dialect
from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.times import epoch_unit
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError
from stream_detector.files import open_regular
from stream_detector.recipes.columns import ColumnMap

START = 1_767_225_600_000
SAMPLES = "key,timestamp_ms,t,Kühlung\na,T,1.5,-2.25\nb,T,,4.125\n".replace("T", str(START))
WINDOWS = "key,a,b\nx,1.5,-2\ny,3,4.25\n"
HEADERLESS = "1.5,-2,3.25\n3,4.25,5\n"


def german(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


LAYOUTS: dict[str, tuple[Callable[[str], str], str, str]] = {
    "semicolons and decimal commas": (german, "utf-8", "semicolon, decimal comma"),
    "semicolons": (lambda text: text.replace(",", ";"), "utf-8", "semicolon"),
    "tabs": (lambda text: text.replace(",", "\t"), "utf-8", "tab"),
    "bars": (lambda text: text.replace(",", "|"), "utf-8", "vertical bar"),
    "Excel": (lambda text: "sep=,\n" + text, "utf-8", "comma, 1 line above"),
    "German Excel": (
        *(lambda text: "sep=;\n" + german(text), "utf-8-sig"),
        "semicolon, decimal comma, 1 line above",
    ),
    "Unicode text of Excel": (
        *(lambda text: german(text).replace(";", "\t"), "utf-16"),
        "tab, decimal comma, UTF-16",
    ),
    "UTF-16 without a mark": (lambda text: text, "utf-16-le", "comma, UTF-16"),
    "big-endian": (lambda text: "\ufeff" + text, "utf-16-be", "comma, UTF-16"),
    "a byte order mark": (lambda text: text, "utf-8-sig", "comma"),
    "eight bits": (
        lambda text: "# Kühlung\n" + text,
        "latin-1",
        "comma, Windows-1252, 1 line above",
    ),
    "comments": (
        *(lambda text: "# made by hand, in 2026\n\n# of pump 7\n" + text, "utf-8"),
        "comma, 3 lines above the table",
    ),
    "comments further down": (
        *(lambda text: text.replace("\n", "\n# a note\n"), "utf-8"),
        "comma",
    ),
    "quotes": (
        *(lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text).replace(".", ","), "utf-8"),
        "comma, decimal comma",
    ),
    "separators at the end": (lambda text: german(text).replace("\n", ";\n"), "utf-8", "semicolon"),
    "lines of Windows": (lambda text: german(text).replace("\n", "\r\n"), "utf-8", "semicolon"),
}


def write(folder: Path, text: str, layout: str) -> Path:
    change, encoding, _ = LAYOUTS[layout]
    path = folder / "mine.csv"
    path.write_bytes(change(text).encode(encoding))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_and_windows_are_the_same_in_every_layout(tmp_path: Path, layout: str) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text(SAMPLES, encoding="utf-8")
    wanted, found = read_samples(plain), read_samples(write(tmp_path, SAMPLES, layout))
    assert found.feature_names == wanted.feature_names == ("t", "Kühlung")
    assert found.samples.keys == wanted.samples.keys
    np.testing.assert_array_equal(found.samples.times_ms, wanted.samples.times_ms)
    np.testing.assert_array_equal(found.exact, wanted.exact)
    plain.write_text(WINDOWS, encoding="utf-8")
    assert read_windows(plain).exact.tolist() == [[[1.5], [-2]], [[3], [4.25]]]
    windows = read_windows(write(tmp_path, WINDOWS, layout))
    assert windows.exact.tolist() == read_windows(plain).exact.tolist()
    assert windows.keys == ("x", "y")


@pytest.mark.parametrize("layout", sorted({*LAYOUTS} - {"separators at the end"}))
def test_files_without_a_header_are_read_too(tmp_path: Path, layout: str) -> None:
    found = read_windows(write(tmp_path, HEADERLESS, layout))
    assert found.exact[:, :, 0].tolist() == [[1.5, -2, 3.25], [3, 4.25, 5]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_decided_is_said_in_one_line(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, SAMPLES, layout)
    described = read_columns(path, blank_is_missing=True).described
    assert described.startswith(LAYOUTS[layout][2] + ", ")
    assert described.endswith(
        "key column 'key', time column 'timestamp_ms' milliseconds since 1970, 2 columns of values"
    )


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1.234,5", "-2.345.678,25"], [1234.5, -2345678.25]),
        (["1,5", "2.000"], [1.5, 2000]),
        (["1,5", "2.5"], [1.5, 2.5]),
        (["1,5e3", ",5"], [1500, 0.5]),
        (["1,5", "NA"], [1.5, np.nan]),
        (["1,5", "unavailable"], [1.5, np.nan]),
        (["7", "1,234"], [7, 1.234]),
    ],
)
def test_decimal_commas_and_points_between_thousands(
    tmp_path: Path, cells: list[str], values: list[float]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("timestamp_ms;a\n" + "".join(f"{START};{cell}\n" for cell in cells))
    np.testing.assert_array_equal(read_samples(path).exact[:, 0], values)


@pytest.mark.parametrize("text", ["1", "1\n", "a\n1\n"])
def test_a_file_of_a_few_bytes_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    assert read_windows(path).exact.tolist() == [[[1.0]]]


def test_keys_and_notes_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"key;timestamp_ms;a\n1,5;{START};1,5\n#7;{START};2,5\n")
    found = read_samples(path)
    assert found.samples.keys == ("1,5", "#7")
    assert found.exact[:, 0].tolist() == [1.5, 2.5]


def test_a_semicolon_in_a_cell_separates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    text = "timestamp_ms,a,label,label_feature\nT,1,1,a;b\nT,2,1,a;b\n".replace("T", str(START))
    path.write_text(text.replace(",a,", ",a;b,", 1).replace(",a;b,label,", ",a,label,"))
    assert read_columns(path, blank_is_missing=True).value_names == ["a"]


@pytest.mark.parametrize(
    ("column", "cells", "form"),
    [
        ("time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z"], "ISO 8601"),
        ("ts", ["2026-01-01 00:00:00", "2026-01-01 00:00:01.500"], "ISO 8601"),
        ("ts", ["2026-01-01 00:00:00,000", "2026-01-01 00:00:01,500"], "ISO 8601"),
        (" when", ["2026-01-01T01:00:00+01:00", "2026-01-01T01:00:01.500+01:00"], "ISO 8601"),
        ("time", ["2026/01/01 00:00:00.0", "2026/01/01 00:00:01.5"], "ISO 8601"),
        ("timestamp_ms", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z"], "ISO 8601"),
        (" Timestamp_ms ", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z"], "ISO 8601"),
        ("", ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.500Z"], "ISO 8601"),
        ("ts", ["1767225600", "1767225601.5"], "seconds since 1970"),
        ("ts", ["1767225600000", "1767225601500"], "milliseconds since 1970"),
        ("Time", ["1767225600000000", "1767225601500000"], "microseconds since 1970"),
        ("epoch_ns", ["1767225600000000000", "1767225601500000000"], "nanoseconds since 1970"),
    ],
)
@pytest.mark.parametrize("separator", [",", ";"])
def test_the_time_is_found_and_its_form(
    tmp_path: Path, column: str, cells: list[str], form: str, separator: str
) -> None:
    path = tmp_path / "mine.csv"
    rows = "".join(f'"{cell}"{separator}{number}\n' for number, cell in enumerate(cells))
    path.write_text(f"{column}{separator}a\n{rows}")
    found = read_samples(path)
    assert found.samples.times_ms.tolist() == [START, START + 1500]
    assert found.feature_names == ("a",)
    assert (
        f"column {column or 'Unnamed: 0'!r} {form}"
        in read_columns(path, blank_is_missing=True).described
    )


@pytest.mark.parametrize(
    ("number", "unit"),
    [(6e8 - 1, None), (6e8, "s"), (6e9 - 1, "s"), (6e9, None), (6e11, "ms"), (6e14, "us")],
)
def test_numbers_of_our_days_are_times(number: float, unit: str | None) -> None:
    assert epoch_unit(number) == unit


def test_two_columns_that_may_be_the_time_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("made,read,a\n2026-01-01,2026-01-02,1\n2026-01-01,2026-01-03,2\n")
    with pytest.raises(DatasetError, match="column made: expected a number"):
        read_samples(path)
    assert read_samples(path, columns=ColumnMap(time="read", features=("a",))).feature_names == (
        "a",
    )
    path.write_text("time,read,a\n2026-01-01,2026-01-02,1\n".replace("read", "time of day"))
    with pytest.raises(DatasetError, match="column time of day: expected a number"):
        read_samples(path)


def test_the_whole_file_decides_the_encoding_and_it_is_left_at_its_beginning(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 600_000 + "3,4\n# ü\n".encode("latin-1"))
    with open_regular(path) as file:
        dialect = find_dialect(file)
        assert (dialect.encoding, file.tell()) == ("cp1252", 0)
    path.write_bytes(b"a,b\n" + b"1,2\n" * 300_000 + "# ü".encode())
    with open_regular(path) as file:
        assert find_dialect(file).encoding == "utf-8-sig"


def test_a_comment_is_none_where_it_has_the_cells_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n#3,4\n")
    with pytest.raises(DatasetError, match="row 3, column a: expected a number, received '#3'"):
        read_windows(path)


def test_what_is_no_number_beside_decimal_commas_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"timestamp_ms;flow\n{START};1,5\n{START + 1};broken\n")
    with pytest.raises(DatasetError, match=r"a.csv, row 3, column flow: .*received 'broken'"):
        read_samples(path)
