"""Key columns: what is kept of each key besides its cells, one entry a key in each column.

Pure. `keyed_state` has an example.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_WINDOW = -1
"""`last_cell` of a key that has no incomplete window; its row holds nothing of use."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Multiplying by it spreads bits: 2^64 over the golden ratio, made odd (Knuth, The Art of Computer
Programming, volume 3, section 6.4)."""


@dataclass(slots=True)
class KeyColumns:
    """State of each key besides its cells, one entry a slot, each of shape (n_slots,).

    Parameters
    ----------
    newest_ms
        Newest time of any sample of the key that was used.
    other_from_ms, other_ms
        Earliest and newest time of samples out of its reach, NaN where there are none
        (`stream_detector.core.windowing.clocks.Clock`).
    seen_ms
        Until when the key's last record shows that it sends, in the stream time of the partition.
    last_ms
        Time of the last sample that was aligned to the grid, NaN before the first.
    last_cell
        Cell of that sample in the row, `NO_WINDOW` where no window is incomplete.
    span
        Cells since the series started, or started again after a gap; counted up to n_steps.
    is_parted
        Whether the key's newest cell came in parts (`stream_detector.core.windowing.parts`).
    is_joined
        Whether the half interval after that of `last_ms` belongs to the same cell
        (`stream_detector.core.windowing.repeats`).
    restored_ms
        From when on the key's samples are the same for a reader who starts at the partition's last
        restore point (`stream_detector.core.state.sample_state`): inf until that reader's clock
        equals the key's own, -inf where the key had no state at the restore point.
    replay_newest_ms, replay_from_ms, replay_other_ms
        That reader's clock while `restored_ms` is inf. These and `restored_ms` are not part of the
        digest.
    """

    newest_ms: NDArray[np.float64]
    other_from_ms: NDArray[np.float64]
    other_ms: NDArray[np.float64]
    seen_ms: NDArray[np.float64]
    last_ms: NDArray[np.float64]
    last_cell: NDArray[np.int32]
    span: NDArray[np.int32]
    is_parted: NDArray[np.bool_]
    is_joined: NDArray[np.bool_]
    restored_ms: NDArray[np.float64]
    replay_newest_ms: NDArray[np.float64]
    replay_from_ms: NDArray[np.float64]
    replay_other_ms: NDArray[np.float64]

    @property
    def clock(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the columns of the key's clock."""
        return self.newest_ms, self.other_from_ms, self.other_ms

    @property
    def replay_clock(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the columns of the clock of a reader from the restore point."""
        return self.replay_newest_ms, self.replay_from_ms, self.replay_other_ms

    @classmethod
    def fresh(cls, n_slots: int) -> "KeyColumns":
        """Return the state of keys that have sent nothing yet."""
        return cls(
            newest_ms=np.full(n_slots, -np.inf),
            other_from_ms=np.full(n_slots, np.nan),
            other_ms=np.full(n_slots, np.nan),
            seen_ms=np.full(n_slots, -np.inf),
            last_ms=np.full(n_slots, np.nan),
            last_cell=np.full(n_slots, NO_WINDOW, dtype=np.int32),
            span=np.zeros(n_slots, dtype=np.int32),
            is_parted=np.zeros(n_slots, dtype=np.bool_),
            is_joined=np.zeros(n_slots, dtype=np.bool_),
            restored_ms=np.full(n_slots, -np.inf),
            replay_newest_ms=np.full(n_slots, -np.inf),
            replay_from_ms=np.full(n_slots, np.nan),
            replay_other_ms=np.full(n_slots, np.nan),
        )

    def take(self, slots: NDArray[np.intp]) -> "KeyColumns":
        """Return a copy of the entries of some slots."""
        return KeyColumns(*(getattr(self, name)[slots] for name in self.__slots__))

    def put(self, slots: NDArray[np.intp], values: "KeyColumns") -> None:
        """Set the entries of some slots."""
        for name in self.__slots__:
            getattr(self, name)[slots] = getattr(values, name)

    def digests(self, names: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return a number for each entry that changes with whatever decides on further samples.

        Parameters
        ----------
        names
            A number for each key, shape (n_slots,).

        Returns
        -------
        Shape (n_slots,).
        """
        mixed = names.copy()  # (n_slots,)
        cells = self.last_cell.astype(np.uint64) << np.uint64(32) | self.span.astype(np.uint64)
        # Bits that a span leaves free.
        cells |= self.is_parted.astype(np.uint64) << np.uint64(31)
        cells |= self.is_joined.astype(np.uint64) << np.uint64(30)
        times = (self.newest_ms, self.seen_ms, self.last_ms)
        for bits in (*(each.view(np.uint64) for each in times), cells):  # (n_slots,) each
            mixed ^= bits
            mixed *= _ODD
            mixed ^= mixed >> np.uint64(29)
        has_other = ~np.isnan(self.other_ms) & (self.other_ms != self.newest_ms)  # (n_slots,)
        if has_other.any():
            for each in (self.other_from_ms, self.other_ms):
                mixed[has_other] ^= each[has_other].view(np.uint64)
                mixed[has_other] *= _ODD
                mixed[has_other] ^= mixed[has_other] >> np.uint64(29)
        return mixed
