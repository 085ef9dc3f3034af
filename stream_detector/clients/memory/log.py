"""What the memory broker keeps, and the faults that are data beside it."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

from stream_detector.core.records import RecordMetadata
from stream_detector.errors import BrokerError, BrokerUnavailableError

SERVERS = "memory"
"""What stands for the address in messages."""


class Item(Enum):
    """What may stand between the records of an input."""

    EOF = "nothing more for now: one poll gives nothing"
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
    "beginnings",
    "ends",
]
"""Methods that ask the broker, and the steps of a transaction: `begin` is the first thing in it,
`send_offsets` and `end` lie within `commit`."""


class Aborted(BaseException):
    """The process dies here. No `except Exception` holds it up, as none holds up a SIGKILL."""


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
    """Raise what an item or a fault stands for; `EOF` raises nothing."""
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
        By their offsets.
    items
        What is met once before an offset.
    controls
        Offsets of control records, which end a transaction and are never handed out.
    start
        First offset still kept.
    """

    records: list[StoredRecord] = field(default_factory=list)
    items: defaultdict[int, deque[Item]] = field(default_factory=lambda: defaultdict(deque))
    controls: set[int] = field(default_factory=set)
    start: int = 0

    def read(self, offset: int, n_records_max: int) -> tuple[list[StoredRecord], int]:
        """Return the next records up to the next item, and where to read on."""
        barriers = [each for each, items in self.items.items() if items and each > offset]
        end = min([len(self.records), *barriers])
        taken: list[StoredRecord] = []
        while offset < end and len(taken) < n_records_max:
            if offset not in self.controls:
                taken.append(self.records[offset])
            offset += 1
        return taken, offset
