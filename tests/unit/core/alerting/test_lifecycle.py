"""When the alerts of a key open, are updated and close, window by window."""

from dataclasses import replace
from typing import Any

import pytest
from present import present

from stream_detector.core.alerting.alert import Alert, Source, alert_id
from stream_detector.core.alerting.lifecycle import SeriesAlerts, advance, expire
from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.core.scoring.scorer import Finding

BUNDLE = BundleReference("pumps", "v1")
RULES = AlertRules(
    open_after=1,
    open_within=1,
    update_interval_ms=1_000_000,
    close_after_ms=3,
    cooldown_ms=0,
    open_ms_max=1_000_000,
    flood_alerts_max=1_000,
    flood_window_ms=1,
    severities=(("warning", 1.0), ("critical", 2.0), ("emergency", 3.0)),
)


def metadata_of(end_ms: int) -> RecordMetadata:
    return RecordMetadata("telemetry", 0, end_ms, end_ms, b"pump-7", ())


class Key:
    """One key whose windows end each millisecond, one character each.

    `.` is normal, a digit is an anomaly score of that and a half.
    """

    def __init__(self, **changes: Any) -> None:
        self.rules = replace(RULES, **changes)
        self.alerts: SeriesAlerts | None = None
        self.now_ms = 0
        self.n_suppressed = 0
        self.n_explained = 0

    def see(self, text: str) -> list[Alert]:
        events: list[Alert] = []
        for character in text:
            events += self._advance(0.5 if character == "." else int(character) + 0.5)
        return events

    def _advance(self, error: float) -> tuple[Alert, ...]:
        start_ms, end_ms = self.now_ms - 4, self.now_ms

        def explain() -> Finding:
            self.n_explained += 1
            return Finding(Explanation(start_ms, end_ms, (), (1.0,), (end_ms,), 0.0, 0))

        window = ScoredWindow(
            lambda: metadata_of(end_ms), start_ms, end_ms, 0.2 * error, 0.2, "mae", explain
        )
        found = advance(self.alerts, window, self.rules, BUNDLE)
        self.alerts = found.alerts
        self.n_suppressed += found.n_suppressed
        self.now_ms += 1
        return found.events


def brief(events: list[Alert]) -> list[str]:
    return [f"{each.event_time_ms} {each.event} {each.reason}" for each in events]


def test_normal_windows_leave_nothing_behind() -> None:
    key = Key(open_within=8, cooldown_ms=5)
    assert key.see("....") == []
    assert key.alerts is None


def test_an_alert_opens_at_once_and_closes_in_calm() -> None:
    key = Key()
    events = key.see("..1.1....")
    assert brief(events) == ["2 open anomalous", "7 close recovered"]
    first, last = events
    assert first.alert_id == last.alert_id == alert_id(metadata_of(2), "v1", -2)
    assert (first.event_number, last.event_number) == (1, 2)
    assert (last.n_windows, last.n_anomalous, last.last_anomalous_ms) == (6, 2, 4)
    assert (last.opened_ms, last.source) == (2, Source("telemetry", 0, 7))
    assert (last.window_end_ms, present(last.explanation).worst_end_ms) == (2, 2)


@pytest.mark.parametrize(
    ("text", "opens"),
    [("1..1..1..", []), ("1.1", [2]), ("11", [1]), ("1...11", [5]), ("1.11", [2])],
)
def test_an_alert_opens_after_k_of_the_last_n(text: str, opens: list[int]) -> None:
    key = Key(open_after=2, open_within=3)
    assert [each.event_time_ms for each in key.see(text)] == opens


def test_the_longest_history_is_looked_back_on() -> None:
    key = Key(open_after=2, open_within=64)
    assert brief(key.see("1" + "." * 62 + "1")) == ["63 open anomalous"]
    key = Key(open_after=2, open_within=64)
    assert key.see("1" + "." * 63 + "1") == []


def test_an_update_and_a_close_say_where_all_windows_see_the_fault() -> None:
    events = Key(update_interval_ms=6).see("1111111111....")
    spans = [(each.event, each.span_start_ms, each.span_end_ms) for each in events]
    # The worst span of a window is all of it, and a window covers five steps.
    assert spans == [("open", -4, 0), ("update", -2, 4), ("close", -2, 8)]


def test_a_short_fault_is_where_the_worst_window_says() -> None:
    *_, last = Key().see("11311...")
    assert (last.event, last.window_end_ms) == ("close", 2)
    assert (last.span_start_ms, last.span_end_ms) == (-2, 2)


