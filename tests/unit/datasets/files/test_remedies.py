"""Files that are nearly right: what is wrong is named, and obeying the message mends it."""

import gzip
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.datasets import load_samples
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.several import holds_tables
from stream_detector.datasets.files.windows import read_windows
from stream_detector.errors import DatasetError

START = 1_767_225_600_000


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def obey(message: str) -> Path:
    """Run the lines of Python that a message gives, and return the file they write."""
    found = re.search(r"in Python: (.*?); then give (\S+?)(?:;|$)", message)
    assert found is not None, message
    exec(found[1], {})  # noqa: S102
    return Path(found[2])


def refused(read: Callable[[Path], object], path: Path, *expected: str) -> str:
    """Return the message of a file that is refused."""
    with pytest.raises(DatasetError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    for part in expected:
        assert part in message
    return message


def test_blanks_between_cells_are_named_and_the_message_mends_it(tmp_path: Path) -> None:
    path = write(tmp_path, "a b\n1.5  -2\n3  4.25\n")
    mended = obey(refused(read_windows, path, "the file has blanks between its cells; expected"))
    assert read_windows(mended).windows[:, :, 0].tolist() == [[1.5, -2], [3, 4.25]]
    path = write(tmp_path, "1.5  -2 3\n3  4.25 5\n")
    mended = obey(refused(read_windows, path, "blanks"))
    assert read_windows(mended).windows[:, :, 0].tolist() == [[1.5, -2, 3], [3, 4.25, 5]]


@pytest.mark.parametrize("header", ["a,b\n", ""])
@pytest.mark.parametrize("name", ["mine.csv", "mine.txt.gz"])
def test_rows_without_times_get_some(tmp_path: Path, header: str, name: str) -> None:
    path = tmp_path / name
    text = f"{header}1.5,2\n3,4\n5,6\n".encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    mended = obey(refused(read_samples, path, "if it has no times and rows are 1 s apart"))
    assert holds_tables(mended)
    found = read_samples(mended)
    assert found.feature_names == (("a", "b") if header else ("1", "2"))
    assert found.samples.times_ms.tolist() == [0, 1_000, 2_000]
    assert found.samples.values.tolist() == [[1.5, 2], [3, 4], [5, 6]]


def test_a_header_marked_as_a_comment_is_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, f"# timestamp_ms, a\n{START},1\n")
    assert read_samples(path).feature_names == ("a",)


def test_another_word_for_a_missing_value_is_mended(tmp_path: Path) -> None:
    samples = write(tmp_path, f"timestamp_ms,a\n{START},1\n{START + 1},ERR\n")
    place = "row 3, column a: expected a number, received 'ERR'"
    mended = obey(refused(read_samples, samples, place, "leave the cell empty"))
    np.testing.assert_array_equal(read_samples(mended).samples.values, [[1], [np.nan]])


@pytest.mark.parametrize("word", ["null", "NA", "unavailable", "-", "?", "unknown"])
def test_words_for_a_missing_value_are_read_in_samples_and_mended_in_windows(
    tmp_path: Path, word: str
) -> None:
    samples = write(tmp_path, f"timestamp_ms,a\n{START},1\n{START + 1},{word}\n")
    np.testing.assert_array_equal(read_samples(samples).samples.values, [[1], [np.nan]])
    windows = write(tmp_path, f"a,b\n1,2\n3,{word}\n5,6\n")
    mended = obey(refused(read_windows, windows, "row 3, column b", "remove the row"))
    assert read_windows(mended).windows[:, :, 0].tolist() == [[1, 2], [5, 6]]
    mended = obey(refused(read_windows, write(tmp_path, f"1,2\n3,{word}\n5,6\n"), "column 2"))
    assert read_windows(mended).windows[:, :, 0].tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("cell", "value", "what"), [("1,234", 1234, "thousands"), ("1,234.5", 1234.5, "thousands")]
)
def test_numbers_as_people_write_them_are_mended(
    tmp_path: Path, cell: str, value: float, what: str
) -> None:
    path = write(tmp_path, f'timestamp_ms,a\n{START},1\n{START + 1},"{cell}"\n')
    mended = obey(refused(read_samples, path, f"received {cell!r}", what))
    assert read_samples(mended).samples.values[:, 0].tolist() == [1, value]


