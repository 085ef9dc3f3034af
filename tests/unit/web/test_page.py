"""The page as a browser asks for it, from topics in this process."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from console_page import (
    Stream,
    ask,
    basic,
    make_memory_page,
    pictures,
    sample_record,
    served,
    wait_for_picture,
)

from stream_detector.assembly import Served
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import ConfigError
from stream_detector.ports import SystemClock
from stream_detector.web import events, guards

PAGE = Path(guards.__file__).parent / "page"
EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is refused without a password)
HOSTILE = '<img src=x onerror=alert(1)>"\u202e'


def now_ms() -> int:
    """Return a time of samples that come now, at which a window begins."""
    return SystemClock().now_ms() // 4_000 * 4_000


def test_a_fault_is_on_the_page_until_its_alert_closes(pumps: Served) -> None:
    stream = Stream(broker := MemoryBroker(), pumps)
    start_ms = now_ms() - 60_000
    with served(make_memory_page(broker, pumps)) as address:
        assert wait_for_picture(address, lambda each: each["topics"][0]["is_connected"])
        stream.send(sample_record("a", start_ms, 0, 0, 0, 0), sample_record("b", start_ms, 0))
        stream.send(sample_record("a", start_ms + 4_000, 1.5, 1.5, 1.5, 1.5))
        stream.send(sample_record(HOSTILE, start_ms, 9, 9, 9, 9))
        picture = wait_for_picture(address, lambda each: each["alerts"]["n_open"] == 2)
        (worst,) = picture["alerts"]["open"]  # of one incident
        (other,) = worst["others"]
        assert (worst["key"], worst["score"]) == (HOSTILE, 9)
        assert worst["name"] == '<img src=x onerror=alert(1)>"\\u202e'
        assert (other["key"], other["score"], other["severity"]) == ("a", 1.5, "warning")
        assert sum(picture["alerts"]["a_minute"]) == 2
        assert picture["title"] == "pumps"
        picture = wait_for_picture(address, lambda each: each["topics"][1]["n_records"] == 4)
        assert picture["input"]["n_warm"] == 2
        assert picture["input"]["n_warming"] == 1
        stream.send(sample_record("a", start_ms + 8_000, *[0] * 12))
        picture = wait_for_picture(address, lambda each: each["alerts"]["n_open"] == 1)
        assert [each["event"] for each in picture["alerts"]["events"]] == ["close", "open", "open"]


def test_a_missing_topic_and_what_is_no_alert_are_said(pumps: Served) -> None:
    broker = MemoryBroker()
    broker.create_topic("alerts")
    broker.feed("alerts", [b"{}", OutputRecord("", None, None), b"\xff"])
    with served(make_memory_page(broker, pumps)) as address:
        picture = wait_for_picture(address, lambda each: each["alerts"]["n_not_alerts"] == 2)
        problem = picture["topics"][1]["problem"]
        assert "no such topic on memory: telemetry" in problem
        assert picture["topics"][0]["problem"] is None


def test_records_that_cannot_be_used_are_counted_by_reason(pumps: Served) -> None:
    stream = Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        bad = sample_record("a", now_ms(), 1)._replace(value=b"no <b>JSON</b>\n")
        stream.send(bad, bad, bad._replace(value=b'{"values": [[1, 2]], "timestamp_ms": 1}'))
        picture = wait_for_picture(address, lambda each: each["topics"][1]["n_records"] == 3)
        found = {each["reason"]: each["n_records"] for each in picture["input"]["rejected"]}
        assert found == {"RecordDecodeError": 2, "RecordShapeError": 1}


def test_the_files_of_the_page_and_nothing_else_can_be_asked_for(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        kinds = {"/": "html", "/console.css": "css", "/console.js": "javascript"}
        for path, kind in kinds.items():
            status, headers, body = ask(address, path)
            assert (status, kind in headers["content-type"]) == (200, True)
            assert len(body) > 1_000
        for path in (
            "/console.html",
            "/page/console.js",
            "/../pyproject.toml",
            "/%2e%2e/guards.py",
            "/console.js/../../guards.py",
            "/bokeh/../../__init__.py",
            "//etc/passwd",
        ):
            assert ask(address, path)[0] == 404, path
        assert ask(address, "/", method="POST")[0] == 405
        assert ask(address, "/", method="OPTIONS")[0] == 405


def test_every_answer_forbids_what_the_page_does_not_need(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        for path in ("/", "/console.js", "/lanes", "/absent"):
            _, headers, _ = ask(address, path)
            assert {name: headers[name] for name in guards.HEADERS} == guards.HEADERS
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
    policy = guards.POLICY
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy


def test_the_page_has_no_script_or_style_within_and_asks_nobody_else() -> None:
    html = (PAGE / "console.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", html)
    for path in PAGE.iterdir():
        assert not re.search(
            r"https?://|//[a-z]", path.read_text(encoding="utf-8").replace("// ", "")
        )
    script = (PAGE / "console.js").read_text(encoding="utf-8")
    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert banned not in script


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8100", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8100", 200),
        ("attacker.example", 421),
        ("localhost.attacker.example:8100", 421),
        ("127.0.0.1.attacker.example", 421),
        ("", 421),
    ],
)
def test_only_requests_to_this_machine_are_answered(pumps: Served, host: str, status: int) -> None:
    Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        assert ask(address, "/lanes", {"host": host})[0] == status


def test_off_this_machine_a_password_is_needed(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    page = make_memory_page(broker, pumps)
    with pytest.raises(ConfigError, match="--password-file"), served(page, host=EVERYWHERE):
        pass
    password = "pässword: with colon"
    with served(page, password, EVERYWHERE) as everywhere:
        address = everywhere.replace(EVERYWHERE, "127.0.0.1")
        status, headers, body = ask(address, "/")
        assert (status, body) == (401, b"a password is needed\n")
        assert headers["www-authenticate"].startswith("Basic ")
        wrong = [basic("", "wrong"), basic(password, ""), basic("", password + " ")]
        wrong += [{"authorization": each} for each in ("Basic ä", "Basic", "Bearer x", "Basic !")]
        for headers in wrong:
            for path in ("/", "/events", "/lanes", "/absent"):
                assert ask(address, path, headers)[0] == 401
        for user in ("", "anybody"):
            own = basic(user, password) | {"host": "console.example"}
            assert ask(address, "/", own)[0] == 200


def test_an_address_that_is_taken_is_refused(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        from stream_detector.web.server import serve

        port = urlsplit(address).port or 0
        with (
            pytest.raises(ConfigError, match="choose another --port"),
            serve(make_memory_page(broker, pumps), "127.0.0.1", port, None),
        ):
            pass


def test_what_is_new_comes_before_the_time_of_the_next_picture(
    pumps: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 60.0)
    stream = Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        received = pictures(address)
        assert next(received)["alerts"]["n_open"] == 0
        for number in (1, 2):
            stream.send(sample_record(f"pump-{number}", 4_000, *[3.0] * 4))
            assert next(received)["alerts"]["n_open"] == number


def test_what_is_new_makes_no_more_pictures_than_two_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "SOON_S", 60.0)
    versions, made = [1], []

    def picture() -> bytes:
        made.append(versions[-1])
        return b"%d" % versions[-1]

    streams = events.EventStreams(picture, lambda: versions[-1])
    assert streams.newest(60.0) is streams.newest(60.0)
    versions.append(2)
    assert streams.newest(60.0) == b"data: 2\n\n"
    versions.append(3)  # so soon that it waits
    assert streams.newest(60.0) == b"data: 2\n\n"
    assert streams.newest(0.0) == b"data: 3\n\n"
    monkeypatch.setattr(events, "SOON_S", 0.0)
    versions.append(4)
    assert streams.newest(60.0) is streams.newest(60.0)
    assert made == [1, 2, 3, 4]
