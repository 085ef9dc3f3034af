"""confluent-kafka's options, and what is asked of a broker before a consumer or producer exists."""

from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stream_detector.clients import _limits
from stream_detector.clients._subscription import Subscription
from stream_detector.clients.confluent.errors import REFUSALS, map_error
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

# The library retries a refused login again and again; after each of these waits its callback is
# asked for refusals. Together they are the longest wait for a first answer.
_TRIES_S = (0.5, 1.0, _limits.CONNECT_TIMEOUT_MS / 1000 - 1.5)


def connection_config(settings: ConnectionSettings) -> dict[str, Any]:
    """Return the options of consumer, producer and admin client: address, security, timeouts."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "socket.timeout.ms": _limits.REQUEST_TIMEOUT_MS,
        "socket.connection.setup.timeout.ms": _limits.CONNECT_TIMEOUT_MS,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": _limits.METADATA_MAX_AGE_MS,
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
    # The library accepts neither None nor paths: an option that is left out keeps its default.
    is_path = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
    return {
        name: str(value) if name in is_path else value
        for name, value in config.items()
        if value is not None
    }


def consumer_config(subscription: Subscription) -> dict[str, Any]:
    """Return the options of a consumer alone."""
    static = {"group.instance.id": subscription.instance_id} if subscription.instance_id else {}
    return (
        _FETCHING
        | static
        | {
            "group.id": subscription.group or _NO_GROUP,
            "auto.offset.reset": subscription.offset_reset,
            "enable.auto.commit": False,
            # A partition that stays is read without a break while others move.
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            "check.crcs": True,
            "allow.auto.create.topics": False,
            "session.timeout.ms": _limits.SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": _limits.HEARTBEAT_MS,
            "max.poll.interval.ms": _limits.POLL_INTERVAL_MAX_MS,
        }
    )


def log_in(connection: dict[str, Any]) -> None:
    """Log in once, and raise the reason where the broker refuses; later it shows as a timeout only.

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
