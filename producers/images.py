"""Send images to a topic at a steady rate, some of them anomalous.

    python producers/images.py --topic telemetry --rate 100 --format png

By default the normal ones are test images of MNIST and the anomalous ones of Fashion-MNIST. Flags
choose others: `--normal 1 --anomalous 9 --anomalous-from mnist` sends ones, and some nines. The key
is one of 16 cameras. The header `reference` names the image, and alerts repeat it; the header
`label` is 1 for an anomalous image, and the detector never reads it. Ctrl-C stops once everything
sent has been acknowledged.
"""

import argparse

import numpy as np
from _common import run, send_windows, window_parser

from stream_detector.datasets import ImageChoice, load_images
from stream_detector.replay import ReplayOptions

N_CAMERAS = 16
SETS = ("mnist", "fashion-mnist")


def parse_arguments() -> argparse.Namespace:
    """Return the flags that were given, and the defaults of the others."""
    parser = window_parser(__doc__, ("png", "jpeg", "uint8"), n_records=2_000)
    add = parser.add_argument
    add("--dataset", choices=SETS, default="mnist", help="of the normal images (%(default)s)")
    add("--normal", type=int, nargs="+", help="classes of the normal images (all)")
    others_help = "data set of the anomalous images (%(default)s)"
    add("--anomalous-from", choices=SETS, default="fashion-mnist", help=others_help)
    classes_help = "classes of the anomalous images (all; from the same data set, the other ones)"
    add("--anomalous", type=int, nargs="+", help=classes_help)
    add("--share", type=float, default=0.1, help="share of anomalous images (%(default)s)")
    add("--seed", type=int, default=0, help="of the choice and order of images (%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Choose the images and send them."""
    arguments = parse_arguments()
    other = arguments.anomalous_from if arguments.anomalous_from != arguments.dataset else None
    normal, anomalous = (each and tuple(each) for each in (arguments.normal, arguments.anomalous))
    data = load_images(arguments.dataset, ImageChoice(normal, anomalous, other))
    random = np.random.default_rng(arguments.seed)
    labels = (random.random(arguments.n_records) < arguments.share).astype(int)
    rows = [int(random.choice(np.flatnonzero(data.test_labels == label))) for label in labels]
    options = ReplayOptions(
        rate=arguments.rate,
        content_type=arguments.format,
        keys=[f"camera-{number % N_CAMERAS}" for number in range(len(rows))],
        labels=labels.tolist(),
        references=None if data.test_keys is None else [data.test_keys[row] for row in rows],
    )
    send_windows(data.test[rows], options, arguments)


if __name__ == "__main__":
    run(main)
