"""The programs in docs/examples do what they say, on what is published."""

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import kafka
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "docs" / "examples" / "read_alerts.py"
EXAMPLE = (ROOT / "docs" / "alert.example.json").read_bytes()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_alerts", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event_of(number: int, event: str, alert_id: str = "a", key: str = "pump-7") -> bytes:
    changes = {"alert_id": alert_id, "event": event, "event_number": number, "key": key}
    return json.dumps(json.loads(EXAMPLE) | changes).encode()


def test_it_is_short_and_needs_nothing_of_ours() -> None:
    text = PROGRAM.read_text()
    assert text.count("\n") < 100
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert modules == {"argparse", "sys", "kafka", "pydantic"}


def test_its_model_takes_the_published_example(program: ModuleType) -> None:
    alert = program.Alert.model_validate_json(EXAMPLE)
    found = json.loads(EXAMPLE)
    shares = [(each["name"], each["share"]) for each in found["explanation"]["features"]]
    assert [(each.name, each.share) for each in alert.features] == shares
    assert (alert.alert_id, alert.event_time_ms) == (found["alert_id"], found["event_time_ms"])


def test_an_event_is_a_line(program: ModuleType) -> None:
    line = program.Reader().take(EXAMPLE)
    assert line == (
        "1767225611000 update severity critical key pump-7 score 2.62 vibration (94%)\n"
    )


def test_an_alert_of_an_image_names_no_feature(program: ModuleType) -> None:
    found = json.loads(EXAMPLE)
    found["explanation"]["features"] = []
    assert program.Reader().take(json.dumps(found).encode()).endswith(" score 2.62 image\n")


def test_an_alert_about_missing_data_is_a_line_and_open_beside_others(program: ModuleType) -> None:
    reader = program.Reader()
    missing = {"anomaly_score": None, "explanation": None, "reason": "no_data", "event": "open"}
    reader.take(event_of(1, "open"))
    for feature, what in ((None, "the key"), ("humidity", "humidity")):
        found = json.loads(EXAMPLE) | missing | {"feature": feature, "alert_id": what}
        line = reader.take(json.dumps(found).encode())
        assert line.endswith(f" open no_data critical key pump-7 no data of {what}\n")
    assert list(reader.open) == ["a", "the key", "humidity"]


def test_repeats_are_dropped_and_closed_alerts_are_no_longer_open(program: ModuleType) -> None:
    reader = program.Reader()
    events = [event_of(1, "open"), event_of(2, "update"), event_of(3, "close")]
    assert all(reader.take(value) for value in events[:2])
    assert list(reader.open) == ["a"]
    assert [reader.take(value) for value in events[:2]] == ["", ""]
    assert reader.open["a"].event_number == 2
    assert reader.take(events[2])
    assert reader.open == {}
    assert [reader.take(value) for value in events] == [""] * 3
    assert reader.open == {}


def test_what_is_no_alert_is_skipped(program: ModuleType) -> None:
    reader = program.Reader()
    assert reader.take(b"?").startswith("skipped: ")
    assert reader.take(b"{}").startswith("skipped: ")


def test_a_broker_that_does_not_answer_is_said(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(**options: object) -> None:
        text = f"Unable to bootstrap in {options['bootstrap_timeout_ms']} ms"
        raise kafka.errors.KafkaTimeoutError(text)

    monkeypatch.setattr(program, "KafkaConsumer", give_up)
    monkeypatch.setattr(sys, "argv", ["read_alerts.py", "--bootstrap-servers", "127.0.0.1:1"])
    with pytest.raises(SystemExit, match=r"127\.0\.0\.1:1: .*bootstrap in 10000 ms"):
        program.main()


def test_it_forgets_the_oldest(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "N_REMEMBERED", 3)
    reader = program.Reader()
    for name in "abcde":
        reader.take(event_of(1, "open", alert_id=name, key=name))
    assert list(reader.open) == ["c", "d", "e"]
    assert reader.take(event_of(1, "open", alert_id="c", key="c")) == ""
    assert reader.take(event_of(1, "open", alert_id="a", key="a"))
