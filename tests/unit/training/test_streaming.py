"""Batches of windows that are read while a network is fitted: each once, mixed as is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.core.scoring.scaling import Scaler, fit_scaler, fit_scaler_by_parts
from stream_detector.datasets.files.streaming import load_streamed
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.training.streaming import StreamedPairs

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N_WINDOWS, N_ROWS = 299, 23
"""Windows, and rows of a row group."""

PLAIN = Scaler("none", np.zeros(1, np.float32), np.ones(1, np.float32))


@pytest.fixture
def stream(tmp_path: Path) -> WindowStream:
    """Return windows of two steps, whose first value is their number."""
    numbers = np.arange(N_WINDOWS, dtype=np.float32)
    path = tmp_path / "numbers.parquet"
    noise = np.random.default_rng(0).normal(size=N_WINDOWS)
    table = pyarrow.table({"a": numbers, "b": noise})
    parquet.write_table(table, path, row_group_size=N_ROWS)
    return present(load_streamed(path, 1, 100, 0).stream)


def numbers_of(batches: list[Any]) -> list[int]:
    return [int(value) for inputs, _ in batches for value in inputs[:, 0, 0]]


@pytest.mark.parametrize("batch_size", [1, 7, 16, 100, 299, 400])
@pytest.mark.parametrize("n_mixed", [1, 50, 500])
def test_each_window_is_in_one_batch_of_an_epoch(
    stream: WindowStream, batch_size: int, n_mixed: int
) -> None:
    pairs = StreamedPairs(stream, PLAIN, 0.0, 5, n_mixed)
    batches = list(pairs.batches(0, batch_size))
    assert sorted(numbers_of(batches)) == list(range(N_WINDOWS))
    assert len(batches) == -(-N_WINDOWS // batch_size)
    assert {len(inputs) for inputs, _ in batches[:-1]} <= {batch_size}
    assert all(inputs is targets for inputs, targets in batches)


def test_an_epoch_has_an_order_of_its_own_and_always_the_same(stream: WindowStream) -> None:
    pairs = StreamedPairs(stream, PLAIN, 0.0, 5, 60)
    first, again, second = (numbers_of(list(pairs.batches(epoch, 16))) for epoch in (0, 0, 1))
    other = numbers_of(list(StreamedPairs(stream, PLAIN, 0.0, 6, 60).batches(0, 16)))
    assert first == again
    assert len({tuple(each) for each in (first, second, other)}) == 3


@pytest.mark.parametrize("n_mixed", [60, 3 * N_ROWS])
def test_as_many_windows_are_mixed_as_are_held(stream: WindowStream, n_mixed: int) -> None:
    """With up to 69 these are three row groups of 23, with all of them one draw of all."""
    some = numbers_of(list(StreamedPairs(stream, PLAIN, 0.0, 5, n_mixed).batches(0, 16)))
    held = [some[start : start + 3 * N_ROWS] for start in range(0, N_WINDOWS, 3 * N_ROWS)]
    groups = [{number // N_ROWS for number in each} for each in held]
    assert [len(each) for each in groups] == [3, 3, 3, 3, 1]
    every = numbers_of(list(StreamedPairs(stream, PLAIN, 0.0, 5, N_WINDOWS).batches(0, 16)))
    assert len({number // N_ROWS for number in every[:60]}) > 8


def test_a_window_has_the_same_noise_in_each_epoch(stream: WindowStream) -> None:
    scaler = Scaler("min-max", np.zeros(1, np.float32), np.full(1, 1 / N_WINDOWS, np.float32))
    pairs = StreamedPairs(stream, scaler, 0.1, 5, 60)
    epochs = [
        {
            float(target[0, 0]): bytes(window)
            for inputs, targets in pairs.batches(epoch, 16)
            for window, target in zip(inputs, targets, strict=True)
        }
        for epoch in (0, 1)
    ]
    assert len(epochs[0]) == N_WINDOWS
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0].values())) > 250  # some are clipped to zeros


@pytest.mark.parametrize("kind", ["min-max", "standard"])
def test_a_scaler_of_parts_is_that_of_all_windows(kind: str) -> None:
    rng = np.random.default_rng(1)
    windows = rng.normal([1e3, -2.0, 5.0], [1.0, 3.0, 0.0], (500, 4, 3)).astype(np.float32)
    parts = [windows[:1], windows[:0], windows[1:300], windows[300:]]
    found, expected = fit_scaler_by_parts(kind, parts), fit_scaler(kind, windows)
    rtol = 0 if kind == "min-max" else 1e-7
    np.testing.assert_allclose(found.offset, expected.offset, rtol=rtol)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=rtol)
    assert found.kind == kind


@pytest.mark.parametrize(
    ("kind", "parts"), [("robust", [np.ones((1, 1, 1), np.float32)]), ("standard", [])]
)
def test_parts_without_windows_and_other_kinds_are_refused(kind: str, parts: list[Any]) -> None:
    with pytest.raises(ValueError, match="received"):
        fit_scaler_by_parts(kind, parts)
