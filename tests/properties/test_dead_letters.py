"""A dead letter read back is the rejected record, whatever its bytes and headers are."""

from hypothesis import example, given
from hypothesis import strategies as st

from stream_detector.core.codec.dead_letters import (
    LEFT_OUT_HEADER,
    REDRIVEN_FROM,
    RecordPlace,
    decode_dead_letter,
    encode_dead_letter,
    encode_redrive,
    is_left_out,
)
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected
from stream_detector.errors import DataError, RecordDecodeError, RecordOrderError

NAMES = st.text(max_size=5) | st.sampled_from(
    [
        REDRIVEN_FROM,
        LEFT_OUT_HEADER,
        "content-type",
        "__connect.errors.topic",
        "__connect.errors.offset",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=5)), max_size=9)
BYTES = st.none() | st.binary(max_size=20)
OFFSETS = st.integers(0, 2**63 - 1)
METADATA = st.builds(
    RecordMetadata,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=OFFSETS,
    timestamp_ms=st.integers(-1, 2**63 - 1),
    key=BYTES,
    headers=HEADERS.map(tuple),
)
ERRORS = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from([DataError, RecordDecodeError, RecordOrderError]),
    st.text(),
)
REJECTED = st.builds(
    Rejected, st.just(0), ERRORS, st.sampled_from(["decode", "check", "order"]) | st.text()
)


def stored(record: OutputRecord, offset: int = 7) -> RecordMetadata:
    """Return the metadata of a record that Kafka has stored."""
    timestamp_ms = 0 if record.timestamp_ms is None else record.timestamp_ms
    return RecordMetadata(
        record.topic, record.partition or 0, offset, timestamp_ms, record.key, record.headers
    )


@given(REJECTED, BYTES, METADATA, st.integers(0, 500))
@example(Rejected(0, DataError("")), None, RecordMetadata("a", 0, 0, 0, None, [("", None)]), 500)
def test_decode_is_the_inverse_of_encode(
    rejected: Rejected, value: bytes | None, metadata: RecordMetadata, bytes_max: int
) -> None:
    record = encode_dead_letter(rejected, value, metadata, "dead", bytes_max)
    letter = decode_dead_letter(stored(record), record.value)

    assert letter.reason is not None
    assert letter.reason.source == RecordPlace(metadata.topic, metadata.partition, metadata.offset)
    assert letter.reason.stage == rejected.stage
    assert letter.reason.error == type(rejected.error).__name__
    assert letter.reason.message == str(rejected.error)
    n_header_bytes = sum(len(name.encode()) + len(each or b"") for name, each in metadata.headers)
    parts = [
        ("value", letter.value, value, len(value or b"")),
        ("key", letter.metadata.key, metadata.key, len(metadata.key or b"")),
        ("headers", list(letter.headers), list(metadata.headers), n_header_bytes),
    ]
    for name, found, whole, n_bytes in parts:
        if name in letter.left_out:
            assert not found
            assert letter.left_out[name] == n_bytes > 0
        else:
            assert found == whole
    assert is_left_out(record) == bool(letter.left_out)
    assert set(letter.left_out) <= {"value", "key", "headers"}


@given(REJECTED, BYTES, METADATA)
def test_a_redrive_is_the_record_with_one_mark_however_often_it_comes_back(
    rejected: Rejected, value: bytes | None, metadata: RecordMetadata
) -> None:
    own = [header for header in metadata.headers if header[0] != REDRIVEN_FROM]
    for offset in range(3):
        dead_letter = encode_dead_letter(rejected, value, metadata, "dead", 1_000_000)
        letter = decode_dead_letter(stored(dead_letter, offset), dead_letter.value)
        record = encode_redrive(letter, None)

        assert record[:3] == (metadata.topic, metadata.key, value)
        assert list(record.headers) == [*own, (REDRIVEN_FROM, f"dead[0]@{offset}".encode())]
        assert record.timestamp_ms == max(0, metadata.timestamp_ms)
        assert record.partition == metadata.partition
        metadata = stored(record)


@given(BYTES, st.builds(RecordMetadata._replace, METADATA, headers=HEADERS.map(tuple)))
@example(None, RecordMetadata("dead", 0, 0, 0, None, ()))
def test_any_other_record_has_no_reason_and_keeps_its_headers(
    value: bytes | None, metadata: RecordMetadata
) -> None:
    letter = decode_dead_letter(metadata, value)
    assert letter.reason is None
    assert list(letter.headers) == list(metadata.headers)
