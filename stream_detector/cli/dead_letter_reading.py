"""Reads the dead letters there are, and picks those that a command is about."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from stream_detector.core.codec.dead_letters import DeadLetter, decode_dead_letter
from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerUnavailableError, ConfigError
from stream_detector.ports import Client, Clock, SystemClock
from stream_detector.settings import ConnectionSettings

Connect = Callable[[], Client]

STALL_S = 30.0
"""Longest wait for a record that should be there."""

_POLL_RECORDS_MAX = 1_000
_POLL_MS = 200


class Place(NamedTuple):
    """Where on the dead-letter topic a record lies; written 0:17."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The offsets of a dead-letter topic at one moment; what comes later is not among them.

    Parameters
    ----------
    topic
        Which one.
    connect
        Gives a client that reads it, in no group.
    offsets
        Which to read of each partition.
    clock
        Measures how long no record came.
    """

    topic: str
    connect: Connect
    offsets: Mapping[TopicPartition, range]
    clock: Clock = field(default_factory=SystemClock)

    def letters(self) -> Iterator[DeadLetter]:
        """Yield all records at the offsets, each partition in its order.

        Raises
        ------
        BrokerUnavailableError
            If no record came for `STALL_S`.
        """
        left = {partition for partition, offsets in self.offsets.items() if offsets}
        heard_at_s = self.clock.monotonic_s()
        with closing(self.connect()) as client:
            client.poll(1, 0)  # the partitions come with it
            for each in left:
                client.seek(each, self.offsets[each].start)
            while left:
                client.pause(client.assignment() - left)
                batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
                for index, value in enumerate(batch.values):
                    metadata = batch.metadata(index)
                    if metadata.offset in self.offsets[TopicPartition(*metadata[:2])]:
                        yield decode_dead_letter(metadata, value)
                if len(batch):
                    heard_at_s = self.clock.monotonic_s()
                positions = client.positions(left).items()
                left -= {each for each, offset in positions if offset >= self.offsets[each].stop}
                self._check_stall(heard_at_s, left)

    def check_place(self, place: Place) -> None:
        """Refuse a place that is not within what there is.

        Raises
        ------
        ConfigError
            If partition or offset is out of range.
        """
        offsets = self.offsets.get(TopicPartition(self.topic, place.partition))
        if offsets is None:
            message = (
                f"{place}: {self.topic} has the partitions 0 to {len(self.offsets) - 1}, received "
                f"{place.partition}"
            )
            raise ConfigError(message)
        if place.offset not in offsets:
            there = f"the offsets {offsets.start} to {offsets.stop - 1}" if offsets else "no record"
            message = f"{place}: {self.topic}[{place.partition}] holds {there}"
            raise ConfigError(message)

    def _check_stall(self, heard_at_s: float, left: set[TopicPartition]) -> None:
        """Raise where the broker has given nothing for too long."""
        if left and self.clock.monotonic_s() - heard_at_s > STALL_S:
            where = ", ".join(f"{each.topic}[{each.partition}]" for each in sorted(left))
            message = (
                f"{where} gave no record for {STALL_S:.0f} s although not all were read; see the "
                "broker's log, and try again"
            )
            raise BrokerUnavailableError(message)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters a command is about.

    Parameters
    ----------
    error
        Only those with this class.
    key
        Only those with this key, as text.
    places
        Only those that lie here; None is anywhere.
    """

    error: str | None = None
    key: str | None = None
    places: frozenset[Place] | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter is among them."""
        error = letter.reason.error if letter.reason else None
        return (
            (self.error is None or error == self.error)
            and (self.key is None or key_text(letter.metadata.key) == self.key)
            and (self.places is None or place_of(letter) in self.places)
        )

    def __str__(self) -> str:
        given = {"--error": self.error, "--key": self.key}
        return " ".join(f"{flag} {value}" for flag, value in given.items() if value is not None)


def take_snapshot(settings: ConnectionSettings, topic: str) -> Snapshot:
    """Ask which records a dead-letter topic holds now.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    """
    from stream_detector.clients import connect

    def connect_reader() -> Client:
        return connect(settings, topics=[topic])

    with closing(connect_reader()) as client:
        client.poll(1, 0)  # the partitions come with it
        partitions = sorted(client.assignment())
        beginning_offsets, end_offsets = (
            client.beginning_offsets(partitions),
            client.end_offsets(partitions),
        )
    offsets = {each: range(beginning_offsets[each], end_offsets[each]) for each in partitions}
    return Snapshot(topic, connect_reader, offsets)


def find_letter(snapshot: Snapshot, place: Place) -> DeadLetter:
    """Return the record that lies at a place.

    Raises
    ------
    ConfigError
        If there is none.
    """
    snapshot.check_place(place)
    partition = TopicPartition(snapshot.topic, place.partition)
    offsets = dict.fromkeys(snapshot.offsets, range(0)) | {
        partition: range(place.offset, place.offset + 1)
    }
    letters = list(replace(snapshot, offsets=offsets).letters())
    if not letters:
        raise no_record(snapshot.topic, [place])
    return letters[0]


def no_record(topic: str, places: list[Place]) -> ConfigError:
    """Return the error for places within the log that hold no record."""
    message = (
        f"{', '.join(map(str, sorted(places)))}: no record lies there on {topic}; such an offset "
        "holds the mark of a transaction, or a record that was removed"
    )
    return ConfigError(message)


def parse_place(text: str) -> Place:
    """Return the place that "PARTITION:OFFSET" says.

    Raises
    ------
    ConfigError
        If it says none.

    Examples
    --------
    >>> parse_place("0:17")
    Place(partition=0, offset=17)
    """
    partition, _, offset = text.partition(":")
    if not (_is_number(partition) and _is_number(offset)):
        message = f"expected PARTITION:OFFSET such as 0:17, received {text!r}"
        raise ConfigError(message)
    return Place(int(partition), int(offset))


def place_of(letter: DeadLetter) -> Place:
    """Return where a dead letter lies."""
    return Place(letter.metadata.partition, letter.metadata.offset)


def key_text(key: bytes | None) -> str | None:
    """Return a key as text, as in alerts; None where there is none."""
    return None if key is None else key.decode(errors="backslashreplace")


def _is_number(text: str) -> bool:
    """Return whether a text is an offset: digits, as many as 64 bits have."""
    return text.isascii() and text.isdecimal() and len(text) <= 19  # noqa: PLR2004
