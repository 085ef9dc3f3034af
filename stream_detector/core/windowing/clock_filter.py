"""The samples of a batch that are of their key's time: the rules of `clocks` for all keys at once.

Pure. Where no sample of a key is out of reach, and nothing was before, all are used, which is
found out for all keys together. The samples of the other keys are looked at one by one
(`key_clocks`).

A reader who restores the state from a restore point begins with a fresh clock there, and may take
some time to agree with the one who read on: where the first sample after that point was an outlier,
for example. Therefore the clock of such a reader is followed beside the key's own until both are
equal (`KeyColumns.replay_newest_ms`), and only from then on the key's history counts as complete.
"""

from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.arrays import (
    Indices,
    group_ends,
    is_group_start,
    running_maximum,
)
from stream_detector.core.windowing.key_clocks import Arrived, Followed, OneByOne
from stream_detector.core.windowing.key_columns import KeyColumns
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import KeySessions


def follow_clocks(
    arrived: Arrived,
    sessions: KeySessions,
    keyed_state: KeyedState,
    stream_time_ms: NDArray[np.float64],
    values: FloatArray,
    rules: WindowRules,
) -> Followed:
    """Find the samples of a batch that are of their key's time.

    Parameters
    ----------
    arrived
        Samples of the batch, at least one of each session.
    sessions
        Sessions of the batch. What the batch makes of the clocks is set in `KeySessions.after`.
    keyed_state
        Has the samples that were held before the batch; not changed.
    stream_time_ms
        Stream time after each record, shape (n_records,).
    values
        Values of the samples, shape (n_samples, n_features).
    rules
        Lateness, longest gap and interval.
    """
    columns, after = sessions.columns, sessions.after
    is_first = is_group_start(arrived.session_of)  # (n_samples,)
    newest = running_maximum(arrived.times_ms, is_first, columns.newest_ms)  # (n_samples,)
    before = np.concatenate([[-inf], newest[:-1]])  # (n_samples,)
    before[is_first] = columns.newest_ms
    is_late = arrived.times_ms + rules.allowed_lateness_ms < before  # (n_samples,)
    is_odd = _odd_sessions(arrived, before, is_late, columns, rules)  # (n_sessions,)
    starts = np.flatnonzero(is_first)  # (n_sessions,)
    counts = np.diff(np.append(starts, len(is_first)))  # (n_sessions,)
    after.newest_ms[:] = newest[group_ends(is_first)]
    is_single = np.isneginf(columns.newest_ms) & (counts == 1)  # (n_sessions,)
    after.other_ms[:] = np.where(is_single, after.newest_ms, nan)
    after.other_from_ms[:] = after.other_ms
    lags = _follow_replays(arrived, sessions, counts, is_late, is_odd, rules)  # (n_sessions,)
    of_others = np.flatnonzero(is_late & ~is_odd[arrived.session_of])  # (n_late,)
    one_by_one = OneByOne(arrived, sessions, keyed_state, stream_time_ms, len(values), rules)
    for at in of_others.tolist():
        one_by_one.note_late(at, float(before[at]))
    for session in np.flatnonzero(is_odd | lags).tolist():
        begin, end = int(starts[session]), int(starts[session] + counts[session])
        if is_odd[session]:
            one_by_one.follow(session, range(begin, end))
        one_by_one.follow_replay(session, range(begin, end))
    is_used = ~is_late & ~is_odd[arrived.session_of]  # (n_samples,)
    return one_by_one.finish(arrived if is_used.all() else arrived.where(is_used), values)


def _odd_sessions(
    arrived: Arrived,
    before: NDArray[np.float64],
    is_late: NDArray[np.bool_],
    columns: KeyColumns,
    rules: WindowRules,
) -> NDArray[np.bool_]:
    """Return which sessions have a sample that is not simply used or late, shape (n_sessions,).

    Parameters
    ----------
    before, is_late
        Newest time of the session before each sample, if all were used, and whether that makes it
        late, shape (n_samples,).
    """
    times = arrived.times_ms
    is_odd: NDArray[np.bool_] = ~(
        np.isnan(columns.other_ms) | (columns.other_ms == columns.newest_ms)
    )
    is_ahead = (times > before + rules.gap_ms_max) & (before > -inf)  # (n_samples,)
    is_odd[arrived.session_of[is_ahead]] = True
    if is_late.any():
        # The first sample of a key may be dropped for the second, however little that is late.
        is_unconfirmed = np.isneginf(columns.newest_ms) | (columns.other_ms == columns.newest_ms)
        limit = before - rules.allowed_lateness_ms - rules.gap_ms_max  # (n_samples,)
        is_far = is_late & ((times < limit) | is_unconfirmed[arrived.session_of])  # (n_samples,)
        is_odd[arrived.session_of[is_far]] = True
    return is_odd


def _follow_replays(
    arrived: Arrived,
    sessions: KeySessions,
    counts: Indices,
    is_late: NDArray[np.bool_],
    is_odd: NDArray[np.bool_],
    rules: WindowRules,
) -> NDArray[np.bool_]:
    """Follow the clocks of readers from the restore point, as far as all samples are in order.

    Returns
    -------
    The sessions whose clock is to be followed sample by sample, shape (n_sessions,).
    """
    columns, after = sessions.columns, sessions.after
    lags = np.isposinf(columns.restored_ms)  # (n_sessions,)
    if not lags.any():
        return lags
    is_plain = lags & ~is_odd  # (n_sessions,)
    steps = arrived.times_ms[1:] - arrived.times_ms[:-1]  # (n_samples - 1,)
    is_uneven = ((steps < 0) | (steps > rules.gap_ms_max)) & (
        arrived.session_of[1:] == arrived.session_of[:-1]
    )  # (n_samples - 1,)
    is_bumpy = np.zeros(len(counts), dtype=np.bool_)  # (n_sessions,)
    is_bumpy[arrived.session_of[1:][is_uneven]] = True
    has_late = np.zeros(len(counts), dtype=np.bool_)  # (n_sessions,)
    has_late[arrived.session_of[is_late]] = True
    is_fresh = np.isneginf(columns.replay_newest_ms)  # (n_sessions,)
    last = arrived.times_ms[np.cumsum(counts) - 1]  # (n_sessions,)
    is_single = is_plain & is_fresh & (counts == 1)  # (n_sessions,)
    for column in (after.replay_newest_ms, after.replay_from_ms, after.replay_other_ms):
        column[is_single] = last[is_single]
    overtakes = is_fresh & (counts > 1) & ~is_bumpy & (last >= columns.newest_ms)
    is_equal = (columns.replay_newest_ms == columns.newest_ms) & (
        np.isnan(columns.replay_other_ms) | (columns.replay_other_ms == columns.replay_newest_ms)
    )  # (n_sessions,)
    agrees = is_plain & (overtakes | (is_equal & ~has_late))  # (n_sessions,)
    after.restored_ms[agrees] = columns.newest_ms[agrees]
    is_open: NDArray[np.bool_] = lags & ~agrees & ~is_single  # (n_sessions,)
    return is_open
