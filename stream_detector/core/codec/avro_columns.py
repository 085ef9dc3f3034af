r"""Avro values of one schema read as columns, a field of all values at a time.

Pure. Avro writes the fields of a record one after the other and nothing between them, so where a
field begins in each value follows from the fields before it. Two values of a text and a double,
and where each step has come in them::

    06 't-1' 00 00 00 00 00 80 35 40      the text: its length (3, as zigzag 06) and 3 bytes
    08 't-10' 00 00 00 00 00 00 36 40     its length (4) and 4 bytes
    ^  ^     ^                      ^
    0  1     4 and 5                end: 12 and 13

So it is with records of records, primitive types, enumerations, and short arrays and maps, each of
which may be null. Of these, numbers, texts and arrays of numbers can be read, the others are passed
over. What is not exactly so, and what does not fit its schema, is for the path that explains.

Source, as read: Apache Avro 1.12, "Specification", section "Binary encoding".
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal[
    "null",
    "boolean",
    "whole",
    "float",
    "double",
    "text",
    "skipped",
    "fixed",
    "enum",
    "record",
    "array",
    "map",
]
"""What a field is; `whole` is int or long, `skipped` are bytes that no mapping can use."""

FieldPath = tuple[str, ...]

_BYTES_AT_ONCE = 262_144
"""Bytes of values read together, which stay in the processor's cache."""

_PADDING = 16
"""Bytes after the last value, so that a number which ends too late can be read and then refused."""

_VARINT_BITS_MAX = 63
"""Furthest shift of the 7 bits of one byte of a number of 64 bits."""

_ITEMS_MAX, _BLOCKS_MAX = 64, 2
"""Most items of an array or a map in a block, and blocks with the one that ends it: each item costs
as much as a field, so long ones are faster value by value."""

_LOW_BITS = 0x7F
"""Of a byte of a number, those that belong to it; the highest says that there is another byte."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AvroField:
    """One field of a record, or what an array or a map consists of.

    Parameters
    ----------
    path
        Names of the records around it, and its own; empty inside an array or a map.
    kind
        Its type.
    null
        Which branch of its union is null; None where it has no union.
    size
        Bytes of a fixed, symbols of an enumeration.
    inside
        Fields of a record that may be null; of an array those of an item, of a map key and value.
    """

    path: FieldPath
    kind: Kind
    null: int | None = None
    size: int = 0
    inside: tuple["AvroField", ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it is a number, or one that may be null."""
        return self.kind in ("whole", "float", "double")

    @property
    def is_numbers(self) -> bool:
        """Whether it is an array of numbers that can be read."""
        kinds = [(each.kind, each.null) for each in self.inside]
        return self.kind == "array" and kinds in ([("float", None)], [("double", None)])


