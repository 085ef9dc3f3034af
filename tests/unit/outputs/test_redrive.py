"""A redrive planned and sent by a program, without a terminal."""

from contextlib import closing

import pytest

from stream_detector.clients.memory import PAUSE, Fault, MemoryBroker
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.records import OutputRecord, RecordMetadata, Rejected
from stream_detector.errors import BrokerError, ConfigError, RecordDecodeError
from stream_detector.outputs.dead_letters import Location, Selection, Snapshot, take_snapshot
from stream_detector.outputs.redrive import (
    FLUSH_RECORDS,
    RedriveChoice,
    Target,
    check_targets,
    make_plan,
    planned_letters,
    send,
)
from stream_detector.settings import ConnectionSettings

EVERYTHING = RedriveChoice(Selection())


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("dead-letters", 1)
    made.create_topic("telemetry", 4)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, topics=(), **__: made.connect(topics=topics)
    )
    return made


def dead_letter(offset: int, bytes_max: int = 10_000, partition: int = 2) -> OutputRecord:
    metadata = RecordMetadata("telemetry", partition, offset, 1_000 + offset, b"pump-7", ())
    rejected = Rejected(0, RecordDecodeError("not JSON"))
    return encode_dead_letter(rejected, bytes(500), metadata, "dead-letters", bytes_max)


def snapshot_of(broker: MemoryBroker, *records: OutputRecord) -> Snapshot:
    broker.feed("dead-letters", records)
    return take_snapshot(ConnectionSettings(), "dead-letters")


def test_a_plan_counts_what_is_sent_and_what_is_not(broker: MemoryBroker) -> None:
    foreign = OutputRecord("", None, b"?")
    snapshot = snapshot_of(broker, dead_letter(0), foreign, dead_letter(7, 400), dead_letter(9))
    plan = make_plan(snapshot, EVERYTHING)
    assert (plan.n_records, plan.n_letters, plan.n_foreign, plan.n_incomplete) == (4, 2, 1, 1)
    assert dict(plan.counts) == {"telemetry": 2}
    assert plan.incomplete == ["0:2 lacks value (500 bytes); the whole record is at telemetry[2]@7"]
    assert [target for _, target in planned_letters(snapshot, plan)] == [
        Target(Location(0, 0), "telemetry", 2),
        Target(Location(0, 3), "telemetry", 2),
    ]


def test_the_first_20_incomplete_dead_letters_are_described(broker: MemoryBroker) -> None:
    plan = make_plan(snapshot_of(broker, *[dead_letter(at, 400) for at in range(21)]), EVERYTHING)
    assert plan.n_incomplete == 21
    assert [line.partition(" ")[0] for line in plan.incomplete] == [f"0:{at}" for at in range(20)]


def test_a_limit_takes_the_first_and_a_topic_lets_the_key_choose(broker: MemoryBroker) -> None:
    snapshot = snapshot_of(broker, *map(dead_letter, range(5)))
    plan = make_plan(snapshot, RedriveChoice(Selection(), to="vitals", limit=2))
    assert [target for _, target in planned_letters(snapshot, plan)] == [
        Target(Location(0, 0), "vitals", None),
        Target(Location(0, 1), "vitals", None),
    ]


def test_progress_is_reported_after_each_acknowledgement(broker: MemoryBroker) -> None:
    n_letters = 2 * FLUSH_RECORDS + 1
    snapshot = snapshot_of(broker, *map(dead_letter, range(n_letters)))
    plan = make_plan(snapshot, EVERYTHING)
    reported: list[int] = []
    with closing(broker.connect()) as writer:
        check_targets(plan, writer, "memory")
        send(snapshot, plan, writer, reported.append)
    assert reported == [FLUSH_RECORDS, 2 * FLUSH_RECORDS, n_letters]
    assert len(broker.records("telemetry")) == n_letters


def test_a_failure_leaves_the_progress_so_far(broker: MemoryBroker) -> None:
    snapshot = snapshot_of(broker, *map(dead_letter, range(FLUSH_RECORDS + 1)))
    plan = make_plan(snapshot, EVERYTHING)
    broker.faults.append(Fault("flush", PAUSE, nth=2))
    reported: list[int] = []
    with closing(broker.connect()) as writer, pytest.raises(BrokerError):
        send(snapshot, plan, writer, reported.append)
    assert reported == [FLUSH_RECORDS]


def test_a_partition_that_is_gone_is_refused(broker: MemoryBroker) -> None:
    plan = make_plan(snapshot_of(broker, dead_letter(0, partition=4)), EVERYTHING)
    with (
        closing(broker.connect()) as writer,
        pytest.raises(ConfigError, match="telemetry has 4 partitions"),
    ):
        check_targets(plan, writer, "memory")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (RedriveChoice(Selection(), to="dead-letters"), "expected another topic"),
        (RedriveChoice(Selection(), has_foreign=True), "such records name no original topic"),
    ],
)
def test_an_impossible_choice_is_refused(choice: RedriveChoice, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choice.check("dead-letters")
