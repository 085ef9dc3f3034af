"""Flat JSON objects of numbers with the same keys in one order, read without an object a value.

Pure. Of many such documents together, all that is no number is overwritten with blanks, and one
parser reads what is left as one array. Two documents of two keys::

    {"t":21.5,"h":40},{"t":21.6,"h":41}
         21.5,    40 ,     21.6,    41

Names are compared as words of 8 bytes. Whatever is not exactly so is for the other paths: nested
values, texts, null, another order, an escape.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from stream_detector.core.codec.json_samples import NOT_PLAIN, NUMBERS

_WORD = 8
"""Bytes of a word."""

_BYTES_AT_ONCE = 131_072
"""Bytes of documents read together, which stay in the processor's cache."""

_BLANKS = np.uint64(0x2020202020202020)
_QUOTE, _COLON, _COMMA, _BLANK, _OPEN, _CLOSE, _BRACKET = b'":, {}['

Indices = NDArray[np.intp]


class FlatNumbers(NamedTuple):
    """The numbers of flat documents.

    Parameters
    ----------
    names
        Keys of each document. Length n_keys.
    numbers
        Float64, shape (n_documents, n_keys).
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]


def flat_numbers(values: Sequence[bytes]) -> FlatNumbers | None:
    """Return the numbers of flat documents, None where one of them is not like the first.

    Parameters
    ----------
    values
        Documents, at least one.

    Examples
    --------
    >>> found = flat_numbers([b'{"t":21.5,"h":40}', b'{"t": 21.6, "h": 41}'])
    >>> found.names, found.numbers.tolist()
    (('t', 'h'), [[21.5, 40.0], [21.6, 41.0]])
    >>> flat_numbers([b'{"t":21.5,"h":40}', b'{"h":41,"t":21.6}']) is None
    True
    """
    try:
        first = orjson.loads(values[0])
        keys = [name.encode() for name in first]
        if not keys or not set(map(type, first.values())) <= NUMBERS:
            return None
    except NOT_PLAIN:
        return None
    n_at_once = max(_BYTES_AT_ONCE // len(values[0]), 32)
    parts: list[NDArray[np.float64]] = []
    for start in range(0, len(values), n_at_once):
        part = _read(values[start : start + n_at_once], keys)
        if part is None:
            return None
        parts.append(part)
    return FlatNumbers(tuple(first), np.concatenate(parts))


def _read(values: Sequence[bytes], keys: Sequence[bytes]) -> NDArray[np.float64] | None:
    """Return the numbers of documents with these keys, shape (n_documents, n_keys)."""
    joined = b",".join([b"", *values, b"]" + b" " * _WORD])
    if b"[" in joined or b"\\" in joined or min(map(len, values)) < _WORD:
        return None
    text = np.frombuffer(bytearray(joined), dtype=np.uint8)
    lengths = np.fromiter(map(len, values), np.intp, len(values))  # (n_documents,)
    starts = np.cumsum(lengths + 1) - lengths  # (n_documents,)
    ends = starts + lengths - 1  # (n_documents,)
    opens = _find_keys(text, starts, ends, keys)  # (n_documents, n_keys)
    if opens is None or not _blank_keys(text, opens, keys):
        return None
    text[starts] = text[ends] = text[ends[-1] + 1] = _BLANK
    text[0] = _BRACKET
    parser: Any = simdjson.Parser()
    try:
        buffer = parser.parse(text.tobytes()).as_buffer(of_type="d")
    except NOT_PLAIN:
        return None
    numbers = np.frombuffer(buffer, dtype=np.float64)
    return numbers.reshape(opens.shape) if len(numbers) == opens.size else None


def _find_keys(
    text: NDArray[np.uint8], starts: Indices, ends: Indices, keys: Sequence[bytes]
) -> Indices | None:
    """Return where the keys of each document begin, None where there are not as many.

    Parameters
    ----------
    text
        All documents, shape (n_bytes,).
    starts, ends
        First and last byte of each, shape (n_documents,).
    keys
        Those of the first document.

    Returns
    -------
    Places of opening quotes, shape (n_documents, n_keys).
    """
    quotes = np.flatnonzero(text == _QUOTE)
    if len(quotes) != 2 * len(keys) * len(starts):
        return None
    pairs = quotes.reshape(len(starts), -1, 2)  # (n_documents, n_keys, 2)
    opens, closes = pairs[:, :, 0], pairs[:, :, 1]  # (n_documents, n_keys)
    before = text[opens[:, 1:] - 1]  # (n_documents, n_keys - 1)
    follows = (before == _COMMA) | ((before == _BLANK) & (text[opens[:, 1:] - 2] == _COMMA))
    is_flat = (
        (text[starts] == _OPEN).all()
        and (text[ends] == _CLOSE).all()
        and (opens[:, 0] == starts + 1).all()
        and (closes[:, -1] < ends).all()
        and (closes - opens == [len(key) + 1 for key in keys]).all()
        and (text[closes + 1] == _COLON).all()
        and follows.all()
    )
    return opens if is_flat else None


def _blank_keys(text: NDArray[np.uint8], opens: Indices, keys: Sequence[bytes]) -> bool:
    """Overwrite the keys and their colons with blanks, and return whether they are these keys.

    Every second key at a time: the words of two neighbours may have bytes in common.
    """
    words = np.ndarray((len(text) - _WORD + 1,), "<u8", buffer=text, strides=(1,))
    wholes = [b'"%b":' % key for key in keys]
    for first in (0, 1):
        columns = range(first, len(keys), 2)
        for offset in range(0, max(map(len, wholes)), _WORD):
            some = [column for column in columns if len(wholes[column]) > offset]
            parts = [wholes[column][offset : offset + _WORD] for column in some]
            expected = np.array([int.from_bytes(part, "little") for part in parts], np.uint64)
            mask = np.array([256 ** len(part) - 1 for part in parts], np.uint64)  # (n_some,)
            places = opens[:, some] + offset  # (n_documents, n_some)
            found = words[places]  # (n_documents, n_some)
            if ((found & mask) != expected).any():
                return False
            words[places] = (found & ~mask) | (_BLANKS & mask)
    return True
