"""Send synthetic ECG beats, some of them anomalous, to a topic at a steady rate.

    python producers/synthetic_ecg.py --topic telemetry --rate 200

Each record is one heartbeat of 140 samples; its key is one of 16 series. The header `label` says
whether the beat is normal (0) or anomalous (1); the detector never reads it. Ctrl-C stops once
everything sent has been acknowledged.
"""

from _common import run, send_windows, window_parser

from stream_detector.datasets import load_dataset
from stream_detector.replay import ReplayOptions

N_SERIES = 16


def main() -> None:
    """Generate the beats and send them."""
    parser = window_parser(__doc__, ("json", "float32"), n_records=5_000)
    parser.add_argument("--seed", type=int, default=0, help="of the beats (%(default)s)")
    arguments = parser.parse_args()
    # A fifth of the windows, or a little less, is the test part that has the anomalies.
    n_windows = 6 * max(arguments.n_records, 10)
    data = load_dataset("synthetic-ecg", seed=arguments.seed, n_windows=n_windows)
    order = slice(arguments.n_records)
    options = ReplayOptions(
        rate=arguments.rate,
        content_type=arguments.format,
        keys=[f"series-{number % N_SERIES}" for number in range(arguments.n_records)],
        labels=None if data.test_labels is None else data.test_labels[order].tolist(),
    )
    send_windows(data.test[order], options, arguments)


if __name__ == "__main__":
    run(main)
