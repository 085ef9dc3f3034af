"""Models of the course of a window, and which features of it are believed."""

import numpy as np
import pytest
from check_scorers import N_STEPS, make_scorer, normal_windows

from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import (
    Explanation,
    UnreliableFeature,
    WindowContext,
)
from stream_detector.core.scoring.members import Members
from stream_detector.core.scoring.sentences import sentence_of

FEATURES = Features(("II", "V1", "V5"))
LN_10 = float(np.log(10.0))


def test_a_feature_ten_times_as_large_as_usual_is_just_believed() -> None:
    members = Members((), np.zeros(4), np.ones(4), combine="min-max")  # of two features
    above, below = np.nextafter(LN_10, 9), np.nextafter(-LN_10, -9)
    errors = np.array([[0, 0, LN_10, -LN_10], [9, -9, above, below]])
    assert members.unreliable(errors).tolist() == [[0, 0], [1, -1]]


def window_of(noise: float, *, is_off: bool) -> FloatArray:
    """Return a window in which V1 is noise, and II is off."""
    window = normal_windows(1, seed=9)
    window[0, :, 1] += noise * np.random.default_rng(1).standard_normal(N_STEPS)
    if is_off:
        window[0, :, 0] = 0.01 * window[0, :, 0]
    window[0, :, 2] += np.linspace(0, 3, N_STEPS)  # what is anomalous
    found: FloatArray = window
    return found


@pytest.mark.parametrize(
    ("window", "expected", "end"),
    [
        (window_of(0, is_off=False), (), ""),
        (
            window_of(60, is_off=False),
            (UnreliableFeature(1, "V1", "noise"),),
            "; V1 was not believed: more than ten times as large as usual",
        ),
        (
            window_of(60, is_off=True),
            (UnreliableFeature(0, "II", "off"), UnreliableFeature(1, "V1", "noise")),
            "; V1 was not believed: more than ten times as large as usual; "
            "II was not believed: less than a tenth as large as usual",
        ),
    ],
)
def test_an_alert_says_which_features_were_not_believed(
    window: FloatArray, expected: tuple[UnreliableFeature, ...], end: str
) -> None:
    scored = make_scorer(("shape",), combine="min-max").score(window)
    finding = scored.explain(0, WindowContext(0.0, 10.0)).described(FEATURES)
    assert finding.explanation.unreliable == expected
    first, _, rest = finding.explanation.sentence.partition(";")
    assert f";{rest}" == end if end else not rest
    assert "differs from what was learnt" in first


def test_where_features_are_joined_all_are_believed() -> None:
    scored = make_scorer(("shape",)).score(window_of(60, is_off=True))
    assert scored.explain(0, WindowContext(0.0, 10.0)).explanation.unreliable == ()


def sentence_with(n_features: int, *unreliable: UnreliableFeature) -> str:
    shares = (1 / n_features,) * n_features
    explanation = Explanation(0, 0, (), shares, (0,), 0.0, 0, unreliable=unreliable)
    return sentence_of(explanation, None, "").partition("; ")[2]


def test_several_are_named_and_the_rest_counted() -> None:
    off = [UnreliableFeature(at, f"V{at}", "off") for at in range(5)]
    as_large = "not believed: less than a tenth as large as usual"
    assert sentence_with(9, *off[:2]) == f"V0 and V1 were {as_large}"
    assert sentence_with(9, *off[:3]) == f"V0, V1 and V2 were {as_large}"
    assert sentence_with(9, *off[:4]) == f"V0, V1, V2 and 1 more were {as_large}"


def test_where_none_is_believed_none_is_said_not_to_be() -> None:
    off = [UnreliableFeature(at, f"V{at}", "off") for at in range(2)]
    assert sentence_with(2, *off) == "V0 and V1 are less than a tenth as large as usual"
    assert sentence_with(1, off[0]) == "V0 is less than a tenth as large as usual"


def test_a_sentence_with_long_names_is_not_longer_than_any() -> None:
    noise = [UnreliableFeature(at, "x" * 256, "noise") for at in range(3)]
    explanation = Explanation(0, 0, (), (0.1,) * 10, (0,), 0.0, 0, unreliable=tuple(noise))
    sentence = sentence_of(explanation, None, "")
    assert len(sentence) <= 256
    assert sentence.startswith("the window is unlike those that were learnt; ")
