"""The command `console`."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    ONLINE,
    BundlePath,
    Client,
    Servers,
    Set,
    SettingsFile,
    examples,
    run_changes,
    setting_option,
)
from stream_detector.cli.terminal import StopFlag, say
from stream_detector.core.codec.formats import ContentType
from stream_detector.errors import ConfigError
from stream_detector.settings import DetectSettings, EngineName, load_settings

if TYPE_CHECKING:
    from stream_detector.assembly import Served
    from stream_detector.web.app import LivePage

EXAMPLES = examples(
    "stream-detector console bundles/pumps",
    "stream-detector console bundles/pumps --host 0.0.0.0 --password-file page-password",
)

N_ALERTS_BACK = 50_000
"""Events of alerts before the end of their topic with which the page begins."""

N_SILENCES_BACK = 100_000
"""Records of silences before the end of their topic with which the page begins."""

N_RECORDS_BACK = 50_000
"""Records before the end of the input topic with which the page begins."""

_PASSWORD_CHARACTERS_MIN = 8


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("console", epilog=EXAMPLES, rich_help_panel=ONLINE)(console)


def console(
    bundle: BundlePath,
    bootstrap_servers: Servers = None,
    input_topic: Annotated[str | None, setting_option("input_topic")] = None,
    alerts_topic: Annotated[str | None, setting_option("alerts_topic")] = None,
    dead_letter_topic: Annotated[str | None, setting_option("dead_letter_topic")] = None,
    silences_topic: Annotated[
        str, typer.Option(help="Topic of silences; one that does not exist holds none.")
    ] = "silences",
    host: Annotated[
        str,
        typer.Option(
            help="Address to serve the page at; any but this machine's own needs a password."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the page; 0 takes a free one.")
    ] = 8_100,
    password_file: Annotated[
        Path | None,
        typer.Option(help="File with the password that browsers must give, with any user name."),
    ] = None,
    client: Client = None,
    engine: Annotated[EngineName | None, setting_option("engine")] = None,
    content_type: Annotated[ContentType | None, setting_option("content_type")] = None,
    overrides: Set = None,
    settings_file: SettingsFile = None,
) -> None:
    """Show what happens on the topics as a page in the browser, until Ctrl-C.

    The page shows the alerts that are open, lanes of the highest score of each key, a key's signal
    with its reconstruction, scores and alerts at any time that the topic keeps, which alerts other
    settings would have given, and dead letters by reason. It reads the alerts topic and the input
    topic, which the bundle's detector judges once more for the page alone. It joins no group,
    commits nothing and writes nothing, so it disturbs no detector.

    Needs the console extra.
    """
    from stream_detector.assembly import open_bundle

    require_extra()
    settings = load_settings(
        DetectSettings,
        settings_file,
        bootstrap_servers=bootstrap_servers,
        input_topic=input_topic,
        alerts_topic=alerts_topic,
        dead_letter_topic=dead_letter_topic,
        client=client,
        engine=engine,
        content_type=content_type,
        **run_changes(overrides),
    )
    password = None if password_file is None else read_password(password_file)
    served = open_bundle(bundle, settings.engine, settings.model_rows_max, changes=settings.changes)
    run_console(make_console(served, settings, silences_topic), host, port, password)


def require_extra() -> None:
    """Refuse to run without the libraries of the page.

    Raises
    ------
    ConfigError
        If one is not installed.
    """
    missing = [name for name in ("starlette", "uvicorn", "bokeh") if find_spec(name) is None]
    if missing:
        message = f"console needs {', '.join(missing)}: pip install 'stream-detector[console]'"
        raise ConfigError(message)


def make_console(
    served: "Served", settings: DetectSettings, silences_topic: str = "silences"
) -> "LivePage":
    """Return the console of a bundle and its topics; nothing is read yet."""
    from functools import partial

    from stream_detector.assembly import connect_reader, make_schemas, schemas_for
    from stream_detector.outputs.dead_letters import take_snapshot
    from stream_detector.ports import SystemClock
    from stream_detector.web.alert_board import AlertBoard
    from stream_detector.web.app import LivePage, take_alerts
    from stream_detector.web.history import History
    from stream_detector.web.input_watch import InputWatch
    from stream_detector.web.key_view import KeyView
    from stream_detector.web.reading import TopicReader
    from stream_detector.web.what_if import WhatIf

    detector, clock = served.detector, SystemClock()
    board = AlertBoard.of(detector)
    watch = InputWatch(detector, make_schemas(settings, detector), settings.content_type, clock)
    ways = (
        (settings.alerts_topic, partial(take_alerts, board, schemas_for(settings)), N_ALERTS_BACK),
        (settings.input_topic, watch.take, N_RECORDS_BACK),
        (silences_topic, board.silences.take, N_SILENCES_BACK),
    )
    readers = [
        TopicReader(
            topic,
            settings.bootstrap_servers,
            partial(connect_reader, settings, topic),
            take,
            n_back,
            is_optional=topic == silences_topic,
        )
        for topic, take, n_back in ways
    ]
    history = History(
        settings.input_topic, partial(connect_reader, settings, settings.input_topic), watch.marks
    )
    look = KeyView(served, make_schemas(settings, detector), settings.content_type)
    return LivePage(
        title=served.bundle.reference.name,
        board=board,
        watch=watch,
        readers=readers,
        clock=clock,
        history=history,
        key_view=look,
        what_if=WhatIf(look, history),
        take_snapshot=partial(take_snapshot, settings, settings.dead_letter_topic),
    )


def run_console(console: "LivePage", host: str, port: int, password: str | None) -> None:
    """Serve the page until a signal."""
    from stream_detector.web.server import serve

    stop = StopFlag()
    with stop.on_signals(), serve(console, host, port, password) as address:
        say(f"console on {address}, Ctrl-C ends it")
        while not stop.is_set:
            time.sleep(0.1)


def read_password(path: Path) -> str:
    """Return the password in a file, without the line's end.

    Raises
    ------
    ConfigError
        If the file cannot be read, or the password is too short.
    """
    try:
        password = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        message = f"--password-file {path}: cannot be read: {error}"
        raise ConfigError(message) from None
    if len(password) < _PASSWORD_CHARACTERS_MIN:
        message = (
            f"--password-file {path}: expected at least {_PASSWORD_CHARACTERS_MIN} characters, "
            f"received {len(password)}"
        )
        raise ConfigError(message)
    return password
