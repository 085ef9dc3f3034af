"""Which alerts a matcher takes."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from routing import EXAMPLE, make_event_alert

from stream_detector.outputs.routing.matching import Match, feature_of


@pytest.mark.parametrize(
    ("conditions", "is_taken"),
    [
        ({}, True),
        ({"key": "pump-7"}, True),
        ({"key": "pump-*"}, True),
        ({"key": "pump-?"}, True),
        ({"key": "pump-??"}, False),
        ({"key": "PUMP-7"}, False),
        ({"key": ["fan-*", "pump-[67]"]}, True),
        ({"key": "ump-7"}, False),
        ({"severity": "critical"}, True),
        ({"severity": ["warning", "critical"]}, True),
        ({"severity": "crit*"}, False),
        ({"feature": "vibration"}, True),
        ({"feature": "temp*"}, False),
        ({"reason": "severity"}, True),
        ({"reason": ["no_data", "anomalous"]}, False),
        ({"key": "pump-7", "severity": "warning"}, False),
    ],
)
def test_an_alert_meets_every_condition(conditions: dict[str, Any], is_taken: bool) -> None:
    assert Match(**conditions).takes(EXAMPLE) is is_taken


def test_a_missing_feature_is_the_one_that_is_matched() -> None:
    missing = make_event_alert("a", feature="temperature", explanation=None)
    assert Match(feature=["temperature"]).takes(missing)
    assert not Match(feature=["vibration"]).takes(missing)


def test_an_alert_without_a_feature_fits_no_feature() -> None:
    silent = make_event_alert("a", explanation=None)
    assert feature_of(silent) is None
    assert not Match(feature=["*"]).takes(silent)
    assert EXAMPLE.explanation is not None
    assert (
        feature_of(replace(EXAMPLE, explanation=replace(EXAMPLE.explanation, features=()))) is None
    )


@pytest.mark.parametrize("wrong", [{"key": []}, {"key": ""}, {"keys": "a"}, {"reason": "odd"}])
def test_a_matcher_that_can_take_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Match(**wrong)


def test_a_matcher_says_what_it_takes() -> None:
    assert Match().describe() == "all"
    assert Match(key=["a", "b"], severity=["high"]).describe() == "key=a,b severity=high"
