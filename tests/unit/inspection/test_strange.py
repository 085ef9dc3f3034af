"""Windows that are least like the rest."""

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.inspection.strange import STATISTICS, StrangeWindows, find_strange, statistics

N_WINDOWS, N_STEPS = 600, 20
FEATURES = ("flow", "heat")
STARTS = np.arange(N_WINDOWS) * 20_000
KEYS = ["a", "b"] * (N_WINDOWS // 2)


def windows() -> FloatArray:
    values = np.random.default_rng(0).normal(0.0, 1.0, (N_WINDOWS, N_STEPS, 2))
    values[1::2] *= 1_000
    return values.astype(np.float32)


def test_steady_windows_do_not_stand_out() -> None:
    found = find_strange(windows(), KEYS, STARTS, 19_000, FEATURES)
    assert not found.is_likely_faulty
    assert all(each.spreads < 8 for each in found.windows)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("mean", lambda values: values + 20),
        ("largest step", lambda values: values + 40 * (np.arange(N_STEPS) == 7)),
        ("variation", lambda values: values + 3 * (np.arange(N_STEPS) - 9.5)),
    ],
)
def test_the_window_with_a_fault_comes_first_with_its_feature(what: str, change: object) -> None:
    values = windows()
    values[100, :, 1] = change(values[100, :, 1])  # type: ignore[operator]
    found = find_strange(values, KEYS, STARTS, 19_000, FEATURES)
    first = found.windows[0]
    assert (first.key, first.start_ms, first.end_ms) == ("a", 2_000_000, 2_019_000)
    assert (first.feature, first.statistic) == ("heat", what)
    assert first.spreads > 8


def test_every_key_is_compared_with_itself() -> None:
    values = windows()
    values[101] /= 1_000  # as quiet as the other key
    first = find_strange(values, KEYS, STARTS, 19_000, FEATURES).windows[0]
    assert (first.key, first.start_ms) == ("b", 2_020_000)


def test_many_strange_windows_mean_faults_in_the_data() -> None:
    values = windows()
    values[100:110:2] += 30
    found = find_strange(values, KEYS, STARTS, 19_000, FEATURES)
    assert found.share == pytest.approx(5 / N_WINDOWS)
    assert found.is_likely_faulty


def test_likely_faults_are_spans_to_leave_out() -> None:
    values = windows()
    values[100:104:2] += 30  # of key a, at 2,000 and 2,040 s
    values[300:302] += 30_000  # one of each key
    found = find_strange(values, KEYS, STARTS, 40_000, FEATURES)
    assert found.left_out == (
        ("a", 2_000_000, 2_080_000),
        ("a", 6_000_000, 6_040_000),
        ("b", 6_020_000, 6_060_000),
    )


@pytest.mark.parametrize(("n_far", "is_left_out"), [(1, False), (2, True), (30, True), (31, False)])
def test_nothing_is_left_out_where_little_or_much_is_strange(n_far: int, is_left_out: bool) -> None:
    values = windows()
    rows = np.linspace(0, N_WINDOWS - 1, n_far).astype(int)
    values[rows] += 100_000 * np.arange(1, n_far + 1)[:, np.newaxis, np.newaxis]
    found = find_strange(values, KEYS, STARTS, 1_000, FEATURES)
    assert found.share == pytest.approx(n_far / N_WINDOWS)
    assert bool(found.left_out) is is_left_out


@pytest.mark.parametrize(
    ("share", "is_faulty", "is_left_out"),
    [
        (0.002, False, False),
        (0.0021, True, True),
        (0.05, True, True),
        (0.051, True, False),
    ],
)
def test_the_edges_of_what_is_likely_faulty(
    share: float, is_faulty: bool, is_left_out: bool
) -> None:
    found = StrangeWindows((), share, (("a", 0.0, 1.0),))
    assert (found.is_likely_faulty, bool(found.left_out)) == (is_faulty, is_left_out)


@pytest.mark.parametrize(("span_ms", "n_shown"), [(8_000, 1), (7_999, 2)])
def test_windows_shown_of_a_key_are_five_windows_apart(span_ms: int, n_shown: int) -> None:
    values = windows()
    values[100:104:2] += 30  # the two begin 40 s apart
    found = find_strange(values, KEYS, STARTS, span_ms, FEATURES)
    assert len([each for each in found.windows if each.spreads > 8]) == n_shown


def test_a_stuck_sensor_is_strange() -> None:
    values = windows()
    values[100:104:2, :, 0] = 0.3
    first = find_strange(values, KEYS, STARTS, 19_000, FEATURES).windows[0]
    assert (first.key, first.feature, first.start_ms) == ("a", "flow", 2_000_000)


def test_overlapping_windows_are_shown_once() -> None:
    values = windows()
    values[100:106:2] += 30
    found = find_strange(values, KEYS, STARTS // 100, 19_000, FEATURES)
    assert len([each for each in found.windows if each.key == "a" and each.spreads > 8]) == 1


def test_no_windows_give_nothing() -> None:
    found = find_strange(windows()[:0], [], STARTS[:0], 1.0, FEATURES)
    assert (found.windows, found.share, found.spans) == ((), 0.0, ())


def test_statistics_are_what_they_are_called() -> None:
    window = np.array([[[1.0], [2.0], [4.0], [5.0]]], dtype=np.float32)
    found = dict(zip(STATISTICS, statistics(window)[0, 0].tolist(), strict=True))
    assert found == pytest.approx(
        {
            "mean": 3.0,
            "variation": np.sqrt(2.5),
            "largest step": 2.0,
            "mean step": 4 / 3,
            "slope": 1.4,
        }
    )
