"""A real Apache Kafka on loopback without Docker: one broker in a Java process.

The jars come from Maven once and stay in the user's cache folder. Needs Java 17 and
Maven. Tests get one from `tests/conftest.py`; a benchmark puts this folder on
`sys.path` and uses it as a context manager:

    with LocalKafka() as kafka:
        kafka.bootstrap_servers
"""

import contextlib
import fcntl
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from maven_jars import MavenError, fetch_jars

VERSIONS = ("3.9.1", "4.2.0")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
QUICK_START = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
)
"""Options of Java for programs that live for a test: half the work until one serves, and less speed
under load. Brokers of the first version take Kafka's classes from an archive, which halves it again
and is made the first time."""

CLUSTER_ID = "c3RyZWFtLWRldGVjdG9yMQ"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://{controller}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
log.retention.ms=-1
"""

QUIET = """\
metadata.max.idle.interval.ms=0
num.io.threads=4
num.network.threads=2
"""
"""For brokers that live for a test: fewer threads that wake up in vain, and nothing written to the
quorum's log while nothing happens. An idle broker takes half of the time."""

# The one log line that says ready must reach standard output in both generations of loggers.
LOGGING = {
    "3": """\
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c %m%n
""",
    "4": """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c %m%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
""",
}


class LocalKafkaError(Exception):
    """The broker can not be had here; the message says why."""


def find_missing_tools() -> str | None:
    """Return what a local broker lacks on this machine, None where it has all."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"a local Kafka needs {' and '.join(missing)} on PATH" if missing else None


class LocalKafka:
    """One broker and its data, which outlive `stop` and `kill` until `close`.

    Parameters
    ----------
    version
        One of `VERSIONS`.
    settings
        Lines added to the broker's properties; they win over the ones here.
    protocols
        Security protocols with a listener each, beside the plain one.
    proxy_port
        Gives the broker a second address, `behind_proxy`, whose clients it sends to this port of
        loopback: where a proxy is to listen.
    java_options
        Of the Java process.

    Attributes
    ----------
    servers
        Address by security protocol; that of PLAINTEXT is `bootstrap_servers`.
    controller
        Address of its part in the quorum.
    settings
        As given; they count until the first start.
    folder
        For its data and its log.
    """

    def __init__(
        self,
        version: str = VERSIONS[0],
        settings: dict[str, str] | None = None,
        protocols: tuple[str, ...] = (),
        proxy_port: int | None = None,
        java_options: tuple[str, ...] = QUICK_START,
    ) -> None:
        self._java_options = java_options
        self.version = version
        self.settings = settings or {}
        self.folder = Path(tempfile.mkdtemp(prefix="stream-detector-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        names = ("PLAINTEXT", *protocols)
        controller_port, hidden_port, *ports = free_ports(2 + len(names))
        self.controller = f"127.0.0.1:{controller_port}"
        self.servers = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        self.bootstrap_servers = self.servers["PLAINTEXT"]
        self.behind_proxy = ("127.0.0.1", hidden_port)
        if proxy_port is not None:
            self.settings = self._proxied(hidden_port, proxy_port) | self.settings

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def log(self) -> Path:
        """The broker's log file."""
        return self.folder / "broker.log"

    def start(self) -> None:
        """Start the broker, or start it again with the data it had, and wait until it serves."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the broker's process and return at once."""
        if not (self.folder / "broker.properties").exists():
            self._format()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self.folder / "broker.properties")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests; the broker is stopped after them.
                start_new_session=True,
            )

    def wait_started(self) -> None:
        """Wait until the broker says in its log that it takes connections."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "Kafka Server started" not in self.log.read_text(errors="replace"):
            if self._require_process().poll() is not None or time.monotonic() > deadline_s:
                end = _end_of(self.log.read_bytes())
                raise LocalKafkaError(f"Kafka {self.version} did not start: {end}")
            time.sleep(0.1)

    def wait_ready(self) -> None:
        """Wait for the start, then for an administrator's call and a transactional id."""
        self.wait_started()
        check_serving(self.bootstrap_servers, START_TIMEOUT_S)

    def stop(self) -> None:
        """End the broker in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Crash the broker."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make the broker hang: connections stay, nothing answers."""
        self._require_process().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker continue."""
        self._require_process().send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Start the broker if it is dead, and let it continue if it hangs."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self.resume()

    def close(self) -> None:
        """Crash the broker if it still runs, and delete its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> int:
        """Let the broker outlive this process, and return the number of its own."""
        process = self._require_process()
        process.returncode = 0  # or Python would complain that nobody has waited for it
        self._process = None
        return process.pid

    def _require_process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = "the local Kafka is not running"
            raise LocalKafkaError(message)
        return self._process

    def _end(self, signal_number: int) -> None:
        process = self._require_process()
        process.send_signal(signal_number)
        if signal_number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)  # a hanging one would not hear it
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _java(self, main: str, *arguments: str) -> list[str]:
        generation = self.version[0]
        option = "log4j.configuration" if generation == "3" else "log4j2.configurationFile"
        logging = (self.folder / "logging.properties").as_uri()
        jars = str(_fetch_jars(self.version) / "*")
        java = shutil.which("java") or "java"
        options = ["-Xms128m", "-Xmx768m", "-XX:+UseSerialGC", *self._java_options]
        if self._java_options == QUICK_START and self.version == VERSIONS[0]:
            options += _take_archived_classes(self.version)
        return [java, *options, f"-D{option}={logging}", "-cp", jars, main, *arguments]

    def _proxied(self, hidden_port: int, proxy_port: int) -> dict[str, str]:
        """Return the settings of a second listener, whose clients are sent to a proxy."""
        own = f"PLAINTEXT://{self.bootstrap_servers}"
        controller = f"CONTROLLER://{self.controller}"
        names = ("PLAINTEXT", "PROXIED", "CONTROLLER")
        return {
            "listeners": f"{own},PROXIED://127.0.0.1:{hidden_port},{controller}",
            "advertised.listeners": f"{own},PROXIED://127.0.0.1:{proxy_port}",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
        }

    def _format(self) -> None:
        lines = PROPERTIES.format(
            listeners=",".join(f"{name}://{address}" for name, address in self.servers.items()),
            protocols=",".join(f"{name}:{name}" for name in self.servers),
            controller=self.controller,
            data=self.folder / "data",
        )
        if self._java_options:
            lines += QUIET
        lines += "".join(f"{name}={value}\n" for name, value in self.settings.items())
        (self.folder / "logging.properties").write_text(LOGGING[self.version[0]])
        properties = self.folder / "broker.properties"
        properties.write_text(lines)
        arguments = ("format", "--cluster-id", CLUSTER_ID, "--config", str(properties))
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments), capture_output=True, check=False
        )
        if done.returncode:
            properties.unlink()
            raise LocalKafkaError(f"Kafka's storage was not formatted: {_end_of(done.stdout)}")


