"""Any bytes are a table or are refused; a table is the same however it is written."""

import csv
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_detector.datasets.files.reading import read_columns
from stream_detector.errors import DatasetError

QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
_ALPHABET = st.sampled_from([*'a1,;\t|#"\n\r.- =sep\x00é', "\ufeff", "1,5", "\n#", "ts", "nan"])
TEXTS = st.lists(_ALPHABET, max_size=60).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])


def read(content: bytes, *, blank_is_missing: bool) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(content)
        try:
            return read_columns(path, blank_is_missing=blank_is_missing)
        except DatasetError as error:
            return error


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
