"""How an adversarial autoencoder is fitted: two phases for each batch.

First the autoencoder learns to reconstruct. Then a discriminator learns to tell latent codes from
draws of N(0, I), and the encoder to give latent codes that it takes for such draws.

Source: Makhzani et al. (2015), Adversarial Autoencoders, section 2.
"""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from stream_detector.recipes.networks import AdversarialNetwork

if TYPE_CHECKING:
    from stream_detector.core.records import FloatArray
    from stream_detector.training.fitting import History, Task

_MOMENTUM = 0.5
"""Of Adam for the two that play against each other: with its usual 0.9 they overshoot in turn, and
latent codes were seen to collapse."""


def fit(network: Any, section: AdversarialNetwork, task: "Task") -> "History":
    """Fit the autoencoder in place; parameters as in `fitting.fit_network`."""
    players = _Players(network, section, task)
    rng = np.random.default_rng(task.training.seed)
    inputs, targets = task.fit
    n_batches = -(-len(inputs) // task.training.batch_size)
    history: History = {"loss": []}
    for epoch in range(1, task.training.epochs + 1):
        network.reset_metrics()
        loss = 0.0
        for rows in np.array_split(rng.permutation(len(inputs)), n_batches):
            # Of all batches since the metrics were reset.
            loss = float(network.train_on_batch(inputs[rows], targets[rows]))
            players.regularise(inputs[rows], rng)
        history["loss"].append(loss)
        if task.validation is not None:
            validation_loss = network.evaluate(*task.validation, verbose=0)
            history.setdefault("validation_loss", []).append(float(validation_loss))
        task.tell(epoch, loss)
    return history


class _Players:
    """The discriminator, and the encoder that plays against it."""

    def __init__(self, network: Any, section: AdversarialNetwork, task: "Task") -> None:
        self._encoder = network.get_layer("encoder")
        self._n_code = section.units[-1]
        self._discriminator = _discriminator(section)
        windows = keras.Input(network.input_shape[1:])
        self._deceiver = keras.Model(windows, self._discriminator(self._encoder(windows)))
        task.compile(network)
        for model in (self._discriminator, self._deceiver):
            optimizer = keras.optimizers.Adam(task.training.learning_rate, beta_1=_MOMENTUM)
            model.compile(optimizer=optimizer, loss="binary_crossentropy")

    def regularise(self, inputs: "FloatArray", rng: np.random.Generator) -> None:
        """Let each side learn from one batch; 1 is a draw of N(0, I), 0 a code."""
        latent = self._encoder.predict_on_batch(inputs)  # (n_windows, n_latent)
        draws = rng.standard_normal(latent.shape, dtype=np.float32)
        ones = np.ones((len(latent), 1), dtype=np.float32)
        self._discriminator.trainable = True
        self._discriminator.train_on_batch(
            np.concatenate([draws, latent]), np.concatenate([ones, 0.0 * ones])
        )
        self._discriminator.trainable = False
        self._deceiver.train_on_batch(inputs, ones)


def _discriminator(section: AdversarialNetwork) -> Any:
    """Return the model from latent codes to how much each looks like a draw of N(0, I), 0 to 1."""
    latent = keras.Input((section.units[-1],))
    values = latent
    for units in section.discriminator_units:
        values = keras.layers.Dense(units, section.activation)(values)
    return keras.Model(latent, keras.layers.Dense(1, "sigmoid")(values))
