"""Send images to a topic, some of them anomalous, at a steady rate.

    python producers/images.py --topic telemetry --rate 100 --format png

They are test images of MNIST, the anomalous ones of Fashion-MNIST, unless the flags say otherwise:
`--normal 1 --anomalous 9 --anomalous-from mnist` sends ones, and some nines. The key is one of 16
cameras. The header `reference` says which image it is, and alerts repeat it; `label` is 1 for an
anomalous one, and the detector never reads it. Ctrl-C stops after what was sent has arrived.
"""

import argparse
from contextlib import closing

import numpy as np
from _common import run
from rich.progress import Progress

from stream_detector.clients import connect
from stream_detector.datasets import ImageChoice, load_images
from stream_detector.ports import SystemClock
from stream_detector.replay import ReplayOptions, replay
from stream_detector.settings import ConnectionSettings, load_settings

N_CAMERAS = 16
SETS = ("mnist", "fashion-mnist")


def parse_arguments() -> argparse.Namespace:
    """Return what the person asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--bootstrap-servers", metavar="HOST:PORT", help="where Kafka is (127.0.0.1:9092)")
    add("--client", choices=("kafka-python", "confluent"), help="library (kafka-python)")
    add("--topic", default="telemetry", help="topic to send to (%(default)s)")
    add("--rate", type=float, default=100.0, help="records a second (%(default)s)")
    add("--format", choices=("png", "jpeg", "uint8"), default="png", help="of images (%(default)s)")
    add("--n-records", type=int, default=2_000, help="how many (%(default)s)")
    add("--dataset", choices=SETS, default="mnist", help="normal images (%(default)s)")
    add("--normal", type=int, nargs="+", help="their classes (all)")
    add("--anomalous-from", choices=SETS, default="fashion-mnist", help="others (%(default)s)")
    add("--anomalous", type=int, nargs="+", help="their classes (all; of --dataset, the rest)")
    add("--share", type=float, default=0.1, help="anomalous ones among all (%(default)s)")
    add("--seed", type=int, default=0, help="which images, and their order (%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Draw the images and send them."""
    arguments = parse_arguments()
    other = arguments.anomalous_from if arguments.anomalous_from != arguments.dataset else None
    normal, anomalous = (each and tuple(each) for each in (arguments.normal, arguments.anomalous))
    data = load_images(arguments.dataset, ImageChoice(normal, anomalous, other))
    draw = np.random.default_rng(arguments.seed)
    labels = (draw.random(arguments.n_records) < arguments.share).astype(int)
    rows = [int(draw.choice(np.flatnonzero(data.test_labels == label))) for label in labels]
    options = ReplayOptions(
        rate=arguments.rate,
        content_type=arguments.format,
        keys=[f"camera-{number % N_CAMERAS}" for number in range(len(rows))],
        labels=labels.tolist(),
        references=None if data.test_keys is None else [data.test_keys[row] for row in rows],
    )
    servers, library = arguments.bootstrap_servers, arguments.client
    client = connect(load_settings(ConnectionSettings, bootstrap_servers=servers, client=library))
    with closing(client), Progress() as progress:
        task = progress.add_task(arguments.topic, total=len(rows))
        done = replay(
            data.test[rows],
            client,
            arguments.topic,
            options=options,
            clock=SystemClock(),
            on_progress=lambda n_sent: progress.update(task, completed=n_sent),
        )
    print(f"{done.n_records} records in {done.seconds:.1f} s, {labels.sum()} anomalous")


if __name__ == "__main__":
    run(main)
