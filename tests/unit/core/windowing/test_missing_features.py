"""Features without a value: the worked example of the module, and what happens at boundaries."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, arrivals  # tests/support
from present import present

from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

NAN = math.nan
MISSED = replace(RULES, no_data_after_ms=20.0, key_ttl_ms=40.0)
EXAMPLE = [(0, 1), (10, NAN), (20, NAN), (30, NAN), (40, NAN), (50, NAN), (60, NAN), (70, 2)]

Found = tuple[int, float, float, str]
"""Record, since when, time, and what happened."""


def changes_of(samples: Sequence[tuple[float, float]], size: int = 100) -> list[Found]:
    state, found = WindowState.empty(MISSED), []
    for start in range(0, len(samples), size):
        some = samples[start : start + size]
        records = arrivals(*((b"a", [time_ms]) for time_ms, _ in some))
        values = np.array([[value] for _, value in some], np.float32)
        batch = assign_windows(state, MISSED, replace(records, values=values))
        changes = batch.missing_features
        assert changes is not None
        for row, record in enumerate((changes.records + start).tolist()):
            times = (float(changes.since_ms[row]), float(changes.at_ms[row]))
            found.append((record, *times, str(changes.what[row])))
        state = batch.state
    return sorted(found)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_worked_example(size: int) -> None:
    assert changes_of(EXAMPLE, size) == [(3, 0, 20, "begins"), (5, 0, 40, "given_up")]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_it_ends_with_a_value(size: int) -> None:
    samples = [*EXAMPLE[:4], (40, 7)]
    assert changes_of(samples, size) == [(3, 0, 20, "begins"), (4, 0, 40, "value")]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_feature_without_any_value_is_missed_since_the_key_s_first_sample(size: int) -> None:
    samples = [(10.0 * at, NAN) for at in range(4)]
    assert changes_of(samples, size) == [(3, 0, 20, "begins")]


@pytest.mark.parametrize(("time_ms", "is_missing"), [(20.0, False), (20.0625, True)])
def test_it_is_missing_after_more_than_the_limit(time_ms: float, is_missing: bool) -> None:
    assert bool(changes_of([(0, 1), (time_ms, NAN)])) is is_missing


@pytest.mark.parametrize(("time_ms", "n_changes"), [(40.0, 1), (40.0625, 2)])
def test_it_is_given_up_after_more_than_the_time_to_live(time_ms: float, n_changes: int) -> None:
    assert len(changes_of([(0, 1), (30, NAN), (time_ms, NAN)])) == n_changes


def test_it_ends_with_a_key_that_sends_and_expires_in_one_batch() -> None:
    records = arrivals((b"a", [0]), (b"a", [30]), (b"b", [70]), (b"b", [75]))
    values = np.array([[1], [NAN], [1], [1]], np.float32)
    batch = assign_windows(WindowState.empty(MISSED), MISSED, replace(records, values=values))
    changes = present(batch.missing_features)
    found = zip(changes.records.tolist(), changes.since_ms.tolist(), changes.what, strict=True)
    assert sorted(found) == [(1, 0, "begins"), (3, 0, "expired")]


def test_without_the_rule_nothing_is_followed() -> None:
    rules = replace(MISSED, no_data_after_ms=None)
    batch = assign_windows(WindowState.empty(rules), rules, arrivals((b"a", [0.0])))
    assert (batch.silences, batch.missing_features) == (None, None)
    assert batch.state.apply_delta().feature_ms.size == 0
