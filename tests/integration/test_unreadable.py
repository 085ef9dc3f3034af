"""Records that a client's library cannot decode although the log is sound: each is a dead letter.

The neighbours of such a record are judged, and the group goes on.
"""

import gzip
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import lz4.frame
import pytest
from delivery_stream import detector_of  # tests/support
from detectors import make_window_detector
from raw_records import (
    ATTRIBUTES_GZIP,
    ATTRIBUTES_LZ4,
    RawRecord,
    batch_bytes,
    records_body,
    send,
    send_batch,
)

from stream_detector.clients import connect
from stream_detector.core.codec.dead_letters import DeadLetter, decode_dead_letter
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.detector import Detector
from stream_detector.core.records import (
    OffsetAndMetadata,
    RecordMetadata,
    TopicPartition,
    Unreadable,
)
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import ClientName, ConnectionSettings, DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.kafka

BAD_NAME = b"\xff\xfe\x1b[31m"
START_MS = 1_767_225_600_000
KEEP = {"retention_ms": "-1"}

# Kafka 4 takes no record from more than an hour ahead unless its topic says so.
ANY_TIME = {"message_timestamp_after_max_ms": str(2**63 - 1)}

Topics = Callable[..., str]
Row = tuple[RecordMetadata, bytes | None]

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


def poisoned(value: bytes = b"poison", key: bytes | None = b"k") -> RawRecord:
    return RawRecord(key, value, [(b"trace", b"1"), (BAD_NAME, b"22"), (b"none", None)])


def read(servers: str, client: ClientName, topic: str, n_records: int, at_once: int) -> list[Row]:
    """Read a topic in polls of so many records, and one poll more."""
    reader = connect(ConnectionSettings(bootstrap_servers=servers, client=client), topics=[topic])
    found: list[Row] = []
    deadline_s = time.monotonic() + 30
    while len(found) < n_records and time.monotonic() < deadline_s:
        batch = reader.poll(at_once, 200)
        assert len(batch) <= at_once
        assert batch.offsets().tolist() == [batch.metadata(row).offset for row in range(len(batch))]
        found += [(batch.metadata(row), value) for row, value in enumerate(batch.values)]
    assert not len(reader.poll(at_once, 200))
    where = TopicPartition(topic, 0)
    assert reader.positions([where]) == reader.end_offsets([where])
    reader.close()
    return found


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
@each_client
def test_a_header_name_that_is_no_text_costs_that_header_alone(
    client: ClientName, at_once: int, kafka: str, topics: Topics
) -> None:
    topic = topics(1, **KEEP)
    good = RawRecord(b"k", b"good", [(b"trace", b"0")])
    two_bad = RawRecord(None, None, [(b"\xff", None), (b"\xed\xa0\x80", b"x"), (b"ok", b"")])
    sent = [poisoned(), good, good, poisoned(), poisoned(), RawRecord(b"k", b"plain"), two_bad]
    send(kafka, topic, *sent[:4])
    send(kafka, topic, *sent[4:])
    send(kafka, topic, good)

    rows = read(kafka, client, topic, 8, at_once)

    assert [metadata.offset for metadata, _ in rows] == list(range(8))
    assert [(metadata.key, value) for metadata, value in rows] == [
        (each.key, each.value) for each in [*sent, good]
    ]
    for offset in (0, 3, 4):
        headers = rows[offset][0].headers
        assert isinstance(headers, Unreadable)
        assert list(headers) == [("trace", b"1"), ("none", None)]
        assert headers.left_out == {"headers": len(BAD_NAME) + 2}
        assert r"b'\xff\xfe\x1b[31m'" in str(headers.error)
    headers = rows[6][0].headers
    assert isinstance(headers, Unreadable)
    assert list(headers) == [("ok", b"")]
    assert r"b'\xff' and 1 more" in str(headers.error)
    for offset in (1, 2, 7):
        assert list(rows[offset][0].headers) == [("trace", b"0")]
    assert not rows[5][0].headers
    assert not isinstance(rows[5][0].headers, Unreadable)


