"""confluent-kafka's options, and its errors in our words."""

import time
from collections.abc import Iterable
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_detector.clients import _common
from stream_detector.clients._common import Subscription
from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerError, missing_topics
from stream_detector.settings import ConnectionSettings

# A consumer must belong to a group even where it neither joins nor commits.
_NO_GROUP = "stream-detector-reader"

_FETCHING: dict[str, Any] = {
    # By default a consumer that outran its queue sleeps a second.
    "fetch.queue.backoff.ms": 1,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 128 * 1024,
    "fetch.message.max.bytes": 4_000_000,
}


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
_REJOIN = _names(
    """
    ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS MEMBER_ID_REQUIRED
    FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH _ASSIGNMENT_LOST _MAX_POLL_EXCEEDED
    """
)
_MISSING = frozenset(("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"))
_TOO_LARGE = frozenset(("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"))
# The library goes on behind a batch of records that it found damaged: only a new consumer reads it.
_DAMAGED = frozenset(("_BAD_MSG", "INVALID_MSG"))
_UNAVAILABLE = _names(
    """
    _TRANSPORT _RESOLVE _ALL_BROKERS_DOWN _MSG_TIMED_OUT _TIMED_OUT _TIMED_OUT_QUEUE _QUEUE_FULL
    _ISR_INSUFF _NODE_UPDATE _WAIT_COORD _WAIT_CACHE _IN_PROGRESS _PREV_IN_PROGRESS _INTR _RETRY
    _OUTDATED _PURGE_QUEUE _PURGE_INFLIGHT _DESTROY _DESTROY_BROKER _UNKNOWN_BROKER _STATE
    _GAPLESS_GUARANTEE _PARTIAL _FATAL
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
LIBRARY_ERRORS = (KafkaException, SystemError, RuntimeError, ValueError, TypeError, OSError)

REFUSALS = frozenset((KafkaError._AUTHENTICATION, KafkaError._SSL))  # noqa: SLF001
"""What only an error callback hears of, and what trying again does not cure."""

# The library tries a refused login again and again; whether there was one shows between two of
# these. Together they are the longest wait for a first answer.
_TRIES_S = (0.5, 1.0, _common.CONNECT_TIMEOUT_MS / 1000 - 1.5)

# How long to wait before a partition that is only just being started is sought in again.
_SEEK_TICK_S = 0.002

_BUILDERS = (
    (_DENIED, _common.denied),
    (_FENCED, _common.fenced),
    (_REJOIN, _common.rejoin),
    (_TOO_LARGE, _common.too_large),
    (_DAMAGED, _common.damaged),
    (_UNAVAILABLE, _common.unavailable),
)


def map_error(
    error: object, servers: str, topics: Iterable[str] = (), transactional_id: str | None = None
) -> BrokerError:
    """Return our error for one of confluent-kafka's.

    Parameters
    ----------
    error
        A `KafkaError`, or the exception that holds one.
    servers
        The bootstrap servers, for the message.
    topics
        Topics that were in use, for the message about a missing one.
    transactional_id
        The id that was in use, for the message about one that may not be used.
    """
    if isinstance(error, BaseException) and error.args:
        return map_error(error.args[0], servers, topics, transactional_id)
    if not isinstance(error, KafkaError):
        return _common.refused(servers, error)
    name, reason = error.name(), f"{error.name()}: {error.str()}"
    if name == "TOPIC_AUTHORIZATION_FAILED":
        reason += f" ({', '.join(topics)})"
    if name == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" and transactional_id is not None:
        reason += f" ({transactional_id})"
    if name in _MISSING:
        return missing_topics(servers, topics)
    for names, build in _BUILDERS:
        if name in names:
            return build(servers, reason)
    return _common.refused(servers, reason)


def is_fatal(error: object) -> bool:
    """Return whether the library says that a producer or consumer is of no more use, not why."""
    first = error.args[0] if isinstance(error, KafkaException) else error
    return isinstance(first, KafkaError) and first.code() == KafkaError._FATAL  # noqa: SLF001


def connection_config(settings: ConnectionSettings) -> dict[str, Any]:
    """Return what consumer, producer and admin client all take: address, security, timeouts."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "socket.timeout.ms": _common.REQUEST_TIMEOUT_MS,
        "socket.connection.setup.timeout.ms": _common.CONNECT_TIMEOUT_MS,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": _common.METADATA_MAX_AGE_MS,
    }
    if settings.security_protocol.endswith("SSL"):
        password = settings.ssl_key_password
        config |= {
            "ssl.endpoint.identification.algorithm": (
                "https" if settings.ssl_check_hostname else "none"
            ),
            "ssl.ca.location": settings.ssl_cafile,
            "ssl.certificate.location": settings.ssl_certfile,
            "ssl.key.location": settings.ssl_keyfile,
            "ssl.key.password": password.get_secret_value() if password else None,
        }
    if settings.security_protocol.startswith("SASL"):
        secret = settings.sasl_password
        config |= {
            "sasl.mechanisms": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": secret.get_secret_value() if secret else None,
        }
    # The library takes no None and no paths: what was not given keeps its default.
    is_path = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
    return {
        name: str(value) if name in is_path else value
        for name, value in config.items()
        if value is not None
    }


