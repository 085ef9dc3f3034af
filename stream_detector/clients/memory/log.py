"""Logs of the memory broker, and the faults that are set for it as data."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

from stream_detector.core.records import RecordMetadata
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
