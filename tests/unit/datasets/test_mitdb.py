"""MIT-BIH records as wfdb reads them. Needs the files and wfdb."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

pytest.importorskip("wfdb")

from stream_detector.datasets import load_samples, mitdb
from stream_detector.datasets.base import BASE_MS
from stream_detector.errors import DatasetError


@pytest.mark.usefixtures("mirror")
def test_a_record_is_five_minutes_and_the_rest() -> None:
    data = load_samples("mitdb", series="106")
    assert (data.name, data.split, data.feature_names) == ("mitdb", "106", ("MLII", "V1"))
    assert (len(data.train), len(data.test)) == (300 * 360, 650_000 - 300 * 360)
    for part in (data.train, data.test):
        assert part.keys == ("106",)
        assert part.values.dtype == np.float32
        assert part.values.flags.c_contiguous
        assert part.values.shape == (len(part), 2)
        assert not part.series.any()
        np.testing.assert_allclose(np.diff(part.times_ms), 1000 / 360, atol=1e-3)
    assert data.train.times_ms[0] == BASE_MS
    assert data.test.times_ms[0] == BASE_MS + 300_000


@pytest.mark.usefixtures("mirror")
def test_labels_are_on_the_annotated_samples_of_v_and_f() -> None:
    data = mitdb.load("208")
    places, symbols = mitdb.beats("208")
    chosen = places[np.isin(symbols, ["V", "F"])]
    labels = np.concatenate([data.train.labels, data.test.labels])
    np.testing.assert_array_equal(np.flatnonzero(labels), chosen)
    assert len(chosen) == 1365
    assert (np.diff(places) >= 0).all()
    assert len(places) == len(symbols)


@pytest.mark.usefixtures("mirror")
def test_values_are_millivolts(mirror: Path) -> None:
    data = mitdb.load("100")
    raw = np.frombuffer((mirror / "mitdb" / "100.dat").read_bytes()[:3], dtype=np.uint8)
    # Format 212: two samples of 12 bits in three bytes; 200 steps a millivolt around 1024.
    first = ((int(raw[1]) & 0x0F) << 8) + int(raw[0])
    second = ((int(raw[1]) & 0xF0) << 4) + int(raw[2])
    expected = [(first - 1024) / 200, (second - 1024) / 200]
    np.testing.assert_allclose(data.train.values[0], expected, rtol=1e-6)


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("series", mitdb.SERIES)
def test_every_known_record_loads(series: str) -> None:
    data = mitdb.load(series)
    assert np.isfinite(data.test.values).all()
    n_anomalous = int(present(data.train.labels).sum() + present(data.test.labels).sum())
    assert n_anomalous == {"100": 1, "112": 0, "115": 0}.get(series, n_anomalous)
    assert series in ("100", "112", "115") or n_anomalous > 300


@pytest.mark.usefixtures("mirror")
def test_all_records_are_series_of_one_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitdb, "SERIES", ("100", "208"))
    data = load_samples("mitdb", series="all")
    assert (data.name, data.split) == ("mitdb", "all")
    assert data.feature_names == ("feature_0", "feature_1")  # V5 is the second lead of 100
    each = [mitdb.load(name) for name in ("100", "208")]
    for part in ("train", "test"):
        found, parts = getattr(data, part), [getattr(one, part) for one in each]
        assert found.keys == ("100", "208")
        np.testing.assert_array_equal(found.series, np.repeat([0, 1], len(parts[0])))
        for name in ("values", "labels", "times_ms"):
            expected = np.concatenate([getattr(one, name) for one in parts])
            np.testing.assert_array_equal(getattr(found, name), expected)


def test_another_record_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"100, 106, 112.*221, or all, received '101'"):
        mitdb.load("101")


def test_without_wfdb_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_wfdb(name: str, *rest: Any) -> object:
        if name == "wfdb":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_wfdb)
    with pytest.raises(DatasetError, match=r"pip install 'stream-detector\[train\]'"):
        mitdb.load("106")
