"""The warm-up of keys that training did not know; see `stream_detector.core.state.new_keys`.

Pure. What counts are samples in the order of event time, as they are released, so a scale depends
neither on where a stream was cut into batches nor on when late samples came.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import AS_IT_IS, Counting, Features
from stream_detector.core.key_scales import KeyScales, KeyUnits
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.scaling import level_and_spread
from stream_detector.core.state.new_keys import (
    NO_PLACES,
    KeyScale,
    NewKeys,
    WarmUp,
    n_places,
)
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.keyed_state import name_of
from stream_detector.core.windowing.window_batch import WindowBatch

PERIOD_WARM_UPS = 8
"""A period is so many times as long as the samples of a warm-up last."""

N_VALUES_MIN = 20
"""Fewest values of a feature from which its scale is fitted, or all of a shorter warm-up. With
fewer it has the fleet's."""


@dataclass(slots=True)
class Followed:
    """What became of new keys in one batch.

    Parameters
    ----------
    state
        After the batch.
    begun, fitted
        Keys that took a place, and those that have a scale now.
    fitted_at
        By slot, the record that released the last sample of a warm-up, and the time of that sample,
        in whole milliseconds.
    """

    state: NewKeys
    begun: list[bytes] = field(default_factory=list)
    fitted: list[bytes] = field(default_factory=list)
    fitted_at: dict[int, tuple[int, int]] = field(default_factory=dict)


def follow(state: NewKeys, completed: WindowBatch, features: Features) -> Followed:
    """Follow the new keys of a batch.

    Parameters
    ----------
    state
        Before the batch.
    completed
        What became of the batch's samples; values may have further columns behind the features.
    features
        The scales of the keys that training knew, and how long a warm-up is.

    Returns
    -------
    The state is the same one where no key was new or in warm-up.
    """
    followed = Followed(state)
    scales, delta = features.key_scales, completed.state.delta
    if scales is None or not features.warm_up_samples or delta is None:
        return followed
    _take_places(followed, delta.added, scales)
    if not followed.state.warm_ups:
        return followed
    warm_ups = dict(followed.state.warm_ups)
    for slot, session in _sessions_of(completed, list(warm_ups)):
        if slot not in followed.fitted_at:
            warm_up = _continue(warm_ups[slot], completed, session, features)
            warm_ups[slot] = warm_up.after
            if warm_up.full_at is not None:
                followed.fitted_at[slot] = warm_up.full_at
    _fit(followed, warm_ups, completed, features)
    gone = {*completed.expired.idle.tolist(), *followed.fitted_at}
    kept = {slot: each for slot, each in warm_ups.items() if slot not in gone}
    followed.state = replace(followed.state, warm_ups=kept)
    return followed


def units_of(followed: Followed, completed: WindowBatch, scales: KeyScales) -> KeyUnits:
    """Return the units of the windows of a batch.

    Parameters
    ----------
    followed
        What became of the new keys in it.
    completed
        Its windows.
    scales
        Of the keys that training knew.
    """
    slots, rows = np.unique(completed.slots, return_inverse=True)  # (n_keys,), (n_windows,)
    keys = completed.state.keys_of(slots)
    of_keys = scales.rows(keys)  # (n_keys,)
    offset, scale = scales.offset[of_keys], scales.scale[of_keys]  # (n_keys, n_features)
    is_fleet, is_new = of_keys == scales.fleet_row, np.zeros(len(keys), np.bool_)  # (n_keys,)
    is_warm_up = np.zeros(len(completed), np.bool_)  # (n_windows,)
    numbers = _partitions(completed, slots) if is_fleet.any() else slots
    for at in np.flatnonzero(is_fleet).tolist():
        known = followed.state.places_of(int(numbers[at])).scales
        name = name_of(keys[at])
        if name not in known:
            continue
        is_fleet[at], is_new[at] = False, True
        of_key = np.flatnonzero(rows == at)
        found, fitted_at = known[name], followed.fitted_at.get(int(slots[at]))
        if found is None:
            is_warm_up[of_key] = True
            continue
        offset[at], scale[at] = found
        if fitted_at is not None:
            records, end_ms = completed.records[of_key], completed.end_ms[of_key]
            is_warm_up[of_key] = (records < fitted_at[0]) | (
                (records == fitted_at[0]) & (end_ms <= fitted_at[1])
            )
    return KeyUnits(offset, scale, rows, is_fleet, is_new, is_warm_up)


class _Continued(NamedTuple):
    """A warm-up after the samples of one session, and where it became full; see `Followed`."""

    after: WarmUp
    full_at: tuple[int, int] | None


def _take_places(
    followed: Followed, added: Sequence[tuple[int, bytes, int]], scales: KeyScales
) -> None:
    """Give places to the keys that have state from this batch on, and begin their warm-ups."""
    n_features = scales.offset.shape[1]
    places, warm_ups = dict(followed.state.places), dict(followed.state.warm_ups)
    for partition, key, slot in added:
        if key in scales:
            continue
        name, taken = name_of(key), places.get(partition, NO_PLACES)
        if name not in taken.scales:
            if len(taken.scales) >= n_places(n_features):
                continue
            places[partition] = taken = taken.with_scale(name, None, n_features)
            followed.begun.append(key)
        if taken.scales[name] is None:
            warm_ups[slot] = WarmUp(name, None, np.empty((0, n_features), np.float32))
    followed.state = replace(followed.state, places=places, warm_ups=warm_ups)


