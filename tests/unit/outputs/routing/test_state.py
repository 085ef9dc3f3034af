"""What a route knows of alerts, and what of it is due."""

from dataclasses import replace

import pytest
from routing import START_MS, chain_of, life_of, make_event_alert, routed

from stream_detector.core.alerting.alert import Alert, alert_id
from stream_detector.core.records import TopicPartition
from stream_detector.outputs.routing.matching import Match
from stream_detector.outputs.routing.state import (
    JOINED_BYTES_MAX,
    STALE_MS,
    Outcome,
    Position,
    RoutedEvent,
    RouteState,
    Rules,
    is_whole_window,
)

P0, P1 = TopicPartition("alerts", 0), TopicPartition("alerts", 1)


def nothing_held(_: Alert) -> str | None:
    return None


def add_sent(state: RouteState, event: RoutedEvent, now_ms: int = START_MS) -> Outcome:
    """Take in an event, which arrives at once where it is due."""
    outcome = state.add(event, now_ms)
    if outcome == "due":
        state.on_sent([event])
    return outcome


def make_state(**rules: object) -> RouteState:
    return RouteState(Rules(**rules), nothing_held)  # type: ignore[arg-type]


def test_open_rise_and_close_are_due_and_an_update_is_noted() -> None:
    opened, risen, closed = life_of("a")
    periodic = replace(risen, event_number=3, reason="periodic")
    closed = replace(closed, event_number=4)
    state = make_state()
    found = [state.add(routed(each), 0) for each in (opened, risen, periodic, closed)]
    assert found == ["due", "due", "noted", "due"]
    again = make_state(updates=True)
    assert [again.add(routed(each), 0) for each in (opened, risen, periodic)] == ["due"] * 3


def test_an_event_that_is_known_is_a_duplicate() -> None:
    opened, risen, closed = life_of("a")
    state = make_state()
    for each in (opened, risen):
        state.add(routed(each), 0)
    assert state.add(routed(risen), 0) == state.add(routed(opened), 0) == "duplicate"
    state.add(routed(closed), 0)
    assert state.add(routed(closed), 0) == "duplicate"


def test_an_alert_joins_when_it_first_matches_and_its_close_is_due_whatever_it_matches() -> None:
    opened, risen, closed = life_of("a")
    state = make_state(match=Match(severity=["critical"], reason=["severity"]))
    found = [state.add(routed(each), 0) for each in (opened, risen, closed)]
    assert found == ["not_matched", "due", "due"]
    assert state.add(routed(replace(closed, alert_id="b")), 0) == "not_matched"


def test_an_alert_that_is_held_back_joins_when_it_no_longer_is() -> None:
    opened, risen, closed = life_of("a")
    held = {opened.event_time_ms}
    state = RouteState(Rules(), lambda alert: "x" if alert.event_time_ms in held else None)
    assert state.add(routed(opened), 0) == "silenced"
    assert not state.open
    assert state.add(routed(risen), 0) == "due"
    held.add(closed.event_time_ms)
    assert state.add(routed(closed), 0) == "due"  # whoever was told of it is told of its end


def test_a_rise_that_is_held_back_is_not_due() -> None:
    opened, risen, _ = life_of("a")
    state = RouteState(Rules(), lambda alert: "x" if alert.event == "update" else None)
    assert [add_sent(state, routed(each)) for each in (opened, risen)] == ["due", "noted"]
    assert [each.alert for each in state.open] == [opened]


def test_a_rise_that_was_held_back_is_due_with_the_next_update() -> None:
    opened, risen, _ = life_of("a")
    later = replace(risen, event_number=3, reason="periodic", event_time_ms=START_MS + 60_000)
    held = {risen.event_time_ms}
    state = RouteState(Rules(), lambda alert: "x" if alert.event_time_ms in held else None)
    assert [add_sent(state, routed(each)) for each in (opened, risen, later)] == [
        "due",
        "noted",
        "due",
    ]
    assert [each.alert for each in state.open] == [later]