def check_serving(bootstrap_servers: str, timeout_s: float) -> None:
    """Wait until the broker lists topics and gives out a transactional id: that comes last."""
    import kafka

    admin = kafka.KafkaAdminClient(
        bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=int(timeout_s * 1000)
    )
    try:
        admin.list_topics()
    finally:
        admin.close()
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap_servers,
        transactional_id="readiness",
        max_block_ms=int(timeout_s * 1000),
    )
    try:
        producer.init_transactions()
    finally:
        producer.close()


def _fetch_jars(version: str) -> Path:
    """Return the folder with Kafka's jars, filling it by Maven the first time."""
    profile = "reload4j" if version.startswith("3") else "log4j2"
    options = ("--activate-profiles", profile, f"-Dkafka.version={version}")
    try:
        return fetch_jars("kafka", version, "pom.xml", *options)
    except MavenError as error:
        message = find_missing_tools() or f"Maven did not fetch Kafka {version}: {error}"
        raise LocalKafkaError(message) from None


def _take_archived_classes(version: str) -> list[str]:
    """Return Java's option for an archive of Kafka's classes, which a broker that ends writes."""
    archive = _fetch_jars(version).with_name(f"{version}.jsa")
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            partial = archive.with_suffix(".partial")
            partial.touch()
            option = f"-XX:ArchiveClassesAtExit={partial}"
            with LocalKafka(version, java_options=(*QUICK_START, option)) as broker:
                broker.stop()
            partial.rename(archive)
    return [f"-XX:SharedArchiveFile={archive}"]


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def _end_of(output: bytes) -> str:
    """Return the last lines of some output."""
    return " | ".join(output.decode(errors="replace").strip().splitlines()[-5:])
