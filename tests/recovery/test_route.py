"""`route` dies at random points and its sink is away for a while: nothing is lost."""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import pytest
from routing import RecordingSink, RouteWorld, life_of

from stream_detector.clients.memory import ABORT, Aborted, Fault, Operation
from stream_detector.core.alerting.alert import Alert
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.routing.state import Rules
from stream_detector.outputs.sinks import Sink, SinkError
from stream_detector.outputs.sinks.alertmanager import AlertmanagerSink
from stream_detector.outputs.sinks.http import HttpPost

N_KILLS = 20
N_ALERTS = 40
OPERATIONS: tuple[Operation, ...] = ("poll", "commit", "committed", "end_offsets")


@dataclass
class MortalPost:
    """Stands between a sink and what it posts to: dies before or after a post, or is away.

    Attributes
    ----------
    dies
        "before" or "after" the next post; None lives.
    """

    dies: str | None = None
    is_away: bool = False

    def deliver(self, sink: Any, *given: Any) -> None:
        if self.is_away:
            message = "away"
            raise SinkError(message)
        self._die("before")
        sink.deliver(*given)
        self._die("after")

    def _die(self, when: str) -> None:
        if self.dies == when:
            self.dies = None
            raise Aborted


class MortalSink:
    """A sink whose process may die round each delivery."""

    def __init__(self, post: MortalPost) -> None:
        self.refresh_s: float | None = None
        self.taken = RecordingSink()
        self._post = post

    def deliver(self, *given: Any) -> None:
        self._post.deliver(self.taken, *given)


def lives(n_alerts: int) -> list[Alert]:
    """Return events of alerts that overlap, each alert's in its order."""
    rng = random.Random(7)
    waiting = [life_of(f"key-{number}") for number in range(n_alerts)]
    found = []
    while waiting:
        chosen = rng.choice(waiting[:5])
        found.append(chosen.pop(0))
        waiting = [each for each in waiting if each]
    return found


def run_with_kills(world: RouteWorld, sink: Sink, post: MortalPost, seed: int) -> int:
    """Publish alerts while the route dies 20 times and its sink is away for a minute."""
    rng = random.Random(seed)
    events, n_kills = lives(N_ALERTS), 0
    kill_at = set(rng.sample(range(4, 3 * N_ALERTS), N_KILLS))
    for at, event in enumerate(events):
        world.publish(event, partition=int(event.key.rpartition("-")[2]) % 2)
        post.is_away = 30 <= at < 60
        world.clock.sleep(2.0)
        if at in kill_at:
            n_kills += 1
            how = rng.choice(["before", "after", *OPERATIONS])
            post.dies = how if how in ("before", "after") and not post.is_away else None
            if how in OPERATIONS:
                nth = world.broker.n_calls[how] + 1
                world.broker.faults = [Fault(how, ABORT, nth, rng.random() < 0.5)]
        try:
            world.runner.turn()
        except Aborted:
            post.dies = None
        if at in kill_at:
            world.kill()
            world.sink = sink
            world.start()
    world.clock.sleep(60.0)
    world.settle(10)
    return n_kills


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window_s", [0.0, 5.0])
def test_no_event_is_lost_and_repeats_have_equal_ids(seed: int, window_s: float) -> None:
    post = MortalPost()
    sink = MortalSink(post)
    world = RouteWorld(sink, Rules(), lambda: Outbox(window_s), attempts_max=1_000, n_partitions=2)
    assert run_with_kills(world, sink, post, seed) == N_KILLS
    world.clock.sleep(10.0)
    world.settle(10)
    expected = {f"key-{alert}-{number}" for alert in range(N_ALERTS) for number in (1, 2, 3)}
    assert set(sink.taken.ids) == expected
    assert len(sink.taken.ids) < 3 * len(expected)
    for alert in range(N_ALERTS):  # the first time, each is sent in its order
        mine = [each for each in sink.taken.ids if each.startswith(f"key-{alert}-")]
        firsts = sorted(set(mine), key=mine.index)
        assert firsts == [f"key-{alert}-{number}" for number in (1, 2, 3)]
    assert not world.broker.records("dead-letters")


class Shown(HttpPost):
    """What an Alertmanager shows of what it is posted: labels, and until when they fire."""

    def __init__(self, post: MortalPost, world: RouteWorld) -> None:
        self.until_ms: dict[tuple[str, str], int] = {}
        self._mortal = post
        self._world = world

    def send(self, body: bytes, media_type: str, headers: Any = None) -> None:
        del media_type, headers
        self._mortal.deliver(self, body)
        self.check()

    def deliver(self, body: bytes) -> None:
        for alert in orjson.loads(body):
            labels = alert["labels"]
            end_ms = round(datetime.fromisoformat(alert["endsAt"]).timestamp() * 1_000)
            self.until_ms[labels["key"], labels["severity"]] = end_ms

    def check(self) -> None:
        """Fail where an alert has fired, is not closed as far as anybody knows, and is resolved."""
        values = [each.value or b"" for each in self._world.broker.records("alerts")]
        events = [orjson.loads(value) for value in values]
        closed = {each["key"] for each in events if each["event"] == "close"}
        for key in {key for key, _ in self.until_ms} - closed:
            ends = [self.until_ms.get((key, each), 0) for each in ("warning", "critical")]
            assert max(ends) > self._world.clock.at_ms, key


@pytest.mark.parametrize("seed", range(4))
def test_alertmanager_shows_no_open_alert_as_resolved(seed: int) -> None:
    post = MortalPost()
    world = RouteWorld(
        RecordingSink(),
        make_outbox=lambda: Outbox(is_together=True),
        attempts_max=None,
        n_partitions=2,
    )
    shown = Shown(post, world)
    world.kill()
    world.sink = sink = AlertmanagerSink(shown, world.clock.now_ms)
    world.start()
    assert run_with_kills(world, sink, post, seed) == N_KILLS
    assert {key for key, _ in shown.until_ms} == {f"key-{alert}" for alert in range(N_ALERTS)}
    assert max(shown.until_ms.values()) < world.clock.at_ms  # all are resolved in the end
