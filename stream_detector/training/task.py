"""What a network is fitted to, and with which settings: shared by all ways of fitting."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stream_detector.recipes.training import TrainingSection
from stream_detector.training.pairs import Pairs
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

_STEPS_AT_A_TIME = 16
"""Four times as fast as one by one for a small network. With more, an interrupt waits longer."""

_STEPS_MIN = 500
"""Steps of a fit, from which on several at a time pay: to trace their loop takes 0.2 s."""


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
    fit: Pairs | StreamedPairs
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

    def steps_at_a_time(self) -> int:
        """Return how many steps of the optimizer TensorFlow is to take without asking Python.

        The steps are the same. Several devices cannot, and for a few steps it does not pay.
        """
        import tensorflow  # noqa: PLC0415  (slow to load)

        if tensorflow.distribute.has_strategy() or not isinstance(self.fit, Pairs):
            return 1
        n_steps = self.training.epochs * -(-self.fit.n_windows // self.training.batch_size)
        return _STEPS_AT_A_TIME if n_steps >= _STEPS_MIN else 1

    def optimizer(self) -> Any:
        """Return a new optimizer; models that are fitted separately cannot share one."""
        import keras  # noqa: PLC0415  (slow to load)

        settings = {"learning_rate": self.training.learning_rate}
        return keras.optimizers.get({"class_name": self.training.optimizer, "config": settings})

    def compile(self, model: Any, steps_at_a_time: int = 1) -> None:
        """Compile a model to reconstruct its input."""
        model.compile(
            optimizer=self.optimizer(),
            loss=_KERAS_LOSSES[self.training.loss],
            steps_per_execution=steps_at_a_time,
        )
        # Its variables would be made in the first step, which TensorFlow would then trace twice.
        model.optimizer.build(model.trainable_variables)

    def report(self, epoch: int, loss: float) -> None:
        """Report a finished epoch, counted from 1."""
        if self.on_epoch is not None:
            self.on_epoch(epoch, loss)
