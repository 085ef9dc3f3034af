"""The recipe that everything is taken from which data do not decide."""

from typing import Any

from stream_detector.files import read_toml
from stream_detector.recipes import shipped_recipe

BASE_RECIPE = "telemetry.toml"


def base_recipe(false_alarms_per_day: float | None = None) -> dict[str, Any]:
    """Return the recipe, as TOML has it.

    Parameters
    ----------
    false_alarms_per_day
        Of a key; None keeps those of the recipe.
    """
    base = read_toml(shipped_recipe(BASE_RECIPE))
    if false_alarms_per_day is not None:
        _set_everywhere(base, "false_alarms_per_day", false_alarms_per_day)
    return base


def _set_everywhere(tables: Any, key: str, value: object) -> None:
    """Set a key in place wherever nested tables have it."""
    if isinstance(tables, dict):
        for name, each in tables.items():
            if name == key:
                tables[name] = value
            else:
                _set_everywhere(each, key, value)
    elif isinstance(tables, list):
        for each in tables:
            _set_everywhere(each, key, value)
