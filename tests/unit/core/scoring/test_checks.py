"""Several calibrated looks at a window, and the scorer that takes the most anomalous one."""

import re
from dataclasses import replace

import numpy as np
import pytest
from check_scorers import N_SHORT, N_STEPS, make_scorer, normal_windows, smooth
from numpy.typing import NDArray
from present import present

from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring import check_scorer
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.checks import (
    ALL_FEATURES,
    CHECK_KINDS,
    SPREAD_MIN,
    CheckKind,
    largest,
    looks_of,
)
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.look_limits import calibrate_looks
from stream_detector.core.scoring.members import (
    Combine,
    Members,
    fit_members,
    member_errors,
    n_errors,
)
from stream_detector.core.scoring.neighbours import fit_neighbours
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.core.scoring.sentences import CheckFacts
from stream_detector.core.scoring.statistics import LOG_FLOOR, WindowView
from stream_detector.errors import NonFiniteScoreError

RNG = np.random.default_rng(7)
SCORER = make_scorer()


def faulty(kind: str) -> FloatArray:
    """Return one normal window with a fault in the third feature."""
    (window,) = normal_windows(1, seed=4)
    values = window[:, 2]
    if kind == "spike":
        values[25] += 1.5
    elif kind == "stuck":
        values[:] = values[0]
    elif kind == "shift":
        values += 0.5
    elif kind == "fall":
        values -= 0.5
    elif kind == "drift":
        values += np.linspace(0, 0.6, N_STEPS, dtype=np.float32)
    elif kind == "noise":
        values += np.tile(np.array([0.25, -0.25], np.float32), N_STEPS // 2)
    elif kind == "shape":  # the second sine comes twice as fast
        window[:, 1] = np.sin(2 * np.pi * np.arange(N_STEPS) / 10)
    found: FloatArray = window[np.newaxis]
    return found


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("spike", "peak"),
        ("stuck", "flat"),
        ("shift", "level"),
        ("fall", "level"),
        ("drift", "level"),
        ("noise", "noise"),
    ],
)
def test_each_fault_is_found_by_its_check_in_its_feature(kind: str, check: str) -> None:
    scored = SCORER.score(faulty(kind))
    assert scored.scores[0] > 1
    found = scored.explain(0, WindowContext(1_000_000.0, 1_000.0))
    assert found.check == check
    assert found.explanation.features[0].feature == 2
    assert sum(found.explanation.shares) == pytest.approx(1)
    assert found.reconstruction_error is not None
    assert found.false_alarms_per_day is not None
    assert found.p_value == pytest.approx(1 / 2_001)


def test_a_course_that_was_never_seen_is_found_by_the_shape_of_the_window() -> None:
    scorer = make_scorer(("shape",))
    scored = scorer.score(faulty("shape"))
    assert scored.scores[0] > 1
    found = scored.explain(0, WindowContext(0.0, 1_000.0))
    assert (found.check, found.explanation.n_gaps) == ("shape", 0)


def test_normal_windows_exceed_1_as_often_as_stated() -> None:
    share = float((SCORER.score(normal_windows(4_000)).scores > 1).mean())
    assert 0.0025 < share < 0.01


def test_the_share_is_kept_with_fewer_checks() -> None:
    scorer = make_scorer(("flat", "level"))
    share = float((scorer.score(normal_windows(4_000)).scores > 1).mean())
    assert 0.0025 < share < 0.01
    assert set(scorer.checks.looks.checks) == {"flat", "level"}


def test_the_span_of_a_spike_is_the_spike() -> None:
    found = SCORER.score(faulty("spike")).explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert found.worst_start_ms <= 25_000 <= found.worst_end_ms
    assert found.worst_end_ms - found.worst_start_ms <= 2_000


def test_the_span_of_a_stuck_feature_is_the_window() -> None:
    found = SCORER.score(faulty("stuck")).explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert (found.worst_start_ms, found.worst_end_ms) == (0, 39_000)


def test_no_bit_of_a_score_depends_on_the_batch() -> None:
    windows = normal_windows(200)
    together = SCORER.score(windows).scores
    for start, stop in ((0, 1), (63, 65), (199, 200)):
        assert SCORER.score(windows[start:stop]).scores.tolist() == together[start:stop].tolist()