def consumer_config(subscription: Subscription) -> dict[str, Any]:
    """Return a consumer's own options."""
    static = {"group.instance.id": subscription.instance_id} if subscription.instance_id else {}
    return (
        _FETCHING
        | static
        | {
            "group.id": subscription.group or _NO_GROUP,
            "auto.offset.reset": subscription.offset_reset,
            "enable.auto.commit": False,
            # A partition that stays is read on while others change hands.
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            "check.crcs": True,
            "allow.auto.create.topics": False,
            "session.timeout.ms": _common.SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": _common.HEARTBEAT_MS,
            "max.poll.interval.ms": _common.POLL_INTERVAL_MAX_MS,
        }
    )


def log_in(connection: dict[str, Any]) -> None:
    """Log in once: where a login is refused, all else shows only that time ran out.

    Parameters
    ----------
    connection
        The options that every part of the library takes.

    Raises
    ------
    BrokerError
        If the broker refuses the login, or does not answer.
    """
    refusals: list[KafkaError] = []
    admin = AdminClient(connection | {"error_cb": refusals.append})
    failure: KafkaException | None = None
    for timeout_s in _TRIES_S:
        try:
            admin.list_topics(timeout=timeout_s)
        except KafkaException as error:
            failure = error
            admin.poll(0)  # only this calls the callback
            for refusal in refusals:
                if refusal.code() in REFUSALS:
                    raise map_error(refusal, connection["bootstrap.servers"]) from error
        else:
            return
    raise map_error(failure, connection["bootstrap.servers"]) from failure


def count_partitions(connection: dict[str, Any], topic: str) -> int:
    """Ask the broker how many partitions a topic has, 0 where it does not exist; creates none.

    Parameters
    ----------
    connection
        The options that every part of the library takes.
    topic
        Its name.

    Raises
    ------
    BrokerError
        If the broker refuses to say.
    KafkaException
        If it does not answer.
    """
    # The library asks brokers to make a topic that is asked for, unless told otherwise.
    admin = AdminClient(connection | {"allow.auto.create.topics": False})
    timeout_s = _common.CONNECT_TIMEOUT_MS / 1000

    def count() -> int:
        found = admin.list_topics(topic, timeout=timeout_s).topics[topic]
        if found.error is None or found.partitions or found.error.name() in _MISSING:
            return len(found.partitions)
        raise map_error(found.error, connection["bootstrap.servers"], [topic])

    return _common.count_when_known(count)


def committed_metadata(partition: Any) -> bytes:
    """Return the metadata of a committed offset, and whatever lies behind it in memory."""
    try:
        return (partition.metadata or "").encode()
    except UnicodeDecodeError as error:
        return error.object


def watermarks(consumer: Any, partition: TopicPartition) -> tuple[int, int]:
    """Ask the broker for a partition's first offset and its end."""
    theirs = confluent_kafka.TopicPartition(*partition)
    found = consumer.get_watermark_offsets(theirs, timeout=_common.REQUEST_TIMEOUT_MS / 1000)
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
    return int(found[0]), int(found[1])


def seek(consumer: Any, partition: TopicPartition, offset: int) -> None:
    """Let a consumer go on at an offset, as soon as the library has started the partition."""
    deadline_s = time.monotonic() + _common.REQUEST_TIMEOUT_MS / 1000
    while True:
        try:
            consumer.seek(confluent_kafka.TopicPartition(*partition, offset))
        except KafkaException as error:
            is_started = error.args[0].code() != KafkaError._STATE  # noqa: SLF001
            if is_started or time.monotonic() >= deadline_s:
                raise
            time.sleep(_SEEK_TICK_S)
        else:
            return
