"""The simulated fleet of pumps: repeatable, with faults that are what their names say."""

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.stream_evaluation import labelled_events
from stream_detector.datasets import load_samples, pumps
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.pumps import FEATURES, KINDS, Fault, Fleet, simulate
from stream_detector.errors import DatasetError

HOUR_MS = 3_600_000.0


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return simulate(3)


def rows_of(fleet: Fleet, key: str) -> NDArray[np.intp]:
    return np.flatnonzero(fleet.samples.series == fleet.samples.keys.index(key))


def during(fleet: Fleet, fault: Fault) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the feature of a fault while it lasts, and an hour or less of it before."""
    samples, rows = fleet.samples, rows_of(fleet, fault.key)
    times = samples.times_ms[rows] + 500
    signal = samples.values[rows, FEATURES.index(fault.feature)].astype(np.float64)
    is_in = (times >= fault.start_ms) & (times < fault.end_ms)
    is_before = (times < fault.start_ms) & (times >= fault.start_ms - HOUR_MS)
    return signal[is_in], signal[is_before]


def wave(signal: NDArray[np.float64]) -> float:
    """Return the largest amplitude among periods of 8 to 15 samples."""
    signal = np.nan_to_num(signal - np.nanmean(signal))
    amplitudes = np.abs(np.fft.rfft(signal)) / len(signal)
    periods = 1 / np.maximum(np.fft.rfftfreq(len(signal)), 1e-9)
    return float(amplitudes[(periods >= 8) & (periods <= 15)].max())


def test_same_seed_same_fleet_and_another_seed_another(fleet: Fleet) -> None:
    again, other = simulate(3), simulate(4)
    np.testing.assert_array_equal(fleet.samples.values, again.samples.values)
    np.testing.assert_array_equal(fleet.samples.times_ms, again.samples.times_ms)
    assert fleet.faults == again.faults != other.faults


def test_every_kind_occurs_and_a_quarter_of_the_pumps_has_no_fault(fleet: Fleet) -> None:
    counts = [sum(fault.kind == kind for fault in fleet.faults) for kind in KINDS]
    assert sum(counts) == 45
    assert min(counts) == 6
    assert max(counts) == 7
    assert len({fault.key for fault in fleet.faults}) == 15


def test_labels_are_one_while_a_fault_lasts_and_training_has_none(fleet: Fleet) -> None:
    samples = fleet.samples
    labels = np.zeros(len(samples), np.int8)
    for fault in fleet.faults:
        rows = rows_of(fleet, fault.key)
        times = samples.times_ms[rows] + 500  # a clock is off by less than half an interval
        labels[rows[(times >= fault.start_ms) & (times < fault.end_ms)]] = 1
        assert fault.start_ms >= BASE_MS + 5 * HOUR_MS
        assert fault.end_ms <= BASE_MS + 8 * HOUR_MS
    np.testing.assert_array_equal(samples.labels, labels)


def test_faults_are_what_their_names_say(fleet: Fleet) -> None:
    for fault in fleet.faults:
        inside, before = during(fleet, fault)
        roughness = np.nanmean(np.abs(np.diff(before)))
        if fault.kind == "dead":
            assert np.isnan(inside).all()
        elif fault.kind == "stuck":
            assert np.nanmax(inside) == np.nanmin(inside)
        elif fault.kind == "noise":
            assert np.nanmean(np.abs(np.diff(inside))) > 1.5 * roughness
        elif fault.kind == "oscillation":
            assert wave(inside) > 3 * wave(before[-len(inside) :])
        elif fault.kind == "shift":
            assert abs(np.nanmean(inside) - np.nanmean(before)) > 1.5 * np.nanstd(before)
        elif fault.kind == "spike":
            assert len(inside) <= 3


def test_transmission_loses_samples_and_values_and_jitters(fleet: Fleet) -> None:
    samples = fleet.samples
    normal = samples.labels == 0
    assert 0.001 < np.isnan(samples.values[normal]).mean() < 0.003
    assert 0.005 < 1 - len(samples) / (20 * 8 * 3_600) < 0.05
    first = rows_of(fleet, "pump-00")
    distances = np.diff(samples.times_ms[first])
    assert (distances > 0).all()
    assert 5_000 < distances.max() < 95_000
    assert 20 < np.std(distances[distances < 1_500]) < 80


def test_as_a_data_set_the_first_five_hours_are_normal() -> None:
    data = load_samples("pumps", series="3")
    assert data.feature_names == FEATURES
    assert data.train.labels is not None
    assert not data.train.labels.any()
    assert data.train.times_ms.max() < BASE_MS + 5 * HOUR_MS - 500 <= data.test.times_ms.min()
    assert data.test.labels is not None
    assert data.test.labels.any()
    events = labelled_events(data.test, data.faults)
    assert {event.kind for event in events} == set(KINDS)
    assert all(len(event.features) == 1 for event in events)
    assert [event.kind for event in events] == [fault.kind for fault in data.faults]


@pytest.mark.parametrize("seed", ["", "-1", "4294967296", "1.5", "\u0663", "0" * 11])
def test_a_fleet_is_chosen_by_its_seed(seed: str) -> None:
    with pytest.raises(DatasetError, match="expected the seed of a fleet, 0 to 4294967295"):
        load_samples("pumps", series=seed)


def test_the_largest_seed_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    short = partial(simulate, n_pumps=1, train_hours=5.0, test_hours=0.9)
    monkeypatch.setattr(pumps, "simulate", short)
    assert load_samples("pumps", series="4294967295").split == "4294967295"


def test_short_hours_hold_fewer_faults() -> None:
    assert not simulate(0, n_pumps=1, train_hours=0.1, test_hours=0.4).faults
    assert len(simulate(0, n_pumps=1, train_hours=0.0, test_hours=0.9).faults) == 2
    assert not simulate(0, n_pumps=3, kinds=()).faults
