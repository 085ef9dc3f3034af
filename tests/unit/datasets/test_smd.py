"""Server Machine Dataset. Needs the files."""

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present

from stream_detector.core.stream_evaluation import labelled_events
from stream_detector.datasets import load_samples, smd
from stream_detector.datasets.base import BASE_MS
from stream_detector.errors import DatasetError


def runs(labels: NDArray[np.int8] | None) -> list[tuple[int, int]]:
    """Return first sample and one after the last of each run of ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels, [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


@pytest.mark.usefixtures("mirror")
def test_a_machine_is_its_two_files_one_after_the_other() -> None:
    data = load_samples("smd", series="1-6")
    assert (data.name, data.split) == ("smd", "1-6")
    assert data.feature_names[0] == "reading_0"
    assert len(data.feature_names) == 38
    assert (len(data.train), len(data.test)) == (23_688, 23_689)
    for part in (data.train, data.test):
        assert part.keys == ("1-6",)
        assert part.values.shape == (len(part), 38)
        assert part.values.dtype == np.float32
        assert part.values.flags.c_contiguous
        assert (part.values.min(), part.values.max()) == (0.0, 1.0)
        assert set(np.diff(part.times_ms)) == {60_000.0}
    assert data.train.times_ms[0] == BASE_MS
    assert data.test.times_ms[0] == data.train.times_ms[-1] + 60_000
    assert present(data.train.labels).sum() == 0
    assert present(data.test.labels).sum() == 3_708


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("series", ["1-6", "2-1", "2-7"])
def test_interpretations_are_the_labelled_runs(series: str) -> None:
    found = smd.interpretations(series)
    assert [(item.start, item.end) for item in found] == runs(smd.load(series).test.labels)
    for item in found:
        assert item.features == tuple(sorted(set(item.features)))
        assert all(0 <= feature < smd.N_FEATURES for feature in item.features)


@pytest.mark.usefixtures("mirror")
def test_features_are_counted_from_0() -> None:
    # The file's line for this fault: 246-252:1,2,3,4,6,9,10,11,12,13,15
    first = smd.interpretations("1-6")[0]
    assert first == (246, 252, (0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 14))


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("series", ["1-6", "3-3"])
def test_each_fault_of_a_machine_has_features(series: str) -> None:
    data = load_samples("smd", series=series)
    events = labelled_events(data.test, data.faults)
    assert len(events) == len(runs(data.test.labels))
    assert all(event.features and set(event.features) <= {*data.feature_names} for event in events)
    assert labelled_events(data.train, data.faults) == []


@pytest.mark.usefixtures("mirror")
def test_machine_3_3_names_two_faults_inside_longer_ones() -> None:
    found = smd.interpretations("3-3")
    labelled = runs(smd.load("3-3").test.labels)
    assert (len(found), len(labelled)) == (28, 26)
    extra = [item for item in found if (item.start, item.end) not in labelled]
    assert [(item.start, item.end) for item in extra] == [(4564, 4567), (19459, 19462)]
    for item in extra:
        assert any(start <= item.start and item.end <= end for start, end in labelled)


def test_another_machine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"1-6, 2-1, 2-7, 3-3, received '1-1'"):
        smd.load("1-1")
