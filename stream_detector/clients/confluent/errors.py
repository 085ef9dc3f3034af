"""confluent-kafka's errors, mapped to ours."""

import logging
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from stream_detector.clients import _errors
from stream_detector.errors import BrokerError, missing_topics

# Without a logger the library writes to standard error. All that it logs is reported as an error
# too, so this logger is silent until somebody gives it a handler.
_LOGGER = logging.getLogger("confluent_kafka")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


def _names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# By name: the library's own start with an underscore, the others are the protocol's.
_DENIED = _names(
    """
    _AUTHENTICATION _SSL TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED
    CLUSTER_AUTHORIZATION_FAILED TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    DELEGATION_TOKEN_AUTHORIZATION_FAILED SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM
    ILLEGAL_SASL_STATE SECURITY_DISABLED DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND
    DELEGATION_TOKEN_OWNER_MISMATCH DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_EXPIRED
    INVALID_PRINCIPAL_TYPE PRINCIPAL_DESERIALIZATION_FAILURE UNACCEPTABLE_CREDENTIAL
    """
)
_FENCED = _names(
    """
    _FENCED PRODUCER_FENCED INVALID_PRODUCER_EPOCH INVALID_PRODUCER_ID_MAPPING
    FENCED_INSTANCE_ID UNRELEASED_INSTANCE_ID TRANSACTION_COORDINATOR_FENCED
    """
)
_LOST_PARTITIONS = _names(
    """
    ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS MEMBER_ID_REQUIRED
    FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH _ASSIGNMENT_LOST _MAX_POLL_EXCEEDED
    """
)
MISSING_TOPIC = frozenset(("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"))
_FOREIGN_MEMBERS = "INCONSISTENT_GROUP_PROTOCOL"
_TOO_LARGE = frozenset(("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"))
_BAD_TIMESTAMP = frozenset(("INVALID_TIMESTAMP",))
# The one record at fault, unless the library cannot tell it from the others of its request.
_BAD_CONTENT = frozenset(("INVALID_RECORD",))
# The library skips a batch of records that it found damaged: only a new consumer reads it.
_DAMAGED = frozenset(("_BAD_MSG", "INVALID_MSG"))
_UNAVAILABLE = _names(
    """
    _TRANSPORT _RESOLVE _ALL_BROKERS_DOWN _MSG_TIMED_OUT _TIMED_OUT _TIMED_OUT_QUEUE _QUEUE_FULL
    _ISR_INSUFF _NODE_UPDATE _WAIT_COORD _WAIT_CACHE _IN_PROGRESS _PREV_IN_PROGRESS _INTR _RETRY
    _OUTDATED _PURGE_QUEUE _PURGE_INFLIGHT _DESTROY _DESTROY_BROKER _UNKNOWN_BROKER _STATE
    _GAPLESS_GUARANTEE _PARTIAL _FATAL _INVALID_DIFFERENT_RECORD
    LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE
    REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE
    NOT_COORDINATOR NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND NOT_CONTROLLER
    OUT_OF_ORDER_SEQUENCE_NUMBER UNKNOWN_PRODUCER_ID CONCURRENT_TRANSACTIONS
    OPERATION_NOT_ATTEMPTED KAFKA_STORAGE_ERROR FETCH_SESSION_ID_NOT_FOUND
    INVALID_FETCH_SESSION_EPOCH LISTENER_NOT_FOUND FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH
    STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE PREFERRED_LEADER_NOT_AVAILABLE
    ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED UNSTABLE_OFFSET_COMMIT
    THROTTLING_QUOTA_EXCEEDED UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID TRANSACTION_ABORTABLE
    SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH REBOOTSTRAP_REQUIRED
    """
)
# What the library raises: its own errors, and those of its arguments and of files.
LIBRARY_ERRORS = (KafkaException, SystemError, RuntimeError, ValueError, TypeError, OSError)

REFUSALS = frozenset((KafkaError._AUTHENTICATION, KafkaError._SSL))  # noqa: SLF001
"""Errors that only an error callback reports, and that no retry cures."""

_BUILDERS = (
    (_DENIED, _errors.denied),
    (_FENCED, _errors.fenced),
    (_LOST_PARTITIONS, _errors.lost_partitions),
    (frozenset((_FOREIGN_MEMBERS,)), _errors.foreign_members),
    (_TOO_LARGE, _errors.too_large),
    (_BAD_TIMESTAMP, _errors.bad_timestamp),
    (_BAD_CONTENT, _errors.bad_content),
    (_DAMAGED, _errors.damaged),
    (_UNAVAILABLE, _errors.unavailable),
)


def map_error(
    error: object,
    servers: str,
    topics: Iterable[str] = (),
    transactional_id: str | None = None,
    group: str | None = None,
) -> BrokerError:
    """Return our error for one of confluent-kafka's.

    Parameters
    ----------
    error
        A `KafkaError`, or an exception that holds one.
    servers
        The bootstrap servers, for the message.
    topics
        Topics that were in use, for the message about a missing one.
    transactional_id
        The id that was in use, for the message about one that may not be used.
    group
        The consumer group, for the message about one with other members.
    """
    if isinstance(error, BaseException) and error.args:
        return map_error(error.args[0], servers, topics, transactional_id, group)
    if not isinstance(error, KafkaError):
        return _errors.refused(servers, error)
    name, reason = error.name(), f"{error.name()}: {error.str()}"
    if name == "TOPIC_AUTHORIZATION_FAILED":
        reason += f" ({', '.join(topics)})"
    if name == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" and transactional_id is not None:
        reason += f" ({transactional_id})"
    if name == _FOREIGN_MEMBERS and group is not None:
        reason += f" ({group})"
    if name in MISSING_TOPIC:
        return missing_topics(servers, topics)
    for names, build in _BUILDERS:
        if name in names:
            return build(servers, reason)
    return _errors.refused(servers, reason)


def map_fatal(text: str, servers: str) -> BrokerError:
    """Return our error for a fatal one of which only the log line is known.

    Parameters
    ----------
    text
        As the library logged it, such as "Fatal error: Broker: Cluster authorization failed: ..".
    servers
        The bootstrap servers, for the message.
    """
    lowered = text.lower()
    if "authorization failed" in lowered:
        return _errors.denied(servers, text)
    if "fenced" in lowered:
        return _errors.fenced(servers, text)
    return _errors.refused(servers, text)


class LibraryLog:
    """What the library calls a logger: passes its lines on, and keeps that of a fatal error.

    The library raises a fatal error in the call that meets it. Where it writes a log line in the
    same call, the error is lost and a bare `SystemError` comes out; the line then has the reason.

    Attributes
    ----------
    fatal
        The last line about a fatal error; None where there was none.
    """

    def __init__(self) -> None:
        self.fatal: str | None = None

    def log(self, level: int, text: str, *parts: object) -> None:
        """Pass a line on; `parts` are its facility, the name of the client and the message."""
        if parts and parts[0] == "FATAL":
            self.fatal = str(parts[-1])
        _LOGGER.log(level, text, *parts)


def is_fatal(error: object) -> bool:
    """Return whether the library gave up on a producer or consumer; it does not say why."""
    return bool(_code_of(error) == KafkaError._FATAL)  # noqa: SLF001


def is_unconnected(error: object) -> bool:
    """Return whether the library has no connection; it does not say why."""
    return _code_of(error) in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001


def _code_of(error: object) -> int | None:
    """Return the code of an error of the library, None for others."""
    first = error.args[0] if isinstance(error, KafkaException) else error
    return first.code() if isinstance(first, KafkaError) else None
