"""One route, turn by turn, on a memory broker."""

import logging
from functools import partial

import pytest
from routing import START_MS, RecordingSink, RouteWorld, chain_of, life_of, make_event_alert

from stream_detector.clients.memory import Fault, MemoryClient
from stream_detector.core.codec.dead_letters import decode_dead_letter
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.errors import BrokerError, BrokerUnavailableError
from stream_detector.outputs.routing import outbox as outbox_module
from stream_detector.outputs.routing.config import AppriseRoute, WebhookRoute
from stream_detector.outputs.routing.delivery import BACKOFF_S_MIN
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.routing.state import Rules
from stream_detector.outputs.routing.wiring import make_runner
from stream_detector.outputs.sinks import SinkError
from stream_detector.telemetry import logger

DOWN = SinkError("it is down")


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


def test_events_are_sent_in_their_order_and_committed(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    world.publish(*life_of("a"), *life_of("b"))
    world.settle(1)
    assert sink.sent == [["a-1"], ["a-2"], ["a-3"], ["b-1"], ["b-2"], ["b-3"]]
    assert world.committed == 6
    world.settle()
    assert len(sink.sent) == 6


def test_a_route_is_not_idle_before_all_partitions_could_be_read(
    sink: RecordingSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RouteWorld(sink)
    answers = iter([False, True])
    monkeypatch.setattr(MemoryClient, "has_fetched", lambda _: next(answers))
    for expected_s in (0.0, 5.0):
        world.clock.sleep(5.0)
        world.runner.turn()
        assert world.runner.idle_s == expected_s


def test_a_route_that_is_new_may_begin_with_the_next_alert(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    world.kill()
    world.publish(*life_of("a"))
    world.start(offset_reset="latest")
    world.settle(1)
    assert world.committed == 3
    world.kill()  # before anything came: what comes while it is down must not be lost
    world.publish(make_event_alert("b"))
    world.start(offset_reset="latest")
    world.settle(1)
    assert sink.ids == ["b-1"]


def test_what_holds_no_alert_is_skipped(
    sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    world = RouteWorld(sink)
    world.broker.feed("alerts", [b"{}", b"\0\0\0\0\1x", OutputRecord("alerts", b"k", None)])
    world.publish(make_event_alert("a"))
    with caplog.at_level(logging.WARNING, logger.name):
        world.settle(1)
    assert sink.ids == ["a-1"]
    assert [each.event for each in caplog.records] == ["not-an-alert"] * 2  # type: ignore[attr-defined]
    assert world.committed == 4


def test_a_sink_that_is_down_loses_nothing_and_nothing_is_committed(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    sink.problem = DOWN
    world.publish(*life_of("a"))
    for _ in range(60):
        world.runner.turn()
        world.clock.sleep(1.0)
    assert 5 <= sink.n_attempts <= 12
    assert world.committed == 0
    assert world.runner.deliverer.failing_since_s == 1_000.0
    sink.problem = None
    world.clock.sleep(60.0)
    world.settle(1)
    assert sink.ids == ["a-1", "a-2", "a-3"]
    assert world.runner.deliverer.failing_since_s is None
    assert world.committed == 3


def test_the_first_wait_is_between_half_of_the_shortest_and_all(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    sink.problem = DOWN
    world.publish(make_event_alert("a"))
    waits = []
    for _ in range(50):
        world.start()
        world.settle(1)
        waits.append(world.runner.deliverer.again_s - world.clock.monotonic_s())
        world.kill()
    assert BACKOFF_S_MIN / 2 <= min(waits) < 0.8 * BACKOFF_S_MIN
    assert 0.9 * BACKOFF_S_MIN < max(waits) <= BACKOFF_S_MIN


@pytest.mark.parametrize("n_partitions", [1, 2])
def test_no_more_is_read_while_too_much_waits(
    sink: RecordingSink, n_partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "EVENTS_MAX", 3)
    world = RouteWorld(sink, n_partitions=n_partitions)
    sink.problem = DOWN
    for partition in range(n_partitions):
        world.publish(*life_of(f"a{partition}"), partition=partition)
    world.settle()
    for partition in range(n_partitions):
        world.publish(*life_of(f"b{partition}"), partition=partition)
    world.settle()
    assert sum(world.client.lag_records().values()) == 3 * n_partitions
    sink.problem = None
    world.clock.sleep(60.0)
    world.settle()
    assert len(sink.ids) == 6 * n_partitions


def test_an_alert_that_is_refused_is_a_dead_letter(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    sink.problem = SinkError("host answers 400: no", is_final=True)
    opened, risen, closed = life_of("a")
    world.publish(opened)
    world.settle(1)
    sink.problem = None
    world.publish(risen, closed)
    world.settle(1)
    (stored,) = world.broker.records("dead-letters")
    letter = decode_dead_letter(*stored)
    assert letter.reason is not None
    assert letter.reason[1:] == (
        "deliver",
        "AlertUndeliveredError",
        "route pager: host answers 400: no",
    )
    assert letter.reason.source.offset == 0
    assert letter.value == world.broker.records("alerts")[0].value
    assert sink.ids == ["a-2", "a-3"]
    assert world.committed == 3


def test_after_all_attempts_an_alert_is_a_dead_letter(sink: RecordingSink) -> None:
    world = RouteWorld(sink, attempts_max=3)
    sink.problem = DOWN
    world.publish(make_event_alert("a"))
    for n_attempts in (1, 2, 3):
        assert not world.broker.records("dead-letters")
        world.settle(1)
        assert sink.n_attempts == n_attempts
        world.clock.sleep(2.0**n_attempts)
    assert len(world.broker.records("dead-letters")) == 1
    assert world.committed == 1


def test_a_dead_letter_that_kafka_does_not_take_is_written_again(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    sink.problem = SinkError("no", is_final=True)
    world.broker.faults = [Fault("flush", BrokerUnavailableError("away"))]
    world.publish(make_event_alert("a"))
    n_turns = iter(range(20))

    def is_stopping() -> bool:
        world.clock.sleep(1.0)
        return next(n_turns) > 5

    world.runner.run(is_stopping)
    assert len(world.broker.records("dead-letters")) == 1
    assert world.committed == 1


def test_without_a_last_attempt_it_is_tried_for_ever(sink: RecordingSink) -> None:
    world = RouteWorld(sink, attempts_max=None)
    sink.problem = SinkError("404", is_final=True)
    world.publish(make_event_alert("a"))
    for _ in range(100):
        world.settle(1)
        world.clock.sleep(60.0)
    assert sink.n_attempts == 100
    assert not world.broker.records("dead-letters")


def test_what_is_silenced_is_never_sent_and_is_logged_once_an_event(
    sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    world = RouteWorld(sink)
    world.why_held = lambda alert: "silence 1" if alert.key == "a" else None
    world.publish(*life_of("a"), make_event_alert("b"))
    with caplog.at_level(logging.INFO, logger.name):
        world.settle()
    assert sink.ids == ["b-1"]
    fields = [each.fields for each in caplog.records]  # type: ignore[attr-defined]
    assert [(each["alert_id"], each["number"], each["why"]) for each in fields] == [
        ("a", 1, "silence 1"),
        ("a", 2, "silence 1"),
    ]
    found = world.metrics.events.labels("pager", "silenced")
    assert found._value.get() == 2
    assert world.committed == 4


def test_an_open_alert_is_repeated_with_ids_of_its_own_over_restarts(sink: RecordingSink) -> None:
    world = RouteWorld(sink, Rules(repeat_ms=60_000))
    world.publish(make_event_alert("a"))
    for second in range(200):
        if second % 7 == 3:
            world.kill()
            world.start()
        world.settle(2)
        world.clock.sleep(1.0)
    assert sink.ids == ["a-1", "a-1.1", "a-1.2", "a-1.3"]


def test_a_repeat_that_was_not_committed_is_repeated_with_its_id(sink: RecordingSink) -> None:
    world = RouteWorld(sink, Rules(repeat_ms=60_000))
    world.publish(make_event_alert("a"))
    world.settle(1)
    world.clock.sleep(60.0)
    world.broker.faults = [
        Fault("commit", BrokerUnavailableError("away"), world.broker.n_calls["commit"] + 1)
    ]
    with pytest.raises(BrokerError):
        world.settle(1)
    world.kill()
    world.start()
    world.settle()
    assert sink.ids == ["a-1", "a-1.1", "a-1.1"]


def test_events_within_a_window_of_time_are_sent_together(sink: RecordingSink) -> None:
    world = RouteWorld(sink, make_outbox=partial(Outbox, 5.0))
    world.publish(make_event_alert("a"))
    world.settle(1)
    world.clock.sleep(4.999)
    world.publish(make_event_alert("b"))
    world.settle()
    assert (sink.sent, world.committed) == ([], 0)
    world.clock.sleep(0.001)
    world.settle()
    assert (sink.sent, world.committed) == ([["a-1", "b-1"]], 2)


def test_partitions_move_with_what_is_open_and_what_waits(sink: RecordingSink) -> None:
    world = RouteWorld(sink, n_partitions=2)
    for partition in (0, 1):
        world.publish(life_of(f"p{partition}")[0], partition=partition)
    world.settle()
    other = world.connect()
    other.poll(1, 0)
    world.settle()
    mine = world.client.assignment()
    assert len(mine) == 1
    other.close()
    for partition in (0, 1):
        world.publish(*life_of(f"p{partition}")[1:], partition=partition)
    world.settle()
    assert sorted(sink.ids) == [
        f"p{partition}-{number}" for partition in (0, 1) for number in (1, 2, 3)
    ]


def test_while_records_are_read_again_nothing_is_sent(sink: RecordingSink) -> None:
    sink.refresh_s = 60.0
    world = RouteWorld(sink)
    opened, risen, closed = life_of("a")
    world.publish(opened, risen)
    world.settle()
    world.kill()
    world.start()
    world.settle()
    assert (sink.sent[-1], sink.open[-1]) == ([], ["a-2"])
    world.publish(closed)
    world.settle()
    assert (sink.sent[-1], sink.open[-1]) == (["a-3"], ["a-2"])
    assert sink.open == [[], ["a-1"], ["a-2"], ["a-2"]]


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    world.publish(*life_of("a"), make_event_alert("b"))
    world.settle()
    world.kill()
    world.broker.create_topic("alerts")
    world.publish(make_event_alert("c"))
    world.start()
    world.settle()
    assert sink.ids[-1] == "c-1"


def test_kafka_that_is_away_for_a_while_costs_nothing(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    world.publish(make_event_alert("a"))
    away = BrokerUnavailableError("away")
    world.broker.faults = [Fault("poll", away, nth) for nth in (2, 3)]
    n_turns = iter(range(20))

    def is_stopping() -> bool:
        number = next(n_turns)
        if number == 4:
            world.publish(*life_of("a")[1:])
        return number > 8

    world.runner.run(is_stopping)
    assert sink.ids == ["a-1", "a-2", "a-3"]
    assert world.clock.at_ms > START_MS


def test_kafka_that_is_away_for_too_long_ends_a_route(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    away = BrokerUnavailableError("away")
    world.broker.faults = [Fault("poll", away, nth) for nth in range(1, 1_000)]
    with pytest.raises(BrokerUnavailableError):
        world.runner.run(lambda: False)
    assert 60.0 <= (world.clock.at_ms - START_MS) / 1_000 < 64.0


def test_a_route_that_is_fenced_ends_at_once(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    world.broker.faults = [Fault("poll", BrokerError("no rights"))]
    with pytest.raises(BrokerError, match="no rights"):
        world.runner.run(lambda: False)
    assert world.clock.at_ms == START_MS


def test_retention_that_ate_an_open_alert_does_no_harm(sink: RecordingSink) -> None:
    world = RouteWorld(sink)
    opened, risen, closed = life_of("a")
    world.publish(opened, risen)
    world.settle()
    world.kill()
    world.broker.truncate("alerts", 0, 2)
    world.publish(closed, make_event_alert("b"))
    world.start()
    world.settle()
    assert sink.ids == ["a-1", "a-2", "b-1"]
    assert world.committed == 4
    assert TopicPartition("alerts", 0) in world.client.assignment()


def test_people_are_told_of_alerts_that_continue_each_other_as_of_one() -> None:
    mail = AppriseRoute(name="mail", sink="apprise", url="mailto://127.0.0.1")
    hook = WebhookRoute(name="hook", sink="webhook", url="https://hooks.example/a")
    told = {}
    for route in (mail, hook):
        world = RouteWorld(RecordingSink())
        world.runner = make_runner(route, world.runner.context, [])
        world.publish(*chain_of("ab"))
        world.settle()
        assert isinstance(world.sink, RecordingSink)
        told[route.name] = world.sink.ids
    assert told == {
        "mail": ["a-1", "a-2", "b-3"],
        "hook": ["a-1", "a-2", "a-3", "b-1", "b-2", "b-3"],
    }
