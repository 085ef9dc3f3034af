"""Tables of what a file of TOML may hold, a recipe or routes, from the classes that check it."""

import inspect
import re
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream_detector.outputs.routing.calendars import Calendar, WeeklyWindow
from stream_detector.outputs.routing.config import AlertmanagerRoute, AppriseRoute, WebhookRoute
from stream_detector.outputs.routing.matching import Match
from stream_detector.recipes.section import tables_of
from stream_detector.recipes.sections import Recipe

Row = tuple[str, ...]


def route_tables() -> Iterator[str]:
    """Yield a section for each table of a file of routes."""
    tables: list[type[BaseModel]] = [AlertmanagerRoute, WebhookRoute, AppriseRoute]
    yield "## `[[route]]`"
    yield _kinds("sink", tables)
    yield as_table(("Key", "Of `sink`", "Default", "Meaning"), _keys_of_kinds("sink", tables))
    for title, table in (
        ("`match` of a route", Match),
        ("`[[calendar]]`", Calendar),
        ("`weekly` of a calendar", WeeklyWindow),
    ):
        yield f"## {title}"
        yield _summary(table).partition("Examples --")[0].strip()
        fields = {field.alias or name: field for name, field in table.model_fields.items()}
        yield as_table(("Key", "Default", "Meaning"), _keys(fields))


def recipe_tables() -> Iterator[str]:
    """Yield a section for each table of a recipe, the keys outside of any table first."""
    plain = {
        name: field for name, field in Recipe.model_fields.items() if not tables_of(field).classes
    }
    yield "## Top level"
    yield as_table(("Key", "Default", "Meaning"), _keys(plain))
    for name, field in Recipe.model_fields.items():
        tag, tables, is_list = tables_of(field)
        if not tables:
            continue
        yield f"## `[[{name}]]`" if is_list else f"## `[{name}]`"
        yield _summary(tables[0]) if len(tables) == 1 else f"The keys depend on `{tag}`."
        if len(tables) == 1:
            yield as_table(("Key", "Default", "Meaning"), _keys(tables[0].model_fields))
            yield from _named_tables(name, tables[0])
        else:
            yield _kinds(tag, tables)
            yield as_table(
                ("Key", f"Of `{tag}`", "Default", "Meaning"), _keys_of_kinds(tag, tables)
            )


def _named_tables(path: str, table: type[BaseModel]) -> Iterator[str]:
    """Yield a section for each key of a table that holds tables by name."""
    for name, field in table.model_fields.items():
        _, tables, _ = tables_of(field)
        if tables and get_origin(field.annotation) is dict:
            yield f"### `[{path}.{name}.NAME]`"
            yield _summary(tables[0])
            yield as_table(("Key", "Default", "Meaning"), _keys(tables[0].model_fields))


def _summary(table: type[BaseModel]) -> str:
    """Return what a table is, in the words of its class."""
    text = inspect.getdoc(table) or ""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def _kinds(tag: str, tables: list[type[BaseModel]]) -> str:
    """Return a table of kinds."""
    rows = [
        (", ".join(f"`{kind}`" for kind in _kinds_of(tag, each)), first_line(each))
        for each in tables
    ]
    return as_table((f"`{tag}`", "What"), rows)


def _kinds_of(tag: str, table: type[BaseModel]) -> tuple[str, ...]:
    """Return the values of the key that tells kinds apart."""
    return get_args(table.model_fields[tag].annotation)


def _keys(fields: dict[str, FieldInfo]) -> Iterator[Row]:
    """Yield a row for each key."""
    for name, field in fields.items():
        value = list(field.default) if isinstance(field.default, tuple) else field.default
        default = "-" if value in (None, "") or isinstance(value, BaseModel) else f"`{value}`"
        default = "required" if field.is_required() else default
        yield f"`{name}`", default, meaning_of(name, field)


def _keys_of_kinds(tag: str, tables: list[type[BaseModel]]) -> Iterator[Row]:
    """Yield the keys of all kinds, those that mean the same in several once."""
    kinds: dict[Row, list[str]] = {}
    for table in tables:
        fields = {name: field for name, field in table.model_fields.items() if name != tag}
        for row in _keys(fields):
            kinds.setdefault(row, []).extend(_kinds_of(tag, table))
    n_kinds = sum(len(_kinds_of(tag, table)) for table in tables)
    for (key, default, meaning), names in sorted(kinds.items(), key=lambda row: -len(row[1])):
        of = "all" if len(names) == n_kinds else ", ".join(f"`{name}`" for name in names)
        yield key, of, default, meaning


def meaning_of(name: str, field: FieldInfo) -> str:
    """Return a description with the values that are accepted, where they are few."""
    if not field.description:
        message = f"{name}: expected a description, found none"
        raise SystemExit(message)
    parts = (field.annotation, *get_args(field.annotation))
    values = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    if SecretStr in parts:
        return f"{field.description}. Never shown or logged"
    is_union = get_origin(field.annotation) in {Union, UnionType}
    if is_union and any(
        part is not NoneType and get_origin(part) is not Literal for part in parts[1:]
    ):
        return field.description + "".join(f"; or `{value}`" for value in values)
    return f"{field.description}{one_of(values)}"


def one_of(values: list[Any]) -> str:
    """Return a clause that lists accepted values."""
    return f". One of {', '.join(f'`{value}`' for value in values)}" if values else ""


def first_line(described: type) -> str:
    """Return the first line of a docstring."""
    return (described.__doc__ or "").strip().splitlines()[0]


def as_table(columns: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