def test_an_alert_has_risen_where_its_score_has() -> None:
    opened, risen, _ = life_of("a")
    score = opened.anomaly_score or 0.0
    for rise, outcome in ((0.0, "noted"), (0.01, "due")):
        state = make_state()
        add_sent(state, routed(opened))
        assert add_sent(state, routed(replace(risen, anomaly_score=score + rise))) == outcome


def test_what_is_known_of_an_open_alert_is_its_newest_event_of_that_severity() -> None:
    opened = make_event_alert("a")
    later = replace(opened, event="update", event_number=2, reason="periodic")
    state = make_state()
    add_sent(state, routed(opened))
    assert add_sent(state, routed(later)) == "noted"
    assert [each.alert for each in state.open] == [later]
    waiting = make_state()
    waiting.add(routed(opened), START_MS)
    waiting.add(routed(later), START_MS)
    assert not waiting.open


def test_an_alert_is_open_until_it_closes_and_known_until_that_was_sent() -> None:
    opened, risen, closed = (routed(each, at) for at, each in enumerate(life_of("a")))
    state = make_state()
    state.add(opened, 0)
    assert not state.open
    state.on_sent([opened])
    assert state.open == [opened]
    state.add(risen, 0)
    state.add(closed, 0)
    assert state.open == [opened]
    assert state.positions({P0: 2}, 0)[P0].joined == (0,)
    state.on_sent([risen])
    assert state.open == [risen]
    assert state.positions({P0: 2}, 0)[P0].joined == (0,)
    state.on_sent([closed])
    assert not state.open
    assert state.positions({P0: 3}, 0)[P0].joined == ()


def test_repeats_come_at_whole_intervals_after_detection() -> None:
    state = make_state(repeat_ms=1_000)
    add_sent(state, routed(make_event_alert("a")))
    assert state.repeats(START_MS + 999) == []
    assert [each.event_id for each in state.repeats(START_MS + 1_000)] == ["a-1.1"]
    assert state.repeats(START_MS + 1_999) == []
    assert [each.event_id for each in state.repeats(START_MS + 3_500)] == ["a-1.3"]


def test_an_alert_that_is_read_late_is_not_repeated_at_once() -> None:
    state = make_state(repeat_ms=1_000)
    add_sent(state, routed(make_event_alert("a")), START_MS + 2_500)
    assert state.repeats(START_MS + 2_999) == []
    assert [each.event_id for each in state.repeats(START_MS + 3_000)] == ["a-1.3"]


def test_a_closed_alert_and_a_whole_window_are_not_repeated() -> None:
    state = make_state(repeat_ms=1)
    for each in life_of("a"):
        add_sent(state, routed(each))
    add_sent(state, routed(whole_window()))
    assert state.repeats(START_MS + 10**9) == []
    assert not state.open


def whole_window() -> Alert:
    alert = make_event_alert("w")
    place = routed(alert).metadata._replace(
        topic=alert.source.topic, partition=alert.source.partition, offset=alert.source.offset
    )
    return replace(alert, alert_id=alert_id(place, alert.bundle.version))


def test_an_alert_of_a_whole_window_is_known_by_its_id() -> None:
    assert is_whole_window(whole_window())
    assert not is_whole_window(replace(whole_window(), event="close"))
    assert not is_whole_window(make_event_alert("a"))


def test_open_alerts_of_which_nothing_is_heard_are_given_up() -> None:
    state = make_state()
    add_sent(state, routed(make_event_alert("a")))
    assert state.drop_stale(START_MS + STALE_MS) == 0
    assert state.drop_stale(START_MS + STALE_MS + 1) == 1
    assert not state.open


def test_a_partition_that_is_lost_takes_its_alerts_along() -> None:
    state = make_state()
    add_sent(state, routed(make_event_alert("a"), 3, 0))
    add_sent(state, routed(make_event_alert("b"), 4, 1))
    assert {each: found.joined for each, found in state.positions({P0: 9, P1: 9}, 0).items()} == {
        P0: (3,),
        P1: (4,),
    }
    state.drop_partitions([P0])
    assert [each.alert.alert_id for each in state.open] == ["b"]


