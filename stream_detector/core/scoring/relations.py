"""How features belong together: what the others say that a feature is.

Pure: arrays in, arrays out. Of a pump, pressure and flow; of a string of solar panels, power and
irradiance: each may be where it often is, and both at once never are. So each feature is predicted
from all others at the same time and their squares, by one linear regression for all windows, from
means of a few steps, in which noise is less::

    irradiance  200  400  600  600
    power       2.0  4.1  3.5  3.6
    predicted   2.0  4.0  6.0  6.0      of power, from irradiance

Notes
-----
Matrix products are taken of one window at a time, as those of `neighbours` are: no bit of a window
depends on how many are in the batch.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray

Floats = TypeVar("Floats", FloatArray, NDArray[np.float64])
"""An array of one kind of floats."""

BLOCK = 4
"""Steps that are averaged before features are compared, and before a swing is sought."""

N_SUSPECTS_MAX = 8
"""Most features that are put at their usual values, each in turn, to find the one to blame."""

_RIDGE = 1e-3
"""Added to the variance of each feature, in units of its spread: where two features are alike, it
shares their weight, and it hardly moves that of one alone."""

N_FIT_MAX = 8_192
"""Windows that are enough to fit a regression."""


@dataclass(frozen=True, slots=True, eq=False)
class Relations:
    """Predicts each feature from all others.

    Parameters
    ----------
    weights
        How much the value of one feature (row) says of another (column), and then how much the
        square of its value does, float32, shape (2 * n_features, n_features); 0 where both are the
        same feature.
    offsets
        Prediction of each feature where all are 0, float32, shape (n_features,); both in the unit
        of the scaled signal.
    """

    weights: FloatArray
    offsets: FloatArray

    def residuals(self, blocks: FloatArray) -> FloatArray:
        """Return how far features are from what the others say, in units of how sure that is.

        Parameters
        ----------
        blocks
            From `blocks_of`.

        Returns
        -------
        Float32, shape of `blocks`; see `units`.
        """
        found = self.distances(blocks)
        found /= self.units(blocks)
        return found

    def distances(self, blocks: FloatArray) -> FloatArray:
        """Return how far features are from what the others say, in the unit of the scaled signal.

        Parameters
        ----------
        blocks
            From `blocks_of`.

        Returns
        -------
        Float32, shape of `blocks`.
        """
        found: FloatArray = blocks - np.matmul(_inputs(blocks), self.weights)
        found -= self.offsets
        return found

    def blame(self, blocks: FloatArray, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much each feature makes all of them disagree more than normal.

        What a feature says of others makes these disagree, too. So each of those that disagree most
        is put at what the others say, in turn: what that takes from the excess of all is its own.

        Parameters
        ----------
        blocks
            Of one window, shape (1, n_blocks, n_features).
        normal
            Mean size of the residuals of each feature that is normal, shape (n_features,), inf of
            a feature that is not judged.

        Returns
        -------
        At least 0, shape (n_features,).
        """
        own = self._excess(blocks, normal)[0]  # (n_features,)
        suspects = np.argsort(-own, kind="stable")[:N_SUSPECTS_MAX]
        suspects = suspects[own[suspects] > 0]  # (n_suspects,)
        distances = self.distances(blocks)[0]  # (n_blocks, n_features)
        replaced = np.repeat(blocks, len(suspects), axis=0)
        replaced[np.arange(len(suspects)), :, suspects] -= distances[:, suspects].T
        taken = np.zeros(len(own))
        left = self._excess(replaced, normal).sum(axis=1)  # (n_suspects,)
        taken[suspects] = np.maximum(own.sum() - left, 0)
        return taken

    def _excess(self, blocks: FloatArray, normal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much larger than normal residuals are, shape (n_windows, n_features)."""
        sizes = np.abs(self.residuals(blocks)).mean(axis=1, dtype=np.float64)
        excess: NDArray[np.float64] = np.maximum(sizes - normal, 0)
        return excess

    def units(self, blocks: FloatArray) -> FloatArray:
        """Return what is 1 of a residual, shape of `blocks`, in the unit of the scaled signal.

        A spread of the feature, and more where the others are far from their middles: features that
        agree within a few percent do so there, too, and one that has gone wild makes no other one
        anomalous.
        """
        found: FloatArray = np.matmul(np.abs(_inputs(blocks)), np.abs(self.weights))
        found += np.float32(1)
        return found


def blocks_of(windows: Floats) -> Floats:
    """Return the means of `BLOCK` steps that follow each other, the newest steps included.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), n_steps >= 1.

    Returns
    -------
    Shape (n_windows, n_steps // BLOCK, n_features), C-contiguous; of fewer steps than `BLOCK`, each
    step is a block.

    Examples
    --------
    >>> blocks_of(np.float32([[[9.0], [1.0], [2.0], [3.0], [6.0]]])).tolist()
    [[[3.0]]]
    """
    n_windows, n_steps, n_features = windows.shape
    size = BLOCK if n_steps >= BLOCK else 1
    kept = windows[:, n_steps % size :]
    parts = kept.reshape(n_windows, n_steps // size, size, n_features)
    total: Floats = parts[:, :, 0].copy()
    for step in range(1, size):  # in one order, whatever the number of features
        total += parts[:, :, step]
    total /= size
    return total


def n_blocks(n_steps: int) -> int:
    """Return how many of the newest blocks are as long as so many steps, one at least."""
    return max(n_steps // BLOCK, 1)


def fit_relations(windows: FloatArray) -> Relations:
    """Fit a regression of each feature on all others.

    Parameters
    ----------
    windows
        Scaled normal windows, float32, shape (n_windows, n_steps, n_features), n_windows >= 1.

    Examples
    --------
    >>> steps = np.random.default_rng(0).standard_normal((50, 40, 1))
    >>> relations = fit_relations(np.concatenate([steps, 2 * steps], axis=2).astype(np.float32))
    >>> relations.weights[:2].round(1).tolist()
    [[0.0, 2.0], [0.5, 0.0]]
    """
    middle, centred = _centred(_inputs(blocks_of(windows)))
    n_features = windows.shape[2]
    covariance = centred.T @ centred / len(centred)  # (2 * n_features, 2 * n_features)
    weights = np.zeros((2 * n_features, n_features))
    for feature in range(n_features):
        others = np.flatnonzero(np.arange(2 * n_features) % n_features != feature)
        among = covariance[np.ix_(others, others)] + _RIDGE * np.eye(len(others))
        weights[others, feature] = np.linalg.solve(among, covariance[others, feature])
    offsets = (middle[:n_features] - middle @ weights).astype(np.float32)
    return Relations(weights.astype(np.float32), offsets)


def unexplained(relations: Relations, windows: FloatArray) -> NDArray[np.float64]:
    """Return the part of how each feature varies that others do not explain.

    Parameters
    ----------
    relations
        Fitted to any windows.
    windows
        As in `fit_relations`.

    Returns
    -------
    Mean square of the distance from the prediction over the variance of the feature, at least 0,
    shape (n_features,); 1 of a feature that does not vary.
    """
    blocks = blocks_of(windows)
    squares = np.square(relations.distances(blocks), dtype=np.float64)
    left = squares.mean(axis=(0, 1))  # (n_features,)
    variances = np.square(_centred(blocks)[1]).mean(axis=0)
    return np.where(variances > 0, left / np.where(variances > 0, variances, 1), 1.0)


def _inputs(blocks: FloatArray) -> FloatArray:
    """Return the values of each block and their squares, (n_windows, n_blocks, 2 * n_features)."""
    return np.concatenate([blocks, np.square(blocks)], axis=2)


def _centred(values: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of all blocks, and how far each is from them, (n_blocks, n_values)."""
    rows = values.reshape(-1, values.shape[2]).astype(np.float64)
    middle = rows.mean(axis=0)
    return middle, rows - middle
