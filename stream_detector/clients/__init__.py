"""Clients of Kafka, which fit `stream_detector.ports.Client`.

`connect` chooses a library by name and loads only that one. `memory` is a broker in this process
for tests and trials; `embedded` is a broker that speaks the Kafka protocol.
"""

from collections.abc import Sequence

from stream_detector.clients._subscription import Subscription
from stream_detector.errors import ConfigError
from stream_detector.ports import Client
from stream_detector.settings import ConnectionSettings

__all__ = ["connect"]


def connect(
    settings: ConnectionSettings,
    *,
    topics: Sequence[str] = (),
    group: str | None = None,
    offset_reset: str = "earliest",
    transactional_id: str | None = None,
    instance_id: str | None = None,
) -> Client:
    """Return a client of the library that the settings name.

    Nothing is sent yet: consumer and producer connect when they are first used, and raise
    `BrokerUnavailableError` within seconds where no broker answers.

    Parameters
    ----------
    settings
        How to reach Kafka, and with which library.
    topics
        What to read; empty returns a client that only produces.
    group
        Consumer group to join. None reads every partition of `topics` from the earliest or the
        latest offset, and cannot commit.
    offset_reset
        "earliest" or "latest": where reading starts without a committed offset.
    transactional_id
        Makes the records and offsets of each commit one transaction. A later client with the same
        id fences this one.
    instance_id
        A member that returns under this id (Kafka's `group.instance.id`) gets its partitions back
        without a rebalance.

    Raises
    ------
    ConfigError
        If the library is not installed.
    ValueError
        If `offset_reset` is neither: a caller's mistake.
    """
    subscription = Subscription(tuple(topics), group, offset_reset, transactional_id, instance_id)
    if settings.client == "kafka-python":
        return _kafka_python_client(settings, subscription)
    try:
        from stream_detector.clients.confluent.client import ConfluentClient  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("confluent_kafka"):
            raise
        message = (
            "client = confluent needs the package confluent-kafka, which is not installed; "
            "run: pip install 'stream-detector[confluent]', or use client = kafka-python"
        )
        raise ConfigError(message) from None
    return ConfluentClient(
        settings,
        subscription,
        lambda topic: _kafka_python_client(settings, Subscription((topic,), None)),
    )


def _kafka_python_client(settings: ConnectionSettings, subscription: Subscription) -> Client:
    """Return a client on kafka-python, which is always installed."""
    from stream_detector.clients.kafka_python.client import KafkaPythonClient  # noqa: PLC0415

    return KafkaPythonClient(settings, subscription)
