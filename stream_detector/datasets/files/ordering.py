"""Samples in the order of their times, of files that are too large to be held.

Rows that are in order make a run; runs lie in a temporary file and are merged::

    file      1 2 3 7 8 | 4 5 6 9        two runs, since 4 is before 8
    merged    1 2 3 4 5 6 7 8 9
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.errors import DatasetError
from stream_detector.telemetry import log_event

_ROWS_A_RUN = 1 << 18
_BYTES_IN_MEMORY = 1 << 26
"""Samples of fewer bytes stay in memory."""

_ROWS_A_BLOCK_MIN = 256

Packed = NDArray[Any]
"""Rows with the fields times_ms, series, label and values."""


@dataclass(slots=True)
class TimeWatch:
    """Looks for times of a key that go backwards in a file.

    Parameters
    ----------
    path
        The file, for the log.
    """

    path: Path
    n_back: int = 0
    _first: tuple[int, str] = (0, "")
    _newest_ms: dict[str, float] = field(default_factory=dict)

    def add(self, numbers: NDArray[np.int64], samples: Samples) -> None:
        """Look at the next rows of the file, which have these numbers in the log."""
        series, times_ms, keys = samples.series, samples.times_ms, samples.keys
        before = np.array([self._newest_ms.get(key, -np.inf) for key in keys])  # (n_series,)
        order = np.argsort(series, kind="stable")  # series by series, in file order
        is_new = np.diff(series[order], prepend=-1) != 0
        last_ms = np.where(is_new, before[series[order]], np.roll(times_ms[order], 1))
        back = order[times_ms[order] < last_ms]
        if len(back) and not self.n_back:
            row = int(back.min())
            self._first = int(numbers[row]), keys[series[row]]
        self.n_back += len(back)
        ends = order[np.roll(is_new, -1)]  # the last row of each series
        for number, time_ms in zip(series[ends].tolist(), times_ms[ends].tolist(), strict=True):
            self._newest_ms[keys[number]] = time_ms

    def warn(self) -> None:
        """Log that the rows are sorted, if they have to be."""
        if not self.n_back:
            return
        row, key = self._first
        log_event(
            logging.WARNING,
            "rows-sorted",
            file=self.path,
            row=row,
            key=key,
            n_rows=self.n_back,
            reason="times of a key go backwards in the file, so its rows are sorted by time; check "
            "the column of times if that is unexpected",
        )


class FileOrder:
    """The order of `read_samples`: that of the file, or of time where times of a key go backwards.

    So samples that were brought into the order of their times find their places again.

    Parameters
    ----------
    path
        The file, whose samples have how many rows came before as the last column of their values.
    """

    def __init__(self, path: Path) -> None:
        self._times, self._rows = TimeWatch(path), TimeWatch(path)

    def follow(self, parts: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the samples of the file, in the order of its rows or in that of their times."""
        for part in parts:
            rows = part.values[:, -1].astype(np.int64)
            self._times.add(rows, part)
            self._rows.add(rows, replace(part, times_ms=part.values[:, -1]))
            yield part

    def numbered(self, parts: Iterable[Samples]) -> Iterator[Samples]:
        """Yield samples in the order of time; the last column of values is now their place."""
        n_before = 0
        for part in parts:
            if self._times.n_back or self._rows.n_back:
                part.values[:, -1] = n_before + np.arange(len(part))
            n_before += len(part)
            yield part


