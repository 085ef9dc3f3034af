"""The commands `dead-letters list`, `show` and `redrive`."""

import heapq
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    ONLINE,
    Client,
    Servers,
    SettingsFile,
    connection_settings,
    examples,
)
from stream_detector.cli.terminal import (
    is_agreed,
    print_json,
    progress_bar,
    say,
    waiting,
    write_line,
)
from stream_detector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_detector.core.codec.dead_letters import DeadLetter
    from stream_detector.outputs.dead_letters import Selection, Snapshot, Summary
    from stream_detector.outputs.redrive import Plan
    from stream_detector.ports import Client as KafkaClient

app = typer.Typer(rich_markup_mode="markdown")

LIST_EXAMPLES = examples(
    "stream-detector dead-letters list",
    "stream-detector dead-letters list --error RecordShapeError --limit 5",
    "stream-detector dead-letters list --json | jq -r .message | sort | uniq -c",
)
SHOW_EXAMPLES = examples(
    "stream-detector dead-letters show 0:17",
    "stream-detector dead-letters show 0:17 --raw > value.bin",
)
REDRIVE_EXAMPLES = examples(
    "stream-detector dead-letters redrive --error RecordShapeError --dry-run",
    "stream-detector dead-letters redrive --error RecordShapeError --yes",
    "stream-detector dead-letters redrive 0:17 0:18 --to telemetry-repaired",
)

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
    program.add_typer(app, name="dead-letters", rich_help_panel=ONLINE)


@app.callback()
def root() -> None:
    """Inspect the records that could not be used, and redrive them.

    `detect` writes a record that it cannot use to the dead-letter topic: key, value and headers as
    they came, and the reason in additional headers. Start with `list`; `show 0:17` prints
    everything about the dead letter in partition 0 at offset 17; `redrive` sends dead letters again
    once their cause has been fixed. All three read what the topic holds when they start, join no
    group and commit nothing.
    """


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    topic: Topic = "dead-letters",
    bootstrap_servers: Servers = None,
    error: ErrorClass = None,
    key: Key = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"List at most so many, the newest. Default {_N_ROWS}, and with --json all.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write each as one line of JSON, and no summary.")
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Count the dead letters by class, and list the newest.

    The summary counts all dead letters that --error and --key select, how many of them had been
    redriven before, and how many are incomplete. `--limit` applies to the list below it. There,
    `at` is the partition and offset of the dead letter, as `show` takes them; `original` is where
    the rejected record is; the time is the record's own.
    """
    from stream_detector.outputs.dead_letters import (
        Selection,
        Summary,
        letter_facts,
        take_snapshot,
    )

    settings = connection_settings(bootstrap_servers, client, settings_file)
    snapshot = take_snapshot(settings, topic)
    selection = Selection(error, key)
    if as_json:
        letters = filter(selection.takes, snapshot.letters())
        for letter in letters if limit is None else _newest(letters, limit):
            print_json(letter_facts(letter))
        return
    every: Summary = {}
    selected: Summary = {}
    with waiting(f"reading {topic}"):
        newest = _newest(_counted(snapshot, selection, (every, selected)), limit or _N_ROWS)
    _print_list(topic, selection, (every, selected), newest)


@app.command(epilog=SHOW_EXAMPLES)
def show(
    location: Annotated[
        str,
        typer.Argument(
            metavar="PARTITION:OFFSET", help="The dead letter, by the `at` that `list` prints."
        ),
    ],
    topic: Topic = "dead-letters",
    bootstrap_servers: Servers = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Write one line of JSON; key, headers and value in base64."),
    ] = False,
    is_raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Write the value's bytes to standard output, for a file or a program."
        ),
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Show everything about one dead letter: reason, key, every header, value.

    A value is shown as JSON, as text, or else as a hex dump; a large value is cut off. A dead
    letter that is incomplete, because it was too large for its topic, names the place of the
    whole record.
    """
    from stream_detector.cli.dead_letter_views import describe_letter, require_value
    from stream_detector.outputs.dead_letters import (
        find_letter,
        letter_document,
        parse_location,
        take_snapshot,
    )

    if as_json and is_raw:
        message = "--json, --raw: expected one of them, received both"
        raise ConfigError(message)
    wanted = parse_location(location)
    settings = connection_settings(bootstrap_servers, client, settings_file)
    letter = find_letter(take_snapshot(settings, topic), wanted)
    if as_json:
        print_json(letter_document(letter))
    elif is_raw:
        require_value(letter, has_terminal=sys.stdout.isatty())
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
    else:
        for line in describe_letter(letter):
            write_line(line)


