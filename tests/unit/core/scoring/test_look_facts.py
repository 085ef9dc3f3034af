"""What looks found, in the unit of the window."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_detector.core.scoring.checks import Looks
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    WindowEvidence,
)
from stream_detector.core.scoring.logarithmic import Logarithmic
from stream_detector.core.scoring.look_facts import course_facts, facts_of, relation_facts
from stream_detector.core.scoring.relations import Relations
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import Scaler, fit_scaler
from stream_detector.core.scoring.sentences import CheckFacts
from stream_detector.core.scoring.statistics import LOG_FLOOR

SCALER = Scaler("standard", np.array([7.0, 20.0], np.float32), np.array([9.0, 0.25], np.float32))
"""Of the second feature, 4 units of the signal are 1 here, and 20 is 0."""


def log(number: float) -> float:
    return float(np.log(number + float(LOG_FLOOR)))


def look_of(check: Any, name: str, ends: dict[int, tuple[float, float]]) -> Looks:
    """Return looks at one number of the second feature: by sign, the middle and the end."""
    n_looks = len(ends)
    return Looks(
        checks=(check,) * n_looks,
        statistics=(name,) * n_looks,
        features=np.ones(n_looks, np.intp),
        signs=np.array(list(ends), dtype=np.float64),
        middles=np.array([middle for middle, _ in ends.values()]),
        scales=np.array([abs(end - middle) for middle, end in ends.values()]),
    )


def facts(looks: Looks, values: list[float], number: float, look: int = 0) -> CheckFacts | None:
    """Return the facts of a window of these values, of which the look saw this number."""
    window = np.zeros((len(values), 2), np.float32)
    window[:, 1] = values
    evidence = WindowEvidence(window, window, window, 0, 1_000)
    ratio = (number - looks.middles[look]) * looks.signs[look] / looks.scales[look]
    return facts_of(looks, look, float(ratio), evidence, SCALER, steps=(2, 4))


@pytest.mark.parametrize("name", ["sd", "max_step", "mean"])
def test_of_a_feature_that_never_moved_the_farthest_value_is_named(name: str) -> None:
    looks = look_of("noise", name, {1: (0.0, 0.15)})
    window = np.array([[20.0, 20.0], [3.0, 21.0], [99.0, 16.0], [20.0, 20.0]], np.float32)
    evidence = WindowEvidence(window, window, window, 0, 1_000)
    for is_constant in (True, False):
        scaler = replace(SCALER, is_constant=np.array([False, is_constant]))
        found = facts_of(looks, 0, 9.0, evidence, scaler, steps=(2, 4))
        assert (found == CheckFacts(1, "never", 16.0, 0.0, 20.0, 20.0)) is is_constant


def test_of_a_feature_that_no_longer_changes_it_is_said_for_how_long() -> None:
    looks = look_of("flat", "unchanged", {1: (1.0, 4.0)})
    found = facts(looks, [21.0, 24.5, 24.5, 24.5], 6.0)
    assert found == CheckFacts(1, "same", 24.5, 6_000, changes_within_ms=4_000)


@pytest.mark.parametrize(
    ("name", "n_steps", "band"),
    [
        ("relation", 12, (20.0, 12.0 - 6, 12.0 + 6)),
        ("short_relation", 4, (28.0, 24.0 - 4, 24.0 + 4)),
        ("short_relation", 2, (28.0, 24.0 - 4, 24.0 + 4)),
    ],
)
def test_of_a_relation_the_block_that_is_farthest_is_named(
    name: str, n_steps: int, band: tuple[float, float, float]
) -> None:
    looks = look_of("relation", name, {1: (0.1, 0.5)})
    first = np.repeat([-2.0, 0.0, 1.0], 4)  # the second is said to be as large, scaled
    second = np.repeat([0.0, 0.0, 2.0], 4)
    scaled = np.stack([first, second], axis=1).astype(np.float32)
    window = SCALER.inverse(scaled[np.newaxis])[0].astype(np.float32)
    relations = Relations(
        np.array([[0, 1], [0, 0], [0, 0], [0, 0]], np.float32), np.array([0, 0], np.float32)
    )
    evidence = WindowEvidence(window, scaled, scaled, 0, 1_000)
    found = relation_facts(looks, 0, evidence, SCALER, relations, n_steps)
    assert found[:2] == (1, "related")
    observed, low, high = band  # half of 1 + 2 or of 1 + 1 spreads of 4 around what is said
    assert found[2:6] == pytest.approx((observed, n_steps * 1_000, low, high), rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("sd", "noise"), ("mean_step", "noise")])
def test_variation_is_a_difference(name: str, kind: str) -> None:
    looks = look_of("noise", name, {1: (log(0.5), log(1.0)), -1: (log(0.5), log(0.25))})
    found = facts(looks, [20.0, 24.0, 20.0, 24.0], log(2.0))
    assert found is not None
    assert found[:2] == (1, kind)
    assert (found.observed, found.low, found.high) == pytest.approx((8.0, 1.0, 4.0), rel=1e-5)
    assert (found.duration_ms, found.at) == (4_000, None)
    found = facts(looks, [20.5, 20.5, 20.5, 99.0], log(0.0), look=1)
    assert found is not None
    assert (found.kind, found.at) == ("flat", 20.5)
    assert found.observed == pytest.approx(0.0, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((1.0, 4.0), rel=1e-5)


def test_an_end_that_nothing_looks_at_is_not_known() -> None:
    looks = look_of("noise", "swing", {1: (log(0.5), log(1.0))})
    found = facts(looks, [20.0] * 4, log(2.0))
    assert found is not None
    assert found.low is None
    assert found.high == pytest.approx(4.0, rel=1e-5)


def test_a_level_is_a_value() -> None:
    looks = look_of("level", "mean", {1: (0.0, 2.0), -1: (0.0, -3.0)})
    found = facts(looks, [32.0] * 4, 3.0)
    assert found == CheckFacts(1, "level", 32.0, 4_000, 8.0, 28.0)


@pytest.mark.parametrize(("name", "duration_ms"), [("slope", 4_000), ("short_slope", 2_000)])
def test_a_slope_is_a_difference_over_its_steps(name: str, duration_ms: float) -> None:
    looks = look_of("level", name, {-1: (0.0, -0.5), 1: (0.0, 0.25)})
    found = facts(looks, [20.0] * 4, -1.0)
    assert found == CheckFacts(1, "slope", -4.0, duration_ms, -2.0, 1.0)


@pytest.mark.parametrize(
    ("values", "step"), [([20.0, 21.0, 15.0, 19.0], -6.0), ([20.0, 21.0, 28.0, 26.0], 7.0)]
)
def test_a_step_has_its_direction(values: list[float], step: float) -> None:
    looks = look_of("peak", "max_step", {1: (0.25, 0.5)})
    found = facts(looks, values, abs(step) / 4)
    assert found is not None
    assert (found.kind, found.observed, found.duration_ms) == ("peak", step, 1_000)
    assert found.low is None
    assert found.high == pytest.approx(2.0, rel=1e-5)


def test_a_counter_that_starts_again_has_not_jumped() -> None:
    is_second = np.array([False, True])
    scaler = replace(SCALER, relative=Relative(is_second, is_second))
    looks = look_of("peak", "max_step", {1: (0.0, 1.0)})
    window = np.zeros((4, 2), np.float32)
    window[:, 1] = [500.0, 508.0, 0.0, 4.0]
    found = facts_of(
        looks, 0, 2.0, WindowEvidence(window, window, window, 0, 1_000), scaler, (2, 4)
    )
    assert found is not None
    assert found.observed == 8.0


def test_a_spike_is_a_value_far_from_the_middle_of_the_window() -> None:
    looks = look_of("peak", "max_deviation", {1: (0.25, 0.5)})
    found = facts(looks, [21.0, 21.0, 5.0, 21.0], 3.0)
    assert found is not None
    assert (found.kind, found.observed, found.duration_ms) == ("spike", 5.0, 1_000)
    assert (found.low, found.high) == pytest.approx((15.0, 19.0), rel=1e-5)


LOG_SCALER = replace(
    fit_scaler(
        "none", np.zeros((1, 1, 2), np.float32), None, Logarithmic(np.array([0, 2], np.float32))
    ),
    scale=np.array([1.0, 0.5], np.float32),
)
"""Of the second feature, a factor of e^2 is 1 here."""


@pytest.mark.parametrize(
    ("name", "ends", "number", "expected"),
    [
        ("mean", {1: (0.0, 2.0), -1: (0.0, 1.0)}, 3.0, ("level", 6, -2, 4)),
        ("slope", {1: (0.0, 0.5), -1: (0.0, -0.5)}, 1.5, ("slope", 3, -1, 1)),
        ("max_step", {1: (0.0, 0.5)}, 1.5, ("peak", -3, None, 1)),
        ("sd", {1: (log(0.1), log(0.5))}, log(1.0), ("noise", 2, None, 1)),
    ],
)
def test_what_counts_by_its_logarithm_is_a_value_or_a_factor(
    name: str,
    ends: dict[int, tuple[float, float]],
    number: float,
    expected: tuple[str, float, float | None, float],
) -> None:
    kind, *counted = expected
    looks = look_of("level", name, ends)
    window = np.zeros((4, 2), np.float32)
    window[:, 1] = 2 * np.sinh([7.0, 7.0, 4.0, 4.0])
    evidence = WindowEvidence(window, window, window, 0, 1_000)
    ratio = (number - looks.middles[0]) * looks.signs[0] / looks.scales[0]
    found = facts_of(looks, 0, float(ratio), evidence, LOG_SCALER, steps=(2, 4))
    assert found is not None
    assert (found.kind, found.is_factor) == (kind, kind != "level")
    convert = np.exp if found.is_factor else lambda number: 2 * np.sinh(number)
    for number_found, number_counted in zip(
        (found.observed, found.low, found.high), counted, strict=True
    ):
        right = None if number_counted is None else pytest.approx(convert(number_counted), rel=1e-4)
        assert number_found == right


def test_a_stuck_feature_that_counts_by_its_logarithm_stays_at_a_value() -> None:
    looks = look_of("flat", "swing", {-1: (log(1.0), log(0.5))})
    window = np.full((4, 2), 40, np.float32)
    evidence = WindowEvidence(window, window, window, 0, 1_000)
    found = facts_of(looks, 0, 9.0, evidence, LOG_SCALER, steps=(2, 4))
    assert found is not None
    assert (found.kind, found.is_stuck) == ("flat", True)
    assert (found.observed, found.low) == pytest.approx((1, np.e), abs=2e-3)
    assert found.at == pytest.approx(40, rel=1e-5)


def test_a_course_that_counts_by_its_logarithm_is_normal_within_factors() -> None:
    found = course_facts(explanation_of((50.0,), (400.0,)), 0.5, LOG_SCALER)
    assert found is not None
    assert found.observed == 400
    assert (found.low, found.high) == pytest.approx((50 / np.e, 50 * np.e), rel=0.01)


@pytest.mark.parametrize("name", ["members", "error", "max_error"])
def test_of_an_error_nothing_is_known_but_what_was_expected(name: str) -> None:
    assert facts(look_of("shape", name, {1: (0.0, 1.0)}), [20.0] * 4, 2.0) is None


def explanation_of(expected: Any, observed: Any) -> Explanation:
    feature = FeatureExplanation(1, 1.0, expected, observed)
    return Explanation(1_000, 5_000, (feature,), (0.0, 1.0), (1_000,), 0.0, 0)


def test_of_a_course_the_farthest_value_counts() -> None:
    explanation = explanation_of((4.0, 5.0, 9.0), (4.5, 1.0, None))
    found = course_facts(explanation, 0.25, SCALER)
    assert found == CheckFacts(1, "shape", 1.0, 4_000, 4.0, 6.0)
    assert course_facts(explanation_of((4.0,), (None,)), 0.25, SCALER) is None


def test_a_robust_scale_is_bent_back() -> None:
    scaler = Scaler("robust", np.zeros(2, np.float32), np.array([1.0, 0.25], np.float32))
    looks = look_of("level", "mean", {1: (0.0, 10.0), -1: (0.0, -10.0)})
    window = np.zeros((4, 2), np.float32)
    evidence = WindowEvidence(window, window, window, 0, 0)
    found = facts_of(looks, 0, 2.0, evidence, scaler, steps=(2, 4))
    assert found is not None
    assert (found.observed, found.high) == pytest.approx((40 * np.sinh(2), 40 * np.sinh(1)))
    assert found.duration_ms == 0
