"""The state between batches of samples: windows, alerts, gaps, and from where it can be restored.

Pure values; `stream_detector.core.sample_detector` steps from one to the next.

A partition's records are divided by *restore points*. A new one is set once every key has had,
since the last one, as much event time as its incomplete windows can need. Replaying from the last
restore point but one therefore rebuilds every key: records up to the last one make each key's
clock right, and after that nothing depends on what was not replayed. (Whether a key's clock is
right is not guessed: the clock of a reader who starts at the restore point is followed beside the
key's own, see `stream_detector.core.windowing.clock_filter`.) An active key (one with
an alert, or with a recent gap) holds on to the restore point at which it became active, and windows
are scored again from there:

    restore points      0 ........ 100 ........ 200 ........ 300 ...... | committed 340
    no active key                               ^ replay from 200       |
    active since 150    ^ replay from 0  ^ score from 100               |
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.incidents import Begun
from stream_detector.core.alerting.lifecycle import SeriesAlerts
from stream_detector.core.state.detector_state import (
    StateCounts,
    with_incidents,
    without_incidents,
)
from stream_detector.core.state.new_keys import NO_PLACES, NewKeys, Places, hold_scales
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.core.windowing.keyed_state import FREE, Jump, KeyedState
from stream_detector.core.windowing.missing_features import n_missing, needed_since_ms
from stream_detector.core.windowing.silences import silent_keys
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.errors import StateError

RESTARTS_KEPT = 5
"""How often the alerts of an active key must have been reset after a place from which they can be
restored: twice until the first reset that a reader who starts there sees, twice more until the same
alert is open for both, and once until it links to the same one before."""


NO_DIGEST = ""
"""Digest of a state that a replay cannot be held to: among the records to replay are some that were
refused because a partition had as many keys as it may have. Which keys had state before them is
known only to who was there, so the keys that come first in the replay are admitted instead."""


class NoDataTimes(NamedTuple):
    """After how long data is missed, and for how long its last value counts."""

    after_ms: float
    key_ttl_ms: float


class Needed(NamedTuple):
    """How much of a key's past is needed, in event time: for windows, and for gaps in alerts.

    And for alerts about missing data, where there are any.
    """

    windows_ms: float
    gaps_ms: float
    no_data: NoDataTimes | None = None


class RestorePoint(NamedTuple):
    """A place in a partition from which keyed state can be rebuilt.

    Every key that had state when the next restore point was set had, since this one, so many
    samples that its incomplete windows began after this one.

    Parameters
    ----------
    offset
        Its first record.
    stream_time_ms
        The partition's stream time before that record, -inf where it had none.
    jump
        What was about to advance it.
    places
        The new keys that had a place.
    """

    offset: int
    stream_time_ms: float
    jump: Jump | None = None
    places: Places = NO_PLACES


class RestoreHold(NamedTuple):
    """How far back one must replay for the alerts and gaps of one active key.

    Parameters
    ----------
    since_ms
        Since when the key's activity is counted, which shows a reset; None where there are only
        gaps.
    offsets
        Restore points: when the key became active, and at each reset of its alerts after that; or
        at each of its gaps, where there are only gaps. The first one counts.
    gaps_ms
        Those gaps, where there are only gaps and all their restore points are known.
    """

    since_ms: int | None
    offsets: tuple[int, ...]
    gaps_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleState:
    """The state between two batches of samples; see `DetectorState` for its methods.

    Parameters
    ----------
    windows
        Cells of incomplete windows.
    needed
        How much of a key's past is needed.
    alerts, gaps, holds
        By slot, of active keys only: the key's alerts, when it restarted after a gap, and what of
        the past these need.
    restore_points
        Of each partition, the oldest that is needed first.
    refused_at
        Of each partition, the offset of the last record that was refused because its key was one
        too many.
    new_keys
        Scales of keys that training did not know.
    incidents
        When the last incidents of each partition began.
    """

    windows: WindowState
    needed: Needed
    alerts: Mapping[int, SeriesAlerts] = field(default_factory=dict)
    gaps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    holds: Mapping[int, RestoreHold] = field(default_factory=dict)
    restore_points: Mapping[int, tuple[RestorePoint, ...]] = field(default_factory=dict)
    refused_at: Mapping[int, int] = field(default_factory=dict)
    new_keys: NewKeys = field(default_factory=NewKeys)
    incidents: Begun = field(default_factory=dict)

    def open_partition(
        self, partition: int, offset: int, restore_plan: RestorePlan | None = None
    ) -> "SampleState":
        """Start to read a partition that has no state."""
        plan = restore_plan or RestorePlan.nothing(offset)
        keyed_state = self.windows.apply_delta()
        if plan.stream_time_ms > -math.inf:
            keyed_state.stream_times_ms[partition] = plan.stream_time_ms
            keyed_state.set_jump(partition, plan.jump)
        new_keys, places = self.new_keys, NO_PLACES
        if plan.scales:
            places = Places.decode(plan.scales, keyed_state.rows.shape[2])
            new_keys = replace(new_keys, places={**new_keys.places, partition: places})
        first = RestorePoint(offset, plan.stream_time_ms, plan.jump, places)
        points = {**self.restore_points, partition: (first,)}
        incidents = self.incidents
        if restore_plan is not None:
            incidents = with_incidents(incidents, partition, plan.incidents)
        return replace(self, restore_points=points, new_keys=new_keys, incidents=incidents)

    def start_scoring(self, partition: int, restore_plan: RestorePlan) -> "SampleState":
        """Note that the replay has reached `RestorePlan.score_from_offset`."""
        keyed_state = self.windows.apply_delta()
        if restore_plan.has_active_keys:
            keyed_state.drop_windows(partition)
        return _set_restore_point(self, keyed_state, partition, restore_plan.score_from_offset)

    def finish_restore(
        self, partition: int, offset: int, restore_plan: RestorePlan
    ) -> "SampleState":
        """Go live where the replay ends; raises as `DetectorState.finish_restore` says."""
        keyed_state = self.windows.apply_delta()
        state = replace(self, gaps=self._recent_gaps(keyed_state))
        state = _set_restore_point(state, keyed_state, partition, offset)
        digest = _digest(state, keyed_state, partition)
        if restore_plan.digest not in (digest, NO_DIGEST):
            message = (
                f"partition {partition}: the keyed state at offset {offset}, replayed from "
                f"{restore_plan.offset}, differs from the state when the offset was committed: "
                f"expected digest {restore_plan.digest}, received {digest}; nothing was published. "
                "The records between may have changed, or the program: reset the group's offsets, "
                "or use another group, to start without keyed state"
            )
            raise StateError(message)
        hold = (restore_plan.score_from_offset,)
        holds = {
            slot: RestoreHold(_since_ms(state.alerts.get(slot)), hold)
            for slot in _active_slots(state, keyed_state, partition)
        }
        oldest = state.restore_points[partition][0].places
        numbers, hold_at = keyed_state.partitions, restore_plan.score_from_offset
        new_keys = hold_scales(state.new_keys, partition, numbers, oldest, hold_at)
        # What opened in the replay has joined others than it did when it was published.
        incidents = with_incidents(state.incidents, partition, restore_plan.incidents)
        holds = {**state.holds, **holds}
        return replace(state, holds=holds, new_keys=new_keys, incidents=incidents)

    def drop_partitions(self, partitions: Sequence[int]) -> "SampleState":
        """Drop the state of partitions that another member reads now."""
        numbers = self.windows.apply_delta().partitions
        known = {*self.alerts, *self.gaps, *self.holds}
        gone = {slot for slot in known if numbers[slot] in partitions}
        new_keys = self.new_keys.drop_partitions(partitions, numbers)
        return replace(
            self,
            new_keys=new_keys,
            incidents=without_incidents(self.incidents, partitions),
            windows=self.windows.drop_partitions(partitions),
            alerts={slot: each for slot, each in self.alerts.items() if slot not in gone},
            gaps={slot: each for slot, each in self.gaps.items() if slot not in gone},
            holds={slot: each for slot, each in self.holds.items() if slot not in gone},
            restore_points={
                each: points
                for each, points in self.restore_points.items()
                if each not in partitions
            },
            refused_at={
                each: offset for each, offset in self.refused_at.items() if each not in partitions
            },
        )

    def restore_plans(
        self, next_offsets: Mapping[int, int]
    ) -> tuple["SampleState", dict[int, RestorePlan]]:
        """Say from where each partition can be restored; see `DetectorState.restore_plans`."""
        keyed_state = self.windows.apply_delta()
        state = replace(self, gaps=self._recent_gaps(keyed_state))
        state = replace(state, holds=_holds(state, keyed_state))
        without_data = _n_without_data(state, keyed_state)  # (n_slots,)
        plans = {}
        for partition, offset in next_offsets.items():
            active = _active_slots(state, keyed_state, partition)
            held = [state.holds[slot].offsets[0] for slot in active]
            points = state.restore_points[partition]
            score_from = min([_before_last(points).offset, *held])
            if self.needed.no_data is not None:
                since_ms = needed_since_ms(keyed_state, partition, self.needed.no_data.key_ttl_ms)
                score_from = min(score_from, _last_before(points, since_ms).offset)
            numbers, here = keyed_state.partitions, _before_last(points).offset
            new_keys = hold_scales(state.new_keys, partition, numbers, points[0].places, here)
            score_from, at = _back_to_scales(points, new_keys, partition, score_from)
            begin = points[at]
            is_exact = state.refused_at.get(partition, -1) < begin.offset
            digest = _digest(state, keyed_state, partition) if is_exact else NO_DIGEST
            n_open = _n_open(state, active)
            n_open += int(without_data[keyed_state.partitions == partition].sum())
            plans[partition] = RestorePlan(
                offset=begin.offset,
                stream_time_ms=begin.stream_time_ms,
                score_from_offset=score_from,
                has_active_keys=bool(held),
                digest=digest,
                n_open_alerts=n_open,
                jump=begin.jump,
                scales=begin.places.text,
                incidents=self.incidents.get(partition, ()),
            )
            kept = {**state.restore_points, partition: points[at:]}
            state = replace(state, restore_points=kept, new_keys=new_keys)
            if keyed_state.has_history(partition, self.needed.windows_ms):
                state = _set_restore_point(state, keyed_state, partition, offset)
        return state, plans

    def counts(self) -> StateCounts:
        """Return how many keys there are now, and how many alerts are open."""
        keyed_state = self.windows.apply_delta()
        n_open, n_silent = _n_open(self, self.alerts), 0
        if self.needed.no_data is not None:
            is_used = keyed_state.partitions != FREE  # (n_slots,)
            n_open += int(_n_without_data(self, keyed_state)[is_used].sum())
            n_silent = int(silent_keys(keyed_state, self.needed.no_data.after_ms).sum())
        return StateCounts(keyed_state.n_keys, n_silent, n_open)

    def _recent_gaps(self, keyed_state: KeyedState) -> dict[int, tuple[int, ...]]:
        """Return the gaps that an alert may still report."""
        recent = {}
        for slot, times in self.gaps.items():
            since_ms = float(keyed_state.columns.last_ms[slot]) - self.needed.gaps_ms
            kept = tuple(each for each in times if each > since_ms)
            if kept:
                recent[slot] = kept
        return recent


def _set_restore_point(
    state: SampleState, keyed_state: KeyedState, partition: int, offset: int
) -> SampleState:
    """Set a restore point at an offset behind the newest one."""
    points = state.restore_points[partition]
    if offset <= points[-1].offset:
        return state
    keyed_state.begin_restore_point(partition)
    stream_time_ms = keyed_state.stream_times_ms.get(partition, -math.inf)
    places = state.new_keys.places_of(partition)
    fresh = RestorePoint(offset, stream_time_ms, keyed_state.jumps.get(partition), places)
    return replace(state, restore_points={**state.restore_points, partition: (*points, fresh)})


def _before_last(restore_points: Sequence[RestorePoint]) -> RestorePoint:
    """Return the last restore point but one, the only one where there is no other."""
    return restore_points[max(0, len(restore_points) - 2)]


def _back_to_scales(
    points: Sequence[RestorePoint], new_keys: NewKeys, partition: int, score_from: int
) -> tuple[int, int]:
    """Return from where to score so that the scales of all new keys can be restored.

    Replay begins one restore point before. The scale of a new key has to be known there already, or
    the key's warm-up has to come after it.

    Parameters
    ----------
    points
        Restore points of the partition.
    new_keys
        Gives the restore point that each key without a known scale needs.
    partition
        Which one.
    score_from
        From where to score for all else.

    Returns
    -------
    The offset from which to score, and the number of the restore point before it.
    """
    offsets, holds = [each.offset for each in points], new_keys.holds.get(partition, {})
    while True:
        at = max(0, offsets.index(score_from) - 1)
        known = points[at].places.scales
        needed = [each.offset for name, each in holds.items() if known.get(name) is None]
        if min(needed, default=score_from) >= score_from:
            return score_from, at
        score_from = min(needed)


def _n_without_data(state: SampleState, keyed_state: KeyedState) -> NDArray[np.intp]:
    """Return how many alerts about missing data the key in each slot has open, (n_slots,)."""
    no_data = state.needed.no_data
    if no_data is None:
        return np.zeros(keyed_state.partitions.shape, dtype=np.intp)
    return n_missing(keyed_state, *no_data) + silent_keys(keyed_state, no_data.after_ms)


def _last_before(restore_points: Sequence[RestorePoint], time_ms: float) -> RestorePoint:
    """Return the last restore point before a stream time, the first one where there is none."""
    before = [each for each in restore_points if each.stream_time_ms < time_ms]
    return before[-1] if before else restore_points[0]


def _holds(state: SampleState, keyed_state: KeyedState) -> dict[int, RestoreHold]:
    """Return how far back to replay for each active key."""
    holds = {}
    for slot in {*state.alerts, *state.gaps}:
        since_ms = _since_ms(state.alerts.get(slot))
        hold = state.holds.get(slot)
        here = _before_last(state.restore_points[int(keyed_state.partitions[slot])]).offset
        if slot not in state.alerts:
            hold = _hold_of_gaps(hold, state.gaps[slot], here)
        elif hold is None or hold.since_ms != since_ms:
            offsets = (here,) if hold is None else (*hold.offsets, here)
            hold = RestoreHold(since_ms, offsets[-RESTARTS_KEPT:])
        holds[slot] = hold
    return holds


def _hold_of_gaps(hold: RestoreHold | None, gaps_ms: tuple[int, ...], here: int) -> RestoreHold:
    """Return how far back to replay for a key that has gaps and no alerts.

    Each gap needs the restore point of its time, so that a key with one gap after the other does
    not hold on to that of the first for ever.
    """
    known = {} if hold is None else dict(zip(hold.gaps_ms, hold.offsets, strict=False))
    other = here if hold is None or hold.gaps_ms else hold.offsets[0]
    return RestoreHold(None, tuple(known.get(each, other) for each in gaps_ms), gaps_ms)


def _n_open(state: SampleState, slots: Iterable[int]) -> int:
    """Return how many of these keys have an alert that readers see as open."""
    alerts = (state.alerts.get(slot) for slot in slots)
    return sum(each is not None and each.published is not None for each in alerts)


def _since_ms(alerts: SeriesAlerts | None) -> int | None:
    """Return since when the activity of a key is counted."""
    return None if alerts is None or alerts.activity is None else alerts.activity.since_ms


def _active_slots(state: SampleState, keyed_state: KeyedState, partition: int) -> list[int]:
    """Return the active keys of a partition."""
    return [
        slot for slot in {*state.alerts, *state.gaps} if keyed_state.partitions[slot] == partition
    ]


def _digest(state: SampleState, keyed_state: KeyedState, partition: int) -> str:
    """Return 16 hexadecimal digits that change with any state of a partition."""
    active = sorted(
        (keyed_state.keys[slot] or b"", _facts(state.alerts.get(slot)), state.gaps.get(slot, ()))
        for slot in _active_slots(state, keyed_state, partition)
    )
    stream_time_ms = keyed_state.stream_times_ms.get(partition)
    known: tuple[object, ...] = (keyed_state.digest_of(partition), stream_time_ms, active)
    if partition in keyed_state.jumps:
        known = (*known, tuple(keyed_state.jumps[partition]))
    known = (*known, *state.new_keys.facts_of(partition, keyed_state.partitions))
    return hashlib.blake2b(repr(known).encode(), digest_size=8).hexdigest()


def _facts(alerts: SeriesAlerts | None) -> str:
    """Return the state of a key's alerts as text; all else about them follows from it."""
    if alerts is None:
        return ""
    opened = alerts.published
    counts = opened and (
        opened.alert.alert_id,
        opened.alert.event_number,
        opened.alert.event_time_ms,
        opened.alert.anomaly_score,
        opened.alert.continues_alert_id,
        opened.n_windows,
        opened.n_anomalous,
        opened.n_alerts,
        opened.last_anomalous_ms,
    )
    flood = alerts.flood and (
        alerts.flood.continues_alert_id,
        alerts.flood.opened_ms,
        alerts.flood.suppressed,
    )
    rest = (alerts.history, alerts.closed_ms, alerts.opens_ms, tuple(alerts.activity or ()))
    return repr((counts, flood, rest))