@each_client
def test_what_only_one_library_cannot_decode_is_read_as_it_is(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    topic = topics(1, **KEEP, **ANY_TIME)
    send(kafka, topic, RawRecord(b"k", b"before", attributes=0x80), RawRecord(b"k", b"attributes"))
    zipped = gzip.compress(records_body([RawRecord(b"k", b"zipped")]))
    batch = batch_bytes(zipped + b"more", 1, ATTRIBUTES_GZIP)
    assert send_batch(kafka, topic, batch) == (0, "")
    for first_ms, delta_ms in ((2**63 - 1, 10), (-(2**63), -10), (-5, 0)):
        record = RawRecord(b"k", b"time", timestamp_delta=delta_ms)
        send(kafka, topic, record, timestamp_ms=first_ms)

    rows = read(kafka, client, topic, 6, 1_000)

    values = [b"before", b"attributes", b"zipped", b"time", b"time", b"time"]
    assert [value for _, value in rows] == values
    # A sum of 64 bits wraps around, as it does in the broker.
    times_ms = [metadata.timestamp_ms for metadata, _ in rows[3:]]
    assert times_ms == [-(2**63) + 9, 2**63 - 10, -5]
    assert not any(isinstance(metadata.headers, Unreadable) for metadata, _ in rows)


@pytest.mark.parametrize("at_once", [2, 1_000])
@each_client
def test_each_record_of_a_batch_that_cannot_be_decompressed_has_its_place(
    client: ClientName, at_once: int, kafka: str, topics: Topics
) -> None:
    topic = topics(1, **KEEP)
    body = records_body([RawRecord(b"k", b"v")] * 5)
    compressed = bytearray(lz4.frame.compress(body, block_linked=False, content_checksum=True))
    compressed[-1] ^= 1
    for _ in range(2):
        send(kafka, topic, RawRecord(b"k", b"good"))
        batch = batch_bytes(bytes(compressed), 5, ATTRIBUTES_LZ4)
        assert send_batch(kafka, topic, batch) == (0, "")
    send(kafka, topic, RawRecord(b"k", b"good"))

    rows = read(kafka, client, topic, 13, at_once)

    assert [metadata.offset for metadata, _ in rows] == list(range(13))
    for metadata, value in rows:
        is_good = metadata.offset in (0, 6, 12)
        assert (metadata.key, value) == ((b"k", b"good") if is_good else (None, None))
        assert isinstance(metadata.headers, Unreadable) is not is_good
        if isinstance(metadata.headers, Unreadable):
            assert metadata.headers.left_out == {"value": 0, "key": 0, "headers": 0}
            assert "cannot be decoded" in str(metadata.headers.error)


@each_client
def test_a_group_goes_on_in_the_middle_of_a_batch_that_cannot_be_decoded(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    topic, group = topics(1, **KEEP), uuid.uuid4().hex
    body = records_body([RawRecord(b"k", b"v")] * 3)
    compressed = bytearray(lz4.frame.compress(body, block_linked=False, content_checksum=True))
    compressed[-1] ^= 1
    batch = batch_bytes(bytes(compressed), 3, ATTRIBUTES_LZ4)
    assert send_batch(kafka, topic, batch) == (0, "")
    send(kafka, topic, poisoned(), poisoned(), RawRecord(b"k", b"good"))
    found: list[int] = []
    settings = ConnectionSettings(bootstrap_servers=kafka, client=client)
    for _ in range(6):
        member = connect(settings, topics=[topic], group=group)
        deadline_s = time.monotonic() + 30
        while not len(polled := member.poll(1, 200)):
            assert time.monotonic() < deadline_s
        found += polled.offsets().tolist()
        member.commit({each: OffsetAndMetadata(at) for each, at in polled.next_offsets.items()})
        member.close()

    assert found == [0, 1, 2, 3, 4, 5]


@each_client
def test_a_pause_just_before_such_a_record_does_not_lose_it(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    topic = topics(1, **KEEP)
    send(kafka, topic, RawRecord(b"k", b"good"), poisoned(), RawRecord(b"k", b"good"))
    reader = connect(ConnectionSettings(bootstrap_servers=kafka, client=client), topics=[topic])
    found: list[int] = []
    deadline_s = time.monotonic() + 30
    while len(found) < 3:
        assert time.monotonic() < deadline_s
        found += reader.poll(10, 200).offsets().tolist()
        reader.pause(reader.assignment())
        assert not len(reader.poll(10, 50))
        reader.resume(reader.assignment())
    reader.close()

    assert found == [0, 1, 2]


@each_client
def test_such_a_record_can_be_sought_again_and_again(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    topic = topics(1, **KEEP)
    send(kafka, topic, poisoned(), RawRecord(b"k", b"good"), poisoned())
    reader = connect(ConnectionSettings(bootstrap_servers=kafka, client=client), topics=[topic])
    reader.poll(1, 0)  # assigns the partition, and may read
    deadline_s = time.monotonic() + 30
    for offset in (0, 0, 2, 1, 0, 2, 2):
        reader.seek(TopicPartition(topic, 0), offset)
        while not len(batch := reader.poll(1, 200)):
            assert time.monotonic() < deadline_s
        assert batch.offsets().tolist() == [offset]
    reader.close()


class Shape(NamedTuple):
    detector: Detector
    value: bytes
    content_type: str


def shape_of(name: str) -> Shape:
    if name == "image":
        image = ImageShape(2, 2, 1)
        detector = make_window_detector(shape=image.window, image=image)
        return Shape(detector, bytes(4), "application/vnd.stream-detector.uint8")
    is_window = name == "windows"
    value = b'{"values":[0.1,0.1,0.1,0.1]}' if is_window else b'{"values":[0.1]}'
    return Shape(detector_of(name), value, "application/json")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("name", ["windows", "samples", "image"])
@each_client
def test_detect_sets_it_aside_and_judges_its_neighbours(
    client: ClientName, name: str, delivery: Any, kafka: str, topics: Topics
) -> None:
    shape = shape_of(name)
    source, alerts, dead = topics(1, **KEEP), topics(1), topics(1, **KEEP)
    kind = (b"content-type", shape.content_type.encode())
    good = RawRecord(b"k", shape.value, [kind])
    bad = RawRecord(b"k", shape.value, [kind, (BAD_NAME, b"2"), (b"trace", b"\x00")])
    for at, batch in enumerate(([bad, good, good], [good, bad, good], [good, good, bad], [good])):
        send(kafka, source, *batch, timestamp_ms=START_MS + 100 * at)
    settings = DetectSettings(
        bootstrap_servers=kafka,
        client=client,
        input_topic=source,
        alerts_topic=alerts,
        dead_letter_topic=dead,
        group=uuid.uuid4().hex,
        delivery=delivery,
        stop_when_idle_s=0.5,
    )

    def detect() -> int:
        transactional_id = settings.group if delivery == "exactly_once" else None
        member = connect(
            settings, topics=[source], group=settings.group, transactional_id=transactional_id
        )
        service = Service(member, shape.detector, settings, Metrics(), SystemClock())
        totals = service.run()
        assert totals.n_retries == 0
        return totals.n_records

    assert detect() == 10
    assert detect() == 0

    letters: list[DeadLetter] = []
    for metadata, value in read(kafka, client, dead, 3, 100):
        letters.append(decode_dead_letter(metadata, value))
    assert [each.reason.source.offset for each in letters if each.reason] == [0, 4, 8]
    for each in letters:
        assert (each.metadata.key, each.value) == (b"k", shape.value)
        expected = [("content-type", shape.content_type.encode()), ("trace", b"\x00")]
        assert list(each.headers) == expected
        assert each.left_out == {"headers": len(BAD_NAME) + 1}
        assert each.reason is not None
        assert each.reason.stage == "decode"
