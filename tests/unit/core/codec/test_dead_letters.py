"""Dead letters as bytes: headers that downstream relies on, read back and sent again."""

import pytest

from stream_detector.core.codec.dead_letters import (
    HEADERS_MAX,
    REDRIVEN_FROM,
    DeadLetter,
    decode_dead_letter,
    encode_dead_letter,
    encode_redrive,
    is_left_out,
    with_place_as_key,
    without_time,
)
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected, Unreadable
from stream_detector.errors import RecordDecodeError, RecordShapeError

ORIGIN = RecordMetadata(
    "telemetry", 3, 41, 1_700_000_000_000, b"pump-7", [("label", b"1"), ("x", None)]
)


@pytest.mark.parametrize("value", [None, b"", b"\x00\xff\n", bytes(10_000_000)])
@pytest.mark.parametrize("key", [None, b"\xff"])
def test_a_dead_letter_is_the_record_byte_for_byte(value: bytes | None, key: bytes | None) -> None:
    metadata = ORIGIN._replace(key=key)
    why = Rejected(0, RecordDecodeError("why"))
    record = encode_dead_letter(why, value, metadata, "dead", 20_000_000)
    assert not is_left_out(record)
    assert (record.topic, record.key, record.value) == ("dead", key, value)
    assert list(record.headers[:2]) == list(metadata.headers)
    assert record.timestamp_ms == metadata.timestamp_ms


def test_a_dead_letter_says_why_in_kafka_connect_s_headers() -> None:
    rejected = Rejected(0, RecordShapeError("expected 3 µ"), "check")
    record = encode_dead_letter(rejected, b"v", ORIGIN, "dead", 4_096)
    assert list(record.headers[2:]) == [
        ("__connect.errors.topic", b"telemetry"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"41"),
        ("__connect.errors.stage", b"check"),
        ("__connect.errors.exception.class.name", b"RecordShapeError"),
        ("__connect.errors.exception.message", "expected 3 µ".encode()),
    ]


@pytest.mark.parametrize(("own_ms", "expected_ms"), [(-1, None), (0, 0)])
def test_a_dead_letter_and_its_redrive_have_the_time_of_the_record(
    own_ms: int, expected_ms: int | None
) -> None:
    metadata = ORIGIN._replace(timestamp_ms=own_ms)
    why = Rejected(0, RecordDecodeError("why"))
    record = encode_dead_letter(why, None, metadata, "dead", 4_096)
    assert record.timestamp_ms == expected_ms
    letter = decode_dead_letter(metadata._replace(headers=record.headers), record.value)
    assert encode_redrive(letter, None).timestamp_ms == expected_ms


def bytes_of(record: OutputRecord) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


@pytest.mark.parametrize(
    ("n_value", "n_key", "n_header", "left_out"),
    [
        (5_000, 3, 3, b"value 5000"),
        (3, 5_000, 3, b"value 3, key 5000"),
        (None, 5_000, 3, b"key 5000"),
        (5_000, 5_000, 3, b"value 5000, key 5000"),
        (3, 3, 5_000, b"value 3, key 3, headers 5001"),
        (3, None, 5_000, b"value 3, headers 5001"),
    ],
)
def test_what_is_too_large_is_left_out_of_a_dead_letter(
    n_value: int | None, n_key: int | None, n_header: int, left_out: bytes
) -> None:
    value, key = (None if n is None else b"x" * n for n in (n_value, n_key))
    metadata = ORIGIN._replace(key=key, headers=[("h", b"x" * n_header)])
    rejected = Rejected(0, RecordDecodeError("why"))
    whole = encode_dead_letter(rejected, value, metadata, "dead", 20_000)
    record = encode_dead_letter(rejected, value, metadata, "dead", 4_096)
    assert record.headers[-1] == ("stream-detector.left-out", left_out)
    assert is_left_out(record)
    assert bytes_of(record) <= 4_096
    is_there = [
        None if b"value" in left_out else value,
        None if b"key" in left_out else key,
        [] if b"headers" in left_out else metadata.headers,
    ]
    assert [record.key, record.value, list(record.headers[:-7])] == [
        is_there[1],
        is_there[0],
        is_there[2],
    ]
    assert record.headers[-7:-1] == whole.headers[-6:]


def test_more_headers_than_clients_hand_over_are_left_out() -> None:
    why = Rejected(0, RecordDecodeError("why"))
    for n_headers, left_out in ((HEADERS_MAX, {}), (HEADERS_MAX + 1, {"headers": HEADERS_MAX + 1})):
        metadata = ORIGIN._replace(headers=[("a", b"")] * n_headers)
        record = encode_dead_letter(why, b"v", metadata, "dead", 10_000_000)
        assert (record.key, record.value) == (ORIGIN.key, b"v")
        letter = decode_dead_letter(ORIGIN._replace(headers=record.headers), record.value)
        assert letter.left_out == left_out
        assert len(letter.headers) == (0 if left_out else n_headers)


