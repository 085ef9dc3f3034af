r"""Avro values of one schema read as columns, a field of all values at a time.

Pure. Avro writes the fields of a record one after the other and nothing between them, so where a
field begins in each value follows from the fields before it. Two values of a text and a double,
and where each step has come in them::

    06 't-1' 00 00 00 00 00 80 35 40      the text: its length (3, as zigzag 06) and 3 bytes
    08 't-10' 00 00 00 00 00 00 36 40     its length (4) and 4 bytes
    ^  ^     ^                      ^
    0  1     4 and 5                end: 12 and 13

Only records of primitive types, enumerations and numeric arrays of one length have such a layout,
each field of which may be null. Whatever is not exactly so, and what does not fit its schema, is
for the path that explains.

Source, as read: Apache Avro 1.12, "Specification", section "Binary encoding".
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["null", "boolean", "whole", "float", "double", "text", "skipped", "fixed", "enum"]
"""What a field is; `whole` is int or long, `skipped` are bytes that no mapping can use."""

FieldPath = tuple[str, ...]

_BYTES_AT_ONCE = 262_144
"""Bytes of values read together, which stay in the processor's cache."""

_PADDING = 16
"""Bytes after the last value, so that a number which ends too late can be read and then refused."""

_VARINT_BITS_MAX = 63
"""Furthest shift of the 7 bits of one byte of a number of 64 bits."""

