"""The writing half of the kafka-python client: acknowledgements and transactions."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import kafka
from kafka import errors as kafka_errors
from kafka.serializer import Serializer

from stream_detector.clients import _common
from stream_detector.clients.kafka_python.config import LIBRARY_ERRORS, count_partitions, map_error
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
        self._sent: deque[tuple[Any, int]] = deque()
        self._n_sent_bytes = 0
        self._failures: list[BrokerError] = []
        self._writable: set[str] = set()

    @property
    def n_unacknowledged(self) -> int:
        """How many records were handed over and are not known to have arrived."""
        return len(self._sent)

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._began_at_s is not None

    def producer(self) -> Any:
        """Return the library's producer, building it first where there is none."""
        if self._producer is None:
            config = self._connection()
            if self._transactional_id is not None:
                # A step of a transaction that is not answered is fatal to the library's producer,
                # and it does not say so: our own wait must end first.
                timeout_ms = 2 * _common.REQUEST_TIMEOUT_MS
                config = config | {"request_timeout_ms": timeout_ms}
            self._producer = kafka.KafkaProducer(
                **config,
                acks="all",
                enable_idempotence=True,
                max_request_size=_common.PRODUCE_BYTES_MAX,
                max_block_ms=_common.CONNECT_TIMEOUT_MS,
                allow_auto_create_topics=False,
                batch_size=BATCH_BYTES,
                value_serializer=_NullSerializer(),
                transactional_id=self._transactional_id,
                transaction_timeout_ms=_common.TRANSACTION_TIMEOUT_MS,
            )
        return self._producer

    def begin_session(self) -> None:
        """Take the transactional id, once a producer; ends what an older process left open."""
        if self._transactional_id is not None and not self._has_session:
            self.producer().init_transactions()
            self._has_session = True

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Hand records over, waiting while too many are unacknowledged."""
        self._begin()
        with self._told():
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
        deadline_s = time.monotonic() + timeout_ms / 1000
        if self._began_at_s is not None:
            limit_s = self._began_at_s + _common.FLUSH_IN_TRANSACTION_MS / 1000
            deadline_s = min(deadline_s, limit_s)
        try:
            self._settle(deadline_s, n_left=0)
        except kafka_errors.KafkaTimeoutError as error:
            self._failures += [map_error(error, self._servers)] * len(self._sent)
        if self._failures:
            first = self._failures[0]
            if self._is_in_error():
                first = map_error(self._manager().last_error, self._servers, self._writable)
            undelivered = _common.undelivered(len(self._failures), first)
            self.drop()
            raise undelivered

    def commit(self, offsets: dict[Any, Any], member: Any) -> None:
        """Commit offsets and everything produced since the last commit as one transaction.

        Parameters
        ----------
        offsets
            The library's offsets, by its partitions.
        member
            What the consumer says of its membership; a broker refuses a member of the past. Not
            needed without offsets.
        """
        self._begin()
        self.flush(_common.REQUEST_TIMEOUT_MS)
        with self._told():
            if offsets:
                result = self._manager().send_offsets_to_transaction(offsets, member)
                self._await(result, _common.REQUEST_TIMEOUT_MS)
            self._await(self._manager().begin_commit(), _common.REQUEST_TIMEOUT_MS)
        self._began_at_s = None

    def drop(self) -> None:
        """Close the producer without sending what is left, and abort what is open."""
        if self._began_at_s is not None:
            with contextlib.suppress(*LIBRARY_ERRORS):
                self._await(self._manager().begin_abort(), _common.CLOSE_TIMEOUT_MS)
        self._has_session = False
        self._began_at_s = None
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

    def _begin(self) -> None:
        """Begin a transaction where there are any and none is open."""
        if self._transactional_id is not None and self._began_at_s is None:
            self.begin_session()
            with self._told():
                self.producer().begin_transaction()
            self._began_at_s = time.monotonic()

    def _manager(self) -> Any:
        """Return what the library keeps of its transaction."""
        return self._producer._transaction_manager  # noqa: SLF001

    def _await(self, result: Any, timeout_ms: int) -> None:
        """Wait for a step of a transaction; the library's own calls wait without a limit."""
        self._producer._sender.wakeup()  # noqa: SLF001
        if not result.wait(timeout_ms=timeout_ms):
            message = f"no answer to a step of a transaction in {timeout_ms} ms"
            raise kafka_errors.KafkaTimeoutError(message)

    def _is_in_error(self) -> bool:
        """Whether the library takes nothing more for this transaction."""
        return self._transactional_id is not None and bool(self._manager().has_error())

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what broke a transaction, where the library only says that it is broken."""
        try:
            yield
        except kafka_errors.KafkaError as error:
            if self._is_in_error():
                raise self._manager().last_error from error
            raise

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
