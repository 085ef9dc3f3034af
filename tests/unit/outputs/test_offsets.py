"""Offsets at which some time begins, on a broker in this process."""

import pytest

from stream_detector.clients.memory import MemoryBroker, MemoryClient
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.outputs import offsets as module
from stream_detector.outputs.offsets import CLOSE_ENOUGH, find_newest, find_offsets

FULL, EMPTY = (TopicPartition("telemetry", number) for number in range(2))


@pytest.fixture
def client() -> MemoryClient:
    """Read a partition with a record each millisecond, and one without any."""
    broker = MemoryBroker()
    broker.create_topic("telemetry", 2)
    times_ms = range(2 * CLOSE_ENOUGH)
    broker.feed("telemetry", [OutputRecord("telemetry", b"k", b"v", (), each) for each in times_ms])
    client = broker.connect(topics=["telemetry"])
    client.poll(1, 0)
    return client


@pytest.mark.parametrize(("time_ms", "offset"), [(CLOSE_ENOUGH, 0), (501, 501)])
def test_a_record_at_the_time_is_not_left_out(
    client: MemoryClient, time_ms: int, offset: int
) -> None:
    assert find_offsets(client, {FULL: 0}, {FULL: 1_000}, time_ms) == {FULL: offset}


def test_a_partition_without_records_is_not_waited_for(
    client: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S_MAX", 0.1)
    first, end = {FULL: 0, EMPTY: 0}, {FULL: 1_000, EMPTY: 0}
    assert find_newest(client, first, end, 100, 1_000) == {FULL: 0, EMPTY: 0}
