"""Alerts in Avro: the schema of the class, and values that are the JSON of before."""

from pathlib import Path
from typing import Any, NoReturn

import fastavro
import orjson
import pytest
from fake_registry import fake_registry

from stream_detector.assembly import schemas_for
from stream_detector.core.alerting.alert_schema import alert_schema
from stream_detector.core.records import OutputRecord, RecordBatch
from stream_detector.errors import DataError, RecordSchemaError
from stream_detector.outputs.alerts import parse_alert, parse_alerts
from stream_detector.ports import NoSchemas
from stream_detector.schemas.alerts import AvroAlerts, alert_json
from stream_detector.schemas.avro import AvroSchema
from stream_detector.settings import ConnectionSettings, DetectSettings
from stream_detector.web.alert_board import AlertBoard

EXAMPLE = Path(__file__).parents[3] / "docs" / "alert.example.json"
TEXT = orjson.dumps(alert_schema()).decode()


def example(**changes: Any) -> dict[str, Any]:
    alert: dict[str, Any] = orjson.loads(EXAMPLE.read_bytes())
    return alert | changes


def encoded(alert: dict[str, Any]) -> OutputRecord:
    headers = [("ce_type", b"x"), ("content-type", b"application/json")]
    record = OutputRecord("alerts", b"k", orjson.dumps(alert), headers)
    return AvroAlerts(lambda _: 258).encode(record)


def test_every_field_of_the_class_is_in_the_schema() -> None:
    names = {each["name"] for each in alert_schema()["fields"]}
    assert names == example().keys()
    fastavro.parse_schema(alert_schema())
    AvroSchema(TEXT)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"explanation": None, "score": None, "feature": "t", "reason": "no_data"},
        {"key": "Größe\\xff", "detected_at_ms": 2**53 + 1, "score": 0.1},
    ],
)
def test_what_is_read_back_is_the_json_of_before(changes: dict[str, Any]) -> None:
    alert = example(**changes)
    record = encoded(alert)
    assert record.value is not None
    assert record.value[:5] == b"\0\0\0\1\2"
    assert record.headers == [("ce_type", b"x"), ("content-type", b"application/avro")]
    assert (record.topic, record.key) == ("alerts", b"k")
    text = alert_json(record.value, lambda number: AvroSchema(TEXT) if number == 258 else fail())
    assert orjson.loads(text) == alert
    assert parse_alert(text) == parse_alert(orjson.dumps(alert))


def fail() -> Any:
    raise AssertionError


def test_what_the_schema_does_not_have_is_left_out_and_what_is_missing_has_its_default() -> None:
    alert = example(of_a_later_version=1)
    del alert["feature"], alert["sentence"]
    record = encoded(alert)
    text = alert_json(record.value or b"", lambda _: AvroSchema(TEXT))
    del alert["of_a_later_version"]
    assert orjson.loads(text) == alert | {"feature": None, "sentence": ""}


def test_an_alert_that_cannot_be_read_is_a_problem_with_its_reason() -> None:
    good = orjson.dumps(example())
    avro = encoded(example()).value or b""
    problems: list[str] = []

    def read(settings: ConnectionSettings, *values: bytes) -> int:
        problems.clear()
        return len(list(parse_alerts(values, settings, lambda each: problems.append(str(each)))))

    assert read(ConnectionSettings(), good, avro, b"{}") == 1
    assert "set schema_registry_url" in problems[0]
    assert problems[1].startswith("not an alert")
    with fake_registry() as fake:
        fake.add(258, TEXT)
        fake.add(7, '"bytes"')
        settings = ConnectionSettings(schema_registry_url=fake.url)
        values = (avro, good, avro[:-1], b"\0\0\0\0\7\2a", b"\0\0\0\0\1", b"\0")
        assert read(settings, *values) == 2
    expected = ("ends too early", "schema 7: ", "404 Schema 77 not found", "404 Schema 77")
    assert all(part in text for part, text in zip(expected, problems, strict=True)), problems


def test_the_console_takes_alerts_in_avro() -> None:
    app = pytest.importorskip("stream_detector.web.app")
    board = AlertBoard(closes=True)
    with fake_registry() as fake:
        fake.add(258, TEXT)
        schemas = schemas_for(ConnectionSettings(schema_registry_url=fake.url))
        values = [encoded(example()).value, None, b"{}", b"\0\0\0\0\7", orjson.dumps(example())]
        app.take_alerts(board, schemas, batch_of(values))
    assert len(board.picture(0)["events"]) == 1
    assert board.n_not_alerts == 2


def batch_of(values: list[bytes | None]) -> RecordBatch:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError

    return RecordBatch(values, None, {}, refuse, refuse, refuse)


def test_without_a_registry_alerts_stay_as_they_are() -> None:
    record = OutputRecord("alerts", None, b"{}", [])
    schemas = NoSchemas()
    schemas.register_alerts()
    assert schemas.write_alert(record) is record
    assert schemas.read_alert(b"{}") == b"{}"
    with pytest.raises(DataError):
        schemas.read_alert(b"\0")
    with pytest.raises(ValueError, match="alerts_format = avro needs schema_registry_url"):
        DetectSettings(alerts_format="avro")
    assert issubclass(RecordSchemaError, DataError)
