"""Read the dead letters that a topic holds, select some of them, and describe them as data."""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from stream_detector.assembly import connect_reader
from stream_detector.core.codec.dead_letters import DeadLetter, decode_dead_letter
from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerUnavailableError, ConfigError
from stream_detector.ports import Client, Clock, SystemClock
from stream_detector.settings import ConnectionSettings

STALL_S = 30.0
"""Longest wait for a record that should be there."""

_POLL_RECORDS_MAX = 1_000
_POLL_MS = 200
_OFFSET_DIGITS_MAX = 19
"""As many as the largest offset has, a signed integer of 64 bits."""


class Location(NamedTuple):
    """Partition and offset of a record on the dead-letter topic; written 0:17."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The offsets of a dead-letter topic at one moment; records that come later are not in it.

    Parameters
    ----------
    topic
        The dead-letter topic.
    connect
        Returns a client that reads the topic, in no group.
    offsets
        The offsets to read of each partition.
    clock
        Measures how long no record came.
    """

    topic: str
    connect: Callable[[], Client]
    offsets: Mapping[TopicPartition, range]
    clock: Clock = field(default_factory=SystemClock)

    def letters(self) -> Iterator[DeadLetter]:
        """Yield all records at the offsets, those of a partition in order of their offsets.

        Raises
        ------
        BrokerUnavailableError
            If no record came for `STALL_S`.
        """
        left = {partition for partition, offsets in self.offsets.items() if offsets}
        received_at_s = self.clock.monotonic_s()
        with closing(self.connect()) as client:
            client.poll(1, 0)  # the first poll assigns the partitions
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
                    received_at_s = self.clock.monotonic_s()
                positions = client.positions(left).items()
                left -= {each for each, offset in positions if offset >= self.offsets[each].stop}
                self._check_stall(received_at_s, left)

    def check_location(self, location: Location) -> None:
        """Refuse a location outside of the snapshot.

        Raises
        ------
        ConfigError
            If partition or offset is out of range.
        """
        offsets = self.offsets.get(TopicPartition(self.topic, location.partition))
        if offsets is None:
            message = (
                f"{location}: {self.topic} has the partitions 0 to {len(self.offsets) - 1}, "
                f"received {location.partition}"
            )
            raise ConfigError(message)
        if location.offset not in offsets:
            held = f"the offsets {offsets.start} to {offsets.stop - 1}" if offsets else "no record"
            message = f"{location}: {self.topic}[{location.partition}] holds {held}"
            raise ConfigError(message)

    def _check_stall(self, received_at_s: float, left: set[TopicPartition]) -> None:
        """Raise where no record came for too long."""
        if left and self.clock.monotonic_s() - received_at_s > STALL_S:
            where = ", ".join(f"{each.topic}[{each.partition}]" for each in sorted(left))
            message = (
                f"{where} gave no record for {STALL_S:.0f} s although not all were read; see the "
                "broker's log, and try again"
            )
            raise BrokerUnavailableError(message)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters to read or redrive; one must meet every condition that is given.

    Parameters
    ----------
    error
        Class of the error.
    key
        Key of the record, as text.
    locations
        Where the dead letter is.
    """

    error: str | None = None
    key: str | None = None
    locations: frozenset[Location] | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter meets the conditions."""
        error = letter.reason.error if letter.reason else None
        return (
            (self.error is None or error == self.error)
            and (self.key is None or key_text(letter.key) == self.key)
            and (self.locations is None or location_of(letter) in self.locations)
        )


@dataclass(slots=True)
class Tally:
    """How many dead letters of one kind there are, and when the first and the last were written.

    Parameters
    ----------
    oldest_ms, newest_ms
        Lowest and highest timestamp of the records, milliseconds since 1970-01-01 UTC.
    n_letters
        All of them.
    n_redriven
        Those that had been redriven before and were rejected again.
    n_incomplete
        Those that lack a part.
    """

    oldest_ms: int
    newest_ms: int
    n_letters: int = 0
    n_redriven: int = 0
    n_incomplete: int = 0


Summary = dict[tuple[str, str] | None, Tally]
"""Tallies by stage and class; None is the kind of records that are not dead letters."""


def count_letter(summary: Summary, letter: DeadLetter) -> None:
    """Add a dead letter to a summary."""
    time_ms = letter.timestamp_ms
    kind = (letter.reason.stage, letter.reason.error) if letter.reason else None
    tally = summary.setdefault(kind, Tally(time_ms, time_ms))
    tally.n_letters += 1
    tally.n_redriven += letter.redriven_from is not None
    tally.n_incomplete += bool(letter.left_out)
    tally.oldest_ms = min(tally.oldest_ms, time_ms)
    tally.newest_ms = max(tally.newest_ms, time_ms)


