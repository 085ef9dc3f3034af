"""Whether a key is active (open alert, cooldown or flood window) and how far back that reaches.

Pure. A key is active from an anomalous window until every effect of that window has ended: its
alert, the counting of alerts towards a flood, and the cooldown. Event time is divided into epochs
of `AlertRules.epoch_ms`. The alerts of a key that stays active are reset at the first anomalous
window of an epoch, once the activity reaches back `N_EPOCHS` epochs:

    epoch           0         1         2         3         4
    anomalous     x x x x   x x x x   x x x x   x x x x   x x
    reset                             ^         ^         ^

After a reset, alerts owe nothing to the time before it, so they follow from a bounded past whatever
a key does, and can be restored by replaying that past.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow

N_EPOCHS = 2
"""A key may be active in so many epochs before its alerts are reset. With 1, a key that is
anomalous for a moment at the turn of an epoch would be reset."""


class KeyActivity(NamedTuple):
    """The activity of one key since it became active or was reset; it holds no alerts.

    Parameters
    ----------
    since
        Epoch in which the key became active, or `N_EPOCHS` before `epoch` where that is later.
    since_ms
        End of the first window that the counts below include.
    epoch, last_ms
        Epoch and end of the last anomalous window.
    quiet_ms
        End of the first window by which every alert must have closed; None before that.
    n_quiet
        Windows since the last anomalous one, at most `open_within`.
    n_anomalous
        Anomalous windows.
    n_bursts
        How often an anomalous window followed `close_after_ms` without one, the first included.
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
        """Return whether the key's alerts are reset at an anomalous window."""
        epoch = window.end_ms // rules.epoch_ms
        return epoch > self.epoch and epoch - self.since >= N_EPOCHS

    def is_flood(self, rules: AlertRules) -> bool:
        """Return whether bursts occurred faster than alerts may open."""
        for_ms = max(self.last_ms - self.since_ms, rules.flood_window_ms)
        return self.n_bursts * rules.flood_window_ms > rules.flood_alerts_max * for_ms

    def reset(self) -> "KeyActivity":
        """Return the activity with only the last window counted."""
        return self._replace(since_ms=self.last_ms, n_anomalous=1, n_bursts=1)


def on_anomalous(
    activity: KeyActivity | None, window: ScoredWindow, rules: AlertRules
) -> KeyActivity:
    """Return the activity of a key after an anomalous window."""
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


def on_normal(
    activity: KeyActivity, ends_ms: Sequence[int], rules: AlertRules
) -> KeyActivity | None:
    """Return the activity after some normal windows; None where the key is no longer active."""
    end_ms, quiet_ms = ends_ms[-1], activity.quiet_ms
    n_quiet = min(activity.n_quiet + len(ends_ms), rules.open_within)
    quiet_from_ms = activity.last_ms + max(rules.close_after_ms, rules.flood_window_ms)
    if quiet_ms is None and end_ms >= quiet_from_ms:
        quiet_ms = ends_ms[bisect_left(ends_ms, quiet_from_ms)]
    is_over = quiet_ms is not None and end_ms - quiet_ms >= rules.cooldown_ms
    if is_over and n_quiet >= rules.open_within - 1:
        return None
    return activity._replace(quiet_ms=quiet_ms, n_quiet=n_quiet)
