"""A service whose broker stops and comes back: it lives on, and is ready only while it can work."""

import gc
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import kafka as kafka_python
import pytest
from delivery_stream import detector_of  # tests/support
from local_kafka import LocalKafka

from stream_detector.clients import _limits, connect
from stream_detector.core.records import OutputRecord
from stream_detector.health import Health
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import ClientName, DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CLIENTS: tuple[ClientName, ...] = ("kafka-python", "confluent")
DEADLINE_S = 60.0
ANSWER_S_MAX = 3.0
SHORT_WAITS = {
    "PROBE_AFTER_S": 1.0,
    "CONNECT_TIMEOUT_MS": 1_000,
    "SESSION_TIMEOUT_MS": 3_000,
    "HEARTBEAT_MS": 500,
}


class Served:
    """A service in a thread of its own, and its health."""

    def __init__(self, address: str, client: ClientName) -> None:
        settings = DetectSettings(
            bootstrap_servers=address,
            client=client,
            group=uuid.uuid4().hex,
            flush_timeout_ms=2_000,
            broker_timeout_s=120,
        )
        library = connect(settings, topics=[settings.input_topic], group=settings.group)
        metrics = Metrics()
        self.health = Health(metrics.registry, answer_s_max=ANSWER_S_MAX)
        self.service = Service(library, detector_of("windows"), settings, metrics, SystemClock())
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()

    def end(self) -> None:
        self.service.stop()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def wait(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture
def collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """kafka-python leaves the sockets of connections that failed to the garbage collector."""
    # Lines that are kept would keep their errors, and these the connections.
    caplog.set_level(logging.CRITICAL, "stream_detector")
    yield
    gc.collect()


def create_topics(address: str) -> None:
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=address)
    try:
        names = ("telemetry", "alerts", "dead-letters")
        one = {"num_partitions": 1, "replication_factor": 1}
        admin.create_topics(dict.fromkeys(names, one), wait_for_metadata=True)
    finally:
        admin.close()


@pytest.mark.usefixtures("collected")
def test_a_broker_that_stops_makes_a_service_not_ready_until_it_is_back(
    own_kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("confluent_kafka")
    for name, value in SHORT_WAITS.items():
        monkeypatch.setattr(_limits, name, value)
    create_topics(own_kafka.bootstrap_servers)
    served = [Served(own_kafka.bootstrap_servers, client) for client in CLIENTS]
    try:
        # No record ever comes: that the broker is there is known by the polls alone.
        wait(lambda: all(not each.health.why_not_ready() for each in served))
        time.sleep(ANSWER_S_MAX + 1)
        assert [each.health.why_not_ready() for each in served] == [[], []]
        own_kafka.kill()
        wait(lambda: all(len(each.health.why_not_ready()) == 2 for each in served))
        for each in served:
            partitions, kafka = each.health.why_not_ready()
            assert partitions == "partitions: the group has assigned none"
            assert kafka.startswith("Kafka: expected an answer within 3 s, the last was ")
            assert each.health.why_stuck() == []
        own_kafka.start()
        wait(lambda: all(not each.health.why_not_ready() for each in served))
        writer = connect(served[0].service.context.settings)
        writer.produce([OutputRecord("telemetry", b"k", b'{"values":[9,9,9,9]}')])
        writer.flush(10_000)
        writer.close()
        wait(lambda: all(each.service.totals.n_alerts == 1 for each in served))
    finally:
        for each in served:
            each.end()
