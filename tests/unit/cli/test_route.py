"""The command `route`, on a memory broker."""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from routing import HttpReceiver, RecordingSink, RouteWorld, life_of, publish, receiving

from stream_detector.clients.memory import MemoryBroker
from stream_detector.metrics_server import MetricsServer
from stream_detector.outputs.routing.wiring import RouteHealth
from stream_detector.outputs.sinks import SinkError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("alerts", 2)
    made.create_topic("dead-letters")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )
    return made


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, receiver: HttpReceiver) -> Path:
    path = tmp_path / "routes.toml"
    path.write_text(f"""
[[route]]
name = "pager"
sink = "alertmanager"
url = "{receiver.url}/"
match = {{ key = "pump-*" }}

[[route]]
name = "hook"
sink = "webhook"
url = "{receiver.url}/hook"
secret_env = "HOOK_SECRET"
quiet = ["nights"]

[[calendar]]
name = "nights"
dates = ["2026-12-25"]
""")
    return path


def test_each_route_is_sent_what_it_matches(
    run: Run,
    broker: MemoryBroker,
    config: Path,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    publish(broker, [*life_of("pump-1"), *life_of("fan-1")])
    options = ["--config", config, "--stop-when-idle", "300ms"]
    code, printed, errors = run("route", *options)
    assert (code, printed) == (0, "")
    assert "INFO routing topic=alerts routes=pager,hook" in errors
    assert "hunter2" not in errors
    hooked = [json.loads(body)["id"] for path, _, body in receiver.posts if path == "/hook"]
    assert hooked == [f"{name}-1-{number}" for name in ("pump", "fan") for number in (1, 2, 3)]
    paged = [
        each["labels"]["key"]
        for path, _, body in receiver.posts
        if path == "/api/v2/alerts"
        for each in json.loads(body)
    ]
    assert set(paged) == {"pump-1"}
    assert set(broker.committed) == {"stream-detector-route-pager", "stream-detector-route-hook"}


CHECKED = ["pager  alertmanager  key=pump-*", "hook  webhook  all  quiet nights"]


def test_check_prints_the_routes_and_reads_nothing(
    run: Run, broker: MemoryBroker, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    del broker.logs["alerts"]  # no broker is asked
    code, printed, errors = run("route", "--config", config, "--check")
    assert (code, printed.splitlines(), errors) == (0, CHECKED, "")
    code, printed, _ = run("route", "--config", config, "--check", "--json")
    assert [json.loads(line) for line in printed.splitlines()][1] == {
        "name": "hook",
        "sink": "webhook",
        "group": "stream-detector-route-hook",
        "match": {},
        "quiet": ["nights"],
    }


def test_check_says_which_secrets_are_missing_and_shows_none(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    (tmp_path / "token").write_text("hunter2\nhunter3\n")
    config.write_text(f"""{config.read_text()}
[[route]]
name = "one"
sink = "webhook"
url = "http://one"
authorization_file = "{tmp_path}/token"

[[route]]
name = "two"
sink = "webhook"
url = "http://two"
secret_file = "{tmp_path}/nothing"
authorization_env = "NOT_THERE"
""")
    code, printed, errors = run("route", "--config", config, "--check")
    assert (code, printed.splitlines()[:2]) == (2, CHECKED)
    assert "HOOK_SECRET: expected a text, received none; route one: sink one: author" in errors
    assert f"; route two: secret_file {tmp_path}/nothing cannot be read: No such file" in errors
    assert "; route two: authorization_env: the environment variable NOT_THERE" in errors
    assert errors.count("route hook") == errors.count("route one") == 1
    assert errors.count("route two") == 2
    assert "hunter" not in printed + errors
    assert "pager" not in errors


def test_check_notes_severities_that_most_recipes_do_not_have(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    text = config.read_text()
    config.write_text(text.replace('key = "pump-*"', 'severity = ["warning", "critcal"]'))
    code, _, errors = run("route", "--config", config, "--check")
    assert code == 0
    assert errors == (
        "note: route pager: no alert has the severity critcal, unless its recipe names it in "
        "alerting.severity; others have warning, critical\n"
    )


def test_a_secret_that_is_not_there_ends_it_before_anything_is_sent(
    run: Run, broker: MemoryBroker, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    code, _, errors = run("route", "--config", config)
    assert code == 2
    assert "route hook: secret_env: the environment variable HOOK_SECRET" in errors
    assert not broker.committed


@pytest.mark.parametrize("topic", ["alerts", "dead-letters"])
def test_a_topic_that_is_not_there_is_named(
    run: Run,
    broker: MemoryBroker,
    config: Path,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    del broker.logs[topic]
    code, _, errors = run("route", "--config", config)
    assert code == 4
    assert f"--create --topic {topic}" in errors
    code, _, errors = run("route", "--config", config, "--log-format", "json")
    assert code == 4
    assert json.loads(errors.splitlines()[-1])["event"] == "failed"


def test_a_signal_ends_it_with_what_was_delivered_committed(
    run: Run,
    broker: MemoryBroker,
    config: Path,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    publish(broker, life_of("pump-1"))

    def stop() -> None:
        while len(receiver.posts) < 4:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    code, _, errors = run("route", "--config", config, "--metrics-port", "0")
    thread.join()
    assert code == 0
    assert "INFO metrics address=127.0.0.1:" in errors
    assert "INFO routing-stopped n_routes=2" in errors


def test_health_names_the_routes_that_do_not_deliver() -> None:
    sink = RecordingSink()
    world = RouteWorld(sink)
    health = RouteHealth([world.runner], world.clock)
    assert health.why_not_ready() == ["route pager: the group has assigned no partition"]
    world.settle()
    assert (health.why_stuck(), health.why_not_ready()) == ([], [])
    sink.problem = SinkError("down")
    world.publish(*life_of("a"))
    world.settle()
    world.clock.sleep(300.0)
    assert health.why_not_ready() == ["route pager: its sink has failed for 300 s"]
    assert health.why_stuck() == []
    world.clock.sleep(0.001)
    assert health.why_stuck() == [
        "route pager: expected a turn within 300 s, the last was 300 s ago"
    ]
    with MetricsServer(CollectorRegistry(), "127.0.0.1", 0, health) as server:
        url = f"http://127.0.0.1:{server.port}/readyz"
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(url)
        with found.value as answer:
            said: Any = answer.read()
    assert said == b"route pager: its sink has failed for 300 s\n"
