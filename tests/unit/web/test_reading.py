"""A topic that is followed through errors of its broker."""

import threading
import time
from collections.abc import Callable

import pytest
from console_page import sample_record

from stream_detector.clients.memory import Fault, MemoryBroker
from stream_detector.core.records import RecordBatch
from stream_detector.errors import BrokerUnavailableError, SchemaRegistryUnavailableError
from stream_detector.web import reading
from stream_detector.web.reading import TopicReader


class Following:
    """A reader of `telemetry` in a thread, and the keys of what it gave."""

    def __init__(self, broker: MemoryBroker, n_back: int) -> None:
        self.keys: list[bytes | None] = []
        self.reader = TopicReader(
            "telemetry", "memory", lambda: broker.connect(topics=["telemetry"]), self.take, n_back
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.reader.run, args=(self.stop,))

    def take(self, batch: RecordBatch) -> None:
        self.keys += batch.keys()

    def __enter__(self) -> "Following":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def wait(self, is_done: Callable[[], bool]) -> None:
        until_s = time.monotonic() + 5
        while not is_done():
            assert time.monotonic() < until_s, (self.keys, self.reader)
            time.sleep(0.01)


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create_topic("telemetry", 2)
    for partition, n_records in ((0, 5), (1, 1)):
        keys = [f"{partition}-{row}" for row in range(n_records)]
        made.feed("telemetry", [sample_record(key, 0, 1) for key in keys], partition)
    return made


@pytest.mark.parametrize(
    ("n_back", "expected"),
    [
        (0, []),
        (1, [b"0-4"]),
        (2, [b"0-4", b"1-0"]),
        (5, [b"0-1", b"0-2", b"0-3", b"0-4", b"1-0"]),
        (6, [b"0-0", b"0-1", b"0-2", b"0-3", b"0-4", b"1-0"]),
        (1_000, [b"0-0", b"0-1", b"0-2", b"0-3", b"0-4", b"1-0"]),
    ],
)
def test_reading_begins_before_the_end(
    broker: MemoryBroker, n_back: int, expected: list[bytes]
) -> None:
    with Following(broker, n_back) as following:
        following.wait(lambda: following.reader.is_connected)
        broker.feed("telemetry", [sample_record("new", 0, 1)])
        following.wait(lambda: b"new" in following.keys)
        assert sorted(filter(None, following.keys)) == [*expected, b"new"]
        assert following.reader.n_records == len(expected) + 1
    assert broker.committed == {}


def test_after_an_error_reading_goes_on_where_it_was(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_S", 0.2)
    with Following(broker, 4) as following:
        following.wait(lambda: len(following.keys) == 4)
        at = broker.n_calls["poll"] + 10
        broker.faults.append(Fault("poll", BrokerUnavailableError("no broker answers"), at))
        broker.faults.append(Fault("beginning_offsets", BrokerUnavailableError("still none"), 2))
        following.wait(lambda: following.reader.problem == "no broker answers")
        assert not following.reader.is_connected
        following.wait(lambda: following.reader.problem == "still none")
        broker.feed("telemetry", [sample_record("later", 0, 1)], partition=1)
        following.wait(lambda: len(following.keys) == 5)
        assert following.keys[-1] == b"later"
        assert following.reader.problem is None


def test_the_first_records_of_a_topic_are_read_though_they_came_during_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "RETRY_S", 0.2)
    broker = MemoryBroker()
    broker.create_topic("telemetry")
    with Following(broker, 0) as following:
        following.wait(lambda: following.reader.is_connected)
        broker.faults.append(
            Fault("poll", BrokerUnavailableError("no broker answers"), broker.n_calls["poll"] + 3)
        )
        following.wait(lambda: not following.reader.is_connected)
        broker.feed("telemetry", [sample_record("first", 0, 1)])
        following.wait(lambda: following.keys == [b"first"])


def test_a_topic_that_is_made_again_is_read_from_its_own_beginning(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_S", 0.1)
    with Following(broker, 1_000) as following:
        following.wait(lambda: len(following.keys) == 6)
        broker.create_topic("telemetry", 2)
        broker.feed("telemetry", [sample_record("again", 0, 1)])
        following.wait(lambda: b"again" in following.keys)


def test_a_batch_that_could_not_be_taken_is_given_again(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_S", 0.01)
    errors = [SchemaRegistryUnavailableError("away")] * 2

    class Failing(Following):
        def take(self, batch: RecordBatch) -> None:
            if errors:
                raise errors.pop()
            super().take(batch)

    with Failing(broker, 1_000) as following:
        following.wait(lambda: len(following.keys) == 6)
        following.wait(lambda: following.reader.n_records == 6)
    assert len(set(following.keys)) == len(following.keys)
