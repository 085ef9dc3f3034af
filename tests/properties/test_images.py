"""However an image was damaged, it is a window or rejected, and nothing else happens."""

import io
import struct
import zlib

import numpy as np
from fuzz_images import check_image, fuzz_seeds
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from image_files import HEADERS
from PIL import Image

from stream_detector.core.codec.image_format import ImageShape, encode_image
from stream_detector.core.codec.windows import decode_windows

SEEDS = list(fuzz_seeds())
PNG_END = 12
SHAPES = st.builds(ImageShape, st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw an image of which bytes were changed, taken out, repeated, or made a number's edge."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    end = bytes(data[-PNG_END:])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(1, len(data)))
        length = draw(st.integers(0, 12))
        instead = draw(
            st.binary(max_size=3)
            | st.just(bytes(data[at : at + length]) * 2)
            | st.sampled_from([0, 1, 2**16 - 1, 2**31, 2**32 - 1]).map(struct.Struct(">I").pack)
        )
        data[at : at + length] = instead
    if draw(st.booleans()):  # else most are refused for their end alone
        data += end
    return mended(bytes(data)) if draw(st.booleans()) else bytes(data)


def mended(data: bytes) -> bytes:
    """Return a PNG with the checksums that fit its chunks; other bytes as they are."""
    head, value = data[:9], data[9:]
    out = bytearray()
    while len(value) >= 12 and head[1:5] == b"\x89PNG":
        length = int.from_bytes(value[:4])
        if length + 12 > len(value):
            break
        content = value[4 : 8 + length]
        out += value[:4] + content + struct.pack(">I", zlib.crc32(content))
        value = value[12 + length :]
    return head + bytes(out) + value


@given(damaged())
def test_a_damaged_image_is_a_window_or_rejected(data: bytes) -> None:
    check_image(data)


@given(st.sampled_from(SEEDS), st.data())
def test_a_truncated_image_is_rejected(data: bytes, draw: st.DataObject) -> None:
    truncated = data[: draw.draw(st.integers(1, len(data) - 1))]
    check_image(truncated)
    image = ImageShape(6, 5, 3 if data[0] & 1 else 1)
    if len(truncated) - 1 not in (0, image.n_bytes):
        assert len(decode_windows([truncated[1:]], None, image, "image").rejected) == 1


@given(SHAPES, st.data())
def test_pixels_that_are_written_come_back(image: ImageShape, draw: st.DataObject) -> None:
    pixels = draw.draw(arrays.arrays(np.uint8, image.window))
    values = [encode_image(pixels, image.n_channels, format_) for format_ in ("png", "uint8")]
    with Image.open(io.BytesIO(values[0])) as opened:
        assert opened.size == (image.n_columns, image.n_rows)
    headers = [HEADERS["png"], HEADERS["uint8"]]
    decoded = decode_windows(values, headers, image, "image")
    assert np.array_equal(decoded.windows, np.stack([pixels, pixels]))
