"""Send ECG5000's test beats to a topic, at a steady rate.

    python producers/ecg5000.py --topic telemetry --rate 200

Each record is one heartbeat of 140 samples, keyed by one of 16 series. The header
`label` says whether the beat is normal (0) or not (1); the detector never reads it.
Ctrl-C stops after what was sent has arrived.
"""

import argparse
import sys

import numpy as np
from rich.progress import Progress

from stream_detector.clients import connect
from stream_detector.datasets import load_dataset
from stream_detector.errors import StreamDetectorError
from stream_detector.ports import SystemClock
from stream_detector.replay import ReplayOptions, replay
from stream_detector.settings import ConnectionSettings, load_settings

N_SERIES = 16


def parse_arguments() -> argparse.Namespace:
    """Return what the person asked for."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--bootstrap-servers", metavar="HOST:PORT", help="where Kafka is (127.0.0.1:9092)")
    add("--client", choices=("kafka-python", "confluent"), help="library (kafka-python)")
    add("--topic", default="telemetry", help="topic to send to (%(default)s)")
    add("--rate", type=float, default=100.0, help="records a second (%(default)s)")
    add("--format", choices=("json", "float32"), default="json", help="of values (%(default)s)")
    add("--n-records", type=int, default=4500, help="how many, over and over (%(default)s)")
    add("--seed", type=int, default=0, help="order of the beats; 0 is the set's own (%(default)s)")
    return parser.parse_args()


def send(arguments: argparse.Namespace) -> None:
    """Load the beats and send them."""
    data = load_dataset("ecg5000", split="official")
    order = np.arange(arguments.n_records) % len(data.test)
    if arguments.seed:
        order = np.random.default_rng(arguments.seed).permutation(order)
    options = ReplayOptions(
        rate=arguments.rate,
        content_type=arguments.format,
        keys=[f"series-{number % N_SERIES}" for number in range(len(order))],
        labels=None if data.test_labels is None else data.test_labels[order].tolist(),
    )
    servers, library = arguments.bootstrap_servers, arguments.client
    client = connect(load_settings(ConnectionSettings, bootstrap_servers=servers, client=library))
    try:
        with Progress() as progress:
            task = progress.add_task(arguments.topic, total=len(order))
            done = replay(
                data.test[order],
                client,
                arguments.topic,
                options=options,
                clock=SystemClock(),
                on_progress=lambda n_sent: progress.update(task, completed=n_sent),
            )
        print(f"{done.n_records} records in {done.seconds:.1f} s")
    finally:
        client.close()


if __name__ == "__main__":
    try:
        send(parse_arguments())
    except KeyboardInterrupt:
        sys.exit(130)
    except (StreamDetectorError, ValueError) as error:
        sys.exit(f"error: {error}")
