"""Measure what is found in keys that training did not know, by the length of their warm-up.

All keys of a file with labelled faults get other names, and their values become a thousand times
smaller, so the bundle knows none of them.

    stream-detector generate-data pumps --hours 8 --seed 22 --out pumps.csv
    stream-detector init pumps.csv --yes
    python benchmarks/new_keys.py bundles/pumps pumps.csv --samples 600 2500 10000
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from stream_detector.assembly import open_bundle
from stream_detector.cli.judged_samples import JudgedSamples, load_judged_samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import labelled_events
from stream_detector.evaluation.figures import measure
from stream_detector.evaluation.offline import run_offline


def main() -> None:
    """Print a row for the keys as they are known, and one for each warm-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("file")
    parser.add_argument("--samples", type=int, nargs="+", default=[600, 2_500, 10_000])
    chosen = parser.parse_args()
    served = open_bundle(chosen.bundle, "onnx")
    detector = cast("SampleDetector", served.detector)
    known = load_judged_samples(chosen.file, "all", served.bundle, with_train=False)
    print("| keys | found | false | time on alert |")
    print("|---|---|---|---|")
    print(f"| known | {cells_of(detector, known)} |", flush=True)
    for n_samples in chosen.samples:
        features = replace(detector.features, warm_up_samples=n_samples)
        row = cells_of(replace(detector, features=features), renamed(known))
        print(f"| new, warm-up of {n_samples:,} | {row} |", flush=True)


def renamed(known: JudgedSamples) -> JudgedSamples:
    """Return samples with other keys, a thousand times smaller."""
    samples = known.samples
    keys = tuple(f"new-{key}" for key in samples.keys)
    samples = replace(samples, keys=keys, values=samples.values * 0.001)
    faults = [fault._replace(key=f"new-{fault.key}") for fault in known.faults]
    return replace(known, samples=samples, faults=faults)


def cells_of(detector: SampleDetector, data: JudgedSamples) -> str:
    """Return faults found, false alarms and the share of time on alert."""
    run = run_offline(detector, data.samples)
    events = labelled_events(data.samples, data.faults)
    found: dict[str, Any] = measure(run, data.samples, events, detector.windows).as_dict()
    of_events, alerts = found["events"], found["alerts"]
    counted = f"{of_events['n_found']} of {of_events['n_events']} | {alerts['n_false']}"
    return f"{counted} | {alerts['alert_share']:.1%}"


if __name__ == "__main__":
    main()
