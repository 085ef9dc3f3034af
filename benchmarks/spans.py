"""Measure how well closed alerts say where in time a fault is.

Runs a bundle over a file whose faults have labels. Each alert that overlaps a fault is compared
with the one it overlaps most: the time in both over the time in either, once for all of the fault
and once for the part that the alert's windows cover, since a long fault can be several alerts.
Three spans are compared: the alert's own, the worst span of its worst window, and that window.

    stream-detector generate-data pumps --hours 8 --seed 0 --out pumps.csv
    stream-detector init pumps.csv --yes
    python benchmarks/spans.py bundles/pumps pumps.csv
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from stream_detector.assembly import open_bundle
from stream_detector.cli.judged_samples import load_judged_samples
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.evaluation.offline import run_offline

Span = tuple[float, float]
"""Times of the first and the last sample, in milliseconds."""

NAMES = ("the alert's span", "the worst window's worst span", "the worst window")


class Judged(NamedTuple):
    """A closed alert and the fault that it overlaps most."""

    alert: Alert
    first_ms: float
    fault: LabelledEvent


@dataclass(frozen=True)
class Recorder(SampleDetector):
    """A detector that keeps the events of its alerts."""

    events: list[Alert] = field(default_factory=list)

    def step(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> Step:
        """Judge a batch."""
        step = super().step(state, batch, content_type)
        self.events.extend(raised.alert for raised in step.alerts)
        return step


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("file")
    chosen = parser.parse_args()
    served = open_bundle(chosen.bundle, "onnx")
    judged = load_judged_samples(chosen.file, "all", served.bundle, with_train=False)
    detector = cast("SampleDetector", served.detector)
    recorder = Recorder(*(getattr(detector, each.name) for each in fields(detector)))
    run_offline(recorder, judged.samples)
    interval_ms = recorder.windows.sample_interval_ms
    found = list(closed(recorder.events, judged.faults))
    kinds = sorted({each.fault.kind for each in found})
    print(f"{len(found)} closed alerts that overlap a fault:", dict(count(found)))
    print(
        "| span | overlap with the fault | with its part in the alert | " + " | ".join(kinds) + " |"
    )
    print("|---" * (3 + len(kinds)) + "|")
    for name, spans in zip(NAMES, zip(*map(spans_of, found), strict=True), strict=True):
        whole = overlaps(spans, [(e.fault.start_ms, e.fault.end_ms) for e in found], interval_ms)
        part = overlaps(spans, [part_of(each) for each in found], interval_ms)
        is_of = [np.array([each.fault.kind == kind for each in found]) for kind in kinds]
        cells = [np.median(whole), np.median(part), *(np.median(part[rows]) for rows in is_of)]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def closed(events: Sequence[Alert], faults: Sequence[LabelledEvent]) -> list[Judged]:
    """Return the closed alerts that overlap a fault, each with the one it overlaps most."""
    firsts = {each.alert_id: each.window_start_ms for each in events if each.event == "open"}
    found = []
    for alert in events:
        if alert.event != "close" or alert.explanation is None:
            continue
        first_ms, last_ms = firsts[alert.alert_id], alert.last_anomalous_ms or 0
        of_key = [each for each in faults if each.key == alert.key]
        shared = [min(last_ms, each.end_ms) - max(first_ms, each.start_ms) for each in of_key]
        if shared and max(shared) >= 0:
            found.append(Judged(alert, first_ms, of_key[int(np.argmax(shared))]))
    return found


def count(found: Sequence[Judged]) -> Counter[str]:
    """Return how many alerts there are of each kind of fault."""
    return Counter(sorted(each.fault.kind for each in found))


def spans_of(judged: Judged) -> tuple[Span, ...]:
    """Return the three spans that are compared."""
    alert, explanation = judged.alert, judged.alert.explanation
    assert explanation is not None
    return (
        (alert.span_start_ms or 0, alert.span_end_ms or 0),
        (explanation.worst_start_ms, explanation.worst_end_ms),
        (alert.window_start_ms, alert.window_end_ms),
    )


def part_of(judged: Judged) -> Span:
    """Return the part of a fault that the anomalous windows of the alert cover."""
    fault, last_ms = judged.fault, judged.alert.last_anomalous_ms or 0
    return max(fault.start_ms, judged.first_ms), min(fault.end_ms, last_ms)


def overlaps(
    spans: Sequence[Span], faults: Sequence[Span], interval_ms: float
) -> NDArray[np.float64]:
    """Return the time in both over the time in either; each sample counts for one interval."""
    ones, others = np.array(spans), np.array(faults)  # (n, 2)
    shared = np.minimum(ones[:, 1], others[:, 1]) - np.maximum(ones[:, 0], others[:, 0])
    either = np.maximum(ones[:, 1], others[:, 1]) - np.minimum(ones[:, 0], others[:, 0])
    found: NDArray[np.float64] = np.maximum(shared + interval_ms, 0) / (either + interval_ms)
    return found


if __name__ == "__main__":
    main()
