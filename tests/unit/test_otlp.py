"""Spans and metrics arrive at a collector, and one that is away holds nothing up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from delivery_service import broker_of, service_on  # tests/support
from delivery_stream import N_RECORDS
from halving_bundle import make_bundle
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stream_detector.cli.detect_process import run_detect
from stream_detector.clients import connect
from stream_detector.clients.embedded import EmbeddedBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import ConfigError
from stream_detector.otlp import OtlpExport
from stream_detector.service import Service, Totals
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics


class Collector(ThreadingHTTPServer):
    """Keeps what is sent to it, by path."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def spans(self) -> list[Any]:
        requests = [
            ExportTraceServiceRequest.FromString(body)
            for path, body in self.received
            if path == "/v1/traces"
        ]
        scopes = [
            scope
            for each in requests
            for found in each.resource_spans
            for scope in found.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]

    def last_metrics(self) -> Any:
        bodies = [body for path, body in self.received if path == "/v1/metrics"]
        (found,) = ExportMetricsServiceRequest.FromString(bodies[-1]).resource_metrics
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        del words


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as made:
        Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{made.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        yield made
        made.shutdown()


@contextmanager
def exporting(service: Service, metrics: Metrics) -> Iterator[None]:
    bundle, settings = service.context.detector.bundle, service.context.settings
    made = OtlpExport(metrics.registry, settings, bundle, lambda: service.polled_at_ms)
    with made as export:
        service.add_observer(export.observe)
        yield


def run(shape: str, metrics: Metrics, **changes: Any) -> Totals:
    service = service_on(broker_of(shape), shape, "at_least_once", metrics, **changes)
    with exporting(service, metrics):
        return service.run()


def facts_of(attributes: Any) -> dict[str, str | int]:
    kinds = {each.key: each.value for each in attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in kinds.items()}


@pytest.mark.parametrize("shape", ["windows", "samples"])
def test_each_batch_is_one_span(collector: Collector, shape: str) -> None:
    totals = run(shape, Metrics())
    spans = collector.spans()
    assert len(spans) == totals.n_batches > 5
    assert {span.name for span in spans} == {"process telemetry"}
    facts = [facts_of(span.attributes) for span in spans]
    assert {each["messaging.consumer.group.name"] for each in facts} == {"g"}
    for name, total in (
        ("messaging.batch.message_count", N_RECORDS),
        ("stream_detector.windows", totals.n_scored_windows),
        ("stream_detector.alerts", totals.n_alerts),
        ("stream_detector.dead_letters", totals.n_dead_letters),
    ):
        assert sum(int(each[name]) for each in facts) == total
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in spans)
    starts_ms = {span.start_time_unix_nano // 1_000_000 for span in spans}
    assert max(starts_ms) < 500_000  # by the clock of the service


def test_all_metrics_arrive_as_they_are_at_the_end(collector: Collector) -> None:
    metrics = Metrics()
    totals = run("samples", metrics, instance_id="detector-0")
    found = collector.last_metrics()
    resource = facts_of(found.resource.attributes)
    assert resource["service.name"] == "stream-detector"
    assert resource["service.instance.id"] == "detector-0"
    assert resource["stream_detector.bundle.version"] == "v1"
    (scope,) = found.scope_metrics
    sent = {each.name: each for each in scope.metrics}
    assert set(sent) == {family.name for family in metrics.registry.collect()}
    records = sent["stream_detector_records"].sum
    assert records.is_monotonic
    assert sum(point.as_double for point in records.data_points) == totals.n_records
    (gauge,) = sent["stream_detector_keys"].gauge.data_points
    assert gauge.as_double == 3
    scores = {
        facts_of(point.attributes)["outcome"]: point
        for point in sent["stream_detector_anomaly_score"].histogram.data_points
    }
    value = metrics.registry.get_sample_value
    for outcome, point in scores.items():
        labels = {"outcome": str(outcome)}
        assert point.count == sum(point.bucket_counts)
        assert point.count == value("stream_detector_anomaly_score_count", labels)
        assert point.sum == value("stream_detector_anomaly_score_sum", labels)
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
        at = list(point.explicit_bounds).index(1.0)
        below = value("stream_detector_anomaly_score_bucket", labels | {"le": "1.0"})
        assert sum(point.bucket_counts[: at + 1]) == below


def test_metrics_are_sent_while_it_runs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    metrics = Metrics()
    with exporting(service_on(broker_of("windows"), "windows", "at_least_once"), metrics):
        deadline_s = time.monotonic() + 20
        while len(collector.received) < 3:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def test_names_of_the_environment_win(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=pumps,site=north")
    run("windows", Metrics())
    resource = facts_of(collector.last_metrics().resource.attributes)
    assert (resource["service.name"], resource["site"]) == ("pumps", "north")


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "soon", ""])
def test_an_interval_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", text)
    with pytest.raises(ConfigError, match="OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds"):
        run("windows", Metrics())


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[bad", "no address"])
def test_a_collector_that_is_away_holds_nothing_up(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    begin_s = time.monotonic()
    assert run("windows", Metrics()).n_records == N_RECORDS
    assert time.monotonic() - begin_s < 20


@pytest.mark.slow
@pytest.mark.parametrize("is_asked", [True, False])
def test_detect_sends_where_it_is_asked_to(
    collector: Collector, tmp_path: Path, *, is_asked: bool
) -> None:
    pytest.importorskip("confluent_kafka")
    make_bundle(tmp_path / "bundle")
    with EmbeddedBroker() as broker:
        for topic in ("telemetry", "alerts", "dead-letters"):
            broker.create_topic(topic, 1)
        settings = DetectSettings(
            bootstrap_servers=broker.bootstrap_servers, otlp=is_asked, stop_when_idle_s=0.5
        )
        writer = connect(settings)
        writer.produce([OutputRecord("telemetry", b"k", b"no record")])
        writer.flush(10_000)
        writer.close()
        run_detect(tmp_path / "bundle", settings)
    assert [
        facts_of(each.attributes)["stream_detector.dead_letters"] for each in collector.spans()
    ] == ([1] * is_asked)
    assert bool(collector.received) == is_asked
