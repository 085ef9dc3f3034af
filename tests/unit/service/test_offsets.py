"""Holes in the offsets of a batch: which are a loss, and what is asked of the broker for that."""

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
def watch(client: MemoryClient) -> OffsetGaps:
    watch = OffsetGaps(client)
    watch.expect({FIRST: 0, SECOND: 0})
    return watch


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


def test_where_none_is_missing_nothing_is_asked(broker: MemoryBroker, watch: OffsetGaps) -> None:
    for start in (0, 2):
        batch = batch_of(*((each, start + n) for n in range(2) for each in (FIRST, SECOND)))
        assert watch.check(batch, ()) == (batch, {})
    assert broker.n_calls["beginning_offsets"] == 0


def test_a_hole_that_is_no_loss_is_asked_about_once(
    broker: MemoryBroker, watch: OffsetGaps
) -> None:
    for offset in (3, 7, 9):  # 3, 3 and 1 are missing
        assert watch.check(batch_of((FIRST, offset)), ())[1] == {}
    assert broker.n_calls["beginning_offsets"] == 1
    broker.truncate("telemetry", 0, 15)
    assert watch.check(batch_of((FIRST, 15)), ())[1] == {FIRST: OffsetGap(10, 15)}
    assert broker.n_calls["beginning_offsets"] == 2


def test_a_loss_in_one_partition_is_not_one_in_another(
    broker: MemoryBroker, watch: OffsetGaps
) -> None:
    broker.truncate("telemetry", 1, 4)
    batch, lost = watch.check(batch_of((FIRST, 2), (SECOND, 4), (FIRST, 3)), ())
    assert lost == {SECOND: OffsetGap(0, 4)}
    assert batch.values == [b"2", b"4", b"3"]


def test_what_lies_behind_a_loss_within_a_batch_is_read_again(
    broker: MemoryBroker, client: MemoryClient, watch: OffsetGaps
) -> None:
    broker.truncate("telemetry", 0, 9)
    polled = batch_of((FIRST, 0), (SECOND, 0), (FIRST, 1), (FIRST, 9), (SECOND, 1), (FIRST, 10))
    batch, lost = watch.check(polled, ())
    assert batch.values == [b"0", b"0", b"1", b"1"]
    assert (batch.next_offsets, lost) == ({FIRST: 2, SECOND: 2}, {})
    assert client.positions([FIRST]) == {FIRST: 9}
    again = batch_of((FIRST, 9), (FIRST, 10))
    assert watch.check(again, ()) == (again, {FIRST: OffsetGap(2, 9)})


def test_a_past_that_is_being_read_is_left_to_its_digest(
    broker: MemoryBroker, watch: OffsetGaps
) -> None:
    broker.truncate("telemetry", 0, 5)
    assert watch.check(batch_of((FIRST, 5)), {FIRST})[1] == {}
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
    watch: OffsetGaps, offsets: list[int], message: str
) -> None:
    watch.expect({FIRST: 6})
    with pytest.raises(StateError, match=message):
        watch.check(batch_of(*((FIRST, each) for each in offsets)), ())
