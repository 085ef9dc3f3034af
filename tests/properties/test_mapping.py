"""Records of any bytes, read by any form of `[input]`: each is used or rejected."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from input_forms import FORMS, INTERVAL_MS, NAMES, START_MS, records_of

from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.avro import open_mapping

FEATURES = Features(NAMES)
TABLES = [form.table for form in FORMS if form.table and form.n_features == len(NAMES)]
GOOD = [
    (each.value, tuple(each.headers))
    for form in FORMS
    if form.n_features == len(NAMES)
    for each in records_of(form, "t")[:3]
]
KEYS = (
    *(*NAMES, "ts", "device", "values", "payload", "after", "fields", "data", "rows", "readings"),
    *("at", "v", "tag", "value", "timestamp_ms", "timestamps_ms", "tags", "host"),
)
CONTENT_TYPES = (None, "json", "csv", "influx", "float32", "avro")
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


def batch_of(records: list[Any]) -> RecordBatch:
    metadata = [
        RecordMetadata("t", 0, at, START_MS, b"own", headers)
        for at, (_, headers) in enumerate(records)
    ]
    return RecordBatch(
        [value for value, _ in records],
        [headers for _, headers in records],
        {},
        metadata.__getitem__,
        lambda: series_columns(metadata),
        lambda: np.arange(len(records)),
    )


@given(RECORDS, st.sampled_from(TABLES), st.sampled_from(CONTENT_TYPES))
def test_each_record_is_used_or_rejected(
    records: list[Any], table: dict[str, Any], content_type: str | None
) -> None:
    mapping = open_mapping(InputSection.model_validate(table), NAMES)
    assert mapping is not None

    def decode(some: list[Any]) -> Any:
        batch = batch_of(some)
        return decode_mapped_samples(
            batch, content_type, mapping, features=FEATURES, interval_ms=INTERVAL_MS
        )

    batch, samples = decode(records)
    used, rejected = samples.indices.tolist(), [each.index for each in samples.rejected]
    assert sorted([*used, *rejected]) == list(range(len(records)))
    assert samples.counts.sum() == len(samples.values) == len(samples.times_ms)
    assert (samples.counts > 0).all()
    ends = np.cumsum(samples.counts)
    for at, (row, count, end) in enumerate(zip(used, samples.counts, ends, strict=True)):
        # Alone, a record means the same as among others.
        alone, own = decode([records[row]])
        assert own.values.tobytes() == samples.values[end - count : end].tobytes(), at
        assert own.times_ms.tolist() == samples.times_ms[end - count : end].tolist()
        assert (np.diff(own.times_ms) >= 0).all()
        assert alone.keys()[0] == batch.keys()[row]
        assert batch.keys()[row]
    reasons = {each.index: str(each.error) for each in samples.rejected}
    for row, reason in reasons.items():
        [own_rejected] = decode([records[row]])[1].rejected
        assert str(own_rejected.error) == reason
