"""From where the state of samples can be restored, and what to do at both ends of that.

Pure. A partition's records are divided into generations. A new one begins once every key had, in
the present one, as much of its past as its windows can need. So whoever reads from the beginning
of the generation before last knows every key as it is: the first generation read makes each key's
newest time right, and after that nothing depends on what was not read. Restless keys hold on to
the generation in which they became so, and windows are judged from there.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from stream_detector.core.alerting.lifecycle import SeriesAlerts
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.core.state.sample_state import RestoreHold, RestorePoint, SampleState
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.errors import StateError

RESTARTS_KEPT = 5
"""How often the alerts of a restless key must have begun anew after a place from which they can be
restored: twice until the first time that counts for a reader who begins there, once more until the
same alert is open for both, and once until it links to the same one before."""


class Needed(NamedTuple):
    """How much of a key's past is needed, in event time: for windows, and of gaps for alerts."""

    windows_ms: float
    gaps_ms: float


def open_partition(state: SampleState, partition: int, first: RestorePoint) -> SampleState:
    """Begin to read a partition of which nothing is remembered."""
    keyed_state = state.windows.apply_delta()
    if first.stream_time_ms > -math.inf:
        keyed_state.stream_times_ms[partition] = first.stream_time_ms
    return replace(state, restore_points={**state.restore_points, partition: (first,)})


def drop_partitions(state: SampleState, partitions: Sequence[int]) -> SampleState:
    """Drop everything of partitions that are read elsewhere now."""
    numbers = state.windows.apply_delta().partitions
    known = {*state.alerts, *state.gaps, *state.holds}
    gone = {slot for slot in known if numbers[slot] in partitions}
    return SampleState(
        state.windows.drop_partitions(partitions),
        {slot: each for slot, each in state.alerts.items() if slot not in gone},
        {slot: each for slot, each in state.gaps.items() if slot not in gone},
        {slot: each for slot, each in state.holds.items() if slot not in gone},
        {each: some for each, some in state.restore_points.items() if each not in partitions},
    )


def start_scoring(state: SampleState, partition: int, restore_plan: RestorePlan) -> SampleState:
    """Take down that reading the past has come to `RestorePlan.score_from_offset`."""
    keyed_state = state.windows.apply_delta()
    if restore_plan.has_active_keys:
        keyed_state.interrupt(partition)
    return _with_restore_point(state, keyed_state, partition, restore_plan.score_from_offset)


def finish_restore(
    state: SampleState, partition: int, offset: int, restore_plan: RestorePlan, needed: Needed
) -> SampleState:
    """Go live where the reading of the past ends; raises as `Detector.finish_restore` says."""
    keyed_state = state.windows.apply_delta()
    state = replace(state, gaps=_recent(state, keyed_state, needed.gaps_ms))
    state = _with_restore_point(state, keyed_state, partition, offset)
    hold = (restore_plan.score_from_offset,)
    holds = {
        slot: RestoreHold(_since_ms(state.alerts.get(slot)), hold)
        for slot in _slots_of(state, keyed_state, partition)
    }
    digest = _digest(state, keyed_state, partition)
    if digest != restore_plan.digest:
        message = (
            f"partition {partition}: the keyed state at offset {offset}, replayed from "
            f"{restore_plan.offset}, differs from the state when the offset was committed: "
            f"expected digest {restore_plan.digest}, received {digest}; nothing was published. "
            "The records between may have changed, or the program: reset the group's offsets, or "
            "use another group, to start without keyed state"
        )
        raise StateError(message)
    return replace(state, holds={**state.holds, **holds})