def test_a_normal_window_opens_nothing_whatever_came_before() -> None:
    key = Key(open_after=1, open_within=3, cooldown_ms=4, close_after_ms=1)
    assert brief(key.see("1.1..")) == ["0 open anomalous", "1 close recovered"]


def test_an_open_alert_is_updated_at_intervals_and_when_it_becomes_severer() -> None:
    key = Key(update_interval_ms=3)
    events = key.see("1111221.1.3")
    assert brief(events) == [
        "0 open anomalous",
        "3 update periodic",
        "4 update severity",
        "7 update periodic",
        "10 update severity",
    ]
    assert [each.event_number for each in events] == [1, 2, 3, 4, 5]
    assert [each.severity for each in events] == [
        "warning",
        "warning",
        "critical",
        "critical",
        "emergency",
    ]
    assert [each.window_end_ms for each in events] == [0, 0, 4, 4, 10]


def test_only_windows_that_are_the_worst_so_far_are_explained() -> None:
    key = Key(update_interval_ms=2)
    key.see("2112.3.1...")
    assert key.n_explained == 2
    key.see("....")
    assert key.n_explained == 2


def test_cooldown_holds_back_the_next_open() -> None:
    key = Key(cooldown_ms=4, close_after_ms=1)
    assert brief(key.see("1.1111")) == ["0 open anomalous", "1 close recovered", "5 open anomalous"]


def test_a_key_is_forgotten_when_nothing_matters_any_more() -> None:
    key = Key(cooldown_ms=4, close_after_ms=1, flood_window_ms=2)
    key.see("1....")
    assert key.alerts is not None
    assert replace(key.alerts, activity=None) == SeriesAlerts(closed_ms=1)
    key.see(".")
    assert key.alerts == SeriesAlerts(activity=key.alerts.activity)
    key.see(".")  # where reading began at the anomalous window, the alert might have closed at 2
    assert key.alerts is None


def test_an_alert_open_too_long_goes_on_in_another() -> None:
    key = Key(open_ms_max=4, cooldown_ms=100, flood_alerts_max=1, flood_window_ms=100)
    events = key.see("111.2...")
    assert brief(events) == [
        "0 open anomalous",
        "4 close continued",
        "4 open continued",
        "7 close recovered",
    ]
    first, closed, second, _ = events
    assert second.continues_alert_id == first.alert_id != second.alert_id
    assert (closed.window_end_ms, second.window_end_ms, second.severity) == (4, 4, "critical")
    assert (second.n_windows, second.event_number, second.opened_ms) == (1, 1, 4)


def test_an_alert_opens_at_a_reset_with_just_as_many_anomalous_windows_as_it_takes() -> None:
    key = Key(open_ms_max=4, cooldown_ms=100, open_after=2, open_within=64)
    assert brief(key.see("1.......1")) == ["8 open anomalous"]


def test_an_alert_open_too_long_at_a_normal_window_just_closes() -> None:
    key = Key(open_ms_max=4, cooldown_ms=2)
    events = key.see("11.1.11")
    assert brief(events) == ["0 open anomalous", "4 close max_duration", "6 open anomalous"]
    assert events[-1].continues_alert_id is None


def flooded(**changes: Any) -> Key:
    """Return a key that has opened and closed two alerts, which is all it may."""
    changes = {"flood_alerts_max": 2, "flood_window_ms": 20, "close_after_ms": 1} | changes
    key = Key(**changes)
    assert brief(key.see("1.1.")) == [
        "0 open anomalous",
        "1 close recovered",
        "2 open anomalous",
        "3 close recovered",
    ]
    return key


def test_one_alert_too_many_opens_a_summary_that_counts_the_others() -> None:
    key = flooded()
    (opened,) = key.see("1.1.1.")
    assert brief([opened]) == ["4 open flood"]
    assert (opened.is_summary, opened.n_alerts, key.n_suppressed) == (True, 1, 2)
    (closed,) = key.see("." * 30)
    assert brief([closed]) == ["28 close recovered"]
    assert (closed.alert_id, closed.is_summary, closed.n_alerts) == (opened.alert_id, True, 3)
    assert (closed.n_anomalous, closed.last_anomalous_ms, closed.event_number) == (3, 8, 2)
    assert key.alerts is None


@pytest.mark.parametrize(
    ("text", "second"), [("1...1", "4 open flood"), ("1....1", "5 open anomalous")]
)
def test_an_alert_counts_towards_a_flood_within_the_flood_window(text: str, second: str) -> None:
    key = Key(flood_alerts_max=1, flood_window_ms=5, close_after_ms=1)
    assert brief(key.see(text)) == ["0 open anomalous", "1 close recovered", second]


