"""Units of features: what is accepted, what is refused, and what a recipe without them says."""

from pathlib import Path

import pytest

from stream_detector.core.features import UNIT_CHARACTERS_MAX
from stream_detector.errors import ConfigError
from stream_detector.recipes import load_recipe
from stream_detector.recipes.units import units_of

TELEMETRY = Path(__file__).parents[3] / "models" / "ecg5000-dense.toml"


@pytest.mark.parametrize("unit", ["bar", "°C", "%", "m³/h", "mm Hg", "u" * UNIT_CHARACTERS_MAX])
def test_a_unit_is_text_that_can_stand_behind_a_number(unit: str) -> None:
    recipe = load_recipe(TELEMETRY, [f'data.units.pressure="{unit}"'])
    assert recipe.data.units == {"pressure": unit}
    assert units_of(recipe.data.units, ["flow", "pressure"]) == ("", unit)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("", "at least 1 character"),
        ("u" * (UNIT_CHARACTERS_MAX + 1), "at most 24 characters"),
        (" bar", "a unit such as bar"),
        ("bar ", "a unit such as bar"),
        (r"bar\u202e", "a unit such as bar"),
        (r"bar\n2026-01-01", "a unit such as bar"),
        (r"\u001b[31mbar", "a unit such as bar"),
    ],
)
def test_other_text_is_refused(unit: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.units\.pressure: .*" + expected) as caught:
        load_recipe(TELEMETRY, [f'data.units.pressure="{unit}"'])
    assert str(caught.value).isprintable()


def test_a_unit_of_a_feature_that_there_is_not_is_refused() -> None:
    message = r"^data\.units: expected names of the features t, pressure, received presure, flow$"
    with pytest.raises(ConfigError, match=message):
        units_of({"presure": "bar", "t": "°C", "flow": "l/s"}, ["t", "pressure"])
    assert units_of({}, ["t"]) == units_of(None, ["t"]) == ()


def test_a_recipe_without_units_says_nothing_of_them() -> None:
    assert "units" not in load_recipe(TELEMETRY).model_dump(mode="json")["data"]
    named = load_recipe(TELEMETRY, ['data.units.feature_0="mV"'])
    assert named.model_dump(mode="json")["data"]["units"] == {"feature_0": "mV"}
