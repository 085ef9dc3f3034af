"""One process of `detect`: wires client, engine and metrics, and runs the loop."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stream_detector.assembly import connect_to_detect, open_bundle
from stream_detector.cli.output import console
from stream_detector.cli.stopping import StopFlag
from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.errors import ConfigError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, MetricsServer, log_event, set_up_logging


def run_detect(bundle: Path, settings: DetectSettings) -> None:
    """Wire client, engine and metrics, and run the loop."""
    set_up_logging(logging.INFO)
    served = open_bundle(bundle, settings.engine, settings.model_rows_max)
    if settings.content_type == "image" and served.bundle.image is None:
        message = (
            f"content_type: expected json or float32, for bundle {bundle} takes no images, "
            "received 'image'; leave it out, or give a bundle of images"
        )
        raise ConfigError(message)
    metrics = Metrics()
    client = connect_to_detect(settings)
    service = Service(client, served.detector, served.reconstruct, settings, metrics, SystemClock())
    stop = StopFlag(service.stop)
    with ExitStack() as stack:
        stack.enter_context(stop.on_signals())
        if settings.metrics_port is not None:
            server = stack.enter_context(
                MetricsServer(metrics.registry, settings.metrics_host, settings.metrics_port)
            )
            log_event(logging.INFO, "metrics", address=f"{settings.metrics_host}:{server.port}")
        if sys.stderr.isatty():
            service.on_step = stack.enter_context(_progress_line(service))
        totals = service.run()
    log_event(
        logging.INFO,
        "stopped",
        n_records=totals.n_records,
        n_alerts=totals.n_alerts,
        n_dead_letters=totals.n_dead_letters,
        n_batches=totals.n_batches,
        n_retries=totals.n_retries,
    )


@contextmanager
def _progress_line(service: Any) -> Iterator[Any]:
    """Show totals and rate on one line while the block lasts."""
    start_s = time.monotonic()
    with console().status("waiting for records") as status:

        def on_step(batch: RecordBatch, step: Step) -> None:
            del batch, step
            totals = service.totals
            per_s = totals.n_records / max(time.monotonic() - start_s, 1e-9)
            status.update(
                f"{totals.n_records:,} records, {totals.n_alerts:,} alerts, "
                f"{totals.n_dead_letters:,} dead letters, {per_s:,.0f} records/s"
            )

        yield on_step
