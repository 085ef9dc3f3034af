"""The arrays of keyed state, one after the other: what a snapshot holds of each key.

Pure. A row of the arrays is a key, in the order of slots; free slots have none, and rows of samples
that wait name the row of their key. With two keys, and one sample that waits::

    key_bytes    pump-1pump-2      rows             [[...], [...]]
    key_sizes    6  6              waiting_slots    1
    partitions   0  0              waiting_values   [[0.5]]
"""

import zlib
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.key_columns import NO_WINDOW, KeyColumns
from stream_detector.core.windowing.keyed_state import (
    Jump,
    KeyedState,
    ReorderBuffer,
    StateDelta,
)

Array = NDArray[Any]
Arrays = Mapping[str, Array]

_WORDS_A_ROW = 1_021
"""Numbers of 64 bits in a row of the table of which the check of arrays is made: a prime, so that
blocks of a file that changed places change it too."""

_LARGE_BYTES_MIN = 1_000_000
"""Smaller arrays are copied to be checked together, which is faster than each by itself."""

_COLUMNS = {name: getattr(KeyColumns.fresh(0), name).dtype for name in KeyColumns.__slots__}


class Sizes(NamedTuple):
    """How many rows the arrays have."""

    n_keys: int = 0
    n_key_bytes: int = 0
    n_waiting: int = 0
    n_held: int = 0
    n_first_samples: int = 0


class Shape(NamedTuple):
    """Shape of a window, and how many features are followed."""

    n_steps: int = 0
    n_features: int = 0
    n_followed: int = 0


def arrays_of(keyed_state: KeyedState, slots: Indices, rows: Indices) -> dict[str, Array]:
    """Return the arrays of some slots, ascending, shape (n_keys,), as `layout_of` describes them.

    Parameters
    ----------
    rows
        Row of each slot in these arrays, -1 where it has none, shape (n_room,).
    """
    is_all = len(slots) == keyed_state.n_slots
    at: Any = slice(0, len(slots)) if is_all else slots  # a slice copies nothing
    keys: Any = keyed_state.keys if is_all else [keyed_state.keys[slot] for slot in slots.tolist()]
    arrays: dict[str, Array] = {
        "key_bytes": np.frombuffer(b"".join(keys), np.uint8),
        "key_sizes": np.fromiter(map(len, keys), "<u4", len(keys)),
        "partitions": keyed_state.partitions[at],
        "rows": keyed_state.rows[at],
        "starts": keyed_state.starts[at],
        "feature_ms": keyed_state.feature_ms[at],
    }
    for name in _COLUMNS:
        arrays[name] = getattr(keyed_state.columns, name)[at]
    for prefix, buffer in (("waiting", keyed_state.reorder_buffer), ("held", keyed_state.held)):
        of_rows = rows[buffer.slots]  # (n_waiting,)
        here: Any = slice(None) if is_all else of_rows >= 0  # (n_waiting,)
        arrays[f"{prefix}_slots"] = of_rows[here].astype("<i8", copy=False)
        arrays[f"{prefix}_times_ms"] = buffer.times_ms[here]
        arrays[f"{prefix}_values"] = buffer.values[here]
    return arrays


SIZED_BY = ("key_sizes", "key_bytes", "waiting_slots", "held_slots", "first_samples")
"""Arrays whose lengths are `Sizes`."""


