"""How many bytes a record of Kafka takes.

Pure.
"""

from collections.abc import Sequence

BATCH_OVERHEAD = 61
"""Bytes of a batch before its first record."""


def n_header_bytes(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return what headers take in a record: names, values, and how long each of them is.

    Examples
    --------
    >>> n_header_bytes([])
    1
    >>> n_header_bytes([("a", b"xy"), ("", None)])
    8
    """
    n_bytes = n_varint_bytes(len(headers))
    for name, value in headers:
        n_name = len(name.encode(errors="replace"))
        n_value = len(value) if value is not None else -1
        n_bytes += n_varint_bytes(n_name) + n_name + n_varint_bytes(n_value) + max(0, n_value)
    return n_bytes


def n_varint_bytes(number: int) -> int:
    """Return how many bytes a number takes in a record of Kafka, 7 bits each and one for the sign.

    Examples
    --------
    >>> [n_varint_bytes(number) for number in (-1, 0, 63, 64, 8_191, 8_192)]
    [1, 1, 1, 2, 2, 3]
    """
    magnitude = number if number >= 0 else -number - 1
    return max(1, -(-(magnitude.bit_length() + 1) // 7))
