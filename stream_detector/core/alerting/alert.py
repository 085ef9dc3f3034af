"""One event of an alert: the published value, its id, its severity and its bytes.

Pure. The id of an alert is a hash of where its record lies and what scored it, so the same input
gives the same alert again, live or on replay. The bytes depend on the input alone, but for the
time of detection.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import orjson

from stream_detector.core.records import BundleReference, OutputRecord, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX

ALERT_SCHEMA_VERSION = 1

REFERENCE_HEADER = "reference"
"""Says where a record's data came from, in words of whoever sent it; alerts repeat it."""

REFERENCE_BYTES_MAX = 256
"""Longest value of it that an alert repeats."""

ALERT_BYTES_MAX = 512 * 1024
"""Largest alert that any record can cause with a bundle of up to 10,000 features. Every text in it
that a record or a recipe chooses has a limit of its own: key, reference, names of topic, bundle and
severity."""

AlertEvent = Literal["open", "update", "close"]

AlertReason = Literal[
    "anomalous",
    "continued",
    "flood",
    "severity",
    "periodic",
    "recovered",
    "max_duration",
    "key_expired",
    "bundle_changed",
    "state_reset",
    "clock_set",
    "rules_changed",
    "no_data",
    "feature_missing",
    "data_again",
]
"""Why an event was published: the first three open an alert, the next two update it, and the seven
after these close it, as `continued` does. Of the last three, which are about data that does not
come, two open an alert and one closes it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Source:
    """The input record that caused an event.

    Parameters
    ----------
    topic
        Its topic.
    partition
        Its partition.
    offset
        Its offset.
    reference
        Its header `reference`, which says where the data came from; null where the record has none
        that is UTF-8 and at most 256 bytes long.
    """

    topic: str
    partition: int
    offset: int
    reference: str | None = None

    @classmethod
    def of(cls, metadata: RecordMetadata) -> "Source":
        """Return where a record lies and what it says of itself."""
        given = next((value for name, value in metadata.headers if name == REFERENCE_HEADER), None)
        reference = None
        if given is not None and len(given) <= REFERENCE_BYTES_MAX:
            with contextlib.suppress(UnicodeDecodeError):
                reference = given.decode()
        return cls(metadata.topic, metadata.partition, metadata.offset, reference)


@dataclass(frozen=True, slots=True)
class Alert:
    """What is published about a series: one event of one alert.

    Where records are whole windows, each anomalous one opens an alert and nothing more. Where
    windows are cut from samples, an alert opens, is updated and closes. Then an update and a close
    speak of two things: the times and counts are those of the event, and from
    `window_start_ms` to `explanation` all but `source` is of the alert's worst window so far. Only
    `span_start_ms` and `span_end_ms` are of all its windows so far.

    With the recipe's `no_data_after_ms`, alerts are also about data that does not come: a key that
    sends nothing (`no_data`), or a feature of it that has no value (`feature_missing`). They open
    and close, and what follows from a score is null in them.

    Parameters
    ----------
    schema_version
        Version of this format. New fields may be added within a version; ignore those you do not
        know.
    alert_id
        32 hexadecimal digits: a hash of the record's topic, partition and offset, of the bundle's
        version and, where windows are cut from samples, of the window's start; of an alert about
        missing data, of topic, partition, key, feature, the time of the last data and the bundle's
        version. The same input and bundle give the same id again.
    event
        `open`, `update` or `close`. A record that is a whole window opens an alert and does nothing
        more.
    event_number
        Counted from 1 within one alert.
    key
        Series key as text; bytes that are not UTF-8 appear as backslash escapes. Empty where the
        record has no key.
    window_start_ms
        Time of the first sample of the alert's worst window so far, milliseconds since 1970-01-01
        UTC: the record's `timestamp_ms` where it gives one, else the time of the Kafka record. Of
        missing data, the time since which there is none.
    window_end_ms
        Time of its last sample. The same as `window_start_ms` where the recipe's
        `sample_interval_ms` is 0, which means unknown. Of missing data, `event_time_ms`.
    span_start_ms
        Where in time the fault is, from all windows of the alert so far: time of its first sample.
        While the anomalous windows have a time in common, as of a short fault, the
        `worst_start_ms` of the explanation; else the start of the contiguous time in which the
        anomaly scores of the windows that cover it sum to at least half of their largest sum. Null
        where the alert is about missing data.
    span_end_ms
        Time of its last sample; null likewise.
    source
        The input record that caused this event.
    reconstruction_error
        How far the reconstruction is from the worst window, in the unit of the scaled signal; null
        where the scorer has no network or the alert is about missing data.
    score
        What the scorer gave the worst window; higher is more anomalous. Null where the alert is
        about missing data.
    score_kind
        What `score` is: `mae`, `mse` or `bce`, the reconstruction error of that kind; `checks`, the
        largest of what the checks found, each in units of its threshold; or the name that another
        scorer gives. Null where the alert is about missing data.
    check
        Name of the check that decided the score of the worst window; null where the scorer has no
        checks or the alert is about missing data.
    threshold
        The bundle's threshold, in the unit of `score`. The window is anomalous because its score
        exceeds it. Null where the alert is about missing data.
    anomaly_score
        `score` / `threshold`, above 1; null where the alert is about missing data.
    false_alarms_per_day
        How often a day a normal series is expected to reach the score of the worst window, as the
        bundle's calibration estimates it; null where it does not, or the alert is about missing
        data.
    p_value
        Share of normal windows that are expected to reach the score of the worst window, 0 to 1;
        null likewise.
    severity
        The highest level of the recipe's `[alerting]` table that the anomaly score reaches; the
        lowest one where the alert is about missing data.
    bundle
        The bundle that scored.
    sentence
        What is unusual about the worst window, or which data are missing, in one sentence of at
        most 256 characters, all printable.
    explanation
        Where in the worst window the error lies; null where the alert is about missing data.
    event_time_ms
        Event time of this event: the end of the window that caused it, or the time at which the key
        expired. Of missing data, when it had been missing for `no_data_after_ms`, when it came
        again, or when it was given up.
    opened_ms
        `event_time_ms` of the alert's open.
    last_anomalous_ms
        End of the last anomalous window; null where the alert is about missing data.
    n_windows
        Windows scored since the alert opened, including the one that opened it; 0 where the alert
        is about missing data.
    n_anomalous
        Anomalous windows among them.
    reason
        Why this event was published. Open: `anomalous`, `continued` (it continues an alert that was
        open for too long), `flood` (a summary instead of one alert too many), `no_data` (the key
        sends nothing) or `feature_missing` (a feature has no value). Update: `severity` (it rose)
        or `periodic`. Close: `recovered`, `data_again`, `continued` (the alert was open for too
        long, and the next event of its key opens one that continues it), `max_duration` (the alert
        was open, its key active, or its feature missing, for too long), `key_expired` (no more
        samples), `clock_set` (the key's clock was set back), `bundle_changed` (another bundle took
        over), `rules_changed` (the rules of alerts were changed) or `state_reset` (the alert's
        state could not be restored). Events of the last three repeat the alert's last one, and
        their source is where records are judged without that state.
    continues_alert_id
        `alert_id` of the alert that this one continues because that one was open for too long; null
        where it continues none.
    is_summary
        Whether it stands for the many alerts of a key that has too many.
    n_alerts
        1; in a summary, how many alerts it stands for.
    detected_at_ms
        When the alert was made. The only field in which two runs may differ.
    feature
        Name of the feature that has no value; null where the alert is about anything else.
    incident_id
        32 hexadecimal digits that all alerts of one incident share: those of a partition that
        opened within the recipe's `incident_within_ms` of the incident's first one, of whatever
        keys. Null where the recipe groups none, and in later events of an alert once its partition
        has had 12 further incidents.
    rules_digest
        16 hexadecimal digits that name the `[alerting]` table by which the alert was made, where it
        has business rules or this run changed it; else null: then it is the bundle's own.
    """

    schema_version: int
    alert_id: str
    event: AlertEvent
    event_number: int
    key: str
    window_start_ms: int
    window_end_ms: int
    span_start_ms: int | None = field(default=None, kw_only=True)
    span_end_ms: int | None = field(default=None, kw_only=True)
    source: Source
    reconstruction_error: float | None
    score: float | None = field(default=None, kw_only=True)
    score_kind: str | None = field(default=None, kw_only=True)
    check: str | None = field(default=None, kw_only=True)
    threshold: float | None
    anomaly_score: float | None
    false_alarms_per_day: float | None = field(default=None, kw_only=True)
    p_value: float | None = field(default=None, kw_only=True)
    severity: str
    bundle: BundleReference
    sentence: str = field(default="", kw_only=True)
    explanation: Explanation | None
    event_time_ms: int
    opened_ms: int
    last_anomalous_ms: int | None
    n_windows: int
    n_anomalous: int
    reason: AlertReason
    continues_alert_id: str | None
    is_summary: bool
    n_alerts: int
    detected_at_ms: int
    feature: str | None = None
    incident_id: str | None = None
    rules_digest: str | None = None


class RaisedAlert(NamedTuple):
    """An alert event, which record of the batch led to it, and the series key it is about."""

    record: int
    alert: Alert
    key: bytes | None


def with_rules_digest(raised: Sequence[RaisedAlert], digest: str | None) -> list[RaisedAlert]:
    """Return alert events that name the rules by which they were made, if that is needed."""
    if digest is None:
        return list(raised)
    return [each._replace(alert=replace(each.alert, rules_digest=digest)) for each in raised]


def severity_of(anomaly_score: float, severities: Sequence[tuple[str, float]]) -> str:
    """Return the name of the highest severity that an anomaly score reaches.

    Parameters
    ----------
    anomaly_score
        Score / threshold, above 1.
    severities
        (name, anomaly score from which it holds), ascending; the first holds from 1.

    Examples
    --------
    >>> severity_of(2.5, (("warning", 1.0), ("critical", 2.0)))
    'critical'
    """
    name = severities[0][0]
    for candidate, score_min in severities:
        if anomaly_score >= score_min:
            name = candidate
    return name


def alert_id(
    metadata: RecordMetadata, bundle_version: str, window_start_ms: int | None = None
) -> str:
    """Return 32 hexadecimal digits that name the alert of one record and one bundle version.

    A record of samples can complete several windows, so there the start of the window counts too.

    Examples
    --------
    >>> alert_id(RecordMetadata("telemetry", 0, 254, 0, b"pump-7", ()), "v1")
    '4c2a9f2236893f132102511e075fedd8'
    """
    place = f"{metadata.topic}\n{metadata.partition}\n{metadata.offset}\n{bundle_version}"
    if window_start_ms is not None:
        place = f"{place}\n{window_start_ms}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def encode_alert(alert: Alert, topic: str, key: bytes | None, detected_at_ms: int) -> OutputRecord:
    """Write an alert as JSON with CloudEvents 1.0 headers (Kafka binding, binary mode).

    Parameters
    ----------
    alert
        What to publish.
    topic
        Where to.
    key
        Series key of the input record, byte for byte.
    detected_at_ms
        Now.

    Notes
    -----
    Source: CloudEvents 1.0.2, "Kafka Protocol Binding", section 3.2 (binary content mode).
    `ce_time` is the event's own time, not that of its detection, so that a replay writes the same
    headers; it is left out where the record has no usable time.
    """
    value = orjson.dumps(replace(alert, detected_at_ms=detected_at_ms))
    headers = _headers(
        alert.event,
        alert.alert_id,
        alert.event_number,
        alert.bundle,
        alert.key,
        alert.event_time_ms,
    )
    return OutputRecord(topic, key, value, headers)


def encode_close(
    last: Mapping[str, Any],
    reason: AlertReason,
    source: Source,
    topic: str,
    key: bytes | None,
    detected_at_ms: int,
) -> OutputRecord:
    """Write the close of an alert whose state is lost, from the alert's last event.

    Parameters
    ----------
    last
        The last event, as its JSON says; it may have fields that this version does not know.
    reason
        Why it closes.
    source
        Where records are judged without that state.
    topic, key, detected_at_ms
        As in `encode_alert`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If `last` is no event of an alert.
    """
    number = int(last["event_number"]) + 1
    value = {
        **last,
        "event": "close",
        "event_number": number,
        "source": source,
        "reason": reason,
        "detected_at_ms": detected_at_ms,
    }
    bundle = BundleReference(str(last["bundle"]["name"]), str(last["bundle"]["version"]))
    headers = _headers(
        "close",
        str(last["alert_id"]),
        number,
        bundle,
        str(last["key"]),
        int(last["event_time_ms"]),
    )
    return OutputRecord(topic, key, orjson.dumps(value), headers)


def _headers(
    event: AlertEvent,
    name: str,
    number: int,
    bundle: BundleReference,
    key: str,
    event_time_ms: int,
) -> list[tuple[str, bytes | None]]:
    """Return the CloudEvents headers of an event."""
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{name}-{number}".encode()),
        ("ce_type", f"stream-detector.alert.{event}".encode()),
        ("ce_source", f"/stream-detector/{bundle.name}/{bundle.version}".encode()),
        ("ce_subject", key.encode()),
        ("content-type", b"application/json"),
    ]
    if 0 <= event_time_ms <= TIMESTAMP_MS_MAX:
        time = _EPOCH + timedelta(milliseconds=event_time_ms)
        headers.append(("ce_time", time.isoformat(timespec="milliseconds").encode()))
    return headers


def text_of(key: bytes | None) -> str:
    """Return a series key as text; what is not UTF-8 appears as backslash escapes."""
    return "" if key is None else key.decode("utf-8", "backslashreplace")
