"""Metrics under their published names, and log lines of one line each."""

import ast
import io
import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import stream_detector
from stream_detector.core.records import TopicPartition
from stream_detector.core.results import Counts
from stream_detector.log_events import LOG_EVENTS
from stream_detector.log_lines import set_up_logging
from stream_detector.telemetry import (
    Metrics,
    log_event,
    logger,
)


@pytest.fixture
def log() -> io.StringIO:
    """Collect the log lines."""
    set_up_logging(logging.INFO)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    return stream


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"stream_detector_{name}", labels)


def test_metrics_of_two_detectors_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.records.labels("normal").inc(5)
    assert value(first, "records_total", outcome="normal") == 5
    assert value(second, "records_total", outcome="normal") is None


def test_counts_of_batches_add_up() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.count(
            Counts(
                records={"normal": 2, "late": 1},
                windows={"missing": 4},
                samples={"used": 5, "late": 1},
                n_missing_values=6,
                n_gaps=7,
                n_idle_keys=1,
                n_suppressed=8,
            )
        )
    assert value(metrics, "records_total", outcome="normal") == 4
    assert value(metrics, "records_total", outcome="late") == 2
    assert value(metrics, "windows_total", outcome="missing") == 8
    assert value(metrics, "samples_total", outcome="used") == 10
    totals = {"missing_values": 12, "gaps": 14, "idle_keys": 2, "alerts_suppressed": 16}
    for name, total in totals.items():
        assert value(metrics, f"{name}_total") == total


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1],
        [0.1, np.nextafter(0.1, 1), 1.0, np.nextafter(1.0, 2), 1.1, 1.1],  # a bound is included
        [0.0, 100.0, 100.5, 1e300],
    ],
)
def test_a_histogram_takes_an_array_as_it_takes_each_value(values: list[float]) -> None:
    metrics = Metrics()
    metrics.anomaly_score.labels("normal").observe_all(np.array(values))
    for each in values:
        metrics.anomaly_score.labels("anomalous").observe(each)
    (family,) = metrics.anomaly_score.collect()
    found: defaultdict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            place = (sample.name, sample.labels.get("le", ""), sample.value)
            found[sample.labels["outcome"]].append(place)
    if values:
        assert found["normal"] == found["anomalous"]
    else:
        assert {each[2] for each in found["normal"]} == {0.0}


def test_lag_of_a_revoked_partition_is_removed() -> None:
    metrics = Metrics()
    metrics.set_lag({TopicPartition("t", 0): 7, TopicPartition("t", 1): 0})
    metrics.set_lag({TopicPartition("t", 1): 3})
    assert value(metrics, "lag_records", topic="t", partition="0") is None
    assert value(metrics, "lag_records", topic="t", partition="1") == 3


def test_each_call_of_the_network_is_timed() -> None:
    metrics = Metrics()
    reconstruct = metrics.timed(lambda windows: windows + 1)
    windows = np.zeros((2, 4, 1), np.float32)
    assert reconstruct(windows).tolist() == (windows + 1).tolist()
    reconstruct(windows)
    assert value(metrics, "inference_seconds_count") == 2


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "started "),
        ({"n": 5, "topic": "a"}, "started n=5 topic=a"),
        ({"reason": "no answer"}, 'started reason="no answer"'),
        ({"reason": 'said "no"'}, "started reason=\"said 'no'\""),
        ({"reason": ""}, 'started reason=""'),
        ({"reason": "a\nb"}, "started reason=a\\nb"),
    ],
)
def test_an_event_is_one_line_of_fields(
    log: io.StringIO, fields: dict[str, object], line: str
) -> None:
    log_event(logging.INFO, "started", **fields)
    (written,) = log.getvalue().splitlines()
    time, level, text = written.split(" ", 2)
    assert time.endswith("Z")
    assert (level, text) == ("INFO", line)


def test_a_value_has_a_limit(log: io.StringIO) -> None:
    log_event(logging.INFO, "started", reason="a" * 2_048, more="a" * 2_049)
    assert "a" * 2_048 in log.getvalue()
    assert log.getvalue().endswith('... (2,049 characters)"\n')


@pytest.mark.parametrize("separator", ["\r", "\v", "\x85", "\u2028"])
def test_no_value_breaks_a_line(log: io.StringIO, separator: str) -> None:
    log_event(logging.WARNING, "dead-letters", reason=f"a{separator}b")
    assert len(log.getvalue().splitlines()) == 1


def test_a_level_that_is_off_writes_nothing(log: io.StringIO) -> None:
    log_event(logging.DEBUG, "detail")
    assert log.getvalue() == ""


def logged_fields() -> dict[str, set[str]]:
    """Return the events that the package logs, each with the fields named in its calls."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in Path(stream_detector.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "log_event":
                event = node.args[1]
                assert isinstance(event, ast.Constant), f"{path}: the event has no constant name"
                found[str(event.value)] |= {each.arg for each in node.keywords if each.arg}
    return found


def test_every_log_event_is_described() -> None:
    logged = logged_fields()
    assert set(logged) == set(LOG_EVENTS)
    for event, fields in logged.items():
        described = set(LOG_EVENTS[event].fields)
        # The fields of a state reset depend on its reason, and pass through one function.
        assert fields <= described if event == "state-reset" else fields == described


def test_descriptions_are_sentences() -> None:
    for event in LOG_EVENTS.values():
        assert event.meaning.endswith(".")
        assert all(event.fields.values())
