"""Windows that are cut from samples, kept on disk, and read in any order.

Windows overlap, so what lies in the temporary file are the cells that they are cut from, and where
they begin, a group for each batch of samples. With windows of 4 cells each 2::

    cells    1 2 3 4 5 6 7 8
    begins   0   2   4            windows 1 2 3 4, 3 4 5 6 and 5 6 7 8

Windows round peaks hardly overlap, and have values of their own within a band: their cells are
those windows, one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir
from threading import Lock
from typing import NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowBatch
from stream_detector.errors import DatasetError

_BEGIN = np.dtype("<i4")


@dataclass(frozen=True, slots=True, eq=False)
class StoredWindows:
    """Some windows of a file.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), missing values imputed.
    """

    windows: FloatArray


class _Group(NamedTuple):
    """Where the windows of a batch are: place in the file, number of cells, windows before."""

    start: int
    n_cells: int
    n_before: int
    n_windows: int


class WindowFile:
    """The windows that can be scored of samples that come batch by batch.

    Parameters
    ----------
    rules
        How they are cut. The cells have the label as one more feature.
    has_pauses
        Whether windows are kept that stand for a pause between peaks.

    Attributes
    ----------
    n_missing
        Windows left out because too many of their values are missing.
    """

    def __init__(self, rules: WindowRules, *, has_pauses: bool = True) -> None:
        self.n_missing = 0
        self._has_pauses = has_pauses
        self._rules, self._file = rules, TemporaryFile()  # noqa: SIM115  (as long as this lives)
        finalize(self, self._file.close)
        # What was prepared for a fit that has ended may still be read.
        self._lock = Lock()
        self._groups: list[_Group] = []
        self._series: list[NDArray[np.int32]] = []
        self._start_ms: list[NDArray[np.int64]] = []
        self._labels: list[NDArray[np.int8]] = []
        self._intervals: list[PeakIntervals] = []
        self._scales: KeyScales | None = None
        self._scale_rows = np.empty(0, np.intp)  # (n_keys,)

    def __len__(self) -> int:
        return sum(group.n_windows for group in self._groups)

    @property
    def shape(self) -> tuple[int, int]:
        """Return steps and features of a window."""
        return self._rules.n_steps, self._rules.n_features

    @property
    def starts(self) -> Sequence[int]:
        """Return how many windows there are before each group, shape (n_groups,)."""
        return [group.n_before for group in self._groups]

    @property
    def series(self) -> NDArray[np.int32]:
        """Return the number of each window's key, shape (n_windows,)."""
        return np.concatenate([np.empty(0, np.int32), *self._series])

    @property
    def start_ms(self) -> NDArray[np.int64]:
        """Return the time of each window's first sample, shape (n_windows,)."""
        return np.concatenate([np.empty(0, np.int64), *self._start_ms])

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return which windows have a sample with the label 1, shape (n_windows,)."""
        return np.concatenate([np.empty(0, np.int8), *self._labels])

    @property
    def intervals(self) -> PeakIntervals | None:
        """Return how far the peaks of windows are apart; None where nothing asks."""
        return PeakIntervals.joined(self._intervals) if self._intervals else None

    def add(self, batch: WindowBatch, numbers: Mapping[bytes, int]) -> None:
        """Write the windows of a batch.

        Parameters
        ----------
        batch
            Its values have the label as one more feature.
        numbers
            Number of each key.
        """
        received = batch.gather(slice(None))  # (n_windows, n_steps, n_features + 1)
        usable = np.flatnonzero(~np.isnan(self._imputed(received)).any(axis=(1, 2)))
        self.n_missing += len(received) - len(usable)
        if batch.intervals is not None:
            if not self._has_pauses:
                usable = usable[~batch.intervals.is_pause[usable]]
            self._intervals.append(batch.intervals.of(usable))
        if not len(usable):
            return
        cells, begins = batch.buffer.values, batch.cells[usable]
        if self._rules.peaks is not None:
            cells = received[usable].reshape(-1, received.shape[2])
            begins = np.arange(len(usable)) * self._rules.n_steps
        start = self._write(cells.tobytes() + begins.astype(_BEGIN).tobytes())
        self._groups.append(_Group(start, len(cells), len(self), len(usable)))
        keys = batch.state.keys_of(batch.slots[usable])
        self._series.append(np.array([numbers[key] for key in keys], np.int32))
        self._start_ms.append(batch.start_ms[usable])
        # A missing sample has no label.
        labels = np.nanmax(received[usable, :, self._rules.n_features], axis=1, initial=0)
        self._labels.append(labels.astype(np.int8))

    def in_key_units(self, scales: KeyScales, keys: Sequence[str]) -> None:
        """Read windows in the units of their keys from now on.

        Parameters
        ----------
        scales
            The scale of each key.
        keys
            The keys by number.
        """
        self._scales, self._scale_rows = scales, scales.rows(map(str.encode, keys))

    def read(self, number: int, origin: Sequence[float] = ()) -> Iterator[StoredWindows]:
        """Yield the windows of a group, all at once; nothing is to be taken from their values."""
        if any(origin):
            message = f"origin: expected none, received {origin}"
            raise ValueError(message)
        group, n_columns = self._groups[number], self._rules.n_features + 1
        n_bytes = group.n_cells * n_columns * 4
        with self._lock:
            self._file.seek(group.start)
            data = self._file.read(n_bytes + group.n_windows * _BEGIN.itemsize)
        cells = np.frombuffer(data[:n_bytes], "<f4").reshape(-1, n_columns)
        begins = np.frombuffer(data[n_bytes:], _BEGIN)
        rows = begins[:, None] + np.arange(self._rules.n_steps)  # (n_windows, n_steps)
        windows = self._imputed(cells[rows])
        if self._scales is not None:
            windows = self._scales.transform(windows, self._scale_rows[self._series[number]])
        yield StoredWindows(windows)

    def windows_of(self, rows: NDArray[np.intp]) -> FloatArray:
        """Return some windows, ascending, shape (n_rows, n_steps, n_features)."""
        found = [np.empty((0, *self.shape), np.float32)]
        for number, group in enumerate(self._groups):
            ends = [group.n_before, group.n_before + group.n_windows]
            first, last = np.searchsorted(rows, ends)
            if first < last:
                (part,) = self.read(number)
                found.append(part.windows[rows[first:last] - group.n_before])
        return np.concatenate(found)

    def _imputed(self, received: FloatArray) -> FloatArray:
        """Return windows without their labels, missing values imputed."""
        values = np.ascontiguousarray(received[:, :, : self._rules.n_features])
        return impute_windows(values, self._rules)[0]

    def _write(self, data: bytes) -> int:
        """Write at the end of the file, and return where that was."""
        start = self._file.seek(0, 2)
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            message = (
                f"{gettempdir()}: expected room for a temporary file of the windows, received "
                f"{error}; set TMPDIR to a folder with more"
            )
            raise DatasetError(message) from None
        return start
