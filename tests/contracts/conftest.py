"""The worlds of the contract tests: each client on each kind of broker that it supports."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from client_world import EVERYWHERE, World  # tests/support

from stream_detector.clients import _limits, connect
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import TopicPartition
from stream_detector.settings import ClientName, ConnectionSettings


@pytest.fixture(params=EVERYWHERE)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    named, _, kind = request.param.partition(" on ")
    library: ClientName = "confluent" if named == "confluent" else "kafka-python"
    if library == "confluent" or kind == "embedded":
        pytest.importorskip("confluent_kafka")
    if named == "memory":
        made = _in_memory()
    elif kind == "kafka":
        address = request.getfixturevalue("kafka")
        made = _at(address, library, request.getfixturevalue("topics"))
    else:
        embedded = request.getfixturevalue("embedded")
        numbers = itertools.count()

        def make_topic(n_partitions: int = 1) -> str:
            topic = f"topic-{next(numbers)}"
            embedded.create_topic(topic, n_partitions)
            return topic

        made = _at(embedded.bootstrap_servers, library, make_topic)
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture
def soon_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that is not known counts as missing sooner: one broker knows a new one at once."""
    monkeypatch.setattr(_limits, "NEW_TOPIC_MS", 300)


@pytest.fixture
def embedded() -> Iterator[object]:
    from stream_detector.clients.embedded import EmbeddedBroker

    with EmbeddedBroker() as broker:
        yield broker


def _in_memory() -> World:
    broker = MemoryBroker()

    def make_topic(n_partitions: int = 1, **settings: str) -> str:
        topic = f"topic-{len(broker.logs)}"
        broker.create_topic(topic, n_partitions)
        broker.topic_settings[topic] = {
            name.replace("_", "."): value for name, value in settings.items()
        }
        return topic

    def remove_members(group: str) -> None:
        for client in made.clients:
            broker.leave(group, client)  # type: ignore[arg-type]

    made = World(
        make_topic,
        broker.connect,
        lambda where, offset: broker.truncate(*where, offset),
        remove_members,
    )
    return made


def _at(address: str, library: ClientName, make_topic: Callable[..., str]) -> World:
    import kafka as kafka_python
    from kafka.admin import MemberToRemove

    settings = ConnectionSettings(bootstrap_servers=address, client=library)

    def truncate(where: TopicPartition, offset: int) -> None:
        admin = kafka_python.KafkaAdminClient(bootstrap_servers=address)
        try:
            admin.delete_records({kafka_python.TopicPartition(*where): offset})
        finally:
            admin.close()

    def remove_members(group: str) -> None:
        admin = kafka_python.KafkaAdminClient(bootstrap_servers=address)
        try:
            members = admin.describe_groups([group])[group]["members"]
            admin.remove_group_members(
                group, [MemberToRemove(each["member_id"]) for each in members]
            )
        finally:
            admin.close()

    return World(
        make_topic, lambda **options: connect(settings, **options), truncate, remove_members
    )
