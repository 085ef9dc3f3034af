"""The writing half of the kafka-python client: acknowledgements and transactions."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import kafka
from kafka import errors as kafka_errors
from kafka.serializer import Serializer

from stream_detector.clients import _errors, _limits
from stream_detector.clients._producer import BaseProducer
from stream_detector.clients.kafka_python.errors import LIBRARY_ERRORS, map_error
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError

BATCH_BYTES = 256 * 1024

_NOTHING = object()
"""Stands for a value of None: the library refuses a record that has neither key nor value."""


class _NullSerializer(Serializer):  # type: ignore[misc]
    """Passes bytes through, and turns `_NOTHING` into a null."""

    def serialize(self, topic: str, headers: Any, data: Any) -> Any:
        del topic, headers
        return None if data is _NOTHING else data


class KafkaPythonProducer(BaseProducer):
    """An idempotent producer on kafka-python.

    The library's own buffer has no bound, so records that wait for an acknowledgement are counted
    here.

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

    def __init__(
        self,
        servers: str,
        connection: Callable[[], dict[str, Any]],
        n_partitions: Callable[[str], int],
        transactional_id: str | None = None,
    ) -> None:
        super().__init__(servers, connection, n_partitions, transactional_id)
        self._sent: deque[tuple[int, Any, int]] = deque()
        self._n_sent_bytes = 0

    @property
    def n_unacknowledged(self) -> int:
        """How many records were sent and are not known to have arrived."""
        return len(self._sent)

    def _new_handle(self) -> Any:
        config = self._connection()
        if self._transactional_id is not None:
            # A step of a transaction that is not answered breaks the library's producer for good,
            # and it does not say so: our own wait must end first.
            timeout_ms = 2 * _limits.REQUEST_TIMEOUT_MS
            config = config | {"request_timeout_ms": timeout_ms}
        return kafka.KafkaProducer(
            **config,
            acks="all",
            enable_idempotence=True,
            max_request_size=_limits.PRODUCE_BYTES_MAX,
            max_block_ms=_limits.CONNECT_TIMEOUT_MS,
            allow_auto_create_topics=False,
            batch_size=BATCH_BYTES,
            value_serializer=_NullSerializer(),
            transactional_id=self._transactional_id,
            transaction_timeout_ms=_limits.TRANSACTION_TIMEOUT_MS,
        )

    def _init_transactions(self, handle: Any) -> None:
        handle.init_transactions()

    def _send(self, record: OutputRecord, number: int) -> None:
        has_content = record.key is not None or record.value is not None
        try:
            acknowledgement = self.require_handle().send(
                record.topic,
                value=record.value if has_content else _NOTHING,
                key=record.key,
                # The library refuses a header without a value; an empty one is the nearest.
                headers=[(name, value or b"") for name, value in record.headers],
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
            )
        except kafka_errors.MessageSizeTooLargeError as error:
            self._fail(number, error)
            return
        except kafka_errors.KafkaError as error:
            if not self._is_in_error():
                raise
            # An earlier record has ended the transaction; `flush` says which and why.
            self._fail(number, error)
            return
        n_bytes = len(record.key or b"") + len(record.value or b"")
        self._sent.append((number, acknowledgement, n_bytes))
        self._n_sent_bytes += n_bytes
        if (
            len(self._sent) >= _limits.UNACKNOWLEDGED_RECORDS_MAX
            or self._n_sent_bytes >= _limits.UNACKNOWLEDGED_BYTES_MAX
        ):
            self._await_oldest(_limits.REQUEST_TIMEOUT_MS / 1000, n_left=len(self._sent) // 2)

    def _await_acknowledgements(self, timeout_s: float) -> None:
        try:
            self._await_oldest(timeout_s, n_left=0)
        except kafka_errors.KafkaTimeoutError as error:
            for number, *_ in self._sent:
                self._fail(number, error)

    def _await_oldest(self, timeout_s: float, n_left: int) -> None:
        """Wait for the oldest acknowledgements until `n_left` remain; keep what failed."""
        deadline_s = time.monotonic() + timeout_s
        while len(self._sent) > n_left:
            number, acknowledgement, n_bytes = self._sent[0]
            try:
                acknowledgement.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except kafka_errors.KafkaError as error:
                if not acknowledgement.is_done:
                    raise
                self._fail(number, error)
            self._sent.popleft()
            self._n_sent_bytes -= n_bytes

    def _fail(self, number: int, error: Exception) -> None:
        """Keep why a record was not delivered."""
        mapped = map_error(error, self._servers, self._writable)
        self._failures.append(_errors.Failure(number, mapped))

    def _first_failure(self) -> BrokerError:
        if self._is_in_error():
            return map_error(self._manager().last_error, self._servers, self._writable)
        return super()._first_failure()

    def _commit_transaction(self, offsets: Any, member: Any) -> None:
        if offsets:
            result = self._manager().send_offsets_to_transaction(offsets, member)
            self._await_step(result, _limits.REQUEST_TIMEOUT_MS)
        self._await_step(self._manager().begin_commit(), _limits.REQUEST_TIMEOUT_MS)

    def _abort_transaction(self) -> None:
        self._await_step(self._manager().begin_abort(), _limits.CLOSE_TIMEOUT_MS)

    def _close(self, handle: Any) -> None:
        self._sent.clear()
        self._n_sent_bytes = 0
        # `close` flushes first and gives up, its thread still sending, when that fails.
        handle._sender.force_close()  # noqa: SLF001
        handle._sender.join(_limits.CLOSE_TIMEOUT_MS / 1000)  # noqa: SLF001
        handle.close(timeout=0)

    @contextlib.contextmanager
    def _root_cause(self) -> Iterator[None]:
        try:
            yield
        except kafka_errors.KafkaError as error:
            if self._is_in_error():
                raise self._manager().last_error from error
            raise

    def _manager(self) -> Any:
        """Return the library's state of the transaction."""
        return self._handle._transaction_manager  # noqa: SLF001

    def _await_step(self, result: Any, timeout_ms: int) -> None:
        """Wait for a step of a transaction; the library's own calls wait without a limit."""
        self._handle._sender.wakeup()  # noqa: SLF001
        if not result.wait(timeout_ms=timeout_ms):
            message = f"no answer to a step of a transaction in {timeout_ms} ms"
            raise kafka_errors.KafkaTimeoutError(message)

    def _is_in_error(self) -> bool:
        """Return whether the library refuses every further step of this transaction."""
        return self._transactional_id is not None and bool(self._manager().has_error())
