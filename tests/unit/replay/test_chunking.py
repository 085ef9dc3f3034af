"""Which samples travel together, and in which order the records leave."""

import time

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.replay import Chunks, chunk, concatenate, make_fleet


def samples_of(*series: tuple[str, list[float]], labels: list[int] | None = None) -> Samples:
    """Return samples of series given as names and times, valued 0, 1, 2 ... over all."""
    times_ms = [each for _, times in series for each in times]
    return Samples(
        keys=tuple(name for name, _ in series),
        series=np.repeat(np.arange(len(series)), [len(times) for _, times in series]),
        times_ms=np.array(times_ms, dtype=np.float64),
        values=np.arange(len(times_ms), dtype=np.float32)[:, None],
        labels=None if labels is None else np.array(labels, dtype=np.int8),
    )


def rows_of(chunks: Chunks) -> list[tuple[str, float, list[float]]]:
    """Return key, time and values of each record."""
    return [
        (
            chunks.samples.keys[chunks.series[number]],
            chunks.times_ms[number].item(),
            chunks.samples.values[chunks.starts[number] : chunks.stops[number], 0].tolist(),
        )
        for number in range(len(chunks))
    ]


def test_a_series_is_cut_into_records_of_so_many_samples() -> None:
    samples = samples_of(("a", [0, 10, 20, 30, 40]))
    assert rows_of(chunk(samples, 10, 2)) == [
        ("a", 0, [0, 1]),
        ("a", 20, [2, 3]),
        ("a", 40, [4]),
    ]
    assert rows_of(chunk(samples, 10, 100)) == [("a", 0, [0, 1, 2, 3, 4])]
    assert len(chunk(samples, 10, 1)) == 5


def test_a_gap_starts_a_new_record_and_a_new_count() -> None:
    samples = samples_of(("a", [0, 10, 20, 50, 60, 70]))
    assert rows_of(chunk(samples, 10, 2)) == [
        ("a", 0, [0, 1]),
        ("a", 20, [2]),
        ("a", 50, [3, 4]),
        ("a", 70, [5]),
    ]


def test_records_of_all_series_leave_in_the_order_of_their_first_samples() -> None:
    samples = samples_of(("a", [5, 15, 25, 35]), ("b", [0, 10, 20, 30]), ("c", [5, 15]))
    order = [(key, time_ms) for key, time_ms, _ in rows_of(chunk(samples, 10, 2))]
    assert order == [("b", 0), ("a", 5), ("c", 5), ("b", 20), ("a", 25)]


def test_mixed_series_are_separated() -> None:
    apart = samples_of(("a", [0, 10, 20]), ("b", [0, 10, 20]), labels=[0, 1, 0, 0, 0, 1])
    order = np.array([0, 3, 1, 4, 2, 5])
    mixed = Samples(
        apart.keys,
        apart.series[order],
        apart.times_ms[order],
        apart.values[order],
        None if apart.labels is None else apart.labels[order],
    )
    one, other = chunk(apart, 10, 2), chunk(mixed, 10, 2)
    assert rows_of(one) == rows_of(other)
    assert one.labels is not None
    assert other.labels is not None
    assert one.labels.tolist() == other.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("start_ms", [0, 12.5, 17, 1 / 3])
def test_a_fractional_interval_makes_records_as_long_as_asked(start_ms: float) -> None:
    times_ms = 1_767_225_600_000 + start_ms + 1_000 / 360 * np.arange(3_600)
    assert len(chunk(samples_of(("a", times_ms.tolist())), 1_000 / 360, 36)) == 100
    rounded_to_us = np.rint(times_ms * 1_000) / 1_000
    assert len(chunk(samples_of(("a", rounded_to_us.tolist())), 1_000 / 360, 36)) <= 110


def test_times_rounded_to_whole_milliseconds_do_not_keep_a_fractional_interval() -> None:
    times_ms = np.rint(1_000 / 360 * np.arange(360))
    chunks = chunk(samples_of(("a", times_ms.tolist())), 1_000 / 360, 36)
    assert len(chunks) == 360


def test_slow_drift_of_the_times_starts_a_new_record() -> None:
    times_ms = 10.01 * np.arange(100)  # 0.01 ms a sample too slow
    chunks = chunk(samples_of(("a", times_ms.tolist())), 10, 50)
    assert 50 in chunks.starts
    assert 3 <= (chunks.stops - chunks.starts)[:-1].max() <= 7  # up to a sixteenth of a millisecond


