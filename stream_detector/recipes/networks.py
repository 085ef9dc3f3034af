"""The table `[network]` of a recipe: one class for each network, with its kinds and its keys.

Every network is an autoencoder whose decoder mirrors its encoder. A new one is a module in
`stream_detector.networks` that builds it, a class here that names this module, and its name in
`NetworkSection`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stream_detector.recipes.section import PositiveFloat, Section

Activation = Literal["relu", "elu", "tanh", "sigmoid"]
OutputActivation = Literal["linear", "sigmoid"]

UNITS_MAX = 16_384
"""Most units or filters of a layer. Two such layers have a gigabyte of weights between them."""

LAYERS_MAX = 64
"""Most layers of an encoder."""

LayerSize = Annotated[int, Field(ge=1, le=UNITS_MAX)]
Units = Annotated[tuple[LayerSize, ...], Field(min_length=1, max_length=LAYERS_MAX, strict=False)]

_ACTIVATION = (
    "Activation of the hidden layers, and of the latent code unless the kind is vae or adversarial"
)


class _Network(Section):
    """What is said of every network."""

    builder: ClassVar[str]
    """Module of `stream_detector.networks` whose function `build` makes the network."""

    is_closed_form: ClassVar[bool] = False
    """Whether it is fitted without an optimizer, so that `[training]` has no say."""


class _LearntNetwork(_Network):
    """Keys of a network that an optimizer fits."""

    output_activation: OutputActivation = Field(
        default="linear",
        description="Activation of the reconstruction; sigmoid needs data scaled to [0, 1]",
    )


class StackSection(_LearntNetwork):
    """Dense layers down to a latent code, and back."""

    builder = "dense"

    units: Units = Field(
        description="Units of the encoder's layers; the last layer gives the latent code"
    )
    activation: Activation = Field(default="relu", description=_ACTIVATION)

    @property
    def latent_activation(self) -> str:
        """Return the activation of the latent code: none where it is to look Gaussian."""
        return "linear"


class DenseNetwork(StackSection):
    """An autoencoder of dense layers; the latent code has their activation."""

    kind: Literal["dense"] = Field(description="Architecture of the network")
    latent_l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0,
        description="Weight of the L1 penalty on the latent code in the loss; keeps a latent code "
        "larger than the window from copying it",
    )

    @property
    def latent_activation(self) -> str:
        """Return the activation of the latent code, which is that of the other layers."""
        return self.activation


class ConvNetwork(_LearntNetwork):
    """Convolutions over time steps, or over the rows and columns of an image.

    Each layer of the encoder halves the size of its input; the latent code is a feature map.
    """

    builder = "conv"

    kind: Literal["conv", "image-conv"] = Field(description="Architecture of the network")
    filters: Units = Field(
        description="Filters of the encoder's layers; the last layer gives the latent code"
    )
    kernel_size: LayerSize = Field(
        default=3, description="Size of the kernels, in time steps, or in rows and columns"
    )
    downsampling: Literal["strides", "pooling"] = Field(
        default="strides",
        description="How a layer halves its input: by a convolution with stride 2, undone by a "
        "transposed convolution; or by max pooling, undone by repeating values",
    )
    activation: Activation = Field(default="relu", description=_ACTIVATION)


class LstmNetwork(_LearntNetwork):
    """Recurrent layers over time steps, a dense latent code, and recurrent layers back."""

    builder = "lstm"

    kind: Literal["lstm"] = Field(description="Architecture of the network")
    units: Annotated[
        tuple[LayerSize, ...], Field(min_length=2, max_length=LAYERS_MAX, strict=False)
    ] = Field(description="Units of the encoder's recurrent layers, and last of the latent code")


class VariationalNetwork(StackSection):
    """A dense autoencoder whose latent codes are drawn in training and kept close to N(0, I)."""

    kind: Literal["vae"] = Field(description="Architecture of the network")
    kl_weight: PositiveFloat = Field(
        default=1.0,
        description="Weight of the Kullback-Leibler divergence of the latent codes from N(0, I) in "
        "the loss; both terms count per value of a window, so that 1 with loss bce is the "
        "published bound",
    )


class AdversarialNetwork(StackSection):
    """A dense autoencoder whose latent codes a discriminator cannot tell from N(0, I)."""

    kind: Literal["adversarial"] = Field(description="Architecture of the network")
    discriminator_units: Units = Field(
        description="Units of the layers of the discriminator, which judges latent codes"
    )


class PcaNetwork(_Network):
    """Principal components: a linear autoencoder in closed form, for which `[training]` is ignored.

    It needs no seed and no epochs, and is the plainest model to hold another one against.
    """

    builder = "pca"
    is_closed_form = True

    kind: Literal["pca"] = Field(description="Architecture of the network")
    components: LayerSize = Field(
        description="Principal components, which are the latent code; at most the values of a "
        "window"
    )


NetworkSection = Annotated[
    DenseNetwork | ConvNetwork | LstmNetwork | VariationalNetwork | AdversarialNetwork | PcaNetwork,
    Field(discriminator="kind"),
]
"""The registry of networks."""
