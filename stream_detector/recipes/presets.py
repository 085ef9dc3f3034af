"""What the records of common programs look like: values of the keys of `[input]`, by preset.

A preset is data only. Its keys have their meaning in `stream_detector.recipes.input`; a key beside
`preset` in a recipe wins over the preset's. The schema of `sparkplug-b`, which no record names, is
in `stream_detector.schemas.sparkplug`.

Where these forms are documented:

- `telegraf-json`: InfluxData, Telegraf documentation, "JSON output data format":
  `{"fields": {..}, "name": .., "tags": {..}, "timestamp": 1458229140}`, seconds unless
  `json_timestamp_units` says another; with `json_batch_size` above 1 an object with `metrics`.
- `influx-line`: InfluxData, "Line protocol reference": `measurement,tag=a field=1.5
  1556813561098000000`, nanoseconds.
- `connect-envelope`: Apache Kafka, `org.apache.kafka.connect.json.JsonConverter` with
  `schemas.enable`: `{"schema": {..}, "payload": {..}}`.
- `debezium`: Debezium documentation, "Change event values": `{"payload": {"before": .., "after":
  {..}, "source": {..}, "op": "c", "ts_ms": ..}}`; without the envelope where `schemas.enable` is
  off.
- `cloudevents`: CNCF, CloudEvents 1.0.2, "JSON Event Format", structured mode: `{"specversion":
  "1.0", "type": .., "source": .., "subject": .., "id": .., "time": .., "data": {..}}`.
- `otlp-json`: OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding", ExportMetricsServiceRequest:
  `resourceMetrics` / `scopeMetrics` / `metrics` / `gauge` / `dataPoints`, times in nanoseconds and
  integers as text.
- `home-assistant`: Home Assistant, integration "Apache Kafka" and `State.as_dict` of its core: an
  entity's `entity_id`, `state` as text, `attributes`, `last_changed` and `last_updated`.
- `sparkplug-b`: Eclipse Foundation, "Sparkplug Specification" 3.0, chapter "Payloads": `timestamp`
  and `metrics` with `name`, `timestamp` and `value`, as Protobuf; times in milliseconds. That of
  the payload is called `payload_timestamp` here, to be told from that of a metric.
"""

from collections.abc import Mapping
from typing import Any, Literal

PresetName = Literal[
    "flat",
    "telegraf-json",
    "influx-line",
    "connect-envelope",
    "debezium",
    "cloudevents",
    "otlp-json",
    "home-assistant",
    "sparkplug-b",
]

PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    "flat": {"values": "", "time": "ts|timestamp_ms"},
    "telegraf-json": {
        "key": "tags.host",
        "time": "timestamp",
        "time_unit": "s",
        "values": "fields",
    },
    "influx-line": {
        "format": "influx",
        "key": "tags.host",
        "readings": "metrics",
        "time": "timestamp",
        "time_unit": "ns",
        "values": "fields",
    },
    "connect-envelope": {"values": "payload"},
    "debezium": {
        "time": "payload.ts_ms|ts_ms",
        "values": "payload.after|after",
        "deletions": "skip",
    },
    "cloudevents": {
        "key": "subject|source",
        "time": "time",
        "time_unit": "iso8601",
        "values": "data",
    },
    "otlp-json": {
        "key": "resource.attributes[key=service.instance.id].value.stringValue|"
        "resource.attributes[key=service.name].value.stringValue|"
        "resource.attributes[key=host.name].value.stringValue",
        "readings": "resourceMetrics.scopeMetrics.metrics.gauge.dataPoints",
        "time": "timeUnixNano",
        "time_unit": "ns",
        "feature_name": "name",
        "feature_value": "asDouble|asInt",
        "numbers": "text",
    },
    "home-assistant": {
        "key": "entity_id",
        "time": "last_updated",
        "time_unit": "iso8601",
        "values": "state",
        "numbers": "text",
    },
    "sparkplug-b": {
        "format": "protobuf",
        "readings": "metrics",
        "time": "timestamp|payload_timestamp",
        "feature_name": "name",
        "feature_value": "value",
    },
}
"""Keys of `[input]` and their values, by the name of the preset."""
