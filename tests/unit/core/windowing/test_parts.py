"""Samples that come in parts: the worked example of the module, and what repeats another."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES  # tests/support

from stream_detector.core.windowing.parts import merge_parts
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

NAN = math.nan
AT_ONCE = replace(RULES, n_features=2, n_steps=1, stride=1)
"""Every sample is a window of its own, so windows say what was released, when and how."""
LATE = replace(AT_ONCE, allowed_lateness_ms=1.0)

Sample = tuple[float, float, float]
"""Time and two values."""

EXAMPLE = [(0, 1, NAN), (0, NAN, 5), (10, 2, NAN), (10, NAN, 6), (20, 3, NAN), (30, 4, 8)]
RELEASED = [(0, 0, 1, NAN), (3, 10, 2, 6), (5, 20, 3, NAN), (5, 30, 4, 8)]


def arrivals_of(samples: Sequence[Sample]) -> Arrivals:
    """One record a sample, all of one key."""
    return Arrivals(
        keys=[b"a"] * len(samples),
        partitions=np.zeros(len(samples), np.int64),
        counts=np.ones(len(samples), np.intp),
        times_ms=np.array([time for time, *_ in samples], np.float64),
        values=np.array([values for _, *values in samples], np.float32),
    )


def released_by(
    samples: Sequence[Sample], rules: WindowRules = AT_ONCE, size: int = 100
) -> tuple[list[tuple[float, ...]], list[int]]:
    """Return record, time and values of each released sample, and which records are repeats."""
    state, found, repeats = WindowState.empty(rules), [], []
    for start in range(0, len(samples), size):
        some = assign_windows(state, rules, arrivals_of(samples[start : start + size]))
        values = some.gather(slice(None))[:, 0].tolist()
        rows = zip((some.records + start).tolist(), some.end_ms.tolist(), values, strict=True)
        found += [(record, end_ms, *each) for record, end_ms, each in rows]
        repeats += (np.flatnonzero(some.n_repeated) + start).tolist()
        state = some.state
    return found, repeats


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_worked_example(size: int) -> None:
    found, repeats = released_by(EXAMPLE, size=size)
    np.testing.assert_array_equal(found, RELEASED)
    assert repeats == [1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_with_lateness_every_part_is_merged_from_the_first_on(size: int) -> None:
    found, repeats = released_by(EXAMPLE, LATE, size)
    np.testing.assert_array_equal(found, [(2, 0, 1, 5), (4, 10, 2, 6), (5, 20, 3, NAN)])
    assert repeats == []


@pytest.mark.parametrize("rules", [AT_ONCE, LATE])
@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(
    ("second", "is_repeat"),
    [((0, 7, 7), True), ((0, 1, NAN), True), ((0, NAN, NAN), True), ((4.9375, 7, 6), True)],
)
def test_what_brings_nothing_new_is_a_repeat(
    rules: WindowRules, size: int, second: Sample, is_repeat: bool
) -> None:
    _, repeats = released_by([(0, 1, 5), second, (10, 1, 5)], rules, size)
    assert (repeats == [1]) is is_repeat


@pytest.mark.parametrize("size", [1, 100])
def test_the_first_value_of_a_feature_wins(size: int) -> None:
    samples = [(0, 1, NAN), (0, 7, 5), (0, 8, 9), (10, 2, 6), (20, 2, 6)]
    found, repeats = released_by(samples, LATE, size)
    assert found[0][2:] == (1, 5)
    assert repeats == [2]  # the second one brought a value beside the one it repeats


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(("time_ms", "n_cells"), [(4.9375, 1), (5.0, 2)])
def test_a_cell_is_a_half_interval(size: int, time_ms: float, n_cells: int) -> None:
    samples = [(0, 1, NAN), (time_ms, NAN, 5), (20, 2, 6), (30, 2, 6)]
    found, _ = released_by(samples, LATE, size)
    assert len(found) == n_cells + 1
    assert found[0][1] == 0  # the time is that of the first part


@pytest.mark.parametrize("rules", [AT_ONCE, LATE, replace(LATE, allowed_lateness_ms=900.0)])
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("phase_ms", [-3.0, 2.0, 248.0, 497.0, 747.0, 999.0])
def test_parts_meet_whatever_the_phase_of_the_clock(
    rules: WindowRules, size: int, phase_ms: float
) -> None:
    rules = replace(rules, sample_interval_ms=1_000.0, gap_ms_max=4_000.0, key_ttl_ms=10_000.0)
    jitter_ms = (0, 3, -2, 1, 5, -4)
    times = [1_000.0 * step + phase_ms + jitter_ms[step % 6] for step in range(20)]
    pairs = [[(at, 1.0, NAN), (at + 6, NAN, 5.0)] for at in times]
    found, repeats = released_by([part for pair in pairs for part in pair], rules, size)
    is_late = rules.allowed_lateness_ms > 0
    whole = found if is_late else found[1:]  # else the first is used before its second part came
    assert [values for *_, tag, other in whole if (values := (tag, other))] == [(1, 5)] * len(whole)
    assert len(whole) >= 19
    assert repeats == ([] if is_late else [1])


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(("newest_ms", "is_used"), [(21.0, True), (21.0625, False)])
def test_a_part_comes_in_time_until_its_cell_is_released(
    size: int, newest_ms: float, is_used: bool
) -> None:
    rules = replace(AT_ONCE, allowed_lateness_ms=21.0)
    samples = [(0, 1, NAN), (newest_ms, 2, 6), (4, NAN, 5), (60, 2, 6)]
    found, repeats = released_by(samples, rules, size)
    np.testing.assert_array_equal(found[0][2:], (1, 5 if is_used else NAN))
    assert repeats == ([] if is_used else [2])


def test_samples_that_lack_a_value_do_not_wait_unless_the_key_sends_parts() -> None:
    samples = [(0, 1, NAN), (0, 1, NAN), (10, NAN, NAN), (20, 2, NAN), (30, 2, NAN)]
    found, repeats = released_by(samples, size=1)
    assert [record for record, *_ in found] == [0, 2, 3, 4]
    assert repeats == [1]


def test_a_key_that_sends_whole_samples_again_waits_no_more() -> None:
    samples = [*EXAMPLE[:4], (20, 3, 7), (30, 4, NAN)]
    found, _ = released_by(samples, size=1)
    assert [record for record, *_ in found] == [0, 3, 4, 5]


@pytest.mark.parametrize("rules", [replace(RULES, n_features=2), replace(LATE, n_steps=4)])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_one_row_a_tag_gives_the_windows_of_whole_samples(rules: WindowRules, size: int) -> None:
    whole = [(10.0 * step, float(step), -float(step)) for step in range(20)]
    parts = [part for at, tag, other in whole for part in ((at, tag, NAN), (at, NAN, other))]

    def windows_of(samples: Sequence[Sample], size: int) -> list[tuple[int, bytes]]:
        state, found = WindowState.empty(rules), []
        for start in range(0, len(samples), size):
            step = assign_windows(state, rules, arrivals_of(samples[start : start + size]))
            values = step.gather(slice(None))
            found += [
                (end_ms, window.tobytes())
                for end_ms, window in zip(step.end_ms.tolist(), values, strict=True)
            ]
            state = step.state
        return found

    expected = windows_of(whole, 100)
    found = windows_of(parts, size)
    assert len(expected) > 2
    # Without lateness the first cell is used before its second part has come.
    n_lost = 1 if rules.allowed_lateness_ms == 0 else 0
    assert found[n_lost:] == expected[n_lost:]
    assert [end_ms for end_ms, _ in found] == [end_ms for end_ms, _ in expected]


def test_merging_no_parts_changes_nothing() -> None:
    values = np.array([[1, NAN], [NAN, 2], [3, 4]], np.float32)
    merged = merge_parts(values, np.arange(3), np.ones(3, np.bool_))
    np.testing.assert_array_equal(merged.values, values)
    assert merged.is_new.all()
    assert not merged.has_parts.any()
    assert merged.full_at.tolist() == [-1, -1, 2]
