"""Principal components as a linear autoencoder: one dense layer each way, without activation.

The weights are not learnt but computed: see `stream_detector.training.components`.
"""

from typing import Any

from stream_detector.networks import WindowShape
from stream_detector.recipes.networks import PcaNetwork


def build(section: PcaNetwork, shape: WindowShape) -> Any:
    """Build the autoencoder for windows of this shape; see `build_network`."""
    import keras  # noqa: PLC0415  (slow to load)

    n_steps, n_features, _ = shape
    outer = keras.Input((n_steps, n_features), name="encoder_windows")
    flat = keras.layers.Reshape((n_steps * n_features,), name="encoder_flat")(outer)
    codes = keras.layers.Dense(section.components, name="encoder_1")(flat)
    encoder = keras.Model(outer, codes, name="encoder")
    latent = keras.Input((section.components,), name="decoder_codes")
    values = keras.layers.Dense(n_steps * n_features, name="decoder_output")(latent)
    reshaped = keras.layers.Reshape((n_steps, n_features), name="decoder_windows")(values)
    decoder = keras.Model(latent, reshaped, name="decoder")
    windows = keras.Input((n_steps, n_features), name="windows")
    return keras.Model(windows, decoder(encoder(windows)), name="autoencoder")