def test_dates_of_another_form_are_mended(tmp_path: Path) -> None:
    path = write(tmp_path, "time,a\n01.01.2026 00:00:00.0,0\n01.01.2026 00:00:01.5,1\n")
    mended = obey(refused(read_samples, path, "name it timestamp_ms"))
    assert read_samples(mended).samples.times_ms.tolist() == [START, START + 1500]
    assert read_samples(mended).feature_names == ("a",)


@pytest.mark.parametrize("name", ["time", "Time", "ts", "timestamp", "datetime", "epoch_ms"])
def test_a_time_from_some_beginning_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"{name},a\n5,1\n6,2\n")
    mended = obey(refused(read_samples, path, f"if {name} is the time, name it timestamp_ms"))
    assert read_samples(mended).samples.times_ms.tolist() == [5, 6]


def test_a_column_of_text_may_be_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, f"pump,timestamp_ms,a\nleft,{START},1\nright,{START},2\n")
    expected = "row 2, column pump: expected a number, received 'left'; the column is text: name it"
    refused(read_samples, path, expected, "key or timestamp_ms or label")


def test_labels_that_are_words_are_refused_with_what_to_write(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,label\n1,2,normal\n")
    refused(read_windows, path, "received 'normal'; write 0 for normal and 1 for anomalous")


@pytest.mark.parametrize(
    "header",
    [
        "Label,KEY, Timestamp_MS ,a,b",
        " label ,key,timestamp_ms,a,b",
        '"Label",Key,TIMESTAMP_MS,a,b',
    ],
)
def test_named_columns_are_found_whatever_case_and_blanks(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"{header}\n1,x,{START},2,3\n")
    windows = read_windows(path)
    assert windows.windows.shape == (1, 2, 1)
    assert windows.keys == ("x",)
    assert present(windows.labels).tolist() == [1]
    assert present(windows.timestamps_ms).tolist() == [START]
    samples = read_samples(path)
    assert samples.feature_names == ("a", "b")
    assert samples.samples.keys == ("x",)


@pytest.mark.parametrize("read", [read_windows, read_samples])
def test_two_columns_for_one_name_are_refused(tmp_path: Path, read: Callable[..., Any]) -> None:
    path = write(tmp_path, f"timestamp_ms,a,label,Label\n{START},2,0,1\n")
    refused(read, path, "received label more than once")


RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=(40, 6))


def table(extra: Iterable[object], header: str | None, *, at_end: bool = False) -> str:
    """Return windows of 6 steps with one more column, with or without a header."""
    rows = []
    for cell, values in zip(extra, SIGNAL.tolist(), strict=True):
        cells = [*map(repr, values)]
        rows.append(",".join([*cells, str(cell)] if at_end else [str(cell), *cells]))
    names = [f"v{step}" for step in range(6)]
    if header is not None:
        rows.insert(0, ",".join([*names, header] if at_end else [header, *names]))
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("n_steps", [None, 6, 7])
@pytest.mark.parametrize(
    ("extra", "header", "at_end", "expected"),
    [
        (range(40), "", False, "column 1 (without a name) is an index"),
        (range(40), "Unnamed: 0", False, "column Unnamed: 0 is an index"),
        (range(40), "Index", False, "column Index is an index"),
        (range(40), "nr", False, "column nr counts on by 1 from row to row"),
        (range(100, 500, 10), "nr", True, "column nr counts on by 10 from row to row"),
        (range(40), None, False, "column 1 counts on by 1 from row to row"),
        ([0, 1] * 20, "class", True, "column class is a label"),
        ([0, 1] * 20, "c", True, "column c holds whole numbers only (0, 1)"),
        ([1, 2, 5, 4] * 10, None, False, "column 1 holds whole numbers only (1, 2, 4, 5)"),
        ([*range(20)][::-1] * 2, "c", True, "column c holds whole numbers only (0, 1, 2, 3, 4)"),
        ([0, 1] * 20, None, True, "column 7 holds whole numbers only (0, 1)"),
        ([float(START + 1.5 * each) for each in range(40)], "Time", False, "column Time is a time"),
    ],
)
def test_a_column_that_is_no_value_is_named_whatever_the_steps(
    tmp_path: Path,
    extra: Iterable[object],
    header: str | None,
    at_end: bool,
    expected: str,
    n_steps: int | None,
) -> None:
    path = write(tmp_path, table(extra, header, at_end=at_end))
    message = refused(lambda path: read_windows(path, n_steps), path, expected)
    if "1, 2, " in message or "Time" in message:  # no labels yet; no whole milliseconds
        return
    found = read_windows(obey(message), 6)
    np.testing.assert_array_equal(found.windows[:, :, 0], SIGNAL.astype(np.float32))
    assert (found.labels is None) == ("label" not in message)


