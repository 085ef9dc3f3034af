"""What confluent-kafka's admin client is asked: about topics, and the ends of their logs.

The consumer could be asked, too, but its answers wait behind a fetch that waits for records: half
a second for each partition of a quiet topic. The admin client has connections of its own and asks
for all partitions at once.
"""

from collections.abc import Iterable
from typing import Any

import confluent_kafka
from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from stream_detector.clients import _limits
from stream_detector.clients._base import count_when_known
from stream_detector.clients.confluent.errors import MISSING_TOPIC, map_error
from stream_detector.core.records import TopicPartition


class Admin:
    """Asks a cluster about topics, on connections of its own.

    Parameters
    ----------
    connection
        The options that every part of the library takes.
    """

    def __init__(self, connection: dict[str, Any]) -> None:
        self._servers = connection["bootstrap.servers"]
        # By default the library asks brokers to create a topic that it asks about.
        self._client = AdminClient(connection | {"allow.auto.create.topics": False})

    def count_partitions(self, topic: str) -> int:
        """Ask how many partitions a topic has, 0 where it does not exist; create none.

        Raises
        ------
        BrokerError
            If the broker refuses the request.
        confluent_kafka.KafkaException
            If it does not answer.
        """
        timeout_s = _limits.CONNECT_TIMEOUT_MS / 1000

        def count() -> int:
            found = self._client.list_topics(topic, timeout=timeout_s).topics[topic]
            if found.error is None or found.partitions or found.error.name() in MISSING_TOPIC:
                return len(found.partitions)
            raise map_error(found.error, self._servers, [topic])

        return count_when_known(count)

    def topic_settings(self, topic: str) -> dict[str, str]:
        """Ask how a topic is configured."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        timeout_s = _limits.CONNECT_TIMEOUT_MS / 1000
        (answer,) = self._client.describe_configs([resource], request_timeout=timeout_s).values()
        return {name: str(entry.value) for name, entry in answer.result().items()}

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask for the first offset that is kept of each partition, in one request a broker."""
        return self._offsets(partitions, OffsetSpec.earliest())

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask for the end of each partition before any open transaction, as above."""
        return self._offsets(partitions, OffsetSpec.latest())

    def _offsets(
        self, partitions: Iterable[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        wanted = {confluent_kafka.TopicPartition(*each): spec for each in partitions}
        if not wanted:
            return {}
        answers = self._client.list_offsets(
            wanted,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_limits.REQUEST_TIMEOUT_MS / 1000,
        )
        return {
            TopicPartition(theirs.topic, theirs.partition): int(answer.result().offset)
            for theirs, answer in answers.items()
        }
