"""Where in time an alert's fault is: the scores of its windows, put back on what they cover.

Pure. A window says that something in it is anomalous, and so do those before and after it. The
fault is where most of what they say lies, so each window adds its anomaly score to the time that it
covers, in bins of equal width::

    windows    |------|            bins     1 2 2 2 1
                 |------|          span       * * *      from half of the largest sum on
                   . . .

The bins begin with the alert's first window. They are as wide as the time between two samples until
there are too many; then each two become one, so an alert takes a few kilobytes however long it is.
They depend on the alert's own windows alone, and are restored with them.
"""

from dataclasses import dataclass
from itertools import zip_longest
from math import floor

import numpy as np

from stream_detector.core.scoring.explanation import worst_span

N_BINS_MAX = 256
"""Most bins of an alert. An alert of ten minutes at one sample a second has bins of 4 s."""

ADDED_MAX = 2.0
"""Most that a window adds: one that is far from normal is no reason to leave out the others."""


@dataclass(frozen=True, slots=True)
class PutBackScores:
    """The sum of the anomaly scores of an alert's windows, by time.

    Parameters
    ----------
    start_ms
        Start of the alert's first window.
    interval_ms
        Time between two samples; above zero.
    n_halved
        How often each two bins became one: a bin is `interval_ms` times 2 to this power wide.
    sums
        Sum of each bin. Length n_bins, 0 to `N_BINS_MAX`.
    end_ms
        End of the newest window.
    shared_start_ms, shared_end_ms
        Largest start and smallest end of the anomalous windows so far: they all have a time in
        common where the start is not beyond the end.
    """

    start_ms: int
    interval_ms: float
    n_halved: int
    sums: tuple[float, ...]
    end_ms: int
    shared_start_ms: int
    shared_end_ms: int

    @classmethod
    def empty(cls, start_ms: int, end_ms: int, interval_ms: float) -> "PutBackScores":
        """Return the sums of an alert before its first window, which starts and ends then."""
        return cls(start_ms, interval_ms, 0, (), end_ms, start_ms, end_ms)

    def add(self, start_ms: int, end_ms: int, anomaly_score: float) -> "PutBackScores":
        """Return the sums with one more window, whose score is a number."""
        n_halved, sums = self.n_halved, self.sums
        first, last = max(self._number(start_ms), 0), self._number(end_ms)
        while last >> n_halved >= N_BINS_MAX:
            n_halved, sums = n_halved + 1, _halved(sums)
        first, last = first >> n_halved, last >> n_halved
        sums += (0.0,) * (last + 1 - len(sums))
        weight = min(anomaly_score, ADDED_MAX)
        covered = tuple([each + weight for each in sums[first : last + 1]])
        sums = sums[:first] + covered + sums[last + 1 :]
        shared = self.shared_start_ms, self.shared_end_ms
        if anomaly_score > 1.0:
            shared = max(start_ms, shared[0]), min(end_ms, shared[1])
        newest_ms = max(end_ms, self.end_ms)
        return PutBackScores(self.start_ms, self.interval_ms, n_halved, sums, newest_ms, *shared)

    def span_ms(self, worst_ms: tuple[int, int]) -> tuple[int, int]:
        """Return where the fault is: times of its first and its last sample.

        Parameters
        ----------
        worst_ms
            Worst span of the worst window.

        Returns
        -------
        The contiguous bins around the largest sum that have at least half of it. A fault that is
        shorter than a window is in windows that all have a time in common; then the worst window,
        which knows its steps one by one, says more than their sum, and the answer is its worst span
        where that lies in the common time.
        """
        is_shared = self.shared_start_ms <= self.shared_end_ms
        if is_shared and (
            worst_ms[0] <= self.shared_end_ms and worst_ms[1] >= self.shared_start_ms
        ):
            return worst_ms
        first, last = worst_span(np.array(self.sums))
        n_last = ((last + 1) << self.n_halved) - 1
        return self._time_ms(first << self.n_halved), min(self._time_ms(n_last), self.end_ms)

    def _number(self, time_ms: int) -> int:
        """Return which sample there is at a time, counted from the first window's first."""
        return floor((time_ms - self.start_ms) / self.interval_ms + 0.5)

    def _time_ms(self, number: int) -> int:
        """Return when a sample is, in whole milliseconds."""
        return floor(self.start_ms + number * self.interval_ms + 0.5)


def _halved(sums: tuple[float, ...]) -> tuple[float, ...]:
    """Return half as many bins, each with the mean of two; a missing last one counts as 0."""
    pairs = zip_longest(sums[::2], sums[1::2], fillvalue=0.0)
    return tuple([(one + other) / 2 for one, other in pairs])
