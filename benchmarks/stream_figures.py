"""Figures of streamed samples beside what experts marked: arrays in, plain numbers out."""

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.core.results import Step
from stream_detector.datasets import mitdb, smd
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.cutting import CutWindows
from stream_detector.telemetry import Metrics

RATE = mitdb.SAMPLES_PER_SECOND
NEAR = RATE // 2
"""Samples around an alert window in which a marked beat excuses it."""

MERGE = RATE
"""False alert windows that lie fewer samples apart are one span."""

FALSE_ALARM_S = 10.0
"""Each started piece of a span so long counts as one false alarm."""

RICH = ("106", "119", "200", "208", "221")
QUIET = ("100", "112", "115")
MACHINES = ("1-6", "2-1", "2-7", "3-3")
TARGET = "target: recall 0.76 at 28 strict false alarms an hour on the rich records"

BEAT_COLUMNS = (
    ("V and F beats", "n_beats", 0),
    ("recall", "recall", 2),
    ("strict false alarms/h", "false_alarms_per_h", 1),
    ("time on alert", "alert_time_share", 3),
    ("delay p50 ms", "delay_ms_p50", 0),
    ("delay p95 ms", "delay_ms_p95", 0),
)
SEGMENT_COLUMNS = (
    ("segments", "n_segments", 0),
    ("with an alert window", "alert_window", 2),
    ("with an alert event", "alert_event", 2),
    ("feature hit, any event", "hit_any", 2),
    ("by chance", "chance_any", 2),
    ("feature hit, worst event", "hit_worst", 2),
    ("by chance", "chance_worst", 2),
    ("alerts", "n_alerts", 0),
    ("true alerts", "n_true_alerts", 0),
    ("time on alert", "alert_time_share", 3),
)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What one stream led to.

    Parameters
    ----------
    errors, start_ms, end_ms
        Of each scored window, in the order scored.
    known_ms
        Time of the last sample of the record that completed each window: the score was not known
        before.
    threshold
        Anomalous iff error > threshold.
    events
        Alert events read back from their topic, in order.
    counts
        From the Prometheus registry: metric, outcome, number.
    """

    errors: NDArray[np.float64]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    known_ms: NDArray[np.float64]
    threshold: float
    events: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(
        cls,
        steps: Sequence[Step],
        known_ms: Sequence[float],
        events: Iterable[bytes],
        counts: Mapping[str, Mapping[str, int]],
    ) -> "Heard":
        """Join what the steps of one stream scored."""
        scores = [step.scores for step in steps]
        # At least once: an event that was sent again has the same id and number.
        known: dict[tuple[str, int], Mapping[str, Any]] = {}
        for event in map(json.loads, events):
            if event["anomaly_score"] is None:
                continue  # about missing data
            known.setdefault((event["alert_id"], event["event_number"]), event)
        return cls(
            errors=np.concatenate([each.scores for each in scores]),
            start_ms=np.concatenate([each.start_ms for each in scores]),
            end_ms=np.concatenate([each.end_ms for each in scores]),
            known_ms=np.array(known_ms),
            threshold=scores[0].threshold,
            events=list(known.values()),
            counts=counts,
        )

    def equals(self, errors: NDArray[np.float64], windows: CutWindows) -> bool:
        """Return whether the same windows got the same errors, bit for bit."""
        return all(
            np.array_equal(ours, theirs)
            for ours, theirs in (
                (self.errors, errors),
                (self.start_ms, windows.start_ms),
                (self.end_ms, windows.end_ms),
            )
        )


def judge_beats(heard: Heard, series: str, streamed: Samples) -> dict[str, Any]:
    """Return how the alert windows of one MIT-BIH record fit its V and F beats."""
    numbers, symbols = mitdb.beats(series)
    marked = numbers[np.isin(symbols, mitdb.ANOMALOUS_SYMBOLS)]
    first, last = _sample_numbers(streamed.times_ms[[0, -1]])
    beats = marked[(marked >= first) & (marked <= last)]
    is_alert = heard.errors > heard.threshold
    starts, ends = (
        _sample_numbers(heard.start_ms[is_alert]),
        _sample_numbers(heard.end_ms[is_alert]),
    )
    # Windows are of one length and in order: the first that ends at or after a beat covers it
    # if any does.
    at = np.searchsorted(ends, beats)
    is_found = at < len(ends)
    is_found[is_found] = starts[at[is_found]] <= beats[is_found]
    beats_ms = BASE_MS + beats * (1000 / RATE)
    delays_ms = heard.known_ms[is_alert][at[is_found]] - beats_ms[is_found]
    is_near = np.searchsorted(marked, ends + NEAR, "right") > np.searchsorted(marked, starts - NEAR)
    seconds = len(streamed) / RATE
    n_false = count_false_alarms(starts[~is_near], ends[~is_near])
    return {
        "n_beats": len(beats),
        "recall": float(is_found.mean()) if len(beats) else None,
        "false_alarms_per_h": n_false / (seconds / 3600),
        "alert_time_share": time_on_alert_ms(heard.events, streamed.times_ms[-1]) / seconds / 1000,
        "delay_ms_p50": float(np.median(delays_ms)) if len(delays_ms) else None,
        "delay_ms_p95": float(np.percentile(delays_ms, 95)) if len(delays_ms) else None,
    }


def count_false_alarms(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """Return how many false alarms some alert windows are, given as first and last samples."""
    if not len(starts):
        return 0
    breaks = np.flatnonzero(starts[1:] - ends[:-1] >= MERGE)
    firsts = starts[np.concatenate([[0], breaks + 1])]
    lasts = ends[np.concatenate([breaks, [len(ends) - 1]])]
    return int(np.ceil((lasts - firsts + 1) / RATE / FALSE_ALARM_S).sum())


def time_on_alert_ms(events: Iterable[Mapping[str, Any]], last_ms: float) -> float:
    """Return the event time between opens and closes; one left open lasts until `last_ms`."""
    spans = {}
    for event in events:
        is_over = event["event"] == "close"
        spans[event["alert_id"]] = (
            event["opened_ms"],
            event["event_time_ms"] if is_over else last_ms,
        )
    total_ms = reached_ms = 0.0
    for opened_ms, closed_ms in sorted(spans.values()):
        total_ms += max(0.0, closed_ms - max(opened_ms, reached_ms))
        reached_ms = max(reached_ms, closed_ms)
    return total_ms


def judge_segments(heard: Heard, series: str, streamed: Samples) -> dict[str, Any]:
    """Return how the features that alerts name fit the labelled ones of a server's faults."""
    times_ms = streamed.times_ms
    is_alert = heard.errors > heard.threshold
    starts_ms, ends_ms = heard.start_ms[is_alert], heard.end_ms[is_alert]
    rows, true_ids = [], set()
    for segment in smd.interpretations(series):
        first_ms, last_ms = times_ms[segment.start], times_ms[segment.end - 1]
        found = [
            event
            for event in heard.events
            if event["window_start_ms"] <= last_ms and event["window_end_ms"] >= first_ms
        ]
        true_ids |= {event["alert_id"] for event in found}
        has_window = bool(((starts_ms <= last_ms) & (ends_ms >= first_ms)).any())
        rows.append({"alert_window": has_window, **_features_hit(found, set(segment.features))})
    span_ms = times_ms[-1] - times_ms[0]
    return {
        "n_segments": len(rows),
        **{name: statistics.mean(float(row[name]) for row in rows) for name in rows[0]},
        "n_alerts": len({event["alert_id"] for event in heard.events}),
        "n_true_alerts": len(true_ids),
        "alert_time_share": time_on_alert_ms(heard.events, times_ms[-1]) / span_ms,
    }


