"""One sentence about what is unusual: each kind of it, its numbers, durations and names."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from stream_detector.core.features import Features, LinearUnit
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    ImageExplanation,
)
from stream_detector.core.scoring.scorer import Finding
from stream_detector.core.scoring.sentences import (
    SENTENCE_CHARACTERS_MAX,
    CheckFacts,
    FactKind,
    no_data_sentence,
    of_unknown_key,
    sentence_of,
)

NOTHING = Explanation(0, 0, (), (1.0,), (0,), 0.0, 0)
LEARNT = "the course of pressure differs from what was learnt: "


def explanation_of(
    expected: tuple[float, ...], observed: tuple[float | None, ...], span_ms: int = 41_000
) -> Explanation:
    """Return an explanation about one feature."""
    feature = FeatureExplanation(0, 1.0, expected, observed, "pressure")
    return Explanation(1_000, 1_000 + span_ms, (feature,), (1.0,), (1_000,), 0.0, 0)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            CheckFacts(0, "spike", 3.3127, 0, 0.4, 3.3024),
            "pressure reached 3.31; it is normally between 0.4 and 3.3",
        ),
        (
            CheckFacts(0, "spike", 0.3912, 0, 0.4, 3.3),
            "pressure reached 0.391; it is normally between 0.4 and 3.3",
        ),
        (
            CheckFacts(0, "level", 3.3, 0, 0.4, 3.3),
            "pressure is at 3.3; it is normally between 0.4 and 3.3",
        ),
        (
            CheckFacts(0, "flat", 0.014162, 60_000, 0.014238),
            "pressure varied by only 0.01416 for 60 s; it normally varies by at least 0.01424",
        ),
        (
            CheckFacts(0, "noise", 0.39512, 0, None, 0.39496),
            "pressure varies by 0.3951; it normally varies by at most 0.395",
        ),
        (
            CheckFacts(0, "peak", -0.28124, 1_000, None, 0.28117),
            "pressure dropped by 0.28124 within 1 s; its largest steps are normally at most "
            "0.28117",
        ),
        (
            CheckFacts(0, "slope", -0.5042, 60_000, -0.5, 0.5),
            "pressure fell by 0.504 within 60 s; it normally changes by -0.5 to 0.5",
        ),
        (
            CheckFacts(0, "flat", 0.0, 60_000, 0.03, 0.21, at=4.02),
            "pressure stayed at 4.02 for 60 s; it normally varies by 0.03 to 0.21",
        ),
        (
            CheckFacts(0, "flat", 0.003, 60_000, 0.03, 0.21, at=4.02),
            "pressure stayed at 4.02 for 60 s; it normally varies by 0.03 to 0.21",
        ),
        (
            CheckFacts(0, "flat", 0.0031, 60_000, 0.03, 0.21, at=4.02),
            "pressure varied by only 0.003 for 60 s; it normally varies by 0.03 to 0.21",
        ),
        (CheckFacts(0, "flat", 0.0, 0, at=7.0), "pressure stayed at 7"),
        (CheckFacts(0, "flat", 0.0, 0), "pressure varied by only 0"),
        (
            CheckFacts(0, "peak", 1.2, 1_000, 0.05, 0.21),
            "pressure jumped by 1.2 within 1 s; its largest steps are normally 0.05 to 0.21",
        ),
        (
            CheckFacts(0, "peak", -1.2, 0, 0.05, 0.21),
            "pressure dropped by 1.2; its largest steps are normally 0.05 to 0.21",
        ),
        (CheckFacts(0, "peak", 1.2, 500), "pressure jumped by 1.2 within 500 ms"),
        (
            CheckFacts(0, "noise", 0.9, 60_000, 0.03, 0.21),
            "pressure varies by 0.9; it normally varies by 0.03 to 0.21",
        ),
        (CheckFacts(0, "noise", 0.9, 60_000), "pressure varies by 0.9"),
        (
            CheckFacts(0, "noise", 0.84632, 60_000, None, 0.84432),
            "pressure varies by 0.846; it normally varies by at most 0.844",
        ),
        (
            CheckFacts(0, "flat", 0.0, 60_000, 0.03, at=4.0),
            "pressure stayed at 4 for 60 s; it normally varies by at least 0.03",
        ),
        (
            CheckFacts(0, "peak", 1.2, 0, None, 0.21),
            "pressure jumped by 1.2; its largest steps are normally at most 0.21",
        ),
        (
            CheckFacts(0, "level", 71.24, 60_000, None, 68.0),
            "pressure is at 71.2; it is normally at most 68",
        ),
        (
            CheckFacts(0, "spike", 6.2, 1_000, 3.9, 4.3),
            "pressure reached 6.2; it is normally between 3.9 and 4.3",
        ),
        (
            CheckFacts(0, "level", 71.2, 60_000, 55.0, 68.0),
            "pressure is at 71.2; it is normally between 55 and 68",
        ),
        (
            CheckFacts(0, "level", 71.2, 60_000, 55.0, 55.0),
            "pressure is at 71; it is normally 55",
        ),
        (CheckFacts(0, "level", 71.2, 60_000), "pressure is at 71.2"),
        (
            CheckFacts(0, "slope", 3.1, 60_000, -0.5, 0.5),
            "pressure rose by 3.1 within 60 s; it normally changes by -0.5 to 0.5",
        ),
        (CheckFacts(0, "slope", -3.1, 7_200_000), "pressure fell by 3.1 within 2 h"),
        (
            CheckFacts(0, "slope", 0.0, 0, 0.2, 0.5),
            "pressure rose by 0; it normally changes by 0.2 to 0.5",
        ),
        (
            CheckFacts(0, "shape", 6.2, 41_000, 4.0, 4.3),
            LEARNT + "observed 6.2 instead of 4 to 4.3 for 41 s",
        ),
        (CheckFacts(0, "shape", 6.2, 0), LEARNT + "observed 6.2"),
    ],
)
def test_each_check_has_its_sentence(facts: CheckFacts, sentence: str) -> None:
    assert sentence_of(NOTHING, facts, "pressure") == sentence


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            CheckFacts(0, "peak", 0.125, 60_000, None, 3.0),
            "traffic dropped by a factor of 8 within 60 s; its largest steps are normally a factor "
            "of at most 3",
        ),
        (
            CheckFacts(0, "peak", 8.0, 60_000, 1.25, 3.0),
            "traffic jumped by a factor of 8 within 60 s; its largest steps are normally a factor "
            "of 1.2 to 3",
        ),
        (
            CheckFacts(0, "peak", 0.01, 60_000, None, 3.0),
            "traffic dropped by a factor of more than 20 within 60 s; its largest steps are "
            "normally a factor of at most 3",
        ),
        (
            CheckFacts(0, "slope", 3.0, 60_000, 0.5, 2.0),
            "traffic rose by a factor of 3 within 60 s; it normally changes by a factor of 0.5 to "
            "2",
        ),
        (
            CheckFacts(0, "noise", 3.0, 60_000, 1.5, 2.0),
            "traffic varies by a factor of 3; it normally varies by a factor of 1.5 to 2",
        ),
        (
            CheckFacts(0, "flat", 1.0625, 60_000, 2.0, 4.0, at=50.0),
            "traffic stayed at 50 Mbit/s for 60 s; it normally varies by a factor of 2 to 4",
        ),
        (
            CheckFacts(0, "flat", 1.125, 60_000, 2.0, 4.0, at=50.0),
            "traffic varied by only a factor of 1.1 for 60 s; it normally varies by a factor of 2 "
            "to 4",
        ),
        (
            CheckFacts(0, "flat", 1.0, 60_000, 2.0, 4.0, at=0.00312),
            "traffic stayed at 0.0031 Mbit/s for 60 s; it normally varies by a factor of 2 to 4",
        ),
        (CheckFacts(0, "noise", 20.0, 60_000), "traffic varies by a factor of 20"),
        (CheckFacts(0, "noise", 20.1, 60_000), "traffic varies by a factor of more than 20"),
        (
            CheckFacts(0, "level", 3.0, 60_000, 50.0, 400.0),
            "traffic is at 3 Mbit/s; it is normally between 50 and 400",
        ),
    ],
)
def test_what_counts_by_its_logarithm_changes_by_factors(facts: CheckFacts, sentence: str) -> None:
    facts = facts._replace(is_factor=facts.kind != "level")
    assert sentence_of(NOTHING, facts, "traffic", "Mbit/s") == sentence


def test_a_factor_has_no_unit_and_the_value_beside_it_has() -> None:
    facts = CheckFacts(0, "flat", 1.1, 60_000, 2.0, 4.0, at=50.0, is_factor=True)
    assert facts.in_unit(LinearUnit(4.0)) == facts._replace(at=200.0)


@pytest.mark.parametrize(
    ("explanation", "sentence"),
    [
        (
            explanation_of((4.0, 4.1), (4.2, 6.2)),
            "pressure: observed 6.2 where 4.1 was expected, for 41 s",
        ),
        (explanation_of((4.0,), (6.0,), 0), "pressure: observed 6 where 4 was expected"),
        (
            explanation_of((4.0, 4.1, 9.0), (4.5, 3.0, None)),
            "pressure: observed 3 where 4.1 was expected, for 41 s",
        ),
        (explanation_of((0.0197,), (2.0,), 0), "pressure: observed 2 where 0 was expected"),
        (explanation_of((2.0,), (0.0203,), 0), "pressure: observed 0.02 where 2 was expected"),
        (explanation_of((1.0,), (101.0,), 0), "pressure: observed 101 where 1 was expected"),
        (explanation_of((4.0,), (None,)), "pressure: no value was observed for 41 s"),
        (NOTHING, "the window is unlike those that were learnt"),
    ],
)
def test_without_facts_it_is_of_the_explanation(explanation: Explanation, sentence: str) -> None:
    assert sentence_of(explanation, None, "") == sentence


def test_a_feature_without_a_name_has_its_number() -> None:
    explanation = explanation_of((4.0,), (6.0,), 0)
    (feature,) = explanation.features
    nameless = replace(explanation, features=(replace(feature, name="", feature=7),))
    assert sentence_of(nameless, None, "").startswith('"feature 7": observed 6')


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((3, 9, 4, 12), "rows 3 to 9, columns 4 to 12 differ"),
        ((3, 3, 4, 12), "row 3, columns 4 to 12 differ"),
        ((3, 4, 4, 4), "rows 3 to 4, column 4 differ"),
        ((3, 3, 4, 4), "row 3, column 4 differs"),
        ((0, 27, 0, 27), "the whole image differs"),
        ((0, 27, 0, 26), "rows 0 to 27, columns 0 to 26 differ"),
    ],
)
def test_of_an_image_it_says_where(box: tuple[int, int, int, int], sentence: str) -> None:
    image = ImageExplanation(28, 28, 1, *box, share=0.5, heat_map="", heat_map_max=1.0)
    assert sentence_of(replace(NOTHING, image=image), None, "") == sentence


@pytest.mark.parametrize(
    ("feature", "duration_ms", "is_over", "sentence"),
    [
        (None, 60_000, False, "the key has sent nothing for 60 s"),
        (None, 60_000, True, "the key sent nothing for 60 s"),
        ("humidity", 7_200_000, False, "humidity has had no value for 2 h"),
        ("humidity", 7_200_000, True, "humidity had no value for 2 h"),
    ],
)
def test_of_missing_data_it_says_for_how_long(
    feature: str | None, duration_ms: float, is_over: bool, sentence: str
) -> None:
    assert no_data_sentence(feature, duration_ms, is_over=is_over) == sentence


EXTREME = [
    CheckFacts(0, kind, -1.7976931348623157e308, 1e300, -5e-324, 1e-320, 2.5e300)
    for kind in get_args(FactKind)
]


@pytest.mark.parametrize("name", ["\x1b[2J\u202e" * 50, "x" * 200, "a; b" * 50, "\ud800" * 200])
@pytest.mark.parametrize("facts", [*EXTREME, None])
def test_whatever_a_name_and_numbers_are_it_is_one_short_line(
    facts: CheckFacts | None, name: str
) -> None:
    feature = FeatureExplanation(0, 1.0, (1e300,), (-1e300,), name)
    sentence = sentence_of(replace(NOTHING, features=(feature,)), facts, name)
    assert sentence.isprintable()
    assert 10 < len(sentence) <= SENTENCE_CHARACTERS_MAX
    assert no_data_sentence(name, 1e300, is_over=False).isprintable()


def finding_of(facts: CheckFacts | None) -> Finding:
    """Return what a scorer says of a window of two features, in units of its own."""
    features = (
        FeatureExplanation(1, 0.75, (0.0, 1.0), (2.0, None)),
        FeatureExplanation(0, 0.25, (0.5,), (0.5,)),
    )
    explanation = Explanation(0, 60_000, features, (0.25, 0.75), (0, 60_000), 0.0, 0)
    return Finding(explanation, 0.5, "flat", facts=facts)


NAMES = ("temperature", "pressure")


def test_everything_is_in_the_unit_of_the_signal() -> None:
    finding = finding_of(CheckFacts(1, "flat", 0.0, 60_000, 0.25, 0.5, at=2.0))
    of_key = (LinearUnit(1.0, 0.0), LinearUnit(4.0, 20.0))
    found = finding.described(Features(NAMES, (0.0, 1_000.0)), of_key)
    pressure, temperature = found.explanation.features
    assert (pressure.name, pressure.low, pressure.high) == ("pressure", 1.0, 2.0)
    assert (pressure.expected, pressure.observed) == ((1_020.0, 1_024.0), (1_028.0, None))
    assert temperature == FeatureExplanation(0, 0.25, (0.5,), (0.5,), "temperature")
    assert found.explanation.sentence == (
        "pressure stayed at 1028 for 60 s; it normally varies by 1 to 2"
    )
    assert found.facts == CheckFacts(1, "flat", 0.0, 60_000, 1.0, 2.0, at=1_028.0)
    assert (found.reconstruction_error, found.check) == (0.5, "flat")


@pytest.mark.parametrize("kind", get_args(FactKind))
def test_values_have_an_origin_and_differences_none(kind: Any) -> None:
    finding = finding_of(CheckFacts(0, kind, 9.0, 0, 1.0, 2.0))
    found = finding.described(Features(NAMES), (LinearUnit(4.0, 100.0), LinearUnit()))
    pressure, temperature = found.explanation.features
    is_value = kind in ("same", "spike", "level", "never", "related", "shape")
    band = (104.0, 108.0) if is_value else (4.0, 8.0)
    assert (temperature.low, temperature.high) == band
    assert (pressure.low, pressure.high) == (None, None)


def test_without_facts_nothing_is_known_of_what_is_normal() -> None:
    found = finding_of(None).described(Features(NAMES))
    assert {(each.low, each.high) for each in found.explanation.features} == {(None, None)}
    assert found.explanation.sentence == "pressure: observed 2 where 0 was expected, for 60 s"


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            CheckFacts(1, "flat", 0.0, 60_000, 0.03, 0.21, at=4.02),
            "pressure stayed at 4.02 bar for 60 s; it normally varies by 0.03 to 0.21",
        ),
        (
            CheckFacts(1, "never", 310.5, 0, 250.5, 250.5),
            "pressure was at 310.5 bar; in training it was always 250.5",
        ),
        (
            CheckFacts(1, "never", 1.0, 0, 0.0, 0.0),
            "pressure was at 1 bar; in training it was always 0",
        ),
        (
            CheckFacts(1, "same", 1_013.25, 12_000, changes_within_ms=9_000),
            "pressure stayed at 1013.25 bar for 12 s without any change; it normally changes "
            "within 9 s",
        ),
        (
            CheckFacts(1, "related", 3.1, 60_000, 5.0, 5.4),
            "pressure is at 3.1 bar; going by the other features, it is normally between 5 and 5.4",
        ),
        (
            CheckFacts(1, "flat", 0.1, 60_000, 0.3, 0.9, at=4.02),
            "pressure varied by only 0.1 bar for 60 s; it normally varies by 0.3 to 0.9",
        ),
        (
            CheckFacts(1, "peak", -1.2, 1_000, 0.05, 0.21),
            "pressure dropped by 1.2 bar within 1 s; its largest steps are normally 0.05 to 0.21",
        ),
        (
            CheckFacts(1, "spike", 6.2, 0, 3.9, 4.3),
            "pressure reached 6.2 bar; it is normally between 3.9 and 4.3",
        ),
        (CheckFacts(1, "noise", 0.9, 60_000), "pressure varies by 0.9 bar"),
        (CheckFacts(1, "level", 7.0, 60_000), "pressure is at 7 bar"),
        (
            CheckFacts(1, "slope", 3.1, 60_000, -0.5, 0.5),
            "pressure rose by 3.1 bar within 60 s; it normally changes by -0.5 to 0.5",
        ),
        (
            CheckFacts(1, "shape", 6.2, 41_000, 4.0, 4.3),
            LEARNT + "observed 6.2 bar instead of 4 to 4.3 for 41 s",
        ),
        (CheckFacts(0, "level", 7.0, 60_000), "temperature is at 7"),
        (None, "pressure: observed 2 bar where 0 was expected, for 60 s"),
    ],
)
def test_a_unit_stands_behind_what_was_observed(facts: CheckFacts | None, sentence: str) -> None:
    found = finding_of(facts).described(Features(NAMES, units=("", "bar")))
    assert found.explanation.sentence == sentence


@pytest.mark.parametrize(("length", "is_whole"), [(191, True), (192, False)])
def test_a_sentence_of_an_unknown_key_is_no_longer_than_others(length: int, is_whole: bool) -> None:
    end = "; training did not know this key, which has the scale of all keys"
    found = of_unknown_key("x" * length)
    assert len(found) == SENTENCE_CHARACTERS_MAX
    assert found.endswith(end)
    assert found.startswith("x" * 191) == is_whole
