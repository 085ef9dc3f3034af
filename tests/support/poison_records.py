"""Records that once stopped a group for good, played on a real Kafka as faults are.

Each is put at the head, in the middle and at the end of a batch. What must come out: of every other
record what comes out of it on the in-memory broker, and of each of these one dead letter.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import raw_records
from delivery_service import PassingClock
from delivery_stream import alert_bytes, dead_letter_bytes, detector_of, record_of
from fault_stage import Case, Job, Outcome, Published, Stage, read_all
from raw_records import RawRecord

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.dead_letters import DeadLetter, decode_dead_letter
from stream_detector.core.records import OutputRecord, RecordMetadata
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

N_RECORDS = 30
POSITIONS = (0, 14, 29)
"""At the head, in the middle and at the end of a poll of ten."""

DAY_MS = 86_400_000
TAKES_ALL = {
    "max.message.bytes": "20000000",
    "message.timestamp.before.max.ms": str(2**63 - 1),
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
BAD_HEADER = (b"\xff\xfe\x1b[31m", b"x")
MANY_HEADERS = [("content-type", b"application/json"), *[("a", b"")] * 100_000]
ANOMALOUS = b'{"values":[9,9,9,9]}'

Send = Callable[[Stage, list[OutputRecord]], None]


def send_as_they_are(stage: Stage, records: list[OutputRecord]) -> None:
    """Send records with the confluent client."""
    stage.send(records)


def send_compressed(codec: str) -> Send:
    """Return a function that sends records compressed."""

    def send(stage: Stage, records: list[OutputRecord]) -> None:
        import confluent_kafka

        options = {"bootstrap.servers": stage.servers, "compression.type": codec, "linger.ms": 50}
        producer = confluent_kafka.Producer(options)
        for each in records:
            producer.produce(
                each.topic, each.value, each.key, each.partition or 0, timestamp=each.timestamp_ms
            )
        assert producer.flush(30) == 0

    return send


def send_with_bad_names(stage: Stage, records: list[OutputRecord]) -> None:
    """Send records in one batch; those with headers have one more, whose name is not UTF-8."""
    first_ms = min(each.timestamp_ms or 0 for each in records)
    raw = [
        RawRecord(
            each.key,
            each.value,
            [*((name.encode(), value) for name, value in each.headers), BAD_HEADER]
            if each.headers
            else (),
            timestamp_delta=(each.timestamp_ms or 0) - first_ms,
        )
        for each in records
    ]
    raw_records.send(stage.servers, records[0].topic, *raw, timestamp_ms=first_ms)


@dataclass(frozen=True)
class Poison:
    """Records of one kind that cannot be judged or published as they are.

    Parameters
    ----------
    fields
        Of the record, in place of those of a good one, by its topic's name.
    error
        Class in its dead letter, or several; None where it is judged as any other.
    left_out, changed
        What its dead letter says it lacks, and what was changed of it.
    alerts_settings, dead_letter_settings
        Of the output topics.
    shapes
        Of the records, where it is not of every one.
    send
        Writes the whole stream.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    error: str | tuple[str, ...] | None = "RecordDecodeError"
    left_out: tuple[str, ...] = ()
    changed: str = ""
    alerts_settings: Mapping[str, str] = field(default_factory=dict)
    dead_letter_settings: Mapping[str, str] = field(default_factory=dict)
    shapes: tuple[str, ...] = ("windows", "samples")
    send: Send = send_as_they_are


def in_a_day_ms() -> int:
    """Return the time in a day."""
    return time.time_ns() // 1_000_000 + DAY_MS


AHEAD_MS = in_a_day_ms()

POISONS: dict[str, Poison] = {
    "A1 key of 200,000 bytes": Poison({"key": b"\xff" * 200_000}, "RecordValueError"),
    "A1 alert larger than its topic takes": Poison(
        {"key": b"\xff" * 1_500, "value": ANOMALOUS},
        "AlertRefusedError",
        alerts_settings={"max.message.bytes": "6000"},
        shapes=("windows",),
    ),
    "A1 dead letter larger than its topic takes": Poison(
        {"value": b"?" * 20_000},
        left_out=("value",),
        dead_letter_settings={"max.message.bytes": "6000"},
    ),
    "A2 header whose name is not UTF-8": Poison(
        {"headers": [("trace", b"1")]}, left_out=("headers",), send=send_with_bad_names
    ),
    "A3 content type of 300,000 bytes": Poison({"headers": [("content-type", b"\xff" * 300_000)]}),
    "A4 no key, dead letters compacted": Poison(
        {"key": None, "value": b"?"},
        ("RecordDecodeError", "RecordValueError"),  # samples need a key
        changed="key none",
        dead_letter_settings={"cleanup.policy": "compact"},
    ),
    "A4 a day ahead, dead letters an hour at most": Poison(
        {"timestamp_ms": AHEAD_MS, "value": b"?"},
        changed=f"timestamp {AHEAD_MS}",
        dead_letter_settings={"message.timestamp.after.max.ms": "3600000"},
    ),
    "A4 of 1970, dead letters two years at most": Poison(
        {"timestamp_ms": 1, "value": b"?"},
        changed="timestamp 1",
        dead_letter_settings={"message.timestamp.before.max.ms": str(730 * DAY_MS)},
    ),
    "A6 100,001 headers and a bad value": Poison(
        {"headers": MANY_HEADERS, "value": b"?"}, left_out=("headers",)
    ),
    **{
        f"A5 compressed with {codec}": Poison(error=None, send=send_compressed(codec))
        for codec in ("gzip", "snappy", "lz4", "zstd")
    },
}
"""By the number of the kind and what is wrong."""


