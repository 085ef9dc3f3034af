"""The commands `silence add`, `list` and `expire`, on a memory broker."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from routing import START_MS, make_event_alert, publish

from stream_detector.clients.memory import MemoryBroker
from stream_detector.outputs.routing.matching import Match
from stream_detector.outputs.routing.silences import encode_silence, new_silence

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("silences")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )
    return made


def ms_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


@pytest.mark.usefixtures("broker")
def test_a_silence_is_added_listed_and_ended(run: Run) -> None:
    words = ("--key", "pump-*", "--key", "fan-1", "--severity", "warning", "--by", "ops")
    code, printed, _ = run("silence", "add", *words, "--for", "2h", "--why", "bearings", "--json")
    assert code == 0
    added = json.loads(printed)
    assert added["match"] == {"key": ["pump-*", "fan-1"], "severity": ["warning"]}
    assert (added["by"], added["why"], added["state"]) == ("ops", "bearings", "active")
    assert added["until_ms"] - added["from_ms"] == 7_200_000
    now_ms = datetime.now(UTC).timestamp() * 1_000
    assert abs(now_ms - added["from_ms"]) < 60_000
    code, printed, _ = run("silence", "list")
    assert printed.startswith(f"{added['silence_id']}  active   2")
    assert printed.endswith("  key=pump-*,fan-1 severity=warning  by ops: bearings\n")
    assert run("silence", "list", "--json")[1] == json.dumps(added, separators=(",", ":")) + "\n"
    code, printed, _ = run("silence", "expire", added["silence_id"], "--json")
    assert (code, json.loads(printed)["state"]) == (0, "expired")
    code, printed, errors = run("silence", "list")
    assert (code, printed, errors) == (
        0,
        "",
        "no silence; --all lists also those that have ended\n",
    )
    assert json.loads(run("silence", "list", "--all", "--json")[1])["state"] == "expired"
    code, _, errors = run("silence", "expire", added["silence_id"])
    assert code == 2
    assert "has ended at" in errors


@pytest.mark.usefixtures("broker")
def test_times_have_a_zone_or_are_utc_and_a_silence_may_be_one_to_come(run: Run) -> None:
    times = ("--from", "2100-12-01T06:00+01:00", "--until", "2100-12-01T08:00")
    code, printed, _ = run("silence", "add", "--all", *times, "--why", "x")
    assert code == 0
    silence_id, state, start, end, match, *_ = printed.split()
    assert (state, match) == ("pending", "all")
    assert (ms_of(start), ms_of(end)) == (
        ms_of("2100-12-01T05:00+00:00"),
        ms_of("2100-12-01T08:00+00:00"),
    )
    code, printed, _ = run("silence", "expire", silence_id, "--json")
    found = json.loads(printed)
    assert found["until_ms"] == found["from_ms"]  # it never begins


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "1h"], "expected conditions such as --key, or --all"),
        (["--key", "a", "--all", "--for", "1h"], "received both"),
        (["--key", "a"], "expected one of --until and --for, received none"),
        (["--key", "a", "--for", "1h", "--until", "2100-01-01"], "received both"),
        (["--key", "a", "--for", "soon"], "--for: expected a time above zero"),
        (["--key", "a", "--until", "soon"], "--until: expected a time such as"),
        (["--key", "a", "--until", "2000-01-01"], "--until: expected a time after"),
        (
            ["--key", "a", "--from", "2100-01-01", "--until", "2100-01-01"],
            "--until: expected a time after",
        ),
        (["--key", "a", "--from", "x", "--for", "1h"], "--from: expected a time such as"),
        (["--reason", "odd", "--for", "1h"], "--reason: Input should be"),
        (["--key", "", "--for", "1h"], "--key: String should have at least 1"),
        (["--key", "a", "--by", "x" * 2_000, "--for", "1h"], "--by: String should have at most"),
    ],
)
def test_what_is_wrong_is_said_with_its_option(run: Run, words: list[str], said: str) -> None:
    code, _, errors = run("silence", "add", "--why", "x", *words)
    assert code == 2
    assert said in errors


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize(
    ("severity", "n_notes"), [("warning", 0), ("critical", 0), ("Critical", 1), ("page", 1)]
)
def test_a_severity_that_most_recipes_do_not_have_is_noted(
    run: Run, severity: str, n_notes: int
) -> None:
    words = ("--severity", severity, "--for", "1h", "--why", "x", "--json")
    code, printed, errors = run("silence", "add", *words)
    assert (code, json.loads(printed)["match"]) == (0, {"severity": [severity]})
    assert errors.count(f"note: no alert has the severity {severity}, unless") == n_notes
    assert len(errors.splitlines()) == n_notes


@pytest.mark.usefixtures("broker")
def test_a_silence_that_is_not_there_is_named(run: Run) -> None:
    code, _, errors = run("silence", "expire", "abc")
    assert (code, "abc: no such silence on silences" in errors) == (2, True)


@pytest.mark.parametrize(
    "words",
    [("list",), ("expire", "abc"), ("add", "--all", "--for", "1h", "--why", "x")],
)
def test_a_topic_that_is_not_there_comes_with_the_command_that_makes_it(
    run: Run, broker: MemoryBroker, words: tuple[str, ...]
) -> None:
    del broker.logs["silences"]
    code, _, errors = run("silence", *words)
    assert code == 4
    assert "--create --topic silences --partitions 1 --config cleanup.policy=compact" in errors


def test_alerts_say_which_silence_holds_them(run: Run, broker: MemoryBroker) -> None:
    broker.create_topic("alerts")
    publish(broker, [make_event_alert("pump-1"), make_event_alert("fan-1")])
    silence = new_silence(Match(key=["pump-*"]), START_MS, START_MS + 1, "ops", "bearings")
    broker.feed("silences", [encode_silence(silence, "silences")])
    reading = ("alerts", "--from-beginning", "--stop-when-idle", "100ms")
    code, printed, _ = run(*reading, "--silences-topic", "silences")
    pump, fan = printed.splitlines()
    assert code == 0
    assert f'  silenced "silence {silence.silence_id} by ops: bearings"  vibration' in pump
    assert "silenced" not in fan
    plain = run(*reading)[1].splitlines()
    assert plain[1] == fan
    assert "silenced" not in plain[0]
