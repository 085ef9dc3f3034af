"""The commands `silence add`, `list` and `expire`."""

import getpass
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from stream_detector.cli.options import (
    ONLINE,
    Client,
    Servers,
    SettingsFile,
    examples,
    setting_option,
)
from stream_detector.cli.terminal import (
    parse_duration_s,
    print_json,
    say,
    time_text,
    write_line,
)
from stream_detector.errors import BrokerError, ConfigError
from stream_detector.settings import ClientName, RouteSettings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from stream_detector.outputs.routing.matching import Match
    from stream_detector.outputs.routing.silences import Silence

app = typer.Typer(rich_markup_mode="markdown")

ADD_EXAMPLES = examples(
    "stream-detector silence add --key 'pump-0*' --for 2h --why 'new bearings'",
    "stream-detector silence add --key fan-3 --severity warning --from 2026-12-01T06:00+01:00 "
    "--until 2026-12-01T08:00+01:00 --why 'filter change'",
)
LIST_EXAMPLES = examples(
    "stream-detector silence list",
    "stream-detector silence list --all --json | jq -r .why",
)
EXPIRE_EXAMPLES = examples("stream-detector silence expire 4f1c2a9b03de")

_FLUSH_MS = 30_000

Topic = Annotated[str | None, setting_option("silences_topic", RouteSettings)]
Values = list[str] | None
Json = Annotated[bool, typer.Option("--json", help="Write each silence as one line of JSON.")]


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.add_typer(app, name="silence", rich_help_panel=ONLINE)


@app.callback()
def root() -> None:
    """Keep alerts quiet for some time, for instance during maintenance.

    A silence is a record on a topic, which is to be compacted. `route` sends no alert that a
    silence holds, and `console` shows it as silenced; `detect` is not concerned. A silence holds
    events of alerts by their event time. An alert that opens while it holds is sent with its next
    update after that, if it is still open; the close of an alert that was sent before is sent.
    """


@app.command(epilog=ADD_EXAMPLES)
def add(
    why: Annotated[str, typer.Option(help="Why, for whoever finds it quiet.", show_default=False)],
    key: Annotated[
        Values, typer.Option(help="Only these keys; `*` and `?` stand for any characters.")
    ] = None,
    severity: Annotated[
        Values, typer.Option(help="Only these severities, as recipes name them.")
    ] = None,
    feature: Annotated[Values, typer.Option(help="Only alerts about these features.")] = None,
    reason: Annotated[Values, typer.Option(help="Only events with these reasons.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Silence every alert.")] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Event time, ISO 8601, UTC without a zone. Default now."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Event time at which it has ended.")] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long instead of --until, such as 30m or 2h.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who. Default the user's name here.")] = None,
    topic: Topic = None,
    bootstrap_servers: Servers = None,
    as_json: Json = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Add a silence, and print its id.

    It holds alerts that meet every condition given, and of each condition one value; an option can
    be given several times.
    """
    from stream_detector.outputs.routing.matching import note_severities
    from stream_detector.outputs.routing.silences import new_silence

    match = _match({"key": key, "severity": severity, "feature": feature, "reason": reason})
    if (match.describe() == "all") != is_all:
        message = (
            "silence add: expected conditions such as --key, or --all for every alert, received "
            + ("both" if is_all else "none")
        )
        raise ConfigError(message)
    from_ms = _now_ms() if start is None else _time_ms(start, "--from")
    settings = _settings(topic, bootstrap_servers, client, settings_file)
    try:
        silence = new_silence(
            match, from_ms, _until_ms(from_ms, until, duration), by or _user(), why
        )
    except ValidationError as error:
        raise ConfigError(_problem("silence add", error)) from None
    _write(silence, settings)
    note = note_severities(match)
    if note is not None:
        say(f"note: {note}")
    _print([silence], as_json=as_json)


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    has_expired: Annotated[
        bool, typer.Option("--all", help="List also those that have ended.")
    ] = False,
    topic: Topic = None,
    bootstrap_servers: Servers = None,
    as_json: Json = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """List silences, the one that ends last first.

    A line has the id, what it is now, when it begins and ends, which alerts it holds, who made it
    and why. Whether one is active is judged by the time of this machine.
    """
    now_ms = _now_ms()
    found = _read(_settings(topic, bootstrap_servers, client, settings_file))
    shown = [each for each in found if has_expired or each.state(now_ms) != "expired"]
    if not (shown or as_json):
        say("no silence" + ("" if has_expired else "; --all lists also those that have ended"))
        return
    _print(shown, as_json=as_json)


@app.command(epilog=EXPIRE_EXAMPLES)
def expire(
    silence_id: Annotated[
        str, typer.Argument(metavar="ID", help="The silence, by the id that `list` prints.")
    ],
    topic: Topic = None,
    bootstrap_servers: Servers = None,
    as_json: Json = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """End a silence now; one that has not begun never will."""
    now_ms = _now_ms()
    settings = _settings(topic, bootstrap_servers, client, settings_file)
    found = [each for each in _read(settings) if each.silence_id == silence_id]
    if not found:
        message = f"{silence_id}: no such silence on {settings.silences_topic}; see silence list"
        raise ConfigError(message)
    (silence,) = found
    if silence.state(now_ms) == "expired":
        message = f"{silence_id} has ended at {time_text(silence.until_ms)}"
        raise ConfigError(message)
    until_ms = max(now_ms, silence.from_ms)
    ended = silence.model_copy(update={"until_ms": until_ms})
    _write(ended, settings)
    _print([ended], as_json=as_json)


def _match(given: dict[str, Values]) -> "Match":
    """Return the conditions that options give."""
    from stream_detector.outputs.routing.matching import Match

    try:
        return Match.model_validate({name: texts for name, texts in given.items() if texts})
    except ValidationError as error:
        raise ConfigError(_problem("silence add", error)) from None


def _problem(what: str, error: ValidationError) -> str:
    """Return what is wrong with an option."""
    first = error.errors(include_url=False)[0]
    return f"{what}: --{first['loc'][0]}: {first['msg']}, received {first['input']!r}"


def _until_ms(from_ms: int, until: str | None, duration: str | None) -> int:
    """Return when a silence ends.

    Raises
    ------
    ConfigError
        If options do not say so, or it would end before it begins.
    """
    if (until is None) == (duration is None):
        message = "silence add: expected one of --until and --for, received " + (
            "none" if until is None else "both"
        )
        raise ConfigError(message)
    if duration is not None:
        return from_ms + max(1, round(1_000 * parse_duration_s(duration, "--for")))
    until_ms = _time_ms(until or "", "--until")
    if until_ms <= from_ms:
        message = (
            f"--until: expected a time after {time_text(from_ms)}, received {time_text(until_ms)}"
        )
        raise ConfigError(message)
    return until_ms


def _time_ms(text: str, flag: str) -> int:
    """Return a time given as text in milliseconds since 1970-01-01 UTC.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        time = datetime.fromisoformat(text)
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return round(time.timestamp() * 1_000)
    except (ValueError, OverflowError):
        message = f"{flag}: expected a time such as 2026-12-01T06:00+01:00, received {text!r}"
        raise ConfigError(message) from None