def play_poison(name: str, stage: Stage, case: Case) -> Outcome:
    """Let a group read a stream with a poison at three places, and compare.

    Returns
    -------
    What was lost, is wrong or came twice, the dead letters of the poison included.
    """
    poison, topic = POISONS[name], stage.make_topic(settings=TAKES_ALL)
    records = []
    for number in range(N_RECORDS):
        record = record_of(3 * number, case.shape, topic)
        is_bad = number in POSITIONS and poison.error is not None
        records.append(record._replace(**(poison.fields if is_bad else {}), partition=0))
    poison.send(stage, records)
    alerts_topic, dead_letter_topic = (
        stage.make_topic(settings=settings)
        for settings in (poison.alerts_settings, poison.dead_letter_settings)
    )
    job = Job(stage, case, topic, alerts_topic, dead_letter_topic)
    try:
        at_s = time.time()
        output = job.finish().output
        for setting in {*poison.alerts_settings, *poison.dead_letter_settings}:
            assert re.search(rf"topic-settings .*setting={re.escape(setting)}=", output), output
        letters = find_letters(job) if poison.error else {}
        outcome = job.outcome(at_s, expected_of(case.shape, topic, records, letters))
    finally:
        job.close()
    for offset in POSITIONS if poison.error else ():
        check_letter(letters[offset], poison, records[offset])
    return outcome


def find_letters(job: Job, offsets: Collection[int] = POSITIONS) -> dict[int, DeadLetter]:
    """Return the dead letters of records at some offsets, each of which must be there."""
    found = {}
    for value, key, headers in read_all(job.stage.servers, job.dead_letter_topic):
        metadata = RecordMetadata(job.dead_letter_topic, 0, 0, 0, key, headers)
        letter = decode_dead_letter(metadata, value)
        assert letter.reason is not None
        if letter.reason.source.offset in offsets:
            found[letter.reason.source.offset] = letter
    assert set(found) == set(offsets), f"dead letters of {sorted(found)}"
    return found


def expected_of(
    shape: str, topic: str, records: list[OutputRecord], letters: Mapping[int, DeadLetter]
) -> Published:
    """Return what must be published: of poison what was found, of the others what memory gives.

    A poison whose alert was refused is judged as any other record, and begins an incident as such.
    """
    refused = {
        offset: each
        for offset, each in letters.items()
        if each.reason is not None and each.reason.error == "AlertRefusedError"
    }
    broker = MemoryBroker(now_ms=lambda: 0)
    for name in (topic, "alerts", "dead-letters"):
        broker.create_topic(name)
    for offset, record in enumerate(records):
        is_poison = offset in letters and offset not in refused
        broker.append(record._replace(value=b"?", headers=()) if is_poison else record)
    settings = load_settings(
        DetectSettings, input_topic=topic, group="g", poll_records_max=10, stop_when_idle_s=1.0
    )
    client = broker.connect(topics=[topic], group="g")
    logging.disable(logging.CRITICAL)  # its dead letters are no news
    try:
        Service(client, detector_of(shape), settings, Metrics(), PassingClock()).run()
    finally:
        logging.disable(logging.NOTSET)
    expected: Published = Counter()
    for metadata, value in broker.records("alerts"):
        if orjson.loads(value or b"")["source"]["offset"] not in refused:
            expected[alert_bytes(value, metadata.key, metadata.headers)] += 1
    for letter in refused.values():
        expected[dead_letter_bytes(letter.value, letter.metadata.key, letter.metadata.headers)] += 1
    for stored in broker.records("dead-letters"):
        reason = decode_dead_letter(*stored).reason
        assert reason is not None
        found = letters.get(reason.source.offset)
        metadata, value = (found.metadata, found.value) if found else stored
        expected[dead_letter_bytes(value, metadata.key, metadata.headers)] += 1
    return expected


def check_letter(letter: DeadLetter, poison: Poison, record: OutputRecord) -> None:
    """Fail where a dead letter does not say what is wrong, or lacks what it need not lack."""
    assert letter.reason is not None
    errors = (poison.error,) if isinstance(poison.error, str) else poison.error or ()
    assert letter.reason.error in errors, letter.reason
    assert tuple(letter.left_out) == poison.left_out, letter.left_out
    assert letter.changed == poison.changed, letter.changed
    assert letter.key == record.key
    if "value" not in poison.left_out:
        assert letter.value == record.value
    if "headers" not in poison.left_out:
        assert list(letter.headers) == list(record.headers)
