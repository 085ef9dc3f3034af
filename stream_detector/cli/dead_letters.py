"""The commands on dead letters: list, show, redrive."""

import heapq
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from stream_detector.cli.dead_letter_reading import (
    Selection,
    Snapshot,
    find_letter,
    parse_place,
    take_snapshot,
)
from stream_detector.cli.dead_letter_redrive import (
    RedriveChoice,
    check_targets,
    is_agreed,
    make_plan,
    preview,
    require_consent,
    send,
)
from stream_detector.cli.dead_letter_views import (
    Summary,
    count_letter,
    describe_letter,
    letter_document,
    letter_facts,
    print_letters,
    print_summary,
    require_value,
)
from stream_detector.cli.online import Client, Servers, SettingsFile
from stream_detector.cli.output import console, print_json
from stream_detector.core.codec.dead_letters import DeadLetter
from stream_detector.errors import ConfigError
from stream_detector.settings import ClientName, ConnectionSettings, load_settings

app = typer.Typer(rich_markup_mode="markdown")

_N_ROWS = 20

Topic = Annotated[str, typer.Option(help="Topic of the dead letters.")]
ErrorClass = Annotated[
    str | None, typer.Option("--error", metavar="CLASS", help="Only this class of error.")
]
Key = Annotated[
    str | None,
    typer.Option(help="Only this key, as text; bytes that are not UTF-8 as backslash escapes."),
]


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.add_typer(app, name="dead-letters")


@app.callback()
def root() -> None:
    """See which records were put aside, why, and send them again.

    `detect` puts a record that it cannot use on the dead-letter topic: key, value and headers as
    they came, and the reason in added headers. Begin with `list`; `show 0:17` says everything about
    the one in partition 0 at offset 17; `redrive` sends them again once what was wrong with them
    has been put right. All read what is there when they start, join no group and commit nothing.
    """


@app.command("list")
def list_(
    topic: Topic = "dead-letters",
    bootstrap_servers: Servers = None,
    error: ErrorClass = None,
    key: Key = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"At most so many, the newest. Default {_N_ROWS}, and with --json all of them.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write each as one line of JSON, and no summary.")
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Count the dead letters by class, and list the newest.

    The summary counts all that --error and --key leave, and how many of these had been redriven
    before and came back; `--limit` is about the list below it. `at` is where a dead letter lies, as
    `show` takes it; `original` is where the record lay before. The time is the record's own.
    """
    snapshot = _snapshot(topic, bootstrap_servers, client, settings_file)
    selection = Selection(error, key)
    if as_json:
        letters = filter(selection.takes, snapshot.letters())
        for letter in letters if limit is None else _newest(letters, limit):
            print_json(letter_facts(letter))
        return
    there: Summary = {}
    taken: Summary = {}
    with console().status(f"reading {topic}"):
        newest = _newest(_counted(snapshot, selection, (there, taken)), limit or _N_ROWS)
    n_there, n_taken = (
        sum(each.n_letters for each in summary.values()) for summary in (there, taken)
    )
    if not newest:
        console().print(f"no dead letter on {topic}" + (f" fits {selection}" if n_there else ""))
        if n_there:
            print_summary(f"those there are, {n_there:,}", there)
        return
    of_all = f" of {n_there:,}, {selection}" if n_taken < n_there else ""
    print_summary(f"dead letters on {topic}: {n_taken:,}{of_all}", taken)
    print_letters(
        "all of them" if len(newest) == n_taken else f"the newest {len(newest):,}", newest
    )


@app.command()
def show(
    place: Annotated[
        str, typer.Argument(metavar="PARTITION:OFFSET", help="Where it lies, as `list` says it.")
    ],
    topic: Topic = "dead-letters",
    bootstrap_servers: Servers = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Write one line of JSON; key, headers and value in base64."),
    ] = False,
    is_raw: Annotated[
        bool, typer.Option("--raw", help="Write the value's bytes to standard output.")
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Show everything about one dead letter: reason, key, every header, value.

    A value is shown as JSON, as text, or else as a hex dump; of a large one the beginning. Of a
    dead letter that is incomplete, for it was too large, it says where the whole record lies.
    """
    if as_json and is_raw:
        message = "--json, --raw: expected one of them, received both"
        raise ConfigError(message)
    wanted = parse_place(place)
    letter = find_letter(_snapshot(topic, bootstrap_servers, client, settings_file), wanted)
    if as_json:
        print_json(letter_document(letter))
    elif is_raw:
        require_value(letter)
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
    else:
        sys.stdout.writelines(f"{line}\n" for line in describe_letter(letter))


