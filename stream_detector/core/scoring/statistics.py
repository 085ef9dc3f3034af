"""What checks look at in a window: a few numbers of each feature.

Pure: arrays in, arrays out. The windows lie side by side, and steps are added to each other for all
of them at once: many times as fast as window by window, and each number is the same bit for bit
whatever else is in the batch. Of a window of one feature that is stuck::

    values          4 4 4 4 4 4
    mean            4               where the feature is
    slope           0               how far it moves, by the line through the window
    short_slope     0               the same of the newest steps
    short_shift     0               how far the newest steps are from those before them
    sd              log 0.001       how much it varies; logarithms, of what is above 0.001
    mean_step       log 0.001       how far it moves from one step to the next, on average
    max_step        0               and at most
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.relations import (
    BLOCK,
    Floats,
    Relations,
    blocks_of,
    n_blocks,
)

LOG_FLOOR = np.float32(1e-3)
"""Added before taking a logarithm: in units of a feature's spread, less than that is nothing."""

_SHIFT_SPREAD_MIN = 0.5
"""Least spread by which `short_shift` divides, in units of a feature's spread: what varied little
for a while may vary again."""


class WindowView:
    """Some windows as checks look at them; what two of them need is computed once.

    Parameters
    ----------
    scaled
        Scaled windows, float32, C-contiguous, shape (n_windows, n_steps, n_features), n_steps >= 2.
    errors
        Error of each value of the reconstruction, same shape, unit: that of the scaled signal or
        its square.
    n_short
        Steps of a short look, the newest ones, 2 <= n_short <= n_steps.
    n_peak
        Steps among which a peak is sought, the newest ones, 2 <= n_peak <= n_steps. At least one
        more than the stride, so that each step is looked at in some window.
    relations
        How features belong together; without them `relation` is 0.

    Examples
    --------
    >>> scaled = np.float32([[[0.0], [1.0], [2.0], [5.0]]])
    >>> view = WindowView(scaled, 0 * scaled, n_short=2, n_peak=4)
    >>> view.mean.tolist(), view.short_slope.tolist()
    ([[2.0]], [[3.0]])
    """

    def __init__(
        self,
        scaled: FloatArray,
        errors: FloatArray,
        n_short: int,
        n_peak: int,
        relations: Relations | None = None,
    ) -> None:
        self.scaled = scaled
        self.errors = errors
        self.n_short = n_short
        self.n_peak = n_peak
        self.relations = relations

    def some(self, rows: NDArray[np.intp]) -> "WindowView":
        """Return some of the windows."""
        rest = (self.n_short, self.n_peak, self.relations)
        return WindowView(self.scaled[rows], self.errors[rows], *rest)

    def with_errors(self, errors: FloatArray) -> "WindowView":
        """Return the same windows with other errors."""
        return WindowView(self.scaled, errors, self.n_short, self.n_peak, self.relations)

    def statistics(self, names: Iterable[str]) -> list[FloatArray]:
        """Return some of the numbers by name, each of shape (n_windows, n_features)."""
        return [getattr(self, name) for name in names]

    @cached_property
    def window_error(self) -> NDArray[np.float64]:
        """Mean error of each window, at least 0, float64, shape (n_windows,)."""
        return _means(self.errors)

    @cached_property
    def short_window_error(self) -> NDArray[np.float64]:
        """Mean error of the newest `n_short` steps of each window, at least 0, (n_windows,)."""
        return _means(self.errors[:, -self.n_short :])

    @cached_property
    def _values(self) -> FloatArray:
        """Values by step, shape (n_steps, n_features, n_windows)."""
        return _by_step(self.scaled)

    @cached_property
    def _steps(self) -> FloatArray:
        """Size of each step, shape (n_steps - 1, n_features, n_windows)."""
        steps: FloatArray = self._values[1:] - self._values[:-1]
        return np.abs(steps, out=steps)

    @cached_property
    def _errors(self) -> FloatArray:
        """Errors by step, shape (n_steps, n_features, n_windows)."""
        return _by_step(self.errors)

    @cached_property
    def _centred(self) -> FloatArray:
        """Values around their mean, shape (n_steps, n_features, n_windows)."""
        return self._values - self.mean.T

    @cached_property
    def mean(self) -> FloatArray:
        """Mean of each feature."""
        return _mean(self._values).T

    @cached_property
    def slope(self) -> FloatArray:
        """Change of each feature over the window, by the line of least squares."""
        return _slope(self._centred).T

    @cached_property
    def short_slope(self) -> FloatArray:
        """Change of each feature over the newest `n_short` steps."""
        return _slope(self._centred[-self.n_short :]).T

    @cached_property
    def short_shift(self) -> FloatArray:
        """Distance of the mean of the newest `n_short` steps from earlier means of as many steps.

        In units of the spread of these earlier means, or of half the spread of the feature if that
        is more. So a feature that goes up and down all the time has to go further to be unusual.
        The earlier means share no step with the newest one; 0 where a window has fewer than two.
        """
        n_short, n_steps = self.n_short, len(self._values)
        n_earlier = n_steps - 2 * n_short + 1
        if n_earlier <= 1:
            return np.zeros(self._values.shape[:0:-1], np.float32)
        # (n_steps - n_short + 1, n_features, n_windows), from the oldest to the newest
        means = _sliding_sums(self._values, n_short) / np.float32(n_short)
        middle = _mean(means[:n_earlier])  # (n_features, n_windows)
        spread = np.sqrt(_mean(np.square(means[:n_earlier] - middle)))
        shifts: FloatArray = np.abs(means[-1] - middle) / np.maximum(spread, _SHIFT_SPREAD_MIN)
        return shifts.T

    @cached_property
    def sd(self) -> FloatArray:
        """Logarithm of the standard deviation of each feature."""
        return _log(np.sqrt(_mean(np.square(self._centred)))).T

    @cached_property
    def short_sd(self) -> FloatArray:
        """Logarithm of the standard deviation of the newest `n_short` steps of each feature."""
        values = self._values[-self.n_short :]
        return _log(np.sqrt(_mean(np.square(values - _mean(values))))).T

    @cached_property
    def short_mean_step(self) -> FloatArray:
        """Logarithm of the mean size of the steps between the newest `n_short` values."""
        return _log(_mean(self._steps[1 - self.n_short :])).T

    @cached_property
    def mean_step(self) -> FloatArray:
        """Logarithm of the mean size of a step of each feature."""
        return _log(_mean(self._steps)).T

    @cached_property
    def unchanged(self) -> FloatArray:
        """Number of newest steps in which each feature has not changed at all, but others have.

        Where no feature changes, samples were lost and their values filled in, or sent again. Of
        one feature alone that is not known, and all of its steps count.
        """
        found = np.zeros(self._values.shape[1:], np.float32)  # (n_features, n_windows)
        is_same, is_alone = np.ones(found.shape, dtype=np.bool_), len(found) == 1
        for step in self._steps[::-1]:
            is_same &= step == 0
            if not is_same.any():
                break
            found += is_same & (step.any(axis=0) | is_alone)
        return found.T

    @cached_property
    def swing(self) -> FloatArray:
        """Logarithm of the mean difference between the means of neighbouring blocks of 4 steps."""
        n_blocks, n_left_out = divmod(len(self._values), BLOCK)
        if n_blocks <= 1:
            return self.mean_step
        # Shape (n_blocks, 4, n_features, n_windows).
        blocks = self._values[n_left_out:].reshape(n_blocks, BLOCK, *self._values.shape[1:])
        means = _mean(blocks.swapaxes(0, 1))  # (n_blocks, n_features, n_windows)
        return _log(_mean(np.abs(means[1:] - means[:-1]))).T

    @cached_property
    def _unrelated(self) -> FloatArray:
        """How far blocks are from what other features say, (n_blocks, n_features, n_windows)."""
        if self.relations is None:
            return np.zeros((1, *self.scaled.shape[:1:-1], len(self.scaled)), np.float32)
        return np.abs(_by_step(self.relations.residuals(blocks_of(self.scaled))))

    @cached_property
    def relation(self) -> FloatArray:
        """Mean distance of each feature from what the others say."""
        return _mean(self._unrelated).T

    @cached_property
    def short_relation(self) -> FloatArray:
        """The same of the newest `n_short` steps."""
        return _mean(self._unrelated[-n_blocks(self.n_short) :]).T

    @cached_property
    def max_deviation(self) -> FloatArray:
        """Largest distance of the newest `n_peak` steps from the mean."""
        farthest: FloatArray = np.abs(self._centred[-self.n_peak :]).max(axis=0).T
        return farthest

    @cached_property
    def max_step(self) -> FloatArray:
        """Largest of the steps between the newest `n_peak` values."""
        largest: FloatArray = self._steps[1 - self.n_peak :].max(axis=0).T
        return largest

    @cached_property
    def error(self) -> FloatArray:
        """Logarithm of the mean error of each feature."""
        return _log(_mean(self._errors)).T

    @cached_property
    def max_error(self) -> FloatArray:
        """Largest error of the newest `n_peak` steps of each feature."""
        largest: FloatArray = self._errors[-self.n_peak :].max(axis=0).T
        return largest


