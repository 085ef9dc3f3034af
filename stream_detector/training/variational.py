"""Fitting of a variational autoencoder: latent codes are drawn, and kept close to N(0, I).

The encoder gives the mean of the latent code. In training, a further layer gives the logarithm of
its variance, and the decoder gets a latent code drawn from this normal distribution. On a stream
the decoder gets the mean.

Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes, section 3 and appendix B.
"""

from typing import Any

import keras

from stream_detector.recipes.networks import VariationalNetwork


class DrawnLatent(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Draws a latent code by its mean and log variance, and adds the divergence to the loss.

    Parameters
    ----------
    weight
        Weight in the loss of the Kullback-Leibler divergence from N(0, I),
        -sum(1 + log_variance - mean^2 - exp(log_variance)) / 2 over the values of the latent code,
        averaged over the windows.
    seed
        Seed of the draws.
    """

    def __init__(self, weight: float, seed: int) -> None:
        super().__init__(name="drawn_latent")
        self._weight = weight
        self._generator = keras.random.SeedGenerator(seed)

    def call(self, mean: Any, log_variance: Any, training: bool = False) -> Any:
        """Return latent codes, shape (n_windows, n_latent): the means, unless in training."""
        ops = keras.ops
        terms = 1.0 + log_variance - ops.square(mean) - ops.exp(log_variance)
        divergence = -0.5 * ops.mean(ops.sum(terms, axis=-1))  # over the latent code, then windows
        self.add_loss(self._weight * divergence)
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self._generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def with_drawn_latent(network: Any, section: VariationalNetwork, seed: int) -> Any:
    """Return the model to fit, which shares its layers with the autoencoder.

    Keras averages the reconstruction loss over the values of a window. The divergence counts once
    for the whole window, so it is divided by the number of values to keep the balance.
    """
    encoder, decoder = network.get_layer("encoder"), network.get_layer("decoder")
    _, n_steps, n_features = network.input_shape
    latent = encoder.layers[-1]
    log_variance = keras.layers.Dense(latent.units, name="log_variance")(latent.input)
    drawn_latent = DrawnLatent(section.kl_weight / (n_steps * n_features), seed)
    return keras.Model(encoder.input, decoder(drawn_latent(encoder.output, log_variance)))