def test_no_windows_have_no_scores() -> None:
    assert len(SCORER.score(normal_windows(0))) == 0


def test_a_network_that_gives_nan_is_refused() -> None:
    network = replace(SCORER.network, reconstruct=lambda windows: windows * np.float32(np.nan))
    with pytest.raises(NonFiniteScoreError, match="bundle test v1"):
        replace(SCORER, network=network).score(normal_windows(3))


def test_a_look_is_of_one_feature_but_for_the_whole_course() -> None:
    looks = looks_of(CHECK_KINDS, 2, has_courses=True)
    of_all = [name for name, at in zip(looks.statistics, looks.features, strict=True) if at < 0]
    assert of_all == ["members"]
    assert set(looks.features.tolist()) == {ALL_FEATURES, 0, 1}


def test_without_errors_neighbours_alone_decide() -> None:
    scorer = make_scorer(("shape",), has_errors=False)
    members, looks = scorer.checks.members, scorer.checks.looks
    errors = RNG.standard_normal((5, 6))
    others = errors.copy()
    others[:, :2] += 100
    assert members.join(errors).shape == (5, 4)
    assert (members.join(errors) == members.join(others)).all()
    with_errors = replace(members, has_errors=True)
    assert (with_errors.join(errors)[:, 0] != with_errors.join(others)[:, 0]).all()
    assert (with_errors.join(errors)[:, 1:] == members.join(errors)[:, 1:]).all()
    values = np.full((1, len(looks)), 1e6)
    is_error = [name == "error" for name in looks.statistics]
    assert (looks.ratios(values)[0] == 0).tolist() == is_error


def test_without_errors_what_is_normal_of_them_still_says_which_feature_it_was() -> None:
    found = make_scorer(("shape",), has_errors=False).score(faulty("shape"))
    assert found.scores[0] > 1
    explained = found.explain(0, WindowContext(0.0, 1_000.0))
    assert explained.check == "shape"
    assert explained.explanation.features[0].feature == 1


def test_what_never_varied_needs_a_change_worth_the_name() -> None:
    looks = looks_of(("level",), 1, has_courses=False)
    constant = np.zeros((100, len(looks)))
    found = calibrate_looks(looks, constant, lambda scores: max(float(scores.max()), 1.0))
    assert found.scales.tolist() == pytest.approx([0.15] * len(looks))
    assert largest(found.ratios(constant)).tolist() == [0.0] * 100


def test_a_shift_within_the_spread_of_its_past_is_nothing_unusual() -> None:
    looks = looks_of(("shift", "level"), 1, has_courses=False)
    values = np.tile(np.linspace(0, 0.1, 200)[:, np.newaxis], (1, len(looks)))
    found = calibrate_looks(looks, values, lambda scores: max(float(scores.max()), 1e-9))
    assert found.scales[0] == 1.5
    assert (found.scales[1:] < 0.2).all()
    far = calibrate_looks(looks, 40 * values, lambda scores: max(float(scores.max()), 1e-9))
    assert far.scales[0] == pytest.approx(2.0)


def test_members_do_not_outvote_each_other() -> None:
    errors = np.log(RNG.uniform(0.5, 1.5, (1_000, 2)))
    members = fit_members((), errors)
    far, farther = members.join(np.array([[0.0, 10.0], [0.0, 100.0]]))[:, 0]
    assert farther < 2 * far
    low = members.join(np.array([[-5.0, -5.0]]))[0, 0]
    assert -2 < low < 0


def test_members_of_a_feature_are_joined_apart_from_those_of_all() -> None:
    members = SCORER.checks.members
    errors = np.repeat(members.middles[np.newaxis], 2, axis=0)
    errors[1, -1] += members.widths[-1]  # neighbours of the third feature, at the far end of normal
    joined = members.join(errors)
    assert joined[0].tolist() == [0.0] * 4
    assert joined[1].tolist() == pytest.approx([0, 0, 0, 3 * np.arcsinh(1 / 3)])


