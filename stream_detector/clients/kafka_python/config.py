"""kafka-python's options, its broker version, and its errors in our words."""

import socket
import struct
from collections.abc import Iterable
from functools import partial
from typing import Any

import kafka
from kafka import errors as kafka_errors

from stream_detector.clients import _common
from stream_detector.clients._preflight import reach
from stream_detector.clients.kafka_python.login import log_in
from stream_detector.errors import BrokerError, missing_topics
from stream_detector.settings import ConnectionSettings

# What the library raises: its own errors, and those of sockets, TLS files and its arguments.
LIBRARY_ERRORS = (
    kafka_errors.KafkaError,
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    struct.error,
)

_REJOIN = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.MemberIdRequiredError,
    kafka_errors.FencedMemberEpochError,
    kafka_errors.StaleMemberEpochError,
)
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.InvalidProducerIdMappingError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.UnreleasedInstanceIdError,
    kafka_errors.TransactionCoordinatorFencedError,
)
_DENIED = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    kafka_errors.SecurityDisabledError,
    kafka_errors.DelegationTokenAuthDisabledError,
    kafka_errors.DelegationTokenNotFoundError,
    kafka_errors.DelegationTokenOwnerMismatchError,
    kafka_errors.DelegationTokenRequestNotAllowedError,
    kafka_errors.DelegationTokenExpiredError,
    kafka_errors.InvalidPrincipalTypeError,
    kafka_errors.PrincipalDeserializationFailureError,
    kafka_errors.UnacceptableCredentialError,
)
_TOO_LARGE = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
)
# Not marked retriable by the library, yet over once the producer or the connection is new.
_UNAVAILABLE = (
    kafka_errors.BrokerNotAvailableError,
    kafka_errors.UnknownBrokerIdError,
    kafka_errors.QuotaViolationError,
    kafka_errors.TransactionAbortedError,
    kafka_errors.TransactionAbortableError,
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.UnknownProducerIdError,
    kafka_errors.NewLeaderElectedError,
    kafka_errors.StaleBrokerEpochError,
    kafka_errors.OperationNotAttemptedError,
    kafka_errors.KafkaProtocolError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)

_NO_TOPIC_CODES = frozenset(
    (kafka_errors.UnknownTopicOrPartitionError.errno, kafka_errors.InvalidTopicError.errno)
)

_API_VERSIONS_MODERN = 3


def map_error(
    error: BaseException,
    servers: str,
    topics: Iterable[str] = (),
    transactional_id: str | None = None,
) -> BrokerError:
    """Return our error for one of kafka-python's.

    Parameters
    ----------
    error
        What the library raised, or what a record's acknowledgement holds.
    servers
        The bootstrap servers, for the message.
    topics
        Topics that were in use, for the message about a missing one.
    transactional_id
        The id that was in use, for the message about one that may not be used.
    """
    reason = str(error) or type(error).__name__
    is_id_denied = isinstance(error, kafka_errors.TransactionalIdAuthorizationFailedError)
    if is_id_denied and transactional_id is not None:
        reason += f" ({transactional_id})"
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return missing_topics(servers, topics)
    for kinds, build in (
        (_DENIED, _common.denied),
        (_FENCED, _common.fenced),
        (_REJOIN, _common.rejoin),
        (_TOO_LARGE, _common.too_large),
        (kafka_errors.CorruptRecordError, _common.damaged),
        (_UNAVAILABLE, _common.unavailable),
    ):
        if isinstance(error, kinds):
            return build(servers, reason)
    # What keeps an idempotent producer from its id comes as text in an error of no class.
    if type(error) is kafka_errors.KafkaError and "AuthorizationFailed" in reason:
        return _common.denied(servers, reason)
    if isinstance(error, kafka_errors.KafkaError) and error.retriable:
        return _common.unavailable(servers, reason)
    return _common.refused(servers, reason)


def connection_config(settings: ConnectionSettings) -> dict[str, Any]:
    """Return what consumer, producer and admin client all take: address, security, timeouts."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "bootstrap_timeout_ms": _common.CONNECT_TIMEOUT_MS,
        "request_timeout_ms": _common.REQUEST_TIMEOUT_MS,
        "reconnect_backoff_max_ms": 1_000,
        "metadata_max_age_ms": _common.METADATA_MAX_AGE_MS,
    }
    if settings.security_protocol.endswith("SSL"):
        password = settings.ssl_key_password
        config |= {
            "ssl_check_hostname": settings.ssl_check_hostname,
            "ssl_cafile": _text(settings.ssl_cafile),
            "ssl_certfile": _text(settings.ssl_certfile),
            "ssl_keyfile": _text(settings.ssl_keyfile),
            "ssl_password": password.get_secret_value() if password else None,
        }
    if settings.security_protocol.startswith("SASL"):
        secret = settings.sasl_password
        config |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": secret.get_secret_value() if secret else None,
        }
    return config


def count_partitions(config: dict[str, Any], topic: str) -> int:
    """Ask the broker how many partitions a topic has, 0 where it does not exist; creates none.

    Parameters
    ----------
    config
        What `connection_config` gave.
    topic
        Its name.
    """
    admin = kafka.KafkaAdminClient(**config)

    def count() -> int:
        (described,) = admin.describe_topics([topic])
        code = described["error_code"]
        if code in _NO_TOPIC_CODES:
            return 0
        if code and not described["partitions"]:
            raise kafka_errors.for_code(code)(topic)
        return len(described["partitions"])

    try:
        return _common.count_when_known(count)
    finally:
        admin.close()


def detect_api_version(
    settings: ConnectionSettings, config: dict[str, Any]
) -> tuple[int, int] | None:
    """Return the broker version kafka-python must be told, None where it finds out itself.

    Its first request is one that brokers before 2.4 refuse. It understands a real broker's
    refusal, but not that of librdkafka's mock cluster, and would try until its time is up. The
    same goes for a refused login, so that one is tried here too.

    Parameters
    ----------
    settings
        How to reach Kafka.
    config
        What `connection_config` gave for them.

    Raises
    ------
    BrokerError, ConfigError
        As `reach` does, which asks the broker: sooner than the library would say so.
    kafka.errors.KafkaError
        If the broker refused the login.
    """
    is_sasl = settings.security_protocol.startswith("SASL")
    newest = reach(settings, partial(log_in, config=config) if is_sasl else None)
    return (2, 3) if newest < _API_VERSIONS_MODERN else None


def _text(path: object) -> str | None:
    """Return a path as text, None where there is none."""
    return None if path is None else str(path)
