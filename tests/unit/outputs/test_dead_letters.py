"""Dead letters read from a broker in this process: locations, snapshots, and data about them."""

import base64
from typing import Any

import pytest

from stream_detector.clients.memory import EOF, MemoryBroker
from stream_detector.core.codec.dead_letters import (
    encode_dead_letter,
    with_place_as_key,
    without_time,
)
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected, TopicPartition
from stream_detector.errors import BrokerUnavailableError, ConfigError, RecordDecodeError
from stream_detector.outputs.dead_letters import (
    STALL_S,
    Location,
    Selection,
    Snapshot,
    Summary,
    count_letter,
    find_letter,
    letter_document,
    location_of,
    parse_location,
    take_snapshot,
)
from stream_detector.settings import ConnectionSettings

TIME_MS = 1_767_225_600_000


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("dead-letters", 2)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, topics=(), **__: made.connect(topics=topics)
    )
    return made


def feed(broker: MemoryBroker, *offsets: int, partition: int = 0) -> None:
    """Write dead letters of records at these offsets of `telemetry`."""
    records = []
    for offset in offsets:
        metadata = RecordMetadata("telemetry", 2, offset, TIME_MS + offset, b"pump-7", ())
        rejected = Rejected(0, RecordDecodeError("not JSON"))
        records.append(encode_dead_letter(rejected, b"{oops", metadata, "dead-letters", 10_000))
    broker.feed("dead-letters", records, partition)


def snapshot() -> Snapshot:
    return take_snapshot(ConnectionSettings(), "dead-letters")


def test_what_a_topic_refused_is_told_as_the_record_had_it(broker: MemoryBroker) -> None:
    origin = RecordMetadata("telemetry", 2, 17, TIME_MS, None, ())
    rejected = Rejected(0, RecordDecodeError("not JSON"))
    record = encode_dead_letter(rejected, b"{oops", origin, "dead-letters", 10_000)
    broker.feed("dead-letters", [without_time(with_place_as_key(record, origin))])
    (letter,) = snapshot().letters()
    assert letter.metadata.key == b"telemetry[2]@17"
    facts = letter_document(letter)
    assert (facts["key"], facts["key_base64"], facts["timestamp_ms"]) == (None, None, TIME_MS)
    assert Selection(key="telemetry[2]@17").takes(letter) is False
    summary: Summary = {}
    count_letter(summary, letter)
    (tally,) = summary.values()
    assert (tally.oldest_ms, tally.newest_ms) == (TIME_MS, TIME_MS)


def test_a_snapshot_holds_what_was_there_when_it_was_taken(broker: MemoryBroker) -> None:
    feed(broker, 0)
    broker.feed("dead-letters", [EOF], 0)
    taken = snapshot()
    feed(broker, 1)
    assert [location_of(letter) for letter in taken.letters()] == [Location(0, 0)]
    assert len(list(snapshot().letters())) == 2
    assert not broker.committed


def test_letters_keep_the_order_of_each_partition(broker: MemoryBroker) -> None:
    feed(broker, *range(2_500))
    feed(broker, *range(5), partition=1)
    found = [location_of(letter) for letter in snapshot().letters()]
    assert [each.offset for each in found if each.partition == 0] == list(range(2_500))
    assert [each.offset for each in found if each.partition == 1] == list(range(5))


def test_a_letter_is_found_by_its_location(broker: MemoryBroker) -> None:
    feed(broker, *range(3))
    letter = find_letter(snapshot(), Location(0, 2))
    assert letter.reason is not None
    assert letter.reason.source.offset == 2
    with pytest.raises(ConfigError, match=r"0:3: dead-letters\[0\] holds the offsets 0 to 2"):
        find_letter(snapshot(), Location(0, 3))


def test_a_selection_takes_what_meets_every_condition(broker: MemoryBroker) -> None:
    feed(broker, 0, 1)
    letters = list(snapshot().letters())

    def taken(**conditions: Any) -> list[int]:
        selection = Selection(**conditions)
        return [each.metadata.offset for each in letters if selection.takes(each)]

    assert taken() == [0, 1]
    assert taken(key="pump-7", error="RecordDecodeError") == [0, 1]
    assert taken(key="pump-7", locations=frozenset([Location(0, 1)])) == [1]
    assert taken(key="pump-8", locations=frozenset([Location(0, 1)])) == []


def test_a_summary_counts_foreign_records_as_a_kind_of_their_own(broker: MemoryBroker) -> None:
    feed(broker, 3, 1)
    broker.feed("dead-letters", [OutputRecord("", None, b"?")], 1)
    summary: Summary = {}
    for letter in snapshot().letters():
        count_letter(summary, letter)
    assert {kind: tally.n_letters for kind, tally in summary.items()} == {
        ("decode", "RecordDecodeError"): 2,
        None: 1,
    }
    tally = summary["decode", "RecordDecodeError"]
    assert (tally.oldest_ms, tally.newest_ms) == (TIME_MS + 1, TIME_MS + 3)


def test_a_document_has_every_byte(broker: MemoryBroker) -> None:
    feed(broker, 0)
    document = letter_document(find_letter(snapshot(), Location(0, 0)))
    assert base64.b64decode(document["value_base64"]) == b"{oops"
    assert base64.b64decode(document["key_base64"]) == b"pump-7"
    assert document["source"] == {"topic": "telemetry", "partition": 2, "offset": 0}


@pytest.mark.parametrize(
    "text", ["", "0", "0:", ":0", "a:0", "-1:0", "0:-1", "0:1:2", "²:0", "0: 1", "0:" + 20 * "1"]
)
def test_another_form_of_location_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected PARTITION:OFFSET"):
        parse_location(text)


def test_the_largest_offset_is_a_location() -> None:
    assert parse_location(f"0:{2**63 - 1}") == Location(0, 2**63 - 1)


class SleepyClock:
    """A clock on which each look takes ten seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 10.0
        return self.now_s


def test_a_broker_that_gives_nothing_is_given_up(broker: MemoryBroker) -> None:
    feed(broker, 0)
    broker.feed("dead-letters", [EOF] * 100)
    offsets = {TopicPartition("dead-letters", 0): range(2)}
    clock: Any = SleepyClock()
    snapshot = Snapshot(
        "dead-letters", lambda: broker.connect(topics=["dead-letters"]), offsets, clock
    )
    letters = snapshot.letters()
    assert next(letters).metadata.offset == 0
    with pytest.raises(
        BrokerUnavailableError, match=rf"dead-letters\[0\] gave no .* {STALL_S:.0f} s"
    ):
        next(letters)
    assert clock.now_s < 100
