"""Errors that every client raises, and the message of each.

Each library's own errors are mapped to these functions in `kafka_python.errors` and
`confluent.errors`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stream_detector.clients import _limits
from stream_detector.core.records import TopicPartition
from stream_detector.errors import (
    BrokerError,
    BrokerUnavailableError,
    DeliveryError,
    FencedError,
    RecordRefusedError,
    Refusal,
)
from stream_detector.limits import own_shortage


class Failure(NamedTuple):
    """A record that was not acknowledged.

    Parameters
    ----------
    number
        Which of the records since the last flush, counted from 0.
    error
        Why.
    """

    number: int
    error: BrokerError


def unavailable(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a broker that does not answer, or cannot serve yet.

    Where this process lacks the means to connect, the error says that instead.
    """
    lacking = own_shortage(reason)
    if lacking is not None:
        return BrokerUnavailableError(f"no connection to Kafka at {servers} is possible: {lacking}")
    message = (
        f"Kafka at {servers} cannot serve now: {reason}; check that it runs, that this address can "
        "be reached from here, and that security_protocol is that of the listener"
    )
    return BrokerUnavailableError(message)


def damaged(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for records with a wrong checksum, which a second read may find intact."""
    message = (
        f"records from or to Kafka at {servers} came damaged: {reason}; they are sent again; where "
        "the same offset fails each time, the log on the broker's disk is damaged: restore that "
        "replica, or set the group's committed offset behind this batch"
    )
    return BrokerUnavailableError(message)


def lost_partitions(servers: str, reason: object) -> BrokerUnavailableError:
    """Return the error for a member that lost its partitions to another; it may join again."""
    message = (
        f"the consumer group at {servers} was rebalanced and took this member's partitions: "
        f"{reason}; join again and continue from the committed offsets"
    )
    return BrokerUnavailableError(message)


def require_assigned(
    servers: str, partitions: Iterable[TopicPartition], assignment: Iterable[TopicPartition]
) -> None:
    """Raise `lost_partitions` where a partition is not assigned to this member.

    Parameters
    ----------
    servers
        The bootstrap servers, for the message.
    partitions
        Partitions that the caller wants to use.
    assignment
        Partitions that are assigned to this member.
    """
    foreign = sorted(set(partitions) - set(assignment))
    if foreign:
        names = ", ".join(f"{topic}[{number}]" for topic, number in foreign)
        raise lost_partitions(servers, f"{names} not assigned to it")


def fenced(servers: str, reason: object) -> FencedError:
    """Return the error for a process that another one has replaced."""
    message = (
        f"Kafka at {servers} refused because another process took this one's place, or this one "
        f"stood still within a transaction: {reason}; stop one of the two, or give each its own id"
    )
    return FencedError(message)


def denied(servers: str, reason: object) -> BrokerError:
    """Return the error for a missing right or a failed login; its message holds no secret."""
    message = (
        f"Kafka at {servers} denied access: {reason}; check security_protocol, the sasl_* and "
        "ssl_* settings, and this user's ACLs on the topics, the group and the transactional id"
    )
    return BrokerError(message)


def foreign_members(servers: str, reason: object) -> BrokerError:
    """Return the error for a group whose members divide its partitions in another way."""
    message = (
        f"Kafka at {servers} does not take this process into its consumer group: {reason}; the "
        "members that are in it divide the partitions otherwise than by the assignor "
        "cooperative-sticky, so they are another program's: stop them, or use another --group"
    )
    return BrokerError(message)


def refused(servers: str, reason: object) -> BrokerError:
    """Return the error for a request that the broker will refuse again.

    Where this process lacks the means to make it, the error says that instead, and may be retried.
    """
    if own_shortage(reason) is not None:
        return unavailable(servers, reason)
    message = (
        f"Kafka at {servers} refused: {reason}; trying again will not help, see the broker's log "
        "for the cause"
    )
    return BrokerError(message)


def too_large(servers: str, reason: object) -> RecordRefusedError:
    """Return the error for a record that is larger than its topic accepts."""
    message = (
        f"Kafka at {servers} refused a record as too large: {reason}; raise max.message.bytes of "
        f"its topic (this client sends up to {_limits.PRODUCE_BYTES_MAX} bytes)"
    )
    return RecordRefusedError(message, {0: "size"}, [0])


def bad_timestamp(servers: str, reason: object) -> RecordRefusedError:
    """Return the error for a record whose time is too far from the broker's."""
    message = (
        f"Kafka at {servers} refused a record for its time: {reason}; raise "
        "message.timestamp.before.max.ms and message.timestamp.after.max.ms of its topic"
    )
    return RecordRefusedError(message, {0: "timestamp"}, [0])


def bad_content(servers: str, reason: object) -> RecordRefusedError:
    """Return the error for a record that a broker finds invalid, and does not always say why."""
    message = (
        f"Kafka at {servers} refused a record as invalid: {reason}; a topic with "
        "cleanup.policy=compact takes no record without a key, and message.timestamp.*.max.ms "
        "limit its time"
    )
    return RecordRefusedError(message, {0: "content"}, [0])


def undelivered(failures: Sequence[Failure], first: BrokerError) -> BrokerError:
    """Return the error for records that were not acknowledged.

    Parameters
    ----------
    failures
        All of them, at least one.
    first
        Why the first of them failed.

    Returns
    -------
    A `RecordRefusedError` where some were refused for what they are; else a `DeliveryError`, which
    may be retried, or an error of the class of `first` where that one is not retriable.
    """
    n_records, refusals = len(failures), refusals_of(failures)
    if refusals and not isinstance(first, RecordRefusedError):
        first = next(each.error for each in failures if isinstance(each.error, RecordRefusedError))
    message = (
        f"{n_records} record(s) since the last flush were not acknowledged and are dropped; "
        f"the first reason: {first}"
    )
    if isinstance(first, BrokerUnavailableError):  # neither library says which of the two it was
        message += (
            "; a broker that answers all other requests accepts no record while fewer replicas of "
            "the topic are in sync than its min.insync.replicas"
        )
    if refusals:
        return RecordRefusedError(message, refusals, sorted(each.number for each in failures))
    if first.retriable or isinstance(first, RecordRefusedError):
        return DeliveryError(message)  # if none is known to be refused, all are sent once more
    return type(first)(message)


def refusals_of(failures: Iterable[Failure]) -> dict[int, Refusal]:
    """Return what is wrong with the records that were refused for what they are, by number."""
    return {
        each.number: refusal
        for each in failures
        if isinstance(each.error, RecordRefusedError)
        for refusal in each.error.refusals.values()
    }


class RaisedObjectError(Exception):
    """Holds what a library raised though it is no exception."""


class ObjectsAsExceptions:
    """Raises what is no exception as a `RaisedObjectError`.

    confluent-kafka raises some fatal errors as a `KafkaError`, which no `except` clause can name.
    """

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, raised: object, traceback: object) -> None:
        """Raise an exception for anything else that was raised."""
        if raised is not None and not isinstance(raised, BaseException):
            raise RaisedObjectError(raised)