@pytest.mark.parametrize("has_courses", [False, True])
def test_the_score_is_that_of_the_course_until_another_look_finds_the_window_anomalous(
    has_courses: bool,
) -> None:
    looks = looks_of(("shape", "flat"), 1, has_courses=has_courses)
    is_course = np.array([name in {"members", "course"} for name in looks.statistics])
    assert is_course.sum() == 1 + has_courses
    ratios = np.zeros((5, len(looks)))
    ratios[:, np.flatnonzero(is_course)[-1]] = 0.5
    ratios[:, ~is_course] = np.array([[-1.0], [0.9], [1.0], [2.25], [4.0]])
    assert looks.scores(ratios).tolist() == [0.5, 0.5, 0.5, 1.5, 2.0]
    ratios[:, is_course] = 1.25
    assert looks.scores(ratios).tolist() == [1.25, 1.25, 1.25, 2.0, 2.25]
    ratios[:, is_course] = -2.0
    assert looks.scores(ratios).tolist() == [0, 0, 0, 1.5, 2.0]


@pytest.mark.parametrize("name", ["error", "sd"])
def test_each_look_that_fires_makes_the_score_exceed_1(name: str) -> None:
    looks = looks_of(("shape", "flat"), 2, has_courses=True)
    ratios = np.zeros((2, len(looks)))
    ratios[:, looks.statistics.index(name)] = [1.0, np.nextafter(1.0, 2.0)]
    scores = looks.scores(ratios)
    assert scores[0] <= 1 < scores[1]


def test_the_look_that_sees_a_feature_most_directly_says_best_what_is_wrong() -> None:
    looks = looks_of(("shape", "peak"), 2, has_courses=True)
    order = ("max_step", "max_error", "course", "error", "members")
    ratios = np.zeros(len(looks))
    for number, name in enumerate(reversed(order)):
        rows = [row for row, each in enumerate(looks.statistics) if each == name]
        ratios[rows[-1]] = 9.0 - number  # the less directly, the larger
        assert looks.worst(ratios) == rows[-1], name
        ratios[rows[-1]] = 1.0
        assert number == 0 or looks.worst(ratios) != rows[-1], "1 is normal"
        ratios[rows[-1]] = 9.0 - number


def test_where_nothing_is_anomalous_the_largest_ratio_counts() -> None:
    looks = looks_of(("shape", "peak"), 1, has_courses=False)
    ratios = np.where(np.array(looks.statistics) == "error", 0.9, 0.5)
    assert looks.statistics[looks.worst(ratios)] == "error"


def test_without_a_shape_the_score_is_the_largest_ratio() -> None:
    looks = looks_of(("flat", "level"), 1, has_courses=False)
    ratios = np.full((2, len(looks)), -1.0)
    ratios[1, 3] = 0.7
    assert looks.scores(ratios).tolist() == [0.0, 0.7]


def test_a_feature_is_stuck_where_it_varies_by_less_than_a_quarter_of_its_usual_variation() -> None:
    looks = looks_of(("flat",), 1, has_courses=False)
    values = np.log(np.linspace(0.9, 1.1, 101))[:, np.newaxis].repeat(len(looks), axis=1)
    values[:, looks.is_at("unchanged")] = 0
    calibrated = calibrate_looks(looks, values, lambda scores: max(float(scores.max()), 1e-9))
    assert calibrated.scales.tolist() == [np.log(4), np.log(4), 9.0]
    variation = np.column_stack([np.log([[0.2501] * 2, [0.2499] * 2]), np.zeros(2)])
    assert (calibrated.scores(calibrated.ratios(variation)) > 1).tolist() == [False, True]


@pytest.mark.parametrize("threshold", [0.0, 1e-9])
def test_a_feature_that_always_changed_is_stuck_after_nine_steps(threshold: float) -> None:
    looks = looks_of(("flat",), 1, has_courses=False)
    values = np.log(np.linspace(0.9, 1.1, 101))[:, np.newaxis].repeat(len(looks), axis=1)
    values[:, looks.is_at("unchanged")] = 0
    calibrated = calibrate_looks(looks, values, lambda scores: max(scores.max(), threshold))
    found = np.zeros((2, len(looks)))
    found[:, looks.is_at("unchanged")] = [[9.0], [10.0]]
    assert (calibrated.scores(calibrated.ratios(found)) > 1).tolist() == [False, True]


