"""Batches as columns, and scores."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import (
    RecordBatch,
    RecordMetadata,
    SeriesColumns,
    TopicPartition,
    Unreadable,
    series_columns,
)
from stream_detector.core.results import Scores
from stream_detector.errors import DataError


def test_scores_compare_with_the_threshold_as_doubles() -> None:
    errors = np.array([0.1, np.nextafter(0.1, 1), np.nextafter(0.1, 0)])
    scores = Scores(np.arange(3), errors, 0.1)
    assert len(scores) == 3
    assert scores.is_anomalous.tolist() == [False, True, False]
    assert (scores.anomaly_scores > 1).tolist() == [False, True, False]


def test_no_scores_are_no_anomalies() -> None:
    scores = Scores(np.empty(0, np.intp), np.empty(0), 0.1)
    assert scores.is_anomalous.shape == scores.anomaly_scores.shape == (0,)


RECORDS = [RecordMetadata("t", at % 2, 10 + at, 1_000 + at, b"k%d" % at, ()) for at in range(4)]


class Counting:
    """A batch that counts how often its columns are fetched from the client."""

    def __init__(self) -> None:
        self.n_series = self.n_offsets = 0
        self.batch = RecordBatch(
            values=[b"%d" % at for at in range(4)],
            headers=[[("at", b"%d" % at)] for at in range(4)],
            next_offsets={TopicPartition("t", 0): 13, TopicPartition("t", 1): 14},
            metadata=lambda index: RECORDS[index],
            series=self.series,
            offsets=self.offsets,
        )

    def series(self) -> SeriesColumns:
        self.n_series += 1
        return series_columns(RECORDS)

    def offsets(self) -> NDArray[np.int64]:
        self.n_offsets += 1
        return np.array([metadata.offset for metadata in RECORDS], np.int64)


def test_columns_are_fetched_only_when_read_and_once_a_batch() -> None:
    counting = Counting()
    batch = counting.batch
    assert (len(batch), counting.n_series, counting.n_offsets) == (4, 0, 0)
    part = batch.select(np.array([1, 3]), {})
    for each in (batch, part, part):
        each.series()
        each.offsets()
    assert (counting.n_series, counting.n_offsets) == (1, 1)


def test_two_batches_do_not_share_their_columns() -> None:
    one, other = Counting(), Counting()
    assert one.batch.series() is not other.batch.series()
    assert (one.n_series, other.n_series) == (1, 1)


def test_a_selection_holds_the_columns_of_its_rows() -> None:
    part = Counting().batch.select(np.array([1, 3]), {TopicPartition("t", 1): 14})
    assert part.values == [b"1", b"3"]
    assert part.headers == [[("at", b"1")], [("at", b"3")]]
    assert part.series().keys == [b"k1", b"k3"]
    assert part.series().partitions.tolist() == [1, 1]
    assert part.series().timestamps_ms.tolist() == [1_001, 1_003]
    assert part.offsets().tolist() == [11, 13]
    assert part.metadata(1) == RECORDS[3]
    assert part.next_offsets == {TopicPartition("t", 1): 14}


def test_a_selection_of_all_rows_is_the_batch_with_other_offsets() -> None:
    batch = Counting().batch
    part = batch.select(np.arange(4), {TopicPartition("t", 1): 14})
    assert part.values is batch.values
    assert part.series() is batch.series()
    assert part.metadata(3) == RECORDS[3]
    assert part.next_offsets == {TopicPartition("t", 1): 14}
    assert len(batch.select(np.arange(1, 4), {})) == 3


ZEROS = np.zeros(4, np.int64)


def of_columns(**changes: Any) -> RecordBatch:
    """Return `RECORDS` made of columns."""
    narrow: Any = np.array([each.partition for each in RECORDS], np.int32)
    series = SeriesColumns(
        keys=[each.key for each in RECORDS],
        partitions=narrow,
        timestamps_ms=np.array([each.timestamp_ms for each in RECORDS]),
    )
    columns: dict[str, Any] = {
        "values": [b"x"] * 4,
        "series": series,
        "offsets": [10, 11, 12, 13],
    } | changes
    return RecordBatch.from_columns("t", **columns)


def test_columns_make_the_batch_that_records_make() -> None:
    batch = of_columns()
    assert [batch.metadata(at) for at in range(4)] == RECORDS
    assert all(type(each) is int for each in batch.metadata(0)[1:4])
    assert batch.headers is None
    assert batch.next_offsets == {TopicPartition("t", 0): 13, TopicPartition("t", 1): 14}
    assert batch.offsets().tolist() == [10, 11, 12, 13]
    columns, expected = batch.series(), series_columns(RECORDS)
    assert list(columns.keys) == list(batch.keys()) == expected.keys
    for one, other in zip(columns[1:], expected[1:], strict=True):
        assert (str(one.dtype), one.tolist()) == ("int64", other.tolist())


def test_headers_that_no_record_has_are_none() -> None:
    own: list[Any] = [None, (), [("a", b"1")], None]
    batch = of_columns(headers=own)
    assert batch.headers is own
    assert [batch.metadata(at).headers for at in range(4)] == [(), (), own[2], ()]
    assert of_columns(headers=[None, (), [], None]).headers is None
    unreadable = Unreadable((), DataError("why"), {})
    assert of_columns(headers=[unreadable, None, None, None]).headers is not None


def test_no_columns_make_an_empty_batch() -> None:
    nothing = SeriesColumns([], ZEROS[:0], ZEROS[:0])
    batch = RecordBatch.from_columns("t", [], nothing, [], [])
    assert (len(batch), batch.next_offsets, batch.headers) == (0, {}, None)
    assert batch.offsets().shape == batch.series().partitions.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": [10, 11, 12]}, "expected 4 offsets, one a record, received 3"),
        ({"headers": [None] * 5}, "expected 4 headers, one a record, received 5"),
        ({"headers": []}, "expected 4 headers, one a record, received 0"),
        ({"series": SeriesColumns([b"a"], ZEROS[:4], ZEROS[:4])}, "expected 4 keys"),
        ({"series": SeriesColumns([b"a"] * 4, ZEROS[:1], ZEROS[:4])}, "expected 4 partitions"),
        ({"series": SeriesColumns([b"a"] * 4, ZEROS[:4], ZEROS[:3])}, "expected 4 times"),
    ],
)
def test_columns_of_another_length_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_columns(**changes)
