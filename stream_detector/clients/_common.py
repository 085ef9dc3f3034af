"""What the clients share: what to read, limits, and the words of their errors."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerError, BrokerUnavailableError, DeliveryError, FencedError

CONNECT_TIMEOUT_MS = 4_000
"""Longest wait for a first answer. Going on trying is the caller's decision."""

REQUEST_TIMEOUT_MS = 10_000
"""Longest wait for an answer to one request, a commit for example."""

CLOSE_TIMEOUT_MS = 3_000
"""Longest wait for a connection to be closed in order; it is dropped after that."""

PROBE_AFTER_S = 5.0
"""A poll that gave nothing for so long asks the broker whether it is there: both libraries go on
returning nothing when every broker is gone."""

SESSION_TIMEOUT_MS = 10_000
"""How soon the group gives a dead member's partitions to another. Both libraries send heartbeats
from threads of their own, so a long batch does not count as death."""

HEARTBEAT_MS = 1_000
"""How soon a member hears that the group is being rebalanced. A partition that changes hands does
so in two rounds, and each waits for a heartbeat."""

POLL_INTERVAL_MAX_MS = 300_000
"""How soon a member that lives but does not poll loses its partitions. The loop takes smaller
batches long before."""

TRANSACTION_TIMEOUT_MS = 15_000
"""How soon a broker aborts the transaction of a process that stands still. Until then readers see
nothing behind it, and this process is fenced after that."""

FLUSH_IN_TRANSACTION_MS = 10_000
"""Longest from the beginning of a transaction to the last acknowledgement. Well below its timeout,
so that a slow broker makes a batch be done again and does not end the process."""

METADATA_MAX_AGE_MS = 15_000
"""How soon a moved leader or a new partition is seen at the latest."""

NEW_TOPIC_MS = 2_000
"""How long a topic may be unknown before it counts as missing: one that was made a moment ago is
not known to every broker of a cluster yet, and any of them may be the one that is asked."""

UNACKNOWLEDGED_RECORDS_MAX = 10_000
"""Records handed over and not yet acknowledged; one more waits."""

UNACKNOWLEDGED_BYTES_MAX = 64 * 1024 * 1024
"""The same in bytes of keys and values."""

PRODUCE_BYTES_MAX = 32 * 1024 * 1024
"""Largest record a client hands over. Above Kafka's own default, so that the topic's
`max.message.bytes` decides and a large dead letter is not refused here."""

_NEW_TOPIC_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client reads.

    Parameters
    ----------
    topics
        Empty for a client that only produces.
    group
        Consumer group; None reads every partition of the topics and commits nothing.
    offset_reset
        "earliest" or "latest": where reading starts without a committed offset.
    transactional_id
        Makes records and offsets one transaction a commit; whoever uses the same id next takes
        this client's place.
    instance_id
        Kafka's `group.instance.id`: a member that comes back under it gets its partitions back
        without a rebalance. Needs a group.
    """

    topics: tuple[str, ...] = ()
    group: str | None = None
    offset_reset: str = "earliest"
    transactional_id: str | None = None
    instance_id: str | None = None

    def __post_init__(self) -> None:
        if self.offset_reset not in ("earliest", "latest"):
            message = f"offset_reset must be earliest or latest, received {self.offset_reset!r}"
            raise ValueError(message)
        if self.instance_id is not None and self.group is None:
            message = f"instance_id {self.instance_id!r} needs a group to be a member of"
            raise ValueError(message)

    def require_topics(self) -> None:
        """Refuse to read where nothing to read was named: a caller's mistake."""
        if not self.topics:
            message = "this client was connected without topics, so it can only produce"
            raise ValueError(message)

    def require_group(self) -> str:
        """Return the group, and refuse to commit without one: a caller's mistake."""
        if self.group is None:
            message = "this client was connected without a group, so it cannot commit"
            raise ValueError(message)
        return self.group


def count_when_known(count: Callable[[], int]) -> int:
    """Return how many partitions a topic has, asking again while it may be too new to be known.

    Parameters
    ----------
    count
        Asks a broker; 0 where that one knows no such topic.
    """
    deadline_s = time.monotonic() + NEW_TOPIC_MS / 1000
    while (n_partitions := count()) == 0 and time.monotonic() < deadline_s:
        time.sleep(_NEW_TOPIC_TICK_S)
    return n_partitions