def restore_plans(
    state: SampleState, next_offsets: Mapping[int, int], needed: Needed
) -> tuple[SampleState, dict[int, RestorePlan]]:
    """Say from where each partition can be restored, as `Detector.restore_plans` does."""
    keyed_state = state.windows.apply_delta()
    state = replace(state, gaps=_recent(state, keyed_state, needed.gaps_ms))
    state = replace(state, holds=_holds(state, keyed_state))
    found = {}
    for partition, offset in next_offsets.items():
        held = [state.holds[slot].offsets[0] for slot in _slots_of(state, keyed_state, partition)]
        known = state.restore_points[partition]
        judge = min([_before_last(known).offset, *held])
        at = max(0, [each.offset for each in known].index(judge) - 1)
        first = known[at]
        found[partition] = RestorePlan(
            first.offset,
            first.stream_time_ms,
            judge,
            bool(held),
            _digest(state, keyed_state, partition),
        )
        state = replace(state, restore_points={**state.restore_points, partition: known[at:]})
        if keyed_state.has_all(partition, needed.windows_ms):
            state = _with_restore_point(state, keyed_state, partition, offset)
    return state, found


def _with_restore_point(
    state: SampleState, keyed_state: KeyedState, partition: int, offset: int
) -> SampleState:
    """Begin a generation at an offset that lies behind the beginning of the present one."""
    known = state.restore_points[partition]
    if offset <= known[-1].offset:
        return state
    keyed_state.begin_restore_point(partition)
    fresh = RestorePoint(offset, keyed_state.stream_times_ms.get(partition, -math.inf))
    return replace(state, restore_points={**state.restore_points, partition: (*known, fresh)})


def _before_last(restore_points: Sequence[RestorePoint]) -> RestorePoint:
    """Return the last generation but one, the only one where there is no other."""
    return restore_points[max(0, len(restore_points) - 2)]


def _holds(state: SampleState, keyed_state: KeyedState) -> dict[int, RestoreHold]:
    """Return how far back to read for each restless key."""
    holds = {}
    for slot in {*state.alerts, *state.gaps}:
        since_ms = _since_ms(state.alerts.get(slot))
        hold = state.holds.get(slot)
        if hold is None or hold.since_ms != since_ms:
            here = _before_last(state.restore_points[int(keyed_state.partitions[slot])]).offset
            offsets = (here,) if hold is None else (*hold.offsets, here)
            hold = RestoreHold(since_ms, offsets[-RESTARTS_KEPT:])
        holds[slot] = hold
    return holds


def _since_ms(alerts: SeriesAlerts | None) -> int | None:
    """Return since when the unrest of a key is counted."""
    return None if alerts is None or alerts.activity is None else alerts.activity.since_ms


def _recent(
    state: SampleState, keyed_state: KeyedState, gaps_ms: float
) -> dict[int, tuple[int, ...]]:
    """Return the gaps that an alert can still tell."""
    recent = {}
    for slot, times in state.gaps.items():
        since_ms = float(keyed_state.columns.last_ms[slot]) - gaps_ms
        kept = tuple(each for each in times if each > since_ms)
        if kept:
            recent[slot] = kept
    return recent


def _slots_of(state: SampleState, keyed_state: KeyedState, partition: int) -> list[int]:
    """Return the restless keys of a partition."""
    return [
        slot for slot in {*state.alerts, *state.gaps} if keyed_state.partitions[slot] == partition
    ]


def _digest(state: SampleState, keyed_state: KeyedState, partition: int) -> str:
    """Return 16 hexadecimal digits that change with anything remembered of a partition."""
    restless = sorted(
        (keyed_state.keys[slot] or b"", _facts(state.alerts.get(slot)), state.gaps.get(slot, ()))
        for slot in _slots_of(state, keyed_state, partition)
    )
    known = (keyed_state.sum_of(partition), keyed_state.stream_times_ms.get(partition), restless)
    return hashlib.blake2b(repr(known).encode(), digest_size=8).hexdigest()


def _facts(alerts: SeriesAlerts | None) -> str:
    """Return what is remembered of a key's alerts, as text; all else follows from it."""
    if alerts is None:
        return ""
    opened = alerts.open
    if alerts.flood is not None:
        opened = alerts.flood.summary
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
    life = (alerts.history, alerts.closed_ms, alerts.opens_ms, tuple(alerts.activity or ()))
    return repr((counts, flood, life))
