"""How far windows are from the nearest of some normal windows.

Pure: arrays in, arrays out. Windows are compared in the coordinates of their principal components,
where noise that never repeats has no say; what these coordinates leave out counts as a distance of
its own.

Notes
-----
Matrix products are taken of one window at a time. Of several, the library sums in an order that
depends on a window's place, and on the processor: with AVX2 other bits come out from the seventh
row on. So no bit of a window's distance depends on how many windows are in the batch.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

N_NEAREST = 3
"""Nearest normal windows that count. With the nearest one alone, a single odd window among those
drawn would make its likes normal."""

_ROWS_AT_ONCE = 256
"""Distances to all prototypes are held for so many windows at once: of 512 prototypes, half a MiB,
which the cache of a processor holds."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Some normal windows, to which others are compared.

    Parameters
    ----------
    n_last
        Steps that are compared, the newest of each window.
    n_nearest
        How many of the nearest normal windows count; their distances are averaged.
    feature
        Which feature is compared, counted from 0; None for all of them together.
    middle
        Mean of the training windows, float32, shape (n_last * n_features,), unit: that of the
        scaled signal.
    axes
        Orthonormal principal components, float32, shape (n_last * n_features, n_axes).
    factors
        By which the coordinate along each component is multiplied, float32, shape (n_axes,).
    prototypes
        Normal windows in these coordinates, float32, shape (n_prototypes, n_axes), n_prototypes >=
        n_nearest.
    """

    n_last: int
    n_nearest: int
    feature: int | None
    middle: FloatArray
    axes: FloatArray
    factors: FloatArray
    prototypes: FloatArray

    def distances(self, windows: FloatArray) -> NDArray[np.float64]:
        """Return the distance of each window, per value.

        Parameters
        ----------
        windows
            Scaled windows, float32, shape (n_windows, n_steps, n_features), n_steps >= n_last.

        Returns
        -------
        Root of the mean squared distance to the nearest prototypes plus the squared distance from
        the principal components, each over the number of values; shape (n_windows,), range
        [0, inf), unit: that of the scaled signal.
        """
        n_windows, n_values = len(windows), len(self.middle)
        found = np.empty(n_windows)  # (n_windows,)
        for start in range(0, n_windows, _ROWS_AT_ONCE):
            part = _compared(windows[start : start + _ROWS_AT_ONCE], self.n_last, self.feature)
            rows = part - self.middle  # (n, n_values)
            codes = multiply(rows, self.axes)  # (n, n_axes)
            inside = np.square(codes).sum(axis=1)  # (n,)
            residuals = np.maximum(np.square(rows).sum(axis=1) - inside, 0)  # (n,)
            codes *= self.factors
            nearest = self._nearest(codes)  # (n,)
            found[start : start + len(part)] = np.sqrt((nearest + residuals) / n_values)
        return found

    def whitened(self, power: float) -> "Neighbours":
        """Return the same windows in coordinates that vary more alike.

        Parameters
        ----------
        power
            Between 0 and 1. The coordinate along a component is divided by this power of its
            standard deviation, in units of that of the first component: with 0 not at all, with 1
            all coordinates vary alike. What varies little among normal windows counts for more.
        """
        spread = self.prototypes.std(axis=0, dtype=np.float64)  # (n_axes,)
        relative = np.maximum(spread / spread[0], _RELATIVE_MIN) if spread[0] else np.ones(1)
        factors = np.broadcast_to(relative**-power, spread.shape).astype(np.float32)
        return replace(self, factors=self.factors * factors, prototypes=self.prototypes * factors)

    def _nearest(self, codes: FloatArray) -> FloatArray:
        """Return the mean squared distance to the nearest prototypes, shape (n_windows,)."""
        squares = np.square(codes).sum(axis=1)  # (n_windows,)
        distances = multiply(codes, self._columns)  # (n_windows, n_prototypes)
        distances *= np.float32(-2)
        distances += self._lengths
        nearest = _smallest(distances, self.n_nearest)
        nearest += squares[:, np.newaxis]  # (n_windows, n_nearest)
        means: FloatArray = np.maximum(nearest, 0).mean(axis=1)
        return means

    @cached_property
    def _columns(self) -> FloatArray:
        """Prototypes side by side, shape (n_axes, n_prototypes), C-contiguous."""
        return np.ascontiguousarray(self.prototypes.T)

    @cached_property
    def _lengths(self) -> FloatArray:
        """Squared distance of each prototype from the middle, shape (n_prototypes,)."""
        lengths: FloatArray = np.square(self.prototypes).sum(axis=1)
        return lengths


def fit_neighbours(
    windows: FloatArray,
    n_last: int,
    n_axes_max: int,
    n_prototypes_max: int,
    rng: np.random.Generator,
    feature: int | None = None,
) -> Neighbours:
    """Fit principal components to normal windows, and draw some of them.

    Parameters
    ----------
    windows
        Scaled normal windows, float32, shape (n_windows, n_steps, n_features), n_windows >= 1.
    n_last
        Steps to compare, at most n_steps.
    n_axes_max, n_prototypes_max
        Most principal components, and most windows to draw.
    rng
        Draws the windows.
    feature
        See `Neighbours`.
    """
    rows = _compared(windows, n_last, feature)  # (n_windows, n_values)
    some = rows[_draw(len(rows), _N_FIT_MAX, rng)].astype(np.float64)  # (n, n_values)
    middle = some.mean(axis=0)  # (n_values,)
    _, _, axes = np.linalg.svd(some - middle, full_matrices=False)
    axes = axes[: min(n_axes_max, max(len(some) - 1, 1))].T.astype(np.float32)
    axes = np.ascontiguousarray(axes)  # (n_values, n_axes)
    drawn = rows[_draw(len(rows), n_prototypes_max, rng)] - middle.astype(np.float32)
    return Neighbours(
        n_last=n_last,
        n_nearest=min(N_NEAREST, len(drawn)),
        feature=feature,
        middle=middle.astype(np.float32),
        axes=axes,
        factors=np.ones(axes.shape[1], np.float32),
        prototypes=multiply(drawn, axes),
    )


_RELATIVE_MIN = 1e-3
"""Least standard deviation along a component, in units of the first one: where windows do not vary
at all, their rounding must not count."""

_N_FIT_MAX = 8_192
"""Windows that principal components are fitted to."""


def _compared(windows: FloatArray, n_last: int, feature: int | None) -> FloatArray:
    """Return the values of windows that are compared, shape (n_windows, n_values)."""
    part = windows[:, -n_last:] if feature is None else windows[:, -n_last:, feature]
    return part.reshape(len(windows), n_last * windows.shape[2] if feature is None else n_last)


def _smallest(values: FloatArray, n: int) -> FloatArray:
    """Return the smallest values of each row, ascending, shape (n_rows, n).

    They are taken out of `values`. For few of them this is several times as fast as a partition.
    """
    rows = np.arange(len(values))  # (n_rows,)
    found = np.empty((len(values), n), values.dtype)
    for column in range(n):
        places = values.argmin(axis=1)  # (n_rows,)
        found[:, column] = values[rows, places]
        values[rows, places] = np.inf
    return found


def _draw(n: int, n_max: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows of at most so many windows, ascending."""
    if n <= n_max:
        return np.arange(n)
    return np.sort(rng.choice(n, n_max, replace=False))


def multiply(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return a matrix product in which no bit of a row depends on the other rows.

    Parameters
    ----------
    rows
        Float32, shape (n_rows, n_values).
    matrix
        Float32, shape (n_values, n_columns).

    Returns
    -------
    Float32, shape (n_rows, n_columns).
    """
    product: FloatArray = np.matmul(rows[:, np.newaxis], matrix)  # (n_rows, 1, n_columns)
    return product[:, 0]
