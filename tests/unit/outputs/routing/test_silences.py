"""Silences: what they hold, how they are written and read."""

import logging

import orjson
import pytest
from routing import START_MS, RecordingSink, RouteWorld, SettableClock, life_of, make_event_alert

from stream_detector.clients.memory import Fault, MemoryBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerUnavailableError, RecordDecodeError
from stream_detector.outputs.routing import silences as module
from stream_detector.outputs.routing.matching import Match
from stream_detector.outputs.routing.silences import (
    MISSING_S,
    RENEW_S,
    Silence,
    SilenceTopic,
    encode_silence,
    new_silence,
    parse_silence,
)
from stream_detector.outputs.routing.state import Rules
from stream_detector.telemetry import logger


def make_silence(key: str = "*", start_ms: int = START_MS, n_ms: int = 60_000) -> Silence:
    return new_silence(Match(key=[key]), start_ms, start_ms + n_ms, "ops", "bearings")


def write(broker: MemoryBroker, *silences: Silence) -> None:
    broker.feed("silences", [encode_silence(each, "silences") for each in silences])


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("silences")
    return made


def reader(broker: MemoryBroker, clock: SettableClock | None = None) -> SilenceTopic:
    clock = clock or SettableClock()
    return SilenceTopic("silences", lambda: broker.connect(topics=["silences"]), clock)


@pytest.mark.parametrize(
    ("at", "is_held"), [(-1, False), (0, True), (59_999, True), (60_000, False)]
)
def test_a_silence_holds_from_its_first_moment_up_to_its_last(at: int, is_held: bool) -> None:
    silence = make_silence()
    assert silence.takes(make_event_alert("a", at_ms=START_MS + at)) is is_held
    states = ("pending", "active", "active", "expired")
    assert silence.state(START_MS + at) == states[(-1, 0, 59_999, 60_000).index(at)]


def test_a_silence_holds_what_it_matches_by_event_time_alone() -> None:
    silence = make_silence("pump-*")
    assert not silence.takes(make_event_alert("fan-1"))
    assert silence.takes(make_event_alert("pump-1", detected_at_ms=START_MS + 10**9))


def test_a_silence_is_read_as_it_was_written() -> None:
    silence = make_silence("pump-1")
    record = encode_silence(silence, "silences")
    assert record.key == silence.silence_id.encode()
    assert parse_silence(record.value or b"") == silence
    assert orjson.loads(record.value or b"") == {
        "schema_version": 1,
        "silence_id": silence.silence_id,
        "match": {"key": ["pump-1"]},
        "from_ms": START_MS,
        "until_ms": START_MS + 60_000,
        "by": "ops",
        "why": "bearings",
    }
    assert silence.silence_id != make_silence().silence_id


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b'{"silence_id": "x"}', b"\xff"])
def test_what_is_no_silence_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="not a silence"):
        parse_silence(value)


