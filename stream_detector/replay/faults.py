"""Inject faults into replayed records: the same faults for the same seed.

Each kind of fault has random numbers of its own, drawn for all records. So a larger share of one
kind does not move the faults of the others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.replay.chunking import Chunks

SHARES = ("drop", "delay", "duplicate", "shuffle", "nan")
"""The kinds of faults; each affects a share of the records, or of the values."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How many faults are injected, as shares from 0 to 1; none by default.

    Parameters
    ----------
    drop
        Records that are not sent.
    delay
        Records that are sent late, after all records whose time is up to `delay_ms` later.
    duplicate
        Records that are sent twice in a row.
    shuffle
        Records that swap places with a neighbour of the same series.
    nan
        Values that are replaced by missing ones.
    seed
        Decides which records and values are affected, >= 0.
    delay_ms
        Delay of `delay`, in event time, >= 0.
    """

    drop: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    shuffle: float = 0.0
    nan: float = 0.0
    seed: int = 0
    delay_ms: float = 1_000.0

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected a share from 0 to 1, received {getattr(self, name)}"
            for name in SHARES
            if not 0 <= getattr(self, name) <= 1
        ]
        if not 0 <= self.delay_ms < np.inf:
            problems.append(f"delay_ms: expected 0 or more and finite, received {self.delay_ms}")
        if self.seed < 0:
            problems.append(f"seed: expected 0 or more, received {self.seed}")
        if problems:
            message = "faults: " + "; ".join(problems)
            raise ValueError(message)

    @property
    def is_none(self) -> bool:
        """Whether no fault is injected."""
        return not any(getattr(self, name) for name in SHARES)


NO_FAULTS = Faults()
"""Every record is sent once, in order and on time."""


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """Numbers of injected faults: records sent = records made - dropped + duplicated.

    Parameters
    ----------
    n_dropped, n_delayed, n_duplicated, n_shuffled
        Records. One may be delayed, duplicated and shuffled; a dropped one counts only as dropped.
    n_missing
        Values that were replaced by missing ones, including those in dropped records.
    """

    n_dropped: int = 0
    n_delayed: int = 0
    n_duplicated: int = 0
    n_shuffled: int = 0
    n_missing: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Sending:
    """The records to send, in order, with the times at which they are due.

    Parameters
    ----------
    records
        Index of each record sent, once for each time that it is sent, shape (n_sent,).
    due_ms
        Event time at which each is due, ascending, shape (n_sent,).
    values
        Values of the chunks' samples after the faults, shape (n_samples, n_features).
    counts
        Numbers of injected faults.
    """

    records: NDArray[np.intp]
    due_ms: NDArray[np.float64]
    values: FloatArray
    counts: FaultCounts


def apply_faults(chunks: Chunks, faults: Faults) -> Sending:
    """Inject faults into records.

    Parameters
    ----------
    chunks
        The records, in the order in which they would be sent without faults.
    faults
        How many faults to inject.

    Returns
    -------
    Always the same for the same chunks and faults. Without faults every record is sent once, in
    order and on time.
    """
    n_records = len(chunks)
    is_dropped, is_delayed, is_duplicated = (
        _random(faults, kind, n_records) < getattr(faults, kind)
        for kind in ("drop", "delay", "duplicate")
    )
    records = np.flatnonzero(~is_dropped)
    is_late = is_delayed[records]
    due_ms = chunks.times_ms[records] + faults.delay_ms * is_late
    # A delayed record comes after those that are due at the same time.
    order = np.lexsort((is_late, due_ms))
    records, due_ms = records[order], due_ms[order]
    records, n_shuffled = _swap_neighbours(records, chunks.series, faults)
    n_times = 1 + is_duplicated[records]
    values, n_missing = _lose_values(chunks.samples.values, faults)
    counts = FaultCounts(
        n_dropped=int(is_dropped.sum()),
        n_delayed=int(is_late.sum()),
        n_duplicated=int(is_duplicated[records].sum()),
        n_shuffled=n_shuffled,
        n_missing=n_missing,
    )
    return Sending(np.repeat(records, n_times), np.repeat(due_ms, n_times), values, counts)


def _random(faults: Faults, kind: str, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return the random numbers of one kind of fault, range [0, 1)."""
    return np.random.default_rng([faults.seed, SHARES.index(kind)]).random(shape)


def _swap_neighbours(
    records: NDArray[np.intp], series: NDArray[np.intp], faults: Faults
) -> tuple[NDArray[np.intp], int]:
    """Return the records with pairs of the same series swapped, and how many changed places.

    Each series is divided into pairs of neighbours. In about half of the series, at random, the
    first record is in no pair, so that any two neighbours can be one.
    """
    n_sent = len(records)
    if not faults.shuffle or not n_sent:
        return records, 0
    draws = _random(faults, "shuffle", len(series) + int(series.max()) + 1)
    of_record, of_series = draws[: len(series)], draws[len(series) :]
    places = np.argsort(series[records], kind="stable")  # series after series
    ordered = series[records][places]
    is_first = np.append(True, ordered[1:] != ordered[:-1])
    rank = np.arange(n_sent) - np.maximum.accumulate(np.where(is_first, np.arange(n_sent), 0))
    is_odd = (of_series < 0.5)[ordered].astype(np.intp)  # noqa: PLR2004  (half of them)
    leads = np.flatnonzero(
        ((rank[:-1] + is_odd[:-1]) % 2 == 0)
        & ~is_first[1:]
        & (of_record[records[places[:-1]]] < faults.shuffle)
    )
    left, right = places[leads], places[leads + 1]
    swapped = records.copy()
    swapped[left], swapped[right] = records[right], records[left]
    return swapped, 2 * len(leads)


def _lose_values(values: FloatArray, faults: Faults) -> tuple[FloatArray, int]:
    """Return the values with some of them replaced by NaN, and how many were replaced."""
    if not faults.nan:
        return values, 0
    is_lost = (_random(faults, "nan", values.shape) < faults.nan) & ~np.isnan(values)
    return np.where(is_lost, np.float32(np.nan), values), int(is_lost.sum())
