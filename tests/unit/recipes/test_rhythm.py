"""The check of the rhythm in a recipe, and the pauses that it needs."""

from pathlib import Path

import pytest

from stream_detector.errors import ConfigError
from stream_detector.recipes import load_recipe

BEATS = Path(__file__).parents[3] / "models" / "mitdb-beats.toml"
BOTH = "check=[{kind='shape'},{kind='rhythm'}]"
PAUSE = "peaks.pause_ms=2000"


def test_a_pause_is_in_whole_steps() -> None:
    recipe = load_recipe(BEATS, [BOTH, PAUSE])
    assert [each.kind for each in recipe.check] == ["shape", "rhythm"]
    assert recipe.rules.peaks is not None
    assert recipe.rules.peaks.n_pause == 720
    plain = load_recipe(BEATS, ["check=[{kind='shape'}]", "peaks.pause_ms="]).rules.peaks
    assert plain is not None
    assert plain.n_pause == 0
    n_back = recipe.rules.peaks.n_back
    assert n_back > 720
    assert recipe.rules.peaks.n_context == plain.n_context + n_back


@pytest.mark.parametrize(
    "changes",
    [
        [BOTH, "peaks.pause_ms=600"],  # 1.5 times the search window
        [BOTH, PAUSE],  # half of the context
        [BOTH, "peaks.pause_ms=1500", "peaks.search_ms=1000"],
        [BOTH, "peaks.pause_ms=1500", "peaks.context_ms=3000"],
    ],
)
def test_a_pause_has_limits(changes: list[str]) -> None:
    assert load_recipe(BEATS, changes).rules.peaks is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([BOTH, "peaks.pause_ms="], "peaks.pause_ms: expected a time with the check 'rhythm'"),
        (
            ["check=[{kind='shape'}]", PAUSE],
            "peaks.pause_ms: expected only with the check 'rhythm', received 2000",
        ),
        (
            ["check=[{kind='rhythm'}]", PAUSE],
            "check: expected another kind beside 'rhythm', which looks at no window",
        ),
        (
            [BOTH, "window.align=stride", "peaks="],
            "check: expected 'rhythm' only with window.align = 'peaks', received it with 'stride'",
        ),
        (
            [BOTH, "peaks.pause_ms=599"],
            "peaks.pause_ms: expected at least 1.5 times search_ms = 400, received 599",
        ),
        (
            [BOTH, "peaks.pause_ms=2001"],
            "peaks.pause_ms: expected at most 0.5 times context_ms = 4000, received 2001: after "
            "that noise counts as peaks",
        ),
        ([BOTH, "peaks.pause_ms=0"], "peaks.pause_ms: expected greater than 0, received 0"),
        (
            [BOTH, PAUSE, "scorer.kind=reconstruction", "threshold.calibrate_on=held-out"],
            "check: expected only with scorer.kind = 'checks'",
        ),
        (
            ["check=[{kind='shape'},{kind='rhythm'},{kind='rhythm'}]", PAUSE],
            "check: expected each kind once",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe(BEATS, changes)
    assert expected in str(refused.value)


def test_every_kind_of_check_may_be_there_at_once() -> None:
    kinds = ("shape", "peak", "flat", "noise", "level", "shift", "rhythm")
    tables = ",".join(f"{{kind='{kind}'}}" for kind in kinds)
    recipe = load_recipe(BEATS, [f"check=[{tables}]", PAUSE, "scorer.short_steps=16"])
    assert len(recipe.check) == len(kinds)
