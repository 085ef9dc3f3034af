"""The record format `image`: PNG, JPEG or raw pixels of 8 bits, one image in each record.

Pure. An image is a window: its rows are the steps, and the values of a row, pixel by pixel, are the
features. An image that cannot be decoded is returned as a rejected record, never raised.

The size and the kind of pixels are read from the file's header and compared with the bundle's
before any pixel is decoded, so a small file that claims to be huge costs no memory.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.records import FloatArray, Rejected
from stream_detector.errors import DataError, RecordDecodeError, RecordShapeError

ImageFormat = Literal["png", "jpeg", "uint8"]

MEDIA_TYPES: Mapping[str, bytes] = {
    "png": b"image/png",
    "jpeg": b"image/jpeg",
    "uint8": b"application/vnd.stream-detector.uint8",
}
"""What the `content-type` header says for each way to write an image."""

JPEG_QUALITY = 95
"""Quality of the JPEGs that are written; from 96 on, files grow and images hardly differ."""

_ENDS: Mapping[ImageFormat, tuple[bytes, bytes]] = {
    "png": (b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"),
    "jpeg": (b"\xff\xd8\xff", b"\xff\xd9"),
}
"""First and last bytes of a file of each format. The last ones reveal a file that was cut off or
that has bytes after its end, neither of which a decoder need notice."""

_MODES = {1: "L", 3: "RGB"}
"""Pillow's names for pixels of 8 bits, by the number of channels."""

