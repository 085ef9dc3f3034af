"""Rejected records whose headers the client did not hand over say so; nothing else changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from stream_detector.clients import _header_check
from stream_detector.clients._header_check import HeaderCheck
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.dead_letters import encode_dead_letter, is_left_out
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.service.lost_headers import name_lost_headers

GOOD, BAD, INFINITE = b'{"values":[0,0,0,0]}', b"\x00", b'{"values":[0,0,0,1e30]}'


@pytest.fixture
def judge(make_detector: Callable[..., WindowDetector]) -> Callable[..., Any]:
    """Return what judges records as a client polls them that lost the headers of some."""

    def judge(lost: Mapping[int, int], *records: OutputRecord) -> Any:
        broker = MemoryBroker(now_ms=lambda: 0)
        broker.create_topic("telemetry")
        broker.feed("telemetry", records)
        client = broker.connect(topics=["telemetry"])
        asked: list[Sequence[int]] = []

        def lost_headers(offsets: Mapping[TopicPartition, Sequence[int]]) -> Any:
            asked.extend(offsets.values())
            return {
                (where, offset): lost[offset]
                for where, wanted in offsets.items()
                for offset in wanted
                if offset in lost
            }

        vars(client)["lost_headers"] = lost_headers
        batch = client.poll(100, 0)
        detector = make_detector()
        step = detector.step(detector.initial_state(), batch)
        return *name_lost_headers(client, batch, step), asked

    return judge


def record(value: bytes, *headers: tuple[str, bytes | None]) -> OutputRecord:
    return OutputRecord("telemetry", b"k", value, headers)


def test_a_rejected_record_without_content_type_says_why(judge: Callable[..., Any]) -> None:
    batch, step, asked = judge(
        {1: 200_025}, record(GOOD), record(BAD), record(BAD), record(BAD, ("a", b"1"))
    )
    assert asked == [[1, 2]]
    lost, *others = step.rejected
    assert type(lost.error).__name__ == "RecordDecodeError"
    assert "200,025 bytes" in str(lost.error)
    assert ["not JSON" in str(each.error) for each in others] == [True, True]
    letters = [
        encode_dead_letter(each, b"v", batch.metadata(each.index), "dead", 10_000)
        for each in step.rejected
    ]
    assert [is_left_out(each) for each in letters] == [True, False, False]
    assert letters[0].headers[-1] == ("stream-detector.left-out", b"headers 200025")


def test_what_is_wrong_with_values_stays_the_reason(judge: Callable[..., Any]) -> None:
    batch, step, _ = judge({0: 7}, record(INFINITE))
    (rejected,) = step.rejected
    assert rejected.stage == "check"
    assert type(rejected.error).__name__ == "RecordValueError"
    assert batch.metadata(0).headers.left_out == {"headers": 7}


def test_nothing_is_asked_where_no_record_without_headers_is_rejected(
    judge: Callable[..., Any],
) -> None:
    *_, asked = judge({0: 7}, record(GOOD), record(BAD, ("a", b"1")))
    assert asked == []


@pytest.mark.parametrize("n_at_once", [1, 2, 3, 500])
def test_headers_are_read_again_however_many_records_a_poll_has(
    monkeypatch: pytest.MonkeyPatch, n_at_once: int
) -> None:
    monkeypatch.setattr(_header_check, "_POLL_RECORDS_MAX", n_at_once)
    broker = MemoryBroker()
    broker.create_topic("telemetry")
    broker.feed("telemetry", [record(BAD), *[record(BAD, ("ab", b"1"))] * 4])
    check = HeaderCheck(lambda topic: broker.connect(topics=[topic]))
    where = TopicPartition("telemetry", 0)
    found = check.lost_headers({where: [0, 1, 2, 4]})
    assert found == {(where, 1): 3, (where, 2): 3, (where, 4): 3}
