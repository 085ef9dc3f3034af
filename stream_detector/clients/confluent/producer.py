"""The writing half of the confluent client: deliveries and transactions."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from stream_detector.clients import _errors, _limits
from stream_detector.clients._producer import BaseProducer
from stream_detector.clients.confluent.errors import LIBRARY_ERRORS, map_error
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError

# Longest single wait for room in the library's queue.
_QUEUE_TICK_S = 0.05

# How much longer than its own limit a step of a transaction may take before it is given up.
_GRACE_S = 2.0

_IN_TRANSACTIONS: dict[str, Any] = {
    "transaction.timeout.ms": _limits.TRANSACTION_TIMEOUT_MS,
    # The first requests of a transaction are refused while the one before is being completed.
    "retry.backoff.ms": 5,
}


class ConfluentProducer(BaseProducer):
    """An idempotent producer on confluent-kafka, built when it is first used.

    Parameters
    ----------
    servers
        The bootstrap servers, for messages.
    connection
        Returns the options that every part of the library takes.
    n_partitions
        Returns how many partitions a topic has, 0 where it does not exist.
    transactional_id
        None writes without transactions.
    """

    library_errors = LIBRARY_ERRORS

    def _new_handle(self) -> Any:
        config = self._connection() | {
            "acks": "all",
            "enable.idempotence": True,
            # As the Java client and kafka-python do, so that a key has one partition.
            "partitioner": "murmur2_random",
            "message.max.bytes": _limits.PRODUCE_BYTES_MAX,
            "queue.buffering.max.messages": _limits.UNACKNOWLEDGED_RECORDS_MAX,
            "queue.buffering.max.kbytes": _limits.UNACKNOWLEDGED_BYTES_MAX // 1024,
            "delivery.report.only.error": True,
        }
        if self._transactional_id is not None:
            config |= _IN_TRANSACTIONS | {"transactional.id": self._transactional_id}
        return confluent_kafka.Producer(config)

    def _init_transactions(self, handle: Any) -> None:
        self._run_step(_limits.REQUEST_TIMEOUT_MS, handle.init_transactions)

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Send records, waiting while too many are unacknowledged."""
        super().produce(records)
        if self._handle is not None:
            self._handle.poll(0)  # runs the callbacks of records that failed

    def _require_writable(self, topic: str) -> None:
        if topic not in self._writable:
            # A producer asks for its id when it is built, and again half a second later: built
            # first, it has the id when it is needed.
            self.require_handle()
        super()._require_writable(topic)

    def _send(self, record: OutputRecord, number: int) -> None:
        options: dict[str, Any] = {
            "value": record.value,
            "key": record.key,
            "on_delivery": partial(self._on_delivery, number),
        }
        if record.headers:
            options["headers"] = list(record.headers)
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        if record.partition is not None:
            options["partition"] = record.partition
        handle = self.require_handle()
        deadline_s = time.monotonic() + _limits.REQUEST_TIMEOUT_MS / 1000
        while True:
            try:
                handle.produce(record.topic, **options)
            except BufferError:
                if time.monotonic() >= deadline_s:
                    reason = f"{len(handle)} records wait for an acknowledgement"
                    raise _errors.unavailable(self._servers, reason) from None
                handle.poll(_QUEUE_TICK_S)
            except KafkaException as error:
                self._fail(number, error, record.topic)
                return
            else:
                return

    def _on_delivery(self, number: int, error: KafkaError | None, message: Message) -> None:
        """Keep why a record was not delivered; `flush` raises it."""
        if error is not None:
            self._fail(number, error, message.topic())

    def _fail(self, number: int, error: object, topic: str | None) -> None:
        """Keep why a record was not delivered."""
        mapped = map_error(error, self._servers, [topic] if topic else [])
        self._failures.append(_errors.Failure(number, mapped))

    def _await_acknowledgements(self, timeout_s: float) -> None:
        n_left = self._handle.flush(timeout_s)
        if n_left:
            reason = _errors.unavailable(self._servers, f"no answer in {timeout_s:.1f} s")
            # Which of them is not known: all are sent again.
            self._failures = [_errors.Failure(number, reason) for number in range(self._n_sent)]

    def _first_failure(self) -> BrokerError:
        # Records of a broken transaction only say that they were lost, not why.
        if self._began_at_s is not None:
            try:
                self._handle.begin_transaction()
            except KafkaException as error:
                # Refused in any case, as one is open; a broken one is refused with its cause.
                if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001
                    topics = sorted(self._writable)
                    return map_error(error, self._servers, topics, self._transactional_id)
        return super()._first_failure()

    def _commit_transaction(self, offsets: Any, member: Any) -> None:
        timeout_ms, handle = _limits.REQUEST_TIMEOUT_MS, self._handle
        if offsets:
            self._run_step(timeout_ms, handle.send_offsets_to_transaction, offsets, member)
        self._run_step(timeout_ms, handle.commit_transaction)

    def _abort_transaction(self) -> None:
        self._run_step(_limits.CLOSE_TIMEOUT_MS, self._handle.abort_transaction)

    def _close(self, handle: Any) -> None:
        handle.purge()
        # A fatal error is reported again.
        again = (KafkaException, SystemError, _errors.RaisedObjectError)
        with suppress(*again), _errors.ObjectsAsExceptions():
            handle.flush(0)

    def _run_step(self, timeout_ms: int, step: Callable[..., None], *arguments: Any) -> None:
        """Run a step of a transaction, and give the producer up if the step does not end.

        Each step takes a limit, yet where a broker dies at the wrong moment librdkafka waits
        without one. A producer that was given up is fenced by the next one with its id.

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
            self._handle = self._began_at_s = None
            self._is_initialized = False
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        if ended[0] is not None:
            raise ended[0]
