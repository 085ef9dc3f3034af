"""Whatever the bytes are: every record is a window or rejected, and floats survive to the bit."""

import json
import struct
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.codec.formats import CONTENT_TYPES, ContentType, formats_of
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.records import Headers

N_VALUES = 2
SHAPES = st.sampled_from([(2, 1), (1, 2)])
FORMATS: st.SearchStrategy[ContentType] = st.sampled_from(list(formats_of("window")))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["values", "timestamp_ms", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ALMOST_WINDOWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "values": st.lists(
            st.floats() | st.integers() | st.lists(st.floats(), max_size=3), max_size=5
        )
    },
    optional={"timestamp_ms": st.integers() | st.none(), "values ": st.just([])},
)
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=70),
    st.builds(lambda value: json.dumps(value).encode(), JSON_VALUES | ALMOST_WINDOWS),
    st.lists(st.floats(width=32), max_size=6).map(lambda v: struct.pack(f"<{len(v)}f", *v)),
)
CONTENT_TYPE_HEADERS = st.sampled_from([*formats_of("window").values(), b"text/csv", b"", None])
HEADERS = st.none() | st.lists(
    st.tuples(st.sampled_from(["content-type", "Content-Type", "label"]), CONTENT_TYPE_HEADERS),
    max_size=3,
)
WELL_MADE = st.tuples(st.lists(FLOATS, min_size=N_VALUES, max_size=N_VALUES), FORMATS).map(
    lambda made: (encode(*made), [("content-type", CONTENT_TYPES[made[1]])])
)
RECORDS = st.lists(WELL_MADE | st.tuples(VALUES, HEADERS), max_size=8)


def encode(values: list[float], content_type: ContentType) -> bytes:
    """Return values in a format; in JSON as a flat array, which fits windows of one feature."""
    if content_type == "json":
        return orjson.dumps({"values": values})
    return struct.pack(f"<{len(values)}f", *values)


def decode(records: list[tuple[bytes | None, Headers | None]], *more: Any) -> Decoded:
    return decode_windows([v for v, _ in records], [h for _, h in records], *more)


@given(records=RECORDS, shape=SHAPES, content_type=FORMATS, first_index=st.integers(0, 1_000))
def test_windows_and_rejected_partition_the_records(
    records: list[Any], shape: tuple[int, int], content_type: ContentType, first_index: int
) -> None:
    decoded = decode(records, shape, content_type, first_index)
    accepted = decoded.indices.tolist()
    rejected = [each.index for each in decoded.rejected]
    assert accepted == sorted(accepted)
    assert rejected == sorted(rejected)
    assert sorted(accepted + rejected) == list(range(first_index, first_index + len(records)))
    assert decoded.windows.shape == (len(accepted), *shape)
    assert decoded.windows.dtype == np.float32
    assert decoded.windows.flags.c_contiguous
    assert set(decoded.timestamps_ms) <= set(accepted)
    for each in decoded.rejected:
        assert str(each.error).encode()


@given(records=RECORDS, shape=SHAPES, content_type=FORMATS)
def test_a_record_decodes_the_same_alone_as_among_others(
    records: list[Any], shape: tuple[int, int], content_type: ContentType
) -> None:
    together = decode(records, shape, content_type)
    alone = [decode([each], shape, content_type, row) for row, each in enumerate(records)]
    assert together.windows.tobytes() == b"".join(part.windows.tobytes() for part in alone)
    assert together.indices.tolist() == [index for part in alone for index in part.indices]
    assert together.timestamps_ms == {k: v for part in alone for k, v in part.timestamps_ms.items()}
    for one, other in zip(
        together.rejected, (each for part in alone for each in part.rejected), strict=True
    ):
        assert (one.index, type(one.error), str(one.error)) == (
            other.index,
            type(other.error),
            str(other.error),
        )


@given(data=st.data(), shape=st.tuples(st.integers(1, 5), st.integers(1, 3)))
def test_floats_survive_both_formats_to_the_bit(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    n_values = shape[0] * shape[1]
    values = data.draw(st.lists(FLOATS, min_size=n_values, max_size=n_values))
    window = np.array(values, dtype=np.float32).reshape(shape)
    as_json = orjson.dumps({"values": window.tolist()})
    for value, content_type in ((as_json, "json"), (window.tobytes(), "float32")):
        decoded = decode_windows([value], None, shape, content_type)
        assert decoded.windows.tobytes() == window.tobytes()


@given(values=st.lists(FLOATS, min_size=1, max_size=5), padding=st.sampled_from(["", " ", "\n"]))
def test_flat_and_nested_arrays_are_the_same_window(values: list[float], padding: str) -> None:
    shape = (len(values), 1)
    flat = json.dumps({"values": values}).encode() + padding.encode()
    nested = orjson.dumps({"values": [[value] for value in values]})
    one, other = (decode_windows([value], None, shape, "json") for value in (flat, nested))
    assert one.windows.tobytes() == other.windows.tobytes() != b""
