"""kafka-python's options, its broker version, and its errors in our words."""

import socket
import struct
from collections.abc import Iterable
from typing import Any

import kafka
from kafka import errors as kafka_errors

from stream_detector.clients import _common
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

_API_VERSIONS_KEY = 18
# An ApiVersions request of version 0 with no client name, understood by every broker.
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, _API_VERSIONS_KEY, 0, 1, -1)
_API_VERSIONS_MODERN = 3


def map_error(error: BaseException, servers: str, topics: Iterable[str] = ()) -> BrokerError:
    """Return our error for one of kafka-python's.

    Parameters
    ----------
    error
        What the library raised, or what a record's acknowledgement holds.
    servers
        The bootstrap servers, for the message.
    topics
        Topics that were in use, for the message about a missing one.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return missing_topics(servers, topics)
    for kinds, build in (
        (_DENIED, _common.denied),
        (_FENCED, _common.fenced),
        (_REJOIN, _common.rejoin),
        (_TOO_LARGE, _common.too_large),
        (_UNAVAILABLE, _common.unavailable),
    ):
        if isinstance(error, kinds):
            return build(servers, reason)
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
    try:
        (described,) = admin.describe_topics([topic])
    finally:
        admin.close()
    code = described["error_code"]
    if code in _NO_TOPIC_CODES:
        return 0
    if code and not described["partitions"]:
        raise kafka_errors.for_code(code)(topic)
    return len(described["partitions"])


def detect_api_version(settings: ConnectionSettings) -> tuple[int, int] | None:
    """Return the broker version kafka-python must be told, None where it finds out itself.

    Its first request is one that brokers before 2.4 refuse. It understands a real broker's
    refusal, but not that of librdkafka's mock cluster, and would try until its time is up.

    Raises
    ------
    OSError
        If no bootstrap server accepts a connection: sooner than the library would say so.
    """
    if settings.security_protocol != "PLAINTEXT":
        return None
    failure = OSError("no bootstrap server given")
    for address in settings.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            newest = _newest_api_versions(host or address.strip(), int(port) if host else 9092)
        except OSError as error:
            failure = error
        else:
            return (2, 3) if newest < _API_VERSIONS_MODERN else None
    message = f"no connection to {settings.bootstrap_servers} ({failure})"
    raise ConnectionError(message) from failure


def _newest_api_versions(host: str, port: int) -> int:
    """Ask a broker for the newest version of the ApiVersions request it knows."""
    address = (host.strip("[]"), port)
    with socket.create_connection(address, _common.CONNECT_TIMEOUT_MS / 1000) as connection:
        connection.sendall(_API_VERSIONS_REQUEST)
        with connection.makefile("rb") as answer:
            head = answer.read(4)
            body = answer.read(struct.unpack(">i", head)[0]) if len(head) == 4 else b""  # noqa: PLR2004
    # Answer: correlation id, error code, number of entries, then (key, oldest, newest) of each.
    for key, _, newest in struct.iter_unpack(">hhh", body[10 : 10 + (len(body) - 10) // 6 * 6]):
        if key == _API_VERSIONS_KEY:
            return int(newest)
    message = f"{host}:{port} does not answer as a Kafka broker does"
    raise ConnectionError(message)


def _text(path: object) -> str | None:
    """Return a path as text, None where there is none."""
    return None if path is None else str(path)