def layout_of(shape: Shape, sizes: Sizes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each array, in the order in which they are written."""
    n_keys, n_features = sizes.n_keys, shape.n_features
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "key_bytes": ("|u1", (sizes.n_key_bytes,)),
        "key_sizes": ("<u4", (n_keys,)),
        "partitions": ("<i4", (n_keys,)),
        "rows": ("<f4", (n_keys, shape.n_steps, n_features)),
        "starts": ("|u1", (n_keys, -(-shape.n_steps // 8))),
        "feature_ms": ("<f8", (n_keys, shape.n_followed)),
    }
    layout |= {name: (kind.newbyteorder("<").str, (n_keys,)) for name, kind in _COLUMNS.items()}
    for prefix, n in (("waiting", sizes.n_waiting), ("held", sizes.n_held)):
        layout[f"{prefix}_slots"] = ("<i8", (n,))
        layout[f"{prefix}_times_ms"] = ("<f8", (n,))
        layout[f"{prefix}_values"] = ("<f4", (n, n_features))
    return layout | {"first_samples": ("<f4", (sizes.n_first_samples, n_features))}


def check_of(parts: Collection[Array]) -> int:
    """Return 32 bits that change with the bytes of arrays, which lie one after the other in memory.

    A CRC of all bytes would take twice as long as all else. So the numbers stand in a table, of
    each large array and of all small ones together, and the CRC is of the sums of its columns,
    modulo 2^64: whatever changes, one of the sums does, unless several changes in one column cancel
    out.
    """
    small = b"".join([part.data for part in parts if part.nbytes < _LARGE_BYTES_MIN])
    large = [part for part in parts if part.nbytes >= _LARGE_BYTES_MIN]
    check = 0
    for each in (*large, np.frombuffer(small, np.uint8)):
        part = each.reshape(-1).view(np.uint8)  # (n_bytes,)
        n_rows = len(part) // (8 * _WORDS_A_ROW)
        words = np.frombuffer(part.data, "<u8", n_rows * _WORDS_A_ROW)
        sums = words.reshape(n_rows, _WORDS_A_ROW).sum(axis=0, dtype="<u8")  # (n_columns,)
        check = zlib.crc32(sums.data, check)
        check = zlib.crc32(part[8 * _WORDS_A_ROW * n_rows :].data, check)
    return check


def are_sound(arrays: Arrays, shape: Shape, sizes: Sizes) -> bool:
    """Return whether every number in arrays that selects something selects what is there."""
    limits = {
        "partitions": (0, 2**31),
        "last_cell": (NO_WINDOW, shape.n_steps),
        "span": (0, shape.n_steps + 1),
        "waiting_slots": (0, sizes.n_keys),
        "held_slots": (0, sizes.n_keys),
    }
    for name, (low, high) in limits.items():
        column = arrays[name]
        if not bool(((column >= low) & (column < high)).all()):
            return False
    waiting = (arrays["waiting_slots"], arrays["held_slots"])
    is_ascending = all(bool((each[1:] >= each[:-1]).all()) for each in waiting)
    n_key_bytes = int(arrays["key_sizes"].sum(dtype=np.uint64))
    return is_ascending and n_key_bytes == sizes.n_key_bytes


def add_keys(
    keyed_state: KeyedState,
    arrays: Arrays,
    stream_times_ms: Mapping[int, float],
    jumps: Mapping[int, Jump],
) -> None:
    """Add keys in slots behind all others, as a batch would that brings all of them.

    Parameters
    ----------
    keyed_state
        Has no key of these partitions; changed.
    arrays
        From `arrays_of`.
    stream_times_ms, jumps
        Of the keys' partitions; see `KeyedState`.
    """
    first, n_keys = keyed_state.n_slots, len(arrays["key_sizes"])
    slots = np.arange(first, first + n_keys)  # (n_keys,)
    text, ends = arrays["key_bytes"].tobytes(), np.cumsum(arrays["key_sizes"], dtype=np.intp)
    keys = [text[start:end] for start, end in pairwise([0, *ends.tolist()])]
    nothing = np.empty(0, np.intp)
    keyed_state.reserve(first + n_keys)
    keyed_state.apply(
        StateDelta(
            added=list(zip(arrays["partitions"].tolist(), keys, slots.tolist(), strict=True)),
            stream_times_ms=stream_times_ms,
            slots=slots,
            columns=KeyColumns(*(arrays[name] for name in _COLUMNS)),
            rows=lambda: iter([(slots, arrays["rows"], arrays["starts"])]),
            cell_slots=nothing,
            cells=nothing,
            values=arrays["rows"][:0, 0],
            start_slots=nothing,
            start_cells=nothing,
            reorder_buffer=_joined(keyed_state.reorder_buffer, "waiting", arrays, first),
            held=_joined(keyed_state.held, "held", arrays, first),
            jumps=jumps,
            feature_ms=arrays["feature_ms"],
        )
    )


def _joined(known: ReorderBuffer, prefix: str, arrays: Arrays, first: int) -> ReorderBuffer:
    """Return samples that wait with others whose keys are in slots from `first` on."""
    slots = (arrays[f"{prefix}_slots"] + first).astype(np.intp)  # (n_waiting,)
    return ReorderBuffer(
        np.concatenate([known.slots, slots]),
        np.concatenate([known.times_ms, arrays[f"{prefix}_times_ms"]]),
        np.concatenate([known.values, arrays[f"{prefix}_values"]]),
    )