def _now_ms() -> int:
    """Return the time of this machine."""
    from stream_detector.ports import SystemClock

    return SystemClock().now_ms()


def _user() -> str:
    """Return the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _settings(
    topic: str | None, servers: str | None, client: ClientName | None, file: "Path | None"
) -> RouteSettings:
    """Return how to reach Kafka, and the topic of silences."""
    return load_settings(
        RouteSettings, file, silences_topic=topic, bootstrap_servers=servers, client=client
    )


def _require_topic(settings: RouteSettings, n_partitions: int) -> None:
    """Refuse a topic that does not exist.

    Raises
    ------
    BrokerError
        With the command that makes it, compacted.
    """
    if n_partitions == 0:
        servers, topic = settings.bootstrap_servers, settings.silences_topic
        message = (
            f"no such topic on {servers}: {topic}; make it with: kafka-topics.sh "
            f"--bootstrap-server {servers} --create --topic {topic} --partitions 1 "
            "--config cleanup.policy=compact"
        )
        raise BrokerError(message)


def _write(silence: "Silence", settings: RouteSettings) -> None:
    """Write a silence, and wait until Kafka has it."""
    from stream_detector.assembly import connect_writer
    from stream_detector.outputs.routing.silences import encode_silence

    topic = settings.silences_topic
    with closing(connect_writer(settings)) as writer:
        _require_topic(settings, writer.n_partitions(topic))
        writer.produce([encode_silence(silence, topic)])
        writer.flush(_FLUSH_MS)


def _read(settings: RouteSettings) -> "list[Silence]":
    """Return all silences of the topic."""
    from stream_detector.assembly import connect_reader
    from stream_detector.outputs.routing.silences import SilenceTopic
    from stream_detector.ports import SystemClock

    topic = settings.silences_topic
    reader = connect_reader(settings, topic)
    with closing(reader):
        _require_topic(settings, reader.n_partitions(topic))
        silences = SilenceTopic(topic, lambda: reader, SystemClock())
        silences.catch_up()
    return silences.book.all()


def _print(silences: "list[Silence]", *, as_json: bool) -> None:
    """Print silences, one on a line."""
    now_ms = _now_ms()
    for each in silences:
        state = each.state(now_ms)
        if as_json:
            print_json({**each.model_dump(exclude_none=True), "state": state})
        else:
            times = f"{time_text(each.from_ms)}  {time_text(each.until_ms)}"
            write_line(
                f"{each.silence_id}  {state:<7}  {times}  {each.match.describe()}  "
                f"by {each.by}: {each.why}"
            )
