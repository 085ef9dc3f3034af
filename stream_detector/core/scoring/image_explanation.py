"""Which pixels of an image the error lies in, as a region and as a small picture.

Pure: the same image gives the same bytes.
"""

import base64
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.image_format import ImageShape, encode_image
from stream_detector.core.scoring.explanation import (
    Explanation,
    ImageExplanation,
    WindowEvidence,
    worst_span,
)
from stream_detector.core.scoring.reconstruction_error import ErrorKind, value_errors

WHOLE_SHARE = 0.9
"""From this part of the image on, a box locates nothing."""

BRIGHTER_MIN = 1.1
"""The brightest pixel over the median one, below which the error is the same everywhere."""

_FLOORS = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of the errors of pixels; what is below one of them counts as no error."""

HEAT_MAP_SIDE_MAX = 64
"""Longest side of a heat map, in pixels."""

HEAT_MAP_BYTES_MAX = 6_144
"""Longest heat map in base64. 64 x 64 pixels that no compression makes smaller take 5,644."""


def explain_image(scored: WindowEvidence, image: ImageShape, error_kind: ErrorKind) -> Explanation:
    """Say where in an image the error lies.

    Parameters
    ----------
    scored
        The image as a window, shape (n_rows, n_columns * n_channels).
    image
        Its size.
    error_kind
        How the distance is measured; the one the image was scored with.

    Returns
    -------
    An explanation whose `image` says it all: it names no features and no times. An image without
    any error, or with the same error everywhere, is one region with the share 1.
    """
    errors = value_errors(scored.scaled, scored.reconstruction, error_kind)
    pixels = errors.reshape(image).mean(axis=2, dtype=np.float64)  # (n_rows, n_columns)
    np.maximum(pixels, 0.0, out=pixels)  # bce can be below zero
    box = _brightest_box(pixels)
    total, inside = float(pixels.sum()), float(box.of(pixels).sum())
    heat_map = _reduced(pixels)
    start_ms = round(scored.start_ms)
    return Explanation(
        worst_start_ms=start_ms,
        worst_end_ms=start_ms + round((image.n_rows - 1) * scored.sample_interval_ms),
        features=(),
        shares=(),
        times_ms=(),
        imputed_share=0.0,
        n_gaps=0,
        image=ImageExplanation(
            *image,
            **box._asdict(),
            share=inside / total if total > 0.0 else 1.0,
            heat_map=base64.b64encode(_picture(heat_map)).decode(),
            heat_map_max=float(heat_map.max()),
        ),
    )


class _Box(NamedTuple):
    """Some rows and columns, the last ones included."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int

    def of(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels in these rows and columns."""
        rows = pixels[self.first_row : self.last_row + 1]
        return rows[:, self.first_column : self.last_column + 1]


def _brightest_box(pixels: NDArray[np.float64]) -> _Box:
    """Return where most of the error lies; the whole image where it is the same everywhere.

    Parameters
    ----------
    pixels
        Errors, shape (n_rows, n_columns), none below zero.
    """
    box = _worst_box(pixels)
    if pixels.max() < BRIGHTER_MIN * np.median(pixels):
        return box
    for floor in np.quantile(pixels, _FLOORS):
        if box.of(pixels).size < WHOLE_SHARE * pixels.size:
            break
        box = _worst_box(np.maximum(pixels - floor, 0.0))
    return box


def _worst_box(pixels: NDArray[np.float64]) -> _Box:
    """Return the worst rows, and the worst columns within them; see `worst_span`."""
    first, last = worst_span(pixels.sum(axis=1))
    return _Box(first, last, *worst_span(pixels[first : last + 1].sum(axis=0)))


def _reduced(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of squares of pixels, as few a side as needed; the last may be cut."""
    side = -(-max(pixels.shape) // HEAT_MAP_SIDE_MAX)  # pixels of a square's side
    if side == 1:
        return pixels
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], side)
        counts = np.diff(np.append(starts, pixels.shape[axis]))  # (n_squares,)
        sums = np.add.reduceat(pixels, starts, axis=axis)
        pixels = sums / (counts[:, np.newaxis] if axis == 0 else counts)
    return pixels


def _picture(errors: NDArray[np.float64]) -> bytes:
    """Return errors as a grey PNG, the largest white."""
    largest = errors.max()
    levels = 255.0 * (errors / largest) if largest > 0.0 else errors
    return encode_image(np.rint(levels).astype(np.uint8), 1, "png")