class AvroLayout(NamedTuple):
    """The fields of a schema whose values can be read as columns.

    Parameters
    ----------
    order
        In the order of their bytes; those of a record that cannot be null stand in its place.
    fields
        By their path, those inside of records too.
    records
        Paths of records.
    """

    order: tuple[AvroField, ...]
    fields: Mapping[FieldPath, AvroField]
    records: Collection[FieldPath]

    @classmethod
    def of(cls, order: Sequence[AvroField]) -> "AvroLayout":
        """Return the layout of some fields."""
        fields: dict[FieldPath, AvroField] = {}
        waiting = list(order)
        while waiting:
            each = waiting.pop()
            if each.kind == "record":
                waiting += each.inside
            else:
                fields[each.path] = each
        records = {path[:n] for path in fields for n in range(len(path))} | {()}
        return cls(tuple(order), fields, records)


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
    >>> layout = AvroLayout.of([AvroField(("n",), "whole", null=0)])
    >>> read_columns([b"\2\5", b"\0", b"\2\4"], 0, layout, [("n",)])
    {('n',): array([-3., nan,  2.])}
    """
    n_at_once = max(_BYTES_AT_ONCE // (len(values[0]) + 1), 32)
    starts = range(0, len(values), n_at_once)
    try:
        parts = [
            _Reader(values[start : start + n_at_once], skip, wanted).read(layout)
            for start in starts
        ]
        return {path: _join([part[path] for part in parts]) for path in parts[0]}
    except _NotPlainError:
        return None


class _Reader:
    """Steps through some values, field by field.

    Parameters
    ----------
    values, skip, wanted
        As in `read_columns`.
    """

    def __init__(self, values: Sequence[bytes], skip: int, wanted: Collection[FieldPath]) -> None:
        joined = b"".join([*values, bytes(_PADDING)])
        lengths = np.fromiter(map(len, values), np.intp, len(values))  # (n_values,)
        self._text = np.frombuffer(joined, dtype=np.uint8)  # (n_bytes,)
        self._joined = joined
        self._ends = np.cumsum(lengths)  # (n_values,)
        self._starts = self._ends - lengths + skip  # (n_values,)
        self._wanted = wanted
        self._found: dict[FieldPath, Column] = {}

    def read(self, layout: AvroLayout) -> dict[FieldPath, Column]:
        """Return the wanted fields."""
        at = self._starts
        for field in layout.order:
            at = self._read_field(field, at, self._ends)
        if not (at == self._ends).all():
            raise _NotPlainError
        return self._found

    def _read_field(self, field: AvroField, at: Indices, ends: Indices) -> Indices:
        """Read the next field of some values, and return where each goes on."""
        if field.null is None:
            return self._read_kind(field, at, ends)
        branch, at = self._whole(at, ends)
        if not ((branch == 0) | (branch == 1)).all():
            raise _NotPlainError
        rows = np.flatnonzero(branch != field.null)  # (n_present,)
        if len(rows) == len(at):
            return self._read_kind(field, at, ends)
        is_wanted = field.path in self._wanted
        is_lost = field.kind == "record" and any(map(field.path.__eq__, self._parents()))
        if is_lost or (is_wanted and not field.is_number):
            raise _NotPlainError
        at[rows] = self._read_kind(field, at[rows], ends[rows])
        if is_wanted:
            column = np.full(len(at), np.nan)  # (n_values,)
            column[rows] = self._found[field.path]
            self._found[field.path] = column
        return at

    def _parents(self) -> Iterator[FieldPath]:
        """Yield the paths of records around wanted fields."""
        for path in self._wanted:
            yield from (path[:n] for n in range(len(path)))

    def _read_kind(self, field: AvroField, at: Indices, ends: Indices) -> Indices:
        """Read a field that is not null, and return where each value goes on."""
        is_wanted = field.path in self._wanted
        if field.kind == "record":
            for each in field.inside:
                at = self._read_field(each, at, ends)
        elif field.inside and not is_wanted:
            at = self._skip_blocks(field, at, ends)
        else:
            column, at = self._read_value(field, at, ends, is_wanted=is_wanted)
            if is_wanted and column is not None:
                self._found[field.path] = column
        return at

    def _read_value(
        self, field: AvroField, at: Indices, ends: Indices, *, is_wanted: bool
    ) -> tuple[Column | None, Indices]:
        """Return a field that is not null where it is wanted, and where each value goes on."""
        if field.kind == "array":
            return self._numbers(field.inside[0].kind, at, ends)
        if field.kind in ("whole", "enum"):
            numbers, at = self._whole(at, ends)
            if field.kind == "enum" and not ((numbers >= 0) & (numbers < field.size)).all():
                raise _NotPlainError
            return numbers, at
        length: Any = _SIZES.get(field.kind, field.size)
        if field.kind in ("text", "skipped"):
            length, at = self._whole(at, ends)
            if not ((length >= 0) & (length <= ends - at)).all():
                raise _NotPlainError
        first, at = at, at + length
        if (at > ends).any():
            raise _NotPlainError
        if not is_wanted:
            return None, at
        if field.kind == "text":
            spans = map(slice, first.tolist(), at.tolist())
            return list(map(self._joined.__getitem__, spans)), at
        return self._words(field.kind)[first].astype(np.float64), at

    def _skip_blocks(self, field: AvroField, at: Indices, ends: Indices) -> Indices:
        """Return where each value goes on after an array or a map."""
        at, rows = at.copy(), np.arange(len(at))
        for _ in range(_BLOCKS_MAX):
            counts, at[rows] = self._whole(at[rows], ends[rows])
            if not ((counts >= 0) & (counts <= _ITEMS_MAX)).all():
                raise _NotPlainError
            rows, counts = rows[counts > 0], counts[counts > 0]
            if not len(rows):
                return at
            some, left = rows, counts
            while len(some):
                next_at = at[some]
                for each in field.inside:
                    next_at = self._read_field(each, next_at, ends[some])
                at[some] = next_at
                some, left = some[left > 1], left[left > 1] - 1
        raise _NotPlainError

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

    def _numbers(
        self, kind: Kind, at: Indices, ends: Indices
    ) -> tuple[NDArray[np.float64], Indices]:
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