@app.command(epilog=REDRIVE_EXAMPLES)
def redrive(
    locations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PARTITION:OFFSET",
            help="The dead letters, by the `at` that `list` prints. Default all.",
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
        typer.Option(min=1, help="Send at most so many, the first by partition and offset."),
    ] = None,
    is_dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be sent, a line each, and send nothing."),
    ] = False,
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Do not ask. Needed where there is no terminal.")
    ] = False,
    has_foreign: Annotated[
        bool,
        typer.Option(
            "--foreign", help="Send also records that the detector did not write; needs --to."
        ),
    ] = False,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Send dead letters again, once the cause of their errors has been fixed.

    Each goes back to where it came from as it was: key, value, headers and time, without the
    reason. The header `stream-detector.redriven-from` names the dead letter. The dead letters
    themselves stay on their topic, so a second redrive sends them a second time. A record that is
    still bad comes back as a new dead letter, and `list --json` and `show` say that it had been
    redriven. A dead letter that is incomplete is not sent; the command prints where the whole
    record is. The command succeeds when Kafka has acknowledged every record.
    """
    from stream_detector.assembly import connect_writer
    from stream_detector.cli.dead_letter_views import describe_plan
    from stream_detector.outputs.dead_letters import Selection, parse_location, take_snapshot
    from stream_detector.outputs.redrive import RedriveChoice, check_targets, make_plan

    _require_consent(is_dry_run=is_dry_run, is_sure=is_sure)
    wanted = frozenset(map(parse_location, locations)) if locations else None
    choice = RedriveChoice(Selection(error, key, wanted), to, limit, has_foreign)
    choice.check(topic)
    settings = connection_settings(bootstrap_servers, client, settings_file)
    snapshot = take_snapshot(settings, topic)
    with waiting(f"reading {topic}"):
        plan = make_plan(snapshot, choice)
    say(*describe_plan(plan, topic))
    if not plan.n_letters:
        return
    with closing(connect_writer(settings)) as writer:
        check_targets(plan, writer, settings.bootstrap_servers)
        if is_dry_run:
            _preview(snapshot, plan)
        elif is_sure or _is_agreed():
            _send(snapshot, plan, writer)


def _counted(
    snapshot: "Snapshot", selection: "Selection", summaries: "tuple[Summary, Summary]"
) -> "Iterator[DeadLetter]":
    """Yield the selected dead letters; count all of them, and the selected ones."""
    from stream_detector.outputs.dead_letters import count_letter

    every, selected = summaries
    for letter in snapshot.letters():
        count_letter(every, letter)
        if selection.takes(letter):
            count_letter(selected, letter)
            yield letter


def _newest(letters: "Iterator[DeadLetter]", limit: int) -> "list[DeadLetter]":
    """Return the newest by the record's time, the newest last; keeps only so many in memory."""

    def age(letter: "DeadLetter") -> tuple[int, int, int]:
        return letter.timestamp_ms, letter.metadata.partition, letter.metadata.offset

    return heapq.nlargest(limit, letters, key=age)[::-1]


def _print_list(
    topic: str,
    selection: "Selection",
    summaries: "tuple[Summary, Summary]",
    newest: "list[DeadLetter]",
) -> None:
    """Print the summary and the newest; where nothing was selected, the summary of everything."""
    from stream_detector.cli.dead_letter_views import (
        describe_selection,
        print_letters,
        print_summary,
    )

    n_every, n_selected = (
        sum(tally.n_letters for tally in summary.values()) for summary in summaries
    )
    every, selected = summaries
    conditions = describe_selection(selection)
    if not newest:
        say(f"no dead letter on {topic}" + (f" fits {conditions}" if n_every else ""))
        if n_every:
            print_summary(f"all dead letters: {n_every:,}", every)
        return
    of_all = f" of {n_every:,}, {conditions}" if n_selected < n_every else ""
    print_summary(f"dead letters on {topic}: {n_selected:,}{of_all}", selected)
    has_all = len(newest) == n_selected
    print_letters("all of them" if has_all else f"the newest {len(newest):,}", newest)


def _require_consent(*, is_dry_run: bool, is_sure: bool) -> None:
    """Refuse to send where there is no terminal to ask on and no flag has answered.

    Raises
    ------
    ConfigError
        If so.
    """
    if not (is_dry_run or is_sure or sys.stdin.isatty()):
        message = (
            "redrive sends records and there is no terminal to ask on; give --yes, or --dry-run to "
            "see what would be sent"
        )
        raise ConfigError(message)


def _is_agreed() -> bool:
    """Ask on the terminal whether to send."""
    answer = is_agreed("send them?")
    if not answer:
        say("nothing was sent")
    return answer


def _preview(snapshot: "Snapshot", plan: "Plan") -> None:
    """Print a line for each dead letter that would be sent."""
    from stream_detector.cli.dead_letter_views import describe_target
    from stream_detector.outputs.redrive import planned_letters

    for letter, target in planned_letters(snapshot, plan):
        write_line(describe_target(letter, target))


def _send(snapshot: "Snapshot", plan: "Plan", writer: "KafkaClient") -> None:
    """Send the planned dead letters, and print how many were acknowledged, also after an error."""
    from stream_detector.outputs.redrive import send

    n_acknowledged = 0
    try:
        with progress_bar() as progress:
            task = progress.add_task("redriving", total=plan.n_letters)

            def on_acknowledged(n_records: int) -> None:
                nonlocal n_acknowledged
                n_acknowledged = n_records
                progress.update(task, completed=n_records)

            send(snapshot, plan, writer, on_acknowledged)
    finally:
        say(f"{n_acknowledged:,} of {plan.n_letters:,} records sent and acknowledged")
