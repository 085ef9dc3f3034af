"""Business rules: what each demands, at its boundary, and what the scorers make of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from check_scorers import make_scorer as make_check_scorer
from check_scorers import normal_windows
from detectors import make_scorer
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.business_rules import (
    EVERYTHING,
    BusinessRules,
    FeatureRule,
    RowUnits,
)
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.checks import ALL_FEATURES
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.scorer import Scorer, WindowScores
from stream_detector.core.scoring.statistics import WindowView

INF = float("inf")
CONTEXT = WindowContext(1_000.0, 10.0)


def holds(observed: list[float], expected: list[float], **rule: Any) -> bool:
    both = (np.array([each], np.float64) for each in (observed, expected))
    return bool(FeatureRule(**rule).holds(*both)[0])


SEEN, NORMAL = [10.1, 9.8, 13.0, 12.0, 9.7], [10.0] * 5


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, True),
        ({"direction": "above"}, True),
        ({"direction": "below"}, False),
        ({"deviation_min": 3.0}, True),
        ({"deviation_min": np.nextafter(3.0, 4)}, False),
        ({"relative_deviation_min": 0.3}, True),
        ({"relative_deviation_min": 0.30001}, False),
        ({"valid": (-INF, np.nextafter(13.0, 12))}, True),
        ({"valid": (-INF, 13.0)}, False),
        ({"valid": (12.5, INF)}, True),  # 12 is outside, and its deviation is large
        ({"valid": (12.0, INF)}, False),
        ({"valid": (np.nextafter(12.0, 13), 13.0)}, True),
        ({"is_ignored": True}, False),
        ({"direction": "above", "deviation_min": 2.0, "valid": (-INF, 12.0)}, True),
        ({"direction": "below", "deviation_min": 0.1}, False),
    ],
)
def test_each_rule_at_its_boundary(rule: dict[str, Any], expected: bool) -> None:
    assert holds(SEEN, NORMAL, **rule) is expected


@pytest.mark.parametrize(("low", "expected"), [(9.0, True), (9.01, False)])
def test_half_of_the_largest_deviation_is_large(low: float, expected: bool) -> None:
    assert holds([12.0, low, 10.0], NORMAL[:3], direction="below") is expected


def test_what_is_expected_exactly_is_on_no_side() -> None:
    assert holds([1.0], [1.0])
    assert not holds([1.0], [1.0], direction="above")
    assert not holds([1.0], [1.0], direction="below")


def rules_of(*rules: FeatureRule, **facts: Any) -> BusinessRules:
    names = tuple(f"f{number}" for number in range(len(rules)))
    return BusinessRules(rules, Features(names, **facts))


def window(*columns: list[float]) -> FloatArray:
    return np.array([columns], np.float32).transpose(0, 2, 1).copy()


IGNORED, ABOVE = FeatureRule(is_ignored=True), FeatureRule(direction="above")


def test_the_score_is_that_of_the_features_that_count() -> None:
    scorer = make_scorer(2)  # expects 0; anomalous above a mean error of 1
    found = scorer.score(np.concatenate([window([4, 4], [0, 2]), window([0, 8], [-3, 0])]))
    assert found.scores.tolist() == [2.5, 2.75]
    left = rules_of(IGNORED, EVERYTHING).apply(found, 1.0)
    assert left.scores.tolist() == [0.5, 0.75]
    left = rules_of(EVERYTHING, ABOVE).apply(found, 1.0)
    assert left.scores.tolist() == [2.5, 2.0]
    explained = left.explain(1, CONTEXT)
    assert explained.explanation.shares == (1.0, 0.0)
    assert explained.explanation.worst_start_ms == explained.explanation.worst_end_ms == 1_010
    assert explained.reconstruction_error == 2.75


def test_windows_up_to_the_threshold_are_not_looked_at() -> None:
    scorer = make_scorer(1)
    found = scorer.score(np.concatenate([window([1, 1]), window([2, 2])]))
    left = rules_of(IGNORED).apply(found, 1.0)
    assert left.scores.tolist() == [1.0, 0.0]
    assert left.explain(0, CONTEXT) == found.explain(0, CONTEXT)
    assert rules_of(IGNORED).apply(found, 2.0) is found


def test_numbers_are_those_of_the_signal() -> None:
    """Origin, and scales of keys: a window of 4 in the units of its key is 100 + 4 / 2 + 1."""
    found = make_scorer(1).score(window([4, 4]))
    scales = KeyScales([b"k"], np.array([[1]], "f4"), np.array([[2]], "f4"))
    units = RowUnits.of(scales.scale[:1], scales.offset[:1])
    for limit, is_left in ((103.0, False), (102.9, True)):
        rules = rules_of(FeatureRule(valid=(-INF, limit)), origin=(100.0,), key_scales=scales)
        assert bool(rules.apply(found, 1.0, units).scores[0] > 1.0) is is_left
        some = slice(0, 1)
        assert bool(rules.changes(1.0, ["k"])(found, some).scores[0] > 1.0) is is_left
    for least, is_left in ((2.0, True), (2.1, False)):
        rules = rules_of(FeatureRule(deviation_min=least), origin=(100.0,), key_scales=scales)
        assert bool(rules.apply(found, 1.0, units).scores[0] > 1.0) is is_left


def test_a_scorer_without_expectations_takes_no_rules() -> None:
    found = WindowScores(np.array([2.0]), lambda *_: pytest.fail("explained"))
    with pytest.raises(TypeError, match="business rules need one"):
        rules_of(IGNORED).apply(found, 1.0)


def odd_windows() -> FloatArray:
    """Normal windows, and some with a fault in one feature: level, spike, stuck."""
    windows = normal_windows(8, seed=5)
    windows[1, :, 2] += 4
    windows[2, :, 2] -= 4
    windows[3, 35, 0] += 6
    windows[4, 35, 0] -= 6
    windows[5, :, 1] = 0.2
    windows[6, :, 2] += 4
    windows[6, 35, 0] += 6
    return windows


@pytest.fixture(scope="module", params=["together", "mean"])
def checks(request: pytest.FixtureRequest) -> Scorer:
    return make_check_scorer(combine=request.param)


def left_by(scorer: Scorer, *rules: FeatureRule) -> NDArray[np.bool_]:
    found = rules_of(*rules).apply(scorer.score(odd_windows()), scorer.threshold)
    return found.scores > scorer.threshold


def test_checks_of_features_that_do_not_count_are_left_out(checks: Scorer) -> None:
    every = left_by(checks, EVERYTHING, EVERYTHING, EVERYTHING)
    assert every.tolist()[:7] == [False, *[True] * 6]
    is_left = left_by(checks, EVERYTHING, EVERYTHING, IGNORED)
    assert is_left.tolist()[1:7] == [False, False, True, True, True, True]
    is_left = left_by(checks, EVERYTHING, EVERYTHING, ABOVE)
    assert is_left.tolist()[1:7] == [True, False, True, True, True, True]
    is_left = left_by(checks, ABOVE, IGNORED, IGNORED)
    assert is_left.tolist()[1:7] == [False, False, True, False, False, True]
    level = FeatureRule(deviation_min=3.0)  # the network itself follows the level
    assert left_by(checks, IGNORED, IGNORED, level).tolist()[1:3] == [True, True]
    level = FeatureRule(valid=(0.0, 7.0))
    assert left_by(checks, IGNORED, IGNORED, level).tolist()[1:3] == [True, False]


def test_the_alert_speaks_of_what_is_left(checks: Scorer) -> None:
    found = rules_of(EVERYTHING, EVERYTHING, IGNORED).apply(checks.score(odd_windows()), 1.0)
    finding = found.explain(6, CONTEXT)
    assert finding.check == "peak"
    assert finding.explanation.features[0].feature == 0
    assert finding.explanation.shares[2] == 0.0


def test_where_no_feature_is_looked_at_alone_all_count_together() -> None:
    scorer = make_check_scorer(("shape",))
    looks = scorer.checks.looks
    together = replace(scorer.checks, looks=looks.without(looks.features != ALL_FEATURES))
    found = CheckScorer(scorer.network, together).score(odd_windows())
    left = rules_of(EVERYTHING, EVERYTHING, IGNORED).apply(found, 1.0)
    assert found.scores[3] > 1
    assert left.scores[3] == found.scores[3]


@pytest.mark.parametrize(("beyond", "is_left"), [(0.0, False), (2.0**-20, True)])
def test_means_are_compared_where_one_is_out_of_its_limits(beyond: float, is_left: bool) -> None:
    scorer, window = make_check_scorer(), odd_windows()[1:2]  # the network follows its level
    looks = scorer.checks.looks
    scaled, _ = scorer.network.reconstruct_windows(window)
    mean = float(WindowView(scaled, scaled, 1, 2).mean[0, 2])
    is_mean = looks.is_at("mean") & (looks.features == 2)
    middles = np.where(is_mean, mean - 32 - beyond, looks.middles)
    scales = np.where(is_mean, 32, looks.scales)  # so that its ratio is 1, or hardly above
    moved = replace(scorer.checks, looks=replace(looks, middles=middles, scales=scales))
    found = CheckScorer(scorer.network, moved).score(window)
    rules = rules_of(IGNORED, IGNORED, FeatureRule(deviation_min=1.0))
    assert found.scores[0] > 1
    assert bool(rules.apply(found, 1.0).scores[0] > 1) is is_left