STATISTICS = (
    "mean", "slope", "short_slope", "short_shift", "sd", "short_sd", "mean_step",
    "short_mean_step", "unchanged", "swing", "relation", "short_relation", "max_step",
    "max_deviation", "error", "max_error",
)  # fmt: skip
"""Names of the numbers."""

_LOGARITHMS = frozenset(("sd", "short_sd", "mean_step", "short_mean_step", "swing", "error"))
"""Those that are logarithms: they vary by factors. A peak is judged by its size."""


def in_scaled_unit(name: str, value: float) -> float:
    """Return a number without its logarithm, in the unit of the scaled signal.

    Examples
    --------
    >>> round(in_scaled_unit("sd", float(np.log(0.201))), 6), in_scaled_unit("mean", 4.0)
    (0.2, 4.0)
    """
    if name not in _LOGARITHMS:
        return value
    return max(float(np.exp(min(value, 80.0))) - float(LOG_FLOOR), 0.0)


def window_means(windows: FloatArray | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each feature of each window, shape (n_windows, n_features).

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), n_steps >= 1. Summed in float64, so that the mean
        of values near 1e9 is as exact as they are.

    Examples
    --------
    >>> window_means(np.float32([[[1.0], [4.0]], [[2e9], [2e9]]])).tolist()
    [[2.5], [2000000000.0]]
    """
    n_steps = windows.shape[1]
    by_step = np.ascontiguousarray(windows.swapaxes(0, 1), dtype=np.float64)
    means: NDArray[np.float64] = _sum(by_step) / n_steps
    return means


def _means(errors: FloatArray) -> NDArray[np.float64]:
    """Return the mean of all values of each window, at least 0, shape (n_windows,)."""
    rows = errors.reshape(len(errors), errors.shape[1] * errors.shape[2])
    means: NDArray[np.float64] = np.maximum(rows.mean(axis=1), 0).astype(np.float64)
    return means


def _log(values: FloatArray) -> FloatArray:
    """Return logarithms; an error below zero, which "bce" can have, counts as 0."""
    values = np.maximum(values, np.float32(0))
    values += LOG_FLOOR
    return np.log(values, out=values)


def _slope(values: FloatArray) -> FloatArray:
    """Return the change over all steps by the line of least squares, shape (n_features, n_windows).

    Parameters
    ----------
    values
        Shape (n_steps, n_features, n_windows).
    """
    n_steps = len(values)
    places = np.arange(n_steps) - (n_steps - 1) / 2  # (n_steps,)
    weights = (places * (n_steps - 1) / np.square(places).sum()).astype(np.float32)
    return _sum(values * weights[:, np.newaxis, np.newaxis])


def _by_step(windows: FloatArray) -> FloatArray:
    """Return windows side by side, shape (n_steps, n_features, n_windows), C-contiguous."""
    n_windows, n_steps, n_features = windows.shape
    columns = windows.reshape(n_windows, n_steps * n_features).T
    return np.ascontiguousarray(columns).reshape(n_steps, n_features, n_windows)


def _sum(values: Floats) -> Floats:
    """Return the sum over the first axis, whose halves are added until one row is left.

    Not `values.sum(axis=0)`, which adds a lone column in another order than one of many.
    """
    while len(values) > 1:
        half = len(values) // 2
        odd = values[2 * half :]
        values = values[:half] + values[half : 2 * half]
        values[: len(odd)] += odd
    row: Floats = values[0]
    return row


def _mean(values: FloatArray) -> FloatArray:
    """Return the mean over the first axis."""
    return _sum(values) / np.float32(len(values))


def _sliding_sums(values: FloatArray, n: int) -> FloatArray:
    """Return the sums of each `n` rows that follow each other, shape (n_rows - n + 1, ...).

    Sums of 2, 4, 8 rows are made of each other, and those of `n` rows of these.
    """
    n_found = len(values) - n + 1
    found: FloatArray = np.zeros((n_found, *values.shape[1:]), values.dtype)
    width, n_done = 1, 0
    while width <= n:
        if n & width:
            found += values[n_done : n_done + n_found]
            n_done += width
        values = values[width:] + values[:-width]
        width *= 2
    return found
