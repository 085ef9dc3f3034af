"""Promises of every client about records with more headers than a library hands over."""

import pytest
from client_world import World, on_real_and_memory, read, send  # tests/support

from stream_detector.core.records import OutputRecord, TopicPartition

LIMIT = 100_000
"""Of librdkafka."""


def headers(n_headers: int) -> list[tuple[str, bytes | None]]:
    return [("a", b"xy")] * n_headers


@pytest.fixture(params=[LIMIT, LIMIT + 1], ids=["at the limit", "above it"])
def n_headers(request: pytest.FixtureRequest) -> int:
    n_headers: int = request.param
    return n_headers


@on_real_and_memory
def test_headers_are_handed_over_or_known_to_be_lost(n_headers: int, world: World) -> None:
    topic = world.make_topic(2, max_message_bytes="2000000")
    plain = OutputRecord(topic, b"k", b"v", partition=1)
    many = plain._replace(headers=headers(n_headers))
    send(world.connect(), plain, many, plain, plain._replace(partition=0), many)
    reader = world.connect(topic)
    where = TopicPartition(topic, 1)
    found = {
        (metadata.partition, metadata.offset): len(metadata.headers)
        for batch in read(reader, 5)
        for metadata in map(batch.metadata, range(len(batch)))
    }
    without = sorted(place[1] for place, n in found.items() if n == 0 and place[0] == 1)
    lost = reader.lost_headers({where: without, TopicPartition(topic, 0): [0]})
    for offset in (1, 3):
        size = 3 * n_headers
        assert found[1, offset] == n_headers or lost[where, offset] == size
    assert set(lost) <= {(where, 1), (where, 3)}
    # What was read again moves nothing.
    assert len(reader.poll(10, 100)) == 0


@on_real_and_memory
def test_records_without_headers_have_lost_none(world: World) -> None:
    topic = world.make_topic()
    send(world.connect(), *[OutputRecord(topic, b"k", b"v")] * 3)
    reader = world.connect(topic)
    read(reader, 3)
    assert reader.lost_headers({TopicPartition(topic, 0): [0, 1, 2]}) == {}
    assert reader.lost_headers({}) == {}
