"""Fitting of principal components: weights in closed form, from a singular value decomposition.

Among all autoencoders with linear layers and as long a latent code, this one has the least mean
squared error.

Source: Baldi and Hornik (1989), Neural Networks and Principal Component Analysis, fact 4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.training.pairs import Pairs
from stream_detector.training.task import History, Task

N_FIT_MAX = 16_384
"""Most windows that components are fitted to, evenly spread over all; of more, they would hardly be
others, and their decomposition would take much longer."""


def fit(network: Any, task: Task) -> History:
    """Set the weights in place; see `stream_detector.training.fitting.fit_network`.

    The only things of the task that count are its windows, without noise. Its one epoch is reported
    with the mean squared error.
    """
    n_latent = network.get_layer("encoder").output_shape[-1]
    middle, axes = principal_components(task.held.targets, n_latent)
    encoder_bias = -(middle @ axes)  # (n_latent,)
    weights = (axes, encoder_bias, axes.T, middle)
    network.set_weights([each.astype(np.float32) for each in weights])
    history = {"loss": [_squared_error(task.held, middle, axes)]}
    if task.validation is not None:
        history["validation_loss"] = [_squared_error(task.validation, middle, axes)]
    task.report(1, history["loss"][0])
    return history


def principal_components(
    windows: FloatArray, n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of windows and the directions in which they vary most.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), n_windows >= 1.
    n_components
        At most n_steps * n_features.

    Returns
    -------
    The mean, shape (n_values,), and the components, shape (n_values, n_components): orthonormal,
    those of the largest variance first, the largest value of each positive. A component beyond the
    number of windows is 0 throughout.

    Examples
    --------
    >>> windows = np.float32([[[1.0], [0.0]], [[3.0], [0.0]], [[5.0], [0.0]]])
    >>> middle, axes = principal_components(windows, 1)
    >>> middle.tolist(), axes.round(6).tolist()
    ([3.0, 0.0], [[1.0], [0.0]])
    """
    n_windows, n_values = len(windows), windows[0].size
    spread = np.linspace(0, n_windows - 1, min(n_windows, N_FIT_MAX)).round().astype(np.intp)
    rows = windows[spread].reshape(-1, n_values).astype(np.float64)  # (n, n_values)
    middle = rows.mean(axis=0)  # (n_values,)
    _, _, found = np.linalg.svd(rows - middle, full_matrices=False)
    axes = np.zeros((n_values, n_components))
    found = found[:n_components].T  # (n_values, n)
    # The sign of a component is a matter of the library.
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[np.newaxis], axis=0)
    axes[:, : found.shape[1]] = found * np.where(largest < 0, -1.0, 1.0)
    return middle, axes


def _squared_error(pairs: Pairs, middle: NDArray[np.float64], axes: NDArray[np.float64]) -> float:
    """Return the mean squared error of the reconstruction, which is what the components miss."""
    total = 0.0
    for start in range(0, len(pairs.targets), 1024):
        part = pairs.targets[start : start + 1024]
        rows = part.reshape(len(part), -1) - middle  # (n, n_values)
        total += float(np.square(rows).sum() - np.square(rows @ axes).sum())
    return max(total / pairs.targets.size, 0.0)
