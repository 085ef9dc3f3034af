"""What every producer does in the same way: transactions, acknowledgements, topics that exist."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from stream_detector.clients import _errors, _limits
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError, missing_topics


class BaseProducer(ABC):
    """An idempotent producer, built when it is first used, with or without transactions.

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

    Attributes
    ----------
    library_errors
        Everything that the library raises.
    """

    library_errors: ClassVar[tuple[type[Exception], ...]]

    def __init__(
        self,
        servers: str,
        connection: Callable[[], dict[str, Any]],
        n_partitions: Callable[[str], int],
        transactional_id: str | None = None,
    ) -> None:
        self._servers = servers
        self._connection = connection
        self._n_partitions = n_partitions
        self._transactional_id = transactional_id
        self._is_initialized = False
        self._began_at_s: float | None = None
        self._handle: Any = None
        self._n_sent = 0  # since the last flush
        self._failures: list[_errors.Failure] = []
        self._writable: set[str] = set()

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._began_at_s is not None

    def require_handle(self) -> Any:
        """Return the library's producer, building it first where there is none."""
        if self._handle is None:
            self._handle = self._new_handle()
        return self._handle

    def init_transactions(self) -> None:
        """Take the transactional id, once for each producer of the library.

        That aborts what an older process with the same id left open, and fences it.
        """
        if self._transactional_id is not None and not self._is_initialized:
            self._init_transactions(self.require_handle())
            self._is_initialized = True

    def produce(self, records: Iterable[OutputRecord]) -> None:
        """Send records, waiting while too many are unacknowledged."""
        self._begin_transaction()
        with self._root_cause():
            for record in records:
                self._require_writable(record.topic)
                self._send(record, self._n_sent)
                self._n_sent += 1

    def flush(self, timeout_ms: int) -> None:
        """Wait for every acknowledgement; raise where one is missing, and drop the rest."""
        timeout_s = timeout_ms / 1000
        if self._began_at_s is not None:
            limit_s = self._began_at_s + _limits.FLUSH_IN_TRANSACTION_MS / 1000
            timeout_s = max(0.0, min(timeout_s, limit_s - time.monotonic()))
        if self._handle is not None:
            self._await_acknowledgements(timeout_s)
        if self._failures:
            undelivered = _errors.undelivered(self._failures, self._first_failure())
            self.discard()
            raise undelivered
        self._n_sent = 0

    def commit(self, offsets: Any, member: Any) -> None:
        """Commit offsets and all records since the last commit as one transaction.

        Parameters
        ----------
        offsets
            Next offsets by partition, in the library's types.
        member
            The consumer's group metadata, by which a broker refuses a former member. Not used
            without offsets.
        """
        self._begin_transaction()
        self.flush(_limits.REQUEST_TIMEOUT_MS)
        with self._root_cause():
            self._commit_transaction(offsets, member)
        self._began_at_s = None

    def discard(self) -> None:
        """Close the library's producer without sending what is left; abort what is open."""
        if self._began_at_s is not None:
            with contextlib.suppress(*self.library_errors):
                self._abort_transaction()
        self._is_initialized = False
        self._began_at_s = None
        handle, self._handle = self._handle, None
        if handle is not None:
            self._close(handle)
        self._n_sent = 0
        self._failures.clear()
        self._writable.clear()

    # What one library does in its own way.

    @abstractmethod
    def _new_handle(self) -> Any:
        """Return a new producer of the library."""

    @abstractmethod
    def _init_transactions(self, handle: Any) -> None:
        """Take the transactional id for a producer of the library."""

    @abstractmethod
    def _send(self, record: OutputRecord, number: int) -> None:
        """Send one record; wait while too many are unacknowledged.

        Parameters
        ----------
        record
            What to send.
        number
            Which record since the last flush it is, counted from 0.
        """

    @abstractmethod
    def _await_acknowledgements(self, timeout_s: float) -> None:
        """Wait for every acknowledgement, and add those that fail or are late to `_failures`."""

    @abstractmethod
    def _commit_transaction(self, offsets: Any, member: Any) -> None:
        """Add offsets, if any, to the open transaction and commit it, in bounded time."""

    @abstractmethod
    def _abort_transaction(self) -> None:
        """Abort the open transaction within `CLOSE_TIMEOUT_MS`."""

    @abstractmethod
    def _close(self, handle: Any) -> None:
        """Close a producer of the library without sending what is left."""

    def _first_failure(self) -> BrokerError:
        """Return why the first record failed."""
        return self._failures[0].error

    def _root_cause(self) -> AbstractContextManager[None]:
        """Return a context that raises the cause where the library raises a mere consequence."""
        return contextlib.nullcontext()

    def _begin_transaction(self) -> None:
        """Begin a transaction where there is a transactional id and none is open."""
        if self._transactional_id is not None and self._began_at_s is None:
            self.init_transactions()
            with self._root_cause():
                self.require_handle().begin_transaction()
            self._began_at_s = time.monotonic()

    def _require_writable(self, topic: str) -> None:
        """Refuse a topic that does not exist; ask once for each topic and connection."""
        if topic not in self._writable:
            if self._n_partitions(topic) == 0:
                raise missing_topics(self._servers, [topic])
            self._writable.add(topic)
