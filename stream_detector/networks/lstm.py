"""Recurrent layers that encode a window step by step into a latent code, and others that decode it.

The decoder's layers get the latent code at every step and give a whole window.
"""

from typing import Any

from stream_detector.networks import WindowShape
from stream_detector.recipes.networks import LstmNetwork


def build(section: LstmNetwork, shape: WindowShape) -> Any:
    """Build the autoencoder for windows of this shape; see `build_network`."""
    import keras  # noqa: PLC0415  (slow to load)

    n_steps, n_features, _ = shape
    windows = keras.Input((n_steps, n_features), name="windows")
    encoder = _encoder(section, n_steps, n_features)
    decoder = _decoder(section, n_steps, n_features)
    return keras.Model(windows, decoder(encoder(windows)), name="autoencoder")


def _encoder(section: LstmNetwork, n_steps: int, n_features: int) -> Any:
    """Return the model from windows to latent codes, shape (n_windows, n_latent)."""
    import keras  # noqa: PLC0415

    *recurrent, n_latent = section.units
    windows = keras.Input((n_steps, n_features), name="encoder_windows")
    values = windows
    for index, units in enumerate(recurrent, start=1):
        is_last = index == len(recurrent)
        layer = keras.layers.LSTM(units, return_sequences=not is_last, name=f"encoder_{index}")
        values = layer(values)
    latent = keras.layers.Dense(n_latent, name=f"encoder_{len(section.units)}")
    return keras.Model(windows, latent(values), name="encoder")


def _decoder(section: LstmNetwork, n_steps: int, n_features: int) -> Any:
    """Return the model from latent codes to reconstructions."""
    import keras  # noqa: PLC0415

    latent = keras.Input((section.units[-1],), name="decoder_codes")
    values = keras.layers.RepeatVector(n_steps, name="decoder_steps")(latent)
    for index, units in enumerate(reversed(section.units[:-1]), start=1):
        layer = keras.layers.LSTM(units, return_sequences=True, name=f"decoder_{index}")
        values = layer(values)
    # A dense layer acts on the last axis only, so every step shares its weights.
    output = keras.layers.Dense(n_features, section.output_activation, name="decoder_output")
    return keras.Model(latent, output(values), name="decoder")