def _features_hit(events: Sequence[Mapping[str, Any]], labelled: set[int]) -> dict[str, float]:
    """Return whether the top features of a segment's events hit, and the chance that any would.

    An update and a close repeat the worst window so far, so a window counts once.
    """
    windows = {event["window_start_ms"]: event for event in events}
    hits = {
        start_ms: any(each["feature"] in labelled for each in event["explanation"]["features"])
        for start_ms, event in windows.items()
    }
    missed = chance_of_none(len(labelled))
    worst_ms = max(windows, key=lambda at: windows[at]["score"], default=None)
    return {
        "alert_event": float(bool(windows)),
        "hit_any": float(any(hits.values())),
        "chance_any": 1 - missed ** len(windows),
        "hit_worst": float(worst_ms is not None and hits[worst_ms]),
        "chance_worst": 1 - missed if windows else 0.0,
    }


def chance_of_none(n_labelled: int, n_chosen: int = 3) -> float:
    """Return how likely a random choice of features holds no labelled one."""
    n_all = smd.N_FEATURES
    return math.comb(n_all - n_labelled, n_chosen) / math.comb(n_all, n_chosen)


def _pool(figures: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return each figure's mean over the records that have it, and the sum of each count."""
    names = dict.fromkeys(itertools.chain.from_iterable(figures))
    means: dict[str, float | None] = {}
    for name in names:
        values = [each[name] for each in figures if each[name] is not None]
        combine = sum if name.startswith("n_") else statistics.mean
        means[name] = combine(values) if values else None
    return means


def _tell(values: Sequence[float | None], digits: int = 2) -> str:
    """Return the mean over seeds, with least and most where they differ; "-" where none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.{digits}f}"
    least, most = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return mean if least == most else f"{mean} ({least} - {most})"


def counted(metrics: Metrics) -> dict[str, dict[str, int]]:
    """Return the registry's records, windows and samples by outcome, and what else it counts."""
    found: dict[str, dict[str, int]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name.endswith("_total") and "outcome" in sample.labels:
                name = family.name.removeprefix("stream_detector_")
                found.setdefault(name, {})[sample.labels["outcome"]] = int(sample.value)
    others = {"values missing": metrics.missing_values, "series started again": metrics.gaps}
    for name, counter in others.items():
        ((sample, *_),) = (family.samples for family in counter.collect())
        found.setdefault("other", {})[name] = int(sample.value)
    return found


def show(found: Mapping[str, list[Any]], columns: Sequence[tuple[str, str, int]]) -> None:
    """Print one row a series, and one for the mean of each group."""
    print(f"| series | {' | '.join(title for title, _, _ in columns)} | as offline |")
    print("|---" * (len(columns) + 2) + "|")
    groups = {"rich, mean": RICH, "quiet, mean": QUIET, "mean": MACHINES}
    rows: dict[str, Sequence[Mapping[str, Any]]] = dict(found)
    for name, members in groups.items():
        there = [found[series] for series in members if series in found]
        if there:
            rows[name] = [_pool(seed) for seed in zip(*there, strict=True)]
    for name, seeds in rows.items():
        cells = [_tell([seed[key] for seed in seeds], digits) for _, key, digits in columns]
        equal = [seed[key] for seed in seeds for key in seed if key.startswith("as_offline")]
        print(f"| {name} | {' | '.join(cells)} | {'yes' if all(v == 1 for v in equal) else 'NO'} |")


def show_faults(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the counts of each run, and whether they account for every record sent."""
    titles = " | ".join(f"lateness {row['allowed_lateness_ms']} ms" for row in rows)
    print(f"| what | outcome | {titles} |")
    print("|---" * (len(rows) + 2) + "|")
    for what in ("records", "windows", "samples", "other", "dead letters"):
        for outcome in dict.fromkeys(name for row in rows for name in row[what]):
            numbers = " | ".join(f"{row[what].get(outcome, 0):,}" for row in rows)
            print(f"| {what} | {outcome} | {numbers} |")
    for name in ("sent", "adds_up", "dead_letters_add_up"):
        print(f"| {name} | | {' | '.join(str(row[name]) for row in rows)} |")


def _sample_numbers(times_ms: NDArray[Any]) -> NDArray[np.int64]:
    """Return which samples of a record times belong to; window times are whole milliseconds."""
    return np.rint((times_ms - BASE_MS) * (RATE / 1000)).astype(np.int64)
