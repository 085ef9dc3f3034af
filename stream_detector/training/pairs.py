"""Windows as what a network is given and what it is to return."""

from typing import Any, NamedTuple

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.recipes.training import TrainingSection


class Pairs(NamedTuple):
    """Inputs of the network and its targets; each (n_windows, n_steps, n_features), scaled."""

    inputs: FloatArray
    targets: FloatArray

    @property
    def n_windows(self) -> int:
        """Return the number of windows."""
        return len(self.inputs)

    def shared(self, n_devices: int) -> "Pairs":
        """Return a whole number of windows for each device: without the last few."""
        n_kept = self.n_windows - self.n_windows % n_devices
        return self if n_kept == self.n_windows else Pairs(*(each[:n_kept] for each in self))

    def arguments(self, training: TrainingSection) -> dict[str, Any]:
        """Return what Keras' `fit` is to be called with, as to windows and batches."""
        size = training.batch_size
        return {"x": self.inputs, "y": self.targets, "batch_size": size, "shuffle": True}


def with_noise(windows: FloatArray, noise: float, rng: np.random.Generator) -> Pairs:
    """Return windows with added noise as inputs, and the windows themselves as targets.

    Parameters
    ----------
    windows
        Scaled to [0, 1], shape (n_windows, n_steps, n_features).
    noise
        Standard deviation of the noise, same unit; with 0 the inputs are the windows.
    rng
        Source of the noise. It is drawn once, so that it is the same in all epochs.

    Notes
    -----
    Source: TensorFlow's tutorial "Intro to Autoencoders", second example.

    Examples
    --------
    >>> windows = np.full((1, 4, 1), 0.75, dtype=np.float32)
    >>> with_noise(windows, 0.5, np.random.default_rng(0)).inputs.ravel().round(3)
    array([1.   , 0.056, 0.537, 0.348], dtype=float32)
    """
    if not noise:
        return Pairs(windows, windows)
    drawn = rng.standard_normal(windows.shape, dtype=np.float32)  # (n_windows, n_steps, n_features)
    return Pairs(np.clip(windows + np.float32(noise) * drawn, 0.0, 1.0), windows)
