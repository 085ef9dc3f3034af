"""The table `[training]` of a recipe: how its network is fitted."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from stream_detector.core.scoring.reconstruction_error import ErrorKind
from stream_detector.recipes.section import COUNT_MAX, PositiveFloat, PositiveInt, Section

Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]


def _devices(value: object) -> object:
    """Accept a number of devices, or the word for all of them."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= COUNT_MAX
    if value == "all" or is_count:
        return value
    kind = "unknown_devices"
    raise PydanticCustomError(kind, "Input should be 'all', or a number of devices from 1 on")


Devices = Annotated[Literal["all"] | int, BeforeValidator(_devices)]


class TrainingSection(Section):
    """How the network is fitted."""

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field(
        default="adam", description="Keras optimizer, with Keras' defaults but for the rate"
    )
    learning_rate: PositiveFloat = Field(
        default=0.001, description="Learning rate of the optimizer"
    )
    loss: ErrorKind = Field(
        default="mae",
        description="Loss between window and reconstruction: mean absolute error, mean squared "
        "error or binary cross-entropy",
    )
    epochs: Count = Field(
        default=0,
        description="Passes over all training windows; required unless network.kind is pca, which "
        "is fitted without any",
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="Stop once the loss of held-out windows has not fallen for this many epochs, "
        "and keep the weights of the epoch with the lowest; all epochs are run if not given",
    )
    batch_size: Count = Field(
        default=0,
        description="Windows of one optimizer step; required unless network.kind is pca, which has "
        "none",
    )
    devices: Devices = Field(
        default=1,
        # A bundle of one device is written as it was before there were several.
        exclude_if=lambda devices: devices == 1,
        description="Devices of this machine that share the windows of each batch: a number, or "
        '"all" that Keras runs on; its GPUs, or else CPU devices. batch_size is a multiple of it. '
        "Ignored where network.kind is pca",
    )
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Standard deviation of the Gaussian noise added to the scaled input, which is "
        "then clipped to [0, 1]; the network learns to remove it",
    )
    trim: bool = Field(
        default=False,
        description="Whether labels are ignored and normal windows found without them: those like "
        "most windows of their key are trained on, the others are left out",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0,
        description="Seed of the initial weights, the order of windows, the held-out windows and "
        "all noise",
    )
