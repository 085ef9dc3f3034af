"""Samples of files that are too large to be held come in the order of their times."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.datasets.files import csv_rows, ordering
from stream_detector.datasets.files.ordering import TimeWatch, in_time_order
from stream_detector.datasets.files.samples import read_samples, sample_parts
from stream_detector.errors import DatasetError

START = 1_767_225_600_000


def parts_of(times: list[int], lengths: list[int], n_keys: int) -> list[Samples]:
    """Return samples whose value is their number, in parts that number their keys as they come."""
    parts, stop = [], 0
    for length in [*lengths, len(times)]:
        start, stop = stop, min(stop + length, len(times))
        numbers = np.arange(start, stop)
        keys = tuple(dict.fromkeys(f"k{number % n_keys}" for number in numbers.tolist()))
        series = [keys.index(f"k{number % n_keys}") for number in numbers.tolist()]
        parts.append(
            Samples(
                keys,
                np.array(series, np.intp),
                np.array(times[start:stop], np.float64),
                numbers.astype(np.float32)[:, None],
                (numbers % 2).astype(np.int8),
            )
        )
    return [part for part in parts if len(part)]


@pytest.mark.parametrize("seed", range(40))
def test_samples_are_sorted_by_time_and_then_by_their_place(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    n_times, n_keys, n_at_once = rng.integers(1, [120, 5, 30], endpoint=True).tolist()
    sizes = (*rng.integers(1, [12, 4], endpoint=True).tolist(), 10 ** (seed % 7))
    names = ("_ROWS_A_RUN", "_ROWS_A_BLOCK_MIN", "_BYTES_IN_MEMORY")
    for name, size in zip(names, sizes, strict=True):
        monkeypatch.setattr(ordering, name, size)
    times = rng.integers(0, (3, 20, 200)[seed % 3], n_times).tolist()
    lengths = rng.integers(1, 9, n_times).tolist()
    found = list(in_time_order(parts_of(times, lengths, n_keys), n_at_once))
    order = np.argsort(np.array(times), kind="stable")
    assert [len(each) for each in found[:-1]] == [n_at_once] * (len(found) - 1)
    assert np.concatenate([each.values[:, 0] for each in found]).tolist() == order.tolist()
    assert np.concatenate([each.times_ms for each in found]).tolist() == sorted(times)
    assert np.concatenate([each.labels for each in found]).tolist() == (order % 2).tolist()
    keys = [each.keys[series] for each in found for series in each.series.tolist()]
    assert keys == [f"k{number % n_keys}" for number in order.tolist()]
    assert all(first.keys == second.keys for first, second in pairwise(found))


@pytest.mark.parametrize(("second_ms", "n_back"), [(999, 1), (1_000, 0)])
def test_times_that_repeat_do_not_go_backwards(second_ms: int, n_back: int) -> None:
    for parts in ([1_000, second_ms],), ([1_000], [second_ms]):
        watch = TimeWatch(Path("a.csv"))
        for part in parts:
            (samples,) = parts_of(part, [], 1)
            watch.add(np.arange(len(part)), samples)
        assert watch.n_back == n_back


def test_samples_without_labels_have_none() -> None:
    part = Samples(("a",), np.zeros(1, np.intp), np.zeros(1), np.zeros((1, 2)))
    (found,) = in_time_order([part], 5)
    assert found.labels is None
    assert found.values.dtype == np.float64
    assert found.values.shape == (1, 2)


def test_a_file_has_the_same_samples_in_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 150_000)
    path = tmp_path / "a.csv"
    rows = [f"{'abc'[row % 3]},{START + 1_000 * row},{row / 7!r},{row % 2}" for row in range(9_001)]
    rows[5_000], rows[8_999] = rows[8_999], rows[5_000]
    path.write_text("\n".join(["key,timestamp_ms,flow,label", *rows]) + "\n")
    features = Features(("flow",), (1.25,))
    with caplog.at_level("INFO", "stream_detector"):
        parts = list(sample_parts(path, features))
    streamed = caplog.text
    first, second, third = (len(part) for part in parts)
    assert (first, first + second + third) == (4_095, 9_001)
    caplog.clear()
    with caplog.at_level("INFO", "stream_detector"):
        whole = read_samples(path, features).samples
    assert streamed.split("rows-sorted")[1] == caplog.text.split("rows-sorted")[1]
    (found,) = in_time_order(parts, 10_000)
    assert found.keys == whole.keys
    for name in ("series", "times_ms", "values", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a,x,1", r"a.csv, row 5002, column timestamp_ms: expected a number, received 'x'"),
        ("a,2026-01-01T00:00:00Z,1", r"row 5002, column timestamp_ms"),
        (f"a,{START},x", r"a.csv, row 5002, column flow: expected a number, received 'x'"),
        (f",{START},1", r"a.csv, row 5002, column key: expected the name of a series"),
        (f"a,{START},1e39", r"a.csv, row 5002, column flow: expected a finite number"),
        (f"a,{START}", r"a.csv, row 5002: expected 3 columns as in the first row, received 2"),
    ],
)
def test_what_is_wrong_far_down_is_named_by_its_row(tmp_path: Path, row: str, what: str) -> None:
    path = tmp_path / "a.csv"
    rows = [f"a,{START + 1_000 * number},{number}" for number in range(5_000)]
    path.write_text("\n".join(["key,timestamp_ms,flow", *rows, row]) + "\n")
    with pytest.raises(DatasetError, match=what):
        list(sample_parts(path, Features(("flow",))))


def test_no_room_for_the_temporary_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "_BYTES_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    part = Samples(("a",), np.zeros(1, np.intp), np.zeros(1), np.zeros((1, 2)))
    with pytest.raises(DatasetError, match=r"absent: expected room .* set TMPDIR to a folder with"):
        list(in_time_order([part], 5))
