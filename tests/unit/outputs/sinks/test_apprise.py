"""Mail by a real server through apprise, and what is said in it."""

import logging
import sys
from collections.abc import Iterator

import pytest
from mailbox_server import Mailbox, receiving_mail
from routing import EXAMPLE, chain_of, life_of, make_event_alert, routed

from stream_detector.errors import ConfigError
from stream_detector.outputs.sinks import SinkError
from stream_detector.outputs.sinks.apprise import AppriseSink, message_of

pytest.importorskip("apprise")


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with receiving_mail() as found:
        yield found


def make_sink(box: Mailbox) -> AppriseSink:
    url = (
        f"mailto://127.0.0.1:{box.port}?from=pumps@example.com&to=oncall@example.com&mode=insecure"
    )
    return AppriseSink("mail", url)


def test_an_alert_is_a_mail(box: Mailbox) -> None:
    box.mails.clear()
    make_sink(box).deliver([routed(EXAMPLE)], [])
    (mail,) = box.mails
    assert "oncall@example.com" in str(mail["To"])
    assert mail["Subject"] == (
        "pump-7 is open: vibration: observed 6.2 where 1.2 was expected, for 2 s"
    )
    body = mail.get_body(("plain", "html"))
    assert body is not None
    text = body.get_content()
    assert "severity critical, score 2.62, event time 2026-01-01T00:00:11+00:00" in text
    assert f"id {EXAMPLE.alert_id}-2" in text


def test_a_mail_that_is_refused_is_tried_again(
    box: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    box.mails.clear()
    box.refuses = True
    sink = make_sink(box)
    with caplog.at_level(logging.DEBUG), pytest.raises(SinkError) as found:
        sink.deliver([routed(EXAMPLE)], [])
    assert not found.value.is_final
    assert not caplog.records  # its lines hold addresses
    box.refuses = False
    make_sink(box).deliver([routed(EXAMPLE)], [])  # it waits 5 s between two mails of its own
    assert len(box.mails) == 1


def test_several_events_are_one_message() -> None:
    opened, _, closed = life_of("a")
    title, body = message_of([routed(opened), routed(closed), routed(make_event_alert("b"))])
    assert title == "3 events of alerts, keys: a, b"
    assert body.count("\n\n") == 2
    assert "a closed (recovered)" in body


def test_foreign_text_is_printable_and_short() -> None:
    hostile = make_event_alert(
        "a", key="k\r\nBcc: all@example.com" + "x" * 5_000, sentence="\x1b[31m"
    )
    title, body = message_of([routed(hostile)])
    assert title.isprintable()
    assert len(title) <= 120
    assert "\r" not in body
    assert "\x1b" not in body
    silent = make_event_alert("b", key="", sentence="", anomaly_score=None)
    assert message_of([routed(silent)])[0] == "(no key) opened: anomalous"


@pytest.mark.parametrize("url", ["hunter2", "nothing://hunter2", "mailto://", "json://a, json://b"])
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="route mail: url: expected one address") as found:
        AppriseSink("mail", url)
    assert "hunter2" not in str(found.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-detector\[route\]'"):
        AppriseSink("mail", "json://127.0.0.1")


def test_an_alert_that_continues_another_has_not_just_opened() -> None:
    opened = chain_of("ab")[3]
    assert message_of([routed(opened)])[0].startswith("b is open: ")
