"""Sends dead letters again: which, where to, whether a person wants it, and the sending.

The topic is read twice, once to say what would be sent and once to send it: so any number of dead
letters needs little memory, and nothing is sent before everything that can be checked was.
"""

import heapq
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rich.prompt import Confirm

from stream_detector.cli.dead_letter_reading import (
    Place,
    Selection,
    Snapshot,
    key_text,
    no_record,
    place_of,
)
from stream_detector.cli.dead_letter_views import (
    INCOMPLETE,
    NOT_OURS,
    incomplete_text,
    printable,
)
from stream_detector.cli.output import console, progress_bar
from stream_detector.core.codec.dead_letters import DeadLetter, encode_redrive
from stream_detector.errors import ConfigError, missing_topics
from stream_detector.ports import Client

FLUSH_RECORDS = 1_000
"""Records between two waits for acknowledgements."""

FLUSH_TIMEOUT_MS = 30_000

_N_INCOMPLETE_SHOWN = 20


class Target(NamedTuple):
    """Where one dead letter goes; without a partition its key chooses one."""

    place: Place
    topic: str
    partition: int | None


@dataclass(frozen=True, slots=True)
class RedriveChoice:
    """What was asked for.

    Parameters
    ----------
    selection
        Which dead letters.
    to
        The topic for all of them; None is where each came from.
    limit
        At most so many, the first by partition and offset.
    has_foreign
        Whether records that are not dead letters of ours go too.
    """

    selection: Selection
    to: str | None = None
    limit: int | None = None
    has_foreign: bool = False

    def check(self, topic: str) -> None:
        """Refuse what cannot be done, whatever lies on the dead-letter topic.

        Raises
        ------
        ConfigError
            If dead letters would go to their own topic, or foreign records nowhere.
        """
        if self.to == topic:
            message = (
                f"--to: expected another topic than that of the dead letters, received {topic}"
            )
            raise ConfigError(message)
        if self.has_foreign and self.to is None:
            message = "--foreign: such records name no original topic; give one with --to TOPIC"
            raise ConfigError(message)

    def takes(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter is to be sent; one that lacks a part never is."""
        is_ours = letter.reason is not None
        is_whole = not letter.left_out
        return is_whole and (is_ours or self.has_foreign) and self.selection.takes(letter)


@dataclass(slots=True)
class Plan:
    """What a redrive will do.

    Parameters
    ----------
    choice
        What was asked for, the limit made into places.
    n_there
        Records on the dead-letter topic.
    n_foreign
        Selected records that are not sent for they are not dead letters of ours.
    n_incomplete, incomplete
        Selected dead letters that are not sent for they lack a part, and a line on each of the
        first.
    counts
        Dead letters to send, by topic.
    partitions
        The highest partition that is named, by topic.
    """

    choice: RedriveChoice
    n_there: int = 0
    n_foreign: int = 0
    n_incomplete: int = 0
    incomplete: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    partitions: dict[str, int] = field(default_factory=dict)

    @property
    def n_letters(self) -> int:
        """How many dead letters will be sent."""
        return self.counts.total()

    def describe(self, topic: str) -> str:
        """Return one line on what will be sent, and a line each on what never is."""
        parts = [f"{topic}: {self.n_letters:,} of {self.n_there:,} records to send"]
        parts += [f"{count:,} to {printable(name)}" for name, count in self.counts.most_common()]
        if self.n_foreign:
            parts.append(f"left out {self.n_foreign:,}, {NOT_OURS} (--foreign sends such too)")
        if self.n_incomplete:
            parts.append(f"refused {self.n_incomplete:,}, {INCOMPLETE}")
        n_more = self.n_incomplete - len(self.incomplete)
        more = [f"... and {n_more:,} more, which list names"] if n_more else []
        return "\n".join(["; ".join(parts), *self.incomplete, *more])

    def leave(self, letter: DeadLetter) -> None:
        """Note a selected dead letter that is not sent."""
        if not letter.left_out:
            self.n_foreign += 1
            return
        self.n_incomplete += 1
        if self.n_incomplete <= _N_INCOMPLETE_SHOWN:
            self.incomplete.append(printable(f"{place_of(letter)} {incomplete_text(letter)}"))


def make_plan(snapshot: Snapshot, choice: RedriveChoice) -> Plan:
    """Read the dead-letter topic and say what will be sent.

    Raises
    ------
    ConfigError
        If a place that was asked for is out of range or holds no record, or a dead letter came
        from the dead-letter topic itself.
    """
    for place in sorted(choice.selection.places or ()):
        snapshot.check_place(place)
    plan = Plan(choice)
    targets: Iterable[Target] = _targets(snapshot, plan)
    if choice.limit is not None:
        targets = heapq.nsmallest(choice.limit, targets, key=lambda target: target.place)
        places = frozenset(target.place for target in targets)
        plan.choice = replace(choice, selection=replace(choice.selection, places=places))
    for target in targets:
        plan.counts[target.topic] += 1
        highest = max(plan.partitions.get(target.topic, 0), target.partition or 0)
        plan.partitions[target.topic] = highest
    if snapshot.topic in plan.counts:
        message = (
            f"{plan.counts[snapshot.topic]:,} dead letters came from {snapshot.topic} itself and "
            "would go back to it; leave them out, or give another topic with --to"
        )
        raise ConfigError(message)
    return plan


def check_targets(plan: Plan, writer: Client, bootstrap_servers: str) -> None:
    """Refuse to begin where a topic or a partition to send to is not there.

    Raises
    ------
    BrokerError
        If a topic does not exist.
    ConfigError
        If a topic has fewer partitions than it had.
    """
    n_partitions = {topic: writer.n_partitions(topic) for topic in sorted(plan.counts)}
    missing = [topic for topic, count in n_partitions.items() if count == 0]
    if missing:
        raise missing_topics(bootstrap_servers, missing)
    for topic, count in n_partitions.items():
        if plan.partitions[topic] >= count:
            message = (
                f"{topic} has {count} partitions, and a dead letter came from its partition "
                f"{plan.partitions[topic]}; give --to {topic}, with which the key chooses one"
            )
            raise ConfigError(message)


def require_consent(*, is_dry_run: bool, is_sure: bool) -> None:
    """Refuse to send where nobody can be asked.

    Raises
    ------
    ConfigError
        If there is no terminal and neither flag was given.
    """
    if not (is_dry_run or is_sure or sys.stdin.isatty()):
        message = (
            "redrive sends records and there is no terminal to ask on; give --yes, or --dry-run to "
            "see what would be sent"
        )
        raise ConfigError(message)


def is_agreed() -> bool:
    """Ask on the terminal whether to send."""
    try:
        answer = Confirm.ask("send them?", console=console(), default=False)
    except EOFError:
        answer = False
    if not answer:
        console().print("nothing was sent")
    return answer


def preview(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Yield a line for each dead letter that would be sent."""
    for letter in filter(plan.choice.takes, snapshot.letters()):
        target = _target(letter, plan.choice.to)
        where = target.topic + ("" if target.partition is None else f"[{target.partition}]")
        error = letter.reason.error if letter.reason else NOT_OURS
        key = key_text(letter.metadata.key)
        size = "a tombstone" if letter.value is None else f"{len(letter.value):,} bytes"
        line = f"{target.place} to {where}  key {'-' if key is None else key}  {error}  {size}"
        yield printable(line)


def send(snapshot: Snapshot, plan: Plan, writer: Client) -> None:
    """Send what the plan says, wait for every acknowledgement, and say how many came.

    Raises
    ------
    BrokerError
        If a record was not acknowledged; what was, is said all the same.
    """
    n_acknowledged = n_pending = 0
    try:
        with progress_bar() as progress:
            task = progress.add_task("redriving", total=plan.n_letters)
            for letter in filter(plan.choice.takes, snapshot.letters()):
                writer.produce([encode_redrive(letter, plan.choice.to)])
                n_pending += 1
                if n_pending == FLUSH_RECORDS:
                    writer.flush(FLUSH_TIMEOUT_MS)
                    n_acknowledged, n_pending = n_acknowledged + n_pending, 0
                    progress.update(task, completed=n_acknowledged)
            writer.flush(FLUSH_TIMEOUT_MS)
            n_acknowledged += n_pending
    finally:
        console().print(f"{n_acknowledged:,} of {plan.n_letters:,} records sent and acknowledged")


def _targets(snapshot: Snapshot, plan: Plan) -> Iterator[Target]:
    """Yield where each selected dead letter goes, and count those that are left out."""
    choice, seen = plan.choice, set()
    for letter in snapshot.letters():
        plan.n_there += 1
        if choice.selection.places is not None:
            seen.add(place_of(letter))
        if choice.takes(letter):
            yield _target(letter, choice.to)
        elif choice.selection.takes(letter):
            plan.leave(letter)
    missing = (choice.selection.places or frozenset()) - seen
    if missing:
        raise no_record(snapshot.topic, list(missing))


def _target(letter: DeadLetter, to: str | None) -> Target:
    """Return where a dead letter goes."""
    record = encode_redrive(letter, to)
    return Target(place_of(letter), record.topic, record.partition)
