"""Where faults are played: a real Kafka, filled topics, processes under test, and the comparison.

The oracle is the output of one uninterrupted run over the same input, read with `read_committed`
by a client that is in no group.
"""

import itertools
import json
import re
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import kafka as kafka_python
from command_line import RunningCommand
from command_server import command_server
from delivery_stream import (
    N_PARTITIONS,
    N_RECORDS,
    alert_bytes,
    dead_letter_bytes,
    record_of,
)
from kafka_proxy import KafkaProxy
from local_cluster import LocalKafkaCluster
from local_kafka import LocalKafka

from stream_detector.clients import connect
from stream_detector.core.records import OffsetAndMetadata, OutputRecord, TopicPartition
from stream_detector.settings import ConnectionSettings

READ_TIMEOUT_S = 60.0
END_TIMEOUT_S = 90.0

N_RECORDS_TOGETHER = 15
"""Records that are written at once, so that a partition holds several batches."""

Published = Counter[bytes]


class Case(NamedTuple):
    """What a fault is played with."""

    shape: str
    client: str
    delivery: str


@dataclass(frozen=True)
class Outcome:
    """What a fault did.

    Parameters
    ----------
    n_lost
        Alerts and dead letters of the uninterrupted run that are not there.
    n_wrong
        Those that are there and that it did not have.
    n_repeated
        How often one is there again.
    recovery_s
        From the fault to the next commit, whoever made it; None where nothing was left to commit.
    """

    n_lost: int
    n_wrong: int
    n_repeated: int
    recovery_s: float | None