def test_the_newest_record_of_an_id_counts(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_silence(), make_silence()
    write(broker, first, second)
    topic = reader(broker)
    topic.catch_up()
    assert {each.silence_id for each in topic.book.all()} == {first.silence_id, second.silence_id}
    write(broker, first.model_copy(update={"until_ms": START_MS + 1}))
    broker.feed("silences", [OutputRecord("silences", second.silence_id.encode(), None), b"odd"])
    with caplog.at_level(logging.WARNING, logger.name):
        topic.catch_up()
    assert [each.until_ms for each in topic.book.all()] == [START_MS + 1]
    assert [each.event for each in caplog.records] == ["not-a-silence"]  # type: ignore[attr-defined]


def test_only_so_many_are_known_those_that_end_last(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCES_MAX", 2)
    write(broker, *(make_silence(n_ms=n_ms) for n_ms in (30, 10, 20)))
    topic = reader(broker)
    topic.catch_up()
    assert [each.until_ms - START_MS for each in topic.book.all()] == [30, 20]


def test_a_topic_that_is_not_there_holds_none_until_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker, clock = MemoryBroker(), SettableClock()
    topic = reader(broker, clock)
    with caplog.at_level(logging.WARNING, logger.name):
        for _ in range(3):
            topic.catch_up()
            clock.sleep(MISSING_S)
    assert [each.event for each in caplog.records] == ["no-silences"]  # type: ignore[attr-defined]
    topic.catch_up()
    broker.create_topic("silences", 2)
    write(broker, make_silence())
    clock.sleep(MISSING_S - 0.001)
    topic.catch_up()
    assert not topic.book.all()
    clock.sleep(0.001)
    topic.catch_up()
    assert len(topic.book.all()) == 1


def test_a_quick_look_is_at_most_so_often(broker: MemoryBroker) -> None:
    clock = SettableClock()
    topic = reader(broker, clock)
    topic.catch_up(is_quick=True)
    write(broker, make_silence())
    clock.sleep(RENEW_S - 0.001)
    topic.catch_up(is_quick=True)
    assert not topic.book.all()
    clock.sleep(0.001)
    topic.catch_up(is_quick=True)
    assert len(topic.book.all()) == 1


def test_after_a_failure_it_is_read_once_more(broker: MemoryBroker) -> None:
    write(broker, make_silence())
    topic = reader(broker)
    broker.faults = [Fault("end_offsets", BrokerUnavailableError("away"))]
    with pytest.raises(BrokerUnavailableError):
        topic.catch_up()
    topic.catch_up()
    assert len(topic.book.all()) == 1


def test_a_silence_made_before_an_alert_holds_it_and_one_made_after_does_not() -> None:
    sink = RecordingSink()
    world = RouteWorld(sink, has_silences=True)
    world.broker.create_topic("silences")
    world.settle()
    opened, risen, closed = life_of("pump-1")
    write(world.broker, make_silence("pump-1", START_MS, 20_000))
    world.publish(opened, make_event_alert("fan-1"))
    world.settle(1)
    assert sink.ids == ["fan-1-1"]
    world.publish(risen, closed)
    world.settle(1)
    assert sink.ids == ["fan-1-1"]
    other = life_of("pump-1", START_MS + 20_000)[0]
    world.publish(make_event_alert("x", key="pump-1", at_ms=other.event_time_ms))
    world.settle(1)
    assert sink.ids == ["fan-1-1", "x-1"]


def test_an_alert_is_sent_once_its_silence_has_ended_and_closed_though_it_is_silenced() -> None:
    sink = RecordingSink()
    world = RouteWorld(sink, has_silences=True)
    world.broker.create_topic("silences")
    write(world.broker, make_silence("a", START_MS, 10_000))
    opened, risen, closed = life_of("a")
    world.publish(opened)
    world.settle()
    assert sink.ids == []
    world.publish(risen)
    world.settle()
    assert sink.ids == ["a-2"]
    write(world.broker, make_silence("a", START_MS + 15_000, 10_000))
    world.publish(closed)
    world.settle()
    assert sink.ids == ["a-2", "a-3"]


def test_an_alert_that_was_sent_is_not_repeated_while_it_is_silenced() -> None:
    sink = RecordingSink()
    world = RouteWorld(sink, Rules(repeat_ms=60_000), has_silences=True)
    world.broker.create_topic("silences")
    world.publish(make_event_alert("a"))
    world.settle()
    write(world.broker, make_silence("a", START_MS - 1, 2))
    world.clock.sleep(60.0)
    world.settle()
    assert sink.ids == ["a-1"]


def test_while_silences_cannot_be_read_nothing_is_sent() -> None:
    sink = RecordingSink()
    world = RouteWorld(sink, has_silences=True)
    world.broker.create_topic("silences")
    world.settle()
    world.publish(make_event_alert("a"))
    world.broker.faults = [
        Fault(
            "end_offsets", BrokerUnavailableError("away"), world.broker.n_calls["end_offsets"] + 1
        )
    ]
    with pytest.raises(BrokerUnavailableError):
        world.settle(1)
    assert sink.ids == []
    world.runner._start_over(BrokerUnavailableError("away"))
    world.settle()
    assert sink.ids == ["a-1"]
