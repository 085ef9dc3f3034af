"""What features are measured in: the table `units` of a recipe's `[data]`.

For people alone, in sentences and on the page: nothing is computed with a unit.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stream_detector.core.features import NAME_CHARACTERS_MAX, UNIT_CHARACTERS_MAX, list_names
from stream_detector.errors import ConfigError


def _unit(text: str) -> str:
    """Accept what can stand behind a number in a sentence."""
    if text.isprintable() and text == text.strip():
        return text
    kind = "unit"
    message = "Input should be a unit such as bar or °C, printable and without blanks at its ends"
    raise PydanticCustomError(kind, message)


FeatureKey = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Unit = Annotated[str, Field(min_length=1, max_length=UNIT_CHARACTERS_MAX), AfterValidator(_unit)]
UnitTable = dict[FeatureKey, Unit]


def units_of(table: Mapping[str, str] | None, features: Sequence[str]) -> tuple[str, ...]:
    """Return the unit of each feature.

    Parameters
    ----------
    table
        Units by the names of features; None where there is no such table.
    features
        Names of the bundle's features, in order.

    Returns
    -------
    "" for a feature whose unit is not known; empty where there is no table.

    Raises
    ------
    ConfigError
        If the table names a feature that there is not.

    Examples
    --------
    >>> units_of({"pressure": "bar"}, ["temperature", "pressure"])
    ('', 'bar')
    >>> units_of({"presure": "bar"}, ["temperature", "pressure"])
    Traceback (most recent call last):
    stream_detector.errors.ConfigError: data.units: expected names of the features temperature, \
pressure, received presure
    """
    if not table:
        return ()
    unknown = [name for name in table if name not in features]
    if unknown:
        message = (
            f"data.units: expected names of the features {list_names(features)}, received "
            f"{list_names(unknown)}"
        )
        raise ConfigError(message)
    return tuple(table.get(name, "") for name in features)
