"""Send the readings of several servers to a topic, one a minute of event time.

    python producers/machines.py --topic telemetry --machines 20 --minutes 1440 --speed 3600

Each machine is one of the Server Machine Dataset: 38 readings a minute, from 0 to 1, starting at a
random sample of its test part and repeated as often as needed. The key is the machine, machine-000
and so on. `--speed 3600` is an hour each second. The header `label` is 1 while the machine is
faulty; the detector never reads it. Times end about now; with `--start-ms`, runs repeat to the last
bit. Ctrl-C stops once everything sent has been acknowledged.
"""

from _common import run, sample_parser, send_samples

from stream_detector.datasets import load_samples
from stream_detector.replay import make_fleet

INTERVAL_MS = 60_000.0
MACHINES = ("1-6", "2-1", "2-7", "3-3")


def main() -> None:
    """Load the recordings and send them."""
    parser = sample_parser(__doc__, speed=3_600.0, chunk=1)
    parser.add_argument("--machines", type=int, default=20, help="number of machines (%(default)s)")
    parser.add_argument("--minutes", type=int, default=1_440, help="readings of each (%(default)s)")
    parser.set_defaults(delay_ms=2 * INTERVAL_MS)  # less would reorder nothing
    arguments = parser.parse_args()
    fleet = make_fleet(
        [load_samples("smd", series=name).test for name in MACHINES[: max(arguments.machines, 1)]],
        "machine",
        n_series=arguments.machines,
        n_samples=arguments.minutes,
        sample_interval_ms=INTERVAL_MS,
        seed=arguments.seed,
    )
    send_samples(fleet, INTERVAL_MS, arguments)


if __name__ == "__main__":
    run(main)
