"""The events of the log: when each is written, and what its fields mean.

A page of the documentation is made from this; `stream_detector.telemetry.log_event` writes them.
"""

from collections.abc import Mapping
from typing import NamedTuple


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
        "Alerts whose state is lost were closed, with the reason `bundle_changed`, `rules_changed` "
        "or `state_reset`.",
        {"n_alerts": "How many; `stopped` does not count them"},
    ),
    "alerts-left-open": LogEvent(
        "Alerts whose state is lost could not be closed; whoever reads alerts has to close them.",
        {"n_alerts": "How many", "reason": "Why"},
    ),
    "metrics": LogEvent("Metrics and health are served.", {"address": "Host and port"}),
    "metrics-failed": LogEvent(
        "A request for metrics or health was not answered; written at most once a minute.",
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
            "`missing_values`, `gaps`, `no_peaks`, or `warm_up` while nothing at all is scored",
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
        "scale of its own, and get none: their windows have the median scale of all keys. Written "
        "at once, then at most every ten minutes, and before `stopped`.",
        {
            "n_keys": "How many since the last line",
            "keys": "Up to five of them",
            "n_keys_so_far": "How many since the start, up to 100,000",
            "what_to_do": "How to mend it",
        },
    ),
    "new-keys": LogEvent(
        "Keys send samples that training did not know, where `scaling.per_key` gives each key a "
        "scale of its own: they are in warm-up, and their windows have no score until they have "
        "a scale from their first samples. Written as `unknown-keys` is.",
        {
            "n_keys": "How many since the last line",
            "keys": "Up to five of them",
            "n_keys_so_far": "How many since the start, up to 100,000",
            "what_to_do": "What else can be done",
        },
    ),
    "key-scales": LogEvent(
        "New keys have a scale from their first samples now, and are scored from here on. Written "
        "as `unknown-keys` is.",
        {
            "n_keys": "How many since the last line",
            "keys": "Up to five of them",
            "n_keys_so_far": "How many since the start, up to 100,000",
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
            "reason": "`no_checkpoint`, `bundle_changed`, `rules_changed`, `repartitioned` or "
            "`retention`",
            "at": "Topic, partition and offset",
            "n_records_lost": "`retention`: offsets that were deleted before they were read",
            "committed_by": "`bundle_changed`: first 12 digits of the other bundle's version",
            "rules_before": "`rules_changed`: digest of the `[alerting]` table before, or `own`",
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
    "schema": LogEvent(
        "Records name a schema that was not in memory, and the registry has it.",
        {"id": "Its number or GUID", "kind": "AVRO, PROTOBUF or JSON"},
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
            "n_unknown_keys": "Keys that training did not know, as in `unknown-keys` and "
            "`new-keys`",
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
    "routing": LogEvent(
        "`route` begins.",
        {"topic": "Topic of alerts", "routes": "Names of the routes"},
    ),
    "alert-silenced": LogEvent(
        "A silence or a calendar holds an event of an alert back from a route; it is not sent.",
        {
            "route": "Name of the route",
            "key": "Series key",
            "alert_id": "Id of the alert",
            "number": "Number of the event within the alert",
            "why": "Which silence or calendar",
        },
    ),
    "no-silences": LogEvent(
        "The topic of silences does not exist, so nothing is silenced; it is looked for once a "
        "minute.",
        {"topic": "The topic"},
    ),
    "not-a-silence": LogEvent(
        "A record of the topic of silences holds none, and is skipped.",
        {"topic": "The topic", "reason": "What is wrong with it"},
    ),
    "sink-failed": LogEvent(
        "A sink did not take what it was sent; written at most every 5 seconds.",
        {
            "route": "Name of the route",
            "reason": "Why, without secrets",
            "again_in_s": "Seconds until the next attempt",
        },
    ),
    "sink-answers": LogEvent(
        "A sink takes what it is sent again.",
        {"route": "Name of the route", "after_s": "Seconds since the first failure"},
    ),
    "alerts-not-delivered": LogEvent(
        "A sink refused alerts, or took them in none of all attempts; they are dead letters now.",
        {
            "route": "Name of the route",
            "n_alerts": "How many",
            "first": "Topic, partition and offset of the first",
            "reason": "Why, without secrets",
        },
    ),
    "alerts-given-up": LogEvent(
        "Of open alerts nothing was heard for eight days; their close will not be sent.",
        {"route": "Name of the route", "n_alerts": "How many"},
    ),
    "route-retrying": LogEvent(
        "Kafka or a Schema Registry failed; the route connects again and reads on from what was "
        "committed.",
        {"route": "Name of the route", "reason": "Error"},
    ),
    "routing-stopped": LogEvent(
        "Every route has committed what was delivered and left its group.",
        {"n_routes": "How many"},
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
