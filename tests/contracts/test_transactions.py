"""Promises of every client about transactions: records and offsets together, or neither."""

import time
from collections.abc import Callable

import pytest
from client_world import (  # tests/support
    World,
    group,
    offsets_to_commit,
    on_real_and_memory,
    poll_until,
    read,
    send,
    values_of,
)

from stream_detector.clients._limits import HEARTBEAT_MS
from stream_detector.core.records import (
    OffsetAndMetadata,
    OutputRecord,
    RecordBatch,
    TopicPartition,
)
from stream_detector.errors import BrokerUnavailableError, FencedError
from stream_detector.ports import Client

pytestmark = on_real_and_memory


class Scene:
    """An input of ten records, an output, and clients that carry one over to the other."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.group = self._id = group()
        self.input, self.output = world.make_topic(), world.make_topic()
        self.where = TopicPartition(self.input, 0)
        send(world.connect(), *(OutputRecord(self.input, None, b"%d" % n) for n in range(10)))

    def worker(self) -> Client:
        return self._world.connect(self.input, group=self.group, transactional_id=self._id)

    def published(self, n_records: int) -> list[bytes | None]:
        """What a reader without a group sees: so many records, and nothing after them."""
        reader = self._world.connect(self.output)
        values = values_of(read(reader, n_records)) if n_records else []
        assert len(reader.poll(10, 250)) == 0
        return values

    def answers(self, *values: bytes) -> list[OutputRecord]:
        return [OutputRecord(self.output, None, value) for value in values]

    def committed(self, client: Client) -> OffsetAndMetadata | None:
        return client.committed([self.where])[self.where]


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def take(client: Client, n_records: int) -> RecordBatch:
    (batch,) = read(client, n_records, n_records)
    return batch


def test_records_and_offsets_are_seen_together(scene: Scene) -> None:
    worker = scene.worker()
    assert worker.n_partitions(scene.output) == 1
    batch = take(worker, 4)
    worker.produce(scene.answers(b"a"))
    worker.produce(scene.answers(b"b"))
    worker.flush(10_000)
    assert scene.published(0) == []

    worker.commit(offsets_to_commit(batch, "metadata"))

    assert scene.published(2) == [b"a", b"b"]
    assert scene.committed(worker) == OffsetAndMetadata(4, "metadata")
    batch = take(worker, 6)
    worker.produce(scene.answers(b"c"))
    worker.flush(10_000)
    worker.commit(offsets_to_commit(batch))
    assert scene.published(3) == [b"a", b"b", b"c"]
    assert scene.committed(worker) == OffsetAndMetadata(10)


def test_reset_aborts_an_open_transaction(scene: Scene) -> None:
    worker = scene.worker()
    worker.commit(offsets_to_commit(take(worker, 2)))
    take(worker, 3)
    worker.produce(scene.answers(b"lost"))
    worker.flush(10_000)
    worker.produce(scene.answers(b"never sent"))

    worker.reset()

    assert scene.committed(worker) == OffsetAndMetadata(2)
    batch = take(worker, 8)
    assert batch.values[0] == b"2"
    worker.produce(scene.answers(b"kept"))
    worker.flush(10_000)
    worker.commit(offsets_to_commit(batch))
    assert scene.published(1) == [b"kept"]


def test_abort_drops_the_records_and_keeps_the_position(scene: Scene) -> None:
    worker = scene.worker()
    batch = take(worker, 3)
    for _ in range(2):
        worker.produce(scene.answers(b"a", b"b"))
        worker.flush(10_000)
        worker.produce(scene.answers(b"never sent"))
        worker.abort()
    after = take(worker, 2)
    assert after.values == [b"3", b"4"]

    worker.produce(scene.answers(b"a", b"b"))
    worker.flush(10_000)
    worker.commit(offsets_to_commit(batch))

    assert scene.published(2) == [b"a", b"b"]
    assert scene.committed(worker) == OffsetAndMetadata(3)
    assert worker.newly_assigned() == worker.assignment() == {scene.where}


def test_closing_aborts_an_open_transaction(scene: Scene) -> None:
    worker = scene.worker()
    take(worker, 3)
    worker.produce(scene.answers(b"lost"))
    worker.flush(10_000)
    worker.close()

    assert scene.published(0) == []
    assert scene.committed(scene.worker()) is None


def test_offsets_may_be_committed_without_records_and_nothing_at_all(scene: Scene) -> None:
    worker = scene.worker()
    worker.commit(offsets_to_commit(take(worker, 3), "metadata"))
    worker.commit({})

    assert scene.committed(worker) == OffsetAndMetadata(3, "metadata")
    assert len(take(worker, 7)) == 7


def test_records_may_be_committed_without_offsets(scene: Scene) -> None:
    worker = scene.worker()
    worker.produce(scene.answers(b"alone"))
    worker.flush(10_000)
    worker.commit({})

    assert scene.published(1) == [b"alone"]


def test_no_transaction_is_open_across_a_poll(scene: Scene) -> None:
    worker = scene.worker()
    batch = take(worker, 3)
    worker.produce(scene.answers(b"a"))

    with pytest.raises(ValueError, match="transaction is open"):
        worker.poll(1, 0)
    worker.flush(10_000)
    worker.commit(offsets_to_commit(batch))
    assert len(take(worker, 7)) == 7


def test_positions_pass_the_ends_of_transactions(scene: Scene, world: World) -> None:
    worker = scene.worker()
    for number in range(3):
        batch = take(worker, 1)
        worker.produce(scene.answers(b"%d" % number))
        worker.flush(10_000)
        worker.commit(offsets_to_commit(batch))
    reader = world.connect(scene.output, group=group())
    where = TopicPartition(scene.output, 0)

    values = poll_until(lambda: reader.positions([where]) == {where: 6}, reader)

    assert values == [b"0", b"1", b"2"]
    assert reader.lag_records() == {where: 0}
    reader.seek(where, 3)  # an offset without a record
    assert values_of(read(reader, 1)) == [b"2"]


def test_end_offsets_end_before_an_open_transaction(scene: Scene, world: World) -> None:
    worker, reader = scene.worker(), world.connect(scene.output)
    where = TopicPartition(scene.output, 0)
    batch = take(worker, 1)
    worker.produce(scene.answers(b"a", b"b"))
    worker.flush(10_000)
    assert reader.end_offsets([where]) == {where: 0}

    worker.commit(offsets_to_commit(batch))

    assert values_of(read(reader, 2)) == [b"a", b"b"]
    assert reader.end_offsets([where]) == {where: 3}


Step = Callable[[Client, Scene, RecordBatch], None]


def _produce(client: Client, scene: Scene, batch: RecordBatch) -> None:
    del batch
    client.produce(scene.answers(b"late"))
    client.flush(10_000)


def _commit(client: Client, scene: Scene, batch: RecordBatch) -> None:
    del scene
    client.commit(offsets_to_commit(batch))


@pytest.mark.parametrize(("is_open", "step"), [(False, _commit), (True, _produce), (True, _commit)])
def test_a_second_client_with_the_same_id_fences_the_first(
    scene: Scene, is_open: bool, step: Step
) -> None:
    first = scene.worker()
    batch = take(first, 3)
    if is_open:
        first.produce(scene.answers(b"first"))
        first.flush(10_000)

    second = scene.worker()
    # It takes the id before it asks for offsets, so the first one can add nothing more.
    assert second.committed([scene.where]) == {scene.where: None}

    with pytest.raises(FencedError) as caught:
        step(first, scene, batch)
    assert not caught.value.retriable
    first.close()
    batch = take(second, 10)
    second.produce(scene.answers(b"second"))
    second.flush(10_000)
    second.commit(offsets_to_commit(batch))
    assert scene.published(1) == [b"second"]
    assert scene.committed(second) == OffsetAndMetadata(10)


@pytest.mark.parametrize("has_noticed", [False, True], ids=["at once", "after heartbeats"])
def test_the_offsets_of_a_removed_member_are_refused(
    scene: Scene, world: World, has_noticed: bool
) -> None:
    worker = scene.worker()
    batch = take(worker, 3)
    worker.produce(scene.answers(b"of the past"))
    worker.flush(10_000)
    world.remove_members(scene.group)
    if has_noticed:
        time.sleep(1.8 * HEARTBEAT_MS / 1000)

    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        worker.commit(offsets_to_commit(batch))
    worker.reset()

    assert scene.committed(worker) is None
    batch = take(worker, 10)
    worker.produce(scene.answers(b"again"))
    worker.flush(10_000)
    worker.commit(offsets_to_commit(batch))
    assert scene.published(1) == [b"again"]


def test_offsets_are_not_committed_after_leaving_the_group(scene: Scene) -> None:
    worker = scene.worker()
    batch = take(worker, 3)
    worker.reset()

    with pytest.raises(BrokerUnavailableError, match="rebalanced"):
        worker.commit(offsets_to_commit(batch))
    assert scene.committed(worker) is None