@app.command()
def redrive(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PARTITION:OFFSET", help="Which ones, as `list` says them; else all."
        ),
    ] = None,
    topic: Topic = "dead-letters",
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Send to this topic, where the key chooses the partition. Default: topic and "
            "partition that each came from.",
        ),
    ] = None,
    bootstrap_servers: Servers = None,
    error: ErrorClass = None,
    key: Key = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, the first by partition and offset."),
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, a line each; send nothing.")
    ] = False,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Do not ask. Needed where there is no terminal.")
    ] = False,
    has_foreign: Annotated[
        bool,
        typer.Option(
            "--foreign", help="Also records that the detector did not put aside; needs --to."
        ),
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Send dead letters again, once what was wrong with them has been put right.

    Each goes where it came from as it was: key, value, headers and time, without the reason. The
    dead letters themselves stay, so a second redrive sends them a second time; a record that is
    still bad comes back as a new dead letter. The header `stream-detector.redriven-from` names the
    dead letter that a record was, and `list --json` and `show` say it of those that came back.
    One that is incomplete is not sent: it is said where the whole record lies. Done means that
    Kafka has acknowledged every one.
    """
    require_consent(is_dry_run=is_dry_run, is_sure=is_sure)
    wanted = frozenset(map(parse_place, places)) if places else None
    choice = RedriveChoice(Selection(error, key, wanted), to, limit, has_foreign)
    choice.check(topic)
    settings = _settings(bootstrap_servers, client, settings_file)
    snapshot = take_snapshot(settings, topic)
    with console().status(f"reading {topic}"):
        plan = make_plan(snapshot, choice)
    console().print(plan.describe(topic), markup=False)
    if not plan.n_letters:
        return
    from stream_detector.clients import connect

    with closing(connect(settings)) as writer:
        check_targets(plan, writer, settings.bootstrap_servers)
        if is_dry_run:
            sys.stdout.writelines(f"{line}\n" for line in preview(snapshot, plan))
        elif is_sure or is_agreed():
            send(snapshot, plan, writer)


def _snapshot(
    topic: str, servers: str | None, client: ClientName | None, settings_file: Path | None
) -> Snapshot:
    """Return what the topic holds now."""
    return take_snapshot(_settings(servers, client, settings_file), topic)


def _settings(
    servers: str | None, client: ClientName | None, settings_file: Path | None
) -> ConnectionSettings:
    """Return how to reach Kafka."""
    return load_settings(
        ConnectionSettings, settings_file, bootstrap_servers=servers, client=client
    )


def _counted(
    snapshot: Snapshot, selection: Selection, summaries: tuple[Summary, Summary]
) -> Iterator[DeadLetter]:
    """Yield the selected dead letters, and count all that are there and those."""
    there, taken = summaries
    for letter in snapshot.letters():
        count_letter(there, letter)
        if selection.takes(letter):
            count_letter(taken, letter)
            yield letter


def _newest(letters: Iterator[DeadLetter], limit: int) -> list[DeadLetter]:
    """Return the newest by the record's time, the newest last; holds no more than those."""

    def age(letter: DeadLetter) -> tuple[int, int, int]:
        return letter.metadata.timestamp_ms, letter.metadata.partition, letter.metadata.offset

    return heapq.nlargest(limit, letters, key=age)[::-1]
