"""Redrive dead letters: plan what to send and where, check the targets, and send.

The topic is read twice, once to plan and once to send. So any number of dead letters needs little
memory, and nothing is sent before everything that can be checked was checked.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from stream_detector.core.codec.dead_letters import DeadLetter, encode_redrive
from stream_detector.errors import ConfigError, missing_topics
from stream_detector.outputs.dead_letters import (
    Location,
    Selection,
    Snapshot,
    incomplete_text,
    location_of,
    no_record,
)
from stream_detector.ports import Client

FLUSH_RECORDS = 1_000
"""Records between two waits for acknowledgements."""

FLUSH_TIMEOUT_MS = 30_000

_N_INCOMPLETE_DESCRIBED = 20


class Target(NamedTuple):
    """Where one dead letter is sent; without a partition its key chooses one."""

    location: Location
    topic: str
    partition: int | None


@dataclass(frozen=True, slots=True)
class RedriveChoice:
    """What to redrive, and where to.

    Parameters
    ----------
    selection
        Which dead letters.
    to
        The topic for all of them; None sends each to the topic and partition it came from.
    limit
        Most dead letters to send, the first by partition and offset.
    has_foreign
        Whether to send also records that the detector did not write.
    """

    selection: Selection
    to: str | None = None
    limit: int | None = None
    has_foreign: bool = False

    def check(self, topic: str) -> None:
        """Refuse what is impossible whatever the dead-letter topic holds.

        Raises
        ------
        ConfigError
            If dead letters would go to their own topic, or foreign records to no topic.
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
        """Return whether to send a dead letter; one that lacks a part is never sent."""
        is_ours = letter.reason is not None
        is_whole = not letter.left_out
        return is_whole and (is_ours or self.has_foreign) and self.selection.takes(letter)


@dataclass(slots=True)
class Plan:
    """What a redrive will send.

    Parameters
    ----------
    choice
        The choice it carries out; a limit is expressed as locations.
    n_records
        Records on the dead-letter topic.
    n_foreign
        Selected records that are not sent because the detector did not write them.
    n_incomplete, incomplete
        Selected dead letters that are not sent because they lack a part, and a line about each of
        the first 20, which may hold characters that a terminal would obey.
    counts
        Dead letters to send, by topic.
    partitions
        The highest partition to send to, by topic.
    """

    choice: RedriveChoice
    n_records: int = 0
    n_foreign: int = 0
    n_incomplete: int = 0
    incomplete: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    partitions: dict[str, int] = field(default_factory=dict)

    @property
    def n_letters(self) -> int:
        """How many dead letters will be sent."""
        return self.counts.total()

    def add(self, target: Target) -> None:
        """Count a dead letter that will be sent."""
        self.counts[target.topic] += 1
        highest = max(self.partitions.get(target.topic, 0), target.partition or 0)
        self.partitions[target.topic] = highest

    def leave_out(self, letter: DeadLetter) -> None:
        """Count a selected dead letter that will not be sent."""
        if not letter.left_out:
            self.n_foreign += 1
            return
        self.n_incomplete += 1
        if self.n_incomplete <= _N_INCOMPLETE_DESCRIBED:
            self.incomplete.append(f"{location_of(letter)} {incomplete_text(letter)}")


def make_plan(snapshot: Snapshot, choice: RedriveChoice) -> Plan:
    """Read the dead-letter topic and decide what to send.

    Raises
    ------
    ConfigError
        If a selected location is out of range or holds no record, or a dead letter came from the
        dead-letter topic itself.
    """
    for location in sorted(choice.selection.locations or ()):
        snapshot.check_location(location)
    plan = Plan(choice)
    targets: Iterable[Target] = _targets(snapshot, plan)
    if choice.limit is not None:
        targets = heapq.nsmallest(choice.limit, targets, key=lambda target: target.location)
        locations = frozenset(target.location for target in targets)
        plan.choice = replace(choice, selection=replace(choice.selection, locations=locations))
    for target in targets:
        plan.add(target)
    if snapshot.topic in plan.counts:
        message = (
            f"{plan.counts[snapshot.topic]:,} dead letters came from {snapshot.topic} itself and "
            "would go back to it; leave them out, or give another topic with --to"
        )
        raise ConfigError(message)
    return plan


def check_targets(plan: Plan, writer: Client, bootstrap_servers: str) -> None:
    """Refuse a plan whose topics or partitions do not exist.

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


def planned_letters(snapshot: Snapshot, plan: Plan) -> Iterator[tuple[DeadLetter, Target]]:
    """Yield each dead letter that the plan sends, and where to."""
    for letter in filter(plan.choice.takes, snapshot.letters()):
        yield letter, _target(letter, plan.choice.to)


def send(
    snapshot: Snapshot, plan: Plan, writer: Client, on_acknowledged: Callable[[int], None]
) -> None:
    """Send the dead letters of a plan and wait for every acknowledgement.

    Parameters
    ----------
    snapshot, plan
        What to send.
    writer
        Sends it.
    on_acknowledged
        Called with the number of records acknowledged so far, each time it grows.

    Raises
    ------
    BrokerError
        If a record was not acknowledged. Those reported to `on_acknowledged` were.
    """
    n_acknowledged = n_pending = 0
    for letter in filter(plan.choice.takes, snapshot.letters()):
        writer.produce([encode_redrive(letter, plan.choice.to)])
        n_pending += 1
        if n_pending == FLUSH_RECORDS:
            writer.flush(FLUSH_TIMEOUT_MS)
            n_acknowledged, n_pending = n_acknowledged + n_pending, 0
            on_acknowledged(n_acknowledged)
    writer.flush(FLUSH_TIMEOUT_MS)
    on_acknowledged(n_acknowledged + n_pending)


def _targets(snapshot: Snapshot, plan: Plan) -> Iterator[Target]:
    """Yield where each selected dead letter goes, and count in the plan those left out."""
    choice, found = plan.choice, set()
    for letter in snapshot.letters():
        plan.n_records += 1
        if choice.selection.locations is not None:
            found.add(location_of(letter))
        if choice.takes(letter):
            yield _target(letter, choice.to)
        elif choice.selection.takes(letter):
            plan.leave_out(letter)
    missing = (choice.selection.locations or frozenset()) - found
    if missing:
        raise no_record(snapshot.topic, list(missing))


def _target(letter: DeadLetter, to: str | None) -> Target:
    """Return where a dead letter goes."""
    record = encode_redrive(letter, to)
    return Target(location_of(letter), record.topic, record.partition)
