"""Send the test beats of ECG5000 to a topic at a steady rate.

    python producers/ecg5000.py --topic telemetry --rate 200

Each record is one heartbeat of 140 samples; its key is one of 16 series. The header `label` says
whether the beat is normal (0) or anomalous (1); the detector never reads it. Ctrl-C stops once
everything sent has been acknowledged.
"""

import numpy as np
from _common import run, send_windows, window_parser

from stream_detector.datasets import load_dataset
from stream_detector.replay import ReplayOptions

N_SERIES = 16


def main() -> None:
    """Load the beats and send them."""
    parser = window_parser(__doc__, ("json", "float32"), n_records=4_500)
    seed_help = "order of the beats; 0 keeps that of the data set (%(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=seed_help)
    arguments = parser.parse_args()
    data = load_dataset("ecg5000", split="official")
    order = np.arange(arguments.n_records) % len(data.test)  # the beats repeat
    if arguments.seed:
        order = np.random.default_rng(arguments.seed).permutation(order)
    options = ReplayOptions(
        rate=arguments.rate,
        content_type=arguments.format,
        keys=[f"series-{number % N_SERIES}" for number in range(len(order))],
        labels=None if data.test_labels is None else data.test_labels[order].tolist(),
    )
    send_windows(data.test[order], options, arguments)


if __name__ == "__main__":
    run(main)
