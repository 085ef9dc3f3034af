"""Image files of every kind, good and bad, for the tests of the image codec."""

import functools
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from stream_detector.core.codec.image_format import MEDIA_TYPES as IMAGE_TYPES
from stream_detector.core.codec.image_format import ImageShape, encode_image

GREY = ImageShape(6, 5, 1)
COLOUR = ImageShape(6, 5, 3)
HEADERS = {name: [("content-type", IMAGE_TYPES[name])] for name in IMAGE_TYPES}
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def pixels_of(image: ImageShape, seed: int = 0) -> Any:
    """Return random pixels, uint8, as a window."""
    return np.random.default_rng(seed).integers(0, 256, image.window).astype(np.uint8)


def file_of(
    mode: str = "L", format_: str = "PNG", size: tuple[int, int] = (5, 6), **how: Any
) -> bytes:
    """Return a file as Pillow writes it; `size` is columns and rows."""
    buffer = io.BytesIO()
    draw = np.random.default_rng(1)
    picture = Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    picture.convert(mode).save(buffer, format_, **how)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(n_columns: int, n_rows: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """Return a PNG that says it is so large, made by hand; all its values are 0."""
    n_values = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth * min(n_columns, 100)
    rows = (b"\0" + bytes(-(-n_values // 8))) * min(n_rows, 100)
    header = struct.pack(">IIBBBBB", n_columns, n_rows, depth, colour, 0, 0, 0)
    data = (chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"".join((PNG_HEAD, chunk(b"IHDR", header), *chunks, *data))


def jpeg_that_says(n_columns: int, n_rows: int) -> bytes:
    """Return a small JPEG whose header says another size."""
    value = file_of("L", "JPEG")
    at = value.index(b"\xff\xc0") + 5
    return value[:at] + struct.pack(">HH", n_rows, n_columns) + value[at + 4 :]


def bad_files(image: ImageShape = GREY) -> Iterator[tuple[str, bytes, str, str]]:
    """Yield what a grey bundle refuses: name, content, class of the error, words of its message."""
    n_rows, n_columns = image[:2]
    size = (n_columns, n_rows)
    png, jpeg = file_of(size=size), file_of(format_="JPEG", size=size)
    decode, shape = "RecordDecodeError", "RecordShapeError"
    yield "bomb", png_of(50_000, 50_000, 8, 0), decode, "exceeds limit"
    yield "large", png_of(9_000, 9_000, 8, 0), shape, "received 9000 rows x 9000 columns"
    yield "jpeg-bomb", jpeg_that_says(60_000, 60_000), decode, "exceeds limit"
    yield "text-bomb", png_of(*size, 8, 0, _text_bomb()), decode, "Decompressed data too large"
    yield "cut-png", png[:-20], decode, "it was cut off"
    yield "cut-jpeg", jpeg[:-20], decode, "it was cut off"
    yield "cut-within", png[: len(png) // 2] + png[-12:], decode, "not a PNG that can be read"
    yield "more-png", png + b"\0", decode, "or something follows it"
    yield "more-jpeg", jpeg + b"x", decode, "or something follows it"
    received = f"received {n_columns + 1} rows x {n_rows} columns"
    yield "turned", file_of(size=(n_rows, n_columns + 1)), shape, received
    yield "rgb", file_of("RGB", size=size), shape, "of 8 bits (mode L), received mode RGB"
    yield "rgb-jpeg", file_of("RGB", "JPEG", size), shape, "received mode RGB"
    yield "cmyk", file_of("CMYK", "JPEG", size), shape, "received mode CMYK"
    yield "palette", file_of("P", size=size), shape, "received mode P"
    yield "alpha", file_of("LA", size=size), shape, "received mode LA"
    see_through = file_of(size=size, transparency=0)
    yield "see-through", see_through, shape, "received mode L with transparency"
    yield "bit", file_of("1", size=size), shape, "received mode 1"
    yield "four-bits", png_of(*size, 4, 0), shape, "received mode L;4"
    yield "16-bits", png_of(*size, 16, 0), shape, "received mode I;16B"
    yield "gif", file_of(format_="GIF", size=size), decode, "begin with b'GIF8"
    yield "webp", file_of(format_="WEBP", size=size), decode, "begin with b'RIFF"
    yield "tiff", file_of(format_="TIFF", size=size), decode, "begin with b'II*"
    frames = [Image.new("L", size, level) for level in (0, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    yield "animated", buffer.getvalue(), shape, "expected one picture, received 2 frames"
    yield "nothing-in-it", PNG_HEAD + chunk(b"IEND", b""), decode, "header makes no sense"
    n_bytes = image.n_bytes - 1
    yield "short", bytes(n_bytes), decode, f"of raw pixels, received {n_bytes} bytes"


@functools.cache
def _text_bomb() -> bytes:
    """Return a comment of 64 MB, compressed to 64 kB."""
    return chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64_000_000)))


def image_seeds() -> Iterator[tuple[ImageShape, bytes]]:
    """Yield images that can be decoded, to be changed by a fuzzer."""
    for image in (GREY, COLOUR):
        mode = "L" if image.n_channels == 1 else "RGB"
        for format_ in IMAGE_TYPES:
            yield image, encode_image(pixels_of(image), image.n_channels, format_)
        yield image, file_of(mode, "JPEG", progressive=True)
        yield image, file_of(mode, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x28\x01")
        yield image, file_of(mode, "PNG", dpi=(3, 3), icc_profile=b"profile")
