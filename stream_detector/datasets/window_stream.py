"""Windows to train on that are too many for memory, read from their file as often as needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray


class SomeWindows(Protocol):
    """Windows as they were read."""

    @property
    def windows(self) -> FloatArray:
        """Shape (n_windows, n_steps, n_features)."""
        ...


class WindowReader(Protocol):
    """Reads the windows of files, a row group at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and features of a window."""
        ...

    @property
    def starts(self) -> Sequence[int]:
        """How many windows are before each row group, shape (n_groups,)."""
        ...

    def read(self, number: int, origin: Sequence[float] = ()) -> Iterator[SomeWindows]:
        """Yield the windows of a row group, some at a time, less the origin of each feature."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WindowStream:
    """Training windows in a file, of which a data set holds some.

    Parameters
    ----------
    source
        Reads them.
    is_train
        Which windows of the source are training windows, shape (n_windows of the source,).
    is_used
        Which of these are read: the normal ones at first, same shape.
    rows
        Which windows of the source the training windows of the data set are, ascending.
    fingerprint
        Sha256 of all windows and labels of the source.
    origin
        What is taken from each feature before values are rounded to float32.
    series, start_ms
        Number of the key and start of each window, shape (n_windows of the source,), of windows
        that are cut from samples and overlap.
    """

    source: WindowReader
    is_train: NDArray[np.bool_]
    is_used: NDArray[np.bool_]
    rows: NDArray[np.intp]
    fingerprint: str
    origin: tuple[float, ...] = ()
    series: NDArray[np.int32] | None = None
    start_ms: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of windows that are read."""
        return int(np.count_nonzero(self.is_used))

    @property
    def every(self) -> "WindowStream":
        """Return all training windows, the anomalous ones included."""
        return replace(self, is_used=self.is_train)

    def without(self, rows: NDArray[np.intp]) -> "WindowStream":
        """Return the windows without some of those that the data set holds.

        Parameters
        ----------
        rows
            Which training windows of the data set.
        """
        is_used = self.is_used.copy()
        is_used[self.rows[rows]] = False
        return replace(self, is_used=is_used)

    def only(self, is_wanted: NDArray[np.bool_]) -> "WindowStream":
        """Return those of the windows that are wanted, shape (n_windows of the source,)."""
        return replace(self, is_used=self.is_used & is_wanted)

    def parts(self, order: Sequence[int] | None = None) -> Iterator[tuple[int, FloatArray]]:
        """Yield windows some at a time, each part with the number of its row group.

        Parameters
        ----------
        order
            Row groups in the order in which they are read; None for that of the file. Within one
            the windows have the order of the file.
        """
        starts = self.source.starts
        for number in range(len(starts)) if order is None else order:
            start = starts[number]
            for table in self.source.read(number, self.origin):
                is_used = self.is_used[start : start + len(table.windows)]  # (n_windows,)
                start += len(table.windows)
                yield number, table.windows[is_used]
