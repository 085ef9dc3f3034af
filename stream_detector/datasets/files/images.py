"""Read a user's images: a folder of PNG and JPEG files, or a single file."""

from pathlib import Path
from typing import NamedTuple

from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.records import FloatArray
from stream_detector.errors import DatasetError
from stream_detector.files import AnyPath, read_regular

SUFFIXES = (".png", ".jpg", ".jpeg")


class Images(NamedTuple):
    """Images as windows, shape (n_images, n_rows, n_columns * n_channels), and their file names."""

    windows: FloatArray
    names: list[str]


FILE_BYTES_MAX = 64 * 1024 * 1024
"""Largest image file; one of 512 x 512 pixels has less than a megabyte."""


def read_images(path: AnyPath, image: ImageShape) -> Images:
    """Read the images of a folder in the order of their names, without its subfolders.

    Parameters
    ----------
    path
        A folder, or one image.
    image
        Shape of every image.

    Raises
    ------
    DatasetError
        If there is no image, or one cannot be used; the message names it.
    """
    path = Path(path)
    try:
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        files = [each for each in found if each.suffix.lower() in SUFFIXES]
        values = [read_regular(each, FILE_BYTES_MAX) for each in files]
    except OSError as error:
        message = f"{path} cannot be read: {error}; check the path"
        raise DatasetError(message) from None
    if not files:
        message = f"{path}: expected {', '.join(SUFFIXES)} files, received none"
        raise DatasetError(message)
    decoded = decode_windows(values, None, image, "image")
    if decoded.rejected:
        first = decoded.rejected[0]
        message = (
            f"{files[first.index]}: {first.error}; {len(decoded.rejected)} of {len(files)} files "
            "cannot be used: remove them from the folder"
        )
        raise DatasetError(message)
    return Images(decoded.windows, [each.name for each in files])
