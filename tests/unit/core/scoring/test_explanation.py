"""Which features, which span, what was expected and what was seen."""

from typing import Any

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import (
    N_POINTS_MAX,
    Explanation,
    WindowEvidence,
    explain,
)
from stream_detector.core.scoring.scaling import Scaler

ErrorKinds = pytest.mark.parametrize("error_kind", ["mae", "mse", "bce"])


def identity(n_features: int) -> Scaler:
    return Scaler("none", np.zeros(n_features, np.float32), np.ones(n_features, np.float32))


def explained(
    errors: Any, error_kind: Any = "mae", normal_errors: Any = None, **more: Any
) -> Explanation:
    """Explain a window of these values where 0 is expected; steps 10 ms apart from 1 s on."""
    window = np.float32(errors).reshape(len(errors), -1)
    scored = WindowEvidence(window, window, np.zeros_like(window), 1_000, 10, **more)
    return explain(scored, identity(window.shape[1]), error_kind, normal_errors)


@pytest.mark.parametrize(
    ("errors", "first", "last"),
    [
        ([0, 0, 4, 0, 0], 2, 2),
        ([0, 2, 4, 2, 0], 1, 3),
        ([0, 1.9, 4, 1.9, 0], 2, 2),
        ([3, 0, 4, 3, 0], 2, 3),
        ([4, 3, 0, 3, 3], 0, 1),
        ([3, 3, 0, 3, 4], 3, 4),
        ([4, 0, 4, 4, 0], 0, 0),
        ([2, 3, 4], 0, 2),
        ([-4, 2, 0], 0, 1),
        ([5], 0, 0),
        ([0, 0, 0], 0, 2),
    ],
)
def test_the_worst_span_is_the_run_of_large_errors_around_the_largest(
    errors: list[float], first: int, last: int
) -> None:
    found = explained(errors)
    assert (found.worst_start_ms, found.worst_end_ms) == (1_000 + 10 * first, 1_000 + 10 * last)
    assert found.times_ms == tuple(range(found.worst_start_ms, found.worst_end_ms + 1, 10))
    assert found.features[0].observed == tuple(float(each) for each in errors[first : last + 1])
    assert found.features[0].expected == (0.0,) * (last + 1 - first)


def test_the_step_error_is_of_all_features() -> None:
    found = explained([[1, 1], [3, 0], [2, 2], [0, 1]])
    assert (found.worst_start_ms, found.worst_end_ms) == (1_000, 1_020)


def test_shares_are_parts_of_the_summed_error() -> None:
    found = explained([[1, 0, -2, 0.5, 0.5], [0, 0, -2, 1, 1]])
    assert found.shares == (0.125, 0.0, 0.5, 0.1875, 0.1875)
    assert [(each.feature, each.share) for each in found.features] == [
        (2, 0.5),
        (3, 0.1875),
        (4, 0.1875),
    ]
    assert found.features[0].observed == (-2.0, -2.0)


def beside_a_noisy_feature() -> FloatArray:
    """Return errors of a noisy feature, and of a quiet one with a fault from step 14 to 16."""
    noisy = np.tile([0.5, 1.5, 1.0, 1.0], 5)
    quiet = np.full(20, 0.125)
    quiet[14:17] = 0.5
    return np.column_stack([noisy, quiet]).astype(np.float32)  # (n_steps, n_features)


def test_a_feature_has_a_share_of_what_is_beyond_its_normal_error() -> None:
    errors = beside_a_noisy_feature()
    plain = explained(errors)
    assert [each.feature for each in plain.features] == [0, 1]
    assert plain.worst_end_ms < 1_140
    found = explained(errors, normal_errors=np.array([1.0, 0.125]))
    assert found.shares == (0.0, 1.0)
    assert [(each.feature, each.share) for each in found.features] == [(1, 1.0), (0, 0.0)]
    assert (found.worst_start_ms, found.worst_end_ms) == (1_140, 1_160)
    assert found.features[0].observed == (0.5,) * 3


def test_shares_are_parts_of_the_excess() -> None:
    normal = np.array([1.0, 0.5, 4.0])
    found = explained([[1.5, 2.0, 1.0], [1.5, 2.0, 1.0]], normal_errors=normal)
    assert found.shares == (0.25, 0.75, 0.0)


def test_without_excess_all_features_are_alike() -> None:
    normal = np.array([1.0, 2.0])
    found = explained([[1.0, 0.0], [1.0, 4.0]], normal_errors=normal)
    assert found.shares == (0.5, 0.5)
    assert (found.worst_start_ms, found.worst_end_ms) == (1_010, 1_010)


