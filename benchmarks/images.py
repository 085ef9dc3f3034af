"""How many images a second of one core are decoded, in each format, and explained.

    python benchmarks/images.py

Of MNIST's 10,000 test images; median of the rounds, in time of the processor.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from stream_detector.core.codec.image_format import MEDIA_TYPES as IMAGE_TYPES
from stream_detector.core.codec.image_format import ImageFormat, ImageShape, encode_image
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.scoring.explanation import WindowEvidence
from stream_detector.core.scoring.image_explanation import explain_image
from stream_detector.datasets import load_images

ROUNDS = 7
IMAGE = ImageShape(28, 28, 1)


def main() -> None:
    """Print a table."""
    windows = load_images("mnist").test
    print("| what | bytes an image | images/s, median (min - max) |\n|---|---|---|")
    formats: tuple[ImageFormat, ...] = ("png", "jpeg", "uint8")
    for format_ in formats:
        values = [encode_image(window, 1, format_) for window in windows]
        headers: Any = [[("content-type", IMAGE_TYPES[format_])]] * len(values)
        for label, given in (("header", headers), ("no header", None)):
            rate = measure(
                len(values),
                partial(decode_windows, values, given, IMAGE.window, "image", 0, IMAGE),
            )
            size = statistics.mean(map(len, values))
            print(f"| decode {format_}, {label} | {size:.0f} | {rate} |")
    scaled = windows[:2_000] / np.float32(255)
    odd = [WindowEvidence(window, window, window.T, 0, 0) for window in scaled]
    rate = measure(len(odd), lambda: [explain_image(each, IMAGE, "mae") for each in odd])
    print(f"| explain an anomalous one | | {rate} |")


def measure(n_images: int, work: Callable[[], object]) -> str:
    """Return images a second, in words."""
    rates = []
    for _ in range(ROUNDS):
        start_s = time.process_time()
        work()
        rates.append(n_images / (time.process_time() - start_s))
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} - {max(rates):,.0f})"


if __name__ == "__main__":
    main()
