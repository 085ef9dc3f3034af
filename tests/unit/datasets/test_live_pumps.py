"""A fleet as if it ran now: when its faults begin, and what is trained on."""

import numpy as np
import pytest

from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.live_pumps import KIND_ORDER, LiveFleet, fleet_around

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def fleet() -> LiveFleet:
    return fleet_around(NOW_MS)


def test_faults_begin_one_after_the_other_soon_after_the_moment(
    fleet: LiveFleet,
) -> None:
    first = fleet.faults[:9]
    assert [each.start_ms - NOW_MS for each in first] == [15_000 + 30_000 * at for at in range(9)]
    assert len({each.key for each in first}) == 9  # of twelve pumps, three have none
    ranks = [KIND_ORDER.index(each.kind) for each in first]
    assert ranks == sorted(ranks)
    assert all(each.end_ms > each.start_ms > NOW_MS for each in fleet.faults)


def test_an_hour_before_is_shown_and_more_is_to_come(fleet: LiveFleet) -> None:
    shown = fleet.shown
    assert (np.diff(shown.times_ms) >= 0).all()
    assert shown.times_ms[0] >= NOW_MS - HOUR_MS
    for number in range(12):
        times_ms = shown.times_ms[shown.series == number]
        assert times_ms[0] < NOW_MS - HOUR_MS + 120_000
        assert times_ms[-1] > NOW_MS + 4 * HOUR_MS
    assert shown.labels is not None
    labelled = shown.labels == 1
    assert shown.times_ms[labelled].min() >= NOW_MS


def test_what_is_trained_on_has_no_fault_and_is_not_shown(fleet: LiveFleet) -> None:
    trained_on = fleet.trained_on
    assert trained_on.labels is not None
    assert not trained_on.labels.any()
    assert trained_on.times_ms.max() < BASE_MS + 1.5 * HOUR_MS
    # Two float32 values of a sample as one number.
    own, shown = (
        np.ascontiguousarray(each.values[:, :2]).view(np.int64).ravel()
        for each in (trained_on, fleet.shown)
    )
    assert not np.isin(own, shown).any()


def test_what_is_trained_on_does_not_depend_on_the_past_that_is_shown() -> None:
    short, long = (fleet_around(NOW_MS, n_pumps=2, past_hours=hours) for hours in (0.25, 0.5))
    assert short.trained_on.values.tobytes() == long.trained_on.values.tobytes()
    n_more = len(long.shown) - len(short.shown)
    assert short.shown.times_ms.tolist() == long.shown.times_ms[n_more:].tolist()
    assert short.shown.times_ms[0] == pytest.approx(NOW_MS - HOUR_MS / 4, abs=5_000)
