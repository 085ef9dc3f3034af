"""Keyed state: one row of cells for each key, all rows in one array.

Pure. A row holds the cells of the key's incomplete windows, from the start of the oldest of them,
so memory is keys times window whatever the stream does. The key's number in the arrays is its slot;
slots of expired keys are used again.

After the six samples of the example in `grid` (n_steps 4, stride 2), the state of their key is::

    rows[slot]               100   110   NaN   NaN
    starts[slot]             1     0     0     0      (packed into bits)
    columns.last_cell[slot]  1     the sample at 110
    columns.last_ms[slot]    110
    columns.span[slot]       2     cells since the gap; 4 would be a complete window
    columns.newest_ms[slot]  110

The changes of a batch are collected in a `StateDelta` and applied when the next batch comes. Until
then, a batch can be processed again from the same state with the same result.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import is_group_start
from stream_detector.core.windowing.key_columns import NO_WINDOW, KeyColumns

FREE = -1
"""Partition of a slot that belongs to no key."""

_GROWTH = 1.125
"""How much more room is reserved than is needed, so that not every new key copies all rows."""

RowPart = tuple[NDArray[np.intp], FloatArray, NDArray[np.uint8]]
"""Slots (n,), rows (n, n_steps, n_features) and packed starts (n, ceil(n_steps / 8))."""

_Type = TypeVar("_Type", np.float32, np.float64, np.uint8, np.int32, np.uint64)


@dataclass(frozen=True, slots=True)
class ReorderBuffer:
    """Samples that wait because a late one may still come before them, or parts of theirs.

    Samples that are held until another confirms their time are kept in one, too.

    A sample whose time is `KeyColumns.last_ms` of its key waits no more: it is here only to tell
    whether what comes for its cell repeats it (`stream_detector.core.windowing.parts`). Where two
    halves are one cell (`stream_detector.core.windowing.repeats`), the second one is a sample of
    its own, without values.

    Parameters
    ----------
    slots
        Slot of each sample's key, shape (n_waiting,), ascending.
    times_ms
        Time of each sample, shape (n_waiting,), ascending within a slot.
    values
        Float32, shape (n_waiting, n_features), unit: the signal's.
    """

    slots: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: FloatArray

    def without(self, slots: NDArray[np.intp]) -> "ReorderBuffer":
        """Return the samples of other slots."""
        if not len(slots) or not len(self.slots):
            return self
        is_kept = ~np.isin(self.slots, slots)  # (n_waiting,)
        return ReorderBuffer(self.slots[is_kept], self.times_ms[is_kept], self.values[is_kept])


class Jump(NamedTuple):
    """A time that only one key of a partition has given so far; see `stream_time`.

    Parameters
    ----------
    name
        Stands for the key: 64 bits of its digest.
    from_ms, newest_ms
        Earliest and newest time beyond the stream time. Where `newest_ms` is not beyond, the
        stream time is that of the partition's first record; where it is earlier, so was the second.
    """

    name: int
    from_ms: float
    newest_ms: float


def name_of(key: bytes) -> int:
    """Return 64 bits that stand for a key."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


@dataclass(slots=True)
class StateDelta:
    """What one batch changes in the keyed state, to be applied when the next one comes.

    Parameters
    ----------
    added
        (partition, key, slot) of each new key.
    stream_times_ms
        Stream time of each partition of the batch.
    slots, columns
        Slots whose columns are set, shape (n_sessions,), and what they are set to; of a slot that
        is in here twice, the last entry counts.
    rows
        Gives the rows that are set as a whole, with NaN for a cell without a sample; some at a
        time, so that they stay in the processor's cache on their way.
    cell_slots, cells, values
        Single cells that are set: slots and cells, shape (n_cells,), and values, shape
        (n_cells, n_features).
    start_slots, start_cells
        Cells in which a window starts, shape (n_starts,).
    reorder_buffer
        All samples that wait after the batch; None leaves them as they are.
    held
        All samples that are held after the batch; None leaves them as they are.
    jumps
        Of each partition of the batch, what would advance its stream time; None for nothing.
    freed
        Slots of keys that expired, shape (n_freed,).
    feature_ms
        Time of the last value of each feature, shape (n_sessions, n_followed); None leaves it.
    """

    added: Sequence[tuple[int, bytes, int]]
    stream_times_ms: Mapping[int, float]
    slots: NDArray[np.intp]
    columns: KeyColumns
    rows: Callable[[], Iterator[RowPart]]
    cell_slots: NDArray[np.intp]
    cells: NDArray[np.intp]
    values: FloatArray
    start_slots: NDArray[np.intp]
    start_cells: NDArray[np.intp]
    reorder_buffer: ReorderBuffer | None
    held: ReorderBuffer | None = None
    jumps: Mapping[int, Jump | None] = field(default_factory=dict)
    freed: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    feature_ms: NDArray[np.float64] | None = None