def test_a_side_on_which_training_had_nothing_begins_no_nearer_than_a_seventh_of_a_spread() -> None:
    looks = looks_of(("level",), 1, has_courses=False)
    values = np.zeros((100, len(looks)))
    values[:20] = 3.0  # never below the median
    calibrated = calibrate_looks(looks, values, lambda scores: max(float(scores.max()), 1e-9))
    below = calibrated.signs < 0
    assert calibrated.scales[below].tolist() == [SPREAD_MIN] * 3
    assert (calibrated.scales[~below] > 1).all()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "spike",
            r"third reached 6\.\d+; it is normally between 4\.\d+ and 5\.\d+",
        ),
        (
            "stuck",
            r"third (stayed at \d\.\d+|varied by only 0\.\d+) for 40 s; it normally",
        ),
        ("shift", r"third is at 5\.\d+; it is normally between 4\.\d+ and 5\.\d+"),
        ("fall", r"third is at 4\.\d+; it is normally between 4\.\d+ and 5\.\d+"),
        ("drift", r"third (rose by 0\.\d+ within 40 s; it normally changes by -|is at 5\.\d+;)"),
        ("noise", r"third varies by 0\.\d+; it normally varies by at most 0\.\d+"),
    ],
)
def test_each_fault_has_its_sentence(kind: str, sentence: str) -> None:
    found = SCORER.score(faulty(kind)).explain(0, WindowContext(0.0, 1_000.0))
    described = found.described(Features(("first", "second", "third")))
    assert re.match(sentence, described.explanation.sentence), described.explanation.sentence
    low, high = described.explanation.features[0].low, described.explanation.features[0].high
    assert (low is None) == (kind == "noise"), "of noise only the far end is looked at"
    assert (high is None) == (kind == "stuck"), "of a stuck feature only the near one"


def test_a_course_has_a_sentence_too() -> None:
    found = make_scorer(("shape",)).score(faulty("shape")).explain(0, WindowContext(0.0, 1_000.0))
    sentence = found.described(Features(("first", "second", "third"))).explanation.sentence
    assert sentence.startswith("the course of second differs from what was learnt: observed ")
    assert " instead of " in sentence


def test_a_shift_of_the_newest_steps_is_told_from_what_was_before() -> None:
    scorer = make_scorer(("shift",))
    normal = faulty("none")
    normal[0, :, 2] -= 3  # all of it, which is another level but no shift
    window = normal.copy()
    window[0, -N_SHORT:, 2] += 0.3
    scored = scorer.score(np.concatenate([normal, window]))
    assert scored.scores[0] < 1 < scored.scores[1]
    found = scored.explain(1, WindowContext(0.0, 1_000.0))
    assert (found.check, found.explanation.features[0].feature) == ("shift", 2)
    assert (found.explanation.worst_start_ms, found.explanation.worst_end_ms) == (32_000, 39_000)
    sentence = found.described(Features(("first", "second", "third"))).explanation.sentence
    assert re.match(r"third is at 2\.\d+; it is normally between 1\.\d+ and 2\.\d+", sentence)
    facts = found.facts
    assert isinstance(facts, CheckFacts)
    low, high = present(facts.low), present(facts.high)
    reach = (high - low) / 2
    middle, scale = scorer.checks.looks.middles[2], scorer.checks.looks.scales[2]
    expected = (middle + scale * scored.scores[1]) / (middle + scale)
    assert (facts.observed - low - reach) / reach == pytest.approx(expected, rel=1e-3)


def test_where_errors_decide_the_largest_excess_names_the_feature() -> None:
    scorer = make_scorer(("shape",))
    network = scorer.network

    def spilling(windows: FloatArray) -> FloatArray:
        """Reconstruct the third feature far off, and the first, which is easy, a little."""
        return smooth(windows) + np.array([0.4, 0.0, 1.6], np.float32)

    spilled = replace(scorer, network=replace(network, reconstruct=spilling))
    scored = spilled.score(normal_windows(1, seed=4))
    assert scored.scores[0] > 1
    found = scored.explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert found.features[0].feature == 2
    assert found.shares[0] < found.shares[2]