_LOW_BITS = 0x7F
"""Of a byte of a number, those that belong to it; the highest says that there is another byte."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AvroField:
    """One field of a record, or of a record in it.

    Parameters
    ----------
    path
        Names of the records around it, and its own.
    kind
        Its type, of an array that of the items.
    null
        Which branch of its union is null; None where it has no union.
    size
        Bytes of a fixed, symbols of an enumeration.
    is_array
        Whether it is an array; its items are float or double.
    """

    path: FieldPath
    kind: Kind
    null: int | None = None
    size: int = 0
    is_array: bool = False


class AvroLayout(NamedTuple):
    """The fields of a schema whose values can be read as columns, in the order of their bytes.

    Parameters
    ----------
    fields
        By their path.
    records
        Paths of the records.
    """

    fields: dict[FieldPath, AvroField]
    records: Collection[FieldPath]


Column = NDArray[np.float64] | NDArray[np.int64] | list[bytes]
"""Numbers, shape (n_values,), NaN where they are null; those of arrays, shape (n_values, n_items);
or texts."""


class _NotPlainError(ValueError):
    """The values are for the path that explains."""


def read_columns(
    values: Sequence[bytes], skip: int, layout: AvroLayout, wanted: Collection[FieldPath]
) -> dict[FieldPath, Column] | None:
    r"""Return some fields of all values, None where one of them is not plain.

    Parameters
    ----------
    values
        At least one.
    skip
        So many bytes at the start of each are not part of it.
    layout
        Of their schema.
    wanted
        Paths of fields that are numbers, arrays of numbers, or texts.

    Examples
    --------
    >>> layout = AvroLayout({("n",): AvroField(("n",), "whole", null=0)}, [()])
    >>> read_columns([b"\2\5", b"\0", b"\2\4"], 0, layout, [("n",)])
    {('n',): array([-3., nan,  2.])}
    """
    n_at_once = max(_BYTES_AT_ONCE // (len(values[0]) + 1), 32)
    starts = range(0, len(values), n_at_once)
    try:
        parts = [
            _Reader(values[start : start + n_at_once], skip).read(layout, wanted)
            for start in starts
        ]
        return {path: _join([part[path] for part in parts]) for path in parts[0]}
    except _NotPlainError:
        return None


class _Reader:
    """Steps through some values, field by field.

    Parameters
    ----------
    values, skip
        As in `read_columns`.
    """

    def __init__(self, values: Sequence[bytes], skip: int) -> None:
        joined = b"".join([*values, bytes(_PADDING)])
        lengths = np.fromiter(map(len, values), np.intp, len(values))  # (n_values,)
        self._text = np.frombuffer(joined, dtype=np.uint8)  # (n_bytes,)
        self._joined = joined
        self._ends = np.cumsum(lengths)  # (n_values,)
        self._starts = self._ends - lengths + skip  # (n_values,)

    def read(self, layout: AvroLayout, wanted: Collection[FieldPath]) -> dict[FieldPath, Column]:
        """Return the wanted fields."""
        found: dict[FieldPath, Column] = {}
        at = self._starts
        for field in layout.fields.values():
            at, column = self._read_field(field, at, is_wanted=field.path in wanted)
            if column is not None:
                found[field.path] = column
        if not (at == self._ends).all():
            raise _NotPlainError
        return found

    def _read_field(
        self, field: AvroField, at: Indices, *, is_wanted: bool
    ) -> tuple[Indices, Column | None]:
        """Return where the next field begins in each value, and this one if it is wanted."""
        if field.null is None:
            return self._read_kind(field, at, self._ends, is_wanted=is_wanted)
        branch, at = self._whole(at, self._ends)
        if not ((branch == 0) | (branch == 1)).all():
            raise _NotPlainError
        rows = np.flatnonzero(branch != field.null)  # (n_present,)
        if len(rows) == len(at):
            return self._read_kind(field, at, self._ends, is_wanted=is_wanted)
        if is_wanted and (field.is_array or field.kind == "text"):
            raise _NotPlainError
        at[rows], some = self._read_kind(field, at[rows], self._ends[rows], is_wanted=is_wanted)
        if some is None:
            return at, None
        column = np.full(len(at), np.nan)  # (n_values,)
        column[rows] = some
        return at, column

    def _read_kind(
        self, field: AvroField, at: Indices, ends: Indices, *, is_wanted: bool
    ) -> tuple[Indices, Column | None]:
        """Return where some values go on after a field, and the field if it is wanted."""
        column: Column | None = None
        if field.is_array:
            column, at = self._array(field.kind, at, ends)
        elif field.kind == "whole":
            column, at = self._whole(at, ends)
        elif field.kind == "enum":
            symbol, at = self._whole(at, ends)
            if not ((symbol >= 0) & (symbol < field.size)).all():
                raise _NotPlainError
        elif field.kind in ("text", "skipped"):
            length, first = self._whole(at, ends)
            if not ((length >= 0) & (length <= ends - first)).all():
                raise _NotPlainError
            at = first + length
            if is_wanted:
                column = list(
                    map(self._joined.__getitem__, map(slice, first.tolist(), at.tolist()))
                )
        else:
            first = at
            at = at + _SIZES.get(field.kind, field.size)
            if (at > ends).any():
                raise _NotPlainError
            if is_wanted:
                column = self._words(field.kind)[first].astype(np.float64)
        return at, column if is_wanted else None

    def _words(self, kind: Kind) -> NDArray[np.float32] | NDArray[np.float64]:
        """Return the numbers that begin at each byte, shape (n_bytes - their size + 1,)."""
        size = _SIZES[kind]
        n_words = len(self._text) - size + 1
        return np.ndarray((n_words,), f"<f{size}", buffer=self._joined, strides=(1,))

    def _whole(self, at: Indices, ends: Indices) -> tuple[NDArray[np.int64], Indices]:
        """Return the number at each place, and the places after it."""
        if (at >= ends).any():
            raise _NotPlainError
        byte = self._text[at]  # (n_some,)
        bits = (byte & _LOW_BITS).astype(np.uint64)  # (n_some,)
        at = at + 1
        more = np.flatnonzero(byte > _LOW_BITS)  # (n_longer,)
        shift = 7
        while len(more):
            if shift > _VARINT_BITS_MAX or (at[more] >= ends[more]).any():
                raise _NotPlainError
            byte = self._text[at[more]]
            if shift == _VARINT_BITS_MAX and (byte > 1).any():
                raise _NotPlainError
            bits[more] |= (byte & _LOW_BITS).astype(np.uint64) << np.uint64(shift)
            at[more] += 1
            more = more[byte > _LOW_BITS]
            shift += 7
        sign = -(bits & np.uint64(1)).astype(np.int64)  # (n_some,)
        return (bits >> np.uint64(1)).astype(np.int64) ^ sign, at

    def _array(self, kind: Kind, at: Indices, ends: Indices) -> tuple[NDArray[np.float64], Indices]:
        """Return the items of the array at each place, all in one block, and the places after."""
        counts, first = self._whole(at, ends)
        n_items, size = int(counts[0]), _SIZES[kind]
        if (
            not 0 < n_items < len(self._text)
            or (counts != n_items).any()
            or (ends - first <= n_items * size).any()
        ):
            raise _NotPlainError
        places = first[:, None] + size * np.arange(n_items)  # (n_some, n_items)
        items = self._words(kind)[places].astype(np.float64)  # (n_some, n_items)
        last = first + n_items * size  # (n_some,)
        if self._text[last].any():
            raise _NotPlainError
        return items, last + 1


_SIZES: dict[Kind, int] = {"null": 0, "boolean": 1, "float": 4, "double": 8}
"""Bytes of what always has as many."""


def _join(parts: Sequence[Column]) -> Column:
    """Return a column of all values."""
    if isinstance(parts[0], list):
        return [each for part in parts for each in part]
    widths = {part.shape[1:] for part in parts if not isinstance(part, list)}
    if len(widths) > 1:
        message = "arrays of several lengths"
        raise _NotPlainError(message)
    return np.concatenate(parts)
