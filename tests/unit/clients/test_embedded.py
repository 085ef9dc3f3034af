"""The embedded broker: it starts, stops, and says when it dropped something."""

import socket
import threading

import pytest

pytest.importorskip("confluent_kafka")

from stream_detector.clients import connect
from stream_detector.clients.embedded import EmbeddedBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError
from stream_detector.settings import ClientName, ConnectionSettings


def test_it_listens_on_a_chosen_port_and_stops_cleanly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with EmbeddedBroker(port=port) as broker:
        assert broker.bootstrap_servers == f"127.0.0.1:{port}"
        broker.create_topic("telemetry", 3)
        client = connect(ConnectionSettings(bootstrap_servers=broker.bootstrap_servers))
        assert client.n_partitions("telemetry") == 3
        client.close()
    broker.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not [thread for thread in threading.enumerate() if "kafka" in thread.name]


@pytest.mark.parametrize("name", ["confluent", "kafka-python"])
def test_a_topic_that_is_created_during_the_question_is_found(name: ClientName) -> None:
    with EmbeddedBroker() as broker:
        client = connect(
            ConnectionSettings(bootstrap_servers=broker.bootstrap_servers, client=name)
        )
        late = threading.Timer(0.5, broker.create_topic, ("telemetry", 3))
        late.start()
        assert client.n_partitions("telemetry") == 3
        late.join()
        client.close()


def test_the_error_for_a_taken_port_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokerError, match=f"{port}.*another port"):
            EmbeddedBroker(port=port).start()


def test_a_topic_is_created_once_and_only_while_the_broker_runs() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match="not running"):
        broker.create_topic("telemetry")
    with broker:
        broker.create_topic("telemetry")
        with pytest.raises(BrokerError, match="exists"):
            broker.create_topic("telemetry")


def test_dropped_records_are_an_error() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("telemetry", 2)
        settings = ConnectionSettings(bootstrap_servers=broker.bootstrap_servers)
        client = connect(settings)
        client.produce([OutputRecord("telemetry", None, b"x", partition=0)])
        client.flush(10_000)
        broker.check_retention()

        value = bytes(500_000)
        client.produce(OutputRecord("telemetry", None, value, partition=1) for _ in range(20))
        client.flush(10_000)
        client.close()

        with pytest.raises(BrokerError, match=r"telemetry\[1\] lost"):
            broker.check_retention()