def test_what_joined_is_known_again_and_nothing_else() -> None:
    before = RouteState(Rules(), lambda alert: "x" if alert.key == "held" else None)
    events = [
        routed(alert, at)
        for at, alert in enumerate(
            [
                make_event_alert("a"),
                make_event_alert("held"),
                *life_of("a")[1:2],
                make_event_alert("b"),
            ]
        )
    ]
    for each in events:
        add_sent(before, each)
    position = before.positions({P0: 4}, START_MS)[P0]
    position = Position.decode(position.encode(4), 4)
    assert position == Position((0, 3), START_MS)
    after = make_state(match=Match(key=["none"]))
    for each in events:
        after.replay(each, position)
    assert after.open == before.open
    closed = life_of("a")[2]
    assert after.add(routed(closed, 4), START_MS) == "due"


def test_a_restart_repeats_what_became_due_meanwhile_once() -> None:
    opened = routed(make_event_alert("a"))
    state = make_state(repeat_ms=1_000)
    state.replay(opened, Position((0,), START_MS + 2_100))
    assert state.repeats(START_MS + 2_999) == []
    state = make_state(repeat_ms=1_000)
    state.replay(opened, Position((0,), START_MS + 2_100))
    assert [each.event_id for each in state.repeats(START_MS + 5_000)] == ["a-1.5"]


@pytest.mark.parametrize("text", ["", "r1", "r1 x y", "r2 1 1", "r1 1 !", '{"restore_offset": 1}'])
def test_other_text_beside_an_offset_has_nothing_joined(text: str) -> None:
    assert Position.decode(text, 10) == Position()


def test_offsets_before_the_beginning_are_left_out() -> None:
    assert Position.decode("r1 7 b,a,1", 10) == Position((0, 9), 7)