class Stage:
    """Brokers with a proxy before the first of them, and inputs that many jobs read.

    Parameters
    ----------
    folder
        For logs of processes.
    version
        Of the brokers.
    n_brokers
        With more than one, nothing is to go through the proxy: it leads to one alone.
    """

    def __init__(self, folder: Path, version: str, n_brokers: int = 1) -> None:
        self.folder = folder
        self.proxy = KafkaProxy()
        self.broker = LocalKafka(version, proxy_port=self.proxy.port)
        others = [LocalKafka(version) for _ in range(n_brokers - 1)]
        self.cluster = LocalKafkaCluster([self.broker, *others])
        self._numbers = itertools.count()
        self._inputs: dict[str, str] = {}
        self._expected: dict[str, Published] = {}

    def __enter__(self) -> "Stage":
        try:
            self.cluster.__enter__()
        except BaseException:
            self.proxy.close()
            raise
        self.proxy.start(self.broker.behind_proxy)
        return self

    def __exit__(self, *details: object) -> None:
        self.proxy.close()
        self.cluster.close()

    @property
    def servers(self) -> str:
        return self.cluster.bootstrap_servers

    def next_number(self) -> int:
        """Return another number each time."""
        return next(self._numbers)

    def administer(self, what: Callable[[Any], Any]) -> Any:
        """Do something as an administrator."""
        admin = kafka_python.KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            return what(admin)
        finally:
            admin.close()

    def make_topic(
        self,
        n_partitions: int = 1,
        name: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Make a topic that keeps what is old: the stream's times are long past.

        Its other settings go by Kafka's names.
        """
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        configs = {"retention.ms": "-1"} | dict(settings or {})
        topic = {"num_partitions": n_partitions, "replication_factor": -1, "configs": configs}
        self.administer(lambda admin: admin.create_topics({name: topic}, wait_for_metadata=True))
        self.cluster.wait_known(name)
        return name

    def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records of partitions before an offset, as retention does."""
        theirs = {kafka_python.TopicPartition(*each): offset for each, offset in before.items()}
        self.administer(lambda admin: admin.delete_records(theirs))

    def add_partitions(self, topic: str, n_partitions: int) -> None:
        """Let a topic have so many partitions from now on."""
        self.administer(lambda admin: admin.create_partitions({topic: n_partitions}))

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        self.administer(lambda admin: admin.delete_topics([name]))
        while name in self.administer(lambda admin: admin.list_topics()):
            time.sleep(0.1)

    def send(self, records: Iterable[OutputRecord]) -> None:
        """Write records and wait until they are there."""
        writer = connect(ConnectionSettings(bootstrap_servers=self.servers, client="confluent"))
        remaining = iter(records)
        while some := list(itertools.islice(remaining, N_RECORDS_TOGETHER)):
            writer.produce(some)
            writer.flush(30_000)
        writer.close()

    def input_of(self, shape: str) -> str:
        """Return the topic with the whole stream, which nobody may change."""
        if shape not in self._inputs:
            topic = self.make_topic(N_PARTITIONS)
            self.send(record_of(number, shape, topic) for number in range(N_RECORDS))
            self._inputs[shape] = topic
        return self._inputs[shape]

    def expected(self, shape: str) -> Published:
        """Return the output of an uninterrupted run."""
        if shape not in self._expected:
            job = self.job(Case(shape, "confluent", "at_least_once"))
            job.finish()
            self._expected[shape] = job.published()
        return self._expected[shape]

    def job(self, case: Case, input_topic: str | None = None) -> "Job":
        """Return a group with topics of its own that reads the whole stream, or another topic."""
        topic = input_topic or self.input_of(case.shape)
        return Job(self, case, topic, self.make_topic(), self.make_topic())


@dataclass
class Job:
    """A group of processes, what they read and where they write."""

    stage: Stage
    case: Case
    input_topic: str
    alerts_topic: str
    dead_letter_topic: str
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex[:8]}")
    processes: list[RunningCommand] = field(default_factory=list)

    @property
    def transactional_id(self) -> str:
        """The transactional id of a process with the default instance id."""
        return f"{self.group}-a"

    def start(
        self,
        *flags: str,
        instance: str = "a",
        is_proxied: bool = False,
        idle_s: float = 2.0,
        settings: dict[str, object] | None = None,
        **plan: object,
    ) -> RunningCommand:
        """Start a process of the group.

        Parameters
        ----------
        flags
            Added to the command line.
        instance
            Its `--instance-id`.
        is_proxied
            Whether it reaches the broker through the proxy.
        idle_s
            When it stops of itself: after so long without a record.
        settings
            By their names, set in its environment.
        plan
            Fields of `fault_worker.Plan`.
        """
        stage = self.stage
        servers = stage.proxy.address if is_proxied else stage.servers
        options = {
            "bootstrap-servers": servers,
            "input-topic": self.input_topic,
            "alerts-topic": self.alerts_topic,
            "dead-letter-topic": self.dead_letter_topic,
            "group": self.group,
            "client": self.case.client,
            "delivery": self.case.delivery,
            "instance-id": instance,
            "stop-when-idle": f"{idle_s}s",
        }
        words = [json.dumps({"shape": self.case.shape, **plan}), "detect", "-"]
        words += [*(f"--{name}={value}" for name, value in options.items()), *flags]
        values = {"poll_records_max": 10} | (settings or {})
        environment = {
            f"STREAM_DETECTOR_{name.upper()}": str(each) for name, each in values.items()
        }
        log = stage.folder / f"process-{stage.next_number()}.log"
        with log.open("wb") as stream:
            process = command_server().start("fault-worker", words, stream, stream, environment)
        self.processes.append(RunningCommand(process, log))
        return self.processes[-1]

    def finish(self, *flags: str, **options: Any) -> RunningCommand:
        """Let one more process do what is left, undisturbed."""
        last = self.start(*flags, **options)
        code = exit_code(last)
        assert code == 0, f"exit code {code}: {last.output}"
        return last

    def join(self) -> None:
        """Wait until every process has ended, by what was done to it or in order; then finish."""
        for each in self.processes:
            code = exit_code(each)
            # A process ends by SIGTERM itself while it does not listen for that yet.
            assert code in (0, 4, -signal.SIGKILL, -signal.SIGTERM), (
                f"exit code {code}: {each.output}"
            )
        self.finish()

    def close(self) -> None:
        """End what is still running."""
        for each in self.processes:
            if each.process.poll() is None:
                each.process.kill()
            each.process.wait()

    def published(self) -> Published:
        """Return what a reader sees, the time of detection apart, with how often it is there."""
        found: Published = Counter()
        for topic, content_of in (
            (self.alerts_topic, alert_bytes),
            (self.dead_letter_topic, dead_letter_bytes),
        ):
            found.update(content_of(*record) for record in read_all(self.stage.servers, topic))
        return found

    def finished_at_s(self) -> list[float]:
        """Return when commits were finished, by anybody, by `time.time`."""
        texts = "".join(each.output for each in self.processes)
        return sorted(map(float, re.findall(r"finished at=([\d.]+)", texts)))

    def outcome(self, at_s: float, expected: Published | None = None) -> Outcome:
        """Compare what was published with the uninterrupted run's, and check the offsets.

        Parameters
        ----------
        at_s
            When the fault was, by `time.time`.
        expected
            The uninterrupted run's output, where it is not that of the whole stream.
        """
        expected = self.stage.expected(self.case.shape) if expected is None else expected
        found = self.published()
        later_s = [each for each in self.finished_at_s() if each > at_s]
        self.check_offsets()
        return Outcome(
            n_lost=len(set(expected) - set(found)),
            n_wrong=len(set(found) - set(expected)),
            n_repeated=sum(n - 1 for n in found.values()),
            recovery_s=later_s[0] - at_s if later_s else None,
        )

    def committed(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the committed offset of each partition that has one."""
        settings = ConnectionSettings(bootstrap_servers=self.stage.servers)
        asking = connect(settings, topics=[self.input_topic], group=self.group)
        try:
            numbers = range(asking.n_partitions(self.input_topic))
            saved = asking.committed([TopicPartition(self.input_topic, each) for each in numbers])
        finally:
            asking.close()
        return {each: progress for each, progress in saved.items() if progress is not None}

    def check_offsets(self) -> None:
        """The group has committed the end of every partition that holds something."""
        ends = ends_of(self.stage.servers, self.input_topic)
        at = {each: progress.next_offset for each, progress in self.committed().items()}
        assert at == {each: end for each, end in ends.items() if end}, f"{at}, ends {ends}"

    def is_done(self) -> bool:
        """Return whether the whole stream is committed, by what the processes say."""
        texts = "".join(each.output for each in self.processes)
        said = re.findall(r"(\d+):(\d+)", " ".join(re.findall(r" next=(\S+)", texts)))
        return sum(int(offset) for offset in dict(said).values()) == N_RECORDS


def exit_code(running: RunningCommand) -> int:
    """Wait until a process ends; fails with what it said where it does not."""
    try:
        return running.process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"did not end in {END_TIMEOUT_S} s: {running.output}") from None


def ends_of(servers: str, topic: str) -> dict[TopicPartition, int]:
    """Return the log end of each partition."""
    consumer = kafka_python.KafkaConsumer(bootstrap_servers=servers)
    try:
        numbers = consumer.partitions_for_topic(topic) or ()
        theirs = [kafka_python.TopicPartition(topic, number) for number in numbers]
        return {TopicPartition(*each): end for each, end in consumer.end_offsets(theirs).items()}
    finally:
        consumer.close()


def read_all(
    servers: str, topic: str, timeout_s: float = READ_TIMEOUT_S
) -> list[tuple[bytes | None, bytes | None, Any]]:
    """Return value, key and headers of all that is committed, once nothing is in doubt any more."""
    ends = {each: end for each, end in ends_of(servers, topic).items() if end}
    reader = connect(ConnectionSettings(bootstrap_servers=servers), topics=[topic])
    found = []
    deadline_s = time.monotonic() + timeout_s
    try:
        while True:
            batch = reader.poll(1_000, 100)
            for index, value in enumerate(batch.values):
                metadata = batch.metadata(index)
                found.append((value, metadata.key, metadata.headers))
            positions = reader.positions(ends)
            if all(positions.get(each, 0) >= end for each, end in ends.items()):
                return found
            assert time.monotonic() < deadline_s, f"{topic} is blocked: {positions}, ends {ends}"
    finally:
        reader.close()
