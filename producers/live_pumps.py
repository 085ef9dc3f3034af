"""Send the readings of a simulated fleet of pumps as if it ran now: one a second of each pump.

    python producers/live_pumps.py --normal normal.csv
    python producers/live_pumps.py --topic telemetry

The first writes normal hours of the same pumps to train on, and ends. The second sends the last
hour at once and then each reading at its time, for eight hours. The first fault begins 15 seconds
after the start, that of the next pump half a minute later, and so on; which they are is printed.
Ctrl-C stops once everything sent has been acknowledged.
"""

from datetime import UTC, datetime
from pathlib import Path

from _common import connected, new_parser, run

from stream_detector.cli.generate_data import write_fleet
from stream_detector.datasets.live_pumps import N_PUMPS, PAST_HOURS, fleet_around
from stream_detector.datasets.pumps import Fleet
from stream_detector.ports import SystemClock
from stream_detector.replay import replay_live


def main() -> None:
    """Simulate the pumps, and write or send their readings."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--normal", type=Path, metavar="FILE", help="write what to train on as CSV, send nothing")
    add("--pumps", type=int, default=N_PUMPS, help="number of pumps, 1 to 12 (%(default)s)")
    past_help = "hours that are sent at once (%(default)s)"
    add("--past-hours", type=float, default=PAST_HOURS, help=past_help)
    arguments = parser.parse_args()
    n_pumps = min(max(arguments.pumps, 1), N_PUMPS)
    past_hours = min(max(arguments.past_hours, 0.0), PAST_HOURS)
    clock = SystemClock()
    fleet = fleet_around(clock.now_ms(), n_pumps, past_hours)
    if arguments.normal is not None:
        write_fleet(Fleet(fleet.trained_on, ()), arguments.normal)
        print(f"{len(fleet.trained_on):,} samples of {n_pumps} pumps to {arguments.normal}")
        return
    first = {fault.key: fault for fault in reversed(fleet.faults)}
    for fault in sorted(first.values(), key=lambda fault: fault.start_ms):
        start = datetime.fromtimestamp(fault.start_ms / 1_000, UTC)
        print(f"{start:%H:%M:%S} {fault.kind} of {fault.feature} at {fault.key}", flush=True)
    with connected(arguments) as client:
        replay_live(fleet.shown, client, arguments.topic, clock=clock)


if __name__ == "__main__":
    run(main)
