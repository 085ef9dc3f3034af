"""A broker for demonstrations and tests: librdkafka's mock cluster, in this process.

It speaks the Kafka protocol to any client, in or outside this process. It keeps 5 MiB or 100,000
batches for each partition and silently drops older records; `EmbeddedBroker.check_retention`
raises an error when that has happened. It keeps nothing after it stops. It serves demonstrations
and proves no guarantee: it fences no client and does not hide the records of an aborted
transaction.

Needs `pip install 'stream-detector[confluent]'`.
"""

import ctypes
import ctypes.util
import importlib.metadata
import socket
import threading
from types import TracebackType
from typing import Any, Self

from stream_detector.clients import _limits
from stream_detector.errors import BrokerError, ConfigError

_PRODUCER = 0
_TEXT_BYTES = 512
_PIPE_BYTES = 65_536


class EmbeddedBroker:
    """One mock broker on a loopback port, as a context manager.

    Parameters
    ----------
    port
        Also listen for bootstrap connections on this port of 127.0.0.1; with 0 or None, only on
        the one that the system chooses.

    Raises
    ------
    ConfigError
        If confluent-kafka, which brings librdkafka, is not installed.
    BrokerError
        If the broker cannot start, or the port is taken.

    Examples
    --------
    >>> with EmbeddedBroker() as broker:
    ...     broker.create_topic("telemetry", n_partitions=4)
    ...     broker.bootstrap_servers.startswith("127.0.0.1:")
    True
    """

    def __init__(self, port: int | None = None) -> None:
        self._port = port or None
        self._library: Any = None
        self._handle: ctypes.c_void_p | None = None
        self._cluster: ctypes.c_void_p | None = None
        self._forwarder: _Forwarder | None = None
        self._watcher: Any = None
        self._topics: dict[str, int] = {}
        self.bootstrap_servers = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker and set `bootstrap_servers`."""
        if self._cluster is not None:
            return
        self._library = library = _load_library()
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        config = ctypes.c_void_p(library.rd_kafka_conf_new())
        # Log emergencies only: clients close connections all the time.
        library.rd_kafka_conf_set(config, b"log_level", b"0", text, _TEXT_BYTES)
        handle = library.rd_kafka_new(_PRODUCER, config, text, ctypes.c_size_t(_TEXT_BYTES))
        if not handle:
            message = f"the embedded broker cannot start: {text.value.decode()}"
            raise BrokerError(message)
        self._handle = ctypes.c_void_p(handle)
        cluster = library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not cluster:
            self.stop()
            message = "the embedded broker cannot start: librdkafka created no mock cluster"
            raise BrokerError(message)
        self._cluster = ctypes.c_void_p(cluster)
        # By default the first member of a group waits three seconds for others.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        address = library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        self.bootstrap_servers = ctypes.string_at(address).decode()
        if self._port is not None:
            self._listen(self._port)

    def stop(self) -> None:
        """Stop the broker; all its records are lost. Calling it twice is harmless."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self._forwarder is not None:
            self._forwarder.close()
            self._forwarder = None
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._handle is not None:
            self._library.rd_kafka_destroy(self._handle)
            self._handle = None
        self._topics.clear()

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Create a topic.

        Raises
        ------
        BrokerError
            If it exists, or the broker is not running.
        """
        if self._cluster is None:
            message = f"the embedded broker is not running, so topic {topic} cannot be created"
            raise BrokerError(message)
        code = self._library.rd_kafka_mock_topic_create(
            self._cluster, topic.encode(), n_partitions, 1
        )
        if code:
            message = f"the embedded broker did not create topic {topic} (error {code}): it exists"
            raise BrokerError(message)
        self._topics[topic] = n_partitions

    def check_retention(self) -> None:
        """Raise an error if the broker has dropped records.

        Raises
        ------
        BrokerError
            If the first records of a partition are gone. Produce less, or to more partitions.
        """
        dropped = {
            f"{topic}[{number}]": low
            for topic, n_partitions in self._topics.items()
            for number in range(n_partitions)
            if (low := self._low_watermark(topic, number)) != 0
        }
        if dropped:
            names = ", ".join(f"{name} lost {low}" for name, low in dropped.items())
            message = (
                f"the embedded broker dropped records that were produced: {names}; it keeps 5 MiB "
                "for each partition: produce less, use more partitions, or use a real Kafka"
            )
            raise BrokerError(message)

    def _low_watermark(self, topic: str, number: int) -> int:
        """Return the offset of the first record of a partition that is still kept."""
        import confluent_kafka  # noqa: PLC0415  (the extra; absent without it)

        if self._watcher is None:
            self._watcher = confluent_kafka.Consumer(
                {"bootstrap.servers": self.bootstrap_servers, "group.id": "check-retention"}
            )
        partition = confluent_kafka.TopicPartition(topic, number)
        timeout_s = _limits.CONNECT_TIMEOUT_MS / 1000
        low, _ = self._watcher.get_watermark_offsets(partition, timeout=timeout_s)
        return int(low)

    def _listen(self, port: int) -> None:
        """Accept bootstrap connections on the requested port."""
        host, _, own_port = self.bootstrap_servers.rpartition(":")
        try:
            self._forwarder = _Forwarder(port, (host, int(own_port)))
        except OSError as error:
            self.stop()
            message = (
                f"the embedded broker cannot listen on 127.0.0.1:{port} ({error}); choose another "
                "port, or 0 for any"
            )
            raise BrokerError(message) from error
        self.bootstrap_servers = f"127.0.0.1:{port}"


class _Forwarder:
    """Passes bytes between a chosen port and the broker's own port, which cannot be chosen.

    Clients bootstrap here and then connect to the broker's own port, which its metadata names.
    """

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Only a shutdown wakes up the thread that waits for a connection.
        try:
            self._server.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # not supported on this system; closing must do
        finally:
            self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return  # closed
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction of a connection until either end closes."""
    with source, sink:
        try:
            while data := source.recv(_PIPE_BYTES):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other direction ended first


def _load_library() -> Any:
    """Load the librdkafka inside confluent-kafka; its C API has the mock cluster."""
    try:
        files = importlib.metadata.files("confluent-kafka") or []
    except importlib.metadata.PackageNotFoundError:
        message = (
            "the embedded broker needs the package confluent-kafka, which is not installed; "
            "run: pip install 'stream-detector[confluent]'"
        )
        raise ConfigError(message) from None
    import confluent_kafka  # noqa: F401, PLC0415

    bundled = [
        str(file.locate())
        for file in files
        if file.name.startswith("librdkafka") and not file.name.endswith(".py")
    ]
    name = bundled[0] if bundled else ctypes.util.find_library("rdkafka")
    if name is None:
        message = "the embedded broker found no librdkafka beside confluent-kafka; reinstall it"
        raise ConfigError(message)
    library = ctypes.CDLL(name)
    for function in (
        library.rd_kafka_conf_new,
        library.rd_kafka_new,
        library.rd_kafka_mock_cluster_new,
        library.rd_kafka_mock_cluster_bootstraps,
    ):
        function.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_destroy.restype = None
    library.rd_kafka_destroy.restype = None
    return library