class KeyedState:
    """The state of all keys of all partitions.

    Parameters
    ----------
    n_steps, n_features
        Shape of a window, and so of a row.
    n_followed
        Features whose last value is remembered: all or none.

    Attributes
    ----------
    rows
        Float32, shape (n_slots, n_steps, n_features), unit: the signal's.
    starts
        Packed bits, shape (n_slots, ceil(n_steps / 8)): in which cells of a row a window starts.
    partitions
        Partition of each slot, shape (n_slots,), `FREE` where it has no key.
    columns
        Further state of each slot.
    feature_ms
        Time of the last value of each feature, shape (n_slots, n_followed)
        (`stream_detector.core.windowing.missing_features`). It is not part of the digest.
    keys
        Key of each slot that has ever been used, None where it is free.
    stream_times_ms
        Stream time of each partition.
    reorder_buffer
        Samples that wait.
    held
        Samples, one of a key at most, that are held until another confirms them
        (`stream_detector.core.windowing.clocks`).
    jumps
        Of partitions where there is one, what would advance the stream time.
    token
        Identifies the `WindowState` whose changes were applied last.
    """

    def __init__(self, n_steps: int, n_features: int, n_followed: int = 0) -> None:
        self.rows: FloatArray = np.empty((0, n_steps, n_features), dtype=np.float32)
        self.starts: NDArray[np.uint8] = np.empty((0, -(-n_steps // 8)), dtype=np.uint8)
        self.partitions: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self.columns = KeyColumns.fresh(0)
        self.feature_ms: NDArray[np.float64] = np.empty((0, n_followed))
        self.keys: list[bytes | None] = []
        self.stream_times_ms: dict[int, float] = {}
        self.reorder_buffer = ReorderBuffer(
            np.empty(0, np.intp), np.empty(0), np.empty((0, n_features), np.float32)
        )
        self.held = self.reorder_buffer
        self.jumps: dict[int, Jump] = {}
        self.token: object = None
        self._names: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)  # (n_slots,), of the keys
        self._digests: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)  # (n_slots,)
        self._sums: dict[int, int] = {}  # of the digests of each partition, modulo 2^64
        self._scratch: FloatArray = np.empty((0, n_features), dtype=np.float32)
        self._is_scratch_used = False
        self._slots: dict[int, dict[bytes, int]] = {}
        self._free: list[int] = []

    @property
    def n_keys(self) -> int:
        """Return how many keys have state."""
        return len(self.keys) - len(self._free)

    @property
    def n_slots(self) -> int:
        """Return how many slots are in use or were."""
        return len(self.keys)

    @property
    def n_bytes(self) -> int:
        """Return the size of all arrays; keys and their index are not counted."""
        n_bytes = self.rows.nbytes + self.starts.nbytes + self.partitions.nbytes
        n_bytes += self._names.nbytes + self._digests.nbytes + self.feature_ms.nbytes
        for each in (self.reorder_buffer, self.held):
            n_bytes += each.slots.nbytes + each.times_ms.nbytes + each.values.nbytes
        n_bytes += sum(int(getattr(self.columns, name).nbytes) for name in KeyColumns.__slots__)
        return n_bytes

    def find(
        self, keys: Sequence[bytes], partitions: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], list[tuple[int, bytes, int]]]:
        """Return the slot of each record's key, and the keys that are new.

        A new key gets a free slot, or one that did not exist before; room for it is reserved, and
        it has state once the batch's delta is applied.

        Parameters
        ----------
        keys
            Series key of each record. Length n_records.
        partitions
            Partition of each record, shape (n_records,).

        Returns
        -------
        Slots, shape (n_records,), and (partition, key, slot) of each new key.
        """
        slots: NDArray[np.intp] = np.empty(len(keys), dtype=np.intp)  # (n_records,)
        added: list[tuple[int, bytes, int]] = []
        for partition, rows in _rows_by_partition(partitions):
            names = keys if rows is None else [keys[row] for row in rows.tolist()]
            known = self._slots.get(partition, {})
            found = list(map(known.get, names))
            if None in found:
                found = [*self._with_new(partition, names, found, added)]
            slots[slice(None) if rows is None else rows] = np.array(found, dtype=np.intp)
        self.reserve(self.n_slots + max(len(added) - len(self._free), 0))
        return slots, added

    def _with_new(
        self,
        partition: int,
        names: Sequence[bytes],
        found: Sequence[int | None],
        added: list[tuple[int, bytes, int]],
    ) -> list[int]:
        """Return the slots with one for each new key, which is added to `added`."""
        fresh: dict[bytes, int] = {}
        for name, slot in zip(names, found, strict=True):
            if slot is None and name not in fresh:
                n_added, n_free = len(added), len(self._free)
                is_free = n_added < n_free
                fresh[name] = (
                    self._free[-1 - n_added] if is_free else self.n_slots + n_added - n_free
                )
                added.append((partition, name, fresh[name]))
        pairs = zip(names, found, strict=True)
        return [fresh[name] if slot is None else slot for name, slot in pairs]

    def slots_of(self, partition: int) -> Mapping[bytes, int]:
        """Return the slot of each key of a partition that has state."""
        return self._slots.get(partition, {})

    def scratch(self, n_cells: int) -> FloatArray:
        """Return memory for the cells of one batch, shape (n_cells, n_features), not initialised.

        The same memory serves batch after batch, because allocating it costs more than what is
        done in it. While the last batch's delta, which reads from it, is not applied, other memory
        is returned.
        """
        if self._is_scratch_used:
            return np.empty((n_cells, self.rows.shape[2]), dtype=np.float32)
        if n_cells > len(self._scratch):
            self._scratch = np.empty((n_cells, self.rows.shape[2]), dtype=np.float32)
        self._is_scratch_used = True
        return self._scratch[:n_cells]

    def apply(self, delta: StateDelta) -> None:
        """Apply what a batch changed."""
        n_slots = max((slot for *_, slot in delta.added), default=-1) + 1
        self.keys += [None] * (n_slots - len(self.keys))
        for partition, key, slot in delta.added:
            self.keys[slot] = key
            self.partitions[slot] = partition
            self._slots.setdefault(partition, {})[key] = slot
            self._names[slot] = name_of(key)
        del self._free[max(len(self._free) - len(delta.added), 0) :]
        self.stream_times_ms.update(delta.stream_times_ms)
        for partition, jump in delta.jumps.items():
            self.set_jump(partition, jump)
        self.columns.put(delta.slots, delta.columns)
        if delta.feature_ms is not None:
            self.feature_ms[delta.slots] = delta.feature_ms
        for slots, rows, starts in delta.rows():
            self.rows[slots] = rows  # (n_some, n_steps, n_features)
            self.starts[slots] = starts  # (n_some, ceil(n_steps / 8))
        self.rows[delta.cell_slots, delta.cells] = delta.values  # (n_cells, n_features)
        bits = np.left_shift(1, 7 - (delta.start_cells & 7)).astype(np.uint8)  # (n_starts,)
        np.bitwise_or.at(self.starts, (delta.start_slots, delta.start_cells >> 3), bits)
        if delta.reorder_buffer is not None:
            self.reorder_buffer = delta.reorder_buffer
        if delta.held is not None:
            self.held = delta.held
        self._is_scratch_used = False
        if (delta.slots[1:] > delta.slots[:-1]).all():  # the columns just set need not be read
            names = self._names[delta.slots]  # (n_sessions,)
            self._set_digests(delta.slots, delta.columns.digests(names))
        else:
            self._update_digests(np.unique(delta.slots))
        self._release(delta.freed)

    def drop_partitions(self, partitions: Sequence[int]) -> None:
        """Drop the state of some partitions."""
        is_dropped = np.isin(self.partitions, np.array(partitions, dtype=np.int32))  # (n_slots,)
        self._release(np.flatnonzero(is_dropped))
        for partition in partitions:
            self.stream_times_ms.pop(partition, None)
            self.jumps.pop(partition, None)
            self._slots.pop(partition, None)
            self._sums.pop(partition, None)

    def set_jump(self, partition: int, jump: Jump | None) -> None:
        """Set what would advance the stream time of a partition."""
        if jump is None:
            self.jumps.pop(partition, None)
        else:
            self.jumps[partition] = jump

    def drop_windows(self, partition: int) -> None:
        """Drop the incomplete windows of a partition's keys; their series continue."""
        slots = np.flatnonzero(self.partitions == partition)  # (n_keys,)
        self.starts[slots] = 0
        self.columns.last_cell[slots] = NO_WINDOW
        self._update_digests(slots)

    def begin_restore_point(self, partition: int) -> None:
        """Start to measure how much event time each key of a partition has from here on."""
        slots = np.flatnonzero(self.partitions == partition)  # (n_keys,)
        self.columns.restored_ms[slots] = np.inf
        self.columns.replay_newest_ms[slots] = -np.inf
        self.columns.replay_from_ms[slots] = self.columns.replay_other_ms[slots] = np.nan

    def has_history(self, partition: int, needed_ms: float) -> bool:
        """Return whether every key of a partition has had `needed_ms` since the restore point.

        A key that had no state at the restore point has all its history after it, and so has one
        whose clock was set since.
        """
        slots = np.flatnonzero(self.partitions == partition)  # (n_keys,)
        restored_ms, last_ms = self.columns.restored_ms[slots], self.columns.last_ms[slots]
        is_enough = np.isneginf(restored_ms) | (last_ms - restored_ms >= needed_ms)  # (n_keys,)
        return bool(is_enough.all())

    def digest_of(self, partition: int) -> tuple[int, int]:
        """Return how many keys a partition has, and a number that changes with their state."""
        return len(self._slots.get(partition, ())), self._sums.get(partition, 0)

    def reserve(self, n_slots: int) -> None:
        """Make room for so many slots."""
        if n_slots <= len(self.partitions):
            return
        n_room = int(n_slots * _GROWTH) + 1
        n_more = n_room - len(self.partitions)
        self.rows = _extend(self.rows, n_more, np.nan)
        self.starts = _extend(self.starts, n_more, 0)
        self.partitions = _extend(self.partitions, n_more, FREE)
        self._names = _extend(self._names, n_more, 0)
        self._digests = _extend(self._digests, n_more, 0)
        self.feature_ms = _extend(self.feature_ms, n_more, np.nan)
        more = KeyColumns.fresh(n_more)
        self.columns = KeyColumns(
            *(
                np.concatenate([getattr(self.columns, name), getattr(more, name)])
                for name in KeyColumns.__slots__
            )
        )

    def _update_digests(self, slots: NDArray[np.intp]) -> None:
        """Bring the digests of some keys up to date with their columns."""
        self._set_digests(slots, self.columns.take(slots).digests(self._names[slots]))

    def _set_digests(self, slots: NDArray[np.intp], digests: NDArray[np.uint64]) -> None:
        """Replace the digests of some keys, shape (n,), and update the sums of their partitions."""
        change = digests - self._digests[slots]  # (n,), modulo 2^64, as the sums are
        self._digests[slots] = digests
        for partition, rows in _rows_by_partition(self.partitions[slots]):
            added = int((change if rows is None else change[rows]).sum(dtype=np.uint64))
            self._sums[partition] = (self._sums.get(partition, 0) + added) % 2**64

    def _release(self, slots: NDArray[np.intp]) -> None:
        """Drop the keys of some slots, shape (n,), with their state."""
        for slot in slots.tolist():
            key = self.keys[slot]
            if key is not None:
                of_partition = self._slots.get(int(self.partitions[slot]), {})
                of_partition.pop(key, None)
                self.keys[slot] = None
                self._free.append(slot)
        self._set_digests(slots, np.zeros(len(slots), dtype=np.uint64))
        self.partitions[slots] = FREE
        self.columns.put(slots, KeyColumns.fresh(len(slots)))
        self.feature_ms[slots] = np.nan
        self.reorder_buffer = self.reorder_buffer.without(slots)
        self.held = self.held.without(slots)


def _rows_by_partition(
    partitions: NDArray[np.integer],
) -> Iterator[tuple[int, NDArray[np.intp] | None]]:
    """Yield each partition with the rows that it has, ascending; None for all of one alone.

    However many partitions there are, each row is looked at once.
    """
    order = np.argsort(partitions, kind="stable")  # (n_rows,)
    starts = np.flatnonzero(is_group_start(partitions[order]))  # (n_partitions,)
    numbers = partitions[order[starts]].tolist()
    if len(numbers) == 1:
        yield numbers[0], None
        return
    yield from zip(numbers, np.split(order, starts[1:]), strict=False)


def _extend(array: NDArray[_Type], n_more: int, fill_value: float) -> NDArray[_Type]:
    """Return an array with further rows at its end."""
    more: NDArray[_Type] = np.full((n_more, *array.shape[1:]), fill_value, dtype=array.dtype)
    return np.concatenate([array, more])  # (n_rows + n_more, ...)
