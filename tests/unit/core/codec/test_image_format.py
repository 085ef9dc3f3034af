"""What each image of a record becomes: pixels, or a reason why not."""

import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from image_files import (  # tests/support
    COLOUR,
    GREY,
    HEADERS,
    bad_files,
    file_of,
    image_seeds,
    pixels_of,
    png_of,
)

from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.image_format import ImageShape, encode_image
from stream_detector.core.codec.windows import decode_windows
from stream_detector.errors import RecordDecodeError, RecordShapeError

FORMATS: Any = ("png", "jpeg", "uint8")
BAD = list(bad_files())


def decode(
    *values: bytes | None,
    headers: Any = None,
    image: ImageShape = GREY,
    content_type: Any = "image",
) -> Decoded:
    return decode_windows(values, headers, image, content_type)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("image", [GREY, COLOUR, ImageShape(1, 1, 1), ImageShape(2, 70, 3)])
@pytest.mark.parametrize("has_header", [True, False])
def test_pixels_come_back(format_: Any, image: ImageShape, has_header: bool) -> None:
    windows = [pixels_of(image, seed) for seed in range(3)]
    values = [encode_image(window, image.n_channels, format_) for window in windows]
    decoded = decode(*values, headers=[HEADERS[format_]] * 3 if has_header else None, image=image)
    assert (decoded.rejected, decoded.indices.tolist()) == ([], [0, 1, 2])
    assert decoded.windows.dtype == np.float32
    assert decoded.windows.flags.c_contiguous
    assert decoded.windows.shape == (3, *image.window)
    if format_ != "jpeg":
        assert np.array_equal(decoded.windows, np.stack(windows))
    else:
        assert set(np.unique(decoded.windows % 1)) == {0.0}


def test_no_records_give_no_images() -> None:
    assert decode().windows.shape == (0, *GREY.window)


def test_formats_of_all_kinds_keep_the_order_of_the_batch() -> None:
    pixels = pixels_of(GREY)
    numbers = pixels.astype("<f4").tobytes()
    values = [encode_image(pixels, 1, format_) for format_ in ("uint8", "png", "png", "uint8")]
    values[1:1] = [numbers]
    headers = [HEADERS["uint8"], [("content-type", CONTENT_TYPES["float32"])], None, HEADERS["png"]]
    decoded = decode(*values, headers=[*headers, []])
    assert decoded.rejected == []
    assert np.array_equal(decoded.windows, np.stack([pixels] * 5))


def test_json_of_the_right_shape_is_an_image_too() -> None:
    json = str({"values": pixels_of(GREY).tolist()}).replace("'", '"').encode()
    decoded = decode(json, content_type="json")
    assert np.array_equal(decoded.windows[0], pixels_of(GREY))


@pytest.mark.parametrize(("name", "value", "error", "words"), BAD, ids=[each[0] for each in BAD])
def test_a_bad_image_is_refused_with_its_reason_and_its_neighbours_are_not(
    name: str, value: bytes, error: str, words: str
) -> None:
    good = file_of()
    with warnings.catch_warnings(action="error"):
        decoded = decode(good, value, good)
    assert decoded.indices.tolist() == [0, 2], name
    (rejected,) = decoded.rejected
    assert (rejected.index, type(rejected.error).__name__) == (1, error)
    assert words in str(rejected.error)
    assert str(decode(value).rejected[0].error) == str(rejected.error), "differs from run to run"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (file_of("L"), "expected colour of 8 bits (mode RGB), received mode L"),
        (file_of("RGBA"), "received mode RGBA"),
        (png_of(5, 6, 16, 2), "received mode RGB;16B"),
        (file_of("L", "JPEG"), "received mode L"),
    ],
)
def test_a_colour_bundle_takes_colour_only(value: bytes, words: str) -> None:
    (rejected,) = decode(value, image=COLOUR).rejected
    assert isinstance(rejected.error, RecordShapeError)
    assert words in str(rejected.error)


def test_an_image_that_says_it_is_huge_takes_no_memory() -> None:
    bombs = [value for name, value, *_ in BAD if name in ("bomb", "large", "jpeg-bomb")]
    decode(*bombs)
    tracemalloc.start()
    decode(*bombs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("header", "format_"), [("png", "jpeg"), ("jpeg", "png"), ("png", "uint8")]
)
def test_what_the_header_says_must_be_so(header: str, format_: Any) -> None:
    value = encode_image(pixels_of(GREY), 1, format_)
    (rejected,) = decode(value, headers=[HEADERS[header]]).rejected
    assert isinstance(rejected.error, RecordDecodeError)
    assert str(rejected.error).startswith(f"expected a {header.upper()}, received {len(value)} ")


def test_raw_pixels_may_begin_as_a_file_does_where_the_header_says_raw() -> None:
    raw = b"\xff\xd8\xff" + bytes(27)
    assert decode(raw, headers=[HEADERS["uint8"]]).windows.shape[0] == 1
    assert "JPEG" in str(decode(raw).rejected[0].error)


@pytest.mark.parametrize("value", [None, b""])
@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_no_image(value: bytes | None, format_: str) -> None:
    (rejected,) = decode(value, headers=[HEADERS[format_]]).rejected
    assert str(rejected.error).startswith("expected an image, received ")


def test_raw_pixels_of_another_length_are_another_shape() -> None:
    decoded = decode(bytes(31), bytes(30), headers=[HEADERS["uint8"]] * 2)
    (rejected,) = decoded.rejected
    assert isinstance(rejected.error, RecordShapeError)
    assert (
        str(rejected.error)
        == "raw pixels: expected 30 bytes (6 rows x 5 columns), received 31 bytes"
    )
    assert decoded.indices.tolist() == [1]


def test_a_bundle_of_windows_takes_no_images() -> None:
    decoded = decode_windows([file_of()], [HEADERS["png"]], (6, 5), "json")
    assert "unknown content type: expected one of application/json" in str(
        decoded.rejected[0].error
    )
    with pytest.raises(
        ValueError, match="expected json or float32 for this bundle, received 'image'"
    ):
        decode_windows([file_of()], None, (6, 5), "image")


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_what_is_no_pixel_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="expected whole numbers from 0 to 255"):
        encode_image(np.full((2, 2), value, np.float32), 1, "png")


def test_a_warning_of_the_library_is_not_seen(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    for image, value in image_seeds():
        assert len(decode(value, image=image).windows) == 1
    assert list(recwarn) == []
