"""What the documentation says of the code is what the code says, alerts above all."""

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alert_example import descriptions
from log_calls import LogCalls, log_calls
from present import present
from pydantic import TypeAdapter

from stream_detector.bundle.manifest import FORMAT_VERSION
from stream_detector.core.alerting.alert import Alert
from stream_detector.log_events import LOG_EVENTS
from stream_detector.recipes.training import TrainingSection

ROOT = Path(__file__).parents[2]

DESIGNED_FIELDS = [
    "schema_version",
    "alert_id",
    "event",
    "event_number",
    "key",
    "window_start_ms",
    "window_end_ms",
    "span_start_ms",
    "span_end_ms",
    "source",
    "reconstruction_error",
    "score",
    "score_kind",
    "check",
    "threshold",
    "anomaly_score",
    "false_alarms_per_day",
    "p_value",
    "severity",
    "bundle",
    "sentence",
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
    "feature",
    "incident_id",
    "rules_digest",
]
"""Always these names: readers of the topic rely on them."""


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / name).read_text())
    return found


def test_nothing_generated_is_stale() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_of_the_bundle_names_its_format_version() -> None:
    page = (ROOT / "docs" / "reference" / "bundle.md").read_text()
    assert f"## `manifest.json`, format version {FORMAT_VERSION}\n" in page
    assert f"\n| `format_version` | {FORMAT_VERSION} |\n" in page


def test_an_alert_has_the_designed_fields_in_their_order() -> None:
    assert [field.name for field in fields(Alert)] == DESIGNED_FIELDS
    assert list(load("alert.example.json")) == DESIGNED_FIELDS
    assert load("alert.schema.json")["required"] == DESIGNED_FIELDS


def test_every_field_of_the_schema_is_described() -> None:
    loaded = load("alert.schema.json")
    parts = [loaded, *loaded["$defs"].values()]
    assert len(parts) == 8
    for part in parts:
        assert part["description"]
        assert all(field["description"].endswith(".") for field in part["properties"].values())


@dataclass(frozen=True)
class _Described:
    """One parameter described.

    Parameters
    ----------
    first
        The first: two
        lines, `code` and "quotes".
    """

    first: int


def test_a_description_is_read_from_the_docstring() -> None:
    assert descriptions(_Described) == {"first": 'The first: two lines, `code` and "quotes".'}


def test_a_field_without_a_description_is_refused() -> None:
    fields = [("first", int), ("second", int)]
    lacking = make_dataclass("lacking", fields, namespace={"__doc__": _Described.__doc__})
    with pytest.raises(ValueError, match=r"lacking: expected .*'second'.*, found \['first'\]"):
        descriptions(lacking)


SOURCE = """
def run(**facts):
    log_event(logging.INFO, "ready", topic="t")
    log_event(logging.WARNING, "lost", reason="r", **facts)
    run(n_records=1)
"""


def test_log_events_are_found_in_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE)
    found = log_calls(tmp_path)
    assert found == {
        "ready": LogCalls("INFO", {"topic"}, set()),
        "lost": LogCalls("WARNING", {"reason"}, {"topic", "reason", "n_records"}),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("log_event(level, 'ready')", "expected log_event"),
        ("log_event(logging.INFO, name)", "expected log_event"),
        (SOURCE + "\nlog_event(logging.ERROR, 'ready')", "ready has two levels"),
    ],
)
def test_a_log_event_that_cannot_be_documented_is_refused(
    source: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(ValueError, match=message):
        log_calls(tmp_path)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program docs/generate.py, to be changed by a test."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("generate")


def test_a_page_that_leaves_out_a_block_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in generator.REFERENCE.glob("*.md"):
        if path.name != "metrics.md":
            (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    with pytest.raises(SystemExit, match=r"expected each of .*'metrics'"):
        generator.contents()


def test_a_format_that_the_page_leaves_out_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "CONTENT_TYPES", {"webp": b"image/webp"})
    with pytest.raises(SystemExit, match=r"record-formats\.md says nothing of image/webp"):
        generator.contents()


def test_a_log_event_without_a_description_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: event for name, event in LOG_EVENTS.items() if name != "ready"}
    monkeypatch.setattr(generator, "LOG_EVENTS", known)
    with pytest.raises(SystemExit, match=r"LOG_EVENTS: expected .*'ready'"):
        generator.contents()


def test_a_log_field_without_a_description_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = LOG_EVENTS["ready"]._replace(fields={"topic": "Input topic"})
    monkeypatch.setattr(generator, "LOG_EVENTS", {**LOG_EVENTS, "ready": lacking})
    with pytest.raises(SystemExit, match=r"LOG_EVENTS\['ready'\]: expected .*'group'"):
        generator.contents()


def test_a_key_without_a_description_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingSection.model_fields["epochs"], "description", None)
    with pytest.raises(SystemExit, match="epochs: expected a description, found none"):
        generator.blocks()


def test_the_example_is_an_alert() -> None:
    alert = TypeAdapter(Alert).validate_python(load("alert.example.json"), strict=False)
    score, threshold = present(alert.score), present(alert.threshold)
    assert alert.anomaly_score == score / threshold
    assert score > threshold
    assert (alert.score_kind, alert.reconstruction_error) == ("mae", score)
    assert alert.window_start_ms <= alert.window_end_ms <= alert.detected_at_ms
    assert (alert.event, alert.reason) == ("update", "severity")
    assert None in present(alert.explanation).features[1].observed


def test_the_example_fits_the_schema() -> None:
    schema, example = load("alert.schema.json"), load("alert.example.json")
    assert_fits(example, schema, schema["$defs"])


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def assert_fits(value: object, schema: dict[str, Any], definitions: dict[str, Any]) -> None:
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
