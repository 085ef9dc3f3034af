"""Writes images that a network made, a PNG each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream_detector.cli.files import cannot_write
from stream_detector.core.codec.image_format import encode_image
from stream_detector.datasets.files.images import SUFFIXES
from stream_detector.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIXEL_MAX = 255


def write_pictures(
    out: Path | None, names: Sequence[str], values: "NDArray[np.float64]", channels: int
) -> None:
    """Write a PNG an image into a folder.

    Parameters
    ----------
    out
        The folder; made where it is not there.
    names
        Of the images. What a file name cannot hold becomes an underscore; where an image has no
        name, or another's, all have their number before it.
    values
        Pixel values, shape (n_images, n_rows, n_columns * channels), rounded to 0..255.
    channels
        1 grey, 3 colour.

    Raises
    ------
    ConfigError
        If no folder is given, or it cannot be written to.
    """
    if out is None:
        message = "--out: expected a folder for the images, received none"
        raise ConfigError(message)
    pixels = np.clip(np.rint(values), 0, _PIXEL_MAX)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, image in zip(_file_names(names), pixels, strict=True):
            (out / name).write_bytes(encode_image(image, channels, "png"))
    except OSError as error:
        raise cannot_write(out, error) from None


def _file_names(names: Sequence[str]) -> list[str]:
    """Return a name a file, each once: where keys do not tell images apart, numbers do."""
    stems = []
    for name in names:
        stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name
        stems.append("".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in stem))
    if "" in stems or len(set(stems)) < len(stems):
        stems = [f"{number:05d}-{stem}".rstrip("-") for number, stem in enumerate(stems)]
    return [f"{stem}.png" for stem in stems]
