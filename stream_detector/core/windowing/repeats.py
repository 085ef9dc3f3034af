"""Which samples of a key belong to the same cell: repeats of a sample, and its parts.

Pure. The first sample to arrive gives a cell its time. Another one of that cell repeats it, unless
it brings values that the first one lacks (`parts`).

Samples in the same half interval of absolute time belong to one cell. So do those of two halves
side by side, where the first to arrive of each are less than a quarter of the interval apart: parts
of a sample meet, whatever the phase of the key's clock. One key, a sample every 10 ms::

    sample at     half      its cell began at   why
    104           100-105   104                 the first
    106           105-110   104                 2 ms after the first of the half before
    109           105-110   104                 in that half, too
    111           110-115   111                 5 ms after 106, the first of the half before
    114           110-115   111                 in the same half
    116           115-120   116                 5 ms after 111

Three halves are never one cell: of their first samples the outer two are more than half an interval
apart. So cells follow from the halves beside them, and not from where reading started. Turned down:
half an interval from the first sample of each cell. Of a key that sends faster than expected, every
cell would follow from the one before it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.windowing.arrays import Indices, is_group_start
from stream_detector.core.windowing.sessions import KeySessions

FROM_BUFFER = -1
"""Record of a sample that waited before the batch."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as columns: session, time, row in the values and record, each (n_samples,).

    `newest` is the newest time of the session before the sample, -inf where the sample waited
    before the batch; the record of such a one is `FROM_BUFFER`.
    """

    session_of: Indices
    times: NDArray[np.float64]
    rows: Indices
    records: Indices
    newest: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_] | Indices) -> "Samples":
        """Return some of the samples."""
        return Samples(
            self.session_of[mask],
            self.times[mask],
            self.rows[mask],
            self.records[mask],
            self.newest[mask],
        )


def half_intervals(times_ms: NDArray[np.float64], interval_ms: float) -> NDArray[np.float64]:
    """Return the number of the half interval of absolute time in which each time lies.

    Parameters
    ----------
    times_ms
        Any shape, milliseconds since 1970-01-01 UTC; NaN and -inf stay what they are.
    interval_ms
        Time between two samples.

    Returns
    -------
    Whole numbers as float64, same shape.

    Examples
    --------
    >>> half_intervals(np.array([0.0, 4.9, 5.0, 51.0]), 10.0)
    array([ 0.,  0.,  1., 10.])
    """
    halves: NDArray[np.float64] = np.floor(times_ms / (interval_ms / 2))
    return halves


def find_repeats_in_order(
    samples: Samples, sessions: KeySessions, interval_ms: float
) -> NDArray[np.bool_]:
    """Return which samples belong to the cell of one before them, where samples come in order.

    Parameters
    ----------
    samples
        By session and time; the newest cell of a session may stand before them, if it waited.
    sessions
        Sessions of the batch.
    interval_ms
        Time between two samples.

    Returns
    -------
    Shape (n_samples,). A cell that waited counts as a repeat if it was used before the batch.
    """
    times, last_ms = samples.times, sessions.columns.last_ms[samples.session_of]  # (n_samples,)
    has_waited = samples.records == FROM_BUFFER  # (n_samples,)
    was_used: NDArray[np.bool_] = has_waited & (times == last_ms)  # (n_samples,)
    if not (times - samples.newest < interval_ms / 2).any():
        return was_used
    is_other_half = has_waited | (
        half_intervals(times, interval_ms) != half_intervals(samples.newest, interval_ms)
    )  # (n_samples,)
    is_first = is_group_start(samples.session_of)  # (n_samples,)
    # The first of a half, or what the session has in place of one where its first half goes on.
    opens = is_other_half | is_first  # (n_samples,)
    opened_ms = np.where(is_other_half, times, last_ms)[opens]  # (n_halves,)
    before_ms = np.roll(opened_ms[np.cumsum(opens) - 1], 1)  # (n_samples,), of the half before
    before_ms[is_first] = last_ms[is_first]
    is_joined = is_other_half & ~has_waited & (times - before_ms < interval_ms / 4)
    is_repeat: NDArray[np.bool_] = was_used | ~is_other_half | is_joined  # (n_samples,)
    return is_repeat


class Cells(NamedTuple):
    """Samples by session and cell, and those of a cell in the order of arrival.

    Parameters
    ----------
    samples
        The samples. The first of a cell has the cell's time.
    is_repeat
        Whether each one belongs to the cell of one before it, shape (n_samples,).
    firsts
        The first sample of each cell, ascending, shape (n_cells,).
    joined, joined_to
        The first sample of each half that belongs to the cell of the half before it, and that cell,
        shape (n_joined,).
    """

    samples: Samples
    is_repeat: NDArray[np.bool_]
    firsts: Indices
    joined: Samples
    joined_to: Indices


def find_cells(samples: Samples, sessions: KeySessions, interval_ms: float) -> Cells:
    """Put samples that come in any order into their cells.

    Parameters
    ----------
    samples
        By session, and those of a session in the order of arrival.
    sessions
        Sessions of the batch. The last cell of each that was used counts as one before its samples.
    interval_ms
        Time between two samples.
    """
    halves = half_intervals(samples.times, interval_ms)  # (n_samples,)
    is_first = is_group_start(samples.session_of)  # (n_samples,)
    order = np.arange(len(halves))  # (n_samples,)
    if ((halves[1:] < halves[:-1]) & ~is_first[1:]).any():
        order = np.lexsort((halves, samples.session_of))  # stable: the first to arrive stays first
        samples, halves = samples.where(order), halves[order]
    last_halves = half_intervals(sessions.columns.last_ms, interval_ms)[samples.session_of]
    starts = np.flatnonzero(is_first | (_before(halves) != halves))  # (n_halves,)
    is_joined = _joined(samples.where(starts), halves[starts], sessions, interval_ms)  # (n_halves,)
    counts = np.diff(np.append(starts, len(halves)))  # (n_halves,)
    of_cells = halves - np.repeat(is_joined, counts)  # (n_samples,), the first half of each cell
    is_repeat = of_cells == np.where(is_first, last_halves, _before(of_cells))  # (n_samples,)
    is_cell = is_first | ~is_repeat  # (n_samples,)
    joined = samples.where(starts[is_joined])
    joined_to = (np.cumsum(is_cell) - 1)[starts[is_joined]]  # (n_joined,)
    if len(joined_to):
        cell_ms = samples.times[is_cell]  # (n_cells,), that of its first half
        samples = samples.where(np.lexsort((order, of_cells, samples.session_of)))
        samples.times[is_cell] = cell_ms
    return Cells(samples, is_repeat, np.flatnonzero(is_cell), joined, joined_to)


def _joined(
    opening: Samples, halves: NDArray[np.float64], sessions: KeySessions, interval_ms: float
) -> NDArray[np.bool_]:
    """Return which halves belong to the cell of the half before them, shape (n_halves,).

    Parameters
    ----------
    opening, halves
        The first sample to arrive of each half, and its number, shape (n_halves,); by session.
    sessions
        Sessions of the batch.
    interval_ms
        Time between two samples.
    """
    last_ms = sessions.columns.last_ms[opening.session_of]  # (n_halves,)
    last_halves = half_intervals(last_ms, interval_ms)  # (n_halves,)
    # Where the half after that of the last cell belongs to it, its first sample is not known.
    is_known = sessions.columns.is_joined[opening.session_of] & (halves == last_halves + 1)
    opened_ms = np.where(is_known, np.nan, opening.times)  # (n_halves,)
    opened_ms = np.where(halves == last_halves, last_ms, opened_ms)
    is_first = is_group_start(opening.session_of)  # (n_halves,)
    before_ms = np.where(is_first, last_ms, _before(opened_ms))  # (n_halves,)
    before = np.where(is_first, last_halves, _before(halves))  # (n_halves,)
    is_near = np.abs(opened_ms - before_ms) < interval_ms / 4  # (n_halves,)
    is_joined: NDArray[np.bool_] = is_known | (is_near & (halves == before + 1))
    return is_joined


def _before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value before each one, NaN before the first, same shape."""
    return np.concatenate([[np.nan], values[:-1]])[: len(values)]
