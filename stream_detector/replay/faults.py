"""What goes wrong between a sensor and a topic, on purpose and the same each time.

Each kind of fault has random numbers of its own, drawn for all records: more of one kind leaves
the others where they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.replay.chunking import Chunks

SHARES = ("drop", "delay", "duplicate", "shuffle", "nan")
"""The kinds of faults, each with the share of records, or values, that it befalls."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How much goes wrong, as shares from 0 to 1; nothing by default.

    Parameters
    ----------
    drop
        Records that are not sent.
    delay
        Records that are sent late, behind all whose time is up to `delay_ms` after theirs.
    duplicate
        Records that are sent twice in a row.
    shuffle
        Records that swap places with a neighbour of the same series.
    nan
        Single values that become missing.
    seed
        Which records and values, >= 0.
    delay_ms
        How late, in event time, >= 0.
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
            problems.append(f"delay_ms: expected 0 or more, received {self.delay_ms}")
        if self.seed < 0:
            problems.append(f"seed: expected 0 or more, received {self.seed}")
        if problems:
            message = "faults: " + "; ".join(problems)
            raise ValueError(message)

    @property
    def is_none(self) -> bool:
        """Whether nothing goes wrong."""
        return not any(getattr(self, name) for name in SHARES)


NO_FAULTS = Faults()
"""Every record is sent once, in its place and at its time."""


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """How often what went wrong: records sent = records made - dropped + duplicated.

    Parameters
    ----------
    n_dropped, n_delayed, n_duplicated, n_shuffled
        Records. One may be delayed, duplicated and shuffled; one that is dropped is nothing else.
    n_missing
        Values that were there and became missing, in records that were then dropped too.
    """

    n_dropped: int = 0
    n_delayed: int = 0
    n_duplicated: int = 0
    n_shuffled: int = 0
    n_missing: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Sending:
    """What is sent, in what order and when.

    Parameters
    ----------
    records
        Which record of the chunks is sent, one entry for each time that it is, shape (n_sent,).
    due_ms
        Event time at which each is due, ascending, shape (n_sent,).
    values
        Those of the chunks' samples, some of them missing, shape (n_samples, n_features).
    counts
        What went wrong.
    """

    records: NDArray[np.intp]
    due_ms: NDArray[np.float64]
    values: FloatArray
    counts: FaultCounts


def apply_faults(chunks: Chunks, faults: Faults) -> Sending:
    """Decide what becomes of each record.

    Parameters
    ----------
    chunks
        The records, in the order in which they would leave.
    faults
        How much goes wrong.

    Returns
    -------
    The same for the same chunks and faults, always. Without faults every record is sent once, in
    its place and at its time.
    """
    n_records = len(chunks)
    is_dropped, is_delayed, is_duplicated = (
        _random(faults, kind, n_records) < getattr(faults, kind)
        for kind in ("drop", "delay", "duplicate")
    )
    records = np.flatnonzero(~is_dropped)
    is_late = is_delayed[records]
    due_ms = chunks.times_ms[records] + faults.delay_ms * is_late
    # Behind those with the very time that it is delayed to.
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
    """Return a kind's own random numbers, range [0, 1)."""
    return np.random.default_rng([faults.seed, SHARES.index(kind)]).random(shape)


def _swap_neighbours(
    records: NDArray[np.intp], series: NDArray[np.intp], faults: Faults
) -> tuple[NDArray[np.intp], int]:
    """Return the records with pairs of the same series swapped, and how many changed places.

    Each series is cut into pairs, its first record left alone in about half of the series, so
    that any two neighbours may be a pair but none is in two.
    """
    n_sent = len(records)
    if not faults.shuffle or n_sent < 2:  # noqa: PLR2004  (a pair)
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
    """Return the values with some of them missing, and how many were there before."""
    if not faults.nan:
        return values, 0
    is_lost = (_random(faults, "nan", values.shape) < faults.nan) & ~np.isnan(values)
    return np.where(is_lost, np.float32(np.nan), values), int(is_lost.sum())
