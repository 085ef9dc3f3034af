"""How features belong together: what the others say that a feature is.

Pure: arrays in, arrays out. Of a pump, pressure and flow; of a string of solar panels, power and
irradiance: each may be where it often is, and both at once never are. So each feature is predicted
from all others at the same time, by one linear regression for all windows, from means of a few
steps, in which noise is less::

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

_RIDGE = 1e-3
"""Added to the variance of each feature, in units of its spread: where two features are alike, it
shares their weight, and it hardly moves that of one alone."""

_N_FIT_MAX = 8_192
"""Windows that a regression is fitted to."""


@dataclass(frozen=True, slots=True, eq=False)
class Relations:
    """Predicts each feature from all others.

    Parameters
    ----------
    weights
        How much the value of one feature (row) says of another (column), float32, shape
        (n_features, n_features), 0 on the diagonal.
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
        found: FloatArray = blocks - np.matmul(blocks, self.weights)
        found -= self.offsets
        found /= self.units(blocks)
        return found

    def units(self, blocks: FloatArray) -> FloatArray:
        """Return what is 1 of a residual, shape of `blocks`, in the unit of the scaled signal.

        A spread of the feature, and more where the others are far from their middles: a relation
        of a few percent is exact to a few percent, and a feature that has gone wild makes no other
        one anomalous.
        """
        found: FloatArray = np.matmul(np.abs(blocks), np.abs(self.weights))
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


def fit_relations(windows: FloatArray) -> tuple[Relations, NDArray[np.float64]]:
    """Fit a regression of each feature on all others.

    Parameters
    ----------
    windows
        Scaled normal windows, float32, shape (n_windows, n_steps, n_features), n_windows >= 1.

    Returns
    -------
    The regressions, and the part of how each feature varies that they leave unexplained, shape
    (n_features,), range [0, 1]; 1 of a feature that does not vary.

    Examples
    --------
    >>> steps = np.random.default_rng(0).standard_normal((50, 40, 1))
    >>> relations, unexplained = fit_relations(np.float32(np.concatenate([steps, 2 * steps], 2)))
    >>> relations.weights.round(1).tolist(), unexplained.round(2).tolist()
    ([[0.0, 2.0], [0.5, 0.0]], [0.0, 0.0])
    """
    n_features = windows.shape[2]
    some = windows[:: -(-len(windows) // _N_FIT_MAX)]
    blocks = blocks_of(some).reshape(-1, n_features).astype(np.float64)  # (n_blocks, n_features)
    middle = blocks.mean(axis=0)
    centred = blocks - middle
    covariance = centred.T @ centred / len(centred)  # (n_features, n_features)
    variances = covariance.diagonal().copy()
    weights, unexplained = np.zeros_like(covariance), np.ones(n_features)
    for feature in np.flatnonzero(variances > 0).tolist():
        others = np.flatnonzero(np.arange(n_features) != feature)
        among = covariance[np.ix_(others, others)] + _RIDGE * np.eye(len(others))
        weights[others, feature] = np.linalg.solve(among, covariance[others, feature])
        left = centred[:, feature] - centred @ weights[:, feature]  # (n_blocks,)
        unexplained[feature] = min(float(np.square(left).mean()) / variances[feature], 1.0)
    offsets = (middle - middle @ weights).astype(np.float32)
    return Relations(weights.astype(np.float32), offsets), unexplained
