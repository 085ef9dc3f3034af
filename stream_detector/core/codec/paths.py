"""Paths: where in a record's document, such as a JSON object, a value stands.

Pure. A path is names with dots between them, `payload.temp`. In an array, a number is the place of
an item, counted from 0, and `[name=text]` takes the item, an object, that has this text or number
under this name: `attributes[key=host.name].value`. A name with a dot, a bracket or a bar in it
stands in double quotes: `tags."host.name"`. Paths with `|` between them are tried in this order.
The empty path is the document itself.

>>> document = {"payload": {"temp": 21.5}, "tags": [{"key": "site", "value": "A"}]}
>>> find([document], parse_path("payload.temp"))
21.5
>>> find([document], parse_path("host|tags[key=site].value"))
'A'
>>> find([document], parse_path("payload.pressure")) is MISSING
True
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple


class Match(NamedTuple):
    """A step into the item of an array that has a text under a name."""

    name: str
    text: str


Step = str | Match
"""One name, place or selection of a path."""

Path = tuple[tuple[Step, ...], ...]
"""Alternatives in the order in which they are tried, each a sequence of steps."""

MISSING: Final = object()
"""What `find` returns where there is nothing."""

LEAVES_SHOWN = 12
"""So many values of a record are named in the reason of a dead letter."""

DEPTH_SHOWN = 12
"""So many steps deep values are looked for to name them."""

_NAME = re.compile(r'"([^"]+)"|([^."\[\]|]+)')
_MATCH = re.compile(r"\[([^=\[\]]+)=([^\[\]]+)\]")


def parse_path(text: str) -> Path:
    """Return the path that a text means.

    Raises
    ------
    ValueError
        If it means none; the message says where it cannot be read.

    Examples
    --------
    >>> parse_path('a."b.c"|d[k=v]')
    (('a', 'b.c'), ('d', Match(name='k', text='v')))
    >>> parse_path("a..b")
    Traceback (most recent call last):
    ValueError: expected a name after 'a.', received '.b'
    """
    alternatives: list[tuple[Step, ...]] = []
    steps: list[Step] = []
    at = 0
    while text:
        found = _NAME.match(text, at)
        if found is None:
            message = f"expected a name after {text[:at]!r}, received {text[at:]!r}"
            raise ValueError(message)
        steps.append(found[1] or found[2])
        at = found.end()
        while found := _MATCH.match(text, at):
            steps.append(Match(found[1], found[2]))
            at = found.end()
        if at < len(text) and text[at] not in ".|":
            message = f"expected a dot after {text[:at]!r}, received {text[at:]!r}"
            raise ValueError(message)
        if at == len(text) or text[at] == "|":
            alternatives.append(tuple(steps))
            steps = []
        if at == len(text):
            break
        at += 1
    return tuple(alternatives) or ((),)


def find(scopes: Sequence[Any], path: Path) -> Any:
    """Return what stands at a path, `MISSING` where nothing does.

    Parameters
    ----------
    scopes
        Where to look: the innermost object first, then those that hold it, at last the document.
    path
        The first alternative that is anywhere is taken.
    """
    for steps in path:
        for scope in scopes:
            found = _walk(scope, steps)
            if found is not MISSING:
                return found
    return MISSING


def expand(document: Any, path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the items of all arrays at a path, each with the objects that hold it.

    Parameters
    ----------
    document
        Where to look.
    path
        An array on the way stands for each of its items, unless a step says which.

    Yields
    ------
    For each item it and the objects around it, the innermost first, as `find` takes them.

    Examples
    --------
    >>> list(expand({"n": 1, "at": [{"x": 2}]}, parse_path("at")))
    [({'x': 2}, {'n': 1, 'at': [{'x': 2}]})]
    """
    for steps in path:
        found = list(_expand((document,), steps))
        if found:
            yield from found
            return


def leaves(document: Any, prefix: str = "", n_deep: int = DEPTH_SHOWN) -> Iterator[str]:
    """Yield the path of each value that is neither an object nor an array, or lies too deep.

    Parameters
    ----------
    document
        Where to look.
    prefix
        Path of it.
    n_deep
        So many steps are taken.

    Examples
    --------
    >>> list(leaves({"ts": 1, "payload": {"temp": 2, "a.b": [3, 4]}}))
    ['ts', 'payload.temp', 'payload."a.b".0', 'payload."a.b".1']
    """
    if n_deep == 0:
        yield prefix
        return
    if isinstance(document, dict):
        parts = [(_quoted(str(name)), each) for name, each in document.items()]
    elif isinstance(document, list):
        parts = [(str(at), each) for at, each in enumerate(document)]
    else:
        yield prefix or "a single value"
        return
    for name, each in parts:
        yield from leaves(each, f"{prefix}.{name}" if prefix else name, n_deep - 1)


def describe_leaves(document: Any) -> str:
    """Return the paths of what a document holds, of many the first.

    Examples
    --------
    >>> describe_leaves({"ts": 1, "temp": 2})
    'the record has ts, temp'
    >>> describe_leaves({})
    'the record has nothing'
    """
    found = leaves(document)
    shown = list(islice(found, LEAVES_SHOWN))
    more = " and more" if next(found, None) is not None else ""
    return f"the record has {', '.join(shown) or 'nothing'}{more}"


def _walk(value: Any, steps: Sequence[Step]) -> Any:
    """Return what stands at the end of some steps, `MISSING` where nothing does."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list):
            value = _item(value, step)
        else:
            return MISSING
    return value


def _item(items: list[Any], step: Step) -> Any:
    """Return the item of an array that a step means, `MISSING` where it has none."""
    if isinstance(step, Match):
        for each in items:
            if isinstance(each, dict) and str(each.get(step.name, MISSING)) == step.text:
                return each
        return MISSING
    at = int(step) if step.isdecimal() and len(step) < len(str(2**31)) else len(items)
    return items[at] if at < len(items) else MISSING


def _expand(scopes: tuple[Any, ...], steps: Sequence[Step]) -> Iterator[tuple[Any, ...]]:
    """Yield what is at the end of some steps from the first of the scopes, with what holds it."""
    value = scopes[0]
    is_selected = bool(steps) and (isinstance(steps[0], Match) or str(steps[0]).isdecimal())
    if isinstance(value, list) and not is_selected:
        for each in value:
            # An array right in an array is an item: nesting costs no recursion.
            if not steps:
                yield (each, *scopes[1:])
            elif isinstance(each, dict):
                yield from _expand((each, *scopes[1:]), steps)
    elif not steps:
        yield scopes
    else:
        found = _walk(value, steps[:1])
        if found is not MISSING:
            yield from _expand((found, *scopes), steps[1:])


def _quoted(name: str) -> str:
    """Return a name as a path has it."""
    return name if _NAME.fullmatch(name) and '"' not in name else f'"{name}"'
