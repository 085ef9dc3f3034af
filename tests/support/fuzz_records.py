"""Records of any kind as bytes, so that a fuzzer that knows only bytes can change them."""

import random
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import orjson

from stream_detector.clients._unreadable import without_bad_names
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.records import Headers, RecordBatch, RecordMetadata, series_columns
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX

START_MS = 1_767_225_600_000
INTERVAL_MS = 10

KEYS = (
    *(b"a", b"b", b"c", b"a", b"b", b"c", None, b"", b"\xff\x00\n", "\u00e9\U0001f600".encode()),
    *(b"k" * KEY_BYTES_MAX, b"k" * (KEY_BYTES_MAX + 1), b"\xff" * 20_000),
)
HEADERS: tuple[Headers | None, ...] = (
    *(None, None, None, None, ()),
    [("content-type", CONTENT_TYPES["json"])],
    [("content-type", CONTENT_TYPES["float32"])],
    [("Content-Type", b" Application/JSON ; charset=utf-8")],
    [("trace", b"\x00\xff"), ("trace", None), ("\ud83d\ude00", b"")],
    [("content-type", b"text/\xff")],
    [("content-type", None)],
    [("content-type", CONTENT_TYPES["float32"]), ("content-type", b"text/csv")],
    [("content-type", b"\xff" * 3_000)],
    [("a", b"")] * 200,
    # What a client gives of a record with the name of a header that is not UTF-8.
    without_bad_names([("trace", b"1")], [b"\xff\xfe\x1b[31m"], 9),
)
UNITS_MS = (1, 1, INTERVAL_MS, INTERVAL_MS, 1_000, 3_600_000)
EDGES_MS = (
    *(-1, 0, 1, -(2**63), 2**63 - 1, START_MS // 1_000, 10**10, 10**9 - 1),
    *(TIMESTAMP_MS_MAX, TIMESTAMP_MS_MAX + 1),
)
_HEAD = struct.Struct("<BBBhH")  # series, headers, unit of the time, time, length of the value
_TOMBSTONE = 0x8000
_LENGTH_MAX = 0x1FF
_EDGE = 0x80
N_RULES_BYTES = 4


class Sent(NamedTuple):
    """One record as it lies in the topic."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Headers | None
    value: bytes | None

    @property
    def metadata(self) -> RecordMetadata:
        """Return what a client says of it."""
        return RecordMetadata(
            "t", self.partition, self.offset, self.timestamp_ms, self.key, self.headers or ()
        )


def batch_of(sent: Sequence[Sent]) -> RecordBatch:
    """Return records as one poll gives them."""
    metadata = [each.metadata for each in sent]
    values, offsets = [each.value for each in sent], [each.offset for each in sent]
    headers = [each.headers for each in sent]
    return RecordBatch.from_columns("t", values, series_columns(metadata), offsets, headers)


def unpack(data: bytes) -> tuple[int, list[Sent]]:
    """Return the number that chooses rules, and the records; any bytes stand for some."""
    records: list[Sent] = []
    at = N_RULES_BYTES
    while at + _HEAD.size <= len(data):
        series, headers, unit, time, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        value = None
        if not length & _TOMBSTONE:
            value = data[at : at + (length & _LENGTH_MAX)]
            at += len(value)
        time_ms = START_MS + time * UNITS_MS[unit % len(UNITS_MS)]
        if unit >= _EDGE:
            time_ms = EDGES_MS[time % len(EDGES_MS)]
        key, header = KEYS[(series >> 1) % len(KEYS)], HEADERS[headers % len(HEADERS)]
        records.append(Sent(series & 1, len(records), time_ms, key, header, value))
    return int.from_bytes(data[:N_RULES_BYTES], "little"), records


def pack(key: int, headers: int, time: int, value: bytes | None, unit: int = 2) -> bytes:
    """Return one record as bytes; `key`, `headers` and `unit` are places in the tables above."""
    length = _TOMBSTONE if value is None else len(value)
    return _HEAD.pack(key << 1, headers, unit, time, length) + (value or b"")


def window_seeds(n_records: int = 60) -> Iterator[bytes]:
    """Yield streams of whole windows of 4 values, each with some records that are none."""
    for seed in range(8):
        draw = random.Random(seed)
        records = []
        for number in range(n_records):
            values = [round(draw.gauss(0, 3), 3) for _ in range(4)]
            nested = [values[:2], values[2:]] if seed & 1 else values
            document = {"values": nested, "timestamp_ms": START_MS + number}
            if seed & 2:
                del document["timestamp_ms"]
            as_json, as_float32 = orjson.dumps(document), np.asarray(values, np.float32).tobytes()
            good = (6, as_float32) if seed & 4 else (draw.choice([0, 5, 7, 8]), as_json)
            headers, value = _one_of(draw, good, _bad_values(as_json))
            records.append(pack(draw.randrange(3), headers, number, value))
        yield draw.randbytes(N_RULES_BYTES) + b"".join(records)


def sample_seeds(n_records: int = 80) -> Iterator[bytes]:
    """Yield streams of samples of 2 values: three keys, gaps, late, repeated and strange ones."""
    for seed in range(24):
        draw = random.Random(seed)
        records, time, level = [], 0, 0.1
        for _ in range(n_records):
            time += draw.choice([0, 1, 1, 1, 1, 1, 2, 40])
            at = time - draw.choice([0, 0, 0, 0, 0, 3, 9])
            if draw.random() < 0.2:
                level = draw.choice([0.1, 0.1, 9.0])
            rows = [[level, draw.choice([0.2, 0.3, None])] for _ in range(draw.randint(1, 3))]
            at_ms = START_MS + at * INTERVAL_MS
            document: dict[str, object] = {"values": rows, "timestamp_ms": at_ms}
            if seed % 3 == 1:
                times = [at_ms + INTERVAL_MS * step for step in range(len(rows))]
                document = {"values": rows, "timestamps_ms": times}
            as_json = orjson.dumps(document)
            as_float32 = np.array(rows, dtype="<f4").tobytes()
            good = (6, as_float32) if seed % 3 == 2 else (draw.choice([0, 0, 5, 8]), as_json)
            headers, value = _one_of(draw, good, _bad_values(as_json))
            records.append(pack(draw.randrange(3), headers, at, value))
        yield draw.randbytes(N_RULES_BYTES) + b"".join(records)


def _one_of(
    draw: random.Random, good: tuple[int, bytes], bad: list[bytes | None]
) -> tuple[int, bytes | None]:
    """Return headers and value: nine of ten records are good."""
    if draw.random() < 0.9:
        return good
    return draw.randrange(len(HEADERS)), draw.choice(bad)


def _bad_values(as_json: bytes) -> list[bytes | None]:
    """Return values that are no record, near to one that is."""
    return [
        *(None, b"", b"?", b"\xff\xfe", as_json[:-1], b"\xef\xbb\xbf" + as_json, as_json + b"x"),
        *(b"[" * 200, b'{"values":[1e400,1,1,1]}', b'{"values":[NaN,1,1,1]}', b"null", b"{}"),
        *(b'{"values":[' + b"9" * 300 + b",1,1,1]}", b'{"values":[1e30,0,0,0]}'),
        *(b'{"values":[1,2,3,4],"values":[5,6,7,8]}', b'{"values":[true,null,"",{}]}'),
        *(b'{"values":[1,2,3,4],"timestamp_ms":-1}', b'{"values":[[1,2]],"timestamps_ms":[]}'),
        b'{"values":[[1,2]],"timestamp_ms":1767225600}',
    ]