def _sessions_of(completed: WindowBatch, slots: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the sessions of some slots, those of a slot in the order of time."""
    of_sessions = completed.in_order.sessions.slots  # (n_sessions,), ascending
    firsts, afters = (np.searchsorted(of_sessions, slots, side) for side in ("left", "right"))
    for slot, first, after in zip(slots, firsts.tolist(), afters.tolist(), strict=True):
        for session in range(first, after):
            yield slot, session


def _continue(
    warm_up: WarmUp, completed: WindowBatch, session: int, features: Features
) -> _Continued:
    """Continue a warm-up by the samples of one session that were released."""
    in_order, aligned = completed.in_order, completed.aligned
    if np.isfinite(in_order.sessions.expired_ms[session]):
        warm_up = warm_up._replace(period=None, values=warm_up.values[:0])
    first, after = np.searchsorted(aligned.session_of, [session, session + 1]).tolist()
    times_ms = aligned.times_ms[first:after]  # (n,)
    values = in_order.values[aligned.rows[first:after], : len(features)]  # (n, n_features)
    n_samples = features.warm_up_samples
    period_ms = PERIOD_WARM_UPS * n_samples * completed.rules.sample_interval_ms
    periods = np.floor(times_ms / period_ms)  # (n,)
    for part in np.split(np.arange(after - first), np.flatnonzero(np.diff(periods)) + 1):
        if not len(part):
            break
        period = int(periods[part[0]])
        if period != warm_up.period:
            warm_up = warm_up._replace(period=period, values=warm_up.values[:0])
        taken = part[: n_samples - len(warm_up.values)]
        joined = np.concatenate([warm_up.values, values[taken]])
        warm_up = warm_up._replace(values=joined)
        if len(joined) == n_samples:
            last = first + int(taken[-1])
            end_ms = int(np.floor(aligned.times_ms[last] + 0.5))
            return _Continued(warm_up, (int(aligned.records[last]), end_ms))
    return _Continued(warm_up, None)


def _fit(
    followed: Followed,
    warm_ups: Mapping[int, WarmUp],
    completed: WindowBatch,
    features: Features,
) -> None:
    """Fit the scales of the keys whose warm-ups are full."""
    slots, scales = np.array(list(followed.fitted_at), np.intp), features.key_scales
    if scales is None or not len(slots):
        return
    places = dict(followed.state.places)
    numbers, keys = _partitions(completed, slots), completed.state.keys_of(slots)
    for slot, partition, key in zip(slots.tolist(), numbers.tolist(), keys, strict=True):
        warm_up = warm_ups[slot]
        scale = fit_scale(warm_up.values, scales, features.countings)
        places[partition] = places[partition].with_scale(warm_up.name, scale, len(features))
        followed.fitted.append(key)
    followed.state = replace(followed.state, places=places)


def fit_scale(
    values: FloatArray, scales: KeyScales, countings: Sequence[Counting] = ()
) -> KeyScale:
    """Return the scale of a key from its first samples.

    Parameters
    ----------
    values
        Shape (n_samples, n_features), unit: the signal's; NaN is missing.
    scales
        Of the keys that training knew: a feature that has fewer than `N_VALUES_MIN` values has the
        scale of the fleet, and one that did not move the fleet's deviation.
    countings
        See `Features`.

    Examples
    --------
    >>> fleet = KeyScales([b"a"], np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    >>> first = np.column_stack([np.arange(21), np.full(21, 7)]).astype(np.float32)
    >>> [each.tolist() for each in fit_scale(first, fleet)]
    [[10.0, 7.0], [0.13489815592765808, 1.0]]
    """
    offset, scale = scales.offset[scales.fleet_row].copy(), scales.scale[scales.fleet_row].copy()
    for feature, column in enumerate(values.T):
        present = column[~np.isnan(column)].astype(np.float64)
        if len(present) >= min(N_VALUES_MIN, len(values)):
            counting = countings[feature] if countings else AS_IT_IS
            offset[feature], spread = level_and_spread(present, counting)
            if spread:
                scale[feature] = 1.0 / spread
    return KeyScale(offset, scale)


def _partitions(completed: WindowBatch, slots: Indices) -> NDArray[np.int64]:
    """Return the partition of each slot, shape (n,), new keys of the batch included."""
    numbers = completed.state.keyed_state.partitions[slots].astype(np.int64)  # (n,)
    delta = completed.state.delta
    added = {} if delta is None else {slot: partition for partition, _, slot in delta.added}
    found = [added.get(slot, number) for slot, number in zip(slots, numbers, strict=True)]
    return np.array(found, dtype=np.int64)
