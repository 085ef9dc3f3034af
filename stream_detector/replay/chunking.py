"""Cut series of samples into records, and put the records in the order of sending."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.core.timestamps import STEP_MS, follow, keep
from stream_detector.datasets.cutting import some_samples
from stream_detector.replay.fleet import concatenate

_ROWS_AHEAD = 64
"""How many rows are compared at first, so that a record with many cuts does not take long."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Records of samples, as columns, in the order of sending.

    Parameters
    ----------
    samples
        All samples, one series after the other, each ascending in time.
    starts, stops
        Rows of `samples` that each record holds, the second not included, shape (n_records,).
    series
        Series of each record, an index into `samples.keys`, shape (n_records,).
    times_ms
        Time of each record's first sample, float64, milliseconds since 1970-01-01 UTC,
        ascending, shape (n_records,).
    labels
        Int8, shape (n_records,), 1 where any sample of the record is labelled 1; None where the
        samples have no labels.
    """

    samples: Samples
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]
    series: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    labels: NDArray[np.int8] | None

    def __len__(self) -> int:
        return len(self.starts)


def chunk(samples: Samples, sample_interval_ms: float | None, chunk_samples: int) -> Chunks:
    """Cut each series into records of consecutive samples.

    A record that carries only the time of its first sample implies the times of the others. So a
    new record starts at each sample whose own time is not the implied one (see
    `stream_detector.core.timestamps`), and a sample has the same time in any record.

    Parameters
    ----------
    samples
        What to cut; the samples of different series may be mixed.
    sample_interval_ms
        Time from one sample of a series to the next, above 0. None is for records in which each
        sample has a time of its own: no time is implied.
    chunk_samples
        Largest number of samples in a record, >= 1.

    Returns
    -------
    Records that together hold every sample once, ascending in the time of their first samples;
    those with the same time are in the order of the series. No samples give no records.

    Raises
    ------
    ValueError
        If the interval or the size is out of range, or a series' times go backwards or are not
        finite: the caller's mistake.

    Examples
    --------
    >>> samples = Samples(
    ...     keys=("pump",),
    ...     series=np.zeros(5, dtype=np.intp),
    ...     times_ms=np.array([0.0, 10.0, 20.0, 50.0, 60.0]),
    ...     values=np.arange(5, dtype=np.float32)[:, None],
    ... )
    >>> chunks = chunk(samples, sample_interval_ms=10, chunk_samples=2)
    >>> chunks.times_ms.tolist(), (chunks.stops - chunks.starts).tolist()
    ([0.0, 20.0, 50.0], [2, 1, 2])
    """
    if chunk_samples < 1:
        message = f"chunk_samples must be at least 1 sample a record, received {chunk_samples}"
        raise ValueError(message)
    if sample_interval_ms is not None and not 0 < sample_interval_ms < np.inf:
        message = f"sample_interval_ms must be above 0 and finite, received {sample_interval_ms}"
        raise ValueError(message)
    ordered = _series_after_series(samples)
    is_new = _is_new_series(ordered)
    _require_order(ordered, is_new)
    starts = _starts(ordered.times_ms, is_new, sample_interval_ms, chunk_samples)
    stops = np.append(starts, len(ordered))[1:]
    order = np.argsort(ordered.times_ms[starts], kind="stable")
    labels = None
    if ordered.labels is not None:
        has_anomaly = np.zeros(0, dtype=np.int8)
        if len(starts):
            has_anomaly = np.maximum.reduceat(ordered.labels, starts)
        labels = has_anomaly[order]
    return Chunks(
        samples=ordered,
        starts=starts[order],
        stops=stops[order],
        series=ordered.series[starts][order],
        times_ms=ordered.times_ms[starts][order],
        labels=labels,
    )


def whole_times(parts: Iterable[Samples]) -> Iterator[Samples]:
    """Yield samples in parts that end with all samples of a time, so that ties stay together.

    Parameters
    ----------
    parts
        Samples in the order of their times, all with the same `keys`.

    Examples
    --------
    >>> def part(*times_ms):
    ...     n = len(times_ms)
    ...     return Samples(("a",), np.zeros(n, np.intp), np.array(times_ms), np.zeros((n, 1)))
    >>> parts = part(1.0, 2.0), part(2.0), part(2.0, 3.0)
    >>> [some.times_ms.tolist() for some in whole_times(parts)]
    [[1.0], [2.0, 2.0, 2.0], [3.0]]
    """
    rest = None
    for part in filter(len, parts):
        samples = part if rest is None else concatenate([rest, part])
        n_whole = int(np.searchsorted(samples.times_ms, samples.times_ms[-1]))
        if n_whole:
            yield rows_of(samples, slice(0, n_whole))
        rest = rows_of(samples, slice(n_whole, None))
    if rest is not None:
        yield rest


def rows_of(samples: Samples, rows: slice) -> Samples:
    """Return some rows of samples."""
    labels = None if samples.labels is None else samples.labels[rows]
    columns = samples.series[rows], samples.times_ms[rows], samples.values[rows]
    return Samples(samples.keys, *columns, labels)


def _series_after_series(samples: Samples) -> Samples:
    """Return the samples one series after the other; unchanged if they are so already."""
    if not (np.diff(samples.series) < 0).any():
        return samples
    return some_samples(samples, np.argsort(samples.series, kind="stable"))


def _is_new_series(samples: Samples) -> NDArray[np.bool_]:
    """Return whether each sample is the first of its series, shape (n_samples,)."""
    is_new = np.ones(len(samples), dtype=np.bool_)
    is_new[1:] = samples.series[1:] != samples.series[:-1]
    return is_new


def _require_order(samples: Samples, is_new: NDArray[np.bool_]) -> None:
    """Raise for times that no record can carry."""
    if not np.isfinite(samples.times_ms).all():
        message = "times_ms: expected finite times, received NaN or an infinity"
        raise ValueError(message)
    is_backwards = (np.diff(samples.times_ms) < 0) & ~is_new[1:]
    if is_backwards.any():
        row = int(np.argmax(is_backwards))
        message = (
            f"series {samples.keys[samples.series[row]]!r}: expected times that do not go "
            f"backwards, received {samples.times_ms[row + 1]:.3f} ms after "
            f"{samples.times_ms[row]:.3f} ms; sort the samples of each series by time"
        )
        raise ValueError(message)


def _starts(
    times_ms: NDArray[np.float64],
    is_new: NDArray[np.bool_],
    sample_interval_ms: float | None,
    chunk_samples: int,
) -> NDArray[np.intp]:
    """Return the rows at which records start, ascending."""
    rows = np.arange(len(times_ms))
    is_start = is_new.copy()
    if sample_interval_ms is not None:
        # Two neighbours whose distance differs by more cannot both have their implied times.
        is_start[1:] |= np.abs(np.diff(times_ms) - sample_interval_ms) > 2 * STEP_MS
    run_starts = np.maximum.accumulate(np.where(is_start, rows, 0))
    is_start |= (rows - run_starts) % chunk_samples == 0
    if sample_interval_ms is not None:
        starts = np.flatnonzero(is_start)
        stops = np.append(starts, len(rows))[1:]
        firsts = np.repeat(starts, stops - starts)
        is_off = follow(times_ms[firsts], rows - firsts, sample_interval_ms) != keep(times_ms)
        # This loop is over few records, if any.
        for number in np.unique(np.searchsorted(starts, np.flatnonzero(is_off), "right") - 1):
            record = slice(starts[number], stops[number])
            _split(times_ms[record], is_start[record], sample_interval_ms)
    return np.flatnonzero(is_start)


def _split(
    times_ms: NDArray[np.float64], is_start: NDArray[np.bool_], sample_interval_ms: float
) -> None:
    """Mark in place the samples of one record whose times are not the implied ones."""
    first, n_ahead = 0, _ROWS_AHEAD
    while True:
        some = times_ms[first : first + n_ahead]
        steps = np.arange(len(some))
        is_off = follow(some[:1], steps, sample_interval_ms) != keep(some)
        step = int(np.argmax(is_off))
        if is_off[step]:
            first, n_ahead = first + step, _ROWS_AHEAD
            is_start[first] = True
        elif first + n_ahead < len(times_ms):
            n_ahead *= 2
        else:
            return
