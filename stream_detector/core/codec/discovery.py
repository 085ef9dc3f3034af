"""What some records hold: the features that a mapping would find, and the unit of their times.

Pure. Only for making a recipe from a topic: nothing of a running detector is guessed.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream_detector.core.codec.mapping import InputMapping, TimeUnit, is_inside
from stream_detector.core.codec.paths import MISSING, expand, find
from stream_detector.core.codec.scalars import read_number
from stream_detector.core.features import Features
from stream_detector.core.timestamps import SECONDS_MAX, SECONDS_MIN

_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def find_features(
    documents: Sequence[Any],
    mapping: InputMapping,
    named: Sequence[str] = (),
    *,
    is_common: bool = False,
) -> Features | None:
    """Return the features that documents have, in the order in which they come.

    Parameters
    ----------
    documents
        As a format reads the values of records.
    mapping
        Where the object of features, the array of values or the tags are; without features.
    named
        Features whose paths are known.
    is_common
        Whether to leave out features that less than half of the readings have, null included.

    Returns
    -------
    Names, generated ones for an array; None where no document has any.

    Examples
    --------
    >>> from stream_detector.core.codec.mapping import Place
    >>> mapping = InputMapping(time=Place.parse("ts"), values=Place.parse(""))
    >>> find_features([{"ts": 5, "t": 21.5, "name": "a"}, {"h": 3}], mapping).names
    ('t', 'h')
    >>> documents = [{"t": 21.5}, {"t": None}, {"t": 3, "h": 2}]
    >>> find_features(documents, mapping, is_common=True).names
    ('t',)
    """
    names = dict.fromkeys(named)
    there: Counter[str] = Counter()
    n_values = n_readings = 0
    own = {
        steps
        for place in (mapping.key, mapping.time)
        if place is not None and is_inside(place)
        for steps in place.path
    }
    for scopes in _readings(documents, mapping):
        if mapping.tags is not None:
            name, value = (find(scopes, place.path) for place in mapping.tags)
            if name is not MISSING and _is_number(value, is_text=mapping.is_text):
                names[str(name)] = None
            continue
        for steps in mapping.values.path if mapping.values is not None else ((),):
            found = find(scopes[:1], (steps,))
            if isinstance(found, dict):
                n_readings += 1
                there.update(list(found))
                numbers = _numbers_in(found, is_text=mapping.is_text)
                names |= {each: None for each in numbers if (*steps, each) not in own}
            elif isinstance(found, list) and found:
                first = found[0]
                n_values = max(n_values, len(first if isinstance(first, list) else found))
    if is_common:
        names = {each: None for each in names if 2 * there[each] >= n_readings or each in named}
    if names:
        return Features(tuple(names))
    return Features.generated(n_values) if n_values else None


def find_time_unit(documents: Sequence[Any], mapping: InputMapping) -> TimeUnit | None:
    """Return the unit in which the times of documents are of this century, None for none.

    Parameters
    ----------
    documents, mapping
        As in `find_features`.

    Examples
    --------
    >>> from stream_detector.core.codec.mapping import Place
    >>> mapping = InputMapping(time=Place.parse("ts"))
    >>> [find_time_unit([{"ts": each}], mapping) for each in (1767225600, "2026-01-31", 5)]
    ['s', 'iso8601', None]
    """
    if mapping.time is None or not is_inside(mapping.time):
        return None
    for scopes in _readings(documents, mapping):
        value = find(scopes, mapping.time.path)
        value = value[0] if isinstance(value, list) and value else value
        number = read_number(value, is_text=True)
        if number is None and isinstance(value, str):
            return "iso8601"
        for unit, per_second in _PER_SECOND.items():
            if number is not None and SECONDS_MIN <= number / per_second < SECONDS_MAX:
                return unit
    return None


def _readings(documents: Sequence[Any], mapping: InputMapping) -> Iterator[tuple[Any, ...]]:
    """Yield the readings of all documents, each with the objects around it."""
    for document in documents:
        if mapping.readings is None:
            yield (document,)
        else:
            yield from expand(document, mapping.readings.path)


def _numbers_in(found: Mapping[str, Any], *, is_text: bool) -> list[str]:
    """Return the names of the numbers in an object."""
    return [name for name, value in found.items() if _is_number(value, is_text=is_text)]


def _is_number(value: Any, *, is_text: bool) -> bool:
    """Return whether a value, or the first of an array, is a number."""
    value = value[0] if isinstance(value, list) and value else value
    number = read_number(value, is_text=is_text)
    return number is not None and not math.isnan(number)
