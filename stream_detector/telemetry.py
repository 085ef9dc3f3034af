"""What an operator watches: Prometheus metrics and structured log lines.

Each `Metrics` has a registry of its own, so that the numbers of two detectors in one process do not
mix. Durations are in seconds, as Prometheus recommends.
"""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_detector.core.records import FloatArray, TopicPartition
from stream_detector.core.results import Counts
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.text import quoted

logger = logging.getLogger("stream_detector")

VALUE_CHARACTERS_MAX = 2_048
"""Longest value of a field. Errors repeat what brokers and records say."""


class LogEvent(NamedTuple):
    """The meaning of a log line and of its fields.

    Parameters
    ----------
    meaning
        When it is written, one sentence.
    fields
        Meaning of each field by name.
    """

    meaning: str
    fields: Mapping[str, str]


LOG_EVENTS: Mapping[str, LogEvent] = {
    "ready": LogEvent(
        "Partitions are assigned, and reading begins.",
        {
            "topic": "Input topic",
            "group": "Consumer group",
            "n_partitions": "Partitions assigned to this process",
            "bundle": "Name and first 12 digits of the version of the bundle",
        },
    ),
    "assigned": LogEvent(
        "The group assigned partitions to this process.",
        {"partitions": "Topic and partitions", "group": "Consumer group"},
    ),
    "revoked": LogEvent(
        "The group took partitions away from this process; another member reads them now.",
        {"partitions": "Topic and partitions", "group": "Consumer group"},
    ),
    "bundle-changed": LogEvent(
        "Another bundle committed the offsets of partitions that are assigned now: it was "
        "replaced, or it runs in the same group.",
        {
            "group": "Consumer group",
            "committed_by": "First 12 digits of the other bundle's version",
            "partitions": "Topic and partitions",
            "reason": "What to do",
        },
    ),
    "group-shared": LogEvent(
        "Another bundle committed the offsets of partitions after this process had read them: two "
        "bundles run in one group, and each judges only a part of the records.",
        {
            "group": "Consumer group",
            "committed_by": "First 12 digits of the other bundle's version",
            "partitions": "Topic and partitions",
            "reason": "What to do",
        },
    ),
    "alerts-closed": LogEvent(
        "Alerts whose state is lost were closed, with the reason `bundle_changed` or "
        "`state_reset`.",
        {"n_alerts": "How many; `stopped` does not count them"},
    ),
    "alerts-left-open": LogEvent(
        "Alerts whose state is lost could not be closed; whoever reads alerts has to close them.",
        {"n_alerts": "How many", "reason": "Why"},
    ),
    "metrics": LogEvent("Metrics are served.", {"address": "Host and port"}),
    "metrics-failed": LogEvent(
        "A request for metrics was not answered; written at most once a minute.",
        {"reason": "Why"},
    ),
    "dead-letters": LogEvent(
        "Records of a batch went to the dead-letter topic.",
        {
            "n_records": "How many",
            "first": "Topic, partition and offset of the first",
            "error": "Class of its error",
            "n_left_out": "Dead letters without their value, which was too large for the topic",
            "reason": "Message of its error",
        },
    ),
    "all-rejected": LogEvent(
        "100 records in a row, or all of a shorter run, were rejected; written again every ten "
        "minutes while it lasts. The bundle or the format does not fit the topic.",
        {
            "n_in_a_row": "How many were rejected in a row",
            "topic": "Input topic",
            "reason": "Commonest error: its class, and its message without numbers and quotations",
            "share": "Share of the last 100 with this reason",
            "example": "Topic, partition and offset of such a record, and its error",
            "what_to_do": "Where to look",
        },
    ),
    "unscored": LogEvent(
        "Series send samples, and no window of theirs is scored; written for each reason at most "
        "every ten minutes, and before `stopped`.",
        {
            "reason": "`key_on_several_partitions`, `late`, `duplicates`, `interval`, "
            "`missing_values`, `gaps`, or `warm_up` while nothing at all is scored",
            "n_keys": "Keys with this reason",
            "keys": "Up to five of them",
            "detail": "What was received of the first of them, and what was expected",
            "what_to_do": "How to mend it, and where to look",
        },
    ),
    "clock": LogEvent(
        "Clocks of senders were wrong; written for each fault at once, then at most every ten "
        "minutes, and before `stopped`.",
        {
            "fault": "`outlier`: a sample far ahead that no other confirmed, not used. "
            "`clock_set`: samples went back in time, in order; the key started over there. "
            "`since_boot`: the times of a series look like milliseconds since boot. "
            "`record_time`: the time of a Kafka record with a whole window is in another unit",
            "n": "How often since the last line",
            "keys": "Up to five of the keys",
            "detail": "What was received of the first of them, and the newest before it",
            "what_to_do": "How to mend it",
        },
    ),
    "unknown-keys": LogEvent(
        "Keys send samples that training did not know, where `scaling.per_key` gives each key a "
        "scale of its own: their windows have the median scale of all keys. Written at once, then "
        "at most every ten minutes, and before `stopped`.",
        {
            "n_keys": "How many since the last line",
            "keys": "Up to five of them",
            "n_keys_so_far": "How many since the start, up to 100,000",
            "what_to_do": "How to mend it",
        },
    ),
    "output-refused": LogEvent(
        "A topic does not take alerts or dead letters as they are; they were published in another "
        "way.",
        {
            "n_records": "How many records they are about",
            "first": "Topic, partition and offset of the first of these records",
            "output": "What was refused: alert or dead letter",
            "topic": "Topic that refused it",
            "setting": "Setting of that topic to be changed",
            "n_bytes": "Size of the first as it was",
            "published_as": "What was published instead",
        },
    ),
    "topic-settings": LogEvent(
        "At the start: with a setting of its topic, some alerts or dead letters cannot be "
        "published as they are.",
        {
            "topic": "Topic of alerts or dead letters",
            "setting": "Setting and its value",
            "effect": "What happens because of it",
            "mend_with": "Command that changes it",
        },
    ),
    "too-many-keys": LogEvent(
        "A partition has keys_max keys with state, so records of new keys are dead letters;"
        " written again every ten minutes while it lasts. Keys with state go on.",
        {
            "n_records": "Records of new keys since the last such line",
            "first": "Topic, partition and offset of such a record",
            "key": "Its key",
            "reason": "Message of its error",
        },
    ),
    "restored": LogEvent(
        "The state of a partition was restored, and it is live.",
        {
            "partition": "Topic and partition",
            "live_from": "Committed offset, from which records are processed",
            "read_from": "Restore offset, from which records were replayed",
            "n_records": "Records replayed",
            "seconds": "How long it took",
        },
    ),
    "state-reset": LogEvent(
        "A partition starts with empty state; its keys warm up again.",
        {
            "reason": "`no_checkpoint`, `bundle_changed`, `repartitioned` or `retention`",
            "at": "Topic, partition and offset",
            "n_records_lost": "`retention`: offsets that were deleted before they were read",
            "committed_by": "`bundle_changed`: first 12 digits of the other bundle's version",
            "n_partitions_before": "`repartitioned`: partitions that the topic had",
            "restore_offset": "`retention`: restore offset",
            "kept_from": "`retention`: first offset that the topic still has",
        },
    ),
    "retrying": LogEvent(
        "Kafka does not answer or does not accept alerts; written every 5 seconds of an outage.",
        {"reason": "Last error", "giving_up_in_s": "Seconds until exit code 4"},
    ),
    "connected-again": LogEvent(
        "An outage is over: a batch was published and committed, or a poll was answered although "
        "there was nothing to read.",
        {"after_s": "Seconds since the first failure"},
    ),
    "failed": LogEvent(
        "The process ends because of an error; only with `--log-format json`, where the line "
        "`error: ...` would be no JSON.",
        {"error": "Class of the error", "exit_code": "Exit code", "reason": "Message of the error"},
    ),
    "stopped": LogEvent(
        "The process has committed and left its group.",
        {
            "n_records": "Records processed",
            "n_alerts": "Alert events published",
            "n_dead_letters": "Dead letters published",
            "n_batches": "Batches, each one commit",
            "n_retries": "Failures that were retried",
            "n_scored_windows": "Windows that were scored",
            "n_unscored_keys": "Keys of which no window is scored, those in warm-up among them",
            "unscored": "How many of them there are by reason, as in `unscored`; `none` if there "
            "are none",
            "n_unknown_keys": "Keys that training did not know, as in `unknown-keys`",
        },
    ),
    "worker-died": LogEvent(
        "A worker ended unexpectedly and is started again.",
        {
            "worker": "Its number",
            "instance_id": "Its instance_id",
            "exit_code": "Its exit code",
            "starting_again_in_s": "Seconds until it is started again",
        },
    ),
    "header-of-numbers": LogEvent(
        "The first row of a CSV file is numbers in sequence, and is read as its header.",
        {"file": "The file", "header": "Its first cells and last", "reason": "Why, and what to do"},
    ),
    "not-an-alert": LogEvent(
        "A record of a topic of alerts holds no alert, and is skipped.",
        {"topic": "The topic", "reason": "What is wrong with it"},
    ),
    "rows-sorted": LogEvent(
        "Rows of a file of samples are not in the order of time, and are sorted.",
        {
            "file": "The file",
            "row": "The first row that is earlier than the one before it of the same key",
            "key": "Its key",
            "n_rows": "Number of such rows",
            "reason": "What to check",
        },
    ),
    "old-times": LogEvent(
        "`replay` is about to send records that Kafka may delete at once because of their time.",
        {"n_days": "Age of the oldest", "reason": "What to do"},
    ),
}
"""All log events by name, in the order of a run; a test compares them with the calls."""

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that prometheus_client reads when it is first imported."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_BATCH = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)


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
            "committed offset; or empty, because of no_checkpoint, bundle_changed, repartitioned "
            "or retention",
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
            "Partitions assigned to this process; above 0 once it is ready",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _count_records_and_windows(self) -> None:
        """Create the metrics of records, windows and samples."""
        self.records = self._counter(
            "records",
            "Processed records, by outcome: normal or anomalous, if a window that the record "
            "completed was scored; unscored, if too many values of it were missing or a gap ended "
            "the series before it had a complete window; buffered, between two complete windows; "
            "warm_up, before the first one; held, if all of its samples are far ahead and wait for "
            "another that confirms their time; late; duplicate; dead_letter",
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
            "Windows, by outcome: normal, anomalous, or missing (too many values to be scored)",
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
            "Keys that training did not know, where each key has a scale of its own: their windows "
            "have the median scale of all keys",
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
        self.keys.set(counts.n_keys)

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


def log_event(level: int, event: str, **fields: Any) -> None:
    """Write one log line: the event, then its fields as `name=value`."""
    if logger.isEnabledFor(level):
        details = " ".join(
            f"{name}={quoted(str(value), VALUE_CHARACTERS_MAX)}" for name, value in fields.items()
        )
        logger.log(level, "%s %s", event, details, extra={"event": event, "fields": fields})
