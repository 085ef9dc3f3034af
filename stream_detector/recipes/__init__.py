"""Recipes: the files `models/*.toml`, each of which says how to make a bundle.

A recipe is plain, frozen data. Reading one checks every key and every combination of keys, and
reports all problems at once; nothing here loads Keras or touches a data set.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath, check_values, parse_toml, read_toml
from stream_detector.recipes.checks import combination_problems
from stream_detector.recipes.datasets import COLUMN_KEYS, ROW_KEYS, is_file
from stream_detector.recipes.networks import NetworkSection
from stream_detector.recipes.section import tables_of
from stream_detector.recipes.sections import BundleName, DataSection, Recipe
from stream_detector.text import shorten

_PROBLEMS_MAX = 50
"""Most problems that one message lists."""

__all__ = [
    "RUN_TABLES",
    "BundleName",
    "DataSection",
    "NetworkSection",
    "Recipe",
    "apply_overrides",
    "combination_problems",
    "load_recipe",
    "override_alerting",
    "override_input",
    "override_tables",
    "parse_overrides",
    "parse_recipe",
    "shipped_recipe",
]


def load_recipe(path: AnyPath, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply overrides and check the result.

    Parameters
    ----------
    path
        A TOML file.
    overrides
        Each is `section.key=value`, with the value in TOML. A bare word is a string; an empty
        value removes the key. Later overrides win. Setting `data.name` first removes all other
        keys of `[data]`, and setting any key of `[data]` removes `[published]`: both describe
        the data set of the file. Setting the key that chooses the kind of a table, such as
        `threshold.method`, first removes the keys of the file that the new kind does not take.

    Raises
    ------
    ConfigError
        If the file cannot be read, an override is malformed, a key is unknown, or values do not
        fit together; the message lists every problem.
    """
    try:
        values = read_toml(path)
    except (OSError, ValueError) as error:
        message = f"recipe {path} cannot be read: {error}; give the path of a TOML file"
        raise ConfigError(message) from None
    apply_overrides(values, overrides, where=str(path))
    return parse_recipe(values, where=str(path))


def apply_overrides(values: dict[str, Any], overrides: Sequence[str], where: str) -> None:
    """Apply overrides, in place, to a recipe given as nested mappings; see `load_recipe`.

    Raises
    ------
    ConfigError
        If one is malformed.
    """
    _drop_replaced_data(values, overrides)
    _drop_replaced_kinds(values, overrides)
    for override in overrides:
        _apply(values, override)
    try:
        check_values(values)
    except ValueError as error:
        message = f"recipe {where} with the overrides cannot be used: {error}"
        raise ConfigError(message) from None


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe given as nested mappings, as TOML has it.

    Parameters
    ----------
    values
        Top-level keys and tables.
    where
        Name of the source of the values, for messages.

    Raises
    ------
    ConfigError
        As in `load_recipe`.
    """
    problems: list[str] = []
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        problems = [shorten(_describe(problem)) for problem in error.errors(include_url=False)]
        recipe = None
    problems += [shorten(each) for each in combination_problems(values)]
    if recipe is None or problems:
        n_more = len(problems) - _PROBLEMS_MAX
        more = [f"and {n_more} more"] if n_more > 0 else []
        message = f"recipe {where}: " + "; ".join([*problems[:_PROBLEMS_MAX], *more])
        raise ConfigError(message)
    return recipe


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return overrides as tables.

    Parameters
    ----------
    overrides
        Each as in `load_recipe`; an empty value is kept, as an empty text.

    Raises
    ------
    ConfigError
        If one is malformed.

    Examples
    --------
    >>> parse_overrides(["input.key=device", "input.preset=flat"])
    {'input': {'key': 'device', 'preset': 'flat'}}
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key_path, _, text = override.partition("=")
        _apply(values, override if text.strip() else f"{key_path}=''")
    return values


RUN_TABLES = ("input", "alerting")
"""Tables of a bundle's recipe that a run may change: nothing that was fitted depends on them."""


