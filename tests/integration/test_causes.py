"""What ends a running service from outside, with the cause in the message: topics and members."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import kafka as kafka_python
import pytest
from delivery_stream import detector_of  # tests/support

from stream_detector.clients import connect
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import ClientName, ConnectionSettings, DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.kafka

ENDS_S_MAX = 60.0

Topics = Callable[..., str]

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


def settings_of(kafka: str, client: ClientName, topics: Topics) -> DetectSettings:
    return DetectSettings(
        bootstrap_servers=kafka,
        client=client,
        input_topic=topics(2),
        alerts_topic=topics(1),
        dead_letter_topic=topics(1),
        group=uuid.uuid4().hex,
        flush_timeout_ms=2_000,
    )


class Running:
    """A service in a thread of its own."""

    def __init__(self, settings: DetectSettings) -> None:
        client = connect(settings, topics=[settings.input_topic], group=settings.group)
        detector = detector_of("windows")
        self.metrics = Metrics()
        self.service = Service(client, detector, settings, self.metrics, SystemClock())
        self._errors: list[BrokerError] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except BrokerError as error:
            self._errors.append(error)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + ENDS_S_MAX
        while not condition():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def end(self) -> BrokerError:
        """Return the error that ends it, soon and by itself."""
        self._thread.join(ENDS_S_MAX)
        is_alive = self._thread.is_alive()
        self.service.stop()
        self._thread.join()
        assert not is_alive
        (error,) = self._errors
        assert error.exit_code == 4
        assert not error.retriable
        return error


def send(kafka: str, topic: str) -> None:
    writer = connect(ConnectionSettings(bootstrap_servers=kafka))
    writer.produce([OutputRecord(topic, b"k", b'{"values":[9,9,9,9]}')])
    writer.flush(30_000)
    writer.close()


@contextmanager
def admin_of(kafka: str) -> Iterator[kafka_python.KafkaAdminClient]:
    admin = kafka_python.KafkaAdminClient(bootstrap_servers=kafka)
    try:
        yield admin
    finally:
        admin.close()


@pytest.mark.parametrize("is_busy", [True, False])
@each_client
def test_an_input_topic_that_is_deleted_is_named_with_the_command_that_makes_it(
    client: ClientName, is_busy: bool, kafka: str, topics: Topics
) -> None:
    settings = settings_of(kafka, client, topics)
    running = Running(settings)
    running.wait(lambda: running.service.is_ready)
    if is_busy:
        send(kafka, settings.input_topic)
        running.wait(lambda: running.service.totals.n_alerts == 1)
    with admin_of(kafka) as admin:
        admin.delete_topics([settings.input_topic])

    message = str(running.end())

    (retries,) = running.metrics.retries.collect()
    assert not retries.samples, "no outage of the broker is seen in it"
    assert f"no such topic on {kafka}: {settings.input_topic}" in message
    assert f"--create --topic {settings.input_topic}" in message


@each_client
def test_an_alerts_topic_that_is_deleted_is_named_with_the_command_that_makes_it(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    settings = settings_of(kafka, client, topics)
    running = Running(settings)
    running.wait(lambda: running.service.is_ready)
    send(kafka, settings.input_topic)
    running.wait(lambda: running.service.totals.n_alerts == 1)
    with admin_of(kafka) as admin:
        admin.delete_topics([settings.alerts_topic])
    time.sleep(1.0)  # the broker deletes it in the background
    send(kafka, settings.input_topic)

    message = str(running.end())

    assert f"no such topic on {kafka}: {settings.alerts_topic}" in message
    assert f"--create --topic {settings.alerts_topic}" in message


@each_client
def test_a_group_of_members_with_another_assignor_is_named(
    client: ClientName, kafka: str, topics: Topics
) -> None:
    settings = settings_of(kafka, client, topics)
    other = kafka_python.KafkaConsumer(
        settings.input_topic, bootstrap_servers=kafka, group_id=settings.group
    )
    with closing(other):
        deadline_s = time.monotonic() + ENDS_S_MAX
        while not other.assignment():
            assert time.monotonic() < deadline_s
            other.poll(5_000)  # a join that ends between two polls is begun again
        message = str(Running(settings).end())

    assert str(settings.group) in message
    assert "cooperative-sticky" in message
    assert "use another --group" in message
