"""Keras networks by the kind a recipe gives them, and how each is fitted.

Only Keras' own interface is used, so that any of its backends can train them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_detector.recipes import NetworkSection

__all__ = ["build_network"]


def build_network(
    section: "NetworkSection", n_steps: int, n_features: int, n_channels: int = 1
) -> Any:
    """Return a fresh, untrained autoencoder, as it runs on a stream: nothing in it is random.

    Parameters
    ----------
    section
        The recipe's `[network]`.
    n_steps, n_features
        Shape of a window.
    n_channels
        Of an image, whose columns are n_features / n_channels.

    Returns
    -------
    A `keras.Model` from (n_windows, n_steps, n_features) to the same shape, whose layers
    `encoder` and `decoder` are models of their own: windows to latent codes, and latent codes to
    windows. A latent code has the shape (n_latent,), with convolutions that of a map of features.
    Every layer and model has a name: those that Keras counts up would differ between two networks
    built in one process.
    """
    # These load Keras.
    from stream_detector.networks import conv, dense, lstm  # noqa: PLC0415
    from stream_detector.recipes.networks import ConvNetwork, LstmNetwork  # noqa: PLC0415

    if isinstance(section, ConvNetwork):
        return conv.build(section, n_steps, n_features, n_channels)
    if isinstance(section, LstmNetwork):
        return lstm.build(section, n_steps, n_features)
    return dense.build(section, n_steps, n_features)
