"""kafka-python's options, and what is asked of a broker before the library connects."""

import socket
from functools import partial
from typing import Any

import kafka
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from stream_detector.clients import _limits
from stream_detector.clients._base import count_when_known
from stream_detector.clients._preflight import API_VERSIONS_MODERN, check_connection
from stream_detector.clients._subscription import Subscription
from stream_detector.settings import ConnectionSettings

# With 4 partitions one fetch holds 28,000 records of 560 bytes; 8 MiB were slower to parse.
FETCH_BYTES_PER_PARTITION = 4 * 1024 * 1024

# A real broker answers a waiting fetch when a record comes, the embedded one when its wait ends.
EMBEDDED_FETCH_WAIT_MS = 10

_NO_TOPIC_CODES = frozenset(
    (kafka_errors.UnknownTopicOrPartitionError.errno, kafka_errors.InvalidTopicError.errno)
)


_ANSWER_BYTES_MAX = 64 * 1024


def connection_config(settings: ConnectionSettings) -> dict[str, Any]:
    """Return the options of consumer, producer and admin client: address, security, timeouts."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "bootstrap_timeout_ms": _limits.CONNECT_TIMEOUT_MS,
        "request_timeout_ms": _limits.REQUEST_TIMEOUT_MS,
        "reconnect_backoff_max_ms": 1_000,
        "metadata_max_age_ms": _limits.METADATA_MAX_AGE_MS,
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


def consumer_config(subscription: Subscription, *, is_embedded: bool) -> dict[str, Any]:
    """Return the options of a consumer alone.

    Parameters
    ----------
    subscription
        What to read.
    is_embedded
        Whether the broker is librdkafka's mock cluster.
    """
    waiting = {"fetch_max_wait_ms": EMBEDDED_FETCH_WAIT_MS} if is_embedded else {}
    return waiting | {
        "group_id": subscription.group,
        "group_instance_id": subscription.instance_id,
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "auto_offset_reset": subscription.offset_reset,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "check_crcs": True,
        "allow_auto_create_topics": False,
        "session_timeout_ms": _limits.SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": _limits.HEARTBEAT_MS,
        "max_poll_interval_ms": _limits.POLL_INTERVAL_MAX_MS,
        "max_partition_fetch_bytes": FETCH_BYTES_PER_PARTITION,
    }


def count_partitions(config: dict[str, Any], topic: str) -> int:
    """Ask the broker how many partitions a topic has, 0 where it does not exist; creates none.

    Parameters
    ----------
    config
        The result of `connection_config`, with the API version.
    topic
        Its name.

    Raises
    ------
    kafka.errors.KafkaError
        If the broker refuses or does not answer.
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
        return count_when_known(count)
    finally:
        admin.close()


def describe_topic(config: dict[str, Any], topic: str) -> dict[str, str]:
    """Ask the broker how a topic is configured.

    Parameters
    ----------
    config
        The result of `connection_config`, with the API version.
    topic
        Its name.

    Returns
    -------
    Values by name; empty where this user may not ask.
    """
    admin = kafka.KafkaAdminClient(**config)
    try:
        found = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
    finally:
        admin.close()
    entries = found.get("topic", {}).get(topic, {})
    return {name: str(entry["value"]) for name, entry in entries.items()}


def detect_api_version(
    settings: ConnectionSettings, config: dict[str, Any]
) -> tuple[int, int] | None:
    """Return the broker version to pass to kafka-python, None where it detects it itself.

    The library's first request is one that brokers before 2.4 refuse. It understands the refusal
    of a real broker, but not that of librdkafka's mock cluster, and would retry until its time is
    up. It retries after a refused login too, so the login is tried here as well.

    Parameters
    ----------
    settings
        How to reach Kafka.
    config
        The result of `connection_config` for them.

    Raises
    ------
    BrokerError, ConfigError
        If `check_connection` finds the cause, sooner than the library would report it.
    kafka.errors.KafkaError
        If the broker refused the login.
    """
    is_sasl = settings.security_protocol.startswith("SASL")
    newest = check_connection(settings, partial(log_in, config=config) if is_sasl else None)
    return (2, 3) if newest < API_VERSIONS_MODERN else None


def log_in(connection: socket.socket, config: dict[str, Any]) -> None:
    """Log in with SASL by the library's own codec, and raise the reason where the broker refuses.

    A broker that refuses a login sends the reason and closes the connection. The library (3.0.12)
    drops what it reads together with the end of a connection, so that a wrong password looks like
    a broker that went away, and it retries until its time is up.

    Parameters
    ----------
    connection
        Open, and no answer is pending on it.
    config
        The result of `connection_config`.

    Raises
    ------
    kafka.errors.KafkaError
        If the broker refused.
    OSError
        If the connection ended without an answer.
    """
    protocol = KafkaProtocol(receive_message_max_bytes=_ANSWER_BYTES_MAX)
    name = config["sasl_mechanism"]
    offer = _ask(connection, protocol, SaslHandshakeRequest(mechanism=name, version=1))
    if offer.error_code:
        reason = f"{name}; this listener takes: {', '.join(offer.mechanisms) or 'none'}"
        raise kafka_errors.for_code(offer.error_code)(reason)
    mechanism = get_sasl_mechanism(name)(**config)
    while not mechanism.is_done():
        request = SaslAuthenticateRequest(mechanism.auth_bytes(), version=0)
        answer = _ask(connection, protocol, request)
        if answer.error_code:
            raise kafka_errors.SaslAuthenticationFailedError(answer.error_message)
        mechanism.receive(answer.auth_bytes)


def _ask(connection: socket.socket, protocol: KafkaProtocol, request: Any) -> Any:
    """Send a request on a connection and return the answer."""
    protocol.send_request(request)
    connection.sendall(protocol.send_bytes())
    while True:
        data = connection.recv(_ANSWER_BYTES_MAX)
        if not data:
            message = "the broker ended the connection during the login"
            raise ConnectionError(message)
        for _, answer in protocol.receive_bytes(data):
            return answer


def _text(path: object) -> str | None:
    """Return a path as text, None where there is none."""
    return None if path is None else str(path)
