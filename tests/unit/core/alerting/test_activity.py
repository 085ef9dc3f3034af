"""When a key is active, when its alerts are reset, and when bursts are a flood: at the boundary."""

from dataclasses import replace
from typing import Any

import pytest

from stream_detector.core.alerting.activity import (
    N_EPOCHS,
    KeyActivity,
    on_anomalous,
    on_normal,
)
from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow

EPOCH_MS = 1_000
RULES = AlertRules(
    open_after=1,
    open_within=1,
    update_interval_ms=100,
    close_after_ms=50,
    cooldown_ms=30,
    open_ms_max=EPOCH_MS,
    flood_alerts_max=2,
    flood_window_ms=200,
    severities=(("warning", 1.0),),
)


def refuse(*_: object) -> Any:
    pytest.fail("neither the record nor an explanation is asked for")


def window_at(end_ms: int, score: float = 2.0) -> ScoredWindow:
    return ScoredWindow(refuse, end_ms - 10, end_ms, score, 1.0, "mae", refuse)


def active_at(*ends_ms: int, rules: AlertRules = RULES) -> KeyActivity:
    activity = None
    for end_ms in ends_ms:
        activity = on_anomalous(activity, window_at(end_ms), rules)
    assert activity is not None
    return activity


def test_the_epoch_is_the_longer_of_the_two_durations() -> None:
    assert RULES.epoch_ms == EPOCH_MS


@pytest.mark.parametrize("n_epochs", range(1, 4))
def test_alerts_are_reset_once_activity_reaches_back_far_enough(n_epochs: int) -> None:
    activity = active_at(*(EPOCH_MS * epoch for epoch in range(n_epochs)))
    assert activity.is_reset_due(window_at(EPOCH_MS * n_epochs), RULES) == (n_epochs >= N_EPOCHS)


def test_alerts_are_reset_at_the_first_anomalous_window_of_an_epoch_only() -> None:
    activity = active_at(0, EPOCH_MS, 2 * EPOCH_MS)
    assert not activity.is_reset_due(window_at(2 * EPOCH_MS + 1), RULES)
    assert not activity.is_reset_due(window_at(3 * EPOCH_MS - 1), RULES)
    assert activity.is_reset_due(window_at(3 * EPOCH_MS), RULES)


def test_activity_reaches_back_at_most_so_many_epochs() -> None:
    assert active_at(0, 7 * EPOCH_MS).since == 7 - N_EPOCHS
    assert active_at(6 * EPOCH_MS, 7 * EPOCH_MS).since == 6


@pytest.mark.parametrize(("apart_ms", "n_bursts"), [(49, 1), (50, 2)])
def test_a_burst_begins_after_the_time_in_which_an_alert_closes(
    apart_ms: int, n_bursts: int
) -> None:
    assert active_at(0, apart_ms).n_bursts == n_bursts


def test_more_bursts_than_alerts_may_open_are_a_flood() -> None:
    assert not active_at(0, 60).is_flood(RULES)
    assert active_at(0, 60, 120).is_flood(RULES)
    # 3 bursts in 300 ms are as many as may open in that time: 2 each 200 ms.
    assert not active_at(0, 150, 300).is_flood(RULES)
    assert active_at(0, 150, 299).is_flood(RULES)


def test_a_reset_leaves_the_last_window_counted() -> None:
    activity = active_at(0, 60, 120).reset()
    assert (activity.since_ms, activity.n_anomalous, activity.n_bursts) == (120, 1, 1)
    assert activity.last_ms == 120


@pytest.mark.parametrize(("quiet_ms", "over_ms"), [(199, None), (200, 230)])
def test_a_key_is_active_until_the_flood_window_and_the_cooldown_have_passed(
    quiet_ms: int, over_ms: int | None
) -> None:
    activity = on_normal(active_at(0), [10, quiet_ms], RULES)
    assert activity is not None
    assert activity.quiet_ms == (None if over_ms is None else quiet_ms)
    if over_ms is not None:
        assert on_normal(activity, [over_ms - 1], RULES) is not None
        assert on_normal(activity, [over_ms], RULES) is None
        assert on_normal(active_at(0), [10, quiet_ms, over_ms], RULES) is None


@pytest.mark.parametrize(("n_quiet", "is_active"), [(1, True), (2, False)])
def test_a_key_is_active_until_its_history_holds_no_anomalous_window(
    n_quiet: int, is_active: bool
) -> None:
    rules = replace(RULES, open_within=3)
    ends_ms = [500] * n_quiet  # long after the flood window and the cooldown
    quiet = on_normal(active_at(0)._replace(quiet_ms=200), ends_ms, rules)
    assert (quiet is not None) == is_active
