"""Convolutions down to a small feature map, and back: over time steps, or over rows and columns.

Kind `image-conv` reshapes a window to (n_rows, n_columns, n_channels). Kind `conv` reshapes it to
(n_steps, 1, n_features), an image one column wide, so that both kinds have the same layers.
"""

from collections.abc import Iterator
from typing import Any

from stream_detector.networks import WindowShape
from stream_detector.recipes.networks import ConvNetwork


def build(section: ConvNetwork, shape: WindowShape) -> Any:
    """Build the autoencoder for windows of this shape; see `build_network`."""
    import keras  # noqa: PLC0415  (slow to load)

    n_steps, n_features, n_channels = shape
    windows = keras.Input((n_steps, n_features), name="windows")
    inner = (n_steps, 1, n_features)
    if section.kind == "image-conv":
        inner = (n_steps, n_features // n_channels, n_channels)
    encoder = _encoder(section, windows.shape[1:], inner)
    decoder = _decoder(section, encoder.output_shape[1:], inner, windows.shape[1:])
    return keras.Model(windows, decoder(encoder(windows)), name="autoencoder")


def _encoder(section: ConvNetwork, outer: tuple[int, ...], inner: tuple[int, ...]) -> Any:
    """Return the model from windows to latent codes; each layer halves the steps, rounded up."""
    import keras  # noqa: PLC0415

    windows = keras.Input(outer, name="encoder_windows")
    values = keras.layers.Reshape(inner, name="encoder_inner")(windows)
    for index, filters in enumerate(section.filters, start=1):
        for layer in _halving(section, filters, f"encoder_{index}"):
            values = layer(values)
    return keras.Model(windows, values, name="encoder")


def _decoder(
    section: ConvNetwork,
    latent_shape: tuple[int, ...],
    inner: tuple[int, ...],
    outer: tuple[int, ...],
) -> Any:
    """Return the model from latent codes to reconstructions."""
    import keras  # noqa: PLC0415

    latent = keras.Input(latent_shape, name="decoder_codes")
    values = latent
    for index, filters in enumerate(reversed(section.filters), start=1):
        for layer in _doubling(section, filters, f"decoder_{index}"):
            values = layer(values)
    # Halving rounds up, so the doubled size can exceed the input's; the excess at the end is cut.
    extra = [(0, now - then) for now, then in zip(values.shape[1:3], inner[:2], strict=True)]
    values = keras.layers.Cropping2D(extra, name="decoder_crop")(values)
    output = keras.layers.Conv2D(
        inner[-1],
        _over(section, section.kernel_size),
        padding="same",
        activation=section.output_activation,
        name="decoder_output",
    )
    # Flattened first: with a single reshape, the layout that the export picks differs from run to
    # run.
    flat = keras.layers.Flatten(name="decoder_flat")
    windows = keras.layers.Reshape(outer, name="decoder_windows")
    return keras.Model(latent, windows(flat(output(values))), name="decoder")


def _halving(section: ConvNetwork, filters: int, name: str) -> Iterator[Any]:
    """Yield the layers that filter their input and halve its size."""
    import keras  # noqa: PLC0415

    is_strided = section.downsampling == "strides"
    half = _over(section, 2)
    yield keras.layers.Conv2D(
        filters,
        _over(section, section.kernel_size),
        strides=half if is_strided else 1,
        padding="same",
        activation=section.activation,
        name=name,
    )
    if not is_strided:
        yield keras.layers.MaxPooling2D(half, padding="same", name=f"{name}_pool")


def _doubling(section: ConvNetwork, filters: int, name: str) -> Iterator[Any]:
    """Yield the layers that filter their input and double its size."""
    import keras  # noqa: PLC0415

    double = _over(section, 2)
    given = {"padding": "same", "activation": section.activation, "name": name}
    kernel_size = _over(section, section.kernel_size)
    if section.downsampling == "strides":
        yield keras.layers.Conv2DTranspose(filters, kernel_size, strides=double, **given)
    else:
        yield keras.layers.Conv2D(filters, kernel_size, **given)
        yield keras.layers.UpSampling2D(double, name=f"{name}_repeat")


def _over(section: ConvNetwork, size: int) -> tuple[int, int]:
    """Return a size over rows and columns, or over time steps only."""
    return (size, size if section.kind == "image-conv" else 1)
