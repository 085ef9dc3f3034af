"""The samples of keys whose clock needs a closer look, one by one, and what became of them all.

Pure. `clock_filter` finds those keys. Where a clock was set back, the records of a key are divided
into one more session: its state begins afresh, and what waited in the reorder buffer is dropped, as
when a key has expired.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import Indices, is_group_end, is_group_start
from stream_detector.core.windowing.clocks import FRESH, Clock, Verdict, advance_clock
from stream_detector.core.windowing.key_columns import KeyColumns
from stream_detector.core.windowing.keyed_state import KeyedState, ReorderBuffer
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import KeySessions

NO_RECORD = -1
"""Record of an outlier, which may have come long before it was found to be one."""


NO_ROW = -1
"""Row of the held sample where none is held."""

_CONFIRMS = {"confirming", "leading"}
_HOLDS = {"held", "leading"}


class Arrived(NamedTuple):
    """Samples by session, and those of a session as they arrived; columns of shape (n_samples,).

    Parameters
    ----------
    session_of, times_ms
        Session and time of each sample.
    rows
        Its row in the values.
    records
        The record that brought it, or that confirmed it where it was held.
    """

    session_of: Indices
    times_ms: NDArray[np.float64]
    rows: Indices
    records: Indices

    def where(self, mask: NDArray[np.bool_] | Indices) -> "Arrived":
        """Return some of the samples."""
        return Arrived(
            self.session_of[mask], self.times_ms[mask], self.rows[mask], self.records[mask]
        )


class ClockEvent(NamedTuple):
    """A late sample, an outlier, or a clock that was set back.

    Parameters
    ----------
    slot
        Slot of the key.
    record
        The late one's record, or the one at which the clock was set; `NO_RECORD` for an outlier.
    time_ms
        Time of the sample: of the late one, the outlier, or the first after the clock was set.
    newest_ms
        Newest time of the key before it.
    """

    slot: int
    record: int
    time_ms: float
    newest_ms: float


@dataclass(frozen=True, slots=True)
class Followed:
    """The samples of a batch that are of their key's time, and what became of the others.

    Parameters
    ----------
    sessions
        Sessions of the batch; where a clock was set, another one begins.
    used
        Samples that are used; they may still repeat others.
    values
        Values of all samples of the batch, and of those held before it, shape (n_values,
        n_features).
    n_late, n_held
        Samples of each record that were late, or held at first, shape (n_records,).
    late
        The first late sample of each record that has one, by record.
    outliers, clock_sets
        Held samples that were dropped, and clocks that were set back.
    held
        Samples that are held after the batch; None where they are those held before it.
    """

    sessions: KeySessions
    used: Arrived
    values: FloatArray
    n_late: Indices
    n_held: Indices
    late: list[ClockEvent]
    outliers: list[ClockEvent]
    clock_sets: list[ClockEvent]
    held: ReorderBuffer | None

    def without_expired(self, slots: Indices, keyed_state: KeyedState) -> "Followed":
        """Return the same without samples held for keys that have expired; they are outliers.

        Parameters
        ----------
        slots
            Slots whose state is dropped after the batch.
        keyed_state
            State before the batch.
        """
        held = keyed_state.held if self.held is None else self.held
        is_dropped = np.isin(held.slots, slots)  # (n_held,)
        if not is_dropped.any():
            return self
        newest_ms = keyed_state.columns.newest_ms.copy()  # (n_slots,)
        newest_ms[self.sessions.slots] = self.sessions.after.newest_ms
        dropped = zip(held.slots[is_dropped].tolist(), held.times_ms[is_dropped], strict=True)
        outliers = [
            ClockEvent(slot, NO_RECORD, float(time_ms), float(newest_ms[slot]))
            for slot, time_ms in dropped
        ]
        return replace(self, held=held.without(slots), outliers=[*self.outliers, *outliers])


class OneByOne:
    """Follows clocks sample by sample, and collects what becomes of the samples.

    Parameters
    ----------
    arrived, sessions
        Samples of the batch.
    keyed_state
        Has the samples that were held before the batch.
    stream_time_ms
        Stream time after each record.
    n_samples
        Samples of the batch; rows beyond are those of samples held before.
    rules
        Lateness, longest gap and interval.
    """

    def __init__(
        self,
        arrived: Arrived,
        sessions: KeySessions,
        keyed_state: KeyedState,
        stream_time_ms: NDArray[np.float64],
        n_samples: int,
        rules: WindowRules,
    ) -> None:
        self._arrived = arrived
        self._sessions = sessions
        self._before = keyed_state.held
        self._newest_before = keyed_state.columns.newest_ms
        self._stream_time_ms = stream_time_ms
        self._n_samples = n_samples
        self._rules = rules
        self._used: list[tuple[int, int, float, int, int]] = []  # session, part, and of the sample
        self._late: list[ClockEvent] = []
        self._held_by: list[int] = []
        self._outliers: list[ClockEvent] = []
        self._sets: list[ClockEvent] = []
        self._parts: list[tuple[int, float]] = []  # sessions whose clock was set, newest before
        self._part_of: dict[int, int] = {}  # of records
        self._held: dict[int, int] = {}  # rows, by session

    def note_late(self, at: int, newest_ms: float) -> None:
        """Note a late sample of a session that is not followed here."""
        slot, record = self._slot(int(self._arrived.session_of[at])), int(self._arrived.records[at])
        time_ms = float(self._arrived.times_ms[at])
        self._late.append(ClockEvent(slot, record, time_ms, newest_ms))

    def follow(self, session: int, samples: range) -> None:
        """Follow the key's own clock through the samples of one session."""
        columns, after, slot = self._sessions.columns, self._sessions.after, self._slot(session)
        clock = Clock(*(float(each[session]) for each in columns.clock))
        held, part = NO_ROW, 0
        if clock.is_holding:
            held = self._n_samples + int(np.searchsorted(self._before.slots, slot))
        for time_ms, row, record in self._of(samples):
            before, stream_time_ms = clock, float(self._stream_time_ms[record])
            clock, verdict = advance_clock(clock, time_ms, stream_time_ms, self._rules)
            if before.is_holding and verdict in _CONFIRMS:
                self._used.append((session, part, before.other_ms, held, record))
            elif before.is_holding and clock.other_ms != before.other_ms:
                self._drop(slot, before)
            part += verdict == "set"
            event = ClockEvent(slot, record, time_ms, before.newest_ms)
            if self._note(session, part, verdict, row, event):
                held = row
        for column, value in zip(after.clock, clock, strict=True):
            column[session] = value
        if part and not np.isposinf(after.restored_ms[session]):
            after.restored_ms[session] = -inf  # all that the key has is after the restore point
        if clock.is_holding:
            self._held[session] = held

    def _note(self, session: int, part: int, verdict: Verdict, row: int, event: ClockEvent) -> bool:
        """Note what becomes of a sample; return whether it is held."""
        self._part_of[event.record] = part
        if verdict == "late":
            self._late.append(event)
            return False
        if verdict in _HOLDS:
            self._held_by.append(event.record)
            return True
        if verdict == "set":
            self._sets.append(event)
            self._parts.append((session, event.newest_ms))
        self._used.append((session, part, event.time_ms, row, event.record))
        return False

    def follow_replay(self, session: int, samples: range) -> None:
        """Follow the clock of a reader from the restore point until it equals the key's own."""
        after = self._sessions.after
        if not np.isposinf(after.restored_ms[session]):
            return
        clock = Clock(*(float(each[session]) for each in self._sessions.columns.replay_clock))
        for time_ms, _, record in self._of(samples):
            stream_time_ms = float(self._stream_time_ms[record])
            clock, _ = advance_clock(clock, time_ms, stream_time_ms, self._rules)
        own = Clock(*(float(each[session]) for each in after.clock))
        if clock.equals(own):
            after.restored_ms[session], clock = own.newest_ms, FRESH
        for column, value in zip(after.replay_clock, clock, strict=True):
            column[session] = value

    def finish(self, used: Arrived, values: FloatArray) -> Followed:
        """Return the result, given the samples of the sessions that were not followed here."""
        n_records = len(self._sessions.of_records)
        for session in [each for each in self._held if not self._sessions.is_last[each]]:
            del self._held[session]  # the key has expired within the batch
            clock = Clock(*(float(each[session]) for each in self._sessions.after.clock))
            self._drop(self._slot(session), clock)
        held = None
        if self._held or len(self._before.slots):
            values = np.concatenate([values, self._before.values])  # (n_values, n_features)
            held = self._held_after(values)
        late = sorted(self._late, key=lambda each: each.record)
        n_late = np.bincount([each.record for each in late] or [0], minlength=n_records)
        n_late[0] -= not late
        n_held = np.bincount(self._held_by or [0], minlength=n_records)  # (n_records,)
        n_held[0] -= not self._held_by
        first_late = {each.record: each for each in reversed(late)}
        sessions, used = self._split(used)
        return Followed(
            sessions=sessions,
            used=used,
            values=values,
            n_late=n_late,
            n_held=n_held,
            late=[first_late[record] for record in sorted(first_late)],
            outliers=self._outliers,
            clock_sets=self._sets,
            held=held,
        )

    def _of(self, samples: range) -> Iterator[tuple[float, int, int]]:
        """Return time, row and record of some samples."""
        part = slice(samples.start, samples.stop)
        _, times, rows, records = (column[part].tolist() for column in self._arrived)
        return zip(times, rows, records, strict=True)

    def _slot(self, session: int) -> int:
        return int(self._sessions.slots[session])

    def _drop(self, slot: int, clock: Clock) -> None:
        """Note that the held sample of a clock is an outlier."""
        self._outliers.append(ClockEvent(slot, NO_RECORD, clock.other_ms, clock.newest_ms))

    def _held_after(self, values: FloatArray) -> ReorderBuffer:
        """Return the samples held after the batch; those of expired keys are outliers."""
        sessions, before = self._sessions, self._before
        is_fresh = np.isfinite(sessions.expired_ms)  # (n_sessions,)
        is_dropped = np.isin(before.slots, sessions.slots[is_fresh & sessions.is_first])
        for at in np.flatnonzero(is_dropped).tolist():
            slot = int(before.slots[at])
            newest_ms, time_ms = float(self._newest_before[slot]), float(before.times_ms[at])
            self._outliers.append(ClockEvent(slot, NO_RECORD, time_ms, newest_ms))
        is_kept = ~np.isin(before.slots, sessions.slots)  # (n_before,)
        numbers = np.array(list(self._held), dtype=np.intp)  # (n_new,)
        rows = np.array(list(self._held.values()), dtype=np.intp)  # (n_new,)
        slots = np.concatenate([before.slots[is_kept], sessions.slots[numbers]])
        times = np.concatenate([before.times_ms[is_kept], sessions.after.other_ms[numbers]])
        kept = np.concatenate([before.values[is_kept], values[rows]])
        order = np.argsort(slots, kind="stable")  # (n_held,)
        return ReorderBuffer(slots[order], times[order], kept[order])

    def _split(self, used: Arrived) -> tuple[KeySessions, Arrived]:
        """Return the sessions, divided where clocks were set, and the used samples by session."""
        if not self._used:
            return self._sessions, used
        sessions, n_sessions = self._sessions, len(self._sessions.slots)
        n_more = np.bincount([each for each, _ in self._parts] or [0], minlength=n_sessions)
        n_more[0] -= not self._parts
        first = np.arange(n_sessions) + np.cumsum(n_more) - n_more  # (n_sessions,)
        session_of, parts, times, rows, records = (
            np.array(each) for each in zip(*self._used, strict=True)
        )
        joined = Arrived(
            np.concatenate([first[used.session_of], first[session_of] + parts]),
            np.concatenate([used.times_ms, times]),
            np.concatenate([used.rows, rows]),
            np.concatenate([used.records, records]),
        )
        order = np.argsort(joined.session_of, kind="stable")  # (n_used,)
        if not self._parts:
            return sessions, joined.where(order)
        of_records = first[sessions.of_records]  # (n_records,)
        known = list(self._part_of)
        of_records[known] += np.array(list(self._part_of.values()))
        return _divide(sessions, n_more, of_records, self._parts), joined.where(order)


