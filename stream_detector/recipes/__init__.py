"""What `models/*.toml` says: how to make a bundle.

A recipe is plain, frozen data. Reading one checks every key and every combination of keys, and
reports all problems at once; nothing here loads Keras or touches a data set.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from stream_detector.errors import ConfigError
from stream_detector.recipes.checks import combination_problems
from stream_detector.recipes.networks import NetworkSection
from stream_detector.recipes.sections import DataSection, Recipe

__all__ = ["DataSection", "NetworkSection", "Recipe", "load_recipe", "parse_recipe"]


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply overrides and check the result.

    Parameters
    ----------
    path
        A TOML file.
    overrides
        `section.key=value` each, the value as TOML; a bare word is a string, and nothing after
        the = takes the key away. Later ones win. Another `data.name` empties the rest of `[data]`
        first, whose keys are the other set's, and any other data leaves out what was published.

    Raises
    ------
    ConfigError
        If the file cannot be read, an override is malformed, a key is unknown, or values do not
        fit together; the message lists every problem.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"recipe {path} cannot be read: {error}; give the path of a TOML file"
        raise ConfigError(message) from None
    _forget_other_data(values, overrides)
    for override in overrides:
        _apply(values, override)
    return parse_recipe(values, where=str(path))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe given as nested mappings, as TOML has it.

    Parameters
    ----------
    values
        Top-level keys and tables.
    where
        File the values are from, for messages.

    Raises
    ------
    ConfigError
        As in `load_recipe`.
    """
    problems: list[str] = []
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors(include_url=False)]
        recipe = None
    problems += combination_problems(values)
    if recipe is None or problems:
        message = f"recipe {where}: " + "; ".join(problems)
        raise ConfigError(message)
    return recipe


def _forget_other_data(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Drop what a recipe says of its own data set where the overrides name another one."""
    keys = {override.partition("=")[0].strip() for override in overrides}
    if "data.name" in keys:
        values.pop("data", None)
    if any(key.startswith("data.") for key in keys):
        values.pop("published", None)


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place."""
    key_path, equals, text = override.partition("=")
    parts = [part.strip() for part in key_path.split(".")]
    if not equals or not all(parts):
        message = f"override {override!r}: expected section.key=value, as in training.epochs=5"
        raise ConfigError(message)
    table = values
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            message = f"override {override!r}: {part} is a value, not a table"
            raise ConfigError(message)
    if text.strip():
        table[parts[-1]] = _parse_value(text.strip())
    else:
        table.pop(parts[-1], None)


def _parse_value(text: str) -> Any:
    """Return a TOML value; what is not one is a string, so that quotes may be left out."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _describe(problem: Mapping[str, Any]) -> str:
    """Return one problem as key path, what was expected and what was received."""
    location, table = _find(problem["loc"])
    key_path = ".".join(location) or "top level"
    if problem["type"] == "extra_forbidden":
        known = ", ".join(table.model_fields)
        return f"{key_path}: expected one of the keys {known}, received an unknown key"
    if problem["type"] == "missing":
        return f"{key_path}: expected a value, received none"
    if problem["type"] == "union_tag_not_found":
        return f"{key_path}.kind: expected a value, received none"
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        return f"{key_path}.kind: expected {context['expected_tags']}, received {context['tag']!r}"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{key_path}: expected {expected}, received {problem['input']!r}"


def _find(location: Sequence[str | int]) -> tuple[list[str], type[BaseModel]]:
    """Return a key path as the file has it, and the innermost table on it.

    Where a table has several kinds, pydantic names the kind between the table and its key.
    """
    table: type[BaseModel] = Recipe
    key_path = []
    parts = iter(map(str, location))
    for part in parts:
        key_path.append(part)
        annotation = table.model_fields[part].annotation if part in table.model_fields else None
        tables = [each for each in (annotation, *get_args(annotation)) if _is_table(each)]
        if len(tables) > 1:
            kind = next(parts, None)
            tables = [t for t in tables if kind in get_args(t.model_fields["kind"].annotation)]
        if tables:
            table = tables[0]
    return key_path, table


def _is_table(annotation: Any) -> bool:
    """Return whether this is the class of a table."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
