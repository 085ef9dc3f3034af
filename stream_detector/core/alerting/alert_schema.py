"""The Avro schema of an alert, made from its class.

Pure. A value that is one of some words is a string, so that a new word is compatible. What may be
null has null as its default, and what has a default on the class has it here, so that alerts of
earlier versions can be read by later schemas and the other way round.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from stream_detector.core.alerting.alert import Alert

NAMESPACE = "stream_detector"

_NOTHING = type(None)
_PRIMITIVES: Mapping[Any, str] = {int: "long", float: "double", str: "string", bool: "boolean"}


def alert_schema() -> dict[str, Any]:
    """Return the Avro schema of the published value.

    Examples
    --------
    >>> schema = alert_schema()
    >>> schema["name"], [each["type"] for each in schema["fields"]][:3]
    ('Alert', ['long', 'string', 'string'])
    >>> next(each for each in schema["fields"] if each["name"] == "score")
    {'name': 'score', 'type': ['null', 'double'], 'default': None}
    """
    return _record(Alert)


def _record(kind: Any) -> dict[str, Any]:
    """Return the schema of a class."""
    hints = get_type_hints(kind)
    listed = []
    for each in fields(kind):
        schema: dict[str, Any] = {"name": each.name, "type": _type(hints[each.name])}
        if isinstance(schema["type"], list):
            schema["default"] = None
        elif each.default is not MISSING:
            default = each.default
            schema["default"] = list(default) if isinstance(default, tuple) else default
        listed.append(schema)
    return {"type": "record", "name": kind.__name__, "namespace": NAMESPACE, "fields": listed}


def _type(hint: Any) -> Any:
    """Return the schema of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "string"
    if _NOTHING in arguments:
        [present] = (each for each in arguments if each is not _NOTHING)
        return ["null", _type(present)]
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0])}
    return _record(hint) if is_dataclass(hint) else _PRIMITIVES[hint]