def _divide(
    sessions: KeySessions,
    n_more: Indices,
    of_records: Indices,
    parts: list[tuple[int, float]],
) -> KeySessions:
    """Return the sessions with a new one wherever a clock was set.

    Parameters
    ----------
    n_more
        How many sessions follow each one, shape (n_sessions,).
    of_records
        Session of each record among those that are returned.
    parts
        Session that ends, and its newest time, in the order of sessions and then of time.
    """
    number = np.repeat(np.arange(len(n_more)), n_more + 1)  # (n_sessions + n_parts,)
    is_new = ~is_group_start(number)  # (n_sessions + n_parts,)
    columns, after = sessions.columns.take(number), sessions.after.take(number)
    columns.put(np.flatnonzero(is_new), KeyColumns.fresh(int(is_new.sum())))
    for name in ("last_ms", "last_cell", "span", "is_parted"):
        getattr(after, name)[is_new] = getattr(columns, name)[is_new]
    after.newest_ms[~is_group_end(number)] = [newest_ms for _, newest_ms in parts]
    slots = sessions.slots[number]  # (n_sessions + n_parts,)
    return replace(
        sessions,
        slots=slots,
        columns=columns,
        after=after,
        is_first=is_group_start(slots),
        is_last=is_group_end(slots),
        of_records=of_records,
        expired_ms=np.where(is_new, nan, sessions.expired_ms[number]),
    )
