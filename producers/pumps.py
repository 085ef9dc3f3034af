"""Send the readings of a simulated fleet of pumps to a topic, one a second of event time.

    python producers/pumps.py --topic telemetry --pumps 20 --hours 3 --speed 60

Each pump has a temperature, a pressure and a vibration; three pumps of four have faults of seven
kinds (stream_detector/datasets/pumps.py). The key is the pump, pump-00 and so on. `--speed 60` is a
minute each second. The header `label` is 1 while a fault lasts; the detector never reads it. Times
end about now; with `--start-ms`, runs repeat to the last bit. Ctrl-C stops once everything sent has
been acknowledged.
"""

from _common import run, sample_parser, send_samples

from stream_detector.datasets.pumps import SAMPLE_INTERVAL_MS, simulate


def main() -> None:
    """Simulate the pumps and send their readings."""
    parser = sample_parser(__doc__, speed=60.0, chunk=1)
    parser.add_argument("--pumps", type=int, default=20, help="number of pumps (%(default)s)")
    parser.add_argument("--hours", type=float, default=3.0, help="of readings (%(default)s)")
    parser.add_argument("--healthy", action="store_true", help="without faults, to train on")
    arguments = parser.parse_args()
    healthy_hours = arguments.hours if arguments.healthy else 0.0
    fleet = simulate(
        arguments.seed,
        n_pumps=max(arguments.pumps, 1),
        train_hours=healthy_hours,
        test_hours=arguments.hours - healthy_hours,
    )
    send_samples(fleet.samples, SAMPLE_INTERVAL_MS, arguments)


if __name__ == "__main__":
    run(main)
