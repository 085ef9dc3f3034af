"""Commands that read from Kafka, and the broker to try them on: broker, detect, alerts."""

import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_detector.cli.output import console, parse_duration_s
from stream_detector.cli.stopping import StopFlag
from stream_detector.core.codec.windows import ContentType
from stream_detector.errors import ConfigError
from stream_detector.settings import (
    ClientName,
    ConnectionSettings,
    Delivery,
    DetectSettings,
    EngineName,
    load_settings,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("broker")(broker)
    app.command("detect")(detect)
    app.command("alerts")(alerts)


def _option(field: str, **options: Any) -> Any:
    """Return an option whose help is the setting's own description and default."""
    return typer.Option(help=_help(field), show_default=False, **options)


def _help(field: str) -> str:
    """Return a setting's own description and default."""
    setting = DetectSettings.model_fields[field]
    default = "" if setting.default is None else f" Default {setting.default}."
    return f"{setting.description}.{default}"


Servers = Annotated[str | None, _option("bootstrap_servers", metavar="HOST:PORT[,...]")]
Client = Annotated[ClientName | None, _option("client")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="TOML file of settings; flags win over it.")
]
BrokerTimeout = Annotated[
    str | None,
    typer.Option(help="How long to go on trying a broker that does not answer. Default 60s."),
]


def broker(
    port: Annotated[
        int, typer.Option(help="Port on loopback; 0 takes a free one.", min=0, max=65_535)
    ] = 9092,
    topics: Annotated[
        str, typer.Option(help="Topics to make, NAME:PARTITIONS,...")
    ] = "telemetry:4,alerts:1,dead-letters:1",
) -> None:
    """Run an embedded broker in this process, for trying things. It keeps nothing.

    Needs the confluent extra. It is librdkafka's mock cluster: it holds 5 MiB a partition, and
    stops with an error when it had to drop records. No proof of any guarantee.
    """
    from stream_detector.clients.embedded import EmbeddedBroker

    wanted = _parse_topics(topics)
    stop = StopFlag()
    with EmbeddedBroker(port=port) as embedded, stop.on_signals():
        for name, n_partitions in wanted.items():
            embedded.create_topic(name, n_partitions)
        sys.stdout.write(embedded.bootstrap_servers + "\n")
        sys.stdout.flush()
        console().print(
            f"embedded broker on {embedded.bootstrap_servers}, topics {topics}; Ctrl-C ends it"
        )
        while not stop.is_set:
            time.sleep(0.2)
            embedded.check_retention()


def detect(
    bundle: Annotated[Path, typer.Argument(help="Folder that `train` wrote.", show_default=False)],
    bootstrap_servers: Servers = None,
    input_topic: Annotated[str | None, _option("input_topic")] = None,
    alerts_topic: Annotated[str | None, _option("alerts_topic")] = None,
    dead_letter_topic: Annotated[str | None, _option("dead_letter_topic")] = None,
    group: Annotated[str | None, _option("group")] = None,
    client: Client = None,
    engine: Annotated[EngineName | None, _option("engine")] = None,
    content_type: Annotated[ContentType | None, _option("content_type")] = None,
    delivery: Annotated[Delivery | None, _option("delivery")] = None,
    instance_id: Annotated[str | None, _option("instance_id")] = None,
    workers: Annotated[int | None, _option("workers")] = None,
    accept_repartition: Annotated[
        bool | None, typer.Option("--accept-repartition", help=_help("accept_repartition"))
    ] = None,
    settings_file: SettingsFile = None,
    metrics_port: Annotated[int | None, _option("metrics_port")] = None,
    broker_timeout: BrokerTimeout = None,
    stop_when_idle: Annotated[
        str | None, typer.Option(help="Stop after so long without a record, such as 5s.")
    ] = None,
) -> None:
    """Read records from a topic, score them and publish alerts, until SIGTERM or Ctrl-C.

    The first signal finishes the batch in hand, commits and leaves the group; a second one
    aborts at once, and the batch is read again by whoever comes next. All settings can be given
    in a file (`--settings`) or the environment (`STREAM_DETECTOR_GROUP=...`).
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
        broker_timeout_s=_seconds(broker_timeout, "--broker-timeout"),
        stop_when_idle_s=_seconds(stop_when_idle, "--stop-when-idle"),
    )
    if settings.workers == 1:
        from stream_detector.cli.serving import run_detect

        run_detect(bundle, settings)
    else:
        raise typer.Exit(run_workers(bundle, settings))


def run_workers(bundle: Path, settings: DetectSettings) -> int:
    """Run several processes of the group, with one address for their metrics."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from stream_detector.cli.workers import Workers
    from stream_detector.telemetry import (
        SHARED_METRICS,
        MetricsServer,
        log_event,
        set_up_logging,
    )

    set_up_logging(logging.INFO)
    workers = Workers(bundle, settings)
    stop = StopFlag(workers.stop)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-detector-"))
        os.environ[SHARED_METRICS] = folder  # for the workers, which inherit it
        stack.enter_context(stop.on_signals())
        if settings.metrics_port is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
            server = stack.enter_context(
                MetricsServer(registry, settings.metrics_host, settings.metrics_port)
            )
            log_event(logging.INFO, "metrics", address=f"{settings.metrics_host}:{server.port}")
        return workers.run()


def alerts(
    topic: Annotated[str, typer.Option(help="Topic of the alerts.")] = "alerts",
    bootstrap_servers: Servers = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write each alert as one line of JSON.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest alert kept.")
    ] = False,
    stop_when_idle: Annotated[
        str | None, typer.Option(help="Stop after so long without an alert, such as 5s.")
    ] = None,
    save_images: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the heat maps of images to, and the images from where they lie."
        ),
    ] = None,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Read alerts as a downstream consumer would, until Ctrl-C. Joins no group, commits nothing."""
    from stream_detector.cli.reading import read_alerts
    from stream_detector.cli.saving_images import saving_images

    settings = load_settings(
        ConnectionSettings, settings_file, bootstrap_servers=bootstrap_servers, client=client
    )
    stop = StopFlag()
    with stop.on_signals(), saving_images(settings, save_images) as on_alert:
        read_alerts(
            settings,
            topic,
            from_beginning=from_beginning,
            as_json=as_json,
            idle_s=_seconds(stop_when_idle, "--stop-when-idle"),
            is_stopping=lambda: stop.is_set,
            on_alert=on_alert,
        )


def _seconds(text: str | None, name: str) -> float | None:
    """Return a duration given as text, None where it was not given."""
    return None if text is None else parse_duration_s(text, name)


def _parse_topics(text: str) -> dict[str, int]:
    """Return partitions by topic for "NAME:PARTITIONS,..."."""
    topics = {}
    for item in text.split(","):
        name, _, count = item.partition(":")
        if not name or not count.isdecimal() or int(count) < 1:
            message = f"--topics: expected NAME:PARTITIONS,..., received {item!r}"
            raise ConfigError(message)
        topics[name] = int(count)
    return topics
