"""Keras networks by the name a recipe gives them.

Only Keras' own interface is used, so that any of its backends can train them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_detector.recipes import NetworkSection

__all__ = ["build_network"]


def build_network(section: "NetworkSection", n_steps: int, n_features: int) -> Any:
    """Return a fresh, untrained autoencoder.

    Parameters
    ----------
    section
        The recipe's `[network]`.
    n_steps, n_features
        Shape of a window.

    Returns
    -------
    A `keras.Model` from (n_windows, n_steps, n_features) to the same shape, whose layers
    `encoder` and `decoder` are models of their own.
    """
    from stream_detector.networks import dense  # noqa: PLC0415  (loads Keras)

    return dense.build(section, n_steps, n_features)
