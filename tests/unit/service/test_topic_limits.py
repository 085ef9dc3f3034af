"""Limits of a topic: what they refuse, at their edges, and what is learnt from refusals."""

import pytest

from stream_detector.core.records import OutputRecord
from stream_detector.errors import Refusal
from stream_detector.service.topic_limits import TopicLimits

NOW_MS = 1_800_000_000_000


def record(value: bytes = b"v", key: bytes | None = b"k", ms: int | None = None) -> OutputRecord:
    return OutputRecord("t", key, value, (), ms)


@pytest.mark.parametrize(
    ("limits", "taken", "refused", "reason"),
    [
        (TopicLimits(bytes_max=record(b"xx").n_bytes), record(b"xx"), record(b"xxx"), "size"),
        (TopicLimits(needs_key=True), record(key=b""), record(key=None), "content"),
        (
            TopicLimits(after_ms=1_000),
            record(ms=NOW_MS + 1_000),
            record(ms=NOW_MS + 1_001),
            "timestamp",
        ),
        (
            TopicLimits(before_ms=1_000),
            record(ms=NOW_MS - 1_000),
            record(ms=NOW_MS - 1_001),
            "timestamp",
        ),
        (TopicLimits(takes_time=False), record(), record(ms=NOW_MS), "timestamp"),
    ],
)
def test_a_record_is_refused_beyond_a_limit_and_not_at_it(
    limits: TopicLimits, taken: OutputRecord, refused: OutputRecord, reason: Refusal
) -> None:
    assert limits.problem(taken, NOW_MS) is None
    assert limits.problem(refused, NOW_MS) == reason
    assert limits.explains([(taken, reason), (refused, reason)], NOW_MS)
    assert not limits.explains([(taken, reason)], NOW_MS)
    assert TopicLimits().problem(refused, NOW_MS) is None


def test_records_that_are_too_large_together_are_explained() -> None:
    pair: list[tuple[OutputRecord, Refusal]] = [(record(), "size")] * 2
    n_bytes = 2 * record().n_bytes
    assert TopicLimits(request_bytes_max=n_bytes - 1).explains(pair, NOW_MS)
    assert not TopicLimits(request_bytes_max=n_bytes).explains(pair, NOW_MS)


def test_what_is_learnt_makes_the_next_attempt_another_one() -> None:
    limits = TopicLimits()
    assert limits.learn([(record(), "size"), (record(), "size")])
    assert limits == TopicLimits(request_bytes_max=record().n_bytes)
    assert limits.learn([(record(), "size")])
    assert limits.bytes_max == record().n_bytes - 1
    assert limits.learn([(record(ms=1), "content"), (record(key=None), "content")])
    assert limits.needs_key
    assert limits.learn([(record(ms=1), "content")])
    assert not limits.takes_time
    assert not limits.learn([(record(), "content")])
    assert not limits.learn([(record(), "timestamp")])


def test_limits_are_as_narrow_as_both() -> None:
    one = TopicLimits(5, 9, needs_key=True, before_ms=1)
    other = TopicLimits(7, 8, after_ms=2, takes_time=False)
    both = TopicLimits(5, 8, needs_key=True, before_ms=1, after_ms=2, takes_time=False)
    assert one.narrowed(other) == other.narrowed(one) == both
