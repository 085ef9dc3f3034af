"""Artificial faults in normal samples, and what a detector makes of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from detectors import make_sample_detector  # tests/support

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.base import SampleDataset
from stream_detector.inspection.faults import KINDS, Kind, Place, inject, spreads
from stream_detector.inspection.trial import try_out

N_STEPS = 4
NAMES = ("flow", "heat")


def normal(n_rows: int = 400, n_series: int = 2) -> Samples:
    rng = np.random.default_rng(0)
    return Samples(
        keys=tuple(f"k{number}" for number in range(n_series)),
        series=np.tile(np.arange(n_series), n_rows),
        times_ms=np.repeat(1e12 + 1_000.0 * np.arange(n_rows), n_series),
        values=rng.normal(0.0, 0.1, (n_rows * n_series, 2)),
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.text)
def test_a_fault_changes_what_it_says_and_nothing_else(kind: Kind) -> None:
    samples = normal()
    sd = np.full((2, 2), 2.0)
    found = inject(samples, sd, NAMES, Place(N_STEPS), [kind])
    assert found.faults
    before = np.array(samples.values)
    changed = found.samples.values - before
    for fault in found.faults:
        assert fault.kind == kind.text
        series = samples.keys.index(fault.key)
        is_inside = (samples.series == series) & (samples.times_ms >= fault.start_ms)
        is_inside &= samples.times_ms <= fault.end_ms
        own = changed[is_inside, NAMES.index(fault.features[0])]
        length = {"spike": (1, 3), "drift": (60, 60)}.get(kind.name, (20, 20))
        assert length[0] <= len(own) <= length[1]
        size = 2.0 * kind.size_sd
        largest = float(np.abs(own).max())
        if kind.name in ("spike", "shift"):
            np.testing.assert_allclose(np.abs(own), size)
        elif kind.name == "drift":
            np.testing.assert_allclose(np.abs(own), size * np.arange(60) / 60)
        elif kind.name == "oscillation":
            assert size * 0.9 < largest <= size
        elif kind.name == "noise":
            assert own.std() == pytest.approx(size, rel=0.6)
        elif kind.name == "stuck":
            column = found.samples.values[is_inside, NAMES.index(fault.features[0])]
            assert np.ptp(column) == 0
            assert column[0] == before[is_inside, NAMES.index(fault.features[0])][0]
        else:
            assert np.isnan(own).all()
        changed[is_inside, NAMES.index(fault.features[0])] = 0.0
    assert not np.nan_to_num(changed, nan=1.0).any()
    assert not np.isnan(samples.values).any()


def test_faults_are_apart_and_the_same_for_the_same_seed() -> None:
    sd = np.ones((2, 2))
    found = inject(normal(), sd, NAMES, Place(N_STEPS, seed=3))
    again = inject(normal(), sd, NAMES, Place(N_STEPS, seed=3))
    assert found.faults == again.faults
    np.testing.assert_array_equal(found.samples.values, again.samples.values)
    assert inject(normal(), sd, NAMES, Place(N_STEPS, seed=4)).faults != found.faults
    for key in ("k0", "k1"):
        own = sorted(fault for fault in found.faults if fault.key == key)
        for one, following in pairwise(own):
            assert following.start_ms - one.end_ms >= 2 * N_STEPS * 1_000


@pytest.mark.parametrize("n_apart", [4 * N_STEPS + 1, 9 * N_STEPS])
def test_an_alert_can_close_between_two_faults(n_apart: int) -> None:
    found = inject(normal(), np.ones((2, 2)), NAMES, Place(N_STEPS, n_apart, seed=3))
    for key in ("k0", "k1"):
        own = sorted(fault for fault in found.faults if fault.key == key)
        steps = [after.start_ms - before.end_ms for before, after in pairwise(own)]
        assert len(steps) > 2
        assert min(steps) >= n_apart * 1_000


def test_passes_go_through_all_kinds_and_features() -> None:
    sd, seen, n_faults = np.ones((2, 2)), set(), 0
    while n_faults < 2 * len(KINDS):
        found = inject(normal(), sd, NAMES, Place(N_STEPS, first=n_faults)).faults
        seen |= {(fault.kind, fault.features[0]) for fault in found}
        n_faults += len(found)
    assert len(seen) == 2 * len(KINDS)


def test_features_that_never_move_have_no_faults() -> None:
    sd = np.array([[0.0, 1e-9], [0.0, 0.0]])
    faults = inject(normal(), sd, NAMES, Place(N_STEPS)).faults
    assert {(each.key, each.features) for each in faults} == {("k0", NAMES[1:])}


def test_there_is_no_fault_where_there_is_no_room() -> None:
    assert not inject(normal(9), np.ones((2, 2)), NAMES, Place(N_STEPS)).faults


@pytest.mark.parametrize(("n_rows", "has_room"), [(10, False), (11, True)])
def test_a_fault_may_end_a_window_before_the_last_sample(n_rows: int, has_room: bool) -> None:
    """A fault of a third of the series, and a window before it and after it."""
    places = [Place(N_STEPS, seed=seed) for seed in range(20)]
    found = [
        inject(normal(n_rows, 1), np.ones((1, 2)), NAMES, place, KINDS[-1:]) for place in places
    ]
    assert any(each.faults for each in found) is has_room


@pytest.mark.parametrize(("n_windows", "n_between"), [(19, 2), (20, 4)])
def test_in_long_series_faults_are_farther_apart(n_windows: int, n_between: int) -> None:
    samples = normal(n_windows * N_STEPS, 1)
    spikes = inject(samples, np.ones((1, 2)), NAMES, Place(N_STEPS), KINDS[:1]).faults
    apart_ms = [after.start_ms - before.end_ms for before, after in pairwise(spikes)]
    assert n_between <= min(apart_ms) / (1_000 * N_STEPS) < n_between + 1


def test_the_spread_of_what_seldom_changes_is_the_plain_deviation() -> None:
    samples = normal(100, 1)
    values = np.zeros((100, 2))
    values[:10] = 1.0
    assert spreads(replace(samples, values=values)) == pytest.approx(np.full((1, 2), 0.3))


def test_spreads_are_robust_and_of_each_series() -> None:
    samples = normal(2_000)
    values = np.array(samples.values)
    values[samples.series == 1] *= 100
    values[::50] = 1e6
    values[3] = np.nan
    values[:, 1] = np.where(samples.series == 0, 7.0, values[:, 1])
    found = spreads(Samples(samples.keys, samples.series, samples.times_ms, values))
    assert found[:, 0] == pytest.approx([0.1, 10.0], rel=0.1)
    assert found[0, 1] == 0


def test_a_trial_counts_what_a_detector_finds() -> None:
    rules = WindowRules(N_STEPS, 2, 1, 1_000.0, 4_000.0, 0.0, "hold", 0.5, 3_600_000.0)
    levels = (("warning", 1.0),)
    alerting = AlertRules(1, 1, 600_000, 1_000, 0, 600_000, 1_000, 600_000, levels)
    # Anomalous where the mean absolute value of a window is above 0.5.
    detector = make_sample_detector(rules, alerting, features=Features(NAMES), threshold=0.5)
    samples = normal(2_000)
    passes: list[tuple[int, int]] = []
    data = SampleDataset("pumps", "", samples, samples, NAMES)
    trial = try_out(detector, data, on_pass=lambda n, of: passes.append((n, of)))
    by_kind = {row.what: row.figures for row in trial.by_kind}
    assert list(by_kind) == [kind.text for kind in KINDS]
    assert all(figures.n_events >= 12 for figures in by_kind.values())
    # Two values a step, sd 0.1: only 5 sd in one of them would be 0.25, so nothing is found.
    assert all(figures.n_found == 0 for figures in by_kind.values())
    assert (trial.n_false, trial.false_per_day.value) == (0, 0)
    assert trial.days == pytest.approx(2 * 1_999 / 86_400)
    assert passes[0][0] == 0
    assert [row.what for row in trial.by_feature] == list(NAMES)
    wide = Samples(samples.keys, samples.series, samples.times_ms, 10 * samples.values)
    found = try_out(detector, SampleDataset("pumps", "", wide, samples, NAMES))
    shifts = {row.what: row.figures for row in found.by_kind}
    assert shifts["shift 5 sd"].n_found == shifts["shift 5 sd"].n_events
    assert shifts["shift 5 sd"].delay_ms <= 4_000
    assert shifts["stuck"].n_found == 0
    assert found.as_dict()["by_kind"][5]["what"] == "shift 5 sd"


def test_a_trial_has_twelve_passes_at_most() -> None:
    rules = WindowRules(N_STEPS, 2, 1, 1_000.0, 4_000.0, 0.0, "hold", 0.5, 3_600_000.0)
    alerting = AlertRules(1, 1, 1_000, 1_000, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    detector = make_sample_detector(rules, alerting, features=Features(NAMES))
    samples, passes = normal(40, 1), list[tuple[int, int]]()  # room for a fault or two
    data = SampleDataset("pumps", "", samples, samples, NAMES)
    try_out(detector, data, on_pass=lambda n, of: passes.append((n, of)))
    assert passes == [(n, 13) for n in range(14)]  # one is without faults


def test_a_trial_without_room_has_no_rows() -> None:
    rules = WindowRules(N_STEPS, 2, 1, 1_000.0, 4_000.0, 0.0, "hold", 0.5, 3_600_000.0)
    alerting = AlertRules(1, 1, 600_000, 1_000, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    detector = make_sample_detector(rules, alerting, features=Features(NAMES))
    trial = try_out(detector, SampleDataset("pumps", "", normal(9), normal(9), NAMES))
    assert (trial.by_kind, trial.by_feature) == ((), ())


def test_labelled_faults_are_counted_apart_and_are_no_false_alarms() -> None:
    rules = WindowRules(N_STEPS, 2, 1, 1_000.0, 4_000.0, 0.0, "hold", 0.5, 3_600_000.0)
    alerting = AlertRules(1, 1, 600_000, 1_000, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    detector = make_sample_detector(rules, alerting, features=Features(NAMES), threshold=0.5)
    plain = normal(2_000)
    values, labels = np.array(plain.values), np.zeros(4_000, np.int8)
    values[1_000:1_040:2] += 9.0  # a labelled fault of the first series, and one without a label
    values[2_001:2_041:2] += 9.0
    labels[1_000:1_040:2] = 1
    samples = replace(plain, values=values, labels=labels)
    trial = try_out(detector, SampleDataset("pumps", "", samples, samples, NAMES))
    assert (trial.labelled.n_events, trial.labelled.n_found, trial.n_false) == (1, 1, 1)
    assert trial.as_dict()["labelled"]["n_found"] == 1
