"""The writing half of the confluent client: deliveries and transactions."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _common
from stream_detector.clients.confluent.config import LIBRARY_ERRORS, count_partitions, map_error
from stream_detector.core.records import OutputRecord
from stream_detector.errors import missing_topics

if TYPE_CHECKING:
    from stream_detector.errors import BrokerError

# How long one look for room in the queue takes at most.
_QUEUE_TICK_S = 0.05

# How much longer than its own limit a step of a transaction may take before it is given up.
_GRACE_S = 2.0

_IN_TRANSACTIONS: dict[str, Any] = {
    "transaction.timeout.ms": _common.TRANSACTION_TIMEOUT_MS,
    # A transaction's first requests are refused while the one before is being written down.
    "retry.backoff.ms": 5,
}


class ConfluentWriter:
    """An idempotent producer, built when it is first used, and what became of its records.

    Parameters
    ----------
    servers
        The bootstrap servers, for messages.
    connection
        Gives the options that every part of the library takes.
    transactional_id
        None writes without transactions.
    """

    def __init__(
        self,
        servers: str,
        connection: Callable[[], dict[str, Any]],
        transactional_id: str | None = None,
    ) -> None:
        self._servers = servers
        self._connection = connection
        self._transactional_id = transactional_id
        self._has_session = False
        self._began_at_s: float | None = None
        self._producer: Any = None
        self._failures: list[BrokerError] = []
        self._writable: set[str] = set()

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._began_at_s is not None

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
            if self._transactional_id is not None:
                config |= _IN_TRANSACTIONS | {"transactional.id": self._transactional_id}
            self._producer = confluent_kafka.Producer(config)
        return self._producer

    def begin_session(self) -> None:
        """Take the transactional id, once a producer; ends what an older process left open."""
        if self._transactional_id is not None and not self._has_session:
            self._do(_common.REQUEST_TIMEOUT_MS, self.producer().init_transactions)
            self._has_session = True

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over, waiting while too many are unacknowledged."""
        self._begin()
        for record in records:
            self._require_writable(record.topic)
            self._send(record)
        if self._producer is not None:
            self._producer.poll(0)

    def flush(self, timeout_ms: int) -> None:
        """Wait for every acknowledgement; raises where one is missing, and drops the rest."""
        if self._producer is not None:
            timeout_s = timeout_ms / 1000
            if self._began_at_s is not None:
                limit_s = self._began_at_s + _common.FLUSH_IN_TRANSACTION_MS / 1000
                timeout_s = max(0.0, min(timeout_s, limit_s - time.monotonic()))
            n_left = self._producer.flush(timeout_s)
            if n_left:
                reason = _common.unavailable(self._servers, f"no answer in {timeout_s:.1f} s")
                self._failures += [reason] * n_left
        if self._failures:
            undelivered = _common.undelivered(len(self._failures), self._first_failure())
            self.drop()
            raise undelivered

    def commit(self, offsets: list[Any], member: Any) -> None:
        """Commit offsets and everything produced since the last commit as one transaction.

        Parameters
        ----------
        offsets
            The library's partitions with their offsets.
        member
            What the consumer says of its membership; a broker refuses a member of the past. Not
            needed without offsets.
        """
        self._begin()
        self.flush(_common.REQUEST_TIMEOUT_MS)
        timeout_ms, producer = _common.REQUEST_TIMEOUT_MS, self._producer
        if offsets:
            self._do(timeout_ms, producer.send_offsets_to_transaction, offsets, member)
        self._do(timeout_ms, producer.commit_transaction)
        self._began_at_s = None

    def drop(self) -> None:
        """Close the producer without sending what is left, and abort what is open."""
        if self._began_at_s is not None:
            with contextlib.suppress(*LIBRARY_ERRORS):
                self._do(_common.CLOSE_TIMEOUT_MS, self._producer.abort_transaction)
        self._has_session = False
        self._began_at_s = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            with contextlib.suppress(KafkaException, SystemError):  # a fatal error is told again
                producer.flush(0)
        self._failures.clear()
        self._writable.clear()

    def _do(self, timeout_ms: int, step: Callable[..., None], *arguments: Any) -> None:
        """Do a step of a transaction, and give the producer up if the step does not end.

        Each takes a limit, yet where a broker dies at the wrong moment librdkafka waits without
        one. What was given up is fenced by the next producer of its id.

        Notes
        -----
        Source: librdkafka, issue 5456, "rd_kafka_send_offsets_to_transaction() ignores timeout".
        """
        ended: list[Exception | None] = []

        def run() -> None:
            try:
                step(*arguments, timeout_ms / 1000)
            except LIBRARY_ERRORS as error:
                ended.append(error)
            else:
                ended.append(None)

        thread = threading.Thread(target=run, name="transaction", daemon=True)
        thread.start()
        thread.join(timeout_ms / 1000 + _GRACE_S)
        if not ended:
            self._producer = self._began_at_s = None
            self._has_session = False
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        if ended[0] is not None:
            raise ended[0]

    def _begin(self) -> None:
        """Begin a transaction where there are any and none is open."""
        if self._transactional_id is not None and self._began_at_s is None:
            self.begin_session()
            self.producer().begin_transaction()
            self._began_at_s = time.monotonic()

    def _first_failure(self) -> "BrokerError":
        """Return why records failed; those of a broken transaction only say that they were lost."""
        if self._began_at_s is not None:
            try:
                self._producer.begin_transaction()
            except KafkaException as error:
                # Refused anyway, for one is open; where that is broken, with what broke it.
                if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001
                    return map_error(
                        error, self._servers, sorted(self._writable), self._transactional_id
                    )
        return self._failures[0]

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
