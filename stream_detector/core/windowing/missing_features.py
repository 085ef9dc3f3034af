"""Features that had no value in any sample of their key for `no_data_after_ms`.

Pure. Event time is that of the key's own samples, in their order. A feature is *missing* while the
key's newest sample is more than `no_data_after_ms`, and at most `key_ttl_ms`, after the last one
that had a value; before the first value, after the key's first sample. After `key_ttl_ms` it is
given up until it has a value again, as a key expires that sends nothing. One key with one feature,
a sample every 10 ms, `no_data_after_ms` 20, `key_ttl_ms` 40::

    sample at   0   10   20   30   40   50   60   70
    value       1   -    -    -    -    -    -    2
    missing                   x    x                    from 0 + 20 to 0 + 40, then given up

All of it follows from the samples within `key_ttl_ms`, so it can be restored by replaying them.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import Indices, group_ends, is_group_start
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.reordering import InOrder
from stream_detector.core.windowing.rules import WindowRules

GIVEN_UP = -np.inf
"""Time of the last value of a feature that had none for `key_ttl_ms`."""

Change = Literal["begins", "value", "given_up", "expired", "clock_set"]
"""A feature begins to be missing; or that ends with a value, because it is given up, because its
key expires, or because the clock of its key was set."""

FloatColumns = NDArray[np.float64]
"""Shape (n, n_features), milliseconds."""


@dataclass(frozen=True, slots=True)
class MissingFeatures:
    """What began to be missing and what ended in a batch, each of shape (n_changes,).

    Parameters
    ----------
    slots, features
        Slot of the key, and which feature.
    since_ms
        Time of the last value.
    records
        The record with which it began or ended.
    at_ms
        Time of the sample that ended it, when it was given up, when the key expired, or the key's
        newest time when its clock was set; of a beginning the time at which it is missing.
    what
        Which of `Change`.
    """

    slots: Indices
    features: Indices
    since_ms: NDArray[np.float64]
    records: Indices
    at_ms: NDArray[np.float64]
    what: NDArray[np.str_]


class FeatureTimes(NamedTuple):
    """Time of the last value of each feature after a batch, and what changed in it.

    Parameters
    ----------
    slots, value_ms
        Slots of the batch's sessions, shape (n_sessions,), and the times, shape (n_sessions,
        n_features); of a slot that is in here twice, the last entry counts.
    changes
        What began to be missing, and what ended.
    """

    slots: Indices
    value_ms: FloatColumns
    changes: MissingFeatures


class _Limits(NamedTuple):
    """From when to when a feature counts as missing."""

    begin_ms: float
    end_ms: float

    def includes(self, newest_ms: NDArray[np.float64], value_ms: FloatColumns) -> NDArray[np.bool_]:
        """Return which features are missing; newest_ms has shape (n,) or (n, 1)."""
        age_ms = newest_ms.reshape(-1, 1) - value_ms  # (n, n_features)
        is_missing: NDArray[np.bool_] = (age_ms > self.begin_ms) & (age_ms <= self.end_ms)
        return is_missing


def follow_features(keyed_state: KeyedState, in_order: InOrder, rules: WindowRules) -> FeatureTimes:
    """Return when each feature last had a value after a batch, and which began to be missing.

    Parameters
    ----------
    keyed_state
        State of each key before the batch; not changed.
    in_order
        The samples that the batch released, and the keys that expired.
    rules
        `no_data_after_ms`, which is given, and `key_ttl_ms`.
    """
    assert rules.no_data_after_ms is not None  # noqa: S101  (narrows the type)
    limits = _Limits(rules.no_data_after_ms, rules.key_ttl_ms)
    sessions, session_of, times = in_order.sessions, in_order.session_of, in_order.times_ms
    firsts = np.flatnonzero(is_group_start(session_of))  # (n_active,), each session's first sample
    active = session_of[firsts]  # (n_active,), sessions
    value_ms = keyed_state.feature_ms[sessions.slots]  # (n_sessions, n_features), a copy
    newest_ms = sessions.columns.last_ms.copy()  # (n_sessions,)
    is_new = np.isnan(newest_ms)  # (n_sessions,)
    value_ms[is_new] = np.nan
    started = np.flatnonzero(is_new[active])  # (n_started,)
    value_ms[active[started]] = times[firsts[started], np.newaxis]
    before = value_ms.copy()  # (n_sessions, n_features)
    was_missing = limits.includes(newest_ms, value_ms)  # (n_sessions, n_features)
    changes: list[MissingFeatures] = []
    if len(firsts):
        has_value = ~np.isnan(in_order.values[in_order.rows])  # (n_samples, n_features)
        lasts = group_ends(is_group_start(session_of))  # (n_active,)
        newest_ms[active] = times[lasts]
        if has_value.all() and not was_missing.any():
            value_ms[active] = times[lasts, np.newaxis]
        else:
            at_samples = _last_values(has_value, times, firsts, before[active])
            value_ms[active] = at_samples[lasts]
            changes.append(_changes(in_order, at_samples, before, was_missing, limits))
    changes.append(_of_expired(keyed_state, in_order, value_ms, newest_ms, limits))
    changes.append(_of_set_clocks(in_order, value_ms, newest_ms, limits))
    value_ms[newest_ms[:, np.newaxis] - value_ms > limits.end_ms] = GIVEN_UP
    return FeatureTimes(sessions.slots, value_ms, _joined(changes))


def _last_values(
    has_value: NDArray[np.bool_],
    times: NDArray[np.float64],
    firsts: Indices,
    before: FloatColumns,
) -> FloatColumns:
    """Return the time of the last value of each feature at each sample, itself included.

    Parameters
    ----------
    has_value
        Shape (n_samples, n_features).
    times
        Time of each sample, shape (n_samples,); ascending within a session.
    firsts
        First sample of each session, shape (n_active,).
    before
        Time of the last value before the batch, shape (n_active, n_features).
    """
    n_samples = len(times)
    rows = np.arange(n_samples)[:, np.newaxis]  # (n_samples, 1)
    latest = np.maximum.accumulate(np.where(has_value, rows, -1), axis=0)  # (n_samples, n_features)
    counts = np.diff(np.append(firsts, n_samples))  # (n_active,)
    of_session = np.repeat(np.arange(len(firsts)), counts)  # (n_samples,)
    is_here = latest >= firsts[of_session, np.newaxis]  # (n_samples, n_features)
    return np.where(is_here, times[latest], before[of_session])  # (n_samples, n_features)


def _changes(
    in_order: InOrder,
    at_samples: FloatColumns,
    before: FloatColumns,
    was_missing: NDArray[np.bool_],
    limits: _Limits,
) -> MissingFeatures:
    """Return what begins and what ends at the samples of a batch.

    Parameters
    ----------
    at_samples
        Time of the last value at each sample, shape (n_samples, n_features).
    before, was_missing
        Of each session before the batch, shape (n_sessions, n_features).
    """
    session_of, times = in_order.session_of, in_order.times_ms
    is_missing = limits.includes(times, at_samples)  # (n_samples, n_features)
    previous = np.roll(at_samples, 1, axis=0)  # (n_samples, n_features)
    was = np.roll(is_missing, 1, axis=0)  # (n_samples, n_features)
    firsts = np.flatnonzero(is_group_start(session_of))  # (n_active,)
    previous[firsts], was[firsts] = before[session_of[firsts]], was_missing[session_of[firsts]]
    has_value = at_samples != previous  # (n_samples, n_features)
    ended = np.argwhere(was & (~is_missing | has_value))  # (n_ended, 2)
    begun = np.argwhere(is_missing & (~was | has_value))  # (n_begun, 2)
    samples, features = np.concatenate([ended, begun]).T  # (n_changes,)
    is_end = np.arange(len(samples)) < len(ended)  # (n_changes,)
    is_value = is_end & has_value[samples, features]  # (n_changes,)
    since = np.where(is_end, previous[samples, features], at_samples[samples, features])
    given_up = since + np.where(is_end, limits.end_ms, limits.begin_ms)  # (n_changes,)
    ends = np.where(is_value, "value", "given_up")  # (n_changes,)
    return MissingFeatures(
        slots=in_order.sessions.slots[session_of[samples]],
        features=features,
        since_ms=since,
        records=in_order.records[samples],
        at_ms=np.where(is_value, times[samples], given_up),
        what=np.where(is_end, ends, "begins"),
    )


def _of_expired(
    keyed_state: KeyedState,
    in_order: InOrder,
    value_ms: FloatColumns,
    newest_ms: NDArray[np.float64],
    limits: _Limits,
) -> MissingFeatures:
    """Return what ends because its key expired.

    Parameters
    ----------
    value_ms, newest_ms
        Of each session after the batch, shape (n_sessions, n_features) and (n_sessions,).
    """
    sessions, expired = in_order.sessions, in_order.expired
    values = keyed_state.feature_ms[expired.slots]  # (n_expired, n_features)
    newest = keyed_state.columns.last_ms[expired.slots].copy()  # (n_expired,)
    # The session that expired is the one before the session that started over, or the last one.
    started_over = np.flatnonzero(np.isfinite(sessions.expired_ms))  # (n_started_over,)
    is_last = np.flatnonzero(sessions.is_last)  # (n_keys_of_batch,)
    at = np.searchsorted(sessions.slots[is_last], expired.idle)  # (n_idle,)
    at = is_last[np.minimum(at, len(is_last) - 1)]  # (n_idle,)
    session = np.concatenate([started_over - 1, at])  # (n_expired,)
    is_here = (session >= 0) & (sessions.slots[session] == expired.slots)  # (n_expired,)
    values[is_here], newest[is_here] = value_ms[session[is_here]], newest_ms[session[is_here]]
    rows, features = np.nonzero(limits.includes(newest, values))  # (n_changes,)
    return MissingFeatures(
        slots=expired.slots[rows],
        features=features,
        since_ms=values[rows, features],
        records=expired.records[rows],
        at_ms=expired.at_ms[rows],
        what=np.full(len(rows), "expired"),
    )


def _of_set_clocks(
    in_order: InOrder, value_ms: FloatColumns, newest_ms: NDArray[np.float64], limits: _Limits
) -> MissingFeatures:
    """Return what ends because the clock of its key was set, which begins one more session.

    Parameters
    ----------
    value_ms, newest_ms
        Of each session after the batch, shape (n_sessions, n_features) and (n_sessions,).
    """
    sessions, sets = in_order.sessions, in_order.followed.clock_sets
    is_set = ~sessions.is_first & np.isnan(sessions.expired_ms)  # (n_sessions,)
    ended = np.flatnonzero(is_set) - 1  # (n_sets,), sessions, by slot and then by time
    records = np.array([each.record for each in sorted(sets, key=lambda each: each.slot)], np.intp)
    rows, features = np.nonzero(limits.includes(newest_ms[ended], value_ms[ended]))  # (n_changes,)
    return MissingFeatures(
        slots=sessions.slots[ended[rows]],
        features=features,
        since_ms=value_ms[ended[rows], features],
        records=records[rows],
        at_ms=newest_ms[ended[rows]],
        what=np.full(len(rows), "clock_set"),
    )


def _joined(parts: list[MissingFeatures]) -> MissingFeatures:
    """Return all changes of a batch."""
    columns = ([getattr(part, name) for part in parts] for name in MissingFeatures.__slots__)
    return MissingFeatures(*(np.concatenate(each) for each in columns))


def needed_since_ms(keyed_state: KeyedState, partition: int, key_ttl_ms: float) -> float:
    """Return from which stream time on a replay gives the last values of all features.

    Parameters
    ----------
    keyed_state
        Whose features are followed.
    partition
        Of the keys.
    key_ttl_ms
        How long before a key's newest sample the last value of a feature counts.

    Returns
    -------
    The stream time of the earliest last value that counts, inf where no key has any sample.
    """
    slots = np.flatnonzero(keyed_state.partitions == partition)  # (n_keys,)
    newest_ms = keyed_state.columns.last_ms[slots]  # (n_keys,), NaN for no sample
    oldest_ms = np.min(keyed_state.feature_ms[slots], axis=1, initial=np.inf)  # (n_keys,)
    age_ms = np.minimum(newest_ms - oldest_ms, key_ttl_ms)  # (n_keys,)
    stream_ms = np.minimum(newest_ms, keyed_state.columns.seen_ms[slots]) - age_ms  # (n_keys,)
    return float(np.min(stream_ms[~np.isnan(stream_ms)], initial=np.inf))


def n_missing(keyed_state: KeyedState, after_ms: float, key_ttl_ms: float) -> Indices:
    """Return how many features are missing now, of the key in each slot, shape (n_slots,).

    What a free slot has means nothing.
    """
    limits = _Limits(after_ms, key_ttl_ms)
    is_missing = limits.includes(keyed_state.columns.last_ms, keyed_state.feature_ms)
    n_missing_of: Indices = is_missing.sum(axis=1)
    return n_missing_of
