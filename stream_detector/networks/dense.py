"""A stack of dense layers down to a latent code, and the same stack back up.

Variational and adversarial autoencoders are such a stack too and differ only in how they are
fitted: see `stream_detector.training`.
"""

from typing import Any

from stream_detector.networks import WindowShape
from stream_detector.recipes.networks import StackSection


def build(section: StackSection, shape: WindowShape) -> Any:
    """Build the autoencoder for windows of this shape; see `build_network`."""
    import keras  # noqa: PLC0415  (slow to load)

    n_steps, n_features, _ = shape
    encoder = _encoder(section, n_steps, n_features)
    decoder = _decoder(section, n_steps, n_features)
    windows = keras.Input((n_steps, n_features), name="windows")
    return keras.Model(windows, decoder(encoder(windows)), name="autoencoder")


def _encoder(section: StackSection, n_steps: int, n_features: int) -> Any:
    """Return the model from windows to latent codes, shape (n_windows, n_latent)."""
    import keras  # noqa: PLC0415

    *hidden, n_latent = section.units
    windows = keras.Input((n_steps, n_features), name="encoder_windows")
    values = keras.layers.Reshape((n_steps * n_features,), name="encoder_flat")(windows)
    for index, units in enumerate(hidden, start=1):
        values = keras.layers.Dense(units, section.activation, name=f"encoder_{index}")(values)
    name = f"encoder_{len(section.units)}"
    latent = keras.layers.Dense(n_latent, section.latent_activation, name=name)
    return keras.Model(windows, latent(values), name="encoder")


def _decoder(section: StackSection, n_steps: int, n_features: int) -> Any:
    """Return the model from latent codes to reconstructions."""
    import keras  # noqa: PLC0415

    latent = keras.Input((section.units[-1],), name="decoder_codes")
    values = latent
    for index, units in enumerate(reversed(section.units[:-1]), start=1):
        layer = keras.layers.Dense(units, section.activation, name=f"decoder_{index}")
        values = layer(values)
    output = keras.layers.Dense(
        n_steps * n_features, section.output_activation, name="decoder_output"
    )
    windows = keras.layers.Reshape((n_steps, n_features), name="decoder_windows")
    return keras.Model(latent, windows(output(values)), name="decoder")
