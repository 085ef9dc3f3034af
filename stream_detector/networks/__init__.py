"""Keras networks, built from the `[network]` table of a recipe, and their export to files.

Only Keras' own interface is used, so that any of its backends can fit and run them. The ONNX file
of a bundle is written with TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from stream_detector.recipes import NetworkSection

__all__ = ["WindowShape", "build_network"]


class WindowShape(NamedTuple):
    """The shape of a network's input and output.

    Parameters
    ----------
    n_steps, n_features
        Time steps of a window and values of each; rows of an image and values of a row.
    n_channels
        Channels of an image, which has n_features / n_channels columns; 1 for anything else.
    """

    n_steps: int
    n_features: int
    n_channels: int


def build_network(
    section: "NetworkSection", n_steps: int, n_features: int, n_channels: int = 1
) -> Any:
    """Return an untrained autoencoder, as it runs on a stream: nothing in it is random.

    Parameters
    ----------
    section
        The recipe's `[network]`.
    n_steps, n_features
        Shape of a window.
    n_channels
        Channels of an image; see `WindowShape`.

    Returns
    -------
    A `keras.Model` from (n_windows, n_steps, n_features) to the same shape. Its layers `encoder`
    and `decoder` are models of their own, from windows to latent codes and from latent codes to
    windows. A latent code has the shape (n_latent,); with convolutions it is a feature map.
    Every layer and model has an explicit name: the names that Keras counts up would differ
    between two networks built in one process.
    """
    module = import_module(f"{__name__}.{section.builder}")
    return module.build(section, WindowShape(n_steps, n_features, n_channels))
