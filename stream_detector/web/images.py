"""Images of a key as they came, each beside a heat map of its error."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.image_format import encode_image
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.web.history import Stretch

IMAGES_MAX = 12
"""Most images that are shown of a key."""

IMAGE_BYTES_MAX = 2**21
"""Most bytes of them together; the first one is shown in any case."""


class KeyImage(NamedTuple):
    """An image of a key.

    Parameters
    ----------
    time_ms
        When it was taken, milliseconds since 1970-01-01 UTC.
    anomaly_score
        Score / threshold.
    image, heat_map
        The image, and where in it the error is, as PNG in base64.
    brightness
        The error that is white on the heat map, as a part of the largest of all images shown, 0 to
        1: so a small error looks small.
    """

    time_ms: float
    anomaly_score: float
    image: str
    heat_map: str
    brightness: float


def images_of(
    detector: WindowDetector,
    windows: FloatArray,
    times_ms: NDArray[np.float64],
    anomaly_scores: NDArray[np.float64],
    stretch: Stretch,
) -> tuple[KeyImage, ...]:
    """Return images of a stretch of time, the newest first.

    Parameters
    ----------
    detector
        A detector of images.
    windows
        The images as windows, shape (n_images, n_rows, n_columns * n_channels), values 0 to 255.
    times_ms, anomaly_scores
        Of each, shapes (n_images,).
    stretch
        Which of them.

    Returns
    -------
    At most `IMAGES_MAX`: the newest of those that are anomalous, and the newest of the others where
    these are fewer.
    """
    inside = np.flatnonzero((times_ms >= stretch.start_ms) & (times_ms <= stretch.end_ms))
    order = np.lexsort((times_ms[inside], anomaly_scores[inside] > 1.0))[::-1]
    chosen = inside[order[:IMAGES_MAX]]
    chosen = chosen[np.argsort(-times_ms[chosen], kind="stable")]
    if not len(chosen) or detector.image is None:
        return ()
    found, n_bytes = detector.scorer.score(windows[chosen]), 0
    images: list[KeyImage] = []
    for at, row in enumerate(chosen.tolist()):
        image = _encoded(windows[row], detector.image.n_channels)
        n_bytes += len(image)
        if images and n_bytes > IMAGE_BYTES_MAX:
            break
        shown = found.explain(at, WindowContext(times_ms[row], 0)).explanation.image
        heat_map, error = ("", 0.0) if shown is None else (shown.heat_map, shown.heat_map_max)
        about = float(times_ms[row]), float(anomaly_scores[row])
        images.append(KeyImage(*about, image, heat_map, error))
    largest = max(each.brightness for each in images) or 1.0
    return tuple(each._replace(brightness=each.brightness / largest) for each in images)


def _encoded(window: FloatArray, n_channels: int) -> str:
    """Return an image as PNG in base64."""
    pixels = np.clip(np.rint(window), 0, 255).astype(np.uint8)
    return base64.b64encode(encode_image(pixels, n_channels, "png")).decode()


def as_values(images: Sequence[KeyImage]) -> list[dict[str, float | str]]:
    """Return images as values that JSON has."""
    return [each._asdict() for each in images]
