"""A test part is drawn from a seed, and what cannot be drawn is refused."""

import numpy as np
import pytest
from present import present

from stream_detector.datasets import Dataset, load_dataset
from stream_detector.datasets.sampling import draw_each, draw_share
from stream_detector.errors import DatasetError


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("synthetic-ecg", n_windows=2000)


def test_so_many_of_each_class_in_their_order(data: Dataset) -> None:
    drawn = draw_each(data, 10, seed=3)
    assert drawn.test_labels is not None
    assert np.bincount(drawn.test_labels).tolist() == [10, 10]
    place = {window.tobytes(): row for row, window in enumerate(data.test)}
    rows = [place[window.tobytes()] for window in drawn.test]
    assert rows == sorted(set(rows))
    assert drawn.test_labels.tolist() == present(data.test_labels)[rows].tolist()
    assert drawn.train is data.train


def test_a_share_leaves_all_that_is_normal(data: Dataset) -> None:
    n_normal = int((present(data.test_labels) == 0).sum())
    drawn = draw_share(data, 0.02, seed=0)
    n_anomalous = int(present(drawn.test_labels).sum())
    assert len(drawn.test) == n_normal + n_anomalous
    assert n_anomalous / len(drawn.test) == pytest.approx(0.02, abs=0.003)


def test_the_seed_alone_decides(data: Dataset) -> None:
    first, again, other = (draw_each(data, 10, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_what_is_not_there_cannot_be_drawn(data: Dataset) -> None:
    with pytest.raises(DatasetError, match="expected 1000 normal test windows"):
        draw_each(data, 1000, seed=0)
    with pytest.raises(DatasetError, match="set another share"):
        draw_share(data, 0.99, seed=0)
    with pytest.raises(DatasetError, match="set another share"):
        draw_share(data, 0.0001, seed=0)


@pytest.fixture
def few() -> Dataset:
    """Return four normal test windows and two anomalous ones."""
    windows, labels = np.arange(6, dtype=np.float32).reshape(6, 1, 1), np.array([0, 0, 1, 0, 1, 0])
    return Dataset("few", "", windows, None, windows, labels.astype(np.int8))


def test_all_that_are_there_can_be_drawn_and_no_more(few: Dataset) -> None:
    assert present(draw_each(few, 2, seed=0).test_labels).tolist().count(0) == 2
    with pytest.raises(DatasetError, match="expected 3 anomalous test windows"):
        draw_each(few, 3, seed=0)
    assert len(draw_share(few, 2 / 6, seed=0).test) == 6
    with pytest.raises(DatasetError, match="needs 3 anomalous windows beside 4 normal ones"):
        draw_share(few, 3 / 7, seed=0)


def test_without_labels_nothing_can_be_drawn(data: Dataset) -> None:
    bare = Dataset("own", "", data.train, None, data.test, None)
    with pytest.raises(DatasetError, match="labelled test part"):
        draw_each(bare, 1, seed=0)