def test_where_too_many_have_joined_all_that_the_route_takes_have() -> None:
    few = Position((0, 5, 123_456), 1)
    assert Position.decode(few.encode(200_000), 200_000) == few
    fits = Position(tuple(range(JOINED_BYTES_MAX // 5)), 1)  # four digits and a comma each
    assert Position.decode(fits.encode(1_000_000), 1_000_000) == fits
    longest = Position((0, *range(200_000, 200_779)), 1)  # five digits, then four
    text = longest.encode(1_700_000)
    assert len(text.split(" ")[2]) == JOINED_BYTES_MAX
    assert Position.decode(text, 1_700_000) == longest
    many = Position(tuple(range(7, 10_000)), START_MS)
    text = many.encode(1_000_000)
    assert len(text) < 100
    position = Position.decode(text, 1_000_000)
    assert position == Position((7,), START_MS, is_rest=True)
    state = make_state(match=Match(key=["a", "b"]))
    for at, alert in enumerate([*life_of("a"), *life_of("b")[:2], *life_of("c")[:2]]):
        state.replay(routed(alert, 7 + at), position)
    assert [each.alert.alert_id for each in state.open] == ["b"]


def test_the_text_beside_an_offset_is_as_long_as_kafka_takes() -> None:
    for n_joined in range(1, 5_000, 97):
        position = Position(tuple(range(n_joined)), START_MS)
        text = position.encode(1_000_000)
        assert len(text) < 4_000
        assert Position.decode(text, 1_000_000).joined[0] == 0
    assert Position.decode(Position(tuple(range(700)), 1).encode(999), 999).joined[-1] == 699


def test_an_alert_keeps_the_incident_that_its_later_events_do_not_name() -> None:
    opened, risen, _ = life_of("a")
    state = make_state()
    first = routed(replace(opened, incident_id="i1"))
    assert state.complete(first) is first
    add_sent(state, first)
    assert state.complete(routed(risen)).alert == replace(risen, incident_id="i1")
    other = routed(replace(risen, incident_id="i2"))
    assert state.complete(other) is other
    plain = routed(replace(risen, alert_id="b"))
    assert state.complete(plain) is plain


def test_alerts_that_continue_each_other_are_one_to_people() -> None:
    state = make_state(follows=True)
    found = [add_sent(state, routed(each, at)) for at, each in enumerate(chain_of("abc"))]
    rest = ["noted", "noted", "noted"]
    assert found == ["due", "due", "noted", *rest, "noted", "noted", "due"]
    assert state.open == []
    programs = make_state()
    assert {add_sent(programs, routed(each)) for each in chain_of("abc")} == {"due"}


def test_an_alert_that_continues_one_is_told_where_it_is_severer() -> None:
    opened, risen, closed = chain_of("ab")[:3]
    follower = chain_of("ab")[3]
    calm = replace(follower, event_number=2, event="update", reason="periodic")
    again = replace(risen, alert_id="b", event_number=3)
    worse = replace(again, event_number=4, severity="emergency", anomaly_score=9.5)
    state = make_state(follows=True)
    events = [opened, risen, closed, follower, calm, again, worse]
    found = [add_sent(state, routed(each)) for each in events]
    assert found == ["due", "due", "noted", "noted", "noted", "noted", "due"]
    from_calm = make_state(follows=True)
    for each in (opened, replace(closed, event_number=2)):
        add_sent(from_calm, routed(each))
    severer = replace(follower, severity="critical", anomaly_score=9.0)
    assert from_calm.add(routed(severer), 0) == "due"


def test_with_updates_an_alert_that_continues_one_is_an_update() -> None:
    state = make_state(follows=True, updates=True)
    found = [add_sent(state, routed(each)) for each in chain_of("ab")]
    assert found == ["due", "due", "noted", "due", "due", "due"]


def test_an_alert_that_continues_an_unknown_one_is_a_new_one() -> None:
    state = make_state(follows=True)
    assert [state.add(routed(each), 0) for each in chain_of("ab")[3:]] == ["due"] * 3


def test_repeats_go_on_where_an_alert_is_continued_before_it_was_sent() -> None:
    state = make_state(follows=True, repeat_ms=1_000)
    opened, _, closed, follower = map(routed, chain_of("ab")[:4])
    for each in (opened, closed, follower):
        state.add(each, START_MS)
    assert state.repeats(START_MS + 1_000) == []
    state.on_sent([opened])
    assert [each.event_id for each in state.repeats(START_MS + 2_000)] == ["b-1.2"]


@pytest.mark.parametrize(
    ("next_offset", "joined", "told"),
    [
        (1, 0, ["due", "noted", "noted", "noted", "due"]),
        (2, 0, ["noted", "noted", "noted", "due"]),
        (3, 0, ["noted", "noted", "due"]),
        (4, 3, ["due", "due"]),  # how severe the alert was that it continues is not known any more
        (5, 3, ["due"]),
    ],
)
def test_after_a_restart_in_a_chain_its_end_is_told(
    next_offset: int, joined: int, told: list[Outcome]
) -> None:
    events = [routed(each, at) for at, each in enumerate(chain_of("ab"))]
    before, after = make_state(follows=True), make_state(follows=True)
    for each in events[:5]:  # further than is committed where one has not arrived at the sink
        add_sent(before, each)
    position = before.positions({P0: next_offset}, START_MS)[P0]
    assert position.joined == (joined,)
    for each in events[:next_offset]:
        after.replay(each, position)
    assert [add_sent(after, each) for each in events[next_offset:]] == told
    assert after.open == []


def test_a_chain_is_known_again_where_all_that_a_route_takes_has_joined() -> None:
    events = [routed(each, at) for at, each in enumerate(chain_of("ab"))]
    state = make_state(follows=True)
    for each in events[:5]:
        state.replay(each, Position((0,), 0, is_rest=True))
    assert [each.alert.alert_id for each in state.open] == ["b"]
    assert add_sent(state, events[5]) == "due"
    assert state.open == []
