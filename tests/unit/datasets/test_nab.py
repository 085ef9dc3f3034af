"""Series of the Numenta Anomaly Benchmark. Needs the files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from present import present

from stream_detector.datasets import load_samples, nab
from stream_detector.errors import DatasetError

MACHINE = "realKnownCause/machine_temperature_system_failure"


def milliseconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000


@pytest.mark.parametrize("series", nab.SERIES)
def test_every_series_is_in_order_and_parted_at_15_percent(series: str, mirror: Path) -> None:
    data = load_samples("nab", series=series)
    assert (data.name, data.split, data.feature_names) == ("nab", series, ("value",))
    assert data.train.keys == data.test.keys == (series,)
    times_ms = np.concatenate([data.train.times_ms, data.test.times_ms])
    assert (np.diff(times_ms) > 0).all()
    assert len(data.train) == int(0.15 * len(times_ms))
    assert data.train.values.dtype == np.float32
    assert data.train.values.flags.c_contiguous
    assert data.test.values.shape == (len(data.test), 1)
    labels = np.concatenate([present(data.train.labels), present(data.test.labels)])
    windows = json.loads((mirror / "nab" / "labels" / "combined_windows.json").read_text())
    assert (labels.mean() > 0) == bool(windows[f"{series}.csv"])
    assert labels.mean() < 0.15


def test_a_clock_set_back_leaves_the_first_of_equal_times(mirror: Path) -> None:
    rows = (mirror / "nab" / "data" / f"{MACHINE}.csv").read_text().split()[2:]
    assert len(rows) == 22_695 * 2 - 1, "date and time are apart, the header is one short"
    data = nab.load(MACHINE)
    times_ms = np.concatenate([data.train.times_ms, data.test.times_ms])
    assert len(times_ms) == 22_683, "twelve times stand in the file twice"


def test_labels_are_the_benchmarks_windows(mirror: Path) -> None:
    data = nab.load(MACHINE)
    labels = np.concatenate([data.train.labels, data.test.labels])
    times_ms = np.concatenate([data.train.times_ms, data.test.times_ms])
    windows = json.loads((mirror / "nab" / "labels" / "combined_windows.json").read_text())
    spans = windows[f"{MACHINE}.csv"]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels, [0]]))).reshape(-1, 2)
    assert len(edges) == len(spans) == 4
    for (first, after), (start, end) in zip(edges, spans, strict=True):
        assert times_ms[first] == milliseconds(start)
        assert times_ms[after - 1] == milliseconds(end)
    assert present(data.train.labels).sum() == 567, "one anomaly lies in the training part"


@pytest.mark.parametrize("series", ["realKnownCause/nyc", "nyc_taxi"])
def test_another_series_is_refused_with_the_nearest_ones(series: str) -> None:
    with pytest.raises(
        DatasetError, match=f"35 known.*realKnownCause/nyc_taxi.*received '{series}'"
    ):
        nab.load(series)
