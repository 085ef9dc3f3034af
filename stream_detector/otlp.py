"""Send a span for each batch, and the metrics, to an OpenTelemetry collector.

Where to and how is said by OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
Both are sent by threads of their own from bounded queues: a collector that is away costs spans, and
never holds up a batch.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from types import TracebackType
from typing import Self

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from stream_detector.core.records import BundleReference, RecordBatch
from stream_detector.core.results import Step
from stream_detector.errors import ConfigError
from stream_detector.settings import DetectSettings
from stream_detector.text import printable

SCOPE = "stream_detector"

# Of the library, so that its lines are one event however it fails.
_LOGGER = logging.getLogger("opentelemetry")

INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"


class OtlpExport:
    """Sends what a service does while the `with` block lasts; an observer of its steps.

    Parameters
    ----------
    registry
        Metrics to send.
    settings
        Topic, group and name of the process.
    bundle
        What scores.
    polled_at_ms
        Returns when the present batch was polled, milliseconds since 1970-01-01 UTC.

    Raises
    ------
    ConfigError
        If the interval of metrics in the environment is none.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        settings: DetectSettings,
        bundle: BundleReference,
        polled_at_ms: Callable[[], int],
    ) -> None:
        self._registry, self._polled_at_ms = registry, polled_at_ms
        self._resource = _resource(settings, bundle)
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SCOPE)
        self._metrics = OTLPMetricExporter()
        self._name = f"process {settings.input_topic}"
        self._facts = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": settings.input_topic,
            "messaging.consumer.group.name": settings.group_of(bundle.name),
        }
        self._interval_s = _interval_ms() / 1000
        self._started_ns = time.time_ns()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send_metrics, name="otlp", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._provider.shutdown()
        self._metrics.shutdown()

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Send the span of a batch, which ends now that it is committed."""
        counts = {
            "messaging.batch.message_count": len(batch),
            "stream_detector.windows": len(step.scores),
            "stream_detector.alerts": len(step.alerts),
            "stream_detector.dead_letters": len(step.rejected),
        }
        self._tracer.start_span(
            self._name,
            kind=SpanKind.CONSUMER,
            attributes={**self._facts, **counts},
            start_time=self._polled_at_ms() * 1_000_000,
        ).end()

    def _send_metrics(self) -> None:
        """Send the metrics at the interval that OpenTelemetry's variable says, and at the end."""
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(self._interval_s)
            try:
                self._metrics.export(self._metrics_data())
            except OSError as error:  # an address that is none; some versions of it log this
                _LOGGER.warning("metrics were not sent: %s", error)

    def _metrics_data(self) -> MetricsData:
        """Return the present metrics in OpenTelemetry's form, under the names they have here."""
        times = (self._started_ns, time.time_ns())
        found = [_metric(family, times) for family in self._registry.collect()]
        scope = ScopeMetrics(InstrumentationScope(SCOPE), found, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _interval_ms() -> int:
    """Return the time between two exports of metrics."""
    text = os.environ.get(INTERVAL, "60000")  # OpenTelemetry's default
    if not (text.isascii() and text.isdigit() and int(text)):
        message = f"{INTERVAL}: expected milliseconds, such as 60000, received {printable(text)!r}"
        raise ConfigError(message)
    return int(text)


def _resource(settings: DetectSettings, bundle: BundleReference) -> Resource:
    """Return what sends; OpenTelemetry's variables win over what is known here."""
    own = {
        "service.name": "stream-detector",
        "service.version": version("stream-detector"),
        "stream_detector.bundle.name": bundle.name,
        "stream_detector.bundle.version": bundle.version,
    }
    if settings.instance_id is not None:
        own["service.instance.id"] = settings.instance_id
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def _metric(family: Family, times: tuple[int, int]) -> Metric:
    """Return one metric with all its labels."""
    data: Sum | Gauge | Histogram
    if family.type == "histogram":
        data = Histogram(
            list(_histograms(family.samples, times)), AggregationTemporality.CUMULATIVE
        )
    else:
        points = [
            NumberDataPoint(sample.labels, *times, sample.value)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        if family.type == "counter":
            data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        else:
            data = Gauge(points)
    return Metric(family.name, family.documentation, "", data)


def _histograms(samples: Iterable[Sample], times: tuple[int, int]) -> Iterator[HistogramDataPoint]:
    """Yield the histograms of one metric, one for its labels."""
    by_labels: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        kind = sample.labels.get("le", sample.name.rpartition("_")[2])
        by_labels.setdefault(labels, {})[kind] = sample.value
    for labels, values in by_labels.items():
        total, count = values.pop("sum", 0.0), int(values.pop("count", 0))
        values.pop("created", None)
        below = [int(value) for value in values.values()]  # cumulative, the last is +Inf
        # Smallest and largest value are not known, which the protocol allows.
        yield HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=times[0],
            time_unix_nano=times[1],
            count=count,
            sum=total,
            bucket_counts=[b - a for a, b in zip([0, *below], below, strict=False)],
            explicit_bounds=[float(bound) for bound in values][:-1],
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )
