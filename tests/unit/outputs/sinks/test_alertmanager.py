"""What Alertmanager is sent, so that it shows an alert as firing exactly while it is open."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from routing import (
    START_MS,
    HttpReceiver,
    RouteWorld,
    SettableClock,
    life_of,
    make_event_alert,
    receiving,
    routed,
)

from stream_detector.core.alerting.alert import Alert, alert_id
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.sinks import SinkError
from stream_detector.outputs.sinks.alertmanager import HOLD_MS, PATH, SKEW_MS, AlertmanagerSink
from stream_detector.outputs.sinks.http import HttpPost


@pytest.fixture(scope="module")
def server() -> Iterator[HttpReceiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: HttpReceiver) -> HttpReceiver:
    server.posts.clear()
    server.status, server.n_refused = 200, 0
    return server


@pytest.fixture
def world(receiver: HttpReceiver) -> RouteWorld:
    clock = SettableClock(START_MS + 600_000)
    post = HttpPost(receiver.url + PATH, 5.0, None, {})
    sink = AlertmanagerSink(post, clock.now_ms, labels={"team": "pumps"})
    made = RouteWorld(sink, attempts_max=None, clock=clock)
    made.make_outbox = lambda: Outbox(is_together=True)
    made.kill()
    made.start()
    return made


def ms_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def ends(receiver: HttpReceiver) -> list[tuple[str, int]]:
    """Return severity and end of each alert that was sent, in order."""
    return [(each["labels"]["severity"], ms_of(each["endsAt"])) for each in receiver.alerts]


def test_an_open_alert_fires_for_an_hour_if_nothing_more_is_heard(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    world.publish(make_event_alert("pump-7"))
    world.settle(1)
    (alert,) = receiver.alerts
    assert receiver.posts[0][0] == "/api/v2/alerts"
    assert alert == {
        "labels": {
            "alertname": "StreamDetectorAnomaly",
            "bundle": "pump",
            "key": "pump-7",
            "severity": "warning",
            "team": "pumps",
            "topic": "telemetry",
        },
        "annotations": {
            "summary": "vibration: observed 6.2 where 1.2 was expected, for 2 s",
            "alert_id": "pump-7",
            "event_id": "pump-7-1",
            "reason": "anomalous",
            "check": "",
            "anomaly_score": "2.625",
        },
        "startsAt": "2026-01-01T00:00:00.000+00:00",
        "endsAt": "2026-01-01T01:10:00.000+00:00",
    }
    assert HOLD_MS == 3_600_000


def test_it_is_sent_again_every_minute_while_it_is_open(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    world.publish(make_event_alert("a"))
    world.settle()
    n_posts = len(receiver.posts)
    world.clock.sleep(59.999)
    world.settle()
    assert len(receiver.posts) == n_posts
    world.clock.sleep(0.001)
    world.settle()
    assert len(receiver.posts) == n_posts + 1
    assert ms_of(receiver.alerts[-1]["endsAt"]) == world.clock.at_ms + HOLD_MS


def test_a_closed_alert_has_an_end_that_has_passed_also_where_clocks_differ(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    opened, _, closed = life_of("a")
    closed = replace(closed, severity="warning")
    world.publish(opened)
    world.settle()
    world.publish(closed)
    world.settle()
    assert ends(receiver)[-1] == ("warning", closed.event_time_ms)
    assert SKEW_MS == 60_000
    world.clock.at_ms = at_ms = closed.event_time_ms + 59_000
    sink = world.runner.context.sink
    sink.deliver([routed(closed)], [])
    assert ends(receiver)[-1] == ("warning", at_ms - 60_000)


def test_an_end_is_not_before_its_start(world: RouteWorld, receiver: HttpReceiver) -> None:
    world.clock.at_ms = START_MS + 25_000
    world.publish(*life_of("a"))
    world.settle()
    assert all(ms_of(each["startsAt"]) <= ms_of(each["endsAt"]) for each in receiver.alerts)
    ahead = make_event_alert("b", at_ms=world.clock.at_ms + 10**9)
    world.publish(ahead)
    world.settle()
    assert ms_of(receiver.alerts[-1]["startsAt"]) == world.clock.at_ms


def test_a_rise_fires_with_its_labels_before_the_former_end(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    opened, risen, closed = life_of("a")
    for each in (opened, risen, closed):
        world.publish(each)
        world.settle()
    now_ms = world.clock.at_ms
    assert [(severity, end_ms > now_ms) for severity, end_ms in ends(receiver)] == [
        ("warning", True),
        ("critical", True),
        ("warning", False),
        ("critical", False),
    ]


def test_what_opened_and_closed_while_the_sink_was_away_is_seen_once(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    receiver.status = 503
    world.publish(*life_of("a"))
    world.settle()
    receiver.status = 200
    world.clock.sleep(60.0)
    world.settle()
    now_ms = world.clock.at_ms
    shown = [(severity, end_ms > now_ms) for severity, end_ms in ends(receiver)]
    assert ("critical", True) in shown
    assert shown[-1][1] is False
    assert {severity for severity, is_firing in shown if is_firing} == {
        severity for severity, is_firing in shown if not is_firing
    }


def test_an_alert_that_continues_another_keeps_firing(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    opened, _, closed = life_of("a")
    world.publish(opened)
    world.settle()
    closed = replace(closed, severity="warning", reason="max_duration")
    world.publish(closed, make_event_alert("b", key="a", reason="continued"))
    world.settle()
    assert all(end_ms > world.clock.at_ms for _, end_ms in ends(receiver))
    world.publish(replace(closed, alert_id="b", event_number=2))
    world.settle()
    assert ends(receiver)[-1][1] < world.clock.at_ms


def whole_window(key: str, at_ms: int) -> Alert:
    alert = make_event_alert("x", key=key, at_ms=at_ms)
    source = alert.source
    place = routed(alert).metadata._replace(
        topic=source.topic, partition=source.partition, offset=source.offset
    )
    return replace(alert, alert_id=alert_id(place, alert.bundle.version))


def test_an_alert_of_a_whole_window_fires_for_ten_minutes(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    world.publish(whole_window("beat", START_MS))
    world.settle()
    assert ends(receiver) == [("warning", world.clock.at_ms + 600_000)]
    world.clock.sleep(120.0)
    world.settle()
    assert len(receiver.alerts) == 1


def test_missing_data_has_names_of_its_own(world: RouteWorld, receiver: HttpReceiver) -> None:
    gone: dict[str, Any] = {"explanation": None, "anomaly_score": None, "sentence": ""}
    world.publish(make_event_alert("a", reason="no_data", **gone))
    world.publish(make_event_alert("b", key="a", reason="feature_missing", feature="flow", **gone))
    world.settle()
    labels = [each["labels"] for each in receiver.alerts]
    found = {(each["alertname"], each.get("feature")) for each in labels}
    assert found == {("StreamDetectorNoData", None), ("StreamDetectorFeatureMissing", "flow")}
    assert receiver.alerts[0]["annotations"]["summary"] == "StreamDetectorNoData of a"


def test_a_partition_that_moved_away_is_not_resolved(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    world.publish(make_event_alert("a"))
    world.settle()
    world.kill()  # the group gives it to another
    other = world.connect()
    other.poll(1, 0)
    world.settle()
    assert all(end_ms > world.clock.at_ms for _, end_ms in ends(receiver))
    other.close()


def test_after_a_restart_what_was_fired_is_resolved(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    opened, risen, closed = life_of("a")
    world.publish(opened, risen)
    world.settle()
    world.kill()
    sink = AlertmanagerSink(HttpPost(receiver.url + PATH, 5.0, None, {}), world.clock.now_ms)
    world.sink = sink
    world.start()
    world.publish(closed)
    world.settle()
    severity, end_ms = ends(receiver)[-1]
    assert (severity, end_ms < world.clock.at_ms) == ("critical", True)


def test_a_failure_changes_nothing(world: RouteWorld, receiver: HttpReceiver) -> None:
    opened, risen, _ = (routed(each) for each in life_of("a"))
    sink = world.runner.context.sink
    sink.deliver([opened], [])
    receiver.status = 500
    with pytest.raises(SinkError):
        sink.deliver([risen], [opened])
    receiver.status = 200
    sink.deliver([risen], [opened])
    assert ends(receiver)[-1][0] == "warning"  # the former labels are ended
    assert ends(receiver)[-1][1] < world.clock.at_ms


def test_events_of_an_alert_may_come_in_several_deliveries(
    world: RouteWorld, receiver: HttpReceiver
) -> None:
    opened, risen, closed = (routed(each) for each in life_of("a"))
    sink = world.runner.context.sink
    sink.deliver([opened], [])
    sink.deliver([risen, closed], [opened])
    found = {(each["labels"]["severity"]): ms_of(each["endsAt"]) for each in receiver.alerts}
    assert all(end_ms < world.clock.at_ms for end_ms in found.values())
    assert set(found) == {"warning", "critical"}