def test_few_rows_are_judged_by_names_alone_unless_a_column_is_too_many(tmp_path: Path) -> None:
    rows = table(range(40), "nr").splitlines()
    path = write(tmp_path, "\n".join(rows[:20]))  # a header and 19 rows
    assert read_windows(path, 7).windows.shape == (19, 7, 1)
    refused(lambda path: read_windows(path, 6), path, "column nr counts on by 1")
    refused(lambda path: read_windows(path, 7), write(tmp_path, "\n".join(rows[:21])), "column nr")


@pytest.mark.parametrize("header", ["c", "class"])
@pytest.mark.parametrize("extra", [[7] * 40, [*range(21), *range(19)][::-1]])
def test_whole_numbers_that_are_all_one_or_too_many_are_no_labels(
    tmp_path: Path, extra: list[int], header: str
) -> None:
    path = write(tmp_path, table(extra, header, at_end=True))
    if (header, extra[0]) == ("class", 7):
        refused(read_windows, path, "column class is a label")
    else:
        assert read_windows(path).windows.shape == (40, 7, 1)


def test_up_to_twenty_codes_in_a_column_named_so_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, table([*range(20)] * 2, "class", at_end=True))
    refused(read_windows, path, "column class is a label")


@pytest.mark.parametrize(("n_whole", "is_label"), [(2, True), (3, False)])
def test_a_label_is_told_where_a_tenth_of_the_columns_is_whole_too(
    tmp_path: Path, n_whole: int, is_label: bool
) -> None:
    values = RANDOM.normal(size=(30, 10))
    values[:, -n_whole:] = RANDOM.integers(0, 2, (30, n_whole))
    path = write(tmp_path, "\n".join(",".join(map(str, row)) for row in values.tolist()))
    if is_label:
        refused(read_windows, path, "column 10 holds whole numbers only (0, 1)")
    else:
        assert read_windows(path).windows.shape == (30, 10, 1)


@pytest.mark.parametrize(("n_counting", "is_index"), [(1, True), (2, False)])
def test_an_index_is_told_where_less_than_half_of_the_columns_count(
    tmp_path: Path, n_counting: int, is_index: bool
) -> None:
    values = RANDOM.normal(size=(30, 4))
    values[:, :n_counting] = 0.5 + np.arange(30)[:, None]
    path = write(tmp_path, "\n".join(",".join(map(str, row)) for row in values.tolist()))
    if is_index:
        refused(read_windows, path, "column 1 counts on by 1 from row to row")
    else:
        assert read_windows(path).windows.shape == (30, 4, 1)


def test_two_columns_are_judged_by_their_names_alone(tmp_path: Path) -> None:
    rows = "\n".join(f"{row % 2},{value}" for row, value in enumerate(SIGNAL[:, 0].tolist()))
    assert read_windows(write(tmp_path, "on,a\n" + rows)).windows.shape == (40, 2, 1)


