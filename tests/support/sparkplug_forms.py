"""Payloads of Sparkplug B: written by Google's library, and byte by byte."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from stream_detector.schemas.sparkplug import payload_class

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Wire types of Protobuf."""


def payload_of(metrics: Iterable[Mapping[str, Any]], time_ms: int | None = None) -> bytes:
    """Return a payload, written by Google's library with the schema of the product."""
    payload = payload_class()(timestamp=time_ms, metrics=metrics)
    content: bytes = payload.SerializeToString()
    return content


def field(number: int, wire_type: int, content: int | bytes) -> bytes:
    """Return a field of a message; bytes are written with their length where they have any."""
    head = _varint(number << 3 | wire_type)
    if isinstance(content, int):
        return head + _varint(content)
    return head + (_varint(len(content)) if wire_type == LENGTH else b"") + content


def by_hand(
    metrics: Iterable[tuple[bytes, int, int, Any]], metric_ms: int, payload_ms: int
) -> bytes:
    """Return a payload by the numbers of the specification, without the product's schema.

    Parameters
    ----------
    metrics
        Name, datatype, number of the field of the value, and the value.
    metric_ms, payload_ms
        Times of the metrics and of the payload.
    """
    content = field(1, VARINT, payload_ms)
    for alias, (name, datatype, number, value) in enumerate(metrics, start=1):
        metric = field(1, LENGTH, name) + field(2, VARINT, alias) + field(3, VARINT, metric_ms)
        metric += field(4, VARINT, datatype)
        if number == 12:
            metric += field(12, FOUR_BYTES, struct.pack("<f", value))
        elif number == 13:
            metric += field(13, EIGHT_BYTES, struct.pack("<d", value))
        else:
            metric += field(number, LENGTH if isinstance(value, bytes) else VARINT, value)
        content += field(2, LENGTH, metric)
    return content + field(3, VARINT, 2) + field(4, LENGTH, b"uuid") + field(5, LENGTH, b"body")


def _varint(number: int) -> bytes:
    """Return a number, seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
