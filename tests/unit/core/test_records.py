"""Batches as columns, and scores."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import (
    RecordBatch,
    RecordMetadata,
    SeriesColumns,
    TopicPartition,
    series_columns,
)
from stream_detector.core.results import Scores


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
