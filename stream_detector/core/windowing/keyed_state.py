"""Keyed state: one row of cells for each key, all rows in one array.

Pure. A row holds the cells of the windows that have begun and are not complete, from the start of
the oldest of them. Memory is therefore keys times window, whatever the stream does. The changes of
a batch are collected in a `StateDelta` and applied when the next batch comes: a state that no later
state was stepped from can be stepped from again, and gives the same result.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

FREE = -1
"""Partition of a slot that no key has."""

NONE_BEGUN = -1
"""`last_cell` of a key none of whose windows is under way; its row holds nothing of use."""

_GROWTH = 1.125

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Multiplying by it spreads bits: 2^64 over the golden ratio, made odd (Knuth, The Art of Computer
Programming, volume 3, section 6.4)."""

RowPart = tuple[NDArray[np.intp], FloatArray, NDArray[np.uint8]]

_Type = TypeVar("_Type", np.float32, np.uint8, np.int32, np.uint64)


@dataclass(slots=True)
class KeyColumns:
    """What is remembered of each key besides its cells, one entry a slot.

    Parameters
    ----------
    newest_ms
        Newest time of any sample that was accepted.
    seen_ms
        The partition's clock when the key's last record came.
    last_ms
        Time of the last sample that was put in its place, NaN before the first.
    last_cell
        Where in the row that sample is, `NONE_BEGUN` where no window is under way.
    span
        Cells since the series began or began again, counted up to a window's length.
    mark_ms
        Newest time before the first sample that was newer in the partition's present generation
        (`stream_detector.core.state.sample_state`); inf before there was one, -inf where the key
        itself began in it. What can be restored is the same without it.
    """

    newest_ms: NDArray[np.float64]
    seen_ms: NDArray[np.float64]
    last_ms: NDArray[np.float64]
    last_cell: NDArray[np.int32]
    span: NDArray[np.int32]
    mark_ms: NDArray[np.float64]

    @classmethod
    def fresh(cls, n_slots: int) -> "KeyColumns":
        """Return what is remembered of keys that were never seen."""
        return cls(
            newest_ms=np.full(n_slots, -np.inf),
            seen_ms=np.full(n_slots, -np.inf),
            last_ms=np.full(n_slots, np.nan),
            last_cell=np.full(n_slots, NONE_BEGUN, dtype=np.int32),
            span=np.zeros(n_slots, dtype=np.int32),
            mark_ms=np.full(n_slots, -np.inf),
        )

    def take(self, slots: NDArray[np.intp]) -> "KeyColumns":
        """Return the entries of some slots."""
        return KeyColumns(*(getattr(self, name)[slots] for name in self.__slots__))

    def put(self, slots: NDArray[np.intp], values: "KeyColumns") -> None:
        """Set the entries of some slots."""
        for name in self.__slots__:
            getattr(self, name)[slots] = getattr(values, name)

    def digests(self, names: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return a number for each entry that changes with anything in it, `mark_ms` left out.

        Parameters
        ----------
        names
            A number for each key.
        """
        mixed = names.copy()
        cells = self.last_cell.astype(np.uint64) << np.uint64(32) | self.span.astype(np.uint64)
        times = (self.newest_ms, self.seen_ms, self.last_ms)
        for bits in (*(each.view(np.uint64) for each in times), cells):
            mixed ^= bits
            mixed *= _ODD
            mixed ^= mixed >> np.uint64(29)
        return mixed


@dataclass(frozen=True, slots=True)
class ReorderBuffer:
    """Samples that a late one may still precede, by slot and then by time."""

    slots: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: FloatArray  # (n_samples, n_features)


@dataclass(slots=True)
class StateDelta:
    """What one batch changes, to be carried out when the next one comes.

    Parameters
    ----------
    n_slots
        Slots there must be, those of the keys that are new included.
    stream_times_ms
        Newest event time of each partition.
    added
        (partition, key, slot) of keys that are new.
    freed
        Slots of keys that were idle for too long, or whose partition went away.
    slots, columns
        Which entries are set, and to what.
    rows
        Gives slots, the rows that are set as a whole there, NaN for a cell without a sample, and
        in which of their cells a window starts, as packed bits; some at a time, so that they
        stay in the processor's cache on their way.
    cell_slots, cells, values
        Single cells that are set.
    start_slots, start_cells
        Cells in which a window starts.
    reorder_buffer
        All samples that still wait; None leaves them as they are.
    """

    n_slots: int
    stream_times_ms: Mapping[int, float]
    added: Sequence[tuple[int, bytes, int]]
    slots: NDArray[np.intp]
    columns: KeyColumns
    rows: Callable[[], Iterator[RowPart]]
    cell_slots: NDArray[np.intp]
    cells: NDArray[np.intp]
    values: FloatArray
    start_slots: NDArray[np.intp]
    start_cells: NDArray[np.intp]
    reorder_buffer: ReorderBuffer | None
    freed: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))


class KeyedState:
    """The rows of all keys of all partitions.

    Parameters
    ----------
    n_steps, n_features
        Shape of a window, and so of a row.

    Attributes
    ----------
    rows
        Float32, shape (n_slots, n_steps, n_features), unit: the signal's.
    starts
        Packed bits, shape (n_slots, ceil(n_steps / 8)): in which cells a window starts.
    partitions
        Partition of each slot, `FREE` where it has no key.
    keys
        Key of each slot.
    """

    def __init__(self, n_steps: int, n_features: int) -> None:
        self.rows: FloatArray = np.empty((0, n_steps, n_features), dtype=np.float32)
        self.starts: NDArray[np.uint8] = np.empty((0, -(-n_steps // 8)), dtype=np.uint8)
        self.partitions: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self.columns = KeyColumns.fresh(0)
        self.keys: list[bytes | None] = []
        self.stream_times_ms: dict[int, float] = {}
        self.reorder_buffer = ReorderBuffer(
            np.empty(0, np.intp), np.empty(0), np.empty((0, n_features), np.float32)
        )
        self.token: object = None
        self._names: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._digests: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._sums: dict[int, int] = {}
        self._scratch: FloatArray = np.empty((0, n_features), dtype=np.float32)
        self._is_scratch_used = False
        self._slots: dict[int, dict[bytes, int]] = {}
        self._free: list[int] = []

    @property
    def n_keys(self) -> int:
        """Return how many keys are remembered."""
        return len(self.keys) - len(self._free)

    @property
    def n_slots(self) -> int:
        """Return how many slots there are, with a key or without."""
        return len(self.keys)

    @property
    def n_bytes(self) -> int:
        """Return the size of all arrays; keys and their index are not in it."""
        waiting = self.reorder_buffer
        n_bytes = self.rows.nbytes + self.starts.nbytes + self.partitions.nbytes
        n_bytes += self._names.nbytes + self._digests.nbytes
        n_bytes += waiting.slots.nbytes + waiting.times_ms.nbytes + waiting.values.nbytes
        n_bytes += sum(int(getattr(self.columns, name).nbytes) for name in KeyColumns.__slots__)
        return n_bytes

    def find(
        self, keys: Sequence[bytes], partitions: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], list[tuple[int, bytes, int]]]:
        """Return the slot of each key, and which keys are new, with the slots they are to have.

        Parameters
        ----------
        keys
            Series keys, one a record.
        partitions
            Partition of each, shape (n_records,).
        """
        slots: NDArray[np.intp] = np.empty(len(keys), dtype=np.intp)
        added: list[tuple[int, bytes, int]] = []
        numbers = np.unique(partitions)
        for partition in numbers.tolist():
            rows = np.flatnonzero(partitions == partition) if len(numbers) > 1 else None
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
        """Return the slots: those found, and free or further ones for keys that have none."""
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

    def scratch(self, n_cells: int) -> FloatArray:
        """Return room for the cells of one batch, shape (n_cells, n_features), holding anything.

        The same room serves batch after batch, for fresh memory costs more than what is done in it;
        while the last batch's writes, which read from it, are not carried out, it is another.
        """
        if self._is_scratch_used:
            return np.empty((n_cells, self.rows.shape[2]), dtype=np.float32)
        if n_cells > len(self._scratch):
            self._scratch = np.empty((n_cells, self.rows.shape[2]), dtype=np.float32)
        self._is_scratch_used = True
        return self._scratch[:n_cells]

    def apply(self, delta: StateDelta) -> None:
        """Carry out what a batch changed."""
        self.keys += [None] * (delta.n_slots - len(self.keys))
        for partition, key, slot in delta.added:
            self.keys[slot] = key
            self.partitions[slot] = partition
            self._slots.setdefault(partition, {})[key] = slot
            name = hashlib.blake2b(key, digest_size=8).digest()
            self._names[slot] = int.from_bytes(name, "little")
        del self._free[max(len(self._free) - len(delta.added), 0) :]
        self.stream_times_ms.update(delta.stream_times_ms)
        self.columns.put(delta.slots, delta.columns)
        for slots, rows, starts in delta.rows():
            self.rows[slots] = rows
            self.starts[slots] = starts
        self.rows[delta.cell_slots, delta.cells] = delta.values
        bits = np.left_shift(1, 7 - (delta.start_cells & 7)).astype(np.uint8)
        np.bitwise_or.at(self.starts, (delta.start_slots, delta.start_cells >> 3), bits)
        if delta.reorder_buffer is not None:
            self.reorder_buffer = delta.reorder_buffer
        self._is_scratch_used = False
        if (delta.slots[1:] > delta.slots[:-1]).all():  # what was just set need not be read
            names = self._names[delta.slots]
            self._add_up(delta.slots, delta.columns.digests(names))
        else:
            self._digest(np.unique(delta.slots))
        self._release(delta.freed)

    def drop_partitions(self, partitions: Sequence[int]) -> None:
        """Drop everything of some partitions."""
        is_gone = np.isin(self.partitions, np.array(partitions, dtype=np.int32))
        self._release(np.flatnonzero(is_gone))
        for partition in partitions:
            self.stream_times_ms.pop(partition, None)
            self._slots.pop(partition, None)
            self._sums.pop(partition, None)

    def interrupt(self, partition: int) -> None:
        """Forget the windows under way of a partition's keys; the series themselves go on."""
        slots = np.flatnonzero(self.partitions == partition)
        self.starts[slots] = 0
        self.columns.last_cell[slots] = NONE_BEGUN
        self._digest(slots)

    def begin_restore_point(self, partition: int) -> None:
        """Mark no key of a partition as seen in its present generation."""
        self.columns.mark_ms[self.partitions == partition] = np.inf

    def has_all(self, partition: int, needed_ms: float) -> bool:
        """Return whether every key of a partition had its last `needed_ms` in this generation."""
        slots = np.flatnonzero(self.partitions == partition)
        mark_ms, last_ms = self.columns.mark_ms[slots], self.columns.last_ms[slots]
        return bool((np.isneginf(mark_ms) | (last_ms - mark_ms >= needed_ms)).all())

    def sum_of(self, partition: int) -> tuple[int, int]:
        """Return how many keys a partition has, and a number made of all that is known of them."""
        return len(self._slots.get(partition, ())), self._sums.get(partition, 0)

    def reserve(self, n_slots: int) -> None:
        """Make room for so many slots."""
        if n_slots <= len(self.partitions):
            return
        n_room = int(n_slots * _GROWTH) + 1
        n_more = n_room - len(self.partitions)
        self.rows = _extended(self.rows, n_more, np.nan)
        self.starts = _extended(self.starts, n_more, 0)
        self.partitions = _extended(self.partitions, n_more, FREE)
        self._names = _extended(self._names, n_more, 0)
        self._digests = _extended(self._digests, n_more, 0)
        more = KeyColumns.fresh(n_more)
        self.columns = KeyColumns(
            *(
                np.concatenate([getattr(self.columns, name), getattr(more, name)])
                for name in KeyColumns.__slots__
            )
        )

    def _digest(self, slots: NDArray[np.intp]) -> None:
        """Take down what is known now of some keys."""
        self._add_up(slots, self.columns.take(slots).digests(self._names[slots]))

    def _add_up(self, slots: NDArray[np.intp], digests: NDArray[np.uint64]) -> None:
        """Replace the digests of some keys, and keep the sums of their partitions right."""
        change = digests - self._digests[slots]  # modulo 2^64, as the sums are
        self._digests[slots] = digests
        numbers = self.partitions[slots]
        for partition in self._slots:
            added = int(change.sum(dtype=np.uint64, where=numbers == partition))
            self._sums[partition] = (self._sums.get(partition, 0) + added) % 2**64

    def _release(self, slots: NDArray[np.intp]) -> None:
        """Take the keys out of some slots."""
        for slot in slots.tolist():
            key = self.keys[slot]
            if key is not None:
                of_partition = self._slots.get(int(self.partitions[slot]), {})
                of_partition.pop(key, None)
                self.keys[slot] = None
                self._free.append(slot)
        self._add_up(slots, np.zeros(len(slots), dtype=np.uint64))
        self.partitions[slots] = FREE
        self.columns.put(slots, KeyColumns.fresh(len(slots)))
        if len(slots) and len(self.reorder_buffer.slots):
            stays = ~np.isin(self.reorder_buffer.slots, slots)
            waiting = self.reorder_buffer
            self.reorder_buffer = ReorderBuffer(
                waiting.slots[stays], waiting.times_ms[stays], waiting.values[stays]
            )


def _extended(array: NDArray[_Type], n_more: int, impute_windows: float) -> NDArray[_Type]:
    """Return an array with further rows at its end."""
    more: NDArray[_Type] = np.full((n_more, *array.shape[1:]), impute_windows, dtype=array.dtype)
    return np.concatenate([array, more])
