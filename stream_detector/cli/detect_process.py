"""One process of `detect`: client, engine, metrics and loop wired together."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from stream_detector.cli.terminal import StopFlag, describe_error, waiting
from stream_detector.errors import ConfigError
from stream_detector.settings import DetectSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stream_detector.core.records import RecordBatch
    from stream_detector.core.results import Step
    from stream_detector.otlp import OtlpExport
    from stream_detector.service import Service
    from stream_detector.telemetry import Metrics


def run_detect(bundle: Path, settings: DetectSettings, worker: int | None = None) -> None:
    """Run one process of `detect` until it is stopped, and log its totals.

    Parameters
    ----------
    bundle
        The bundle's folder.
    settings
        Settings of the run.
    worker
        Number of this worker; None where the command runs in one process.

    Raises
    ------
    ConfigError
        If the settings do not fit the bundle.
    StreamDetectorError
        If the bundle cannot be used, or the service failed.
    """
    from stream_detector.assembly import make_service, open_bundle, require_content_type
    from stream_detector.log_lines import set_up_logging
    from stream_detector.telemetry import Metrics, log_event

    set_up_logging(logging.INFO, settings.log_format, worker)
    metrics = Metrics()
    served = open_bundle(
        bundle,
        settings.engine,
        settings.model_rows_max,
        metrics.timed,
        settings.keys_max,
        settings.changes,
    )
    require_content_type(settings.content_type, served)
    service = make_service(served, settings, metrics)
    stop = StopFlag(service.stop)
    with ExitStack() as stack:
        stack.enter_context(stop.on_signals())
        stack.enter_context(serving_metrics(metrics.registry, settings))
        if settings.otlp:
            service.add_observer(stack.enter_context(_otlp_export(service, metrics)).observe)
        if sys.stderr.isatty() and settings.log_format == "text":
            service.add_observer(stack.enter_context(_progress_line(service)))
        totals = service.run()
    log_event(
        logging.INFO,
        "stopped",
        n_records=totals.n_records,
        n_alerts=totals.n_alerts,
        n_dead_letters=totals.n_dead_letters,
        n_batches=totals.n_batches,
        n_retries=totals.n_retries,
        n_scored_windows=totals.n_scored_windows,
        n_unscored_keys=sum(totals.unscored.values()),
        unscored=",".join(f"{name}:{n}" for name, n in totals.unscored.items()) or "none",
        n_unknown_keys=totals.n_unknown_keys,
    )


def log_failure(error: Exception) -> int:
    """Log the error that ends a process, where log lines are JSON; return its exit code."""
    from stream_detector.telemetry import log_event

    code, reason = describe_error(error)
    kind = type(error).__name__
    log_event(logging.ERROR, "failed", error=kind, exit_code=code, reason=reason)
    return code


def _otlp_export(service: "Service", metrics: "Metrics") -> "OtlpExport":
    """Return what sends spans and metrics.

    Raises
    ------
    ConfigError
        If the extra is not installed.
    """
    try:
        from stream_detector.otlp import OtlpExport
    except ImportError as error:
        message = f"otlp needs OpenTelemetry ({error}): pip install 'stream-detector[otel]'"
        raise ConfigError(message) from None

    settings, bundle = service.context.settings, service.context.detector.bundle
    return OtlpExport(metrics.registry, settings, bundle, lambda: service.polled_at_ms)


def serving_metrics(
    registry: "CollectorRegistry", settings: DetectSettings
) -> AbstractContextManager[object]:
    """Serve metrics and health over HTTP while the block lasts, where the settings name a port.

    Raises
    ------
    ConfigError
        If the address cannot be bound.
    """
    from stream_detector.health import ANSWER_S_MAX, Health
    from stream_detector.metrics_server import MetricsServer
    from stream_detector.telemetry import log_event

    if settings.metrics_port is None:
        return nullcontext()
    answer_s_max = ANSWER_S_MAX + settings.poll_timeout_ms / 1000
    health = Health(registry, settings.workers, answer_s_max)
    server = MetricsServer(registry, settings.metrics_host, settings.metrics_port, health)
    log_event(logging.INFO, "metrics", address=f"{settings.metrics_host}:{server.port}")
    return server


@contextmanager
def _progress_line(
    service: "Service",
) -> Iterator[Callable[["RecordBatch", "Step"], None]]:
    """Show totals and rate on one line while the block lasts; yield what updates them."""
    start_s = time.monotonic()
    with waiting("waiting for records") as status:

        def on_step(batch: "RecordBatch", step: "Step") -> None:
            del batch, step
            totals = service.totals
            per_s = totals.n_records / max(time.monotonic() - start_s, 1e-9)
            status.update(
                f"{totals.n_records:,} records, {totals.n_alerts:,} alerts, "
                f"{totals.n_dead_letters:,} dead letters, {per_s:,.0f} records/s"
            )

        yield on_step
