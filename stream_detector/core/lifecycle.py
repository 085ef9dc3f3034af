"""The life of a series key's alerts: they open, are updated and close, one at a time.

Pure, and in event time only: the same windows give the same alerts, live or on replay. What is
remembered of a key is a few numbers and at most one open alert, and nothing once it has come to
rest (`stream_detector.core.unrest`).

A key that opens too many alerts gets one summary alert instead. Behind it the ordinary life cycle
goes on in silence and is counted. Of a key that is restless for long, all this begins anew at fixed
times: what is open closes, and another goes on from it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from stream_detector.core.alerting import (
    AlertRules,
    JudgedWindow,
    OpenAlert,
    begin,
    next_event,
    take_in,
)
from stream_detector.core.records import Alert, AlertReason, BundleReference, Origin
from stream_detector.core.unrest import Unrest, settle, stir


@dataclass(frozen=True, slots=True)
class Flood:
    """A key that opened too many alerts, until it opens none for `AlertRules.flood_ms`.

    Parameters
    ----------
    summary
        The alert that stands for them. None from when it was open too long until the next
        anomalous window of an alert behind it, where it goes on as another.
    continues
        `alert_id` of the summary to go on from where `summary` is None.
    opened_ms
        When an alert was last opened in silence, goings-on left out.
    silent
        (opened, last anomalous) of the alert that would be open without the summary.
    """

    summary: OpenAlert | None
    continues: str | None
    opened_ms: int
    silent: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class SeriesAlerts:
    """All that is remembered of one key.

    Parameters
    ----------
    history
        Bit i is set where the window i + 1 before the next one was anomalous; of as many windows
        as matter to it, `open_within` - 1.
    closed_ms
        When the last alert closed, while cooldown lasts.
    opens_ms
        When alerts opened within `flood_ms`, at most `alerts_max`.
    open
        The open alert. None in a flood.
    flood
        The summary, and what goes on behind it.
    unrest
        How restless the key is; None at rest.
    """

    history: int = 0
    closed_ms: int | None = None
    opens_ms: tuple[int, ...] = ()
    open: OpenAlert | None = None
    flood: Flood | None = None
    unrest: Unrest | None = None


_NOTHING = SeriesAlerts()


class Advance(NamedTuple):
    """What one window led to.

    Parameters
    ----------
    alerts
        What to remember of the key; None for nothing.
    events
        To publish, in this order.
    n_suppressed
        Alerts that would have opened and were counted in a summary instead.
    """

    alerts: SeriesAlerts | None
    events: tuple[Alert, ...]
    n_suppressed: int


def advance(
    alerts: SeriesAlerts | None, window: JudgedWindow, rules: AlertRules, bundle: BundleReference
) -> Advance:
    """Take in the next window of a key.

    Parameters
    ----------
    alerts
        What is remembered of the key; None for nothing.
    window
        Judged, later than those before.
    rules
        From the recipe.
    bundle
        What scored it.

    Returns
    -------
    Nothing remembered and a normal window give nothing again, so such windows may be left out.
    """
    if alerts is None:
        if not window.is_anomalous:
            return Advance(None, (), 0)
        alerts = _NOTHING
    history = alerts.history << 1 | window.is_anomalous
    now = _without_old(alerts, history, window.end_ms, rules)
    before = now.unrest
    if window.is_anomalous:
        now = replace(now, unrest=stir(before, window, rules))
    elif before is not None:
        now = replace(now, unrest=settle(before, window, rules))
    may_open = (
        window.is_anomalous and now.closed_ms is None and history.bit_count() >= rules.open_after
    )
    turn = _Turn(window, rules, bundle, may_open)
    if window.is_anomalous and before is not None and before.begins_anew(window, rules):
        found = _begin_anew(now, turn)
    elif now.flood is not None:
        found = _go_on_in_flood(now, now.flood, turn)
    elif now.open is not None:
        found = _go_on(now, now.open, turn)
    elif may_open:
        found = _open(now, turn)
    else:
        found = Advance(now, (), 0)
    return found._replace(alerts=None) if found.alerts == _NOTHING else found


def expire(alerts: SeriesAlerts | None, at_ms: int, origin: Origin) -> tuple[Alert, ...]:
    """Close what is open of a key that has gone idle; forget the key then.

    Parameters
    ----------
    alerts
        What is remembered of the key; None for nothing.
    at_ms
        The watermark that made it idle.
    origin
        The record that caused this, of whatever key; gives `source` only.

    Returns
    -------
    One close, or nothing where nothing is open.
    """
    if alerts is None:
        return ()
    opened = alerts.open if alerts.flood is None else alerts.flood.summary
    if opened is None:
        return ()
    return (next_event(opened, "close", "idle", at_ms, origin).alert,)


class _Turn(NamedTuple):
    """One window, with all that decides what comes of it."""

    window: JudgedWindow
    rules: AlertRules
    bundle: BundleReference
    may_open: bool

    def begin(
        self, reason: AlertReason, continues: str | None = None, *, is_summary: bool = False
    ) -> OpenAlert:
        """Open an alert at this window."""
        opened = begin(self.window, self.rules.severities, self.bundle)
        alert = replace(opened.alert, reason=reason, continues=continues, is_summary=is_summary)
        return replace(opened, alert=alert)

    def close(self, opened: OpenAlert, reason: AlertReason) -> Alert:
        """Close an alert at this window."""
        return next_event(opened, "close", reason, self.window.end_ms, self.window.origin()).alert

    def update(self, opened: OpenAlert, severity: str) -> OpenAlert | None:
        """Update an alert whose severity was `severity`; None where there is no need."""
        reason: AlertReason
        if opened.alert.severity != severity:
            reason = "severity"
        elif self.window.end_ms - opened.alert.event_time_ms >= self.rules.update_ms:
            reason = "periodic"
        else:
            return None
        return next_event(opened, "update", reason, self.window.end_ms, self.window.origin())

    def ending(self, opened_ms: int, last_anomalous_ms: int) -> AlertReason | None:
        """Return why an alert, this window taken in, closes; None where it stays open."""
        if self.window.end_ms - last_anomalous_ms >= self.rules.close_after_ms:
            return "calm"
        if self.window.end_ms - opened_ms >= self.rules.open_ms_max:
            return "too_long"
        return None


def _without_old(
    alerts: SeriesAlerts, history: int, end_ms: int, rules: AlertRules
) -> SeriesAlerts:
    """Return what is remembered of a key without what is over at a window that ends now."""
    closed_ms = alerts.closed_ms
    if closed_ms is not None and end_ms - closed_ms >= rules.cooldown_ms:
        closed_ms = None
    opens_ms = alerts.opens_ms
    if opens_ms and end_ms - opens_ms[0] >= rules.flood_ms:
        opens_ms = tuple([opened for opened in opens_ms if end_ms - opened < rules.flood_ms])
    kept = history & ((1 << (rules.open_within - 1)) - 1)
    return replace(alerts, history=kept, closed_ms=closed_ms, opens_ms=opens_ms)


def _begin_anew(now: SeriesAlerts, turn: _Turn) -> Advance:
    """Close what is open at an anomalous window, and go on as if nothing had been before.

    Whether an alert goes on, and whether as a summary, follows from the windows since it last
    began anew, and not from what was open; only the link to that does.
    """
    window, rules, unrest = turn.window, turn.rules, now.unrest
    assert unrest is not None  # noqa: S101  (narrows the type: the window is anomalous)
    opened = now.open if now.flood is None else now.flood.summary
    continues = None if now.flood is None else now.flood.continues
    events: tuple[Alert, ...] = ()
    if opened is not None:
        events = (turn.close(take_in(opened, window, rules.severities), "too_long"),)
        continues = events[0].alert_id
    anew = SeriesAlerts(history=now.history & 1, unrest=unrest.anew())
    if unrest.n_anomalous < rules.open_after:
        return Advance(anew, events, 0)
    is_flood = unrest.is_flood(rules)
    reason: AlertReason = "flood" if is_flood else "anomalous"
    follower = turn.begin("continued" if continues else reason, continues, is_summary=is_flood)
    events = (*events, follower.alert)
    if is_flood:
        flood = Flood(follower, None, window.end_ms, (window.end_ms, window.end_ms))
        return Advance(replace(anew, flood=flood), events, 0)
    return Advance(replace(anew, open=follower), events, 0)


def _open(now: SeriesAlerts, turn: _Turn) -> Advance:
    """Open an alert, or the summary where it would be one too many."""
    end_ms = turn.window.end_ms
    if len(now.opens_ms) >= turn.rules.alerts_max:
        summary = turn.begin("flood", is_summary=True)
        flood = Flood(summary, None, end_ms, (end_ms, end_ms))
        return Advance(replace(now, opens_ms=(), flood=flood), (summary.alert,), 0)
    opened = turn.begin("anomalous")
    return Advance(replace(now, opens_ms=(*now.opens_ms, end_ms), open=opened), (opened.alert,), 0)


def _go_on(now: SeriesAlerts, opened: OpenAlert, turn: _Turn) -> Advance:
    """Take a window into the open alert."""
    window = turn.window
    severity = opened.alert.severity
    opened = take_in(opened, window, turn.rules.severities)
    ending = turn.ending(opened.alert.opened_ms, opened.last_anomalous_ms)
    if ending is None:
        updated = turn.update(opened, severity)
        events = () if updated is None else (updated.alert,)
        return Advance(replace(now, open=updated or opened), events, 0)
    closed = turn.close(opened, ending)
    if window.is_anomalous:
        follower = turn.begin("continued", closed.alert_id)
        return Advance(replace(now, open=follower), (closed, follower.alert), 0)
    return Advance(_closed(replace(now, open=None), turn), (closed,), 0)


def _go_on_in_flood(now: SeriesAlerts, flood: Flood, turn: _Turn) -> Advance:
    """Go on in silence, and take a window into the summary."""
    end_ms = turn.window.end_ms
    was_silent = flood.silent
    now, flood = _go_on_in_silence(now, flood, turn)
    n_suppressed = int(was_silent is None and flood.silent is not None)
    is_over = flood.silent is None and end_ms - flood.opened_ms >= turn.rules.flood_ms
    events: tuple[Alert, ...] = ()
    if flood.summary is not None:
        flood, events = _go_on_with_summary(flood, flood.summary, n_suppressed, is_over, turn)
    if flood.summary is None and flood.silent is not None and turn.window.is_anomalous:
        follower = turn.begin("continued", flood.continues, is_summary=True)
        flood = Flood(follower, None, flood.opened_ms, flood.silent)
        events = (*events, follower.alert)
    if is_over:
        return Advance(_closed(replace(now, flood=None), turn), events, n_suppressed)
    return Advance(replace(now, flood=flood), events, n_suppressed)


def _go_on_in_silence(now: SeriesAlerts, flood: Flood, turn: _Turn) -> tuple[SeriesAlerts, Flood]:
    """Do to the alert behind a summary what would be done to an open one."""
    window, silent = turn.window, flood.silent
    end_ms = window.end_ms
    if silent is None:
        if not turn.may_open:
            return now, flood
        return now, replace(flood, opened_ms=end_ms, silent=(end_ms, end_ms))
    opened_ms, last_ms = silent
    last_ms = end_ms if window.is_anomalous else last_ms
    if turn.ending(opened_ms, last_ms) is None:
        return now, replace(flood, silent=(opened_ms, last_ms))
    if window.is_anomalous:
        return now, replace(flood, silent=(end_ms, end_ms))
    return _closed(now, turn), replace(flood, silent=None)


def _go_on_with_summary(
    flood: Flood, summary: OpenAlert, n_opened: int, is_over: bool, turn: _Turn
) -> tuple[Flood, tuple[Alert, ...]]:
    """Take a window, and what opened in silence at it, into an open summary."""
    severity = summary.alert.severity
    summary = take_in(summary, turn.window, turn.rules.severities)
    summary = replace(summary, n_alerts=summary.n_alerts + n_opened)
    is_too_long = turn.window.end_ms - summary.alert.opened_ms >= turn.rules.open_ms_max
    if is_over or is_too_long:
        closed = turn.close(summary, "calm" if is_over else "too_long")
        return replace(flood, summary=None, continues=closed.alert_id), (closed,)
    updated = turn.update(summary, severity)
    events = () if updated is None else (updated.alert,)
    return replace(flood, summary=updated or summary), events


def _closed(now: SeriesAlerts, turn: _Turn) -> SeriesAlerts:
    """Begin the cooldown, where there is one."""
    return replace(now, closed_ms=turn.window.end_ms if turn.rules.cooldown_ms else None)
