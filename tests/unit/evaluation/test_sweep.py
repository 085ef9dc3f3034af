"""Other thresholds: how windows become episodes, and what they find."""

from collections import Counter

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.evaluation import sweep
from stream_detector.evaluation.offline import StreamRun
from stream_detector.evaluation.sweep import N_LEVELS, found_at, sweep_thresholds

DAY_MS = 86_400_000.0


def samples_of() -> Samples:
    """Return two series of 11 samples, 100 s apart."""
    return Samples(
        ("a", "b"),
        np.repeat([0, 1], 11),
        np.tile(100_000.0 * np.arange(11), 2),
        np.zeros((22, 1), np.float32),
    )


def run_of(scores: dict[int, float]) -> StreamRun:
    """Return a run with a window at some rows; the threshold is 2."""
    rows = np.array(list(scores), np.intp)
    ends = (100_000 * (rows % 11)).astype(np.int64)
    return StreamRun(rows, ends, ends, np.array(list(scores.values())), 2.0, [], 0, Counter(), "")


def at(levels: list[sweep.Level], factor: float) -> sweep.Level:
    return min(levels, key=lambda level: abs(level.factor - factor))


def test_windows_in_a_row_are_one_episode() -> None:
    run = run_of({1: 3.0, 2: 3.0, 5: 3.0, 13: 9.0, 20: 1.0})
    levels = sweep_thresholds(run, samples_of(), [], 100_000.0, 0.0)
    assert len(levels) == N_LEVELS
    assert levels[0].factor == 0.25
    assert at(levels, 1.0).factor == pytest.approx(1.0)
    assert at(levels, 1.0).n_episodes == 3
    assert at(levels, 0.25).n_episodes == 4
    assert at(levels, 4.0).n_episodes == 1
    # An episode lasts until `close_after_ms` after its last window, that time included.
    assert at(sweep_thresholds(run, samples_of(), [], 300_000.0, 0.0), 1.0).n_episodes == 2
    assert at(sweep_thresholds(run, samples_of(), [], 299_999.0, 0.0), 1.0).n_episodes == 3
    rate = at(levels, 1.0).false_per_day
    assert rate.value == pytest.approx(3 * DAY_MS / 2_000_000)


def test_episodes_are_judged_as_alerts_are() -> None:
    run = run_of({1: 3.0, 5: 1.5, 13: 9.0})
    events = [LabelledEvent("a", 100_000, 150_000), LabelledEvent("a", 500_000, 500_000)]
    levels = sweep_thresholds(run, samples_of(), events, 100_000.0, 0.0)
    assert (at(levels, 0.5).n_found, at(levels, 1.0).n_found, at(levels, 4.0).n_found) == (2, 1, 0)
    assert at(levels, 1.0).false_per_day.value > 0


def test_a_level_with_too_many_episodes_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_EPISODES_MAX", 1)
    levels = sweep_thresholds(run_of({1: 3.0, 5: 1.5}), samples_of(), [], 1.0, 0.0)
    assert levels[0].factor > 0.5
    assert levels[0].n_episodes == 1
    assert all(level.n_episodes <= 1 for level in levels)


@pytest.mark.parametrize(("score", "n_episodes"), [(0.5, 0), (0.5 + 1e-9, 1)])
def test_an_episode_is_above_its_level(score: float, n_episodes: int) -> None:
    lowest = sweep_thresholds(run_of({1: score}), samples_of(), [], 1.0, 0.0)[0]
    assert (lowest.factor, lowest.n_episodes) == (0.25, n_episodes)


def test_no_windows_give_no_episodes() -> None:
    levels = sweep_thresholds(run_of({}), samples_of(), [], 1.0, 0.0)
    assert {level.n_episodes for level in levels} == {0}


def test_what_scores_of_samples_find_with_few_false_alarms() -> None:
    samples = samples_of()
    events = [LabelledEvent("a", 100_000, 150_000), LabelledEvent("b", 500_000, 500_000)]
    scores = np.zeros(22)
    scores[[1, 8, 16]] = 3.0, 2.0, 1.0  # a fault, none, and the other fault
    assert found_at(scores, samples, events, 50_000.0, 0.0, 0) == 1
    assert found_at(scores, samples, events, 50_000.0, 0.0, 1) == 2
    scores[8] = np.nan
    assert found_at(scores, samples, events, 50_000.0, 0.0, 0) == 2
    assert found_at(np.full(22, np.nan), samples, events, 50_000.0, 0.0, 9) == 0
    first = [LabelledEvent("a", 0, 0), LabelledEvent("b", 0, 0)]
    assert found_at(np.ones(22), samples, first, 50_000.0, 0.0, 99) == 0  # none is above another


def test_no_more_faults_are_found_than_by_the_most_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = [LabelledEvent("a", 100_000, 150_000), LabelledEvent("b", 500_000, 500_000)]
    scores = np.zeros(22)
    scores[[1, 16]] = 3.0, 1.0
    for n_episodes_max in (1, 2):
        monkeypatch.setattr(sweep, "_EPISODES_MAX", n_episodes_max)
        assert found_at(scores, samples_of(), events, 50_000.0, 0.0, 0) == n_episodes_max
