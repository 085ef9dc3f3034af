"""Records of any bytes, read by any form of `[input]`: each is used or rejected."""

from typing import Any

import orjson
from fuzz_records import Sent
from hypothesis import given
from hypothesis import strategies as st
from input_forms import NAMES, START_MS, records_of
from mapped_checks import CONTENT_TYPES, READ, check_mapped, mapping_of

from stream_detector.core.codec.formats import ContentType

GOOD = [(each.value, tuple(each.headers)) for form in READ for each in records_of(form, "t")[:3]]
KEYS = (
    *(*NAMES, "ts", "device", "values", "payload", "after", "fields", "data", "rows", "readings"),
    *("at", "v", "tag", "value", "timestamp_ms", "timestamps_ms", "tags", "host"),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from([START_MS, "2026-01-01T00:00:00Z", "21.5", "temperature"]),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            each,
            max_size=5,
        )
    ),
    max_leaves=12,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "device", "when"]),
        st.none() | st.binary(max_size=3) | st.sampled_from([b"application/json", b"text/csv"]),
    ),
    max_size=2,
).map(tuple)


@st.composite
def damaged(draw: Any) -> bytes:
    value, _ = draw(st.sampled_from(GOOD))
    at = draw(st.integers(0, len(value)))
    return bytes(value[:at] + draw(st.binary(max_size=3)) + value[at + draw(st.integers(0, 3)) :])


RECORDS = st.lists(
    st.sampled_from(GOOD)
    | st.tuples(
        st.none() | st.binary(max_size=20) | JSON.map(orjson.dumps) | damaged(),
        HEADERS,
    ),
    max_size=6,
)


@given(RECORDS, st.integers(0, len(READ) - 1), st.sampled_from(CONTENT_TYPES))
def test_each_record_is_used_or_rejected(
    records: list[Any], form: int, content_type: ContentType | None
) -> None:
    sent = [
        Sent(0, at, START_MS, b"own", headers, value) for at, (value, headers) in enumerate(records)
    ]
    check_mapped(mapping_of(form), content_type, sent)
