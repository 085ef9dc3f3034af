"""The writing half of the confluent client."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _common
from stream_detector.clients._confluent import count_partitions, map_error
from stream_detector.core.records import OutputRecord
from stream_detector.errors import missing_topics

if TYPE_CHECKING:
    from stream_detector.errors import BrokerError

# How long one look for room in the queue takes at most.
_QUEUE_TICK_S = 0.05


class ConfluentWriter:
    """An idempotent producer, built when it is first used, and what became of its records.

    Parameters
    ----------
    servers
        The bootstrap servers, for messages.
    connection
        Gives the options that every part of the library takes.
    """

    def __init__(self, servers: str, connection: Callable[[], dict[str, Any]]) -> None:
        self._servers = servers
        self._connection = connection
        self._producer: Any = None
        self._failures: list[BrokerError] = []
        self._writable: set[str] = set()

    def producer(self) -> Any:
        """Return the library's producer, building it first where there is none."""
        if self._producer is None:
            config = self._connection() | {
                "acks": "all",
                "enable.idempotence": True,
                # The Java client's and kafka-python's, so that a key has one partition.
                "partitioner": "murmur2_random",
                "message.max.bytes": _common.PRODUCE_BYTES_MAX,
                "queue.buffering.max.messages": _common.UNACKNOWLEDGED_RECORDS_MAX,
                "queue.buffering.max.kbytes": _common.UNACKNOWLEDGED_BYTES_MAX // 1024,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
            }
            self._producer = confluent_kafka.Producer(config)
        return self._producer

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over, waiting while too many are unacknowledged."""
        for record in records:
            self._require_writable(record.topic)
            self._send(record)
        if self._producer is not None:
            self._producer.poll(0)

    def flush(self, timeout_ms: int) -> None:
        """Wait for every acknowledgement; raises where one is missing, and drops the rest."""
        if self._producer is not None:
            n_left = self._producer.flush(timeout_ms / 1000)
            if n_left:
                reason = _common.unavailable(self._servers, f"no answer in {timeout_ms} ms")
                self._failures += [reason] * n_left
        if self._failures:
            undelivered = _common.undelivered(len(self._failures), self._failures[0])
            self.drop()
            raise undelivered

    def drop(self) -> None:
        """Close the producer without sending what is left."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)
        self._failures.clear()
        self._writable.clear()

    def _require_writable(self, topic: str) -> None:
        """Refuse a topic that does not exist, once a topic and connection."""
        if topic not in self._writable:
            # A producer asks for its id when it is built, and again half a second later: built
            # first, it has it when it is needed.
            self.producer()
            if count_partitions(self._connection(), topic) == 0:
                raise missing_topics(self._servers, [topic])
            self._writable.add(topic)

    def _send(self, record: OutputRecord) -> None:
        """Hand one record over."""
        options: dict[str, Any] = {"value": record.value, "key": record.key}
        if record.headers:
            options["headers"] = list(record.headers)
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        if record.partition is not None:
            options["partition"] = record.partition
        producer = self.producer()
        deadline_s = time.monotonic() + _common.REQUEST_TIMEOUT_MS / 1000
        while True:
            try:
                producer.produce(record.topic, **options)
            except BufferError:
                if time.monotonic() >= deadline_s:
                    reason = f"{len(producer)} records wait for an acknowledgement"
                    raise _common.unavailable(self._servers, reason) from None
                producer.poll(_QUEUE_TICK_S)
            except KafkaException as error:
                self._failures.append(map_error(error, self._servers, [record.topic]))
                return
            else:
                return

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Remember a record that was not delivered; `flush` tells."""
        if error is not None:
            topic = message.topic()
            self._failures.append(map_error(error, self._servers, [topic] if topic else []))
