"""The life cycle of a key's alerts: they open, are updated and close, one at a time.

Pure, and in event time only: the same windows give the same alerts, live or on replay. The state of
a key is a few numbers and at most one open alert, and nothing while the key is not active
(`stream_detector.core.alerting.activity`).

A key that opens too many alerts gets one summary alert instead. While the summary stands, the
ordinary life cycle continues without publishing, and the summary counts its alerts. The alerts of a
key that stays active are reset at fixed times: the open alert closes, and another continues it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stream_detector.core.alerting.activity import KeyActivity, on_anomalous, on_normal
from stream_detector.core.alerting.alert import Alert, AlertReason
from stream_detector.core.alerting.tracking import (
    AlertRules,
    OpenAlert,
    ScoredWindow,
    add_window,
    next_event,
    open_from_samples,
)
from stream_detector.core.records import BundleReference, RecordMetadata


@dataclass(frozen=True, slots=True)
class Flood:
    """A key that opened too many alerts, until it opens none for `AlertRules.flood_window_ms`.

    Parameters
    ----------
    summary
        The alert that stands for them. None from when it reached its maximum duration until the
        next anomalous window of a suppressed alert, where another summary continues it.
    continues_alert_id
        `alert_id` of the summary to continue where `summary` is None.
    opened_ms
        When a suppressed alert last opened; one that continues another does not count.
    suppressed
        (opened, last anomalous) of the alert that would be open without the summary, in
        milliseconds; None where none would be.
    """

    summary: OpenAlert | None
    continues_alert_id: str | None
    opened_ms: int
    suppressed: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class SeriesAlerts:
    """The alert state of one key.

    Parameters
    ----------
    history
        Bit i is set where the window i + 1 before the next one was anomalous, of the last
        `open_within` - 1 windows.
    closed_ms
        When the last alert closed, while the cooldown lasts.
    opens_ms
        When alerts opened within `flood_window_ms`, at most `flood_alerts_max`.
    open
        The open alert; None during a flood.
    flood
        The summary and the life cycle that it suppresses.
    activity
        Since when the key is active; None where it is not.
    """

    history: int = 0
    closed_ms: int | None = None
    opens_ms: tuple[int, ...] = ()
    open: OpenAlert | None = None
    flood: Flood | None = None
    activity: KeyActivity | None = None

    @property
    def is_quiet(self) -> bool:
        """Return whether no alert is open, and none is suppressed by a summary."""
        return self.open is None and self.flood is None

    @property
    def published(self) -> OpenAlert | None:
        """Return the alert that readers see as open: during a flood the summary."""
        return self.open if self.flood is None else self.flood.summary


_NOTHING = SeriesAlerts()


class Advance(NamedTuple):
    """The result of one window.

    Parameters
    ----------
    alerts
        State of the key after the window; None where it has none.
    events
        To publish, in this order.
    n_suppressed
        Alerts that a summary counted instead of their being opened.
    """

    alerts: SeriesAlerts | None
    events: tuple[Alert, ...]
    n_suppressed: int


def advance(
    alerts: SeriesAlerts | None, window: ScoredWindow, rules: AlertRules, bundle: BundleReference
) -> Advance:
    """Advance the alerts of a key by its next window.

    Parameters
    ----------
    alerts
        State of the key; None where it has none.
    window
        Its next window, later than those before.
    rules
        From the recipe.
    bundle
        Name and version of what scored it.

    Returns
    -------
    A normal window leaves a key without state as it is, so such windows may be left out.
    """
    if alerts is None:
        if not window.is_anomalous:
            return Advance(None, (), 0)
        alerts = _NOTHING
    if not window.is_anomalous and alerts.is_quiet:
        return Advance(advance_quiet(alerts, [window.end_ms], rules), (), 0)
    history = alerts.history << 1 | window.is_anomalous
    now = _without_expired(alerts, history, window.end_ms, rules)
    before = now.activity
    if window.is_anomalous:
        now = replace(now, activity=on_anomalous(before, window, rules))
    elif before is not None:
        now = replace(now, activity=on_normal(before, [window.end_ms], rules))
    may_open = (
        window.is_anomalous and now.closed_ms is None and history.bit_count() >= rules.open_after
    )
    transition = _Transition(window, rules, bundle, may_open)
    if window.is_anomalous and before is not None and before.is_reset_due(window, rules):
        found = _reset_alerts(now, transition)
    elif now.flood is not None:
        found = _continue_flood(now, now.flood, transition)
    elif now.open is not None:
        found = _continue_open(now, now.open, transition)
    elif may_open:
        found = _open(now, transition)
    else:
        found = Advance(now, (), 0)
    return found._replace(alerts=None) if found.alerts == _NOTHING else found


def advance_quiet(
    alerts: SeriesAlerts, ends_ms: Sequence[int], rules: AlertRules
) -> SeriesAlerts | None:
    """Advance a key without an open alert by its next windows, none of which is anomalous.

    Nothing but time passes, so all of them are one step: a key is active for long after its alert.

    Parameters
    ----------
    alerts
        State of the key; it is quiet.
    ends_ms
        Ends of the windows, ascending; at least one.
    rules
        From the recipe.

    Returns
    -------
    State of the key after the last of them; None where it has none.
    """
    history = alerts.history << min(len(ends_ms), rules.open_within)
    now = _without_expired(alerts, history, ends_ms[-1], rules)
    if now.activity is not None:
        now = replace(now, activity=on_normal(now.activity, ends_ms, rules))
    return None if now == _NOTHING else now


def expire(
    alerts: SeriesAlerts | None,
    at_ms: int,
    metadata: RecordMetadata,
    reason: AlertReason = "key_expired",
) -> tuple[Alert, ...]:
    """Close the open alert of a key whose series has ended; the caller drops the key's state.

    Parameters
    ----------
    alerts
        State of the key; None where it has none.
    at_ms
        The stream time at which the key expired, or its newest time before its clock was set.
    metadata
        The record that advanced stream time, of whatever key, or set the clock; gives `source`
        only.
    reason
        `key_expired`, or `clock_set`.

    Returns
    -------
    One close, or nothing where no alert is open.
    """
    if alerts is None:
        return ()
    opened = alerts.published
    if opened is None:
        return ()
    return (next_event(opened, "close", reason, at_ms, metadata).alert,)


class _Transition(NamedTuple):
    """One window, with everything that decides its effect."""

    window: ScoredWindow
    rules: AlertRules
    bundle: BundleReference
    may_open: bool

    def open_from_samples(
        self,
        reason: AlertReason,
        continues_alert_id: str | None = None,
        *,
        is_summary: bool = False,
    ) -> OpenAlert:
        """Open an alert at this window."""
        opened = open_from_samples(self.window, self.rules.severities, self.bundle)
        alert = replace(
            opened.alert,
            reason=reason,
            continues_alert_id=continues_alert_id,
            is_summary=is_summary,
        )
        return replace(opened, alert=alert)

    def close(self, opened: OpenAlert, reason: AlertReason) -> Alert:
        """Close an alert at this window."""
        return next_event(opened, "close", reason, self.window.end_ms, self.window.metadata()).alert

    def update(self, opened: OpenAlert, severity: str) -> OpenAlert | None:
        """Update an alert whose severity was `severity`; None where no update is due."""
        reason: AlertReason
        if opened.alert.severity != severity:
            reason = "severity"
        elif self.window.end_ms - opened.alert.event_time_ms >= self.rules.update_interval_ms:
            reason = "periodic"
        else:
            return None
        return next_event(opened, "update", reason, self.window.end_ms, self.window.metadata())

    def ending(self, opened_ms: int, last_anomalous_ms: int) -> AlertReason | None:
        """Return why an alert closes at this window; None where it stays open."""
        if self.window.end_ms - last_anomalous_ms >= self.rules.close_after_ms:
            return "recovered"
        if self.window.end_ms - opened_ms >= self.rules.open_ms_max:
            return "continued" if self.window.is_anomalous else "max_duration"
        return None


def _without_expired(
    alerts: SeriesAlerts, history: int, end_ms: int, rules: AlertRules
) -> SeriesAlerts:
    """Return the state of a key without what has expired at a window that ends now."""
    closed_ms = alerts.closed_ms
    if closed_ms is not None and end_ms - closed_ms >= rules.cooldown_ms:
        closed_ms = None
    opens_ms = alerts.opens_ms
    if opens_ms and end_ms - opens_ms[0] >= rules.flood_window_ms:
        opens_ms = tuple([opened for opened in opens_ms if end_ms - opened < rules.flood_window_ms])
    kept = history & ((1 << (rules.open_within - 1)) - 1)
    return replace(alerts, history=kept, closed_ms=closed_ms, opens_ms=opens_ms)


def _reset_alerts(now: SeriesAlerts, transition: _Transition) -> Advance:
    """Close the open alert at an anomalous window and restart the life cycle.

    Whether another alert continues it, and whether as a summary, follows from the windows since the
    last reset and not from the alert that was open; only the link to that alert does.
    """
    window, rules, activity = transition.window, transition.rules, now.activity
    assert activity is not None  # noqa: S101  (narrows the type: the window is anomalous)
    opened = now.published
    continues_alert_id = None if now.flood is None else now.flood.continues_alert_id
    events: tuple[Alert, ...] = ()
    is_continued = activity.n_anomalous >= rules.open_after
    if opened is not None:
        opened = add_window(opened, window, rules.severities)
        events = (transition.close(opened, "continued" if is_continued else "max_duration"),)
        continues_alert_id = events[0].alert_id
    reset = SeriesAlerts(history=now.history & 1, activity=activity.reset())
    if not is_continued:
        return Advance(reset, events, 0)
    is_flood = activity.is_flood(rules)
    reason: AlertReason = "flood" if is_flood else "anomalous"
    follower = transition.open_from_samples(
        "continued" if continues_alert_id else reason, continues_alert_id, is_summary=is_flood
    )
    events = (*events, follower.alert)
    if is_flood:
        flood = Flood(follower, None, window.end_ms, (window.end_ms, window.end_ms))
        return Advance(replace(reset, flood=flood), events, 0)
    return Advance(replace(reset, open=follower), events, 0)


def _open(now: SeriesAlerts, transition: _Transition) -> Advance:
    """Open an alert, or the summary where it would be one too many."""
    end_ms = transition.window.end_ms
    if len(now.opens_ms) >= transition.rules.flood_alerts_max:
        summary = transition.open_from_samples("flood", is_summary=True)
        flood = Flood(summary, None, end_ms, (end_ms, end_ms))
        return Advance(replace(now, opens_ms=(), flood=flood), (summary.alert,), 0)
    opened = transition.open_from_samples("anomalous")
    return Advance(replace(now, opens_ms=(*now.opens_ms, end_ms), open=opened), (opened.alert,), 0)


def _continue_open(now: SeriesAlerts, opened: OpenAlert, transition: _Transition) -> Advance:
    """Add a window to the open alert, and close or update it where that is due."""
    window = transition.window
    severity = opened.alert.severity
    opened = add_window(opened, window, transition.rules.severities)
    ending = transition.ending(opened.alert.opened_ms, opened.last_anomalous_ms)
    if ending is None:
        updated = transition.update(opened, severity)
        events = () if updated is None else (updated.alert,)
        return Advance(replace(now, open=updated or opened), events, 0)
    closed = transition.close(opened, ending)
    if window.is_anomalous:
        follower = transition.open_from_samples("continued", closed.alert_id)
        return Advance(replace(now, open=follower), (closed, follower.alert), 0)
    return Advance(_closed(replace(now, open=None), transition), (closed,), 0)


def _continue_flood(now: SeriesAlerts, flood: Flood, transition: _Transition) -> Advance:
    """Advance the suppressed alert by a window, and add the window to the summary."""
    end_ms = transition.window.end_ms
    was_suppressed = flood.suppressed
    now, flood = _continue_suppressed(now, flood, transition)
    n_suppressed = int(was_suppressed is None and flood.suppressed is not None)
    is_over = (
        flood.suppressed is None and end_ms - flood.opened_ms >= transition.rules.flood_window_ms
    )
    events: tuple[Alert, ...] = ()
    if flood.summary is not None:
        flood, events = _continue_summary(flood, flood.summary, n_suppressed, is_over, transition)
    if flood.summary is None and flood.suppressed is not None and transition.window.is_anomalous:
        follower = transition.open_from_samples(
            "continued", flood.continues_alert_id, is_summary=True
        )
        flood = Flood(follower, None, flood.opened_ms, flood.suppressed)
        events = (*events, follower.alert)
    if is_over:
        return Advance(_closed(replace(now, flood=None), transition), events, n_suppressed)
    return Advance(replace(now, flood=flood), events, n_suppressed)


def _continue_suppressed(
    now: SeriesAlerts, flood: Flood, transition: _Transition
) -> tuple[SeriesAlerts, Flood]:
    """Advance the suppressed alert as an open one would be."""
    window, suppressed = transition.window, flood.suppressed
    end_ms = window.end_ms
    if suppressed is None:
        if not transition.may_open:
            return now, flood
        return now, replace(flood, opened_ms=end_ms, suppressed=(end_ms, end_ms))
    opened_ms, last_ms = suppressed
    last_ms = end_ms if window.is_anomalous else last_ms
    if transition.ending(opened_ms, last_ms) is None:
        return now, replace(flood, suppressed=(opened_ms, last_ms))
    if window.is_anomalous:
        return now, replace(flood, suppressed=(end_ms, end_ms))
    return _closed(now, transition), replace(flood, suppressed=None)


def _continue_summary(
    flood: Flood, summary: OpenAlert, n_opened: int, is_over: bool, transition: _Transition
) -> tuple[Flood, tuple[Alert, ...]]:
    """Add a window, and the suppressed alert that opened at it, to an open summary."""
    severity = summary.alert.severity
    summary = add_window(summary, transition.window, transition.rules.severities)
    summary = replace(summary, n_alerts=summary.n_alerts + n_opened)
    is_too_long = transition.window.end_ms - summary.alert.opened_ms >= transition.rules.open_ms_max
    if is_over or is_too_long:
        goes_on = flood.suppressed is not None and transition.window.is_anomalous
        reason: AlertReason = "continued" if goes_on else "max_duration"
        closed = transition.close(summary, "recovered" if is_over else reason)
        return replace(flood, summary=None, continues_alert_id=closed.alert_id), (closed,)
    updated = transition.update(summary, severity)
    events = () if updated is None else (updated.alert,)
    return replace(flood, summary=updated or summary), events


def _closed(now: SeriesAlerts, transition: _Transition) -> SeriesAlerts:
    """Start the cooldown, where there is one."""
    return replace(
        now, closed_ms=transition.window.end_ms if transition.rules.cooldown_ms else None
    )
