"""Any bytes are a table or are refused; a table is the same however it is written."""

import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_detector.datasets.files import csv_rows
from stream_detector.datasets.files.columns import Columns
from stream_detector.datasets.files.reading import read_columns
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import BY_NAME, ColumnMap

QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
_ALPHABET = st.sampled_from([*'a1,;\t|#"\n\r.- =sep\x00é', "\ufeff", "1,5", "\n#", "ts", "nan"])
TEXTS = st.lists(_ALPHABET, max_size=60).map("".join)
XY = ColumnMap(features=("x", "y"))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])


def read(content: bytes, *, blank_is_missing: bool, columns: ColumnMap = BY_NAME) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(content)
        try:
            return read_columns(path, blank_is_missing=blank_is_missing, columns=columns)
        except DatasetError as error:
            return str(error).replace(folder, "")


@given(content=st.binary(max_size=200), blank_is_missing=st.booleans())
@settings(suppress_health_check=QUIET, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes, blank_is_missing: bool) -> None:
    read(content, blank_is_missing=blank_is_missing)


@given(text=TEXTS, encoding=ENCODINGS, blank_is_missing=st.booleans())
@settings(suppress_health_check=QUIET, deadline=None)
def test_any_text_is_read_or_refused(text: str, encoding: str, blank_is_missing: bool) -> None:
    read(text.encode(encoding, "replace"), blank_is_missing=blank_is_missing)


NUMBERS = st.floats(-1e6, 1e6).map(lambda each: round(each, 3))


@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    has_commas=st.booleans(),
    is_quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
@settings(suppress_health_check=QUIET, deadline=None)
def test_a_table_is_the_same_however_it_is_written(
    rows: list[tuple[float, ...]], separator: str, has_commas: bool, is_quoted: bool, encoding: str
) -> None:
    has_commas = has_commas and separator != ","  # there it is refused where it may be thousands
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", encoding=encoding, newline="") as file:
            writer = (
                csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
                if is_quoted
                else csv.writer(file, delimiter=separator)
            )
            writer.writerow(("a", "größe", "c"))
            for row in rows:
                cells = [f"{each:.3f}" for each in row]
                writer.writerow([c.replace(".", ",") if has_commas else c for c in cells])
        found = read_columns(path)
    assert found.value_names == ["a", "größe", "c"]
    np.testing.assert_array_equal(found.values, np.array(rows))


CELLS = st.one_of(
    st.floats().map(repr),
    st.floats(-1e6, 1e6).map(lambda each: f"{each:.3f}".replace(".", ",")),
    st.text('0123456789.,eE+- "', max_size=8),
    st.sampled_from(
        ["", "NA", "nan", "-NaN", "nan(1)", " 1", "1 ", "1_0", "٣", "True", "1e400", "-", "word"]
    ),
    st.sampled_from(
        ["1.234,5", "2.5", '"1"', '"1""2"', 'a"b', '"', '"a\nb"', "#", "\ufeff1", "1\x00", "b\n"]
    ),
    st.sampled_from(["1767225600001.5", "2026-01-01"]),
)
REGULAR = st.tuples(
    st.sampled_from(["a", "'=b", "ü", '"c"', ""]),
    st.integers(1_767_225_600_000, 1_767_225_600_009).map(str),
    st.floats().map(repr),
    st.floats().map(repr),
    st.sampled_from(["", "x", '"y"', "#"]),
)
WITH_ANOTHER = st.tuples(REGULAR, st.integers(0, 4), CELLS).map(
    lambda drawn: [*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]]
)
UNEVEN = st.sampled_from([[""], ["# note"], ["a"], ["a", *"12345"]])
WITH_BREAK = st.tuples(REGULAR, st.sampled_from(['"x\ny"', '"', '"x', 'x"y', "\ufeff"])).map(
    lambda drawn: [*drawn[0][:-1], drawn[1]]
)
OTHERS = st.one_of(WITH_ANOTHER, UNEVEN, WITH_BREAK, st.lists(CELLS, min_size=1, max_size=6))
ROWS = st.tuples(
    st.lists(REGULAR, min_size=1, max_size=5),
    st.lists(OTHERS, max_size=2),
    st.lists(REGULAR, min_size=1, max_size=5),
).map(lambda drawn: [*drawn[0], *drawn[1], *drawn[2]])


@given(
    rows=ROWS,
    note=st.sampled_from(["label_kind", "a column that is not read"]),
    layout=st.tuples(st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n", "\r"])),
    n_characters=st.integers(1, 200),
    blank_is_missing=st.booleans(),
)
@settings(suppress_health_check=QUIET, deadline=None, max_examples=100)
def test_pyarrow_and_csv_read_the_same(
    rows: list[Sequence[str]],
    note: str,
    layout: tuple[str, str],
    n_characters: int,
    blank_is_missing: bool,
) -> None:
    separator, end = layout
    header = separator.join(("key", "timestamp_ms", "x", "y", note))
    first = separator.join(("a", "1767225600000", "0,5" if separator == ";" else "0.5", "1", ""))
    text = end.join([header, first, *map(separator.join, rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_FIRST_ROWS", 2)
        patch.setattr(csv_rows, "_BLOCK_CHARACTERS", n_characters)
        found = read(text.encode(), blank_is_missing=blank_is_missing, columns=XY)
        patch.setitem(sys.modules, "pyarrow", None)
        wanted = read(text.encode(), blank_is_missing=blank_is_missing, columns=XY)
    if isinstance(wanted, Columns):
        assert isinstance(found, Columns)
        np.testing.assert_array_equal(found.values, wanted.values)
        signs = [np.signbit(each.values)[wanted.values == 0] for each in (found, wanted)]
        np.testing.assert_array_equal(*signs)
        assert found.rows.tolist() == wanted.rows.tolist()
        assert repr(found.named) == repr(wanted.named)
    else:
        assert found == wanted
