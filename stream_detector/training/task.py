"""What a network is fitted to, and with which settings: shared by all ways of fitting."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.recipes.training import TrainingSection

if TYPE_CHECKING:
    from stream_detector.training.streaming import StreamedPairs

OnEpoch = Callable[[int, float], None]
"""Called after each epoch with its number, counted from 1, and its mean training loss."""

History = dict[str, list[float]]
"""Losses of each epoch: `loss`, and `validation_loss` where windows were held out."""

_KERAS_LOSSES = {
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "bce": "binary_crossentropy",
}


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


@dataclass(frozen=True, slots=True)
class Task:
    """One fit of a network.

    Parameters
    ----------
    training
        The recipe's `[training]`.
    fit
        Windows to fit to, in memory or not.
    validation
        Windows held out, None where there are none.
    on_epoch
        Called after each epoch.
    """

    training: TrainingSection
    fit: "Pairs | StreamedPairs"
    validation: Pairs | None
    on_epoch: OnEpoch | None

    def shared(self, n_devices: int) -> "Task":
        """Return the task with windows that devices share evenly.

        A device without a window in the last batch would have a loss that is no number.
        """
        if n_devices == 1:
            return self
        validation = self.validation and self.validation.shared(n_devices)
        return replace(self, fit=self.held.shared(n_devices), validation=validation)

    @property
    def held(self) -> Pairs:
        """Return the windows to fit to, for networks that need all of them at once."""
        if not isinstance(self.fit, Pairs):
            message = "expected windows in memory to fit to, received a stream of them"
            raise TypeError(message)
        return self.fit

    def optimizer(self) -> Any:
        """Return a new optimizer; models that are fitted separately cannot share one."""
        import keras  # noqa: PLC0415  (slow to load)

        settings = {"learning_rate": self.training.learning_rate}
        return keras.optimizers.get({"class_name": self.training.optimizer, "config": settings})

    def compile(self, model: Any) -> None:
        """Compile a model to reconstruct its input."""
        model.compile(optimizer=self.optimizer(), loss=_KERAS_LOSSES[self.training.loss])
        # Its variables would be made in the first step, which TensorFlow would then trace twice.
        model.optimizer.build(model.trainable_variables)

    def report(self, epoch: int, loss: float) -> None:
        """Report a finished epoch, counted from 1."""
        if self.on_epoch is not None:
            self.on_epoch(epoch, loss)


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
