"""Check an Avro schema, and find its layout.

A schema that refers to itself is refused, since a value of it can be nested as deeply as it is
long; and so is an array of items without bytes, of which a few bytes can announce any number.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from stream_detector.core.codec.avro_columns import AvroField, AvroLayout, FieldPath, Kind

TYPES_MAX = 10_000
"""Most types in a schema, those of a name counted each time that it is used."""

DEPTH_MAX = 64
"""Deepest nesting of types."""

_KINDS: Mapping[str, Kind] = {
    "null": "null",
    "boolean": "boolean",
    "int": "whole",
    "long": "whole",
    "float": "float",
    "double": "double",
    "string": "text",
    "bytes": "skipped",
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
    >>> [(each.path, each.kind, each.null) for each in layout.fields.values()]
    [(('t',), 'double', None), (('n',), 'whole', 0)]
    """
    _Walk(names).bytes_min(schema, ())
    fields: dict[FieldPath, AvroField] = {}
    records: list[FieldPath] = []
    for found in _fields(schema, names, ()):
        if found is None:
            return None
        if isinstance(found, AvroField):
            fields[found.path] = found
        else:
            records.append(found)
    return AvroLayout(fields, records) if records else None


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
        if kind in ("record", "error"):
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
    schema: Any, names: Mapping[str, Any], path: FieldPath
) -> Iterator[AvroField | FieldPath | None]:
    """Yield fields and paths of records in the order of their bytes, None for what has no place."""
    schema, _ = _resolve(schema, names)
    if isinstance(schema, Mapping) and schema["type"] in ("record", "error"):
        yield path
        for each in schema["fields"]:
            yield from _fields(each["type"], names, (*path, each["name"]))
        return
    null = None
    if isinstance(schema, list):
        if len(schema) != 2 or schema.count("null") != 1:  # noqa: PLR2004
            yield None
            return
        null = schema.index("null")
        schema, _ = _resolve(schema[1 - null], names)
    yield _field(schema, names, path, null)


def _field(
    schema: Any, names: Mapping[str, Any], path: FieldPath, null: int | None
) -> AvroField | None:
    """Return a field that is no record, None where it has no fixed place."""
    if isinstance(schema, list):
        return None
    kind = schema["type"]
    if kind == "enum":
        return AvroField(path, "enum", null, size=len(schema["symbols"]))
    if kind == "fixed":
        return AvroField(path, "fixed", null, size=schema["size"])
    if kind == "array":
        items, _ = _resolve(schema["items"], names)
        is_number = isinstance(items, Mapping) and items["type"] in ("float", "double")
        return AvroField(path, _KINDS[items["type"]], null, is_array=True) if is_number else None
    return AvroField(path, _KINDS[kind], null) if kind in _KINDS else None
