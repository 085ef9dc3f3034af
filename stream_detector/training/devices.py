"""Fit a network on several devices of this machine, which share the windows of each batch.

Every device holds the whole network. Each computes the gradient of its share of a batch, and all
take the step of the mean gradient: that of the whole batch, but for the rounding of sums.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from stream_detector.engines.backend import list_devices, require_tensorflow
from stream_detector.errors import ConfigError
from stream_detector.recipes import Recipe


def choose_devices(recipe: Recipe) -> tuple[str, ...]:
    """Return the devices that a recipe asks for; with one, nothing is shared.

    Parameters
    ----------
    recipe
        Its `training.devices` decides. A network that no optimizer fits needs one.

    Returns
    -------
    Their names, such as "gpu:0"; ("",) for the one that Keras takes by itself.

    Raises
    ------
    ConfigError
        If there are fewer, they cannot share a batch evenly, or Keras does not run on TensorFlow.
    """
    wanted, batch_size = recipe.training.devices, recipe.training.batch_size
    if wanted == 1 or recipe.network.is_closed_form:
        return ("",)
    require_tensorflow()
    found = list_devices()
    n_devices = len(found) if wanted == "all" else wanted
    if n_devices > len(found):
        message = (
            f"training.devices: expected at most {len(found)}, the devices that Keras has here "
            f"({', '.join(found)}), received {wanted}; set training.devices = 'all'"
        )
        raise ConfigError(message)
    if batch_size % n_devices:
        message = (
            f"training.batch_size: expected a multiple of the {n_devices} devices that "
            f"training.devices = {wanted!r} means here, received {batch_size}"
        )
        raise ConfigError(message)
    return tuple(found[:n_devices]) if n_devices > 1 else ("",)


def sharing(devices: Sequence[str]) -> AbstractContextManager[Any]:
    """Return a block in which networks are built and fitted that these devices share.

    Parameters
    ----------
    devices
        From `choose_devices`.
    """
    if len(devices) == 1:
        return nullcontext()
    scope: AbstractContextManager[Any] = _strategy(tuple(devices)).scope()
    return scope


@cache
def _strategy(devices: tuple[str, ...]) -> Any:
    """Return how TensorFlow shares the windows of a batch.

    One for all networks of a process: each counts its sums from the same number on, and TensorFlow
    takes sums of one number for the same, also those of a network of another size.
    """
    import tensorflow  # noqa: PLC0415  (slow to load)

    return tensorflow.distribute.MirroredStrategy([name.upper() for name in devices])
