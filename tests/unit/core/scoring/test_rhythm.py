"""Peaks that come too early, too late, irregularly or not at all."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present
from rhythms import NORMAL, intervals_of, make_rhythm

from stream_detector.core.features import Features
from stream_detector.core.scoring.checks import looks_of
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    RhythmExplanation,
    WindowContext,
)
from stream_detector.core.scoring.look_limits import calibrate_looks
from stream_detector.core.scoring.rhythm import limits_of, rhythm_looks, rhythm_values
from stream_detector.core.scoring.scorer import Finding, WindowScores
from stream_detector.core.scoring.thresholds import THRESHOLD_MIN

RHYTHM = make_rhythm()
JUST_ABOVE = float(np.nextafter(1.0, 2.0))
CONTEXT = WindowContext(0.0, 10.0)


def found_of(*scores: float) -> WindowScores:
    """Return scores of windows that the check `shape` explains."""
    features = (FeatureExplanation(0, 1.0, (1.0,), (2.0,)),)
    explanation = Explanation(0, 0, features, (1.0,), (0,), 0.0, 0)

    def explain(index: int, context: WindowContext) -> Finding:
        del index, context
        return Finding(explanation, 0.5, "shape", 7.0, 0.125)

    return WindowScores(np.array(scores), explain)


def kinds_of(since_ms: list[float], before_ms: list[float] | None = None) -> list[str]:
    joined = RHYTHM.join(found_of(*[0.5] * len(since_ms)), intervals_of(since_ms, before_ms or []))
    explained = [joined.explain(at, CONTEXT).explanation for at in range(len(since_ms))]
    is_above = (joined.scores > 1).tolist()
    kinds: list[str] = [present(each.rhythm).kind for each in explained]
    assert is_above == [kind != "normal" for kind in kinds]
    return kinds


def test_an_interval_at_its_limit_is_normal_and_one_beyond_is_not() -> None:
    below, above = float(np.nextafter(600, 0)), float(np.nextafter(1_000, 9_999))
    assert kinds_of([600.0, 800.0, 1_000.0]) == ["normal"] * 3
    assert kinds_of([below, above]) == ["early", "late"]


def test_an_interval_may_be_longer_or_shorter_than_the_one_before_up_to_a_factor() -> None:
    assert kinds_of([600.0, 900.0], [900.0, 600.0]) == ["normal"] * 2
    assert kinds_of([600.0, 903.0], [903.0, 600.0]) == ["irregular"] * 2


def test_an_interval_whose_predecessor_is_not_known_is_not_irregular() -> None:
    assert kinds_of([610.0, 990.0]) == ["normal"] * 2


def test_what_is_farther_beyond_its_limit_is_named() -> None:
    # Half of the shortest, and hardly more than the factor from the one before.
    assert kinds_of([300.0], [460.0]) == ["early"]
    assert kinds_of([599.0], [990.0]) == ["irregular"]


def test_a_normal_window_keeps_its_score_and_its_reasons() -> None:
    found = found_of(0.5, 1.5, 0.0)
    joined = RHYTHM.join(found, intervals_of([800, 900, 700]))
    assert joined.scores.tolist() == [0.5, 1.5, 0.0]
    finding, before = joined.explain(1, CONTEXT), found.explain(1, CONTEXT)
    rhythm = finding.explanation.rhythm
    assert rhythm == RhythmExplanation("normal", 900.0, None, 600.0, 1_000.0, 1.5, 3_000.0)
    assert finding == before._replace(explanation=replace(before.explanation, rhythm=rhythm))


def test_a_score_is_lifted_as_by_any_check() -> None:
    # ln(800 / 450) is twice ln(800 / 600): twice as far as the limit.
    scores = RHYTHM.limits.lift(np.array([0.0, 0.9, 4.0]), intervals_of([450] * 3))
    lift = np.sqrt(2)
    assert scores == pytest.approx([lift, 0.9 + lift / 2, 4.0 + lift / 2], rel=1e-12)
    barely = intervals_of([np.nextafter(600, 0)])
    assert RHYTHM.limits.lift(np.zeros(1), barely).tolist() == [JUST_ABOVE]


def test_the_check_that_is_farther_from_normal_is_named() -> None:
    [*_, ratio] = RHYTHM.limits.ratios(intervals_of([450])).max(axis=1).tolist()
    scores = (0.9, float(np.nextafter(ratio, 0)), ratio, 2.01)
    joined = RHYTHM.join(found_of(*scores), intervals_of([450] * 4))
    named = [joined.explain(at, CONTEXT).check for at in range(4)]
    assert named == ["rhythm", "rhythm", "shape", "shape"]
    assert present(joined.explain(2, CONTEXT).explanation.rhythm).kind == "early"


def test_rates_are_those_of_the_lifted_score() -> None:
    joined = RHYTHM.join(found_of(0.5, 3.0), intervals_of([599, 599]))
    for at in range(2):
        finding = joined.explain(at, CONTEXT)
        assert finding.p_value == NORMAL.p_value(float(joined.scores[at]))
        assert finding.false_alarms_per_day is None
        assert finding.reconstruction_error == 0.5


def test_a_pause_is_always_missing_and_anomalous() -> None:
    wide = make_rhythm(high_ms=5_000)  # training had longer intervals than a pause
    joined = wide.join(found_of(9.0, 0.0), intervals_of([3_000] * 2, pauses=[0, 1]))
    assert joined.scores.tolist() == [9.0 + JUST_ABOVE / 2, JUST_ABOVE]
    for at in range(2):
        finding = joined.explain(at, CONTEXT)
        assert finding.check == "rhythm"
        rhythm = present(finding.explanation.rhythm)
        assert (rhythm.kind, rhythm.interval_ms) == ("missing", None)


def test_after_a_pause_a_peak_is_late_by_who_knows_how_much() -> None:
    rhythm = present(
        RHYTHM.join(found_of(0.0), intervals_of([3_000])).explain(0, CONTEXT).explanation.rhythm
    )
    assert (rhythm.kind, rhythm.interval_ms, rhythm.before_ms) == ("late", None, None)


def test_no_window_depends_on_the_others() -> None:
    rng = np.random.default_rng(3)
    since, before = rng.uniform(200, 3_000, 500), rng.uniform(200, 3_000, 500)
    every = intervals_of(since.tolist(), before.tolist(), pauses=[7, 60])
    scores = rng.uniform(0, 2, 500)
    together = RHYTHM.limits.lift(scores, every).tolist()
    for size in (1, 3, 8, 17):
        apart = [
            RHYTHM.limits.lift(scores[at : at + size], every.of(slice(at, at + size)))
            for at in range(0, 500, size)
        ]
        assert np.concatenate(apart).tolist() == together


def test_no_windows_have_no_scores() -> None:
    assert len(RHYTHM.join(found_of(), intervals_of([]))) == 0


@pytest.mark.parametrize(
    ("since_ms", "before_ms", "pauses", "sentence"),
    [
        (420, 800, [], "a peak came 0.42 s after the one before; normally 0.6 to 1 s"),
        (1_210, 0, [], "a peak came 1.21 s after the one before; normally 0.6 to 1 s"),
        (3_000, 0, [], "a peak came at least 3 s after the one before; normally 0.6 to 1 s"),
        (3_000, 0, [0], "no peak for at least 3 s; normally one comes after 0.6 to 1 s"),
        (
            *(620, 960, []),
            "a peak came 0.62 s after the one before, and that came after 0.96 s; normally they "
            "differ by a factor of 1.5 at most",
        ),
    ],
)
def test_the_sentence_says_when_a_peak_came(
    since_ms: float, before_ms: float, pauses: list[int], sentence: str
) -> None:
    joined = RHYTHM.join(found_of(0.5), intervals_of([since_ms], [before_ms], pauses))
    finding = joined.explain(0, CONTEXT).described(Features(("V1",)))
    assert finding.explanation.sentence == sentence
    assert finding.explanation.features[0].name == "V1"
    assert finding.explanation.features[0].low is None


def test_turns_of_a_machine_are_told_in_milliseconds() -> None:
    rhythm = make_rhythm(38, 40, 42, 1.1, 200)
    joined = rhythm.join(found_of(0.5), intervals_of([31.5]))
    sentence = joined.explain(0, CONTEXT).described(Features(("rpm",))).explanation.sentence
    assert sentence == "a peak came 31.5 ms after the one before; normally 38 to 42 ms"


def fit(scores: NDArray[np.float64]) -> float:
    return max(float(np.quantile(scores, 0.99, method="higher")), THRESHOLD_MIN)


def test_limits_are_where_normal_intervals_end() -> None:
    rng = np.random.default_rng(0)
    since = 800 * np.exp(rng.uniform(-0.4, 0.2, 2_000))
    values = rhythm_values(intervals_of(since.tolist(), np.roll(since, 1).tolist()))
    limits = limits_of(calibrate_looks(rhythm_looks(), values, fit), 3_000.0)
    assert limits.median_ms == pytest.approx(800 * np.exp(-0.1), rel=0.02)
    assert limits.low_ms == pytest.approx(800 * np.exp(-0.4), rel=0.02)
    assert limits.high_ms == pytest.approx(800 * np.exp(0.2), rel=0.02)
    assert limits.change_max == pytest.approx(np.exp(0.55), rel=0.03)
    assert limits.pause_ms == 3_000.0


def test_no_limit_is_nearer_than_a_seventh() -> None:
    values = rhythm_values(intervals_of([800] * 100, [800] * 100))
    limits = limits_of(calibrate_looks(rhythm_looks(), values, fit), 3_000.0)
    factor = np.exp(0.15)
    expected = (800, 800 / factor, 800 * factor, factor, 3_000)
    assert astuple(limits) == pytest.approx(expected, rel=1e-12)


def test_an_unknown_interval_before_says_nothing() -> None:
    values = rhythm_values(intervals_of([800, 800, 400], [0, 800, 800]))
    assert np.exp(values[:, 2]) == pytest.approx([np.sqrt(2), 1, 2])
    assert rhythm_values(intervals_of([800], [0]))[0, 2] == 0


def test_the_check_is_of_no_number_of_a_window() -> None:
    assert len(looks_of(("rhythm",), 3, has_courses=True)) == 0
    beside = looks_of(("flat",), 2, has_courses=False).beside(rhythm_looks())
    assert beside.checks == ("flat",) * 6 + ("rhythm",) * 3
    last = beside.part(slice(6, None))
    assert (last.checks, last.signs.tolist()) == (("rhythm",) * 3, [-1, 1, 1])
