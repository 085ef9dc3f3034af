"""Records of samples: what they may look like, and what is said of those that cannot be used."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

from stream_detector.core.codec.formats import CONTENT_TYPES, ContentType
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, SeriesColumns
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordOrderError,
    RecordShapeError,
    RecordValueError,
)

NOW_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
FLOAT32 = [("content-type", CONTENT_TYPES["float32"])]
NAN = float("nan")


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None = b"pump"
    timestamp_ms: int = NOW_MS
    headers: Headers = ()


def json_of(values: Any, **more: object) -> bytes:
    return orjson.dumps({"values": values, **more})


GOOD = Sent(json_of([[1, 2], [3, 4]]))


def decode(
    records: Sequence[Sent],
    n_features: int = 2,
    interval_ms: float = 10,
    content_type: ContentType = "json",
    features: Features | None = None,
) -> DecodedSamples:
    headers = [record.headers for record in records]
    series = SeriesColumns(
        [record.key for record in records],
        np.zeros(len(records), np.int64),
        np.array([record.timestamp_ms for record in records], np.int64),
    )
    return decode_samples(
        [record.value for record in records],
        headers if any(headers) else None,
        series,
        content_type,
        features=features or Features.generated(n_features),
        interval_ms=interval_ms,
    )


NAMED = Features(("temperature", "load"))


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"load": 2, "temperature": 1.5}, [[1.5, 2]]),
        ({"temperature": None, "load": 2}, [[NAN, 2]]),
        ([{"load": 2, "temperature": 1}, {"temperature": 3, "load": 4}], [[1, 2], [3, 4]]),
        ([{"load": 2, "temperature": 1}, [3, 4]], [[1, 2], [3, 4]]),
    ],
)
def test_samples_that_name_their_features_may_do_so_in_any_order(
    values: object, expected: list[list[float]], is_plain: bool
) -> None:
    times = {} if is_plain else {"timestamps_ms": [NOW_MS + at for at in range(len(expected))]}
    records = [Sent(json_of(values, **times))]
    decoded = decode(records, features=NAMED)
    assert list(decoded.rejected) == []
    np.testing.assert_array_equal(decoded.values, expected)


def test_named_and_unnamed_samples_may_be_in_one_batch() -> None:
    values = ({"load": 2, "temperature": 1}, [3, 4], [{"load": 6, "temperature": 5}])
    decoded = decode([Sent(json_of(each)) for each in values], features=NAMED)
    assert decoded.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    one = decode([Sent(json_of({"x": 1})), Sent(json_of({"x": 2}))], features=Features(("x",)))
    assert one.values.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"load": 2},
            "values[0]: expected the features temperature, load; missing temperature; se",
        ),
        ([[1, 2], {"load": 2, "t": 1}], "values[1]: expected the features temperature, load; miss"),
        ({"load": 2, "temperature": 1, "p\n": 3}, "load; unknown p\\n; send null for a value that"),
        ({"load": "2", "temperature": 1}, "values[0]: expected numbers or null"),
        ({"load": True, "temperature": 1}, "values[0]: expected numbers or null"),
        ({"load": {}, "temperature": 1}, "values[0]: expected numbers or null"),
        ({}, "missing temperature, load"),
    ],
)
def test_missing_and_unknown_names_in_a_record_are_listed(values: object, expected: str) -> None:
    good = Sent(json_of({"load": 2, "temperature": 1}))
    decoded = decode([good, Sent(json_of(values)), good], features=NAMED)
    assert decoded.values.tolist() == [[1, 2], [1, 2]]
    (rejected,) = decoded.rejected
    assert rejected.index == 1
    assert expected in str(rejected.error)


@pytest.mark.parametrize(
    ("n_features", "values", "expected"),
    [
        (1, [1, 2.5], [[1], [2.5]]),
        (1, [[1], [2.5]], [[1], [2.5]]),
        (2, [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (2, [1, 2], [[1, 2]]),
        (1, [None, 2], [[NAN], [2]]),
        (2, [[1, None], [None, None]], [[1, NAN], [NAN, NAN]]),
        (2, [None, 2], [[NAN, 2]]),
        (3, [[1, 2.5, None]], [[1, 2.5, NAN]]),
    ],
)
def test_what_a_record_may_hold(n_features: int, values: Any, expected: Any) -> None:
    for others in ([], [Sent(b"?")]):  # all at once, and one by one
        found = decode([Sent(json_of(values)), *others], n_features)
        np.testing.assert_array_equal(found.values, np.float32(expected))
        assert found.values.dtype == np.float32
        assert found.values.flags.c_contiguous
        assert (found.counts.tolist(), found.indices.tolist()) == ([len(expected)], [0])


def test_float32_takes_nan_as_missing() -> None:
    value = np.array([[1, 2], [NAN, 4]], "<f4").tobytes()
    found = decode([Sent(value, headers=FLOAT32), GOOD])
    np.testing.assert_array_equal(found.values, [[1, 2], [NAN, 4], [1, 2], [3, 4]])
    assert found.counts.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("more", "times_ms"),
    [
        ({}, [NOW_MS, NOW_MS + 10]),
        ({"timestamp_ms": None}, [NOW_MS, NOW_MS + 10]),
        ({"timestamp_ms": NOW_MS - 5}, [NOW_MS - 5, NOW_MS + 5]),
        ({"timestamps_ms": None}, [NOW_MS, NOW_MS + 10]),
        ({"timestamps_ms": [NOW_MS, NOW_MS]}, [NOW_MS, NOW_MS]),
        ({"timestamps_ms": [5, NOW_MS], "timestamp_ms": 7}, [5, NOW_MS]),
        ({"timestamp_ms": NOW_MS + 2.75}, [NOW_MS + 2.75, NOW_MS + 12.75]),
        ({"timestamp_ms": NOW_MS + 2.0}, [NOW_MS + 2, NOW_MS + 12]),
        ({"timestamps_ms": [NOW_MS + 0.5, NOW_MS + 1]}, [NOW_MS + 0.5, NOW_MS + 1]),
    ],
)
def test_a_sample_s_time_is_given_or_follows_from_the_first(
    more: dict[str, object], times_ms: list[float]
) -> None:
    found = decode([Sent(json_of([[1, 2], [3, 4]], **more)), GOOD])
    assert found.times_ms[:2].tolist() == times_ms
    assert found.times_ms[2:].tolist() == [NOW_MS, NOW_MS + 10]


def test_a_time_of_its_own_stands_in_for_the_record_s() -> None:
    found = decode([Sent(json_of([[1, 2]], timestamp_ms=NOW_MS), timestamp_ms=-1)])
    assert (found.times_ms.tolist(), list(found.rejected)) == ([NOW_MS], [])


def test_fractional_intervals_are_kept() -> None:
    found = decode([Sent(json_of([1, 2, 3]))], n_features=1, interval_ms=2.5)
    assert found.times_ms.tolist() == [NOW_MS, NOW_MS + 2.5, NOW_MS + 5]


def test_times_are_kept_to_a_sixteenth_of_a_millisecond() -> None:
    step_ms = 1 / 16
    for off_ms in (-0.03, 0.0, 0.03):
        first_ms = NOW_MS + step_ms + off_ms
        plain, each = (
            decode([Sent(json_of([[1, 2], [3, 4]], **more))], interval_ms=100 / 36)
            for more in (
                {"timestamp_ms": first_ms},
                {"timestamps_ms": [first_ms, first_ms + 100 / 36]},
            )
        )
        assert plain.times_ms[0] == each.times_ms[0] == NOW_MS + step_ms
        assert plain.times_ms[1] == each.times_ms[1]
        assert plain.times_ms[1] % step_ms == 0


def timed(text: bytes | None, name: str = "timestamp-ms") -> Sent:
    """Return a float32 record of two samples whose header says when the first was taken."""
    value = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    return Sent(value, headers=[*FLOAT32, (name, text)])


def test_a_float32_record_may_say_its_exact_time_in_a_header() -> None:
    plain = timed(b"0", name="label")
    found = decode(
        [plain, timed(b"1767225600002.75"), GOOD, timed(b"1767225599000", "Timestamp-Ms")]
    )
    assert (found.times_ms - NOW_MS).tolist() == [0, 10, 2.75, 12.75, 0, 10, -1000, -990]
    assert list(found.rejected) == []
    assert decode([plain]).times_ms.tolist() == [NOW_MS, NOW_MS + 10]


def test_the_header_of_the_time_is_for_float32_alone() -> None:
    found = decode([GOOD._replace(headers=[("timestamp-ms", b"5")])])
    assert found.times_ms.tolist() == [NOW_MS, NOW_MS + 10]


def test_a_header_stands_in_for_a_record_without_time() -> None:
    found = decode([timed(b"%d" % NOW_MS)._replace(timestamp_ms=-1)])
    assert (found.times_ms[0], list(found.rejected)) == (NOW_MS, [])


BAD: dict[str, tuple[Sent, type[DataError], str]] = {
    "another number of features": (
        Sent(json_of([[1, 2], [1, 2, 3]])),
        RecordShapeError,
        "values[1]: expected 2 features, received 3",
    ),
    "one value for two features": (
        Sent(json_of([1])),
        RecordShapeError,
        "values[0]: expected 2 features, received 1",
    ),
    "ragged rows": (
        Sent(json_of([[1, 2], [1]])),
        RecordShapeError,
        "values[1]: expected 2 features, received 1",
    ),
    "rows and numbers": (
        Sent(json_of([[1, 2], 3])),
        RecordDecodeError,
        "values[1]: expected numbers or null, received '3'",
    ),
    "time going backwards": (
        Sent(json_of([[1, 2], [3, 4]], timestamps_ms=[NOW_MS, NOW_MS - 1])),
        RecordOrderError,
        f"timestamps_ms[1]: expected no time before {NOW_MS}, received {NOW_MS - 1}; send the "
        "samples of a record in the order of their times",
    ),
    "too few times": (
        Sent(json_of([[1, 2], [3, 4]], timestamps_ms=[NOW_MS])),
        RecordShapeError,
        "timestamps_ms: expected one for each of 2 samples, got 1",
    ),
    "a time that is no list": (
        Sent(json_of([[1, 2]], timestamps_ms=NOW_MS)),
        RecordValueError,
        "timestamps_ms: expected milliseconds since 1970",
    ),
    "seconds": (
        Sent(json_of([[1, 2]], timestamp_ms=NOW_MS // 1000)),
        RecordValueError,
        f"received {NOW_MS // 1000}, which looks like seconds; multiply it by 1,000",
    ),
    "seconds with a fraction": (
        Sent(json_of([[1, 2]], timestamp_ms=NOW_MS / 1000 + 0.5)),
        RecordValueError,
        "which looks like seconds; multiply it by 1,000",
    ),
    "seconds each": (
        Sent(json_of([[1, 2]], timestamps_ms=[NOW_MS // 1000])),
        RecordValueError,
        "which looks like seconds; multiply it by 1,000",
    ),
    "seconds as the record's own time": (
        Sent(json_of([[1, 2]]), timestamp_ms=NOW_MS // 1000),
        RecordValueError,
        "which looks like seconds; multiply it by 1,000",
    ),
    "microseconds": (
        Sent(json_of([[1, 2]], timestamp_ms=NOW_MS * 1_000)),
        RecordValueError,
        "which looks like microseconds; divide it by 1,000",
    ),
    "nanoseconds each": (
        Sent(json_of([[1, 2]], timestamps_ms=[NOW_MS * 1_000_000])),
        RecordValueError,
        "which looks like nanoseconds; divide it by 1,000,000",
    ),
    "nanoseconds as the record's own time": (
        Sent(json_of([[1, 2]]), timestamp_ms=NOW_MS * 1_000_000),
        RecordValueError,
        "which looks like nanoseconds; divide it by 1,000,000",
    ),
    "a header in microseconds": (
        timed(b"1767225600000000"),
        RecordValueError,
        "received the text '1767225600000000', which looks like microseconds; divide it by 1,000",
    ),
    "a time after the year 9999": (
        Sent(json_of([[1, 2]], timestamp_ms=NOW_MS * 1_000 + 0.5)),
        RecordValueError,
        "timestamp_ms: expected milliseconds since 1970 up to the year 9999, received 17672256",
    ),
    "a time before 1970": (
        Sent(json_of([[1, 2]], timestamps_ms=[-0.5])),
        RecordValueError,
        "timestamps_ms[0]: expected milliseconds since 1970 up to the year 9999, received -0.5",
    ),
    "a time that is no number": (
        Sent(json_of([[1, 2]], timestamp_ms=True)),
        RecordValueError,
        "timestamp_ms: expected milliseconds since 1970 up to the year 9999, received True",
    ),
    "a fraction going backwards": (
        Sent(json_of([[1, 2], [3, 4]], timestamps_ms=[NOW_MS + 0.5, NOW_MS + 0.25])),
        RecordOrderError,
        f"timestamps_ms[1]: expected no time before {NOW_MS}.5, received {NOW_MS}.25",
    ),
    "a header that holds no time": (
        timed(b"noon"),
        RecordValueError,
        "header timestamp-ms: expected milliseconds since 1970 up to the year 9999, received the",
    ),
    "an empty header": (timed(None), RecordValueError, "the year 9999, received the text ''"),
    "a header of NaN": (timed(b"nan"), RecordValueError, "the year 9999, received the text 'nan'"),
    "a header after the year 9999": (timed(b"1e18"), RecordValueError, "received the text '1e18'"),
    "a header in seconds": (
        timed(b"1767225600.5"),
        RecordValueError,
        "received 1767225600.5, which looks like seconds; multiply it by 1,000",
    ),
    "time as text": (
        Sent(json_of([[1, 2]], timestamp_ms="noon")),
        RecordValueError,
        "expected milliseconds since 1970 up to the year 9999, received the text 'noon'",
    ),
    "hours ahead": (
        Sent(json_of([[1, 2]], timestamp_ms=NOW_MS + 3 * HOUR_MS)),
        RecordValueError,
        "3.0 hours ahead of the record's own time; at most 1 may be: correct the sender's clock",
    ),
    "one sample hours ahead": (
        Sent(json_of([[1, 2], [1, 2]], timestamps_ms=[NOW_MS, NOW_MS + 2 * HOUR_MS])),
        RecordValueError,
        "2.0 hours ahead of the record's own time",
    ),
    "no time": (
        Sent(json_of([[1, 2]]), timestamp_ms=-1),
        RecordValueError,
        "received none; set timestamp_ms, or the record's time",
    ),
    "no key": (
        Sent(GOOD.value, key=None),
        RecordValueError,
        "key: expected a name of the series, 1 to 4,096 bytes, received no key; set the record's",
    ),
    "an empty key": (Sent(GOOD.value, key=b""), RecordValueError, "received no key"),
    "a key of 1 MB": (
        Sent(GOOD.value, key=b"k" * 1_000_000),
        RecordValueError,
        "1 to 4,096 bytes, received 1,000,000 bytes",
    ),
    "a literal NaN": (
        Sent(b'{"values": [[1, NaN]]}'),
        RecordValueError,
        "NaN or an infinity; expected finite numbers, or null for a missing value",
    ),
    "a literal Infinity": (
        Sent(b'{"values": [[1, -Infinity]]}'),
        RecordValueError,
        "JSON value holds NaN or an infinity",
    ),
    "a number beyond float64": (
        Sent(b'{"values": [[1, 1e999]]}'),
        RecordValueError,
        "JSON value holds NaN or an infinity",
    ),
    "strings": (
        Sent(json_of([["1", "2"]])),
        RecordDecodeError,
        "values[0]: expected numbers or null, received",
    ),
    "booleans": (
        Sent(json_of([[True, False]])),
        RecordDecodeError,
        "values[0]: expected numbers or null, received",
    ),
    "no samples": (
        Sent(json_of([])),
        RecordShapeError,
        '"values": expected at least one sample, received none',
    ),
    "a time that no calendar has": (
        Sent(json_of([[1, 2]]), timestamp_ms=300_000_000_000_000),
        RecordValueError,
        "received 300000000000000, which ends after the year 9999",
    ),
    "a last sample that no calendar has": (
        Sent(json_of([[1, 2], [3, 4]]), timestamp_ms=TIMESTAMP_MS_MAX - 9),
        RecordValueError,
        "which ends after the year 9999",
    ),
    "samples of nothing": (
        Sent(json_of([[]])),
        RecordShapeError,
        "values[0]: expected 2 features, received 0",
    ),
    "text of samples": (
        Sent(json_of("a")),
        RecordDecodeError,
        '"values": expected an array of samples, received a text',
    ),
    "no values": (
        Sent(b'{"value": 1}'),
        RecordDecodeError,
        "expected an object with \"values\", received ['value']",
    ),
    "a list": (Sent(b"[1, 2]"), RecordDecodeError, 'expected an object with "values"'),
    "no JSON": (Sent(b"?"), RecordDecodeError, "not JSON"),
    "a tombstone": (
        Sent(None),
        RecordDecodeError,
        "expected samples, received no value (a tombstone)",
    ),
    "an empty value": (Sent(b""), RecordDecodeError, "expected samples, received an empty value"),
    "float32 of a wrong length": (
        Sent(b"\0" * 12, headers=FLOAT32),
        RecordShapeError,
        "float32 value: expected samples of 2 features, a multiple of 8 bytes, received 12 bytes",
    ),
    "a float32 tombstone": (
        Sent(None, headers=FLOAT32),
        RecordDecodeError,
        "expected samples, received no value (a tombstone)",
    ),
    "another format": (
        Sent(GOOD.value, headers=[("content-type", b"text/plain")]),
        RecordDecodeError,
        "unknown content type: expected one of",
    ),
    "another format without a key": (
        Sent(GOOD.value, key=None, headers=[("content-type", b"text/plain")]),
        RecordValueError,
        "received no key",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_named_and_costs_its_neighbours_nothing(name: str) -> None:
    bad, error, words = BAD[name]
    before = Sent(json_of([[5, 6]]), b"other", NOW_MS - 7)
    found = decode([before, bad, GOOD])
    ((index, problem, _),) = [(each.index, each.error, each.stage) for each in found.rejected]
    assert (index, type(problem)) == (1, error)
    assert words in str(problem)
    assert len(str(problem)) < 250
    assert found.indices.tolist() == [0, 2]
    assert found.counts.tolist() == [1, 2]
    assert found.values.tolist() == [[5, 6], [1, 2], [3, 4]]
    assert found.times_ms.tolist() == [NOW_MS - 7, NOW_MS, NOW_MS + 10]


@pytest.mark.parametrize("content_type", ["image", "png", "avro"])
@pytest.mark.parametrize("records", [[], [GOOD]])
def test_a_format_that_samples_cannot_have_is_refused(
    records: list[Sent], content_type: str
) -> None:
    expected = f"content_type: expected json or float32 for this bundle, received '{content_type}'"
    with pytest.raises(ValueError, match=expected):
        decode(records, content_type=content_type)


@pytest.mark.parametrize("media_type", [b"image/png", b"text/csv"])
def test_a_header_with_a_format_that_samples_cannot_have_rejects_the_record(
    media_type: bytes,
) -> None:
    found = decode([GOOD._replace(headers=[("content-type", media_type)]), GOOD])
    assert found.indices.tolist() == [1]
    ((index, problem),) = [(each.index, each.error) for each in found.rejected]
    assert (index, type(problem)) == (0, RecordDecodeError)
    expected = (
        "expected one of application/json, application/vnd.stream-detector.float32, "
        "application/vnd.stream-detector.values+json, "
    )
    assert f"{expected}received '{media_type.decode()}'" in str(problem)


@pytest.mark.parametrize("value", [None, b""])
@pytest.mark.parametrize("content_type", ["json", "float32"])
@pytest.mark.parametrize("media_type", [None, b"application/json", b"text/csv"])
def test_a_record_without_a_value_is_rejected_whatever_its_format(
    value: bytes | None, content_type: str, media_type: bytes | None
) -> None:
    headers = [] if media_type is None else [("content-type", media_type)]
    found = decode([Sent(value, headers=headers)], content_type=content_type)
    (problem,) = found.rejected
    assert str(problem.error).startswith("expected samples, received ")
    assert len(found.values) == 0


def test_all_that_is_bad_is_reported_and_the_rest_is_used() -> None:
    records = [record for bad, *_ in BAD.values() for record in (bad, GOOD)]
    found = decode(records)
    assert found.indices.tolist() == list(range(1, len(records), 2))
    assert sorted(each.index for each in found.rejected) == list(range(0, len(records), 2))
    assert found.values.tolist() == [[1, 2], [3, 4]] * len(BAD)


def test_nothing_usable_leaves_nothing() -> None:
    found = decode([Sent(None), Sent(b"?"), Sent(GOOD.value, key=None)])
    assert (len(found.indices), found.values.shape) == (0, (0, 2))
    assert decode([]).values.shape == (0, 2)


def test_an_infinity_is_left_to_whoever_scores() -> None:
    found = decode([Sent(json_of([[1e39, -1e300]]))])
    assert found.values.tolist() == [[np.inf, -np.inf]]


def test_a_key_may_be_as_long_as_is_said() -> None:
    assert decode([Sent(GOOD.value, b"k" * KEY_BYTES_MAX)]).indices.tolist() == [0]
    assert decode([Sent(GOOD.value, b"k" * (KEY_BYTES_MAX + 1))]).indices.tolist() == []


@pytest.mark.parametrize("headers", [(), FLOAT32])
def test_a_long_chunk_may_have_the_time_of_its_first_sample(headers: Headers) -> None:
    values = np.arange(100, dtype="<f4")
    value = values.tobytes() if headers else json_of(values.tolist())
    found = decode([Sent(value, headers=headers)], n_features=1, interval_ms=300_000)
    assert list(found.rejected) == []
    assert found.times_ms[-1] == NOW_MS + 99 * 300_000


def test_a_signalling_nan_among_both_formats_is_missing_without_a_warning() -> None:
    signalling = b"\x01\x00\xa0\x7f"  # a NaN that a processor may complain of
    decoded = decode([GOOD, Sent(signalling * 2, headers=FLOAT32)])
    assert np.isnan(decoded.values[2:]).all()
    assert not decoded.rejected


def test_many_records_of_both_formats_keep_their_order() -> None:
    n_records = 10_000  # more than are read at once
    plain = [Sent(json_of([number]), b"%d" % number) for number in range(n_records)]
    mixed = [
        record._replace(value=np.array([number], np.float32).tobytes(), headers=FLOAT32)
        if number % 3
        else record
        for number, record in enumerate(plain)
    ]
    for records in (plain, mixed):
        found = decode(records, n_features=1)
        assert found.values.ravel().tolist() == list(range(n_records))
        assert found.indices.tolist() == list(range(n_records))


@pytest.mark.parametrize("name", ["values", "timestamp_ms", "timestamps_ms"])
def test_values_that_are_nested_a_thousand_times_are_dead_letters(name: str) -> None:
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        deep = opening * 1_000 + b"1" + closing * 1_000
        rest = b"" if name == "values" else b'"values":[1,2],'
        record = Sent(b'{%s"%s":%s}' % (rest, name.encode(), deep))
        found = decode([GOOD, record])
        assert found.indices.tolist() == [0]
        assert [each.index for each in found.rejected] == [1]
