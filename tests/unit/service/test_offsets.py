"""Gaps in the offsets of a batch: which are a loss, and when the broker is asked."""

import numpy as np
import pytest

from stream_detector.clients.memory import MemoryBroker, MemoryClient
from stream_detector.core.records import RecordBatch, RecordMetadata, TopicPartition, series_columns
from stream_detector.errors import StateError
from stream_detector.service.offsets import OffsetGap, OffsetGaps

FIRST, SECOND = (TopicPartition("telemetry", number) for number in range(2))


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 2)
    return broker


@pytest.fixture
def client(broker: MemoryBroker) -> MemoryClient:
    client = broker.connect(topics=["telemetry"], group="g")
    client.poll(1, 0)
    return client


@pytest.fixture
def gaps(client: MemoryClient) -> OffsetGaps:
    gaps = OffsetGaps(client)
    gaps.expect({FIRST: 0, SECOND: 0})
    return gaps


def batch_of(*places: tuple[TopicPartition, int]) -> RecordBatch:
    record_metadata = [RecordMetadata(*each, offset, 0, None, ()) for each, offset in places]
    return RecordBatch(
        values=[b"%d" % metadata.offset for metadata in record_metadata],
        headers=None,
        next_offsets={each: offset + 1 for each, offset in places},
        metadata=record_metadata.__getitem__,
        series=lambda: series_columns(record_metadata),
        offsets=lambda: np.array([metadata.offset for metadata in record_metadata], np.int64),
    )


def test_the_broker_is_not_asked_if_no_offset_is_missing(
    broker: MemoryBroker, gaps: OffsetGaps
) -> None:
    for start in (0, 2):
        batch = batch_of(*((each, start + n) for n in range(2) for each in (FIRST, SECOND)))
        assert gaps.check(batch, ()) == (batch, {})
    assert broker.n_calls["beginning_offsets"] == 0


def test_the_broker_is_asked_once_about_gaps_that_are_no_loss(
    broker: MemoryBroker, gaps: OffsetGaps
) -> None:
    for offset in (3, 7, 9):  # 3, 3 and 1 are missing
        assert gaps.check(batch_of((FIRST, offset)), ())[1] == {}
    assert broker.n_calls["beginning_offsets"] == 1
    broker.truncate("telemetry", 0, 15)
    assert gaps.check(batch_of((FIRST, 15)), ())[1] == {FIRST: OffsetGap(10, 15)}
    assert broker.n_calls["beginning_offsets"] == 2


def test_a_loss_in_one_partition_is_not_one_in_another(
    broker: MemoryBroker, gaps: OffsetGaps
) -> None:
    broker.truncate("telemetry", 1, 4)
    batch, lost = gaps.check(batch_of((FIRST, 2), (SECOND, 4), (FIRST, 3)), ())
    assert lost == {SECOND: OffsetGap(0, 4)}
    assert batch.values == [b"2", b"4", b"3"]


def test_what_is_deleted_after_it_was_polled_is_no_loss(
    broker: MemoryBroker, gaps: OffsetGaps
) -> None:
    broker.truncate("telemetry", 1, 2)
    batch = batch_of((FIRST, 2), (SECOND, 0), (SECOND, 1))  # of the first, two are missing
    assert gaps.check(batch, ()) == (batch, {})


def test_records_behind_a_loss_within_a_batch_are_polled_again(
    broker: MemoryBroker, client: MemoryClient, gaps: OffsetGaps
) -> None:
    broker.truncate("telemetry", 0, 9)
    polled = batch_of((FIRST, 0), (SECOND, 0), (FIRST, 1), (FIRST, 9), (SECOND, 1), (FIRST, 10))
    batch, lost = gaps.check(polled, ())
    assert batch.values == [b"0", b"0", b"1", b"1"]
    assert (batch.next_offsets, lost) == ({FIRST: 2, SECOND: 2}, {})
    assert client.positions([FIRST]) == {FIRST: 9}
    again = batch_of((FIRST, 9), (FIRST, 10))
    assert gaps.check(again, ()) == (again, {FIRST: OffsetGap(2, 9)})


def test_a_gap_during_a_restore_is_left_to_the_digest(
    broker: MemoryBroker, gaps: OffsetGaps
) -> None:
    broker.truncate("telemetry", 0, 5)
    assert gaps.check(batch_of((FIRST, 5)), {FIRST})[1] == {}
    assert broker.n_calls["beginning_offsets"] == 0


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([4], "from offset 6 on, received 4"),
        ([6, 7, 2], "from offset 8 on, received 2"),
        ([9, 2], "from offset 10 on, received 2"),
    ],
)
def test_offsets_that_go_back_are_refused(
    gaps: OffsetGaps, offsets: list[int], message: str
) -> None:
    gaps.expect({FIRST: 6})
    with pytest.raises(StateError, match=message):
        gaps.check(batch_of(*((FIRST, each) for each in offsets)), ())
