"""What an operator watches: Prometheus metrics and structured log lines.

Each `Metrics` has a registry of its own, so that the numbers of two detectors in one process do not
mix. Durations are in seconds, as Prometheus recommends.
"""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_detector.core.records import BundleReference, FloatArray, TopicPartition
from stream_detector.core.results import Counts, Scores
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.core.state.detector_state import StateCounts
from stream_detector.text import quoted

logger = logging.getLogger("stream_detector")

VALUE_CHARACTERS_MAX = 2_048
"""Longest value of a field. Errors repeat what brokers and records say."""


SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that prometheus_client reads when it is first imported."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100)
_BATCH = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)


class ArrayHistogram(Histogram):
    """A histogram that takes the values of a batch at once."""

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Observe each of some values, as `observe` would one by one.

        Parameters
        ----------
        values
            Shape (n,), finite; none changes nothing.
        """
        if values.size:
            self._sum.inc(float(values.sum()))
            buckets = np.searchsorted(self._upper_bounds, values)  # (n,)
            numbers, n_each = np.unique(buckets, return_counts=True)
            for number, n_values in zip(numbers.tolist(), n_each.tolist(), strict=True):
                self._buckets[number].inc(n_values)


class Metrics:
    """The detector's metrics, all beginning with `stream_detector_`.

    If the environment names a folder (`SHARED_METRICS`), the numbers are kept in its files, and one
    address serves those of several processes.
    """

    def __init__(self) -> None:
        self._is_shared = SHARED_METRICS in os.environ
        self.registry = registry = CollectorRegistry()
        self._count_records_and_windows()
        self.alerts = self._counter("alerts", "Alert events published", "event", "severity")
        self.suppressed = self._counter(
            "alerts_suppressed", "Alerts counted in a summary instead of opened"
        )
        self.open_alerts = Gauge(
            "stream_detector_open_alerts",
            "Alerts that are open, those about silent keys and missing features among them; always "
            "0 where records are whole windows, whose alerts never close",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._show_scores()
        self.batch = Histogram(
            "stream_detector_batch_records",
            "Records in one poll",
            buckets=_BATCH,
            registry=registry,
        )
        self.inference = Histogram(
            "stream_detector_inference_seconds",
            "Time of one call of the network",
            buckets=_SECONDS,
            registry=registry,
        )
        self.latency = Histogram(
            "stream_detector_latency_seconds",
            "Time from a record's timestamp until its alert is handed to the producer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag = Gauge(
            "stream_detector_lag_records",
            "Log end - next offset to read",
            ["topic", "partition"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.retries = self._counter("retries", "Failures that were retried, by error", "error")
        self.restores = self._counter(
            "restores",
            "Assigned partitions by how their state was restored: replayed; new, without a "
            "committed offset; or empty, because of no_checkpoint, bundle_changed, rules_changed, "
            "repartitioned or retention",
            "outcome",
        )
        self.restoring = Gauge(
            "stream_detector_restoring_partitions",
            "Partitions whose state is being restored",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.restore_seconds = Histogram(
            "stream_detector_restore_seconds",
            "Time to restore the state of a partition",
            buckets=_SECONDS,
            registry=registry,
        )
        self.partitions = Gauge(
            "stream_detector_assigned_partitions",
            "Partitions assigned to this process, once their restores have begun",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._show_health()

    def _show_scores(self) -> None:
        """Create the metrics of what scores, and of the scores."""
        self.bundle_info = Gauge(
            "stream_detector_bundle_info",
            "The bundle that scores: always 1, with its name and version",
            ["name", "version"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.threshold = Gauge(
            "stream_detector_threshold",
            "Score above which a window is anomalous, in the unit of the bundle's scores",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.anomaly_score = ArrayHistogram(
            "stream_detector_anomaly_score",
            "Score / threshold of windows, by outcome: normal or anomalous, which is above 1",
            ["outcome"],
            buckets=_RATIOS,
            registry=self.registry,
        )

    def _show_health(self) -> None:
        """Create the metrics by which `stream_detector.health` judges, beside those above."""
        self.processes = Gauge(
            "stream_detector_processes",
            "Processes of this command that run",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.turned = Gauge(
            "stream_detector_loop_turn_timestamp_seconds",
            "When the loop last began to poll, seconds since 1970-01-01 UTC; of several workers, "
            "the one that is furthest behind",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self.answered = Gauge(
            "stream_detector_broker_answer_timestamp_seconds",
            "When Kafka last answered a request, seconds since 1970-01-01 UTC, 0 before that; of "
            "several workers, the one that is furthest behind",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self.held = Gauge(
            "stream_detector_held_batches",
            "Batches that wait because Kafka does not take their alerts or offsets, or a Schema "
            "Registry does not answer",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.processes.set(1)
        self.turned.set_to_current_time()  # a process that loads its bundle is not stuck

    def _count_records_and_windows(self) -> None:
        """Create the metrics of records, windows and samples."""
        self.records = self._counter(
            "records",
            "Processed records, by outcome: normal or anomalous, if a window that the record "
            "completed was scored; unscored, if too many values of it were missing or a gap ended "
            "the series before it had a complete window; buffered, between two complete windows; "
            "warm_up, before the first one, or if a new key had no scale yet for a window that it "
            "completed; held, if all of its samples are far ahead and wait for another that "
            "confirms their time; late; duplicate; dead_letter; "
            "deletion, if it only says that a row was deleted; "
            "skipped, if it has other features only (input.other_features)",
            "outcome",
        )
        self.rejected = self._counter(
            "rejected", "Records that became dead letters, by class of their error", "error"
        )
        self.rejected_in_a_row = Gauge(
            "stream_detector_rejected_in_a_row",
            "Records rejected since the last one that was not; from 100 on, the bundle or the "
            "format does not fit the topic",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.windows = self._counter(
            "windows",
            "Windows, by outcome: normal, anomalous, missing (too many values to be scored), or "
            "warm_up, those of a key that training did not know and that has no scale yet",
            "outcome",
        )
        self.samples = self._counter(
            "samples",
            "Samples that windows are cut from, by outcome: used, late, duplicate, or outlier (far "
            "ahead of its key, and not confirmed)",
            "outcome",
        )
        self.missing_values = self._counter("missing_values", "Single values that were missing")
        self.gaps = self._counter("gaps", "Gaps after which a series started again")
        self.clock_sets = self._counter(
            "clock_sets", "Keys that started over because their clock was set back"
        )
        self.idle_keys = self._counter("idle_keys", "Keys that expired after key_ttl_ms")
        self.unknown_keys = self._counter(
            "unknown_keys",
            "Keys that training did not know, where each key has a scale of its own: they get one "
            "from their first samples, or have the median scale of all keys",
        )
        self.unscored_keys = Gauge(
            "stream_detector_unscored_keys",
            "Keys that send samples and of which no window is scored, by reason as in the log "
            "event unscored",
            ["reason"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.keys = Gauge(
            "stream_detector_keys",
            "Keys with state",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.silent_keys = Gauge(
            "stream_detector_silent_keys",
            "Keys with state that have sent nothing for no_data_after_ms of stream time; 0 where "
            "that is not set",
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Return a new counter."""
        return Counter(f"stream_detector_{name}", meaning, labels, registry=self.registry)

    def count(self, counts: Counts) -> None:
        """Add the counts of one batch."""
        by_outcome = (
            (self.records, counts.records),
            (self.windows, counts.windows),
            (self.samples, counts.samples),
        )
        for counter, numbers in by_outcome:
            for outcome, number in numbers.items():
                counter.labels(outcome).inc(number)
        self.missing_values.inc(counts.n_missing_values)
        self.gaps.inc(counts.n_gaps)
        self.clock_sets.inc(counts.n_clock_sets)
        self.idle_keys.inc(counts.n_idle_keys)
        self.suppressed.inc(counts.n_suppressed)

    def show_bundle(self, bundle: BundleReference, threshold: float) -> None:
        """Say what scores, and by which threshold."""
        self.bundle_info.labels(bundle.name, bundle.version).set(1)
        self.threshold.set(threshold)

    def show_state(self, counts: StateCounts) -> None:
        """Replace how much the state of all partitions holds."""
        self.keys.set(counts.n_keys)
        self.silent_keys.set(counts.n_silent_keys)
        self.open_alerts.set(counts.n_open_alerts)

    def observe_scores(self, scores: Scores) -> None:
        """Add the scores of one batch."""
        is_anomalous, ratios = scores.is_anomalous, scores.anomaly_scores  # (n_windows,)
        self.anomaly_score.labels("normal").observe_all(ratios[~is_anomalous])
        self.anomaly_score.labels("anomalous").observe_all(ratios[is_anomalous])

    def set_lag(self, lag_records: Mapping[TopicPartition, int]) -> None:
        """Replace the lag of all partitions, so that a revoked one is removed."""
        if not self._is_shared:  # otherwise the new owner's number replaces it
            self.lag.clear()
        for (topic, partition), n_records in lag_records.items():
            self.lag.labels(topic, str(partition)).set(n_records)

    def timed(self, reconstruct: Reconstruct) -> Reconstruct:
        """Return `reconstruct` with the time of each call observed."""

        def timed_reconstruct(windows: FloatArray) -> FloatArray:
            start = time.perf_counter()
            reconstructions = reconstruct(windows)
            self.inference.observe(time.perf_counter() - start)
            return reconstructions

        return timed_reconstruct


