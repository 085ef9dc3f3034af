"""A proxy on loopback that swallows requests or answers, or damages records on their way.

Where an answer is swallowed, what was asked is done, and nobody hears.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

from crc32c import crc32c

Address = tuple[str, int]

API_KEYS = {"Produce": 0, "Fetch": 1, "OffsetCommit": 8, "EndTxn": 26}
"""Numbers of Kafka's requests. Source: Apache Kafka, "Kafka protocol guide", api keys."""

_REQUEST_HEAD = struct.Struct(">hhi")  # api key, api version, correlation id
_SIZE = struct.Struct(">i")

# Base offset, length of what follows it, leader epoch, version of the format, checksum of the rest.
# Source: Apache Kafka, "Documentation", section 5.3.1, "Record Batch".
_BATCH_HEAD = struct.Struct(">qiibI")
_BEFORE_LENGTH_ENDS = 12
_BATCH_VERSION = 2


class KafkaProxy:
    """Passes Kafka's requests and answers on, but for those that it is to swallow or to damage.

    Attributes
    ----------
    port
        Where it listens.
    struck_at_s
        When an answer was swallowed or damaged, by `time.time`; None before that.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.struck_at_s: float | None = None
        self._target: Address = ("127.0.0.1", 0)
        self._wanted: int | None = None
        self._ignored: int | None = None
        self._n_before = 0
        self._n_batches_before: int | None = None
        self._is_cut = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """What clients take as their bootstrap server."""
        return f"127.0.0.1:{self.port}"

    def start(self, target: Address) -> Self:
        """Begin to accept connections and to pass them on."""
        self._target = target
        self._begin(self._accept)
        return self

    def swallow(self, request: str, n_before: int, *, is_cut: bool) -> None:
        """Swallow one answer.

        Parameters
        ----------
        request
            To what: a name in `API_KEYS`.
        n_before
            How many such answers come through first.
        is_cut
            Whether the connection is closed with that, or stays open.
        """
        with self._lock:
            self._wanted = API_KEYS[request]
            self._n_before = n_before
            self._is_cut = is_cut
            self.struck_at_s = None

    def damage(self, n_before: int) -> None:
        """Change one byte of a batch of records that somebody reads, once.

        Parameters
        ----------
        n_before
            How many batches come through whole first.
        """
        with self._lock:
            self._n_batches_before = n_before
            self.struck_at_s = None

    def ignore(self, request: str | None) -> None:
        """Pass no request of a kind on from now on, a name in `API_KEYS`; None passes all on."""
        self._ignored = None if request is None else API_KEYS[request]

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            open_ones, self._sockets = self._sockets, []
        for each in open_ones:
            _end(each)
        for thread in self._threads:
            thread.join(5)

    def _begin(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        """Take in connections until the proxy is closed."""
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target, 5)
            except OSError:  # the broker is away: so is the proxy
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._sockets += [client, broker]
            asked: dict[int, int] = {}
            self._begin(self._pass_requests, client, broker, asked)
            self._begin(self._pass_answers, broker, client, asked)

    def _pass_requests(
        self, client: socket.socket, broker: socket.socket, asked: dict[int, int]
    ) -> None:
        """Pass requests on and note what each was."""
        with _both_end(client, broker):
            while frame := _read_frame(client):
                api_key, _, correlation_id = _REQUEST_HEAD.unpack_from(frame)
                if api_key == self._ignored:
                    continue
                asked[correlation_id] = api_key
                broker.sendall(_SIZE.pack(len(frame)) + frame)

    def _pass_answers(
        self, broker: socket.socket, client: socket.socket, asked: dict[int, int]
    ) -> None:
        """Pass answers on, but for the one to be swallowed, or with the damage it is to have."""
        with _both_end(client, broker):
            while frame := _read_frame(broker):
                (correlation_id,) = _SIZE.unpack_from(frame)
                api_key = asked.pop(correlation_id, -1)
                if not self._is_swallowed(api_key):
                    frame = self._damaged(frame) if api_key == API_KEYS["Fetch"] else frame
                    client.sendall(_SIZE.pack(len(frame)) + frame)
                elif self._is_cut:
                    return

    def _is_swallowed(self, api_key: int) -> bool:
        """Return whether this answer is the one."""
        with self._lock:
            if api_key != self._wanted:
                return False
            self._n_before -= 1
            if self._n_before >= 0:
                return False
            self._wanted = None
            self.struck_at_s = time.time()
            return True

    def _damaged(self, frame: bytes) -> bytes:
        """Return an answer with one bit of a batch turned over, where its turn has come."""
        with self._lock:
            if self._n_batches_before is None:
                return frame
            for start, end in _batches(frame):
                if self._n_batches_before:
                    self._n_batches_before -= 1
                    continue
                self._n_batches_before = None
                self.struck_at_s = time.time()
                changed = bytearray(frame)
                changed[(start + _BATCH_HEAD.size + end) // 2] ^= 1
                return bytes(changed)
            return frame


def _batches(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the batches of records in an answer begin and end.

    They are known by their checksums, so that the answer, which has many versions, is not parsed.
    """
    start = 0
    while start + _BATCH_HEAD.size < len(frame):
        _, n_bytes, _, version, checksum = _BATCH_HEAD.unpack_from(frame, start)
        end = start + _BEFORE_LENGTH_ENDS + n_bytes
        is_batch = version == _BATCH_VERSION and start + _BATCH_HEAD.size < end <= len(frame)
        if is_batch and crc32c(frame[start + _BATCH_HEAD.size : end]) == checksum:
            yield start, end
            start = end
        else:
            start += 1


@contextlib.contextmanager
def _both_end(*ends: socket.socket):  # type: ignore[no-untyped-def]
    """When one direction ends, in whatever way, both ends are closed."""
    try:
        with contextlib.suppress(OSError):
            yield
    finally:
        for each in ends:
            _end(each)


def _end(each: socket.socket) -> None:
    """Close a socket so that whoever reads from it wakes up."""
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _read_frame(source: socket.socket) -> bytes:
    """Return one request or answer without its size, empty at the end of a connection."""
    head = _read(source, _SIZE.size)
    return _read(source, _SIZE.unpack(head)[0]) if head else b""


def _read(source: socket.socket, n_bytes: int) -> bytes:
    """Return so many bytes, empty where the connection ended before."""
    data = b""
    while len(data) < n_bytes:
        some = source.recv(n_bytes - len(data))
        if not some:
            return b""
        data += some
    return data
