"""Try a detector on normal samples with artificial faults: what it finds, how fast, how wrongly."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_detector.core.intervals import Interval
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import (
    AlertSpan,
    EventFigures,
    LabelledEvent,
    evaluate_stream,
    labelled_events,
)
from stream_detector.datasets.base import SampleDataset
from stream_detector.datasets.cutting import some_samples
from stream_detector.evaluation.figures import grace_ms
from stream_detector.evaluation.offline import StreamRun, run_offline, spans_of
from stream_detector.inspection.faults import KINDS, Place, inject, spreads

EACH_WANTED = 12
"""Faults of each kind and size that are tried, if the data have room."""

_PASSES_MAX = 12
_DAY_MS = 86_400_000.0
_VALUES_MAX = 6_000_000
"""Most values that all passes together go through: a trial takes a minute, not an hour."""

OnPass = Callable[[int, int], None]
"""Takes the number of passes that are done, and of all."""


class Row(NamedTuple):
    """How well faults of one kind and size, or in one feature, were found."""

    what: str
    figures: EventFigures


@dataclass(frozen=True, slots=True)
class Trial:
    """What a detector made of normal samples with artificial faults, and of those without.

    Parameters
    ----------
    by_kind
        Of each kind and size.
    by_feature
        Of each feature, over all kinds and sizes.
    false_per_day
        False alarms a day and key on the untouched samples, with the 95 % interval.
    n_false, days
        How many these were, in how many days of all keys together.
    by_reason
        False alarms by the check that opened them.
    labelled
        How well the faults were found that labels mark there.
    """

    by_kind: tuple[Row, ...]
    by_feature: tuple[Row, ...]
    false_per_day: Interval
    n_false: int
    days: float
    by_reason: dict[str, int]
    labelled: EventFigures

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain values."""

        def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
            return [
                {
                    "what": row.what,
                    "n_faults": row.figures.n_events,
                    "n_found": row.figures.n_found,
                    "delay_ms": row.figures.delay_ms,
                    "n_feature_right": row.figures.n_feature_right,
                }
                for row in rows
            ]

        return {
            "by_kind": plain(self.by_kind),
            "by_feature": plain(self.by_feature),
            "labelled": plain([Row("labelled", self.labelled)])[0],
            "false_alarms": self.n_false,
            "false_alarms_per_day": list(self.false_per_day),
            "days": self.days,
            "false_alarms_by_reason": self.by_reason,
        }


def try_out(
    detector: SampleDetector,
    dataset: SampleDataset,
    *,
    seed: int = 0,
    on_pass: OnPass = lambda _n_done, _n_all: None,
) -> Trial:
    """Try a detector on samples that it was not trained on.

    Parameters
    ----------
    detector
        The detector of a bundle, trained on the training part.
    dataset
        Its training part says how large a standard deviation is; the test part is what the detector
        is tried on. Features are in the order of the detector's.
    seed
        The same seed gives the same faults.
    on_pass
        Called after each run over the samples.

    Returns
    -------
    Figures; those of faults are empty where the samples have no room for any.
    """
    rules = detector.windows
    grace = grace_ms(rules) + rules.allowed_lateness_ms
    normal = normal_samples(dataset.test)
    n_passes = max(1, min(_PASSES_MAX, _VALUES_MAX // max(normal.values.size, 1)))
    on_pass(0, n_passes + 1)
    events = labelled_events(dataset.test, dataset.faults)
    quiet = run_offline(detector, dataset.test)
    untouched = evaluate_stream(events, quiet.alerts, spans_of(dataset.test), grace)
    on_pass(1, n_passes + 1)
    close_steps = math.ceil(detector.alerting.close_after_ms / rules.sample_interval_ms)
    n_apart = rules.n_steps + close_steps
    spread, names = spreads(normal_samples(dataset.train)), detector.features.names
    passes = _Passes()
    while passes.n_runs < n_passes and len(passes.events) < EACH_WANTED * len(KINDS):
        place = Place(rules.n_steps, n_apart, seed, len(passes.events))
        faulty = inject(normal, spread, names, place)
        if not faulty.faults:
            break
        passes.add(run_offline(detector, faulty.samples), faulty.faults, spans_of(normal))
        n_passes = min(n_passes, -(-EACH_WANTED * len(KINDS) // len(faulty.faults)))
        on_pass(passes.n_runs + 1, max(n_passes, passes.n_runs) + 1)
    by_kind = passes.evaluate(grace, lambda event: event.kind)
    by_feature = passes.evaluate(grace, lambda event: event.features[0])
    order = [kind.text for kind in KINDS]
    return Trial(
        by_kind=tuple(Row(kind, by_kind[kind]) for kind in order if kind in by_kind),
        by_feature=tuple(Row(name, by_feature[name]) for name in names if name in by_feature),
        false_per_day=untouched.total.alerts.false_per_day,
        n_false=untouched.total.alerts.n_false,
        days=sum(end - start for start, end in spans_of(dataset.test).values()) / _DAY_MS,
        by_reason={name: each.n_false for name, each in untouched.by_check.items()},
        labelled=untouched.total.events,
    )


def normal_samples(samples: Samples) -> Samples:
    """Return the samples that no label marks as anomalous."""
    if samples.labels is None:
        return samples
    return replace(some_samples(samples, samples.labels == 0), labels=None)


@dataclass(slots=True)
class _Passes:
    """Runs over the same samples with other faults each, as if each were of other keys."""

    events: list[LabelledEvent] = field(default_factory=list)
    alerts: list[AlertSpan] = field(default_factory=list)
    spans_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    n_runs: int = 0

    def add(
        self,
        run: StreamRun,
        faults: Sequence[LabelledEvent],
        spans_ms: Mapping[str, tuple[float, float]],
    ) -> None:
        """Add a run and the faults in it."""
        self.events += [each._replace(key=f"{self.n_runs}:{each.key}") for each in faults]
        self.alerts += [each._replace(key=f"{self.n_runs}:{each.key}") for each in run.alerts]
        self.spans_ms |= {f"{self.n_runs}:{key}": span for key, span in spans_ms.items()}
        self.n_runs += 1

    def evaluate(
        self, grace_ms: float, group: Callable[[LabelledEvent], str]
    ) -> Mapping[str, EventFigures]:
        """Return how well faults were found, by group."""
        if not self.events:
            return {}
        events = [each._replace(kind=group(each)) for each in self.events]
        return evaluate_stream(events, self.alerts, self.spans_ms, grace_ms).by_kind