def leaking(scaled: FloatArray) -> FloatArray:
    """Get the third feature wrong by some of how far it is off, and the first by more of that."""
    off = scaled[:, :, 2].mean(axis=1)  # (n_windows,)
    found = smooth(scaled)
    found[:, :, 2] = scaled[:, :, 2] + 0.4 * off[:, np.newaxis]
    found[:, :, 0] += 0.8 * off[:, np.newaxis]
    return found


def leaking_scorer(kinds: tuple[CheckKind, ...], reconstruct: Reconstruct) -> CheckScorer:
    """Return a scorer of which errors alone find anything anomalous."""
    scorer = make_scorer(kinds)
    looks = scorer.checks.looks
    quiet = np.array([name not in ("members", "error") for name in looks.statistics])
    return CheckScorer(
        replace(scorer.network, reconstruct=reconstruct),
        replace(scorer.checks, looks=looks.without(quiet)),
    )


def off_window() -> FloatArray:
    """Return a window whose third feature is off by two deviations."""
    window = normal_windows(1, seed=4)
    window[:, :, 2] += 0.2
    return window


@pytest.mark.parametrize(
    ("kinds", "n_suspects_max", "feature"),
    [(("shape", "level"), 2, 2), (("shape", "level"), 1, 0), (("shape",), 2, 0)],
)
def test_the_feature_that_makes_others_wrong_is_to_blame_where_its_usual_value_is_known(
    kinds: tuple[CheckKind, ...],
    n_suspects_max: int,
    feature: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check_scorer, "N_SUSPECTS_MAX", n_suspects_max)
    scored = leaking_scorer(kinds, leaking).score(off_window())
    explanation = scored.explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert explanation.features[0].feature == feature
    assert sum(explanation.shares) == pytest.approx(1)


def test_a_feature_without_an_excess_is_not_to_blame() -> None:
    def reconstruct(scaled: FloatArray) -> FloatArray:
        """Get the first feature wrong by how far the third is off, and the third right."""
        found = leaking(scaled)
        found[:, :, 2] = scaled[:, :, 2]
        return found

    scored = leaking_scorer(("shape", "level"), reconstruct).score(off_window())
    explanation = scored.explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert explanation.features[0].feature == 0
    assert explanation.shares[2] == 0


def test_errors_of_a_feature_that_does_not_count_are_nobodys() -> None:
    def reconstruct(scaled: FloatArray) -> FloatArray:
        return leaking(scaled) + np.array([0.0, 3.0, 0.0], np.float32)

    def count(observed: NDArray[np.floating], _: NDArray[np.floating]) -> NDArray[np.bool_]:
        return np.tile([True, False, True], (len(observed), 1))

    scored = leaking_scorer(("shape", "level"), reconstruct).score(off_window())
    left = present(scored.restrict)(np.array([0]), count)
    explanation = left.explain(0, WindowContext(0.0, 1_000.0)).explanation
    assert explanation.features[0].feature == 2
    assert explanation.shares[1] == 0


def test_without_the_check_shape_the_largest_error_names_the_feature() -> None:
    scorer = make_scorer(("peak",))

    def spilling(windows: FloatArray) -> FloatArray:
        return smooth(windows) + np.array([0.2, 0.0, 3.0], np.float32)

    spilled = replace(scorer, network=replace(scorer.network, reconstruct=spilling))
    found = spilled.score(normal_windows(1, seed=4)).explain(0, WindowContext(0.0, 1_000.0))
    assert (found.check, found.explanation.features[0].feature) == ("peak", 2)


def in_units(*values: float) -> list[float]:
    """Return how far members are beyond normal, as they are joined."""
    return [float(3 * np.arcsinh(each / 3)) if each > 0 else 0.05 * each for each in values]


def joined_features(combine: Combine, errors: list[float], sizes: list[float]) -> float:
    """Join errors of features, of which those of normal windows are 0 to 1, and sizes around 0."""
    middles, widths = np.zeros(2 * len(errors)), np.ones(2 * len(errors))
    members = Members((), middles, widths, combine=combine)
    (joined,) = members.join(np.array([[*errors, *sizes]])).tolist()
    assert len(joined) == 1
    return float(joined[0])


