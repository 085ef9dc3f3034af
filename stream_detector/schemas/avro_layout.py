"""Check an Avro schema, and find its layout.

A schema that refers to itself is refused, since a value of it can be nested as deeply as it is
long; and so is an array of items without bytes, of which a few bytes can announce any number.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from stream_detector.core.codec.avro_columns import AvroField, AvroLayout, FieldPath, Kind

TYPES_MAX = 10_000
"""Most types in a schema, those of a name counted each time that it is used."""

DEPTH_MAX = 64
"""Deepest nesting of types."""

_RECORDS = ("record", "error")

_KINDS: Mapping[str, Kind] = {
    "null": "null",
    "boolean": "boolean",
    "int": "whole",
    "long": "whole",
    "float": "float",
    "double": "double",
    "string": "text",
    "bytes": "skipped",
    "fixed": "fixed",
    "enum": "enum",
}


def check_schema(schema: Any, names: Mapping[str, Any]) -> AvroLayout | None:
    """Return how values of a schema can be read as columns, None where they cannot.

    Parameters
    ----------
    schema
        As fastavro parses it.
    names
        Its named types.

    Raises
    ------
    ValueError
        If values of it could need any amount of time, memory or stack.

    Examples
    --------
    >>> fields = [{"name": "t", "type": "double"}, {"name": "n", "type": ["null", "int"]}]
    >>> layout = check_schema({"type": "record", "name": "R", "fields": fields}, {})
    >>> [(each.path, each.kind, each.null) for each in layout.order]
    [(('t',), 'double', None), (('n',), 'whole', 0)]
    """
    _Walk(names).bytes_min(schema, ())
    top, _ = _resolve(schema, names)
    if isinstance(top, list) or top["type"] not in _RECORDS:
        return None
    order = _fields(top, names, (), None)
    return None if order is None else AvroLayout.of(order)


class _Walk:
    """Looks at all types of a schema."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._n_types = 0

    def bytes_min(self, schema: Any, around: tuple[str, ...]) -> int:
        """Return how many bytes a value has at least, and refuse what has no bound."""
        self._n_types += 1
        if self._n_types > TYPES_MAX or len(around) > DEPTH_MAX:
            message = f"expected at most {TYPES_MAX:,} types, nested at most {DEPTH_MAX} deep"
            raise ValueError(message)
        schema, name = _resolve(schema, self._names)
        if name and name in around:
            message = f"expected no type that holds itself, received {name}"
            raise ValueError(message)
        around = (*around, name)
        if isinstance(schema, list):
            return 1 + min([self.bytes_min(each, around) for each in schema], default=0)
        kind = schema["type"]
        if kind in _RECORDS:
            return sum(self.bytes_min(each["type"], around) for each in schema["fields"])
        if kind == "array" and self.bytes_min(schema["items"], around) == 0:
            message = "expected no array of items without bytes, such as null"
            raise ValueError(message)
        if kind == "map":
            self.bytes_min(schema["values"], around)
        if kind == "fixed":
            size = schema["size"]
            if type(size) is not int or size < 0:
                message = f"expected a size of at least 0, received {size!r}"
                raise ValueError(message)
            return size
        return {"null": 0, "float": 4, "double": 8}.get(kind, 1)


def _resolve(schema: Any, names: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a type in its long form, and its name where it has one."""
    while isinstance(schema, Mapping) and isinstance(schema["type"], Mapping | list):
        schema = schema["type"]
    if isinstance(schema, list):
        return schema, ""
    name = schema if isinstance(schema, str) else schema["type"]
    if name in names and name not in _KINDS:
        schema = names[name]
    elif isinstance(schema, str):
        schema = {"type": schema}
    return schema, str(schema.get("name", ""))


def _fields(
    schema: Any, names: Mapping[str, Any], path: FieldPath, null: int | None
) -> tuple[AvroField, ...] | None:
    """Return a field, or those of a record, in the order of their bytes; None for other unions."""
    schema, _ = _resolve(schema, names)
    if isinstance(schema, list):
        if len(schema) != 2 or schema.count("null") != 1 or null is not None:  # noqa: PLR2004
            return None
        null = schema.index("null")
        return _fields(schema[1 - null], names, path, null)
    kind = schema["type"]
    if kind in _RECORDS:
        parts = [(each["type"], (*path, each["name"])) for each in schema["fields"]]
        inside = _joined(_fields(each, names, own, None) for each, own in parts)
        if inside is None or null is None:
            return inside
        return (AvroField(path, "record", null, inside=inside),)
    if kind in ("array", "map"):
        items = _fields(schema["items" if kind == "array" else "values"], names, (), None)
        key = () if kind == "array" else (AvroField((), "text"),)
        return None if items is None else (AvroField(path, kind, null, inside=key + items),)
    size = len(schema["symbols"]) if kind == "enum" else schema.get("size", 0)
    return (AvroField(path, _KINDS[kind], null, size),)


def _joined(parts: Iterable[tuple[AvroField, ...] | None]) -> tuple[AvroField, ...] | None:
    """Return all fields, None where those of one part have no place."""
    found: list[AvroField] = []
    for each in parts:
        if each is None:
            return None
        found += each
    return tuple(found)
