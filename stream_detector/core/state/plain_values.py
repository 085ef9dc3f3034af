"""Frozen dataclasses and named tuples as lists of plain values, and back.

Pure. A value is a list of its fields, in order, so it is as short as JSON allows::

    Jump(7, -inf, 20.0)[7, "-inf", 20.0]

What a list means follows from the annotations of the class alone: `fields_of` says whether two
programs agree on them.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_Kind = TypeVar("_Kind")

_NO_NUMBERS = ("nan", "inf", "-inf")
"""Floats for which JSON has no word."""


def to_plain(value: Any) -> Any:
    """Return a value as lists, text, numbers, truth values and None, which JSON can hold.

    Parameters
    ----------
    value
        One of these, a tuple, or a dataclass or named tuple of such values.

    Examples
    --------
    >>> to_plain((1, (0.5, math.inf), None))
    [1, [0.5, 'inf'], None]
    """
    if isinstance(value, tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    kind: Any = type(value)
    return [to_plain(getattr(value, name)) for name in _hints(kind)] or value


def from_plain(kind: type[_Kind], plain: Any) -> _Kind:
    """Return the value that `to_plain` wrote.

    Parameters
    ----------
    kind
        What it is.
    plain
        From `to_plain`, or anything else.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> from_plain(tuple[int, tuple[float, ...]], [1, [0.5, "inf"]])
    (1, (0.5, inf))
    """
    value: _Kind = _decode(kind, plain)
    return value


def fields_of(kind: Any) -> str:
    """Return the fields of a class and of all classes in it, as text.

    Examples
    --------
    >>> fields_of(tuple[int, str | None])
    'tuple(int,(str|None))'
    """
    origin, within = get_origin(kind), get_args(kind)
    if origin is Literal:
        return repr(within)
    if origin is tuple:
        return f"tuple({','.join(map(fields_of, within))})"
    if origin in {Union, UnionType}:
        return f"({'|'.join(map(fields_of, within))})"
    if kind is Ellipsis or kind is NoneType:
        return "..." if kind is Ellipsis else "None"
    hints = _hints(kind)
    if not hints:
        return str(kind.__name__)
    return f"{kind.__name__}({','.join(f'{name}:{fields_of(hints[name])}' for name in hints)})"


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a dataclass or named tuple; none of anything else."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return {each.name: hints[each.name] for each in fields(kind)}
    names = getattr(kind, "_fields", ())
    hints = get_type_hints(kind) if names else {}
    return {name: hints[name] for name in names}


def _decode(kind: Any, plain: Any) -> Any:
    """Return a plain value as one of a kind."""
    origin, within = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (rest,) = (each for each in within if each is not NoneType)
        return None if plain is None else _decode(rest, plain)
    if origin is Literal:
        return _require(plain, is_right=plain in within, kind=kind)
    if origin is tuple:
        return _decode_tuple(within, plain)
    if hints := _hints(kind):
        values = _decode_tuple(tuple(hints.values()), plain)
        return kind(**dict(zip(hints, values, strict=True)))
    return _decode_scalar(kind, plain)


def _decode_scalar(kind: type, plain: Any) -> Any:
    """Return a plain value as a number, a truth value or text."""
    if kind is float and plain in _NO_NUMBERS:
        return float(plain)
    # A whole number stays one: in an alert's JSON 1 and 1.0 differ.
    kinds = (float, int) if kind is float else (kind,)
    return _require(plain, is_right=type(plain) in kinds, kind=kind)


def _decode_tuple(within: tuple[Any, ...], plain: Any) -> tuple[Any, ...]:
    """Return a plain list as a tuple of values of some kinds."""
    _require(plain, is_right=isinstance(plain, list), kind=tuple)
    if within[1:] == (Ellipsis,):
        return tuple([_decode(within[0], each) for each in plain])
    _require(plain, is_right=len(plain) == len(within), kind=within)
    return tuple([_decode(kind, each) for kind, each in zip(within, plain, strict=True)])


def _require(plain: Any, *, is_right: bool, kind: Any) -> Any:
    """Return a plain value if it is right."""
    if not is_right:
        message = f"expected {getattr(kind, '__name__', kind)}, received {str(plain)[:40]!r}"
        raise ValueError(message)
    return plain