def test_features_apart_are_joined_by_their_mean_or_by_the_least_and_the_most() -> None:
    errors = [4.0, -1.0, 2.0]
    units = in_units(*errors)
    assert joined_features("mean", errors, [0, 0, 0]) == pytest.approx(np.mean(units))
    expected = 0.7 * min(units) + 0.3 * max(units)
    assert joined_features("min-max", errors, [0, 0, 0]) == pytest.approx(expected)
    assert joined_features("min-max", [2.0], [0]) == pytest.approx(in_units(2.0)[0])


TEN_TIMES = float(np.log(10.0))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_feature_more_than_ten_times_as_large_or_as_small_as_usual_is_not_believed(
    sign: int,
) -> None:
    far, beyond = sign * TEN_TIMES, sign * np.nextafter(TEN_TIMES, 3)
    members = Members((), np.zeros(6), np.ones(6), combine="mean")
    errors = np.zeros((2, 6))
    errors[0, 4], errors[1, 4] = far, beyond
    assert members.unreliable(errors).tolist() == [[0, 0, 0], [0, sign, 0]]
    low, high, other = in_units(1.0, 9.0, 2.0)
    for size, is_believed in ((far, True), (beyond, False)):
        sizes = [0.0, float(size), 0.0]
        some = [low, high, other] if is_believed else [low, other]
        assert joined_features("mean", [1.0, 9.0, 2.0], sizes) == pytest.approx(np.mean(some))
        expected = 0.7 * min(some) + 0.3 * max(some)
        assert joined_features("min-max", [1.0, 9.0, 2.0], sizes) == pytest.approx(expected)


def test_how_large_a_feature_is_counts_beside_what_is_usual_of_it() -> None:
    middles = np.array([0.0, 0.0, 5.0, -5.0])
    members = Members((), middles, np.ones(4), combine="mean")
    errors = np.array([[0, 0, 5.0, -5.0], [0, 0, 5.0, 0.0], [0, 0, 0.0, -5.0]])
    assert members.unreliable(errors).tolist() == [[0, 0], [0, 1], [-1, 0]]


@pytest.mark.parametrize("combine", ["mean", "min-max"])
def test_where_no_feature_is_believed_the_least_anomalous_counts(combine: Combine) -> None:
    found = joined_features(combine, [9.0, 1.0], [3.0, -3.0])
    assert found == pytest.approx(in_units(1.0)[0])


def test_without_errors_each_feature_has_its_neighbours_only() -> None:
    windows = normal_windows(40, seed=1)
    neighbours = [fit_neighbours(windows, 8, 2, 20, RNG, feature) for feature in (0, 1, 2, 0)]
    members = Members(neighbours, np.zeros(10), np.ones(10), has_errors=False, combine="mean")
    errors = np.array([[100.0, 100.0, 100.0, 0, 0, 0, 1.0, 2.0, 3.0, 5.0]])
    one, two, three, five = in_units(1.0, 2.0, 3.0, 5.0)
    expected = np.mean([(one + five) / 2, two, three])
    assert members.join(errors)[0, 0] == pytest.approx(expected)


def test_errors_of_features_are_logarithms_of_error_size_and_distances() -> None:
    windows = normal_windows(12, seed=2)
    view = WindowView(windows, np.abs(windows), N_SHORT, N_SHORT)
    neighbours = [fit_neighbours(windows, 8, 2, 6, RNG, feature) for feature in range(3)]
    apart = member_errors(neighbours, view, "min-max")
    assert apart.shape == (12, n_errors("min-max", 3) + 3) == (12, 9)
    assert apart[:, :3] == pytest.approx(np.log(np.abs(windows).mean(axis=1) + LOG_FLOOR), abs=1e-5)
    distances = [each.distances(windows) for each in neighbours]
    assert apart[:, 6:] == pytest.approx(np.log(np.stack(distances, axis=1) + LOG_FLOOR))
    doubled = WindowView(2 * windows, np.abs(windows), N_SHORT, N_SHORT)
    twice = member_errors(neighbours, doubled, "min-max")
    assert twice[:, 3:6] - apart[:, 3:6] == pytest.approx(np.full((12, 3), np.log(2)), abs=0.01)
    assert n_errors("together", 3) == 2
