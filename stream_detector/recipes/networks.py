"""The table `[network]` of a recipe: one class for each kind, and which keys it has.

Every kind is an autoencoder whose decoder mirrors its encoder.
"""

from typing import Annotated, Literal

from pydantic import Field

from stream_detector.recipes.section import PositiveFloat, PositiveInt, Section

Activation = Literal["relu", "elu", "gelu", "tanh", "sigmoid"]
OutputActivation = Literal["linear", "sigmoid"]
Units = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]


class _Network(Section):
    """What every network has."""

    output_activation: OutputActivation = Field(
        default="linear", description="Activation of the reconstruction"
    )


class StackSection(_Network):
    """Dense layers down to a latent code, and back."""

    units: Units = Field(description="Units of the encoder's layers; the last is the latent code")
    activation: Activation = Field(default="relu", description="Activation of the layers")

    @property
    def latent_activation(self) -> str:
        """Return the activation of the latent code, none where it is to look Gaussian."""
        return "linear"


class DenseNetwork(StackSection):
    """An autoencoder of dense layers; the latent code has their activation."""

    kind: Literal["dense"]
    latent_l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Weight of the sum of the absolute values of the latent code in the loss; "
        "keeps a latent code larger than the window from copying it",
    )

    @property
    def latent_activation(self) -> str:
        """Return the activation of the code."""
        return self.activation


class ConvNetwork(_Network):
    """Convolutions over steps, or over the rows and columns of an image.

    Each layer of the encoder halves what it is given; the latent code is a map of features.
    """

    kind: Literal["conv", "image-conv"]
    filters: Units = Field(
        description="Features that each layer of the encoder gives; the last is the latent code"
    )
    kernel_size: PositiveInt = Field(
        default=3, description="Steps, or rows and columns, that a layer sees at once"
    )
    downsampling: Literal["strides", "pooling"] = Field(
        default="strides",
        description="How a layer halves: convolution with stride 2, back by a transposed one; or "
        "the largest of two neighbours, back by repeating",
    )
    activation: Activation = Field(default="relu", description="Activation of the layers")


class LstmNetwork(_Network):
    """Recurrent layers over steps, a dense latent code, and recurrent layers back."""

    kind: Literal["lstm"]
    units: Annotated[tuple[PositiveInt, ...], Field(min_length=2, strict=False)] = Field(
        description="Units of the encoder's recurrent layers; the last is the latent code"
    )


class VariationalNetwork(StackSection):
    """A dense autoencoder whose latent codes are drawn while it is fitted, and held to N(0, I)."""

    kind: Literal["vae"]
    kl_weight: PositiveFloat = Field(
        default=1.0,
        description="Weight of the divergence of the latent codes from N(0, I) in the loss; both "
        "count per value of a window, so that 1 with loss bce is the bound as published",
    )


class AdversarialNetwork(StackSection):
    """A dense autoencoder whose latent codes a second network cannot tell from N(0, I)."""

    kind: Literal["adversarial"]
    discriminator_units: Units = Field(
        description="Units of the layers of the network that judges latent codes"
    )


NetworkSection = Annotated[
    DenseNetwork | ConvNetwork | LstmNetwork | VariationalNetwork | AdversarialNetwork,
    Field(discriminator="kind"),
]
