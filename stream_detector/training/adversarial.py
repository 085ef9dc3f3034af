"""Fitting of an adversarial autoencoder, in two phases for each batch.

In the first phase the autoencoder learns to reconstruct. In the second, a discriminator learns to
tell latent codes from draws of N(0, I), and the encoder learns to give latent codes that the
discriminator takes for such draws.

Source: Makhzani et al. (2015), Adversarial Autoencoders, section 2.
"""

from typing import Any

import keras
import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.recipes.networks import AdversarialNetwork
from stream_detector.training.task import History, Task

_MOMENTUM = 0.5
"""Adam's decay rate of the first moment, for discriminator and encoder. With the usual 0.9 each
overshoots in turn, and latent codes were seen to collapse."""

_VALIDATED = 32
"""Windows that are validated at a time."""


def fit(network: Any, section: AdversarialNetwork, task: Task) -> History:
    """Fit the autoencoder in place; see `stream_detector.training.fitting.fit_network`."""
    adversaries = _Adversaries(network, section, task)
    rng = np.random.default_rng(task.training.seed)
    inputs, targets = task.held
    n_batches = -(-len(inputs) // task.training.batch_size)
    validation = task.validation and task.validation.batches(_VALIDATED)
    history: History = {"loss": []}
    for epoch in range(1, task.training.epochs + 1):
        network.reset_metrics()
        loss = 0.0
        for rows in np.array_split(rng.permutation(len(inputs)), n_batches):
            # Keras returns the mean over all batches since the metrics were reset.
            loss = float(network.train_on_batch(inputs[rows], targets[rows]))
            adversaries.fit_batch(inputs[rows], rng)
        history["loss"].append(loss)
        if validation is not None:
            validation_loss = network.evaluate(validation, verbose=0)
            history.setdefault("validation_loss", []).append(float(validation_loss))
        task.report(epoch, loss)
    return history


class _Adversaries:
    """The discriminator, and the encoder that learns to deceive it."""

    def __init__(self, network: Any, section: AdversarialNetwork, task: Task) -> None:
        self._encoder = network.get_layer("encoder")
        self._discriminator = _discriminator(section)
        windows = keras.Input(network.input_shape[1:])
        self._deceiver = keras.Model(windows, self._discriminator(self._encoder(windows)))
        task.compile(network)
        for model in (self._discriminator, self._deceiver):
            optimizer = keras.optimizers.Adam(task.training.learning_rate, beta_1=_MOMENTUM)
            model.compile(optimizer=optimizer, loss="binary_crossentropy")

    def fit_batch(self, inputs: FloatArray, rng: np.random.Generator) -> None:
        """Fit both to one batch; the label 1 is a draw of N(0, I), 0 a latent code."""
        latent = self._encoder.predict_on_batch(inputs)  # (n_windows, n_latent)
        draws = rng.standard_normal(latent.shape, dtype=np.float32)  # (n_windows, n_latent)
        ones = np.ones((len(latent), 1), dtype=np.float32)
        self._discriminator.trainable = True
        self._discriminator.train_on_batch(
            np.concatenate([draws, latent]), np.concatenate([ones, 0.0 * ones])
        )
        self._discriminator.trainable = False
        self._deceiver.train_on_batch(inputs, ones)


def _discriminator(section: AdversarialNetwork) -> Any:
    """Return the model from latent codes to the probability that each is a draw of N(0, I)."""
    latent = keras.Input((section.units[-1],))
    values = latent
    for units in section.discriminator_units:
        values = keras.layers.Dense(units, section.activation)(values)
    return keras.Model(latent, keras.layers.Dense(1, "sigmoid")(values))
