"""What the documentation says of the code is what the code says, alerts above all."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter

from stream_detector.core.alerting.alert import Alert

ROOT = Path(__file__).parents[2]

DESIGNED_FIELDS = [
    "schema_version",
    "alert_id",
    "event",
    "event_number",
    "key",
    "window_start_ms",
    "window_end_ms",
    "source",
    "reconstruction_error",
    "threshold",
    "anomaly_score",
    "severity",
    "bundle",
    "explanation",
    "event_time_ms",
    "opened_ms",
    "last_anomalous_ms",
    "n_windows",
    "n_anomalous",
    "reason",
    "continues_alert_id",
    "is_summary",
    "n_alerts",
    "detected_at_ms",
]
"""Always these names: readers of the topic rely on them."""


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def load(name: str) -> dict:
    return json.loads((ROOT / "docs" / name).read_text())


def test_nothing_generated_is_stale():
    done = generate("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_marker_is_in_the_readme_once():
    text = (ROOT / "README.md").read_text()
    starts = re.findall(r"<!-- generated: (.+) -->", text)
    ends = re.findall(r"<!-- end of generated: (.+) -->", text)
    assert starts == ends
    assert len(starts) == len(set(starts)) == 10


def test_an_alert_has_the_designed_fields_in_their_order():
    assert [field.name for field in fields(Alert)] == DESIGNED_FIELDS
    assert list(load("alert.example.json")) == DESIGNED_FIELDS
    assert load("alert.schema.json")["required"] == DESIGNED_FIELDS


def test_every_field_of_the_schema_is_described():
    properties = load("alert.schema.json")["properties"]
    assert list(properties) == DESIGNED_FIELDS
    assert all(field["description"] for field in properties.values())
    for name in ("Explanation", "FeatureExplanation", "ImageExplanation"):
        part = load("alert.schema.json")["$defs"][name]
        assert all(field["description"] for field in part["properties"].values())


def test_the_example_is_an_alert():
    alert = TypeAdapter(Alert).validate_python(load("alert.example.json"), strict=False)
    assert alert.anomaly_score == alert.reconstruction_error / alert.threshold
    assert alert.anomaly_score > 1
    assert alert.window_start_ms <= alert.window_end_ms <= alert.detected_at_ms
    assert (alert.event, alert.reason) == ("update", "severity")
    assert None in alert.explanation.features[1].observed


def test_the_example_fits_the_schema():
    schema, example = load("alert.schema.json"), load("alert.example.json")
    assert_fits(example, schema, schema["$defs"])


TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def assert_fits(value: object, schema: dict, definitions: dict) -> None:
    """Check the few words of JSON Schema that ours is written in."""
    schema = definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    if "anyOf" in schema:
        kinds = [
            definitions[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each
            for each in schema["anyOf"]
        ]
        schema = next(each for each in kinds if isinstance(value, TYPES[each["type"]]))
    assert isinstance(value, TYPES[schema["type"]])
    assert "enum" not in schema or value in schema["enum"]
    if isinstance(value, list):
        for each in value:
            assert_fits(each, schema["items"], definitions)
    if isinstance(value, dict):
        assert set(schema["required"]) == set(schema["properties"]) == set(value)
        for name, part in schema["properties"].items():
            assert_fits(value[name], part, definitions)
