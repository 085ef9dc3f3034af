"""Send the ECGs of several monitored patients to a topic, as they are measured.

    python producers/ecg_monitor.py --topic telemetry --patients 8 --minutes 5

Each patient is a recording of the MIT-BIH Arrhythmia Database: two leads of 360 samples a second,
starting at a random sample and repeated as often as needed. The key is the patient, patient-000 and
so on. A record holds a tenth of a second. The header `label` is 1 if an abnormal beat is in it; the
detector never reads it. Times start now; with `--start-ms`, runs repeat to the last bit. Ctrl-C
stops once everything sent has been acknowledged.
"""

from _common import run, sample_parser, send_samples

from stream_detector.datasets import load_samples
from stream_detector.replay import concatenate, make_fleet

SAMPLES_PER_SECOND = 360
RECORDS = ("100", "106", "112", "115", "119", "200", "208", "221")


def main() -> None:
    """Load the recordings and send them."""
    parser = sample_parser(__doc__, speed=1.0, chunk=36)
    parser.add_argument("--patients", type=int, default=8, help="number of patients (%(default)s)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of signal, each (%(default)s)")
    arguments = parser.parse_args()
    recordings = []
    for name in RECORDS[: max(arguments.patients, 1)]:
        data = load_samples("mitdb", series=name)
        recordings.append(concatenate([data.train, data.test]))
    interval_ms = 1_000 / SAMPLES_PER_SECOND
    fleet = make_fleet(
        recordings,
        "patient",
        n_series=arguments.patients,
        n_samples=round(arguments.minutes * 60 * SAMPLES_PER_SECOND),
        sample_interval_ms=interval_ms,
        seed=arguments.seed,
    )
    send_samples(fleet, interval_ms, arguments)


if __name__ == "__main__":
    run(main)
