"""Whatever windows a key has and whatever the rules: its alerts tell one story that fits."""

from dataclasses import replace
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from drawing import one_of_each
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from present import present

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.alerting.lifecycle import SeriesAlerts, advance, advance_quiet, expire
from stream_detector.core.alerting.put_back import ADDED_MAX
from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import (
    N_POINTS_MAX,
    Explanation,
    WindowEvidence,
    explain,
)
from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import Finding

BUNDLE = BundleReference("b", "v")
SEVERITIES = (("warning", 1.0), ("critical", 2.0), ("emergency", 4.0))
THRESHOLD = 0.3


def rules_of(numbers: tuple[int, ...]) -> AlertRules:
    within, after, update, close, cooldown, longest, most, flood = numbers
    return AlertRules(
        open_after=min(after, within),
        open_within=within,
        update_interval_ms=update,
        close_after_ms=close,
        cooldown_ms=cooldown,
        open_ms_max=max(longest, close),
        flood_alerts_max=most,
        flood_window_ms=flood,
        severities=SEVERITIES,
    )


RULES = st.tuples(
    st.sampled_from([1, 1, 2, 3, 64]),
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([0, 0, 1, 2, 8]),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 60),
).map(rules_of)
ERRORS = [0.0, 0.1, THRESHOLD, 0.31, 0.5, 0.7, 0.9, 1.3]
# (time since the window before, error): mostly short steps, and errors on both sides.
ANY = st.lists(one_of_each([1, 1, 1, 2, 5, 30], ERRORS), max_size=60)
# Some windows of an error, then some normal ones, again and again: what floods are made of.
BURSTS = st.lists(one_of_each([1, 2, 3], ERRORS, range(1, 7)), min_size=5, max_size=20).map(
    lambda bursts: [(1, e) for n, error, m in bursts for e in [error] * n + [0.1] * m]
)
WINDOWS = ANY | BURSTS | st.tuples(BURSTS, ANY, BURSTS).map(lambda parts: [*chain(*parts)])


class Story(NamedTuple):
    """What a key's windows led to."""

    events: list[Alert]
    ends_ms: list[int]
    n_suppressed: int
    alerts: SeriesAlerts | None


def windows_of(steps: list[tuple[int, float]]) -> list[ScoredWindow]:
    windows, end_ms = [], 0
    for gap_ms, error in steps:
        end_ms += gap_ms
        windows.append(window_of(end_ms, error))
    return windows