def test_ramps_and_whole_numbers_throughout_are_values(tmp_path: Path) -> None:
    ramps = "\n".join(",".join(str(row + step) for step in range(5)) for row in range(30))
    assert read_windows(write(tmp_path, "a,b,c,d,e\n" + ramps)).windows.shape == (30, 5, 1)
    whole = "\n".join(",".join(map(str, row)) for row in RANDOM.integers(0, 5, (30, 5)).tolist())
    assert read_windows(write(tmp_path, "a,b,c,d,e\n" + whole)).windows.shape == (30, 5, 1)


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("Unnamed: 0", "row", "column Unnamed: 0 is an index"),
        ("", "row", "column 2 (without a name) is an index"),
        ("is_anomaly", "row % 2", "column is_anomaly is a label"),
        ("time", "row * 0.5", "column time is a time"),
        ("time", "row // 2 * 0.5", "column time is a time"),
        ("number", "row", "column number counts the rows of the file"),
    ],
)
def test_a_feature_of_samples_that_is_no_value_is_named(
    tmp_path: Path, header: str, cells: str, expected: str
) -> None:
    rows = [
        f"{START + row},{eval(cells, {'row': row})},{SIGNAL[row, 0]}\n"  # noqa: S307
        for row in range(40)
    ]
    path = write(tmp_path, f"timestamp_ms,{header},flow\n{''.join(rows)}")
    message = refused(lambda path: load_samples("csv", path=path), path, expected)
    found = load_samples("csv", path=obey(message))
    assert found.feature_names == ("flow",)
    assert (found.train.labels is None) == ("label" not in message)


@pytest.mark.parametrize(("n_rows", "is_index"), [(19, False), (20, True)])
def test_few_samples_are_judged_by_names_alone(tmp_path: Path, n_rows: int, is_index: bool) -> None:
    rows = "".join(f"{START + row},{row}\n" for row in range(n_rows))
    path = write(tmp_path, f"timestamp_ms,number\n{rows}")
    if is_index:
        refused(lambda path: load_samples("csv", path=path), path, "number counts the rows")
    else:
        assert len(load_samples("csv", path=path).train) == n_rows


def test_one_sample_does_not_say_that_a_feature_is_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, f"timestamp_ms,time\n{START},5\n")
    assert load_samples("csv", path=path).feature_names == ("time",)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("n_steps", [3, 20])
def test_a_header_of_numbers_in_sequence_is_a_header_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, n_steps: int, first: int
) -> None:
    header = ",".join(str(first + step) for step in range(n_steps))
    rows = RANDOM.normal(size=(4, n_steps))
    path = write(tmp_path, "\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    np.testing.assert_array_equal(read_windows(path).windows[:, :, 0], rows.astype(np.float32))
    assert f"header-of-numbers file={path}" in caplog.text
    assert f"{first}, {first + 1}, .., {first + n_steps - 1}" in caplog.text


@pytest.mark.parametrize("header", ["0.0,0.1,0.2,0.3", "0, 2, 4, 6", "-3,-2,-1,0"])
def test_times_of_steps_are_a_header_too(tmp_path: Path, header: str) -> None:
    assert read_windows(write(tmp_path, f"{header}\n5,1,2,9\n1,1,2,9\n")).windows.shape == (2, 4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n",  # nothing below it
        "1,2,3\n4,5,6\n",  # so are all others
        "1,2\n3,9\n",  # two numbers are no sequence
        "1,2,4\n5,1,7\n",
        "3,2,1\n5,1,7\n",
        "1,1,1\n5,1,7\n",
        "nan,nan,nan\n".replace("nan", "0") + "1,5,1\n",
    ],
)
def test_other_numbers_are_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    assert len(read_windows(write(tmp_path, text)).windows) == text.count("\n")
    # Another test of the same process may have asked for lines of information.
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
