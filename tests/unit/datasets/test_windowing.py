"""Windows of a data set's samples: the stream's own, with labels and keys."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets import windowing
from stream_detector.datasets.base import SampleDataset
from stream_detector.datasets.windowing import cut_samples, cut_with_rows, join_windows, to_windows
from stream_detector.errors import DatasetError

START_MS = 1_767_225_600_000
NAN = float("nan")
RULES = WindowRules(
    n_steps=3,
    n_features=1,
    stride=3,
    sample_interval_ms=10,
    gap_ms_max=20,
    allowed_lateness_ms=0,
    missing="hold",
    missing_share_max=0.5,
    key_ttl_ms=1_000,
)


def samples_of(*rows: tuple[str, float, float], labels: list[int] | None = None) -> Samples:
    """Return samples of (key, time from the start, value)."""
    names = sorted({name for name, *_ in rows})
    return Samples(
        keys=tuple(names),
        series=np.array([names.index(name) for name, *_ in rows], dtype=np.intp),
        times_ms=START_MS + np.array([time for _, time, _ in rows], dtype=np.float64),
        values=np.array([[value] for *_, value in rows], dtype=np.float32).reshape(-1, 1),
        labels=None if labels is None else np.array(labels, dtype=np.int8),
    )


def series(name: str, *values: float, start: float = 0) -> list[tuple[str, float, float]]:
    return [(name, start + 10 * number, value) for number, value in enumerate(values)]


def test_windows_are_in_the_order_in_which_a_stream_completes_them() -> None:
    found = cut_samples(samples_of(*series("b", 1, 2, 3, start=15), *series("a", 4, 5, 6)), RULES)
    assert found.windows[:, :, 0].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert found.keys == ("a", "b")
    assert (found.start_ms - START_MS).tolist() == [0, 15]
    assert (found.end_ms - START_MS).tolist() == [20, 35]
    assert (found.labels, found.n_missing) == (None, 0)
    assert (found.windows.dtype, found.windows.flags.c_contiguous) == (np.dtype(np.float32), True)


def test_a_window_is_labelled_where_any_of_its_samples_is() -> None:
    values = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    labels = [0, 0, 0, 0, 0, 1, 0, 0, 0]
    found = cut_samples(samples_of(*series("a", *values), labels=labels), RULES)
    assert found.labels is not None
    assert (found.labels.tolist(), found.labels.dtype) == ([0, 1, 0], np.dtype(np.int8))


def test_missing_values_are_filled_in_and_too_many_leave_a_window_out() -> None:
    values = [1, NAN, 3, NAN, NAN, 6, 7, 8, 9]
    labels = [0, 0, 0, 1, 1, 1, 0, 0, 0]
    found = cut_samples(samples_of(*series("a", *values), labels=labels), RULES)
    assert found.windows[:, :, 0].tolist() == [[1, 1, 3], [7, 8, 9]]
    assert (found.n_missing, found.keys) == (1, ("a", "a"))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0]


def test_a_label_is_not_taken_for_a_missing_sample() -> None:
    rows = [("a", 0.0, 1.0), ("a", 20.0, 3.0)]
    found = cut_samples(samples_of(*rows, labels=[0, 1]), RULES)
    assert found.windows[:, :, 0].tolist() == [[1, 1, 3]]
    assert found.labels is not None
    assert found.labels.tolist() == [1]


@pytest.mark.parametrize("labels", [None, []])
def test_no_samples_make_no_windows(labels: list[int] | None) -> None:
    found = cut_samples(samples_of(labels=labels), RULES)
    assert (found.windows.shape, found.keys) == ((0, 3, 1), ())
    assert (found.labels is None) == (labels is None)


def test_many_samples_are_cut_as_a_few_are() -> None:
    n_samples = 70_000  # more than are cut at once
    found = cut_samples(samples_of(*series("a", *range(n_samples))), RULES)
    expected = np.arange(n_samples - n_samples % 3, dtype=np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(found.windows[:, :, 0], expected)


def test_each_step_knows_the_sample_it_is() -> None:
    rows = [("b", 5.0, 1.0), *series("a", 4, 5, 6, 7, 8), ("b", 15.0, 2.0), ("b", 25.0, 3.0)]
    del rows[2]
    found, record_metadata = cut_with_rows(samples_of(*rows), RULES)
    assert found.windows[:, :, 0].tolist() == [[4, 4, 6], [1, 2, 3]]
    assert record_metadata.tolist() == [[1, -1, 2], [0, 5, 6]]


def test_the_number_of_a_sample_is_exact_where_float32_would_not_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert windowing._ROWS_A_PAGE <= 2**24
    monkeypatch.setattr(windowing, "_ROWS_A_PAGE", 4)
    _, record_metadata = cut_with_rows(samples_of(*series("a", *range(9))), RULES)
    assert record_metadata.ravel().tolist() == list(range(9))


def test_windows_that_overlap_are_joined_by_their_mean() -> None:
    overlapping = replace(RULES, stride=1)
    samples = samples_of(*series("a", 1, 2, 3, 4), *series("b", 9))
    found, record_metadata = cut_with_rows(samples, overlapping)
    values = found.windows.astype(np.float64)
    values[1] += 1
    joined = join_windows(values, record_metadata, len(samples))
    np.testing.assert_array_equal(joined[:, 0], [1, 2.5, 3.5, 5, NAN])


def dataset_of(train: Samples, test: Samples) -> SampleDataset:
    return SampleDataset(name="mine", split="", train=train, test=test, feature_names=("x",))


def test_a_data_set_of_samples_becomes_one_of_windows() -> None:
    train = samples_of(*series("a", 1, 2, 3), labels=[0, 0, 0])
    test = samples_of(*series("b", 4, 5, 6, start=30), labels=[0, 1, 0])
    found = to_windows(dataset_of(train, test), RULES)
    assert (found.name, found.train[:, :, 0].tolist()) == ("mine", [[1, 2, 3]])
    assert found.test_labels is not None
    assert (found.test[:, :, 0].tolist(), found.test_labels.tolist()) == ([[4, 5, 6]], [1])
    assert (found.train_keys, found.test_keys) == (("a",), ("b",))
    assert found.test_timestamps_ms is not None
    assert found.test_timestamps_ms.tolist() == [START_MS + 30]


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        ([1, 2, 3], {"n_features": 2}, "window.features says, received 1: x; give other data, or"),
        ([1, 2], {}, "one window of 3 samples 10 ms apart, received 2 samples about 10 ms apart"),
        ([1], {}, "received 1 samples that make none (0 windows have too many missing values)"),
        ([NAN, NAN, 3], {}, "make none (1 windows have too many missing values); give"),
        (
            [NAN] * 12,
            {},
            "missing values); series a: 100% of the values are missing, expected at most 50%; no "
            "value at all of feature x; give",
        ),
    ],
)
def test_a_data_set_without_a_window_is_refused(
    values: list[float], changes: dict[str, Any], words: str
) -> None:
    dataset = dataset_of(samples_of(*series("a", *values)), samples_of())
    rules = WindowRules(**({name: getattr(RULES, name) for name in RULES.__slots__} | changes))
    with pytest.raises(DatasetError) as caught:
        to_windows(dataset, rules)
    assert "data mine: " in str(caught.value)
    assert words in str(caught.value)


def test_bursts_that_are_too_short_for_a_window_are_said_as_detect_says_them() -> None:
    bursts = [row for start in (0, 60, 120) for row in series("a\x1b", 1, 2, start=start)]
    with pytest.raises(DatasetError) as caught:
        to_windows(dataset_of(samples_of(*bursts), samples_of()), RULES)
    assert (
        r"; series a\x1b: the series started again 2 times, after more than 20 ms without a "
        "sample, before 3 samples had come; give"
    ) in str(caught.value)