def changes_of_run(
    overrides: Sequence[str], tables: Sequence[str] = RUN_TABLES
) -> dict[str, dict[str, Any]]:
    """Return what overrides change of a bundle's recipe, by table.

    Parameters
    ----------
    overrides
        As in `parse_overrides`.
    tables
        Those that may be changed.

    Raises
    ------
    ConfigError
        If one is malformed, or is one of another table.
    """
    values = parse_overrides(overrides)
    others = [each for each in values if each not in tables or not isinstance(values[each], dict)]
    if others:
        known = " or ".join(f"{each}.KEY=VALUE" for each in tables)
        message = (
            f"--set: expected {known}, received {', '.join(others)}; all else is part of the "
            "bundle: train another"
        )
        raise ConfigError(message)
    return values


def override_tables(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Return a recipe whose tables `[input]` and `[alerting]` are changed for a run.

    Parameters
    ----------
    recipe
        Of a bundle.
    changes
        Of each of `RUN_TABLES` what is changed; see `override_input` and `override_alerting`.

    Raises
    ------
    ConfigError
        If a key is unknown, or values do not fit; the message lists every problem.
    """
    recipe = override_input(recipe, changes.get("input", {}))
    return override_alerting(recipe, changes.get("alerting", {}))


def override_alerting(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe whose table `[alerting]` is changed for a run.

    Parameters
    ----------
    recipe
        Of a bundle.
    changes
        Keys of the table and their values, those of tables in it among them. An empty text removes
        a key.

    Raises
    ------
    ConfigError
        As `override_input`.
    """
    if not changes:
        return recipe
    if "no_data_after_ms" in changes:
        message = (
            "alerting.no_data_after_ms: expected only what a run may change, for the state of keys "
            "depends on this one: train another bundle"
        )
        raise ConfigError(message)
    values = recipe.model_dump(exclude_defaults=True)
    values["alerting"] = _merged(recipe.alerting.model_dump(exclude_none=True), changes)
    return parse_recipe(values, where=f"{recipe.name} with the [alerting] of this run")


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with changes, those in its tables included."""
    merged = dict(table)
    for name, value in changes.items():
        if isinstance(value, Mapping):
            own = merged.get(name)
            merged[name] = _merged(own if isinstance(own, Mapping) else {}, value)
        elif value == "":
            merged.pop(name, None)
        elif value is not None:
            merged[name] = value
    return merged


def override_input(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe whose table `[input]` is changed for a run.

    Parameters
    ----------
    recipe
        Of a bundle.
    changes
        Keys of the table and their values. An empty text removes a key, but for `values`, where it
        is the record itself. A preset first removes all other keys.

    Raises
    ------
    ConfigError
        If a key is unknown, or values do not fit; the message lists every problem.
    """
    if not changes:
        return recipe
    values = recipe.model_dump(exclude_defaults=True)
    own = {} if changes.get("preset") else values.get("input", {})
    table = {name: value for name, value in {**own, **changes}.items() if value is not None}
    values["input"] = {
        name: value for name, value in table.items() if value != "" or name == "values"
    }
    changed = parse_recipe(values, where=f"{recipe.name} with the [input] of this run")
    return changed.model_copy(update={"input": changed.input.with_schema_text()})


def shipped_recipe(name: str) -> Path:
    """Return the path of a recipe in the installed package, or in the checkout beside it."""
    packaged = Path(str(resources.files("stream_detector"))) / "models" / name
    return packaged if packaged.exists() else Path(__file__).parents[2] / "models" / name


def _drop_replaced_data(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Remove, in place, what describes the data set of a recipe if the overrides replace it.

    From a file to a file of another format, what says which column is which stays.
    """
    given = {
        key.strip(): text.strip()
        for key, _, text in (override.partition("=") for override in overrides)
    }
    table = values.get("data")
    if "data.name" in given and isinstance(table, dict):
        names = table.get("name"), _parse_value(given["data.name"])
        stays = (*COLUMN_KEYS, *ROW_KEYS) if all(map(is_file, names)) else ()
        values["data"] = {key: value for key, value in table.items() if key in stays}
    if any(key.startswith("data.") for key in given):
        values.pop("published", None)


def _drop_replaced_kinds(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Remove, in place, the keys of a table that its new kind does not take.

    Only those of the file: one that an override sets beside a kind that does not take it is a
    mistake, and is reported.
    """
    for override in overrides:
        key_path, _, text = override.partition("=")
        section, _, tag = (part.strip() for part in key_path.partition("."))
        field, table = Recipe.model_fields.get(section), values.get(section)
        if field is None or field.discriminator != tag or not isinstance(table, dict):
            continue
        kind = _parse_value(text.strip())
        if section == "scorer" and kind != "checks":
            values.pop("check", None)
        for each in get_args(field.annotation):
            if kind in _kinds(each, tag):
                for key in table.keys() - each.model_fields.keys():
                    del table[key]


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
    """Return a TOML value, or the text itself if it is not TOML, so that quotes may be left out."""
    try:
        parsed = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


class _Place(NamedTuple):
    """Where in a recipe a problem is.

    Parameters
    ----------
    key_path
        As the file has it.
    table
        Class of the innermost table on that path.
    tag, kind
        Where that table has several classes, the key that chooses between them and its value;
        else empty.
    tables
        All classes of that table.
    """

    key_path: str
    table: type[BaseModel]
    tag: str
    kind: str
    tables: list[type[BaseModel]]

    def kinds_with(self, key: str) -> list[str]:
        """Return the values of `tag` with which the table has a key."""
        return [
            kind
            for table in self.tables
            if key in table.model_fields and self.tag
            for kind in _kinds(table, self.tag)
        ]


def _describe(problem: Mapping[str, Any]) -> str:
    """Return one problem as key path, what was expected and what was received."""
    place = _find(problem["loc"])
    where = place.key_path or "top level"
    kind = problem["type"]
    if kind == "extra_forbidden":
        takers = place.kinds_with(where.rpartition(".")[2])
        if takers:
            return (
                f"{where}: expected only with {place.tag} = {' or '.join(map(repr, takers))}, "
                f"received {problem['input']!r} with {place.kind!r}"
            )
        known = ", ".join(place.table.model_fields)
        return f"{where}: expected one of the keys {known}, received an unknown key"
    if kind == "missing":
        return f"{where}: expected a value, received none"
    if kind == "union_tag_not_found":
        return f"{where}.{place.tag}: expected a value, received none"
    if kind == "union_tag_invalid":
        context = problem["ctx"]
        expected, received = context["expected_tags"], context["tag"]
        return f"{where}.{place.tag}: expected {expected}, received {received!r}"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{where}: expected {expected}, received {problem['input']!r}"


def _find(location: Sequence[str | int]) -> _Place:
    """Return where a problem is, from the location that pydantic gives.

    Where a table has several classes, pydantic names the kind between the table and its key.
    """
    place = _Place("", Recipe, "", "", [Recipe])
    parts = iter(map(str, location))
    for part in parts:
        place = place._replace(key_path=f"{place.key_path}.{part}".removeprefix("."))
        field = place.table.model_fields.get(part)
        if field is None:
            continue
        tag, tables, is_list = tables_of(field)
        if not tables:
            continue
        path = place.key_path
        if is_list and (number := next(parts, None)) is not None:
            path = f"{path}.{number}"
        place = place._replace(key_path=path)
        if not tag:
            place = place._replace(table=tables[0], tag="", kind="", tables=tables)
            continue
        kind = next(parts, "")
        chosen = (each for each in tables if kind in _kinds(each, tag))
        place = _Place(place.key_path, next(chosen, place.table), tag, kind, tables)
    return place


def _kinds(table: type[BaseModel], tag: str) -> tuple[str, ...]:
    """Return the values of the key `tag` that choose this class of a table."""
    return get_args(table.model_fields[tag].annotation)