def take_snapshot(settings: ConnectionSettings, topic: str) -> Snapshot:
    """Ask the broker which records a dead-letter topic holds now.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    """

    def connect() -> Client:
        return connect_reader(settings, topic)

    with closing(connect()) as client:
        client.poll(1, 0)  # the first poll assigns the partitions
        partitions = sorted(client.assignment())
        first_offsets = client.beginning_offsets(partitions)
        ends = client.end_offsets(partitions)
    offsets = {each: range(first_offsets[each], ends[each]) for each in partitions}
    return Snapshot(topic, connect, offsets)


def find_letter(snapshot: Snapshot, location: Location) -> DeadLetter:
    """Return the record at a location.

    Raises
    ------
    ConfigError
        If there is none.
    """
    snapshot.check_location(location)
    partition = TopicPartition(snapshot.topic, location.partition)
    offsets = dict.fromkeys(snapshot.offsets, range(0)) | {
        partition: range(location.offset, location.offset + 1)
    }
    letters = list(replace(snapshot, offsets=offsets).letters())
    if not letters:
        raise no_record(snapshot.topic, [location])
    return letters[0]


def no_record(topic: str, locations: list[Location]) -> ConfigError:
    """Return the error for locations within the log that hold no record."""
    message = (
        f"{', '.join(map(str, sorted(locations)))}: {topic} holds no record there; such an offset "
        "holds the marker of a transaction, or a record that was removed"
    )
    return ConfigError(message)


def parse_location(text: str) -> Location:
    """Return the location that "PARTITION:OFFSET" names.

    Raises
    ------
    ConfigError
        If the text has another form.

    Examples
    --------
    >>> parse_location("0:17")
    Location(partition=0, offset=17)
    """
    partition, _, offset = text.partition(":")
    if not (_is_number(partition) and _is_number(offset)):
        message = f"expected PARTITION:OFFSET such as 0:17, received {text!r}"
        raise ConfigError(message)
    return Location(int(partition), int(offset))


def location_of(letter: DeadLetter) -> Location:
    """Return partition and offset of a dead letter."""
    return Location(letter.metadata.partition, letter.metadata.offset)


def key_text(key: bytes | None) -> str | None:
    """Return a key as text, as in alerts; None where there is none."""
    return None if key is None else key.decode(errors="backslashreplace")


def source_text(letter: DeadLetter) -> str | None:
    """Return where the original record is, as topic[partition]@offset; None where unknown."""
    if letter.reason is None:
        return None
    source = letter.reason.source
    return f"{source.topic}[{source.partition}]@{source.offset}"


def incomplete_text(letter: DeadLetter) -> str:
    """Return which parts a dead letter lacks, and where the whole record is."""
    parts = [f"{name} ({n_bytes:,} bytes)" for name, n_bytes in letter.left_out.items()]
    return f"lacks {', '.join(parts)}; the whole record is at {source_text(letter)}"


def letter_facts(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter without headers and value, as values that JSON has."""
    metadata, reason = letter.metadata, letter.reason
    return {
        "topic": metadata.topic,
        "partition": metadata.partition,
        "offset": metadata.offset,
        "timestamp_ms": letter.timestamp_ms,
        "key": key_text(letter.key),
        "stage": reason.stage if reason else None,
        "error": reason.error if reason else None,
        "message": reason.message if reason else None,
        "source": asdict(reason.source) if reason else None,
        "redriven_from": letter.redriven_from,
        "left_out": dict(letter.left_out),
        "n_value_bytes": None if letter.value is None else len(letter.value),
    }


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """Return everything about a dead letter as values that JSON has, bytes in base64."""
    return letter_facts(letter) | {
        "key_base64": _base64(letter.key),
        "headers": [
            {"name": name, "value_base64": _base64(value)}
            for name, value in letter.metadata.headers
        ],
        "value_base64": _base64(letter.value),
    }


def _base64(value: bytes | None) -> str | None:
    """Return bytes as base64."""
    return None if value is None else base64.b64encode(value).decode()


def _is_number(text: str) -> bool:
    """Return whether a text is a number that can be a partition or an offset."""
    return text.isascii() and text.isdecimal() and len(text) <= _OFFSET_DIGITS_MAX