def window_of(end_ms: int, error: float) -> ScoredWindow:
    def explained() -> Finding:
        assert error > THRESHOLD
        explanation = Explanation(end_ms, end_ms, (), (1.0,), (end_ms,), 0.0, 0)
        return Finding(explanation, error, f"check-{end_ms}", 0.5 * end_ms, 0.25)

    metadata = RecordMetadata("t", 0, end_ms // 3, end_ms, b"k", ())
    return ScoredWindow(lambda: metadata, end_ms - 3, end_ms, error, THRESHOLD, "mae", explained)


def tell(windows: list[ScoredWindow], rules: AlertRules, *, is_every_one: bool = True) -> Story:
    """Advance through all windows, or as the detector does through those that can matter."""
    alerts: SeriesAlerts | None = None
    events: list[Alert] = []
    n_suppressed = 0
    quiet_ms: list[int] = []
    for window in windows:
        is_quiet = alerts is None or alerts.is_quiet
        if not is_every_one and is_quiet and not window.is_anomalous:
            quiet_ms.append(window.end_ms)
            continue
        alerts = pass_time(alerts, quiet_ms, rules)
        quiet_ms = []
        found = advance(alerts, window, rules, BUNDLE)
        alerts = found.alerts
        events += found.events
        n_suppressed += found.n_suppressed
        assert_bounded(alerts, rules)
    alerts = pass_time(alerts, quiet_ms, rules)
    return Story(events, [window.end_ms for window in windows], n_suppressed, alerts)


def pass_time(
    alerts: SeriesAlerts | None, quiet_ms: list[int], rules: AlertRules
) -> SeriesAlerts | None:
    return advance_quiet(alerts, quiet_ms, rules) if alerts is not None and quiet_ms else alerts


def assert_bounded(alerts: SeriesAlerts | None, rules: AlertRules) -> None:
    if alerts is not None:
        assert 0 <= alerts.history < 1 << (rules.open_within - 1)
        assert len(alerts.opens_ms) <= rules.flood_alerts_max
        assert alerts.open is None or alerts.flood is None


@given(steps=WINDOWS, rules=RULES)
def test_alerts_of_a_key_open_go_on_and_close_one_after_the_other(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    story = tell(windows_of(steps), rules)
    current: Alert | None = None
    names: set[str] = set()
    for event in story.events:
        if current is None:
            assert (event.event, event.event_number) == ("open", 1)
            assert event.alert_id not in names
            assert event.opened_ms == event.event_time_ms == event.window_end_ms
            names.add(event.alert_id)
        else:
            assert event.event in ("update", "close")
            assert (event.alert_id, event.opened_ms) == (current.alert_id, current.opened_ms)
            assert event.event_number == current.event_number + 1
            assert event.event_time_ms > current.event_time_ms
            assert present(event.anomaly_score) >= present(current.anomaly_score)
            assert event.n_alerts >= current.n_alerts
            assert event.is_summary == current.is_summary
            assert event.continues_alert_id == current.continues_alert_id
        current = None if event.event == "close" else event
    opened = None
    if story.alerts is not None:
        flood = story.alerts.flood
        opened = story.alerts.open if flood is None else flood.summary
    assert (None if opened is None else opened.alert.alert_id) == (current and current.alert_id)


@given(steps=WINDOWS, rules=RULES)
def test_an_event_counts_the_windows_since_the_open(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    windows = windows_of(steps)
    for event in tell(windows, rules).events:
        since = [w for w in windows if event.opened_ms <= w.end_ms <= event.event_time_ms]
        anomalous = [window for window in since if window.is_anomalous]
        worst = max(anomalous, key=lambda window: window.score)
        assert (event.n_windows, event.n_anomalous) == (len(since), len(anomalous))
        assert event.last_anomalous_ms == anomalous[-1].end_ms
        assert event.score == worst.score > present(event.threshold)
        assert (event.window_start_ms, event.window_end_ms) == (worst.start_ms, worst.end_ms)
        finding = worst.explain()
        assert event.explanation == finding.explanation
        assert event.reconstruction_error == finding.reconstruction_error
        assert (event.score_kind, event.check) == ("mae", finding.check)
        assert event.false_alarms_per_day == finding.false_alarms_per_day
        assert event.p_value == finding.p_value
        assert event.anomaly_score == worst.score / THRESHOLD
        span = span_of(since, anomalous, worst)
        assert (event.span_start_ms, event.span_end_ms) == span


def span_of(
    since: list[ScoredWindow], anomalous: list[ScoredWindow], worst: ScoredWindow
) -> tuple[int, int]:
    """Return where the fault is, millisecond by millisecond and from all windows at once."""
    shared = set.intersection(*(set(range(w.start_ms, w.end_ms + 1)) for w in anomalous))
    if worst.end_ms in shared:  # the worst span of each of these windows is its last step
        return worst.end_ms, worst.end_ms
    sums: dict[int, float] = {}
    for window in since:
        for time_ms in range(window.start_ms, window.end_ms + 1):
            sums[time_ms] = sums.get(time_ms, 0.0) + min(window.anomaly_score, ADDED_MAX)
    largest = max(sums.values())
    first = last = min(time_ms for time_ms, each in sums.items() if each == largest)
    while sums.get(first - 1, 0.0) >= 0.5 * largest:
        first -= 1
    while sums.get(last + 1, 0.0) >= 0.5 * largest:
        last += 1
    return first, last


def turns_epoch(at_ms: int, windows: list[ScoredWindow], rules: AlertRules) -> bool:
    """Return whether no anomalous window came in the epoch before the one that ends now."""
    before = [each.end_ms for each in windows if each.is_anomalous and each.end_ms < at_ms]
    return bool(before) and before[-1] // rules.epoch_ms < at_ms // rules.epoch_ms


@given(steps=WINDOWS, rules=RULES)
def test_each_event_comes_when_the_rules_say(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    windows = windows_of(steps)
    story = tell(windows, rules)
    previous: Alert | None = None
    for event in story.events:
        is_turn = turns_epoch(event.event_time_ms, windows, rules)
        at_ms = event.event_time_ms
        calm_ms = at_ms - present(event.last_anomalous_ms)
        age_ms = at_ms - event.opened_ms
        if event.event == "update":
            assert previous is not None
            is_severer = event.severity != previous.severity
            assert (event.reason == "severity") == is_severer
            assert is_severer or at_ms - previous.event_time_ms >= rules.update_interval_ms
            assert age_ms < rules.open_ms_max
        if event.reason == "recovered" and not event.is_summary:
            assert calm_ms >= rules.close_after_ms
        if event.reason == "recovered" and event.is_summary and event.continues_alert_id is None:
            assert age_ms >= rules.flood_window_ms
        is_continued = (event.event, event.reason) == ("close", "continued")
        if event.reason == "max_duration" or is_continued:
            assert age_ms >= rules.open_ms_max or is_turn
        if event.reason in ("anomalous", "flood") and previous is not None and not is_turn:
            assert at_ms - previous.event_time_ms >= rules.cooldown_ms
        goes_on = (event.event, event.reason) == ("open", "continued")
        if goes_on:
            assert previous is not None
            assert previous.event == "close"
            assert previous.reason in ("continued", "max_duration")
            assert event.continues_alert_id == previous.alert_id
        if previous is not None and previous.event == "close":
            is_at_once = goes_on and previous.event_time_ms == at_ms
            assert (previous.reason == "continued") == is_at_once
        assert event.is_summary or event.n_alerts == 1
        previous = event
    assert previous is None or (previous.event, previous.reason) != ("close", "continued")


@given(steps=WINDOWS, rules=RULES)
def test_a_key_never_opens_more_alerts_than_it_may(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    rules = replace(rules, open_ms_max=1_000_000)  # so that alerts are never reset
    events = tell(windows_of(steps), rules).events
    opens = [each.event_time_ms for each in events if each.reason == "anomalous"]
    for first, one_too_many in zip(opens, opens[rules.flood_alerts_max :], strict=False):
        assert one_too_many - first >= rules.flood_window_ms
    for event in events:
        if event.reason == "flood":
            at_ms = event.event_time_ms
            recent = [each for each in opens if at_ms - rules.flood_window_ms < each < at_ms]
            assert len(recent) == rules.flood_alerts_max


@given(steps=WINDOWS, rules=RULES)
def test_no_alert_goes_uncounted_in_a_flood(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    windows = windows_of(steps)
    rules = replace(rules, open_ms_max=1_000_000)  # so that no summary goes on in another
    story = tell(windows, rules)
    calm = tell(windows, replace(rules, flood_alerts_max=1_000_000))
    last = {each.alert_id: each for each in story.events}
    counted = {each.alert_id: each.n_alerts for each in last.values()}
    if story.alerts is not None and story.alerts.flood is not None:
        summary = story.alerts.flood.summary
        assert summary is not None
        counted[summary.alert.alert_id] = summary.n_alerts
    opened = sum(each.event == "open" for each in story.events)
    assert sum(counted.values()) == opened + story.n_suppressed
    if rules.cooldown_ms == 0:  # else the end of a summary holds back what comes next
        assert sum(counted.values()) == sum(each.event == "open" for each in calm.events)


@given(steps=WINDOWS, rules=RULES)
def test_windows_that_cannot_matter_may_be_left_out_and_quiet_ones_are_one_step(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    windows = windows_of(steps)
    assert tell(windows, rules) == tell(windows, rules, is_every_one=False)


@given(steps=WINDOWS, rules=RULES, cut=st.integers(0, 120))
def test_what_is_remembered_is_all_that_matters(
    steps: list[tuple[int, float]], rules: AlertRules, cut: int
) -> None:
    windows = windows_of(steps)
    alerts = tell(windows[:cut], rules).alerts
    events: list[Alert] = []
    for window in windows[cut:]:
        found = advance(alerts, window, rules, BUNDLE)
        alerts = found.alerts
        events += found.events
    whole = tell(windows, rules)
    assert alerts == whole.alerts
    assert events == whole.events[len(whole.events) - len(events) :]


@given(steps=WINDOWS, rules=RULES)
def test_a_quiet_key_is_forgotten_with_all_closed(
    steps: list[tuple[int, float]], rules: AlertRules
) -> None:
    start_ms = sum(gap_ms for gap_ms, _ in steps)
    quiet = [window_of(start_ms + 1 + second, 0.1) for second in range(120)]
    story = tell(windows_of(steps) + quiet, rules)
    assert story.alerts is None
    events = [each.event for each in story.events]
    assert events.count("open") == events.count("close")


@given(steps=WINDOWS, rules=RULES)
def test_an_idle_key_leaves_nothing_open(steps: list[tuple[int, float]], rules: AlertRules) -> None:
    story = tell(windows_of(steps), rules)
    metadata = RecordMetadata("t", 1, 7, 0, b"another", ())
    events = story.events + list(expire(story.alerts, 10_000, metadata))
    last = {each.alert_id: each for each in events}
    assert all(each.event == "close" for each in last.values())
    assert [each.event_number for each in events if each.event == "open"] == [1] * len(last)
    for before, after in pairwise(events):
        assert after.key == "k"
        assert after.event_time_ms >= before.event_time_ms


SHAPES = st.tuples(st.integers(1, 150), st.integers(1, 5))
VALUES = st.floats(-1e6, 1e6, width=32)


@given(
    data=st.data(),
    shape=SHAPES,
    error_kind=st.sampled_from(["mae", "mse", "bce"]),
    interval_ms=st.floats(0.01, 1e5) | st.integers(0, 10_000),
)
def test_an_explanation_fits_its_window(
    data: st.DataObject, shape: tuple[int, int], error_kind: ErrorKind, interval_ms: float
) -> None:
    scaled = data.draw(arrays.arrays(np.float32, shape, elements=VALUES, fill=VALUES))
    expected = data.draw(arrays.arrays(np.float32, shape, elements=VALUES, fill=VALUES))
    imputed = data.draw(st.none() | arrays.arrays(np.bool_, shape))
    scaler = Scaler("standard", np.full(shape[1], 3, np.float32), np.full(shape[1], 2, np.float32))
    window = scaler.inverse(scaled).astype(np.float32)
    scored = WindowEvidence(window, scaled, expected, 1_000, interval_ms, imputed)
    found = explain(scored, scaler, error_kind)
    assert len(found.shares) == shape[1]
    assert abs(sum(found.shares) - 1) < 1e-9
    assert all(0 <= share <= 1 for share in found.shares)
    shown = [each.share for each in found.features]
    assert shown == sorted(found.shares, reverse=True)[:3]
    assert 1 <= len(found.times_ms) <= N_POINTS_MAX
    assert sorted(found.times_ms) == list(found.times_ms)
    assert (found.times_ms[0], found.times_ms[-1]) == (found.worst_start_ms, found.worst_end_ms)
    assert found.worst_start_ms >= 1_000
    assert found.worst_end_ms <= round(1_000 + (shape[0] - 1) * interval_ms)
    for each in found.features:
        assert each.share == found.shares[each.feature]
        assert len(each.expected) == len(each.observed) == len(found.times_ms)
        assert imputed is not None or None not in each.observed
        allowed = set(window[:, each.feature].tolist()) | {None}
        assert set(each.observed) <= allowed