def end_note(note: str) -> str:
    """Return a note as it is committed: with the end that tells how long it is.

    confluent-kafka hands committed metadata back without its length, so what happens to lie behind
    it in memory comes along.
    """
    if "\n" in note:
        message = f"metadata must be one line of text, received {note!r}"
        raise ValueError(message)
    return note and f"{note}\n"


def read_note(committed: bytes) -> str:
    """Return the note in committed metadata, empty where another program wrote it."""
    note, end, _ = committed.partition(b"\n")
    return note.decode() if end else ""


def require_no_transaction(*, is_open: bool) -> None:
    """Refuse to poll while a transaction is open: a caller's mistake.

    What was read last is not committed yet, so a transaction over two polls could be neither
    finished nor done again.
    """
    if is_open:
        message = "a transaction is open; commit it, or reset the client, before the next poll"
        raise ValueError(message)


def unavailable(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a broker that does not answer, or cannot serve yet."""
    message = (
        f"Kafka at {servers} cannot serve now: {reason}; check that it runs, that this address can "
        "be reached from here, and that security_protocol is that of the listener"
    )
    return BrokerUnavailableError(message)


def damaged(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for records whose checksum is wrong; read again, they may be whole."""
    message = (
        f"records from or to Kafka at {servers} came damaged: {reason}; they are sent again; where "
        "the same offset fails each time, the log on the broker's disk is damaged: restore that "
        "replica, or let the group go on behind this batch"
    )
    return BrokerUnavailableError(message)


def rejoin(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a member whose partitions went to another; it may join again."""
    message = (
        f"the consumer group at {servers} was rebalanced and took this member's partitions: "
        f"{reason}; join again and go on at the committed offsets"
    )
    return BrokerUnavailableError(message)


def require_assigned(
    servers: str, partitions: Iterable[TopicPartition], assignment: Iterable[TopicPartition]
) -> None:
    """Raise the error for partitions that are not, or no longer, this member's."""
    foreign = sorted(set(partitions) - set(assignment))
    if foreign:
        names = ", ".join(f"{topic}[{number}]" for topic, number in foreign)
        raise rejoin(servers, f"{names} not assigned to it")


def fenced(servers: str, reason: object) -> FencedError:
    """Return the error for a process that another one has replaced."""
    message = (
        f"Kafka at {servers} refused because another process took this one's place, or this one "
        f"stood still within a transaction: {reason}; stop one of the two, or give each its own id"
    )
    return FencedError(message)


def denied(servers: str, reason: object) -> BrokerError:
    """Return the error for a missing right or a failed login. Never holds a secret."""
    message = (
        f"Kafka at {servers} denied access: {reason}; check security_protocol, the sasl_* and "
        "ssl_* settings, and this user's ACLs on the topics, the group and the transactional id"
    )
    return BrokerError(message)


def refused(servers: str, reason: object) -> BrokerError:
    """Return the error for what the broker will refuse again."""
    message = (
        f"Kafka at {servers} refused: {reason}; trying again will not help, see the broker's log "
        "for the cause"
    )
    return BrokerError(message)


def too_large(servers: str, reason: object) -> BrokerError:
    """Return the error for a record that its topic does not take."""
    message = (
        f"Kafka at {servers} refused a record as too large: {reason}; raise max.message.bytes of "
        f"its topic (this client sends up to {PRODUCE_BYTES_MAX} bytes)"
    )
    return BrokerError(message)


def undelivered(n_records: int, first: BrokerError) -> BrokerError:
    """Return the error for records that were not acknowledged.

    A first reason that sending again cannot cure decides the class; else it is a
    `DeliveryError`, which may be tried again.
    """
    message = (
        f"{n_records} record(s) since the last flush were not acknowledged and are dropped; "
        f"the first reason: {first}"
    )
    if isinstance(first, BrokerUnavailableError):  # neither library says which of the two it was
        message += (
            "; a broker that answers all else takes no record while fewer replicas of the topic "
            "are in sync than its min.insync.replicas"
        )
    kind = DeliveryError if first.retriable else type(first)
    return kind(message)
