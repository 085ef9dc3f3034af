"""Fit a network to windows: noise on the way in, what its kind adds, and the loss of each epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.recipes.networks import (
    AdversarialNetwork,
    DenseNetwork,
    NetworkSection,
    VariationalNetwork,
)
from stream_detector.recipes.sections import TrainingSection

OnEpoch = Callable[[int, float], None]
History = dict[str, list[float]]

_KERAS_LOSSES = {
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "bce": "binary_crossentropy",
}


class Pairs(NamedTuple):
    """What the network sees and what it is to give; each (n_windows, n_steps, n_features)."""

    inputs: FloatArray
    targets: FloatArray


@dataclass(frozen=True, slots=True)
class Task:
    """What a network is fitted to and how; no `validation` where no windows were held out."""

    training: TrainingSection
    fit: Pairs
    validation: Pairs | None
    on_epoch: OnEpoch | None

    def optimizer(self) -> Any:
        """Return a fresh optimizer: each network that is fitted needs its own."""
        import keras  # noqa: PLC0415

        settings = {"learning_rate": self.training.learning_rate}
        return keras.optimizers.get({"class_name": self.training.optimizer, "config": settings})

    def compile(self, model: Any) -> None:
        """Make a model ready to be fitted to reconstruct."""
        model.compile(optimizer=self.optimizer(), loss=_KERAS_LOSSES[self.training.loss])

    def tell(self, epoch: int, loss: float) -> None:
        """Tell of a finished epoch, counted from 1."""
        if self.on_epoch is not None:
            self.on_epoch(epoch, loss)


def fit_network(network: Any, section: NetworkSection, task: Task) -> History:
    """Fit a network in place.

    Parameters
    ----------
    network
        As `stream_detector.networks.build_network` gives it for the same `section`. Afterwards it
        may carry what only fitting needs: save a fresh one with its weights.
    section
        The recipe's `[network]`.
    task
        What to.

    Returns
    -------
    `loss` and, with validation, `validation_loss` of each epoch, all that the kind adds to the
    loss included.
    """
    from stream_detector.training import adversarial, variational  # noqa: PLC0415

    if isinstance(section, AdversarialNetwork):
        return adversarial.fit(network, section, task)
    if isinstance(section, VariationalNetwork):
        return fit_with_keras(
            variational.with_drawn_latent(network, section, task.training.seed), task
        )
    if isinstance(section, DenseNetwork) and section.latent_l1:
        _regularize_latent(network, section.latent_l1)
    return fit_with_keras(network, task)


def fit_with_keras(model: Any, task: Task) -> History:
    """Fit a model by Keras' own loop."""
    import keras  # noqa: PLC0415

    task.compile(model)
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: task.tell(epoch + 1, float(logs["loss"]))
    )
    history = model.fit(
        *task.fit,
        validation_data=task.validation,
        epochs=task.training.epochs,
        batch_size=task.training.batch_size,
        shuffle=True,
        verbose=0,
        callbacks=[tell],
    ).history
    names = {"loss": "loss", "val_loss": "validation_loss"}
    return {names[name]: [float(loss) for loss in losses] for name, losses in history.items()}


def with_noise(windows: FloatArray, noise: float, rng: np.random.Generator) -> Pairs:
    """Return windows with noise to see, and without it to give.

    Parameters
    ----------
    windows
        Scaled to [0, 1], shape (n_windows, n_steps, n_features).
    noise
        Standard deviation, same unit; with 0 the windows are seen as they are.
    rng
        Where the noise is drawn from: once, so that it stays the same through all epochs.

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
    drawn = rng.standard_normal(windows.shape, dtype=np.float32)
    return Pairs(np.clip(windows + np.float32(noise) * drawn, 0.0, 1.0), windows)


def _regularize_latent(network: Any, latent_l1: float) -> None:
    """Add the sum of a latent code's absolute values to the loss, as mean over windows."""
    import keras  # noqa: PLC0415

    latent = network.get_layer("encoder").layers[-1]
    latent.activity_regularizer = keras.regularizers.L1(latent_l1)
