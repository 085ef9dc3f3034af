"""The command `route`."""

import logging
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.detect_process import log_failure
from stream_detector.cli.options import (
    ONLINE,
    Client,
    Servers,
    SettingsFile,
    examples,
    seconds,
    setting_option,
)
from stream_detector.cli.terminal import StopFlag, print_json, say, write_line
from stream_detector.errors import ConfigError
from stream_detector.settings import LogFormat, RouteSettings, load_settings

if TYPE_CHECKING:
    from stream_detector.outputs.routing.config import RouteFile

EXAMPLES = examples(
    "stream-detector route --config routes.toml --check",
    "stream-detector route --config routes.toml --bootstrap-servers kafka:9092",
    "stream-detector route --config routes.toml --settings production.toml --metrics-port 9109",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("route", epilog=EXAMPLES, rich_help_panel=ONLINE)(route)


def route(
    config: Annotated[
        Path,
        typer.Option(help="TOML file of routes: which alerts go where.", show_default=False),
    ],
    alerts_topic: Annotated[str | None, setting_option("alerts_topic", RouteSettings)] = None,
    bootstrap_servers: Servers = None,
    dead_letter_topic: Annotated[
        str | None, setting_option("dead_letter_topic", RouteSettings)
    ] = None,
    silences_topic: Annotated[str | None, setting_option("silences_topic", RouteSettings)] = None,
    client: Client = None,
    settings_file: SettingsFile = None,
    metrics_port: Annotated[int | None, setting_option("metrics_port", RouteSettings)] = None,
    log_format: Annotated[LogFormat | None, setting_option("log_format", RouteSettings)] = None,
    stop_when_idle: Annotated[
        str | None,
        typer.Option(help="Stop after so long with nothing to read or send, such as 5s."),
    ] = None,
    is_check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Print the routes, a line each, and what keeps one from sending, such as a "
            "secret that is missing; neither read nor send.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check: write each route as one line of JSON.")
    ] = False,
) -> None:
    """Send alerts to people and programs, until SIGTERM or Ctrl-C.

    Reads the alerts topic and carries each alert to the routes of a TOML file that it matches:
    Prometheus Alertmanager, webhooks, and whatever the library apprise reaches, such as mail,
    Slack and PagerDuty. Each route is a consumer group of its own, and commits what was delivered,
    so a sink that is down loses nothing and holds up no other route. An alert may be sent again
    after a failure, with the same id.

    An alert that a webhook or apprise does not take after all attempts goes to the dead-letter
    topic.
    """
    from stream_detector.outputs.routing.config import load_routes

    file = load_routes(config)
    settings = load_settings(
        RouteSettings,
        settings_file,
        alerts_topic=alerts_topic,
        bootstrap_servers=bootstrap_servers,
        dead_letter_topic=dead_letter_topic,
        silences_topic=silences_topic,
        client=client,
        metrics_port=metrics_port,
        log_format=log_format,
        stop_when_idle_s=seconds(stop_when_idle, "--stop-when-idle"),
    )
    if is_check:
        _check_routes(file, as_json=as_json)
        return
    try:
        run_routes(file, settings)
    except Exception as error:
        if settings.log_format == "text" or "--debug" in sys.argv:
            raise
        raise typer.Exit(log_failure(error)) from None


def run_routes(file: "RouteFile", settings: RouteSettings) -> None:
    """Run the routes of a file until a signal.

    Raises
    ------
    ConfigError
        If a secret or a library is missing.
    BrokerError
        If a topic does not exist, or Kafka was away for too long.
    """
    from stream_detector.log_lines import set_up_logging
    from stream_detector.metrics_server import MetricsServer
    from stream_detector.outputs.routing.wiring import RouteHealth, RouteThreads, make_runners
    from stream_detector.ports import SystemClock
    from stream_detector.telemetry import RouteMetrics, log_event

    set_up_logging(logging.INFO, settings.log_format)
    metrics = RouteMetrics()
    runners = make_runners(file, settings, metrics)
    _require_topics(settings)
    threads = RouteThreads(runners)
    with ExitStack() as stack:
        stack.enter_context(StopFlag(threads.stop.set).on_signals())
        if settings.metrics_port is not None:
            health = RouteHealth(runners, SystemClock())
            server = MetricsServer(
                metrics.registry, settings.metrics_host, settings.metrics_port, health
            )
            stack.enter_context(server)
            log_event(logging.INFO, "metrics", address=f"{settings.metrics_host}:{server.port}")
        names = ",".join(each.name for each in file.route)
        log_event(logging.INFO, "routing", topic=settings.alerts_topic, routes=names)
        threads.run(settings.stop_when_idle_s)
    log_event(logging.INFO, "routing-stopped", n_routes=len(runners))


def _require_topics(settings: RouteSettings) -> None:
    """Refuse topics that do not exist, before anything is read.

    Raises
    ------
    BrokerError
        If one does not.
    """
    from stream_detector.assembly import connect_writer, require_topic

    with closing(connect_writer(settings)) as client:
        for topic in (settings.alerts_topic, settings.dead_letter_topic):
            require_topic(client, topic, settings.bootstrap_servers)


def _check_routes(file: "RouteFile", *, as_json: bool) -> None:
    """Print what each route does, and say what is wrong with it.

    Raises
    ------
    ConfigError
        If secrets or libraries are missing, or addresses are none; the message lists them all.
    """
    from stream_detector.outputs.routing.matching import note_severities
    from stream_detector.outputs.routing.wiring import sink_problems

    _print_routes(file, as_json=as_json)
    for each in file.route:
        note = note_severities(each.match)
        if note is not None:
            say(f"note: route {each.name}: {note}")
    problems = sink_problems(file)
    if problems:
        raise ConfigError("; ".join(problems))


def _print_routes(file: "RouteFile", *, as_json: bool) -> None:
    """Print what each route does, without what may be secret."""
    for each in file.route:
        if as_json:
            match = each.match.model_dump(exclude_none=True)
            print_json(
                {"name": each.name, "sink": each.sink, "group": each.group, "match": match}
                | {"quiet": each.quiet}
            )
        else:
            quiet = f"  quiet {','.join(each.quiet)}" if each.quiet else ""
            write_line(f"{each.name}  {each.sink}  {each.match.describe()}{quiet}")
