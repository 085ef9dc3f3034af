"""The command `detect`, and one process of it: client, engine, metrics and loop wired together."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    ONLINE,
    BundlePath,
    Client,
    Servers,
    SettingsFile,
    examples,
    seconds,
    setting_help,
    setting_option,
)
from stream_detector.cli.terminal import StopFlag, console
from stream_detector.core.codec.formats import ContentType
from stream_detector.errors import ConfigError
from stream_detector.settings import Delivery, DetectSettings, EngineName, load_settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from stream_detector.core.records import RecordBatch
    from stream_detector.core.results import Step
    from stream_detector.service import Service

EXAMPLES = examples(
    "stream-detector detect bundles/ecg5000-dense --bootstrap-servers kafka:9092 --group heart",
    "stream-detector detect bundles/ecg5000-dense --delivery exactly_once --metrics-port 9108",
    "stream-detector detect bundles/ecg5000-dense --settings production.toml --workers 4",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("detect", epilog=EXAMPLES, rich_help_panel=ONLINE)(detect)


def detect(
    bundle: BundlePath,
    bootstrap_servers: Servers = None,
    input_topic: Annotated[str | None, setting_option("input_topic")] = None,
    alerts_topic: Annotated[str | None, setting_option("alerts_topic")] = None,
    dead_letter_topic: Annotated[str | None, setting_option("dead_letter_topic")] = None,
    group: Annotated[str | None, setting_option("group")] = None,
    client: Client = None,
    engine: Annotated[EngineName | None, setting_option("engine")] = None,
    content_type: Annotated[ContentType | None, setting_option("content_type")] = None,
    delivery: Annotated[Delivery | None, setting_option("delivery")] = None,
    instance_id: Annotated[str | None, setting_option("instance_id")] = None,
    workers: Annotated[int | None, setting_option("workers")] = None,
    accept_repartition: Annotated[
        bool | None,
        typer.Option("--accept-repartition", help=setting_help("accept_repartition")),
    ] = None,
    settings_file: SettingsFile = None,
    metrics_port: Annotated[int | None, setting_option("metrics_port")] = None,
    broker_timeout: Annotated[
        str | None,
        typer.Option(help="How long to retry while no broker answers, such as 90s. Default 60s."),
    ] = None,
    stop_when_idle: Annotated[
        str | None, typer.Option(help="Stop after so long without a record, such as 5s.")
    ] = None,
) -> None:
    """Read records from a topic, score them and publish alerts, until SIGTERM or Ctrl-C.

    The input topic, the alerts topic and the dead-letter topic must exist. Alerts go to the alerts
    topic, and records that cannot be used go to the dead-letter topic with the reason. Start the
    command again with the same group, and it continues where it stopped.

    The first signal lets the command finish its batch, commit and leave the group. A second one
    ends it at once, and the next member of the group processes that batch again.

    A setting can also be given in a file (`--settings`) or in the environment
    (`STREAM_DETECTOR_GROUP=...`). A flag wins over the environment, and that over the file.
    """
    settings = load_settings(
        DetectSettings,
        settings_file,
        bootstrap_servers=bootstrap_servers,
        input_topic=input_topic,
        alerts_topic=alerts_topic,
        dead_letter_topic=dead_letter_topic,
        group=group,
        client=client,
        engine=engine,
        content_type=content_type,
        delivery=delivery,
        instance_id=instance_id,
        workers=workers,
        accept_repartition=accept_repartition,
        metrics_port=metrics_port,
        broker_timeout_s=seconds(broker_timeout, "--broker-timeout"),
        stop_when_idle_s=seconds(stop_when_idle, "--stop-when-idle"),
    )
    if settings.workers == 1:
        run_detect(bundle, settings)
        return
    from stream_detector.cli.workers import run_workers

    raise typer.Exit(run_workers(bundle, settings))


def run_detect(bundle: Path, settings: DetectSettings) -> None:
    """Run one process of `detect` until it is stopped, and log its totals.

    Raises
    ------
    ConfigError
        If the settings do not fit the bundle.
    StreamDetectorError
        If the bundle cannot be used, or the service failed.
    """
    from stream_detector.assembly import make_service, open_bundle
    from stream_detector.telemetry import Metrics, log_event, set_up_logging

    set_up_logging(logging.INFO)
    metrics = Metrics()
    served = open_bundle(bundle, settings.engine, settings.model_rows_max, metrics.timed)
    if settings.content_type == "image" and served.bundle.image is None:
        message = (
            f"content_type: expected json or float32, because bundle {bundle} takes no images, "
            "received 'image'; leave it out, or give a bundle of images"
        )
        raise ConfigError(message)
    service = make_service(served, settings, metrics)
    stop = StopFlag(service.stop)
    with ExitStack() as stack:
        stack.enter_context(stop.on_signals())
        stack.enter_context(serving_metrics(metrics.registry, settings))
        if sys.stderr.isatty():
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
    )


def serving_metrics(
    registry: "CollectorRegistry", settings: DetectSettings
) -> AbstractContextManager[object]:
    """Serve metrics over HTTP while the block lasts, where the settings name a port.

    Raises
    ------
    ConfigError
        If the address cannot be bound.
    """
    from stream_detector.telemetry import MetricsServer, log_event

    if settings.metrics_port is None:
        return nullcontext()
    server = MetricsServer(registry, settings.metrics_host, settings.metrics_port)
    log_event(logging.INFO, "metrics", address=f"{settings.metrics_host}:{server.port}")
    return server


@contextmanager
def _progress_line(
    service: "Service",
) -> Iterator[Callable[["RecordBatch", "Step"], None]]:
    """Show totals and rate on one line while the block lasts; yield what updates them."""
    start_s = time.monotonic()
    with console().status("waiting for records") as status:

        def on_step(batch: "RecordBatch", step: "Step") -> None:
            del batch, step
            totals = service.totals
            per_s = totals.n_records / max(time.monotonic() - start_s, 1e-9)
            status.update(
                f"{totals.n_records:,} records, {totals.n_alerts:,} alerts, "
                f"{totals.n_dead_letters:,} dead letters, {per_s:,.0f} records/s"
            )

        yield on_step
