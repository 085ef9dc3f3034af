"""The command `detect`: its options, and whether one process or several run it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stream_detector.cli.detect_process import log_failure, run_detect
from stream_detector.cli.options import (
    ONLINE,
    BundlePath,
    Client,
    Servers,
    Set,
    SettingsFile,
    StopWhenIdle,
    examples,
    run_changes,
    seconds,
    setting_help,
    setting_option,
)
from stream_detector.core.codec.formats import ContentType
from stream_detector.settings import Delivery, DetectSettings, EngineName, LogFormat, load_settings

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
    scores_topic: Annotated[str | None, setting_option("scores_topic")] = None,
    group: Annotated[str | None, setting_option("group")] = None,
    client: Client = None,
    engine: Annotated[EngineName | None, setting_option("engine")] = None,
    content_type: Annotated[ContentType | None, setting_option("content_type")] = None,
    overrides: Set = None,
    delivery: Annotated[Delivery | None, setting_option("delivery")] = None,
    instance_id: Annotated[str | None, setting_option("instance_id")] = None,
    workers: Annotated[int | None, setting_option("workers")] = None,
    accept_repartition: Annotated[
        bool | None,
        typer.Option("--accept-repartition", help=setting_help("accept_repartition")),
    ] = None,
    fail_when_all_rejected: Annotated[
        bool | None,
        typer.Option("--fail-when-all-rejected", help=setting_help("fail_when_all_rejected")),
    ] = None,
    settings_file: SettingsFile = None,
    metrics_port: Annotated[int | None, setting_option("metrics_port")] = None,
    log_format: Annotated[LogFormat | None, setting_option("log_format")] = None,
    broker_timeout: Annotated[
        str | None,
        typer.Option(help="How long to retry while no broker answers, such as 90s. Default 60s."),
    ] = None,
    stop_when_idle: StopWhenIdle = None,
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
        scores_topic=scores_topic,
        group=group,
        client=client,
        engine=engine,
        content_type=content_type,
        **run_changes(overrides),
        delivery=delivery,
        instance_id=instance_id,
        workers=workers,
        accept_repartition=accept_repartition,
        fail_when_all_rejected=fail_when_all_rejected,
        metrics_port=metrics_port,
        log_format=log_format,
        broker_timeout_s=seconds(broker_timeout, "--broker-timeout"),
        stop_when_idle_s=seconds(stop_when_idle, "--stop-when-idle"),
    )
    try:
        code = _run(bundle, settings)
    except Exception as error:
        if settings.log_format == "text" or "--debug" in sys.argv:
            raise
        code = log_failure(error)
    raise typer.Exit(code)


def _run(bundle: Path, settings: DetectSettings) -> int:
    """Detect in this process or in several, and return the exit code."""
    if settings.workers == 1:
        run_detect(bundle, settings)
        return 0
    from stream_detector.cli.workers import run_workers

    return run_workers(bundle, settings)