def in_time_order(parts: Iterable[Samples], n_at_once: int) -> Iterator[Samples]:
    """Yield samples in the order of their times, those of equal times in the order they came.

    All parts are read before the first sample is yielded; memory does not grow with their number,
    but with that of their keys.

    Parameters
    ----------
    parts
        Samples in any order, whose keys may be numbered differently in each part.
    n_at_once
        Most samples that are yielded together.

    Yields
    ------
    Samples whose `keys` are those of all parts, in the order in which they came.

    Raises
    ------
    DatasetError
        If there is no room for the temporary file.

    Examples
    --------
    >>> def part(times_ms):
    ...     n = len(times_ms)
    ...     values = np.array(times_ms, np.float32)[:, None]
    ...     return Samples(("a",), np.zeros(n, np.intp), np.array(times_ms), values)
    >>> found = in_time_order([part([1.0, 4.0]), part([2.0, 3.0])], 3)
    >>> [some.times_ms.tolist() for some in found]
    [[1.0, 2.0, 3.0], [4.0]]
    """
    with SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY) as file:
        runs, has_labels = _Runs(file), False
        for part in parts:
            runs.add(part)
            has_labels = part.labels is not None
        runs.end()
        keys = tuple(runs.numbers)
        for rows in _sized(runs.merged(n_at_once), n_at_once):
            yield Samples(
                keys,
                rows["series"].astype(np.intp),
                rows["times_ms"].astype(np.float64),
                np.ascontiguousarray(rows["values"]),
                rows["label"].astype(np.int8) if has_labels else None,
            )


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows of the temporary file that are in order: where they begin and end, and the last time."""

    start: int
    stop: int
    last_ms: float


class _Runs:
    """Writes rows to a temporary file as runs, and merges them."""

    def __init__(self, file: IO[bytes]) -> None:
        self.numbers: dict[str, int] = {}
        """Number of each key."""
        self._file = file
        self._runs: list[_Run] = []
        self._pending: list[Packed] = []
        self._kind = np.dtype([("times_ms", "f8")])

    def add(self, part: Samples) -> None:
        """Add samples, which are written once there are enough."""
        values = ("values", part.values.dtype, part.values.shape[1:])
        self._kind = np.dtype([("times_ms", "f8"), ("series", "i8"), ("label", "i1"), values])
        rows = np.empty(len(part), self._kind)
        numbers = [self.numbers.setdefault(key, len(self.numbers)) for key in part.keys]
        rows["series"] = np.array(numbers, np.intp)[part.series]
        rows["times_ms"], rows["values"] = part.times_ms, part.values
        rows["label"] = 0 if part.labels is None else part.labels
        self._pending.append(rows)
        if sum(map(len, self._pending)) >= _ROWS_A_RUN:
            self.end()

    def end(self) -> None:
        """Write what is pending as a run, or as the rest of the one before where it follows it."""
        if not self._pending:
            return
        rows = _in_order(self._pending)
        self._pending.clear()
        try:
            self._file.write(rows.tobytes())
        except OSError as error:
            message = (
                f"{gettempdir()}: expected room for a temporary file of the samples, received "
                f"{error}; set TMPDIR to a folder with more"
            )
            raise DatasetError(message) from None
        first_ms, last_ms = (float(rows["times_ms"][at]) for at in (0, -1))
        start = self._runs[-1].stop if self._runs else 0
        stop = start + len(rows)
        if self._runs and first_ms >= self._runs[-1].last_ms:
            start = self._runs.pop().start
        self._runs.append(_Run(start, stop, last_ms))

    def merged(self, n_at_once: int) -> Iterator[Packed]:
        """Yield all rows in order, about so many together."""
        n_block = max(n_at_once // max(len(self._runs), 1), _ROWS_A_BLOCK_MIN)
        rest = list(self._runs)
        blocks = [np.empty(0, self._kind)] * len(rest)
        while rest:
            for at, run in enumerate(rest):
                if not len(blocks[at]):
                    blocks[at], rest[at] = self._read(run, n_block)
            # Of runs whose blocks end at the same time, later ones wait for the rest of the first.
            limit_ms, last = min(
                (float(each["times_ms"][-1]), at) for at, each in enumerate(blocks)
            )
            counts = [
                int(np.searchsorted(block["times_ms"], limit_ms, "right" if at <= last else "left"))
                for at, block in enumerate(blocks)
            ]
            yield _in_order([block[:n] for block, n in zip(blocks, counts, strict=True)])
            left = [
                (block[n:], run)
                for block, n, run in zip(blocks, counts, rest, strict=True)
                if n < len(block) or run.start < run.stop
            ]
            blocks, rest = [block for block, _ in left], [run for _, run in left]

    def _read(self, run: _Run, n_rows: int) -> tuple[Packed, _Run]:
        """Return the next rows of a run, and what is left of it."""
        stop = min(run.start + n_rows, run.stop)
        self._file.seek(run.start * self._kind.itemsize)
        read = self._file.read((stop - run.start) * self._kind.itemsize)
        return np.frombuffer(read, self._kind), replace(run, start=stop)


def _in_order(parts: Sequence[Packed]) -> Packed:
    """Return rows in the order of their times, those of equal times as they are."""
    rows = np.concatenate(parts)
    ordered: Packed = rows[np.argsort(rows["times_ms"], kind="stable")]
    return ordered


def _sized(parts: Iterable[Packed], n_rows: int) -> Iterator[Packed]:
    """Yield the same rows in parts of so many, and the rest."""
    pending: list[Packed] = []
    for part in parts:
        pending.append(part)
        if sum(map(len, pending)) < n_rows:
            continue
        rows = np.concatenate(pending)
        n_whole = len(rows) - len(rows) % n_rows
        yield from np.split(rows[:n_whole], n_whole // n_rows)
        pending = [rows[n_whole:]]
    rows = np.concatenate(pending)
    if len(rows):
        yield rows