_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError),
    *(RuntimeError, OverflowError, MemoryError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What Pillow raises for bytes that are not an image."""


class ImageShape(NamedTuple):
    """Size of an image in pixels, and 1 (grey) or 3 (red, green, blue) values for each pixel."""

    n_rows: int
    n_columns: int
    n_channels: int

    @property
    def window(self) -> tuple[int, int]:
        """Return (n_steps, n_features) of the image as a window."""
        return self.n_rows, self.n_columns * self.n_channels

    @property
    def n_bytes(self) -> int:
        """Return the length of the raw pixels."""
        return self.n_rows * self.n_columns * self.n_channels


def decode_images(
    values: Sequence[bytes],
    indices: NDArray[np.intp],
    image: ImageShape,
    format_: str = "image",
) -> Decoded:
    """Decode records that each hold one image.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    indices
        Which record of the batch each one is, shape (n_records,).
    image
        Shape that every image must have.
    format_
        "png", "jpeg", "uint8" for raw pixels, row by row, or "image": PNG or JPEG where the first
        bytes say so, else raw pixels.

    Returns
    -------
    Windows of shape (n_images, n_rows, n_columns * n_channels), unit: 1/255 of full brightness,
    whole numbers from 0 to 255; and rejected records. No records give no windows.

    Examples
    --------
    >>> decode_images(
    ...     [bytes([0, 1, 254, 255])], np.array([7]), ImageShape(2, 2, 1), "uint8"
    ... ).windows
    array([[[  0.,   1.],
            [254., 255.]]], dtype=float32)
    """
    if format_ == "uint8" and set(map(len, values)) <= {image.n_bytes}:
        return Decoded(indices, _as_windows(values, image), {}, [])
    pixels: list[bytes] = []
    kept: list[int] = []
    rejected: list[Rejected] = []
    with warnings.catch_warnings(action="ignore"):  # Pillow warns about metadata, which is not used
        for index, value in zip(indices.tolist(), values, strict=True):
            try:
                pixels.append(_read_pixels(value, image, format_))
            except DataError as error:
                rejected.append(Rejected(index, error))
                continue
            kept.append(index)
    return Decoded(np.asarray(kept, dtype=np.intp), _as_windows(pixels, image), {}, rejected)


def _as_windows(pixels: Sequence[bytes], image: ImageShape) -> FloatArray:
    """Return raw pixels as windows, shape (n_images, n_rows, n_columns * n_channels)."""
    joined = np.frombuffer(b"".join(pixels), np.uint8)
    return joined.astype(np.float32).reshape(-1, *image.window)


def format_of(value: bytes) -> ImageFormat:
    """Return the format that the first bytes of a value indicate, else raw pixels."""
    found = (format_ for format_, (head, _) in _ENDS.items() if value.startswith(head))
    return next(found, "uint8")


def encode_image(window: FloatArray | NDArray[np.uint8], n_channels: int, format_: str) -> bytes:
    """Return one image as a record's value.

    Parameters
    ----------
    window
        Pixels, shape (n_rows, n_columns * n_channels), whole numbers from 0 to 255.
    n_channels
        1 or 3.
    format_
        "png", "jpeg" or "uint8". "jpeg" is lossy; the others read back to exactly the same pixels.

    Raises
    ------
    ValueError
        If a value is not that of a pixel: a caller's mistake.
    """
    pixels = window.astype(np.uint8)
    if not np.array_equal(pixels, window):
        message = "pixels: expected whole numbers from 0 to 255, received others"
        raise ValueError(message)
    if format_ == "uint8":
        return pixels.tobytes()
    if n_channels > 1:
        pixels = pixels.reshape(len(pixels), -1, n_channels)  # (n_rows, n_columns, n_channels)
    file = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if format_ == "jpeg" else {}
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


def _read_pixels(value: bytes, image: ImageShape, format_: str) -> bytes:
    """Return the raw pixels of one record."""
    found = format_of(value)
    if format_ == "image":
        if found == "uint8" and len(value) != image.n_bytes:
            message = (
                f"expected a PNG, a JPEG or {image.n_bytes} bytes of raw pixels, received "
                f"{_beginning(value)}"
            )
            raise RecordDecodeError(message)
        format_ = found
    if format_ == "uint8":
        if len(value) != image.n_bytes:
            message = (
                f"raw pixels: expected {image.n_bytes} bytes ({_size(image)}), received "
                f"{len(value)} bytes"
            )
            raise RecordShapeError(message)
        return value
    if format_ != found:
        message = f"expected a {format_.upper()}, received {_beginning(value)}"
        raise RecordDecodeError(message)
    if not value.endswith(_ENDS[format_][1]):
        message = (
            f"{format_.upper()} of {len(value)} bytes: expected its end mark at the end, received "
            f"{value[-4:]!r}; it was cut off, or something follows it"
        )
        raise RecordDecodeError(message)
    return _decode_file(value, image, format_)


def _decode_file(value: bytes, image: ImageShape, format_: str) -> bytes:
    """Return the raw pixels of a PNG or JPEG."""
    try:
        with Image.open(io.BytesIO(value), formats=(format_,)) as opened:
            _check_header(opened, image)
            return opened.tobytes()
    except UnidentifiedImageError:
        reason = "its header makes no sense"  # the error's own text holds an address
    except _UNREADABLE as error:
        reason = str(error)[:80] or type(error).__name__
    message = f"not a {format_.upper()} that can be read: {reason}"
    raise RecordDecodeError(message)


def _check_header(opened: Image.Image, image: ImageShape) -> None:
    """Reject an image of another size or kind; only its header has been read so far."""
    n_columns, n_rows = opened.size
    received = ImageShape(n_rows, n_columns, image.n_channels)
    if received != image:
        message = f"image: expected {_size(image)}, received {_size(received)}"
        raise RecordShapeError(message)
    n_frames = getattr(opened, "n_frames", 1)
    if n_frames != 1:
        message = f"image: expected one picture, received {n_frames} frames"
        raise RecordShapeError(message)
    if not opened.tile:  # type: ignore[attr-defined]
        message = "image: expected a picture, received a header without one"
        raise RecordDecodeError(message)
    # The pixels of the file itself; `opened.mode` is what Pillow converts them to: 16 bits to 8.
    arguments = opened.tile[0].args  # type: ignore[attr-defined]
    mode = arguments if isinstance(arguments, str) else arguments[0]
    mode += " with transparency" if "transparency" in opened.info else ""
    if mode != _MODES[image.n_channels]:
        kind = "grey" if image.n_channels == 1 else "colour"
        message = (
            f"image: expected {kind} of 8 bits (mode {_MODES[image.n_channels]}), received mode "
            f"{mode}"
        )
        raise RecordShapeError(message)


def _size(image: ImageShape) -> str:
    """Return a size in words, for an error."""
    return f"{image.n_rows} rows x {image.n_columns} columns"


def _beginning(value: bytes) -> str:
    """Return how a value begins, for an error."""
    return f"{len(value)} bytes that begin with {value[:8]!r}"
