"""The writing half of the kafka-python client."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import kafka
from kafka import errors as kafka_errors
from kafka.serializer import Serializer

from stream_detector.clients import _common
from stream_detector.clients._kafka_python import count_partitions, map_error
from stream_detector.core.records import OutputRecord
from stream_detector.errors import missing_topics

if TYPE_CHECKING:
    from stream_detector.errors import BrokerError

BATCH_BYTES = 256 * 1024

_NOTHING = object()
"""Stands for a value of None: the library refuses a record that has neither key nor value."""


class _NullSerializer(Serializer):  # type: ignore[misc]
    """Passes bytes through, and turns `_NOTHING` into a null."""

    def serialize(self, topic: str, headers: Any, data: Any) -> Any:
        del topic, headers
        return None if data is _NOTHING else data


class KafkaPythonWriter:
    """An idempotent producer, built when it is first used, and what became of its records.

    The library's own buffer has no bound, so what waits for an acknowledgement is counted here.

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
        self._sent: deque[tuple[Any, int]] = deque()
        self._n_sent_bytes = 0
        self._failures: list[BrokerError] = []
        self._writable: set[str] = set()

    @property
    def n_unacknowledged(self) -> int:
        """How many records were handed over and are not known to have arrived."""
        return len(self._sent)

    def producer(self) -> Any:
        """Return the library's producer, building it first where there is none."""
        if self._producer is None:
            self._producer = kafka.KafkaProducer(
                **self._connection(),
                acks="all",
                enable_idempotence=True,
                max_request_size=_common.PRODUCE_BYTES_MAX,
                max_block_ms=_common.CONNECT_TIMEOUT_MS,
                allow_auto_create_topics=False,
                batch_size=BATCH_BYTES,
                value_serializer=_NullSerializer(),
            )
        return self._producer

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over, waiting while too many are unacknowledged."""
        for record in records:
            self._require_writable(record.topic)
            self._send(record)
            if (
                len(self._sent) >= _common.UNACKNOWLEDGED_RECORDS_MAX
                or self._n_sent_bytes >= _common.UNACKNOWLEDGED_BYTES_MAX
            ):
                deadline_s = time.monotonic() + _common.REQUEST_TIMEOUT_MS / 1000
                self._settle(deadline_s, n_left=len(self._sent) // 2)

    def flush(self, timeout_ms: int) -> None:
        """Wait for every acknowledgement; raises where one is missing, and drops the rest."""
        try:
            self._settle(time.monotonic() + timeout_ms / 1000, n_left=0)
        except kafka_errors.KafkaTimeoutError as error:
            self._failures += [map_error(error, self._servers)] * len(self._sent)
        if self._failures:
            undelivered = _common.undelivered(len(self._failures), self._failures[0])
            self.drop()
            raise undelivered

    def drop(self) -> None:
        """Close the producer without sending what is left."""
        producer, self._producer = self._producer, None
        self._sent.clear()
        self._n_sent_bytes = 0
        self._failures.clear()
        self._writable.clear()
        if producer is not None:
            # `close` flushes first and gives up, its thread still sending, when that fails.
            producer._sender.force_close()  # noqa: SLF001
            producer._sender.join(_common.CLOSE_TIMEOUT_MS / 1000)  # noqa: SLF001
            producer.close(timeout=0)

    def _require_writable(self, topic: str) -> None:
        """Refuse a topic that does not exist, once a topic and connection."""
        if topic not in self._writable:
            if count_partitions(self._connection(), topic) == 0:
                raise missing_topics(self._servers, [topic])
            self._writable.add(topic)

    def _send(self, record: OutputRecord) -> None:
        """Hand one record over and remember its acknowledgement."""
        has_content = record.key is not None or record.value is not None
        try:
            acknowledgement = self.producer().send(
                record.topic,
                value=record.value if has_content else _NOTHING,
                key=record.key,
                # The library refuses a header without a value; an empty one is the nearest.
                headers=[(name, value or b"") for name, value in record.headers],
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
            )
        except kafka_errors.MessageSizeTooLargeError as error:
            self._failures.append(map_error(error, self._servers, [record.topic]))
            return
        n_bytes = len(record.key or b"") + len(record.value or b"")
        self._sent.append((acknowledgement, n_bytes))
        self._n_sent_bytes += n_bytes

    def _settle(self, deadline_s: float, n_left: int) -> None:
        """Wait for the oldest acknowledgements until `n_left` remain; keep what failed."""
        while len(self._sent) > n_left:
            acknowledgement, n_bytes = self._sent[0]
            try:
                acknowledgement.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except kafka_errors.KafkaError as error:
                if not acknowledgement.is_done:
                    raise
                self._failures.append(map_error(error, self._servers, self._writable))
            self._sent.popleft()
            self._n_sent_bytes -= n_bytes
