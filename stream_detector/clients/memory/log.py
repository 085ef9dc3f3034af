"""Logs of the memory broker, and the faults that are set for it as data."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Literal, NamedTuple

from stream_detector.clients import _errors
from stream_detector.core.records import OutputRecord, RecordMetadata
from stream_detector.errors import BrokerError, BrokerUnavailableError

SERVERS = "memory"
"""Stands for the bootstrap servers in messages."""


class Item(Enum):
    """A fault that may stand between the records of a log."""

    EOF = "one poll returns nothing"
    ABORT = "the process dies here"
    PAUSE = "the broker is unavailable for one call"


EOF, ABORT, PAUSE = Item.EOF, Item.ABORT, Item.PAUSE

Operation = Literal[
    "poll",
    "begin",
    "produce",
    "flush",
    "send_offsets",
    "end",
    "commit",
    "committed",
    "beginning_offsets",
    "end_offsets",
]
"""Methods that ask the broker, and the steps of a transaction: `begin` is its first step,
`send_offsets` and `end` are steps of `commit`."""


class Aborted(BaseException):
    """The process dies here; like a SIGKILL, it passes every `except Exception`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that fails.

    Parameters
    ----------
    operation
        Which method, or which step of a transaction.
    effect
        `ABORT`, `PAUSE`, or the error to raise.
    nth
        Which call of that method, over all clients of the broker, counted from 1.
    is_after
        Whether the call does its work before it fails: an answer that was lost.
    """

    operation: Operation
    effect: Item | BrokerError
    nth: int = 1
    is_after: bool = False


def take_effect(effect: Item | BrokerError, where: str) -> None:
    """Raise the error of an item or a fault; `EOF` raises nothing."""
    if isinstance(effect, BrokerError):
        raise effect
    if effect is Item.ABORT:
        message = f"the process dies here (ABORT in {where})"
        raise Aborted(message)
    if effect is Item.PAUSE:
        message = f"the broker is unavailable for one call (PAUSE in {where})"
        raise BrokerUnavailableError(message)


def refusal(
    records: Sequence[OutputRecord], settings: Mapping[str, str], now_ms: int
) -> BrokerError | None:
    """Return why a topic refuses the records of one request; None where it takes them.

    Parameters
    ----------
    records
        All of one partition.
    settings
        Of their topic; `max.message.bytes`, `cleanup.policy` and `message.timestamp.*` count.
    now_ms
        The broker's time.
    """
    if sum(each.n_bytes for each in records) > float(settings.get("max.message.bytes", inf)):
        return _errors.too_large(SERVERS, "Message size too large")
    if "compact" in settings.get("cleanup.policy", "") and any(
        each.key is None for each in records
    ):
        return _errors.bad_content(SERVERS, "a message without key")
    earliest = now_ms - float(settings.get("message.timestamp.before.max.ms", inf))
    latest = now_ms + float(settings.get("message.timestamp.after.max.ms", inf))
    times = [each.timestamp_ms for each in records if each.timestamp_ms is not None]
    if not all(earliest <= each <= latest for each in times):
        return _errors.bad_timestamp(SERVERS, "Invalid timestamp")
    return None


class StoredRecord(NamedTuple):
    """One record in a partition."""

    metadata: RecordMetadata
    value: bytes | None


@dataclass(slots=True)
class PartitionLog:
    """One partition.

    Parameters
    ----------
    records
        By offset.
    items
        Faults by the offset before which they take effect, each once.
    controls
        Offsets of control records, which end a transaction and which no poll returns.
    start
        First offset that is still kept.
    """

    records: list[StoredRecord] = field(default_factory=list)
    items: defaultdict[int, deque[Item]] = field(default_factory=lambda: defaultdict(deque))
    controls: set[int] = field(default_factory=set)
    start: int = 0

    def read(self, offset: int, n_records_max: int) -> tuple[list[StoredRecord], int]:
        """Return the next records up to the next item, and the offset after them."""
        barriers = [each for each, items in self.items.items() if items and each > offset]
        end = min([len(self.records), *barriers])
        taken: list[StoredRecord] = []
        while offset < end and len(taken) < n_records_max:
            if offset not in self.controls:
                taken.append(self.records[offset])
            offset += 1
        return taken, offset
