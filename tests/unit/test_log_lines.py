"""Log lines as text and as JSON, with the number of the worker."""

import io
import json
import logging
import warnings
from typing import Any

import pytest

from stream_detector.log_lines import set_up_logging
from stream_detector.settings import LogFormat
from stream_detector.telemetry import log_event, logger


def set_up(log_format: LogFormat, worker: int | None) -> io.StringIO:
    """Set up logging, and return where its lines go."""
    set_up_logging(logging.INFO, log_format, worker)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    return stream


def test_every_line_of_a_worker_carries_its_number() -> None:
    log = set_up("text", 0)
    log_event(logging.INFO, "ready", topic="t")
    logging.getLogger("kafka.conn").warning("no %s", "broker")
    first, second = log.getvalue().splitlines()
    assert first.endswith("Z INFO ready topic=t worker=0")
    assert second.endswith('Z WARNING kafka-library logger=kafka.conn reason="no broker" worker=0')


def test_a_library_that_repeats_itself_is_heard_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = set_up("text", None)
    now = [1_767_225_600.0]
    factory = logging.getLogRecordFactory()

    def make(*args: Any, **more: Any) -> logging.LogRecord:
        record = factory(*args, **more)
        record.created = now[0]
        return record

    monkeypatch.setattr("logging._logRecordFactory", make)
    kafka = logging.getLogger("kafka.net.manager")
    for at in (0, 1, 9.9, 10, 19.9):
        now[0] = 1_767_225_600.0 + at
        kafka.error("bootstrap-0 failed (backoff %s secs)", at)
        log_event(logging.WARNING, "retrying", at=at)
    kafka.error("another")
    lines = [line.split(" ", 1)[1] for line in log.getvalue().splitlines()]
    assert sum("retrying" in line for line in lines) == 5
    assert [line[-24:] for line in lines if "bootstrap-0" in line] == [
        'failed (backoff 0 secs)"',
        'ailed (backoff 10 secs)"',
    ]
    assert "another" in lines[-1]


CLOSED = "<KafkaTCPTransport [none] (closed)>: Error receiving network data closing socket"


@pytest.mark.parametrize(
    ("text", "is_written"),
    [
        ("LeaveGroup request failed: KafkaTimeoutError: Timed out after 3000 ms", False),
        ("LeaveGroup request for group g failed with error: UnknownMemberIdError", False),
        ("JoinGroup request failed: KafkaTimeoutError", True),
        (CLOSED, False),
        (CLOSED.replace(" (closed)", "").replace("none", "127.0.0.1:9092<-5"), True),
        ("Metadata refresh: failed Transport closed for writes", False),
        ("Metadata refresh: failed KafkaConnectionError: 111 ECONNREFUSED", True),
    ],
)
def test_what_kafka_python_says_of_closing_is_not_written(text: str, is_written: bool) -> None:
    log = set_up("text", None)
    logging.getLogger("kafka.coordinator").error(text)
    log_event(logging.INFO, "stopped", reason=text)
    lines = log.getvalue().splitlines()
    assert len(lines) == 1 + is_written
    assert "INFO stopped" in lines[-1]


def test_a_line_of_json_is_one_object() -> None:
    log = set_up("json", 1)
    numbers = {"n": 5, "s": 0.5, "is_a": True, "none": None, "nan": float("nan")}
    log_event(logging.WARNING, "stopped", **numbers, error=KeyError("a"), text="a" * 9_999)
    logging.getLogger("kafka.conn").error("no broker")
    first, second = map(json.loads, log.getvalue().splitlines())
    assert first.pop("time")[-5] == "."
    assert len(first.pop("text")) == 2_048
    fixed = {"level": "WARNING", "event": "stopped", "error": "'a'", "worker": 1}
    assert first == numbers | {"nan": None} | fixed
    assert (second["event"], second["logger"]) == ("kafka-library", "kafka.conn")
    assert second["reason"] == "no broker"


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("kafka.conn", "kafka-library"),
        ("opentelemetry.sdk.trace", "otlp-library"),
        ("py.warnings", "python-warning"),
    ],
)
def test_lines_of_others_are_one_object_each(name: str, event: str) -> None:
    log = set_up("json", None)
    try:
        raise ConnectionError
    except ConnectionError:
        logging.getLogger(name).exception("no collector,\nno line of its own")
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["event"], line["logger"]) == (event, name)
    assert line["reason"] == "no collector,\nno line of its own"


def test_a_warning_of_python_is_a_line() -> None:
    with warnings.catch_warnings():
        log = set_up("json", None)
        warnings.simplefilter("always")
        warnings.warn("values overflow", RuntimeWarning, stacklevel=1)
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("python-warning", "WARNING")
    assert "values overflow" in line["reason"]


def test_one_process_has_no_number() -> None:
    log = set_up("json", None)
    log_event(logging.INFO, "ready")
    assert set(json.loads(log.getvalue())) == {"time", "level", "event"}


def test_information_of_the_library_is_not_written() -> None:
    log = set_up("text", None)
    logging.getLogger("kafka.conn").info("connected")
    assert log.getvalue() == ""