def test_a_summary_is_updated_like_any_alert() -> None:
    key = flooded(update_interval_ms=4)
    events = key.see("1.1.1.2.")
    assert brief(events) == ["4 open flood", "8 update periodic", "10 update severity"]
    assert [each.n_alerts for each in events] == [1, 3, 4]


def test_a_summary_stays_while_an_alert_behind_it_is_open() -> None:
    key = Key(flood_alerts_max=1, flood_window_ms=5, close_after_ms=2)
    key.see("1..")
    assert brief(key.see("1" * 10)) == ["3 open flood"]
    assert brief(key.see("...")) == ["14 close recovered"]
    assert key.n_suppressed == 0


def test_after_a_flood_alerts_open_again_after_cooldown() -> None:
    key = Key(flood_alerts_max=1, flood_window_ms=5, close_after_ms=1, cooldown_ms=2)
    key.see("1.")
    assert brief(key.see(".1......")) == ["3 open flood", "8 close recovered"]
    assert brief(key.see("11")) == ["10 open anomalous"]


def test_cooldown_holds_behind_a_summary_too() -> None:
    key = Key(flood_alerts_max=1, flood_window_ms=50, close_after_ms=1, cooldown_ms=3)
    assert brief(key.see("1...1.11111")) == [
        "0 open anomalous",
        "1 close recovered",
        "4 open flood",
    ]
    assert key.n_suppressed == 1


def test_a_summary_open_too_long_goes_on_in_another_where_it_still_counts() -> None:
    key = flooded(open_ms_max=4)
    events = key.see("1.1.1.1")
    assert brief(events) == ["4 open flood", "8 close continued", "8 open continued"]
    assert [each.n_alerts for each in events] == [1, 3, 1]
    assert events[2].continues_alert_id == events[0].alert_id
    assert events[2].is_summary
    assert key.n_suppressed == 3


def test_a_summary_closed_at_a_normal_window_goes_on_at_the_next_alert() -> None:
    key = flooded(open_ms_max=3)
    events = key.see("1....1.")
    assert brief(events) == ["4 open flood", "7 close max_duration", "9 open continued"]
    assert events[2].continues_alert_id == events[0].alert_id
    assert (events[2].n_alerts, key.n_suppressed) == (1, 1)


def test_a_summary_closed_at_a_normal_window_ends_silently_in_calm() -> None:
    key = flooded(open_ms_max=3)
    assert brief(key.see("1" + "." * 25)) == ["4 open flood", "7 close max_duration"]
    assert key.alerts is None
    assert brief(key.see("1")) == ["30 open anomalous"]


def test_an_alert_behind_a_summary_may_go_on_for_long_and_counts_once() -> None:
    key = flooded(open_ms_max=6, flood_window_ms=40)
    events = key.see("1" * 20)
    assert brief(events)[:3] == ["4 open flood", "10 close continued", "10 open continued"]
    assert key.n_suppressed == 0
    assert all(each.n_alerts == 1 for each in events)


def test_goings_on_count_for_no_flood() -> None:
    key = Key(open_ms_max=2, flood_alerts_max=1, flood_window_ms=100)
    assert {each.reason for each in key.see("1" * 20)} == {"anomalous", "continued"}


def test_an_idle_key_s_alert_is_closed() -> None:
    key = Key()
    (opened,) = key.see("1")
    metadata = RecordMetadata("telemetry", 0, 900, 0, b"another", ())
    (closed,) = expire(key.alerts, 500, metadata)
    assert brief([closed]) == ["500 close key_expired"]
    assert (closed.alert_id, closed.event_number) == (opened.alert_id, 2)
    assert (closed.key, closed.source.offset) == ("pump-7", 900)
    assert (closed.last_anomalous_ms, closed.n_windows) == (0, 1)


def test_an_idle_key_s_summary_is_closed() -> None:
    key = flooded()
    key.see("1.1.")
    (closed,) = expire(key.alerts, 500, metadata_of(0))
    assert (closed.is_summary, closed.n_alerts, closed.reason) == (True, 2, "key_expired")


@pytest.mark.parametrize("alerts", [None, SeriesAlerts(history=3), SeriesAlerts(closed_ms=3)])
def test_an_idle_key_with_nothing_open_has_nothing_to_say(alerts: SeriesAlerts | None) -> None:
    assert expire(alerts, 500, metadata_of(0)) == ()
