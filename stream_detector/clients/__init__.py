"""Clients: what fits `stream_detector.ports.Client`.

`connect` picks by name and loads only that library. `memory` is a broker in this
process for tests and trials, `embedded` a real one to connect to.
"""

from collections.abc import Sequence

from stream_detector.clients._common import Subscription
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

    Nothing is sent yet: reading and writing parts connect when they are first used, and
    raise `BrokerUnavailableError` within seconds where no broker answers.

    Parameters
    ----------
    settings
        How to reach Kafka, and with which library.
    topics
        What to read; none gives a client that only produces.
    group
        Consumer group to join. None reads every partition of `topics`, from the beginning
        or the end, and can not commit.
    offset_reset
        "earliest" or "latest": where reading starts without a committed offset.
    transactional_id
        Makes records and offsets one transaction a commit; whoever uses the same id next takes
        this client's place.
    instance_id
        A member that comes back under this id (Kafka's `group.instance.id`) gets its partitions
        back without a rebalance.

    Raises
    ------
    ConfigError
        If the library is not installed.
    ValueError
        If `offset_reset` is neither: a caller's mistake.
    """
    subscription = Subscription(tuple(topics), group, offset_reset, transactional_id, instance_id)
    if settings.client == "kafka-python":
        from stream_detector.clients.kafka_python.client import (  # noqa: PLC0415
            KafkaPythonClient,
        )

        return KafkaPythonClient(settings, subscription)
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
    return ConfluentClient(settings, subscription)
