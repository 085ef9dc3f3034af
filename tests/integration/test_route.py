"""`route` with a real Alertmanager, a real HTTP server and a real Kafka, and killed meanwhile."""

import hmac
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import CommandLine
from routing import HttpReceiver, RouteWorld, SettableClock, life_of, receiving

from stream_detector.assembly import connect_writer
from stream_detector.clients.memory import Aborted
from stream_detector.core.alerting.alert import Alert, encode_alert
from stream_detector.outputs.routing.outbox import Outbox
from stream_detector.outputs.sinks.alertmanager import PATH, AlertmanagerSink
from stream_detector.outputs.sinks.http import HttpPost
from stream_detector.outputs.sinks.webhook import SIGNATURE_HEADER
from stream_detector.settings import ConnectionSettings

if TYPE_CHECKING:
    from alertmanager import Alertmanager

N_KILLS = 20
SECRET = "marker-secret"
DEADLINE_S = 60.0


class RealClock(SettableClock):
    """The machine's time: that of Alertmanager is it, too."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class MortalPost(HttpPost):
    """Posts, and lets the process die before or after it, once."""

    dies: str | None = None

    def send(self, body: bytes, media_type: str, headers: Any = None) -> None:
        self._die("before")
        super().send(body, media_type, headers)
        self._die("after")

    def _die(self, when: str) -> None:
        if self.dies == when:
            self.dies = None
            raise Aborted


def test_alertmanager_fires_from_open_to_close_however_often_the_route_dies(
    alertmanager: "Alertmanager",
) -> None:
    rng, clock = random.Random(3), RealClock()
    post = MortalPost(alertmanager.url + PATH, 10.0, None, {})
    sink = AlertmanagerSink(post, clock.now_ms, refresh_s=0.2)
    world = RouteWorld(sink, attempts_max=None, clock=clock)
    world.make_outbox = lambda: Outbox(is_together=True)
    world.kill()
    world.start()
    fired: set[str] = set()
    start_ms = clock.now_ms() - 60_000
    for name in (f"pump-{number}" for number in range(N_KILLS // 2)):
        for event in life_of(name, start_ms):
            world.publish(event)
            if event.event == "close":
                fired.discard(name)
            for dies in (rng.choice(["before", "after"]), None)[event.event == "update" :]:
                post.dies = dies
                try:
                    world.settle(2)
                except Aborted:
                    world.kill()
                    world.start()
                    world.settle(2)
                shown = {key for key, _ in alertmanager.firing()}
                assert fired <= shown
        assert name not in {key for key, _ in alertmanager.firing()}
        late = f"late-{name}"
        world.publish(life_of(late, start_ms)[0])
        world.settle(2)
        fired.add(late)
    time.sleep(1.2)  # longer than its resolve_timeout
    assert {(late, "warning") for late in fired} == alertmanager.firing()
    for late in fired:
        world.publish(*life_of(late, start_ms)[1:])
    world.settle(3)
    assert alertmanager.firing() == set()
    assert world.broker.n_calls["poll"] > 100


@pytest.fixture(scope="module")
def receiver() -> Iterator[HttpReceiver]:
    with receiving() as found:
        yield found


def send(settings: ConnectionSettings, topic: str, alerts: list[Alert]) -> None:
    records = [encode_alert(each, topic, each.key.encode(), each.detected_at_ms) for each in alerts]
    with closing(connect_writer(settings)) as client:
        client.produce(records)
        client.flush(10_000)


def wait(is_done: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_done():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.05)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "number"), [("kafka-python", signal.SIGKILL), ("confluent", signal.SIGTERM)]
)
def test_a_route_that_is_killed_or_ended_loses_nothing(
    client: str,
    number: signal.Signals,
    kafka: str,
    topics: Callable[..., str],
    alertmanager: "Alertmanager",
    receiver: HttpReceiver,
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    receiver.posts.clear()
    receiver.n_refused = 0
    name = f"test-{time.time_ns()}"
    alerts_topic, letters_topic = topics(2), topics(1)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "routes.toml").write_text(f"""
[[route]]
name = "{name}-pager"
sink = "alertmanager"
url = "{alertmanager.url}"
match = {{ key = "{client}-*" }}

[[route]]
name = "{name}-hook"
sink = "webhook"
url = "{receiver.url}/hook"
secret_file = "{tmp_path}/secret"
""")
    options = ["--config", tmp_path / "routes.toml", "--bootstrap-servers", kafka]
    options += ["--alerts-topic", alerts_topic, "--dead-letter-topic", letters_topic]
    settings = ConnectionSettings(bootstrap_servers=kafka)
    lives = [
        life_of(f"{client}-{number}", time.time_ns() // 1_000_000 - 30_000) for number in range(20)
    ]
    receiver.status = 503
    first = command_line.start("route", *options, "--client", client)
    send(settings, alerts_topic, [life[0] for life in lives])
    wait(lambda: receiver.n_refused > 1, lambda: first.output)
    receiver.status = 200
    wait(lambda: len(alertmanager.firing()) == 20, lambda: first.output)
    wait(lambda: len(receiver.posts) >= 5, lambda: first.output)
    first.process.send_signal(number)  # after a SIGKILL the group waits for it to come back
    first.process.wait()
    send(settings, alerts_topic, [life[1] for life in lives])
    assert len(alertmanager.firing()) == 20
    second = command_line.start("route", *options, "--client", client)
    wait(lambda: "critical" in {each for _, each in alertmanager.firing()}, lambda: second.output)
    send(settings, alerts_topic, [life[2] for life in lives])
    wait(lambda: not alertmanager.firing(), lambda: second.output)
    ids = {f"{client}-{number}-{event}" for number in range(20) for event in (1, 2, 3)}
    wait(lambda: {each["id"] for each in receiver.bodies} >= ids, lambda: second.output)
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0
    assert {each["id"] for each in receiver.bodies} == ids
    for _, headers, body in receiver.posts:
        signed = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        assert headers[SIGNATURE_HEADER.lower()] == f"sha256={signed}"
    printed = first.output + second.output
    assert SECRET not in printed
    assert "sink-failed" in printed
    assert "routing-stopped n_routes=2" in second.output
