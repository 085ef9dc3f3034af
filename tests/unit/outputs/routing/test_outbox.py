"""What waits, and when it is sent."""

from dataclasses import replace

from routing import START_MS, make_event_alert, routed

from stream_detector.core.records import TopicPartition
from stream_detector.outputs.routing.outbox import DELIVERY_EVENTS_MAX, EVENTS_MAX, Outbox
from stream_detector.outputs.routing.state import RoutedEvent


def event(name: str, offset: int = 0, partition: int = 0) -> RoutedEvent:
    return routed(make_event_alert(name), offset, partition)


def names(events: object) -> list[str]:
    return [each.alert.alert_id for each in events]  # type: ignore[attr-defined]


def test_events_are_sent_one_by_one_in_their_order() -> None:
    outbox = Outbox()
    outbox.put([event("a"), event("b")], 0.0)
    assert names(outbox.next_delivery(0.0)) == ["a"]
    assert names(outbox.next_delivery(0.0)) == ["a"]  # until it was sent
    outbox.take(outbox.next_delivery(0.0), 0.0)
    assert names(outbox.next_delivery(0.0)) == ["b"]
    outbox.take(outbox.next_delivery(0.0), 0.0)
    assert not outbox.next_delivery(0.0)
    assert len(outbox) == 0


def test_a_window_of_time_begins_with_its_first_event() -> None:
    outbox = Outbox(window_s=5.0)
    outbox.put([event("a")], 10.0)
    outbox.put([event("b")], 14.0)
    assert not outbox.next_delivery(14.999)
    assert names(outbox.next_delivery(15.0)) == ["a", "b"]
    outbox.take(outbox.next_delivery(15.0), 15.0)
    outbox.put([event("c")], 16.0)
    assert not outbox.next_delivery(20.999)
    assert names(outbox.next_delivery(21.0)) == ["c"]


def of(name: str, incident: str | None, opened_ms: int = START_MS) -> RoutedEvent:
    return routed(make_event_alert(name, incident_id=incident, opened_ms=opened_ms))


def all_deliveries(outbox: Outbox, now_s: float) -> list[list[str]]:
    found = []
    while events := outbox.next_delivery(now_s):
        found.append(names(events))
        outbox.take(events, now_s)
    return found


def test_events_of_an_incident_are_sent_by_themselves() -> None:
    outbox = Outbox(window_s=5.0)
    far_ms = START_MS + 5_001
    outbox.put([of("a", "i1"), of("b", None), of("c", "i1", far_ms), of("d", "i2", far_ms)], 0.0)
    outbox.put([of("e", None)], 4.0)
    assert all_deliveries(outbox, 5.0) == [["a", "c"], ["b", "e"], ["d"]]


def test_incidents_of_several_partitions_that_opened_together_are_one() -> None:
    outbox = Outbox(window_s=5.0)
    outbox.put([of("a", "i1"), of("b", "i2", START_MS + 5_000)], 0.0)
    outbox.put([of("c", "i2", START_MS + 9_000), of("d", "i3", START_MS - 5_000)], 1.0)
    assert all_deliveries(outbox, 5.0) == [["a", "b", "c", "d"]]


def test_without_a_window_incidents_do_not_matter() -> None:
    outbox = Outbox(is_together=True)
    outbox.put([of("a", "i1"), of("b", None), of("c", "i2", START_MS + 10**9)], 0.0)
    assert all_deliveries(outbox, 0.0) == [["a", "b", "c"]]


def test_a_limit_lets_the_rest_wait_and_sends_it_together() -> None:
    outbox = Outbox(rate_per_minute=2)
    sent: list[tuple[float, list[str]]] = []
    for at in range(5):
        outbox.put([event(f"{at}")], float(at))
        for events in [outbox.next_delivery(float(at))]:
            if events:
                outbox.take(events, float(at))
                sent.append((float(at), names(events)))
    assert sent == [(0.0, ["0"]), (1.0, ["1"])]
    assert not outbox.next_delivery(59.999)
    assert names(outbox.next_delivery(60.0)) == ["2", "3", "4"]
    outbox.take(outbox.next_delivery(60.0), 60.0)
    outbox.put([event("5")], 60.5)
    assert not outbox.next_delivery(60.999)
    assert names(outbox.next_delivery(61.0)) == ["5"]


def test_one_delivery_holds_so_many_events() -> None:
    outbox = Outbox(is_together=True)
    outbox.put([event(str(at)) for at in range(DELIVERY_EVENTS_MAX + 1)], 0.0)
    assert len(outbox.next_delivery(0.0)) == DELIVERY_EVENTS_MAX
    outbox.take(outbox.next_delivery(0.0), 0.0)
    assert names(outbox.next_delivery(0.0)) == [str(DELIVERY_EVENTS_MAX)]


def test_it_is_full_at_its_limit() -> None:
    outbox = Outbox()
    outbox.put([event("a")] * (EVENTS_MAX - 1), 0.0)
    assert not outbox.is_full
    outbox.put([event("a")], 0.0)
    assert outbox.is_full


def test_the_lowest_offsets_that_wait_are_those_of_events_and_not_of_repeats() -> None:
    outbox = Outbox(window_s=1.0)
    outbox.put([event("a", 7), event("b", 5), event("c", 9, 1)], 0.0)
    outbox.put([replace(event("d", 2), repeat=1)], 0.0)
    assert outbox.first_offsets() == {
        TopicPartition("alerts", 0): 5,
        TopicPartition("alerts", 1): 9,
    }
    assert outbox.has_repeats
    outbox.drop_partitions([TopicPartition("alerts", 0)])
    assert outbox.first_offsets() == {TopicPartition("alerts", 1): 9}
    assert not outbox.has_repeats
    outbox.drop_partitions([TopicPartition("alerts", 1)])
    assert not outbox.next_delivery(9.0)
