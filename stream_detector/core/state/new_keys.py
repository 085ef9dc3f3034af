"""Keys that training did not know, where each key has a scale: what is known of them.

Pure. Such a key is in *warm-up* until it has had `Features.warm_up_samples` samples; median and
robust deviation of these are its scale then, which never changes again
(`stream_detector.core.state.warm_up`)::

    samples        1 2 3 ... 599 600 | 601 602 ...
    windows        warm-up, no score | scored in the scale of samples 1 to 600

A frozen scale follows from a past that is not bounded, so no replay could restore it: it is
committed with the offset. That text is bounded, and so is the number of keys in a partition that
get a scale. Each takes a *place* with its first record and keeps it, whatever becomes of the key;
once all places are taken, further keys have the fleet's scale. So who has a place depends on the
order of the records alone, and a full table stays full.

A warm-up is restored by replaying it. It has to be over within a period of event time that begins
at a fixed time, or it begins anew, so no replay reaches back beyond a period.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.errors import StateError

SCALES_CHARACTERS_MAX = 3_400
"""Longest text of the scales of one partition: with all else that is committed beside an offset it
stays below the 4,096 bytes that a broker takes."""


class KeyScale(NamedTuple):
    """Offset and scale of a key, float32, shape (n_features,) each; see `KeyScales`."""

    offset: FloatArray
    scale: FloatArray


class WarmUp(NamedTuple):
    """What a key in warm-up has sent in its present period.

    Parameters
    ----------
    name
        Stands for the key; see `keyed_state.name_of`.
    period
        Number of the period; None before the first sample.
    values
        Its samples so far, shape (n, n_features).
    """

    name: int
    period: int | None
    values: FloatArray


class Places(NamedTuple):
    """The new keys of one partition that have a place.

    Parameters
    ----------
    scales
        Scale of each by its name; None until it has one.
    text
        The same, to be committed.
    """

    scales: Mapping[int, KeyScale | None]
    text: str

    def with_scale(self, name: int, scale: KeyScale | None, n_features: int) -> "Places":
        """Return the places with one more, or with the scale of one."""
        scales = {**self.scales, name: scale}
        return Places(scales, _encode(scales, n_features))

    @classmethod
    def decode(cls, text: str, n_features: int) -> "Places":
        """Read what was committed.

        Raises
        ------
        StateError
            If it is something else.
        """
        kind = _entry_of(n_features)
        try:
            found = np.frombuffer(base64.b64decode(text, validate=True), kind)
        except ValueError:
            message = (
                f"the offset's metadata has scales of keys: expected entries of {kind.itemsize} "
                f"bytes in base64, received {text[:40]!r}: reset the group's offsets, or use "
                "another group, to start without keyed state"
            )
            raise StateError(message) from None
        scales = {
            int(entry["name"]): None
            if np.isnan(entry["scale"]).any()
            else KeyScale(*entry["scale"].copy())
            for entry in found
        }
        return cls(scales, text)


NO_PLACES = Places({}, "")


class ScaleHold(NamedTuple):
    """From which restore point a key's scale can be restored, and since which period that holds."""

    period: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The state of keys that training did not know.

    Parameters
    ----------
    places
        Of each partition that has any.
    warm_ups
        Of keys with state that have a place and no scale, by slot.
    holds
        Of each partition, by name, of keys whose scale is not known at the oldest restore point.
    """

    places: Mapping[int, Places] = field(default_factory=dict)
    warm_ups: Mapping[int, WarmUp] = field(default_factory=dict)
    holds: Mapping[int, Mapping[int, ScaleHold]] = field(default_factory=dict)

    def places_of(self, partition: int) -> Places:
        """Return the places of a partition."""
        return self.places.get(partition, NO_PLACES)

    def facts_of(self, partition: int, numbers: NDArray[np.int32]) -> tuple[object, ...]:
        """Return what a digest is made of; empty where a partition has no new keys.

        Parameters
        ----------
        partition
            Which one.
        numbers
            Partition of each slot, shape (n_slots,).
        """
        text = self.places_of(partition).text
        if not text:
            return ()
        warm_ups = sorted(
            (each.name, each.period or 0, hashlib.blake2b(each.values.tobytes()).hexdigest())
            for slot, each in self.warm_ups.items()
            if numbers[slot] == partition
        )
        return text, warm_ups

    def drop_partitions(self, partitions: Sequence[int], numbers: NDArray[np.int32]) -> "NewKeys":
        """Return the state without that of some partitions; see `facts_of`."""
        return NewKeys(
            {each: of for each, of in self.places.items() if each not in partitions},
            {slot: of for slot, of in self.warm_ups.items() if numbers[slot] not in partitions},
            {each: of for each, of in self.holds.items() if each not in partitions},
        )


def n_places(n_features: int) -> int:
    """Return how many keys of a partition can get a scale.

    Examples
    --------
    >>> n_places(1), n_places(3), n_places(38)
    (159, 79, 8)
    """
    return SCALES_CHARACTERS_MAX // 4 * 3 // _entry_of(n_features).itemsize


def hold_scales(
    state: NewKeys, partition: int, numbers: NDArray[np.int32], oldest: Places, offset: int
) -> NewKeys:
    """Return the state with a hold for each new key of a partition that needs one.

    Parameters
    ----------
    state
        After a batch.
    partition
        Which one.
    numbers
        Partition of each slot, shape (n_slots,).
    oldest
        The places at the oldest restore point; what has a scale there needs no hold.
    offset
        Restore point from which a key can be restored that needs a hold from now on.
    """
    places, before = state.places_of(partition), state.holds.get(partition, {})
    if not places.scales:
        return state
    holds = {
        name: before.get(name, ScaleHold(None, offset))
        for name, scale in places.scales.items()
        if scale is not None and oldest.scales.get(name) is None
    }
    for slot, warm_up in state.warm_ups.items():
        if numbers[slot] == partition:
            name, known = warm_up.name, before.get(warm_up.name)
            is_same = known is not None and known.period == warm_up.period
            holds[name] = known if known and is_same else ScaleHold(warm_up.period, offset)
    return replace(state, holds={**state.holds, partition: holds})


def _entry_of(n_features: int) -> np.dtype[np.void]:
    """Return how one scale is written."""
    return np.dtype([("name", "<u8"), ("scale", "<f4", (2, n_features))])


def _encode(scales: Mapping[int, KeyScale | None], n_features: int) -> str:
    """Return scales as text; see `Places`."""
    entries = np.zeros(len(scales), _entry_of(n_features))
    entries["name"] = list(scales)
    for row, scale in enumerate(scales.values()):
        entries["scale"][row] = np.nan if scale is None else np.stack(scale)
    return base64.b64encode(entries.tobytes()).decode()
