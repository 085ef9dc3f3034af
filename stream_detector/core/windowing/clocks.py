"""The clock of each key: which samples are of its time, and where its clock was set.

Pure. One wrong clock must cost its own key `gap_ms_max` at most. So a key's newest time moves
freely only within its *reach*: from `allowed_lateness_ms` before it to `gap_ms_max` after it. A
sample further ahead is held, and one further behind is late, until the samples after it show what
they were:

| What comes next | The held sample | The next one |
| --- | --- | --- |
| a sample within reach of the held one | is used, after a gap | is used |
| a sample further ahead than that | is used, after a gap | is held |
| a sample within reach of the newest | is an outlier: dropped | is used |
| a sample between the two | is an outlier: dropped | is held |
| a late sample, at most `gap_ms_max` out of reach | stays held | is late |
| a late sample that is further behind | is an outlier: dropped | is late |

Late samples that are more than `gap_ms_max` out of reach, and in order among themselves, are a
clock that was set back. The series starts over there with the sample at which they span
`gap_ms_max`; those before it were late. A sample of the old series, or one at a third place, ends
such a run. A sample that is late by less needs no such rule: time catches up within `gap_ms_max`.

The first sample of a key may be the wrong one. If the second is out of its reach, the one that is
nearer to the stream time of the partition is kept.

One key, a sample every 10 ms, `gap_ms_max` 40, `allowed_lateness_ms` 0::

    samples at              newest   what becomes of them
    0 10 20                 20       used
    5000                    20       held
    30 40                   40       used; 5000 is an outlier
    200                     40       held
    210                     210      200 is used and starts a new segment, 210 follows it
    220                     220      used
    10 20 30 40             220      late: they span 30 ms
    50                      50       used: with the interval, the clock set back spans 50 ms
    60                      60       used

Samples of one record confirm each other as those of several do: how samples are divided into
records decides nothing. So a whole record with a wrong time is taken for a jump, and the next
samples for a clock that was set back.
"""

from math import inf, nan
from typing import Literal, NamedTuple

from stream_detector.core.windowing.rules import WindowRules

Verdict = Literal["used", "late", "held", "confirming", "leading", "set"]
"""What becomes of a sample. `confirming`: it is used, and so is the held one before it. `leading`:
it is held, and the held one before it is used. `set`: it is used, and the series starts over."""


class Clock(NamedTuple):
    """The times of one key that decide on its next sample.

    Parameters
    ----------
    newest_ms
        Newest time of the key, -inf before its first sample.
    from_ms, other_ms
        Earliest and newest time of what is out of reach: the held sample if `other_ms` is after
        `newest_ms`, late samples if it is before, NaN if there is nothing. Where both times are
        `newest_ms`, no sample has confirmed that one yet.
    """

    newest_ms: float = -inf
    from_ms: float = nan
    other_ms: float = nan

    @property
    def is_holding(self) -> bool:
        """Whether a sample is held."""
        return self.other_ms > self.newest_ms

    @property
    def is_unconfirmed(self) -> bool:
        """Whether no sample has been within reach of the key's first one."""
        return self.other_ms == self.newest_ms

    def equals(self, other: "Clock") -> bool:
        """Return whether both decide alike; NaN equals NaN."""
        return repr(self) == repr(other)


FRESH = Clock()
"""The clock of a key that has sent nothing yet."""


def advance_clock(
    clock: Clock, time_ms: float, stream_time_ms: float, rules: WindowRules
) -> tuple[Clock, Verdict]:
    """Return what becomes of the next sample of a key, and the key's clock after it.

    Parameters
    ----------
    clock
        Before the sample.
    time_ms
        Time of the sample.
    stream_time_ms
        Stream time of the partition after the sample's record.
    rules
        Lateness, longest gap and interval.
    """
    newest_ms, lateness_ms = clock.newest_ms, rules.allowed_lateness_ms
    if newest_ms == -inf:
        return Clock(time_ms, time_ms, time_ms), "used"
    is_in_reach = newest_ms - lateness_ms <= time_ms <= newest_ms + rules.gap_ms_max
    is_nearer = abs(time_ms - stream_time_ms) < abs(newest_ms - stream_time_ms)
    if clock.is_unconfirmed and is_nearer and not is_in_reach:
        return Clock(time_ms, time_ms, time_ms), "used" if time_ms > newest_ms else "set"
    if clock.is_unconfirmed:
        clock = Clock(newest_ms)
    held_ms = clock.other_ms
    if clock.is_holding and held_ms - lateness_ms <= time_ms <= held_ms + rules.gap_ms_max:
        return Clock(max(held_ms, time_ms)), "confirming"
    if is_in_reach:
        return Clock(max(newest_ms, time_ms)), "used"
    if time_ms < newest_ms:
        return _advance_late(clock, time_ms, rules)
    is_leading = clock.is_holding and time_ms > held_ms
    newest_ms = held_ms if is_leading else newest_ms
    return Clock(newest_ms, time_ms, time_ms), "leading" if is_leading else "held"


def _advance_late(clock: Clock, time_ms: float, rules: WindowRules) -> tuple[Clock, Verdict]:
    """Return what becomes of a late sample, and the key's clock after it."""
    newest_ms, from_ms, other_ms = clock
    lateness_ms, gap_ms = rules.allowed_lateness_ms, rules.gap_ms_max
    has_run = other_ms < newest_ms
    if has_run and time_ms >= other_ms - lateness_ms:
        other_ms = max(other_ms, time_ms)
        if other_ms - from_ms + rules.sample_interval_ms > gap_ms:
            return Clock(time_ms), "set"
        return Clock(newest_ms, from_ms, other_ms), "late"
    is_near_run = has_run and time_ms >= other_ms - lateness_ms - gap_ms
    if is_near_run or time_ms >= newest_ms - lateness_ms - gap_ms:
        return clock, "late"
    return Clock(newest_ms, time_ms, time_ms), "late"