def test_headers_count_as_what_they_take_in_kafka() -> None:
    why = Rejected(0, RecordDecodeError("why"))
    metadata = ORIGIN._replace(headers=[("", None)] * 3_000)
    assert is_left_out(encode_dead_letter(why, None, metadata, "dead", 4_096))
    assert not is_left_out(encode_dead_letter(why, None, metadata, "dead", 7_000))


CHANGED = [
    (True, False, b"timestamp 1700000000000"),
    (False, True, b"key none"),
    (True, True, b"timestamp 1700000000000, key none"),
]


@pytest.mark.parametrize(("is_timeless", "is_keyless", "text"), CHANGED)
@pytest.mark.parametrize("bytes_max", [4_096, 100_000])
def test_what_a_topic_refused_is_said_and_restored(
    is_timeless: bool, is_keyless: bool, text: bytes, bytes_max: int
) -> None:
    origin = ORIGIN._replace(key=None if is_keyless else b"k")
    why = Rejected(0, RecordDecodeError("why"))
    record = encode_dead_letter(why, b"x" * 5_000, origin, "dead", bytes_max)
    is_incomplete = is_left_out(record)
    if is_keyless:
        record = with_place_as_key(record, origin)
    if is_timeless:
        record = without_time(record)
    assert record.headers[-1] == (
        "stream-detector.changed",
        text,
    )
    assert record.key == (b"telemetry[3]@41" if is_keyless else b"k")
    assert is_left_out(record) == is_incomplete
    stored = RecordMetadata("dead", 0, 5, 1_800_000_000_000, record.key, record.headers)
    letter = decode_dead_letter(stored, record.value)
    expected_ms = ORIGIN.timestamp_ms if is_timeless else stored.timestamp_ms
    assert (letter.key, letter.timestamp_ms) == (origin.key, expected_ms)
    assert letter.changed == text.decode()
    assert list(letter.headers) == list(origin.headers)
    if not is_incomplete:
        redriven = encode_redrive(letter, None)
        assert (redriven.key, redriven.timestamp_ms) == (origin.key, expected_ms)


@pytest.mark.parametrize("text", [b"", b"timestamp", b"timestamp x", b"key", b"\xff", None])
def test_a_foreign_header_of_that_name_changes_nothing(text: bytes | None) -> None:
    own = [*REASON_HEADERS, ("stream-detector.changed", text)]
    letter = decode_dead_letter(ORIGIN._replace(headers=own), b"v")
    assert (letter.reason, letter.changed, letter.headers) == (None, "", own)
    assert (letter.key, letter.timestamp_ms) == (ORIGIN.key, ORIGIN.timestamp_ms)


def test_a_dead_letter_may_be_as_large_as_is_said() -> None:
    why = Rejected(0, RecordDecodeError("why"))
    whole = encode_dead_letter(why, b"x" * 5_000, ORIGIN, "dead", 20_000)
    n_bytes = bytes_of(whole)
    assert encode_dead_letter(why, b"x" * 5_000, ORIGIN, "dead", n_bytes) == whole
    smaller = encode_dead_letter(why, b"x" * 5_000, ORIGIN, "dead", n_bytes - 1)
    assert (smaller.value, smaller.key) == (None, ORIGIN.key)


REASON_HEADERS = [
    ("__connect.errors.topic", b"telemetry"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"41"),
    ("__connect.errors.stage", b"check"),
    ("__connect.errors.exception.class.name", b"RecordShapeError"),
    ("__connect.errors.exception.message", b"why"),
]


def letter_of(*headers: tuple[str, bytes | None]) -> DeadLetter:
    return decode_dead_letter(RecordMetadata("dead", 0, 5, 1_234, b"pump-7", headers), b"value")


def test_only_the_last_six_headers_say_why() -> None:
    connect_s = [("__connect.errors.topic", b"other"), ("x", None)]
    letter = letter_of(*connect_s, *REASON_HEADERS)
    assert letter.headers == connect_s
    assert letter.reason is not None
    assert letter.reason.source.topic == "telemetry"


@pytest.mark.parametrize("number", range(6))
def test_a_record_that_lacks_a_reason_header_is_not_a_dead_letter(number: int) -> None:
    headers = REASON_HEADERS[:number] + REASON_HEADERS[number + 1 :]
    letter = letter_of(("x", b"1"), *headers)
    assert (letter.reason, letter.headers) == (None, [("x", b"1"), *headers])


@pytest.mark.parametrize("number", [b"", None, b"-1", b"+1", b" 1", b"1_0", b"1e3", b"9" * 20])
@pytest.mark.parametrize("name", ["partition", "offset"])
def test_a_place_that_is_none_is_not_a_dead_letter_s(name: str, number: bytes | None) -> None:
    changed = {f"__connect.errors.{name}": number}
    letter = letter_of(*(dict(REASON_HEADERS) | changed).items())
    assert letter.reason is None


def test_reasons_that_are_not_utf_8_are_escaped() -> None:
    changed = dict(REASON_HEADERS) | {"__connect.errors.exception.message": b"caf\xe9"}
    letter = letter_of(*changed.items())
    assert letter.reason is not None
    assert letter.reason.message == "caf\\xe9"


