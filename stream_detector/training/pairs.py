"""Windows as what a network is given and what it is to return."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.recipes.training import TrainingSection

PREFETCHED = 2
"""Batches that are ready before they are needed."""


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
        order = self.draw_order()
        inputs = self.inputs[order]
        targets = inputs if self.targets is self.inputs else self.targets[order]
        return {"x": Pairs(inputs, targets).batches(training.batch_size)}

    def draw_order(self) -> NDArray[np.int64]:
        """Return the numbers of all windows as Keras' seed has them drawn: the order of each epoch.

        It is that of Keras' own `fit`, given arrays.
        """
        import tensorflow  # noqa: PLC0415  (slow to load)

        def draw() -> Any:
            return tensorflow.random.shuffle(tensorflow.range(self.n_windows, dtype="int64"))

        # As a function of its own, as Keras does: the numbers drawn depend on where they are drawn.
        # Its trace is called, for after five functions TensorFlow warns that tracing is slow.
        order = tensorflow.function(draw, autograph=False).get_concrete_function()()
        return np.asarray(order)  # (n_windows,)

    def batches(self, size: int) -> Any:
        """Return TensorFlow's data set of the windows in batches, in order.

        From arrays Keras makes one twice in each epoch, which takes longer than to fit a small
        network to hundreds of windows.
        """
        from tensorflow.data import Dataset, Options  # noqa: PLC0415  (slow to load)

        plain = Options()  # to tune and to rewrite what is this plain takes longer
        plain.autotune.enabled = False
        plain.experimental_optimization.apply_default_optimizations = False
        batches = Dataset.from_tensor_slices(tuple(self)).batch(size)
        return batches.prefetch(PREFETCHED).with_options(plain)


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
