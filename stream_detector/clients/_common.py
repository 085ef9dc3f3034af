"""What the clients share: what to read, limits, and the words of their errors."""

from dataclasses import dataclass

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

METADATA_MAX_AGE_MS = 15_000
"""How soon a moved leader or a new partition is seen at the latest."""

UNACKNOWLEDGED_RECORDS_MAX = 10_000
"""Records handed over and not yet acknowledged; one more waits."""

UNACKNOWLEDGED_BYTES_MAX = 64 * 1024 * 1024
"""The same in bytes of keys and values."""

PRODUCE_BYTES_MAX = 32 * 1024 * 1024
"""Largest record a client hands over. Above Kafka's own default, so that the topic's
`max.message.bytes` decides and a large dead letter is not refused here."""


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
    """

    topics: tuple[str, ...] = ()
    group: str | None = None
    offset_reset: str = "earliest"

    def __post_init__(self) -> None:
        if self.offset_reset not in ("earliest", "latest"):
            message = f"offset_reset must be earliest or latest, received {self.offset_reset!r}"
            raise ValueError(message)

    def require_topics(self) -> None:
        """Refuse to read where nothing to read was named: a caller's mistake."""
        if not self.topics:
            message = "this client was connected without topics, so it can only produce"
            raise ValueError(message)

    def require_no_group(self) -> None:
        """Refuse where a group says what is read: a caller's mistake."""
        if self.group is not None:
            message = "this client reads as a member of a group, which gives it its partitions"
            raise ValueError(message)

    def require_group(self) -> None:
        """Refuse to commit without a group: a caller's mistake."""
        if self.group is None:
            message = "this client was connected without a group, so it cannot commit"
            raise ValueError(message)


def unavailable(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a broker that does not answer, or cannot serve yet."""
    message = (
        f"Kafka at {servers} cannot serve now: {reason}; check that it runs and that this address "
        "can be reached from here"
    )
    return BrokerUnavailableError(message)


def rejoin(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a member whose partitions went to another; it may join again."""
    message = (
        f"the consumer group at {servers} was rebalanced and took this member's partitions: "
        f"{reason}; join again and go on at the committed offsets"
    )
    return BrokerUnavailableError(message)


def fenced(servers: str, reason: object) -> FencedError:
    """Return the error for a process that another one has replaced."""
    message = (
        f"Kafka at {servers} refused because another process took this one's place: {reason}; "
        "stop one of the two, or give each its own id"
    )
    return FencedError(message)


def denied(servers: str, reason: object) -> BrokerError:
    """Return the error for a missing right or a failed login. Never holds a secret."""
    message = (
        f"Kafka at {servers} denied access: {reason}; check security_protocol, the sasl_* and "
        "ssl_* settings, and this user's ACLs on the topics and the group"
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
    kind = DeliveryError if first.retriable else type(first)
    return kind(message)