class RouteMetrics:
    """The metrics of `route`, all beginning with `stream_detector_route_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.events = Counter(
            "stream_detector_route_events",
            "Events of alerts that a route has read, by outcome: due, to be sent; noted, of an "
            "alert that was sent and is as severe as before; not_matched; silenced, by a silence "
            "or a calendar; duplicate; not_an_alert",
            ["route", "outcome"],
            registry=registry,
        )
        self.deliveries = Counter(
            "stream_detector_route_deliveries",
            "Attempts to deliver, by outcome: delivered; failed, to be tried again or given up; "
            "dead_letter, given up",
            ["route", "outcome"],
            registry=registry,
        )
        self.open_alerts = Gauge(
            "stream_detector_route_open_alerts",
            "Alerts that were sent and are open",
            ["route"],
            registry=registry,
        )
        self.waiting = Gauge(
            "stream_detector_route_waiting_events",
            "Events that wait to be sent; at 10,000 no more are read",
            ["route"],
            registry=registry,
        )
        self.failing = Gauge(
            "stream_detector_route_failing",
            "1 while the sink takes nothing, else 0",
            ["route"],
            registry=registry,
        )


def log_event(level: int, event: str, **fields: Any) -> None:
    """Write one log line: the event, then its fields as `name=value`."""
    if logger.isEnabledFor(level):
        details = " ".join(
            f"{name}={quoted(str(value), VALUE_CHARACTERS_MAX)}" for name, value in fields.items()
        )
        logger.log(level, "%s %s", event, details, extra={"event": event, "fields": fields})
