"""What holds for the tail of any scores, and that its levels are exceeded as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.intervals import rate_interval
from stream_detector.core.scoring.tails import DAY_MS, CalibrationScores, fit_tail

SCORES = st.lists(st.floats(0, 1e6), min_size=1, max_size=80)
RATES = st.floats(1e-4, 1e4)


def spaced(scores: list[float], days: float = 1.0) -> CalibrationScores:
    """Return scores that are clusters of their own with a gap of 0 between them."""
    values = np.array(scores)
    end_ms = np.arange(len(values), dtype=np.float64)
    return CalibrationScores(values, np.zeros(len(values), np.intp), end_ms, days * DAY_MS)


@given(SCORES, RATES, RATES, st.floats(0.1, 100))
def test_a_higher_rate_never_has_a_higher_level(
    scores: list[float], one: float, other: float, days: float
) -> None:
    tail = fit_tail(spaced(scores, days), 0.0, base_quantile=0.5)
    low, high = sorted([one, other])
    assert np.isfinite(tail.threshold(low))
    assert tail.threshold(low) >= tail.threshold(high) >= tail.base


@given(SCORES, st.floats(0, 2e6), st.floats(0, 2e6))
def test_a_higher_level_never_has_a_higher_rate(
    scores: list[float], one: float, other: float
) -> None:
    tail = fit_tail(spaced(scores), 0.0, base_quantile=0.5)
    low, high = sorted([one, other])
    assert tail.rate_per_day >= tail.rate_above(low) >= tail.rate_above(high) >= 0


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=80, unique=True),
    st.floats(1e-3, 0.999),
    st.floats(0.1, 100),
)
def test_the_rate_of_a_level_is_the_rate_that_it_was_asked_for(
    scores: list[int], share: float, days: float
) -> None:
    tail = fit_tail(spaced([float(each) for each in scores], days), 0.0, base_quantile=0.5)
    rate = share * tail.rate_per_day
    assert tail.rate_above(tail.threshold(rate)) == pytest.approx(rate, rel=1e-3)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3)), min_size=1, max_size=60))
def test_the_order_of_series_does_not_matter(rows: list[tuple[float, int]]) -> None:
    scores, series = np.array([x for x, _ in rows]), np.array([k for _, k in rows], np.intp)
    end_ms = np.arange(len(rows), dtype=np.float64)
    order = np.argsort(-series, kind="stable")
    one = fit_tail(CalibrationScores(scores, series, end_ms, DAY_MS), 2.0, base_quantile=0.5)
    other = fit_tail(
        CalibrationScores(scores[order], series[order], end_ms[order], DAY_MS), 2.0, 0.5
    )
    assert one.peaks.tolist() == other.peaks.tolist()
    assert one.threshold(0.1) == other.threshold(0.1)


@pytest.mark.parametrize("shape", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_later_scores_of_the_same_kind_exceed_a_level_as_often_as_stated(
    shape: float, seed: int, rate: float
) -> None:
    rng, a_day, n_days, n_later = np.random.default_rng(seed), 288, 4, 40

    def draw(days: int) -> np.ndarray:
        survival = rng.random(days * a_day)
        return -np.log(survival) if not shape else (survival**-shape - 1) / shape

    level = fit_tail(spaced(draw(n_days).tolist(), n_days), 0.0).threshold(rate)
    later = rate_interval(int((draw(n_later) > level).sum()), n_later)
    # Four days of training state the rate to within the interval of as many days.
    expected = rate_interval(round(rate * n_days), n_days)
    assert later.high >= expected.low
    assert later.low <= expected.high
