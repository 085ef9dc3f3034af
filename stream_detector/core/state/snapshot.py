"""The state of a detector as bytes, and back: for engines that keep state themselves.

Pure. A snapshot holds what a detector knows of some partitions, open alerts included; whoever loads
it continues bit for bit. It has three parts::

    head      magic, version, check of the facts, bytes of the facts
    facts     JSON: what wrote it, for which windows, alerts, restore points, check of the arrays
    arrays    of keys and of samples that wait: little-endian, one after the other

Snapshots of other partitions go together into one state, and any partitions of a state into a
snapshot of their own, so that the number of buckets of an engine can change::

    bucket 1: partitions 0, 1                       bucket 1: partition 0
    bucket 2: partition 2       load, then dump     bucket 2: partition 1
                                                    bucket 3: partition 2

Memory that serves one batch alone is left out, and so are the slots of keys that expired.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from math import prod
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

import numpy as np
import orjson

from stream_detector.core.alerting.incidents import Begun
from stream_detector.core.alerting.lifecycle import SeriesAlerts
from stream_detector.core.state.detector_state import DetectorState, IncidentState
from stream_detector.core.state.key_arrays import (
    SIZED_BY,
    Array,
    Arrays,
    Shape,
    Sizes,
    add_keys,
    are_sound,
    arrays_of,
    check_of,
    layout_of,
)
from stream_detector.core.state.new_keys import NO_PLACES, NewKeys, Places, ScaleHold, WarmUp
from stream_detector.core.state.plain_values import fields_of, from_plain, to_plain
from stream_detector.core.state.sample_state import (
    Needed,
    RestoreHold,
    RestorePoint,
    SampleState,
)
from stream_detector.core.windowing.keyed_state import FREE, Jump
from stream_detector.errors import StateError

SNAPSHOT_VERSION = 2

MADE_BY_CHARACTERS_MAX = 1_024
"""Longest name of what wrote a snapshot."""

_MAGIC = b"SDSTATE\0"
_HEAD = struct.Struct("<8sIIQ")

_Value = TypeVar("_Value")
_NO_ROWS = Sizes()


class _Point(NamedTuple):
    """A restore point, with the scales of new keys as text."""

    offset: int
    stream_time_ms: float
    jump: Jump | None
    scales: str


class _FirstSamples(NamedTuple):
    """A warm-up, with how many samples it has in place of these."""

    slot: int
    name: int
    period: int | None
    n_samples: int


class _Origin(NamedTuple):
    """What a snapshot is of; only a state of the same can take it."""

    kind: Literal["samples", "whole windows"]
    made_by: str
    shape: Shape
    needed: Needed | None


@dataclass(frozen=True, slots=True)
class _Facts:
    """All of a state that is no array; slots are rows of the arrays of keys."""

    origin: _Origin
    partitions: tuple[int, ...]
    sizes: Sizes = _NO_ROWS
    check: int = 0
    stream_times_ms: tuple[tuple[int, float], ...] = ()
    jumps: tuple[tuple[int, Jump], ...] = ()
    alerts: tuple[tuple[int, SeriesAlerts], ...] = ()
    gaps: tuple[tuple[int, tuple[int, ...]], ...] = ()
    holds: tuple[tuple[int, RestoreHold], ...] = ()
    restore_points: tuple[tuple[int, tuple[_Point, ...]], ...] = ()
    refused_at: tuple[tuple[int, int], ...] = ()
    places: tuple[tuple[int, str], ...] = ()
    warm_ups: tuple[_FirstSamples, ...] = ()
    scale_holds: tuple[tuple[int, tuple[tuple[int, ScaleHold], ...]], ...] = ()
    incidents: tuple[tuple[int, tuple[int, ...]], ...] = ()


def dump(state: DetectorState, made_by: str, partitions: Sequence[int] | None = None) -> bytes:
    """Return a state as bytes.

    Parameters
    ----------
    state
        No earlier state may be stepped from after this call.
    made_by
        Names what steps: the bundle's version, and the digest of its rules of alerts where they
        are not its own. At most `MADE_BY_CHARACTERS_MAX` characters.
    partitions
        Of which partitions; None takes all.

    Examples
    --------
    >>> state = IncidentState({0: (5,), 1: (7, 9)})
    >>> buckets = [dump(state, "v1", [partition]) for partition in (0, 1)]
    >>> load(buckets, IncidentState(), "v1") == state
    True
    """
    known = _partitions_of(state)
    chosen = known if partitions is None else tuple(sorted(set(partitions)))
    facts = _Facts(_origin_of(state, made_by), chosen)
    arrays: Arrays = {}
    if isinstance(state, SampleState):
        facts, arrays = _of_samples(state, facts, is_all=chosen == known)
    else:
        facts = replace(facts, incidents=_some(_incidents_of(state), chosen))
    facts = replace(facts, check=check_of(arrays.values()))
    text = orjson.dumps({"fields": _FIELDS, "facts": to_plain(facts)})
    head = _HEAD.pack(_MAGIC, SNAPSHOT_VERSION, zlib.crc32(text), len(text))
    return b"".join([head, text, *(each.data for each in arrays.values())])


def load(
    snapshots: Sequence[bytes | bytearray], state: DetectorState, made_by: str
) -> DetectorState:
    """Return a state with what some snapshots hold.

    Parameters
    ----------
    snapshots
        Of partitions of which neither `state` nor another snapshot knows anything.
    state
        Of the same detector: its `initial_state()`, as a rule. It may not be used afterwards.
    made_by
        As in `dump`.

    Raises
    ------
    StateError
        If a snapshot is none, is damaged, or belongs to another detector or program version, or if
        two are of one partition. The state is as it was then.
    """
    origin = _origin_of(state, made_by)
    found = [_read(each, origin) for each in snapshots]
    known = {*_partitions_of(state)}
    for facts, _ in found:
        twice = known.intersection(facts.partitions)
        if twice:
            _refuse("partitions of which nothing is known yet", f"partition {min(twice)}")
        known.update(facts.partitions)
    for facts, arrays in found:
        if isinstance(state, SampleState):
            state = _with_samples(state, facts, arrays)
        else:
            state = IncidentState({**_incidents_of(state), **dict(facts.incidents)})
    return state


def _origin_of(state: DetectorState, made_by: str) -> _Origin:
    """Return what a state is of."""
    if len(made_by) > MADE_BY_CHARACTERS_MAX:
        message = f"made_by: expected at most {MADE_BY_CHARACTERS_MAX} characters"
        raise ValueError(message)
    if not isinstance(state, SampleState):
        _incidents_of(state)
        return _Origin("whole windows", made_by, Shape(), None)
    keyed_state = state.windows.keyed_state
    _, n_steps, n_features = keyed_state.rows.shape
    shape = Shape(n_steps, n_features, keyed_state.feature_ms.shape[1])
    return _Origin("samples", made_by, shape, state.needed)


def _incidents_of(state: DetectorState) -> Begun:
    """Return the incidents of a state; TypeError for one of no detector of ours."""
    if isinstance(state, SampleState | IncidentState):
        return state.incidents
    message = f"expected a state of a detector, received {type(state).__name__}"
    raise TypeError(message)


def _partitions_of(state: DetectorState) -> tuple[int, ...]:
    """Return the partitions of which a state knows anything, ascending."""
    known = {*_incidents_of(state)}
    if isinstance(state, SampleState):
        keyed_state = state.windows.apply_delta()
        for each in (state.restore_points, state.refused_at, state.new_keys.places):
            known.update(each)
        known.update(keyed_state.stream_times_ms)
        known.update(np.unique(keyed_state.partitions).tolist())
    return tuple(sorted(known - {FREE}))


def _some(
    values: Mapping[int, _Value], partitions: Sequence[int]
) -> tuple[tuple[int, _Value], ...]:
    """Return what is known of some partitions."""
    return tuple((each, values[each]) for each in partitions if each in values)


def _of_samples(state: SampleState, facts: _Facts, *, is_all: bool) -> tuple[_Facts, Arrays]:
    """Return what a state of samples holds of the partitions of a snapshot.

    Parameters
    ----------
    is_all
        Whether these are all that the state knows, which needs no search for them.
    """
    keyed_state, chosen = state.windows.apply_delta(), facts.partitions
    of_slots = keyed_state.partitions  # (n_room,)
    is_chosen = of_slots != FREE if is_all else np.isin(of_slots, chosen)  # (n_room,)
    slots = np.flatnonzero(is_chosen)  # (n_keys,)
    rows = np.full(len(of_slots), -1)  # (n_room,)
    rows[slots] = np.arange(len(slots))

    def of_keys(values: Mapping[int, _Value]) -> tuple[tuple[int, _Value], ...]:
        return tuple((int(rows[slot]), values[slot]) for slot in sorted(values) if rows[slot] >= 0)

    new_keys = state.new_keys
    warm_ups = of_keys(new_keys.warm_ups)
    arrays = arrays_of(keyed_state, slots, rows)
    nothing = np.empty((0, facts.origin.shape.n_features), np.float32)
    arrays["first_samples"] = np.concatenate([nothing, *(each.values for _, each in warm_ups)])
    sizes = Sizes(*(len(arrays[name]) for name in SIZED_BY))
    return replace(
        facts,
        sizes=sizes,
        stream_times_ms=_some(keyed_state.stream_times_ms, chosen),
        jumps=_some(keyed_state.jumps, chosen),
        alerts=of_keys(state.alerts),
        gaps=of_keys(state.gaps),
        holds=of_keys(state.holds),
        restore_points=tuple(
            (each, tuple(_Point(*point[:3], point.places.text) for point in points))
            for each, points in _some(state.restore_points, chosen)
        ),
        refused_at=_some(state.refused_at, chosen),
        places=tuple((each, of.text) for each, of in _some(new_keys.places, chosen)),
        warm_ups=tuple(
            _FirstSamples(slot, each.name, each.period, len(each.values)) for slot, each in warm_ups
        ),
        scale_holds=tuple((each, tuple(of.items())) for each, of in _some(new_keys.holds, chosen)),
        incidents=_some(state.incidents, chosen),
    ), arrays


_FIELDS = hashlib.blake2b(
    f"{fields_of(_Facts)} {layout_of(Shape(), Sizes())}".encode(), digest_size=8
).hexdigest()
"""Changes with everything that a snapshot holds."""


def _read(data: bytes | bytearray, origin: _Origin) -> tuple[_Facts, Arrays]:
    """Return what a snapshot holds; StateError where it is no sound one of this origin."""
    if len(data) < _HEAD.size:
        _refuse(f"at least {_HEAD.size} bytes", f"{len(data)} bytes")
    magic, version, check, n_facts = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        _refuse(f"bytes that begin with {_MAGIC!r}", repr(magic))
    if version != SNAPSHOT_VERSION:
        _refuse(f"version {SNAPSHOT_VERSION}", f"version {version}")
    text = memoryview(data)[_HEAD.size : _HEAD.size + n_facts]
    if len(text) != n_facts or zlib.crc32(text) != check:
        _refuse(f"facts with the check {check:08x}", "others: it is damaged")
    try:
        facts = _facts_of(orjson.loads(text), origin)
        arrays = _read_arrays(np.frombuffer(data, np.uint8, offset=_HEAD.size + n_facts), facts)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _refuse("what dump writes", f"something else ({error})")
    return facts, arrays


def _facts_of(document: Any, origin: _Origin) -> _Facts:
    """Return the facts of a snapshot of this origin."""
    if document["fields"] != _FIELDS:
        _refuse(f"fields {_FIELDS}", f"{document['fields']!r:.40}")
    facts = from_plain(_Facts, document["facts"])
    for name, expected, received in zip(_Origin._fields, origin, facts.origin, strict=True):
        if expected != received:
            _refuse(f"{name} {expected!r}", f"{name} {received!r:.300}")
    return facts


def _read_arrays(data: Array, facts: _Facts) -> Arrays:
    """Return the arrays of a snapshot, whose bytes are given; they cannot be written to."""
    shape, sizes = facts.origin.shape, facts.sizes
    layout = layout_of(shape, sizes) if facts.origin.kind == "samples" else {}
    n_bytes = [np.dtype(kind).itemsize * prod(lengths) for kind, lengths in layout.values()]
    if min(sizes) < 0 or sum(n_bytes) != len(data):
        _refuse(f"{sum(n_bytes)} bytes of arrays", f"{len(data)} bytes")
    parts = [data[start:end] for start, end in pairwise(accumulate(n_bytes, initial=0))]
    if check_of(parts) != facts.check:
        _refuse(f"arrays with the check {facts.check:08x}", "others: it is damaged")
    arrays = {
        name: part.view(kind).reshape(lengths)
        for (name, (kind, lengths)), part in zip(layout.items(), parts, strict=True)
    }
    of_keys: Iterable[tuple[Any, ...]] = chain(
        facts.alerts, facts.gaps, facts.holds, facts.warm_ups
    )
    is_sound = all(0 <= slot < sizes.n_keys for slot, *_ in of_keys)
    if arrays:
        is_sound &= are_sound(arrays, shape, sizes)
        is_sound &= {*arrays["partitions"].tolist()} <= {*facts.partitions}
        is_sound &= sum(each.n_samples for each in facts.warm_ups) == sizes.n_first_samples
    if not is_sound:
        _refuse("numbers of keys, cells and partitions that there are", "others")
    return arrays


def _with_samples(state: SampleState, facts: _Facts, arrays: Arrays) -> SampleState:
    """Return a state with what a snapshot holds, in slots behind its own."""
    keyed_state = state.windows.apply_delta()
    first = keyed_state.n_slots
    add_keys(keyed_state, arrays, dict(facts.stream_times_ms), dict(facts.jumps))
    n_features = facts.origin.shape.n_features

    def of_slots(pairs: Iterable[tuple[int, _Value]]) -> dict[int, _Value]:
        return {first + slot: value for slot, value in pairs}

    def places_of(text: str) -> Places:
        return Places.decode(text, n_features) if text else NO_PLACES

    restore_points = {
        each: tuple(RestorePoint(*point[:3], places_of(point.scales)) for point in points)
        for each, points in facts.restore_points
    }
    new_keys, samples = state.new_keys, arrays["first_samples"].copy()
    ends = accumulate((each.n_samples for each in facts.warm_ups), initial=0)
    warm_ups = {
        first + each.slot: WarmUp(each.name, each.period, samples[start:end])
        for each, (start, end) in zip(facts.warm_ups, pairwise(ends), strict=True)
    }
    return replace(
        state,
        alerts={**state.alerts, **of_slots(facts.alerts)},
        gaps={**state.gaps, **of_slots(facts.gaps)},
        holds={**state.holds, **of_slots(facts.holds)},
        restore_points={**state.restore_points, **restore_points},
        refused_at={**state.refused_at, **dict(facts.refused_at)},
        new_keys=NewKeys(
            {**new_keys.places, **{each: places_of(text) for each, text in facts.places}},
            {**new_keys.warm_ups, **warm_ups},
            {**new_keys.holds, **{each: dict(holds) for each, holds in facts.scale_holds}},
        ),
        incidents={**state.incidents, **dict(facts.incidents)},
    )


def _refuse(expected: str, received: str) -> NoReturn:
    """Raise the error of a snapshot that cannot be used."""
    message = (
        f"snapshot of a detector's state: expected {expected}, received {received}: use a snapshot "
        "that the same program wrote with the same bundle, or start without one and read the "
        "records again from the last commit's restore offset"
    )
    raise StateError(message)