def test_many_cuts_in_a_long_record_take_no_time() -> None:
    times_ms = 10.05 * np.arange(100_000)
    start_s = time.process_time()
    chunks = chunk(samples_of(("a", times_ms.tolist())), 10, 100_000)
    assert time.process_time() - start_s < 10  # a tenth of that, as a rule
    assert len(chunks) > 50_000


def test_without_an_interval_times_do_not_matter() -> None:
    samples = samples_of(("a", [0, 7, 7, 5_000, 5_001]))
    assert rows_of(chunk(samples, None, 3)) == [("a", 0, [0, 1, 2]), ("a", 5_000, [3, 4])]


def test_first_times_are_exact() -> None:
    samples = samples_of(("a", [0.4, 2.6]))
    assert [time_ms for _, time_ms, _ in rows_of(chunk(samples, 1, 1))] == [0.4, 2.6]


@pytest.mark.parametrize("interval_ms", [10, None])
def test_no_samples_give_no_records(interval_ms: float | None) -> None:
    chunks = chunk(samples_of(("a", []), labels=[]), interval_ms, 3)
    assert len(chunks) == 0
    assert chunks.labels is not None
    assert chunks.labels.shape == chunks.times_ms.shape == (0,)


@pytest.mark.parametrize(
    ("times_ms", "interval_ms", "chunk_samples", "words"),
    [
        ([0.0], 10, 0, "chunk_samples must be at least 1"),
        ([0.0], 0, 1, "sample_interval_ms must be above 0"),
        ([0.0], float("nan"), 1, "sample_interval_ms must be above 0 and finite, received nan"),
        ([0.0], float("inf"), 1, "sample_interval_ms must be above 0 and finite, received inf"),
        ([0.0, float("nan")], 10, 1, "finite times"),
        ([1.0, 0.0], 10, 1, "series 'a': expected times that do not go backwards"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    times_ms: list[float], interval_ms: float, chunk_samples: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        chunk(samples_of(("a", times_ms)), interval_ms, chunk_samples)


def test_a_million_samples_are_cut_in_no_time() -> None:
    n_samples = 1_000_000
    series = np.arange(n_samples) % 100
    samples = Samples(
        keys=tuple(map(str, range(100))),
        series=series,
        times_ms=(np.arange(n_samples) // 100).astype(np.float64) * (1_000 / 360),
        values=np.zeros((n_samples, 2), np.float32),
    )
    start_s = time.process_time()
    chunks = chunk(samples, 1_000 / 360, 36)
    assert time.process_time() - start_s < 5  # a tenth of that, as a rule
    assert len(chunks) == 100 * 278


def test_a_fleet_plays_the_recordings_over_and_over() -> None:
    first = samples_of(("x", [100, 110, 120]), labels=[0, 1, 0])
    second = samples_of(("y", [0, 10, 20, 30]), labels=[0, 0, 0, 1])
    fleet = make_fleet([first, second], "pump", 3, n_samples=8, sample_interval_ms=10, seed=4)

    assert fleet.keys == ("pump-000", "pump-001", "pump-002")
    assert fleet.labels is not None
    for number, recording in enumerate((first, second, first)):
        rows = fleet.series == number
        assert fleet.times_ms[rows].tolist() == [100 + 10 * step for step in range(8)]
        values = fleet.values[rows, 0]
        n_recorded = len(recording)
        expected = (int(values[0]) + np.arange(8)) % n_recorded
        assert values.tolist() == recording.values[expected, 0].tolist()
        assert recording.labels is not None
        assert fleet.labels[rows].tolist() == recording.labels[expected].tolist()
    again = make_fleet([first, second], "pump", 3, n_samples=8, sample_interval_ms=10, seed=4)
    assert again.values.tobytes() == fleet.values.tobytes()


@pytest.mark.parametrize("wrong", [{"n_series": 0}, {"n_samples": 0}, {"recordings": []}])
def test_a_fleet_of_nothing_is_refused(wrong: dict[str, object]) -> None:
    given = {
        "recordings": [samples_of(("a", [0]))],
        "name": "pump",
        "n_series": 1,
        "n_samples": 1,
        "sample_interval_ms": 1,
    }
    with pytest.raises(ValueError, match=f"fleet of pump: expected {next(iter(wrong))}"):
        make_fleet(**(given | wrong))  # type: ignore[arg-type]


def test_parts_of_a_series_are_joined() -> None:
    both = concatenate([samples_of(("a", [0]), ("b", [1])), samples_of(("b", [2]), ("c", [3]))])
    assert both.keys == ("a", "b", "c")
    assert both.series.tolist() == [0, 1, 1, 2]
    assert both.times_ms.tolist() == [0, 1, 2, 3]
    assert both.labels is None