@ErrorKinds
def test_one_feature_has_it_all_whatever_is_normal(error_kind: Any) -> None:
    found = explained([0.0, 1.0, 0.5], error_kind, normal_errors=np.array([9.0]))
    plain = explained([0.0, 1.0, 0.5], error_kind)
    assert found == plain
    assert found.shares == (1.0,)


def test_squares_weigh_in_the_shares_of_mse() -> None:
    assert explained([[1, 3]], "mse").shares == (0.1, 0.9)


@ErrorKinds
def test_no_error_is_shared_equally(error_kind: Any) -> None:
    window = np.zeros((3, 4), np.float32)
    scored = WindowEvidence(window, window, window, 0, 1)
    # Cross-entropy is not 0 even for what is reconstructed exactly, for its logarithm is kept
    # finite; the shares come out equal all the same.
    assert explain(scored, identity(4), error_kind).shares == pytest.approx((0.25,) * 4)


def test_an_error_below_zero_counts_as_none() -> None:
    scaled = np.array([[0.5, 2.0], [0.5, 3.0]], np.float32)
    expected = np.full((2, 2), 0.9, np.float32)
    found = explain(WindowEvidence(scaled, scaled, expected, 0, 1), identity(2), "bce")
    assert found.shares == (1.0, 0.0)


def test_what_was_expected_and_seen_is_in_the_unit_of_the_signal() -> None:
    scaler = Scaler(
        "min-max", np.array([100.0, -1.0], np.float32), np.array([0.25, 4.0], np.float32)
    )
    window = np.array([[104.0, -0.5], [101.0, -0.5]], np.float32)
    expected: FloatArray = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    scored = WindowEvidence(window, scaler.transform(window[np.newaxis])[0], expected, 0, 1)
    features = {each.feature: each for each in explain(scored, scaler, "mae").features}
    assert (features[0].expected, features[0].observed) == ((100.0, 104.0), (104.0, 101.0))
    assert (features[1].expected, features[1].observed) == ((-1.0, -0.75), (-0.5, -0.5))


def test_a_missing_value_was_not_seen() -> None:
    imputed = np.zeros((4, 2), bool)
    imputed[2, 0] = imputed[3, 1] = imputed[0, 0] = True
    found = explained([[0, 0], [4, 2], [4, 2], [4, 2]], imputed=imputed)
    assert found.features[0].observed == (4.0, None, 4.0)
    assert found.features[1].observed == (2.0, 2.0, None)
    assert (found.imputed_share, found.n_gaps) == (0.375, 0)
    assert explained([1]).imputed_share == 0.0


@pytest.mark.parametrize("n_steps", [63, 64, 65, 100, 127, 128, 1_000, 4_097])
def test_long_spans_are_thinned_evenly(n_steps: int) -> None:
    found = explained(np.ones(n_steps))
    steps = (np.array(found.times_ms) - 1_000) / 10
    assert len(steps) == min(n_steps, N_POINTS_MAX)
    assert (steps[0], steps[-1]) == (0, n_steps - 1)
    gaps = np.diff(steps)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
    assert len(found.features[0].observed) == len(found.features[0].expected) == len(steps)


def test_times_between_milliseconds_are_rounded() -> None:
    window = np.ones((4, 1), np.float32)
    scored = WindowEvidence(window, window, 0 * window, 1_000.2, 1000 / 360)
    found = explain(scored, identity(1), "mae")
    assert found.times_ms == (1_000, 1_003, 1_006, 1_009)


def test_an_absurd_time_stays_as_it_is() -> None:
    window = np.ones((2, 1), np.float32)
    start_ms = 2**63 - 3
    found = explain(WindowEvidence(window, window, 0 * window, start_ms, 1), identity(1), "mae")
    assert found.times_ms == (start_ms, start_ms + 1)


def test_an_unknown_interval_gives_one_time() -> None:
    window = np.ones((3, 1), np.float32)
    found = explain(WindowEvidence(window, window, 0 * window, -1, 0), identity(1), "mae")
    assert (found.times_ms, found.worst_start_ms, found.worst_end_ms) == ((-1, -1, -1), -1, -1)


def test_an_explanation_is_plain_values() -> None:
    found = explained([[1, 2], [3, 4]], imputed=np.ones((2, 2), bool))
    kinds = {type(each) for each in (*found.shares, *found.times_ms, found.imputed_share)}
    kinds |= {type(each) for each in found.features[0].expected}
    assert kinds == {int, float}


def test_large_scaled_values_stay_finite() -> None:
    scaler = Scaler("min-max", np.array([0.0], np.float32), np.array([1e-30], np.float32))
    scaled = np.full((2, 1), 1e12, np.float32)
    found = explain(WindowEvidence(scaled, scaled, -scaled, 0, 1), scaler, "mse")
    assert np.isfinite(found.features[0].expected).all()
    assert found.shares == (1.0,)
