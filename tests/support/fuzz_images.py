"""What must hold whatever a record of an image is: shared by hypothesis tests and the fuzzer."""

import warnings
from collections.abc import Iterator

import numpy as np
from image_files import COLOUR, GREY, HEADERS, image_seeds, pixels_of

from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.records import Headers
from stream_detector.errors import RecordDecodeError, RecordShapeError

KINDS: tuple[Headers, ...] = ([], *HEADERS.values())


def check_image(data: bytes) -> int:
    """Check one record beside a good one; the first byte chooses its header and the bundle."""
    number = data[0] if data else 0
    image = (GREY, COLOUR)[number & 1]
    values = [data[1:], pixels_of(image).tobytes()]
    headers = [KINDS[(number >> 1) % len(KINDS)], HEADERS["uint8"]]
    with warnings.catch_warnings(action="error"):
        decoded = decode_windows(values, headers, image, "image")
        again = decode_windows(values, headers, image, "image")
    assert np.array_equal(decoded.windows, again.windows)
    assert list(map(str, decoded.rejected)) == list(map(str, again.rejected))
    rejected = [each.index for each in decoded.rejected]
    assert sorted([*decoded.indices.tolist(), *rejected]) == [0, 1]
    assert rejected in ([], [0])
    assert np.array_equal(decoded.windows[-1], pixels_of(image))
    assert decoded.windows.dtype == np.float32
    assert decoded.windows.min() >= 0
    assert decoded.windows.max() <= 255
    for each in decoded.rejected:
        assert isinstance(each.error, RecordDecodeError | RecordShapeError)
    return 1


def fuzz_seeds() -> Iterator[bytes]:
    """Yield inputs of `check_image` that hold an image, with each header."""
    for image, value in image_seeds():
        for kind in range(len(KINDS)):
            yield bytes([2 * kind + (image == COLOUR)]) + value
