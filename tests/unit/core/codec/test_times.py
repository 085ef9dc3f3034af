"""Times at the limits of what is one, in each format and shape of a record."""

import numpy as np
import orjson
import pytest
from input_forms import FORMS, KEYS, NAMES, Form, Sample

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.mapped_windows import decode_mapped_windows
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, RecordBatch, RecordMetadata, series_columns
from stream_detector.core.timestamps import (
    AHEAD_MS_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    TIMESTAMP_MS_MAX,
    describe_time,
    looks_like,
)
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.mapping import open_mapping

NO_TIME = -1
SAMPLE_TIMES = {
    -1: False,
    0: True,
    SECONDS_MIN - 1: True,
    SECONDS_MIN: False,
    SECONDS_MAX - 1: False,
    SECONDS_MAX: True,
    TIMESTAMP_MS_MAX: True,
    TIMESTAMP_MS_MAX + 1: False,
}
"""Whether each may be the time of a sample, which may be one since boot."""

FLOAT32 = ("content-type", CONTENT_TYPES["float32"])
BAD = b"?"  # beside it, records take the path that explains
FEATURES = Features(NAMES)


def batch_of(
    values: list[bytes], own_ms: int = NO_TIME, headers: list[Headers] | None = None
) -> RecordBatch:
    metadata = [
        RecordMetadata("t", 0, at, own_ms, b"k", headers[at] if headers else ())
        for at in range(len(values))
    ]
    series = series_columns(metadata)
    return RecordBatch.from_columns("t", values, series, range(len(values)), headers)


def decode(
    value: bytes, *more: bytes, own_ms: int = NO_TIME, headers: Headers = ()
) -> DecodedSamples:
    batch = batch_of([value, *more], own_ms)
    all_headers: list[Headers] = [headers, *[() for _ in more]]
    return decode_samples(
        [value, *more], all_headers, batch.series(), "json", features=FEATURES, interval_ms=1_000
    )


def times_of_own_forms(time_ms: int) -> dict[str, DecodedSamples]:
    """Return records of one sample of that time, in each form of our own."""
    first = orjson.dumps({"values": [1, 2], "timestamp_ms": time_ms})
    each = orjson.dumps({"values": [[1, 2]], "timestamps_ms": [time_ms]})
    bare = orjson.dumps({"values": [1, 2]})
    packed = np.array([1, 2], "<f4").tobytes()
    return {
        "first": decode(first),
        "first, beside a bad one": decode(first, BAD),
        "each": decode(each),
        "header": decode(packed, headers=[FLOAT32, ("timestamp-ms", b"%d" % time_ms)]),
        "the record's own": decode(bare, own_ms=time_ms),
    }


@pytest.mark.parametrize(("time_ms", "is_time"), SAMPLE_TIMES.items())
def test_a_sample_s_time_at_a_limit(time_ms: int, is_time: bool) -> None:
    for name, found in times_of_own_forms(time_ms).items():
        assert found.times_ms.tolist() == [time_ms] * is_time, name


MAPPED = [
    form
    for form in FORMS
    if form.name
    in (
        *("timestamp_ms", "key in the value", "flat", "text", "csv", "headers"),
        *("otlp-json", "avro", "debezium", "connect-envelope"),
    )
]


@pytest.mark.parametrize("form", MAPPED, ids=[form.name for form in MAPPED])
def test_a_mapped_time_at_a_limit(form: Form) -> None:
    mapping = open_mapping(InputSection.model_validate(form.table), FEATURES.names)
    assert mapping is not None
    for time_ms, is_time in SAMPLE_TIMES.items():
        sample = Sample(KEYS[0], 0, time_ms, dict.fromkeys(NAMES, 1.5))
        [value] = form.write(sample, [])
        first = value if isinstance(value, bytes) else orjson.dumps(value)
        own: Headers = form.headers(sample) if form.headers else []
        for values in ([first], [first, BAD]):
            headers: list[Headers] = [own, []][: len(values)]
            _, found = decode_mapped_samples(
                batch_of(values, headers=headers if any(headers) else None),
                form.content_type,
                mapping,
                features=FEATURES,
                interval_ms=1_000,
            )
            assert found.times_ms.tolist() == [time_ms] * is_time, time_ms


@pytest.mark.parametrize(
    ("time_ms", "is_time"),
    [
        *((0, False), (SECONDS_MAX - 1, False), (SECONDS_MAX, True)),
        *((TIMESTAMP_MS_MAX, True), (TIMESTAMP_MS_MAX + 1, False)),
    ],
)
def test_a_mapped_window_s_time_at_a_limit(time_ms: int, is_time: bool) -> None:
    mapping = InputSection(time="ts", values="data").mapping(NAMES)
    assert mapping is not None
    value = orjson.dumps({"ts": time_ms, "data": [[1, 2]]})
    _, found = decode_mapped_windows(
        batch_of([value]), None, mapping, shape=(1, 2), features=FEATURES
    )
    assert found.timestamps_ms == ({0: time_ms} if is_time else {})
    assert len(found.rejected) == (not is_time)


@pytest.mark.parametrize("own_ms", [0, SECONDS_MAX])
def test_a_sample_may_be_an_hour_ahead_of_its_record_and_no_longer(own_ms: int) -> None:
    at_limit, beyond = (
        decode(orjson.dumps({"values": [1, 2], "timestamp_ms": time_ms}), own_ms=own_ms)
        for time_ms in (own_ms + AHEAD_MS_MAX, own_ms + AHEAD_MS_MAX + 1)
    )
    assert at_limit.times_ms.tolist() == [own_ms + AHEAD_MS_MAX]
    [rejected] = beyond.rejected
    assert "hours ahead of the record's own time" in str(rejected.error)


@pytest.mark.parametrize(
    ("time_ms", "unit"),
    [
        *((1, "since boot"), (SECONDS_MIN - 1, "since boot"), (SECONDS_MIN, " seconds")),
        *((SECONDS_MAX - 1, " seconds"), (SECONDS_MAX, ""), (SECONDS_MIN * 10**6 - 1, "")),
        *((SECONDS_MIN * 10**6, "microseconds"), (SECONDS_MAX * 10**6 - 1, "microseconds")),
        *((SECONDS_MAX * 10**6, ""), (SECONDS_MIN * 10**9, "nanoseconds")),
        *((SECONDS_MAX * 10**9, ""), (0, "no time"), (0.5, "")),
    ],
)
def test_what_a_number_at_a_limit_looks_like(time_ms: float, unit: str) -> None:
    assert (unit in looks_like(time_ms)) if unit else (looks_like(time_ms) == "")


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        *((0, "1970-01-01T00:00:00.000Z"), (TIMESTAMP_MS_MAX, "9999-12-31T23:59:59.999Z")),
        *((-1, "-1"), (TIMESTAMP_MS_MAX + 1, "253402300800000")),
    ],
)
def test_a_time_at_a_limit_is_a_date_or_a_number(time_ms: int, text: str) -> None:
    assert describe_time(time_ms) == text
