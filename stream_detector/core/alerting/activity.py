"""How restless a series key is: what its alerts depend on that lies further back than they do.

Pure. A key is restless from an anomalous window until everything that window could have set off
is over: its alert, the counting towards a flood, the cooldown. Where a key stays restless for
long, its alerts begin anew at fixed times, and then owe nothing to what was before. So alerts
follow from a bounded past, whatever a key does, and can be restored by reading it again.
"""

from typing import NamedTuple

from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow

N_EPOCHS = 2
"""A key may be restless for so many epochs begun before its alerts begin anew; so one that is
anomalous for a moment at the turn of an epoch is left alone."""


class KeyActivity(NamedTuple):
    """Of one key, since it became restless or began anew. It says nothing about alerts.

    Parameters
    ----------
    since
        Epoch in which it became restless, or `N_EPOCHS` before `epoch` where that is later.
    since_ms
        End of the first window that is counted below.
    epoch, last_ms
        Epoch and end of the last anomalous window.
    quiet_ms
        End of the first window at which no alert could be open any more; None before that.
    n_quiet
        Windows since the last anomalous one, at most `open_within`.
    n_anomalous
        Anomalous windows.
    n_bursts
        How often an anomalous window came after `close_after_ms` without one.
    """

    since: int
    since_ms: int
    epoch: int
    last_ms: int
    quiet_ms: int | None
    n_quiet: int
    n_anomalous: int
    n_bursts: int

    def is_reset_due(self, window: ScoredWindow, rules: AlertRules) -> bool:
        """Return whether the key's alerts begin anew at an anomalous window."""
        epoch = window.end_ms // rules.epoch_ms
        return epoch > self.epoch and epoch - self.since >= N_EPOCHS

    def is_flood(self, rules: AlertRules) -> bool:
        """Return whether bursts came faster than alerts may open."""
        for_ms = max(self.last_ms - self.since_ms, rules.flood_window_ms)
        return self.n_bursts * rules.flood_window_ms > rules.flood_alerts_max * for_ms

    def reset(self) -> "KeyActivity":
        """Return it with nothing counted but the last window."""
        return self._replace(since_ms=self.last_ms, n_anomalous=1, n_bursts=1)


def on_anomalous(
    activity: KeyActivity | None, window: ScoredWindow, rules: AlertRules
) -> KeyActivity:
    """Take in an anomalous window."""
    end_ms, epoch = window.end_ms, window.end_ms // rules.epoch_ms
    if activity is None:
        return KeyActivity(epoch, end_ms, epoch, end_ms, None, 0, 1, 1)
    is_burst = end_ms - activity.last_ms >= rules.close_after_ms
    return activity._replace(
        since=max(activity.since, epoch - N_EPOCHS),
        epoch=epoch,
        last_ms=end_ms,
        quiet_ms=None,
        n_quiet=0,
        n_anomalous=activity.n_anomalous + 1,
        n_bursts=activity.n_bursts + is_burst,
    )


def on_normal(activity: KeyActivity, window: ScoredWindow, rules: AlertRules) -> KeyActivity | None:
    """Take in a window that is not anomalous; return None where the key has come to rest."""
    end_ms, quiet_ms = window.end_ms, activity.quiet_ms
    n_quiet = min(activity.n_quiet + 1, rules.open_within)
    if quiet_ms is None and end_ms - activity.last_ms >= max(
        rules.close_after_ms, rules.flood_window_ms
    ):
        quiet_ms = end_ms
    is_over = quiet_ms is not None and end_ms - quiet_ms >= rules.cooldown_ms
    if is_over and n_quiet >= rules.open_within - 1:
        return None
    return activity._replace(quiet_ms=quiet_ms, n_quiet=n_quiet)
