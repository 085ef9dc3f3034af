"""Runs a network with Keras, on the GPU where there is one.

Batches are padded to a few fixed sizes, so that one function is compiled for each of them and a
window's reconstruction does not depend in any bit on its batch. That was measured on a CPU; on a
GPU run `tests/contracts/test_engines.py` there before relying on it.
"""

from pathlib import Path

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.engines.backend import import_keras
from stream_detector.engines.checks import check_windows
from stream_detector.errors import BundleIntegrityError, BundleMismatchError
from stream_detector.ports import Reconstructor

ROWS_MIN = 64
"""Smallest batch. Below it matrix products take other paths, with other bits."""
ROWS_MAX = 2048
"""Largest batch; more windows go in several. Bounds the sizes to compile for to six."""


def load_keras(path: Path, n_steps: int, n_features: int) -> Reconstructor:
    """Load a network from a .keras file, in Keras' safe mode.

    Parameters
    ----------
    path
        The file.
    n_steps, n_features
        Shape of the windows that will be scored.

    Returns
    -------
    A function that keeps the contract of `stream_detector.ports.Reconstructor`.

    Raises
    ------
    BundleIntegrityError
        If the file is no Keras network, or holds code, which safe mode refuses.
    BundleMismatchError
        If the network is for windows of another shape.
    ConfigError
        If Keras is not installed.
    """
    keras = import_keras()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{path} cannot be loaded by Keras: {error}; train the bundle again"
        raise BundleIntegrityError(message) from None
    for role, shape in (("input", model.input_shape), ("output", model.output_shape)):
        if tuple(shape) != (None, n_steps, n_features):
            message = (
                f"{path}: expected one {role} of shape (None, {n_steps}, {n_features}), received "
                f"{shape}; train a bundle for windows of this shape"
            )
            raise BundleMismatchError(message)
    # Not XLA: it compiles every batch size on its own, with other bits for each.
    model.compile(jit_compile=False)

    def reconstruct(windows: FloatArray) -> FloatArray:
        check_windows(windows, n_steps, n_features)
        reconstructions = np.empty_like(windows)
        for start in range(0, len(windows), ROWS_MAX):
            part = windows[start : start + ROWS_MAX]
            padded = np.zeros((padded_rows(len(part)), n_steps, n_features), dtype=np.float32)
            padded[: len(part)] = part
            whole = model.predict_on_batch(padded)
            reconstructions[start : start + ROWS_MAX] = whole[: len(part)]
        return reconstructions

    return reconstruct


def padded_rows(n_windows: int) -> int:
    """Return the batch size for so many windows: a power of two, `ROWS_MIN` at least.

    Examples
    --------
    >>> [padded_rows(n) for n in (1, 64, 65, 2048)]
    [64, 64, 128, 2048]
    """
    return max(ROWS_MIN, 1 << (n_windows - 1).bit_length())