def test_a_dead_letter_says_which_one_it_was_before() -> None:
    assert letter_of(*REASON_HEADERS).redriven_from is None
    marks = [(REDRIVEN_FROM, b"dead[0]@1"), (REDRIVEN_FROM, b"dead[0]@2")]
    assert letter_of(*marks, *REASON_HEADERS).redriven_from == "dead[0]@2"


def test_a_redrive_goes_where_the_record_came_from_partition_included() -> None:
    record = encode_redrive(letter_of(("a", b"1"), *REASON_HEADERS), None)
    assert (record.topic, record.partition, record.timestamp_ms) == ("telemetry", 3, 1_234)
    assert record.headers == [("a", b"1"), (REDRIVEN_FROM, b"dead[0]@5")]


def test_a_redrive_to_another_topic_lets_the_key_choose_the_partition() -> None:
    record = encode_redrive(letter_of(*REASON_HEADERS), "elsewhere")
    assert (record.topic, record.partition, record.key) == ("elsewhere", None, b"pump-7")


def test_a_record_without_a_source_needs_a_topic() -> None:
    with pytest.raises(ValueError, match=r"dead\[0\]@5 has no original topic"):
        encode_redrive(letter_of(("a", b"1")), None)
    record = encode_redrive(letter_of(("a", b"1")), "elsewhere")
    assert record.headers == [("a", b"1"), (REDRIVEN_FROM, b"dead[0]@5")]


LEFT_OUT = ("stream-detector.left-out", b"value 1048400, key 12")


def test_what_was_left_out_is_read_back() -> None:
    letter = letter_of(("a", b"1"), *REASON_HEADERS, LEFT_OUT)
    assert letter.left_out == {"value": 1_048_400, "key": 12}
    assert letter.headers == [("a", b"1")]
    assert letter.reason == letter_of(*REASON_HEADERS).reason
    assert letter_of(LEFT_OUT, *REASON_HEADERS)[2:] == ([LEFT_OUT], letter.reason, {})


@pytest.mark.parametrize(
    "parts",
    [None, b"", b"value", b"value x", b"value 1,key 2", b"other 1", b"value 1, ", b"value -1"],
)
def test_one_that_does_not_say_what_was_left_out_is_not_a_dead_letter(parts: bytes | None) -> None:
    headers = [*REASON_HEADERS, (LEFT_OUT[0], parts)]
    letter = letter_of(*headers)
    assert (letter.reason, letter.headers, letter.left_out) == (None, headers, {})


def test_what_was_left_out_of_no_dead_letter_means_nothing() -> None:
    letter = letter_of(*REASON_HEADERS[1:], LEFT_OUT)
    assert (letter.reason, letter.headers) == (None, [*REASON_HEADERS[1:], LEFT_OUT])
    assert letter.left_out == {}


@pytest.mark.parametrize("topic", [None, "elsewhere"])
def test_what_is_incomplete_is_never_sent_again(topic: str | None) -> None:
    with pytest.raises(ValueError, match=r"dead\[0\]@5 lacks its value, key"):
        encode_redrive(letter_of(*REASON_HEADERS, LEFT_OUT), topic)


@pytest.mark.parametrize("value", [None, b"", b"value"])
def test_what_could_not_be_read_is_said_and_the_rest_is_kept(value: bytes | None) -> None:
    why = RecordDecodeError("why")
    headers = Unreadable([("label", b"1"), ("x", None)], why, {"headers": 7})
    metadata = ORIGIN._replace(headers=headers)

    record = encode_dead_letter(Rejected(0, why), value, metadata, "dead", 4_096)

    assert is_left_out(record)
    assert (record.key, record.value) == (ORIGIN.key, value)
    letter = decode_dead_letter(ORIGIN._replace(headers=record.headers), record.value)
    assert letter.headers == list(ORIGIN.headers)
    assert letter.left_out == {"headers": 7}
    with pytest.raises(ValueError, match="lacks its headers"):
        encode_redrive(letter, None)


def test_what_is_too_large_adds_to_what_could_not_be_read() -> None:
    headers = Unreadable([("label", bytes(5_000))], RecordDecodeError("why"), {"headers": 7})
    rejected = Rejected(0, RecordDecodeError("why"))
    metadata = ORIGIN._replace(headers=headers)

    record = encode_dead_letter(rejected, b"value", metadata, "dead", 4_096)

    letter = decode_dead_letter(ORIGIN._replace(headers=record.headers), record.value)
    assert letter.headers == []
    assert letter.left_out == {"headers": 5_012, "value": 5, "key": 6}


def test_a_dead_letter_that_cannot_be_read_whole_is_not_sent_again() -> None:
    written = encode_dead_letter(Rejected(0, RecordDecodeError("why")), b"v", ORIGIN, "dead", 4_096)
    headers = Unreadable(written.headers, RecordDecodeError("name"), {"headers": 3})
    letter = decode_dead_letter(ORIGIN._replace(headers=headers), b"v")
    assert letter.left_out == {"headers": 3}
    assert letter.reason is not None
