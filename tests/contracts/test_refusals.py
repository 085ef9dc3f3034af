"""Promises of every client about records that a topic refuses, and about a topic's settings."""

import time
from typing import Any

import pytest
from client_world import World, on_real_and_memory, read, send, values_of  # tests/support

from stream_detector.core.records import OutputRecord
from stream_detector.errors import RecordRefusedError, Refusal
from stream_detector.ports import Client

DAY_MS = 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def record(topic: str, value: bytes = b"v", **more: Any) -> OutputRecord:
    return OutputRecord(topic, b"k", value, timestamp_ms=now_ms())._replace(**more)


def refusal_of(writer: Client, *records: OutputRecord) -> RecordRefusedError:
    """Send records of which some are refused, and return the error."""
    with pytest.raises(RecordRefusedError) as caught:
        send(writer, *records)
    return caught.value


@pytest.fixture(params=["without", "with"])
def writer(world: World, request: pytest.FixtureRequest) -> Client:
    """A client without a transactional id, and one with."""
    transactional_id = "refusals" if request.param == "with" else None
    return world.connect(transactional_id=transactional_id)


REFUSALS: list[tuple[dict[str, str], dict[str, Any], Refusal]] = [
    ({"max_message_bytes": "2000"}, {"value": b"x" * 2_000}, "size"),
    ({"cleanup_policy": "compact"}, {"key": None}, "content"),
    (
        {"message_timestamp_after_max_ms": "3600000"},
        {"timestamp_ms": now_ms() + DAY_MS},
        "timestamp",
    ),
    (
        {"message_timestamp_before_max_ms": "3600000"},
        {"timestamp_ms": now_ms() - DAY_MS},
        "timestamp",
    ),
]


@on_real_and_memory
@pytest.mark.parametrize(
    ("settings", "fault", "reason"), REFUSALS, ids=[next(iter(each[0])) for each in REFUSALS]
)
def test_a_refused_record_is_named_or_those_sent_with_it(
    settings: dict[str, str],
    fault: dict[str, Any],
    reason: Refusal,
    world: World,
    writer: Client,
) -> None:
    topic, other = world.make_topic(**settings), world.make_topic()
    records = [record(topic), record(topic, **fault), record(other), record(topic)]
    error = refusal_of(writer, *records)
    assert set(error.refusals) >= {1}
    assert error.refusals[1] == reason
    assert set(error.refusals) <= set(error.undelivered) <= {0, 1, 2, 3}

    # The client goes on: alone, the record is refused again, and without it the others arrive.
    error = refusal_of(writer, records[1])
    assert (error.refusals, error.undelivered) == ({0: reason}, (0,))
    send(writer, records[0], records[3])


@on_real_and_memory
def test_two_faults_in_one_request_are_both_among_the_refused(world: World, writer: Client) -> None:
    topic = world.make_topic(cleanup_policy="compact")
    error = refusal_of(writer, record(topic), *[record(topic, key=None)] * 2)
    assert set(error.refusals) >= {1, 2}


@on_real_and_memory
def test_what_is_not_undelivered_has_arrived(world: World) -> None:
    topic, other = world.make_topic(max_message_bytes="2000"), world.make_topic()
    writer = world.connect()
    sent = [record(other, b"a"), record(topic, b"x" * 2_000), record(topic, b"b")]
    error = refusal_of(writer, *sent)
    send(writer, *(sent[number] for number in error.undelivered if number != 1))
    reader = world.connect(topic, other)
    assert sorted(values_of(read(reader, 2)), key=str) == [b"a", b"b"]


@on_real_and_memory
def test_the_settings_of_a_topic_are_known(world: World) -> None:
    topic = world.make_topic(max_message_bytes="2000", cleanup_policy="compact")
    client = world.connect()
    found = client.topic_settings(topic)
    assert (found["max.message.bytes"], found["cleanup.policy"]) == ("2000", "compact")


def test_the_settings_of_a_topic_that_does_not_exist_are_not_known(world: World) -> None:
    client, started_s = world.connect(), time.monotonic()
    assert client.topic_settings("missing") == {}
    assert time.monotonic() - started_s < 3


@on_real_and_memory
def test_a_record_of_the_largest_size_is_taken(world: World) -> None:
    largest = record("", b"x" * 1_000, headers=[("h", b"x" * 100), ("", None)])
    for n_less in (0, 1):
        topic = world.make_topic(max_message_bytes=str(largest.n_bytes - n_less))
        if n_less:
            refusal_of(world.connect(), largest._replace(topic=topic))
        else:
            send(world.connect(), largest._replace(topic=topic))
