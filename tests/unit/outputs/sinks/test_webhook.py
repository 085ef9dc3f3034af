"""CloudEvents at a real HTTP address, and what an address may answer."""

import hmac
import socket
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
from routing import EXAMPLE, HttpReceiver, make_event_alert, receiving, routed

from stream_detector.errors import ConfigError
from stream_detector.outputs.sinks import SinkError
from stream_detector.outputs.sinks.http import HttpPost
from stream_detector.outputs.sinks.webhook import SIGNATURE_HEADER, WebhookSink, cloud_event

SECRET = "hunter2"


@pytest.fixture(scope="module")
def server() -> Iterator[HttpReceiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(server: HttpReceiver) -> HttpReceiver:
    server.posts.clear()
    server.status, server.location, server.n_refused = 200, "", 0
    return server


def make_sink(receiver: HttpReceiver, secret: str | None = SECRET) -> WebhookSink:
    post = HttpPost(f"{receiver.url}/hook?a=1", 5.0, None, {"Authorization": "Bearer t0ken"})
    return WebhookSink(post, secret)


def test_an_event_is_a_cloud_event_with_a_signature(receiver: HttpReceiver) -> None:
    make_sink(receiver).deliver([routed(EXAMPLE)], [])
    ((path, headers, body),) = receiver.posts
    assert path == "/hook?a=1"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["authorization"] == "Bearer t0ken"
    expected = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    assert hmac.compare_digest(headers[SIGNATURE_HEADER.lower()], f"sha256={expected}")
    assert orjson.loads(body) == {
        "specversion": "1.0",
        "id": f"{EXAMPLE.alert_id}-2",
        "type": "stream-detector.alert.update",
        "source": f"/stream-detector/pump/{EXAMPLE.bundle.version}",
        "subject": "pump-7",
        "time": "2026-01-01T00:00:11.000+00:00",
        "datacontenttype": "application/json",
        "data": orjson.loads(orjson.dumps(EXAMPLE)),
    }


def test_without_a_secret_nothing_is_signed(receiver: HttpReceiver) -> None:
    make_sink(receiver, None).deliver([routed(EXAMPLE)], [])
    assert SIGNATURE_HEADER.lower() not in receiver.posts[0][1]


def test_several_events_are_a_batch(receiver: HttpReceiver) -> None:
    events = [routed(make_event_alert(name)) for name in "ab"]
    make_sink(receiver).deliver([events[0], replace(events[1], repeat=3)], [])
    assert receiver.posts[0][1]["content-type"].startswith("application/cloudevents-batch+json")
    assert [each["id"] for each in receiver.bodies[0]] == ["a-1", "b-1.3"]


def test_what_a_cloud_event_may_not_have_is_left_out() -> None:
    found = cloud_event(routed(make_event_alert("a", key="", at_ms=10**17)))
    assert "subject" not in found
    assert "time" not in found


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (400, True),
        (401, True),
        (404, True),
        (408, False),
        (413, True),
        (425, False),
        (429, False),
        (499, True),
        (500, False),
        (503, False),
    ],
)
def test_a_status_says_whether_another_attempt_can_help(
    receiver: HttpReceiver, status: int, is_final: bool
) -> None:
    receiver.status = status
    with pytest.raises(SinkError, match=f"127.0.0.1:\\d+ answers {status}: said ") as found:
        make_sink(receiver).deliver([routed(EXAMPLE)], [])
    assert found.value.is_final is is_final
    assert "\x1b" not in str(found.value)
    for secret in (SECRET, "t0ken", "a=1"):
        assert secret not in str(found.value)


def test_a_redirect_is_not_followed(receiver: HttpReceiver) -> None:
    receiver.status, receiver.location = 307, f"{receiver.url}/elsewhere"
    with pytest.raises(SinkError, match="answers 307: redirects are not followed"):
        make_sink(receiver).deliver([routed(EXAMPLE)], [])
    assert (receiver.n_refused, receiver.posts) == (1, [])


def test_an_address_that_does_not_answer_is_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sink = WebhookSink(HttpPost(f"http://127.0.0.1:{port}/hidden", 1.0, None, {}))
    with pytest.raises(SinkError, match=r"does not answer: .*refused") as found:
        sink.deliver([routed(EXAMPLE)], [])
    assert not found.value.is_final
    assert "hidden" not in str(found.value)


def test_an_answer_that_does_not_come_is_waited_for_so_long() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SinkError, match="timed out"):
            WebhookSink(HttpPost(url, 0.05, None, {})).deliver([routed(EXAMPLE)], [])


@pytest.mark.parametrize("text", ["a\nb", "a\r\nX-Other: 1", "schlüssel"])
def test_an_authorization_that_is_no_header_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(ConfigError, match="authorization: expected printable ASCII") as found:
        HttpPost("http://127.0.0.1:1", 1.0, None, {"Authorization": text})
    assert text not in str(found.value)


def test_authorities_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ConfigError, match="cafile /nowhere cannot be read"):
        HttpPost("https://127.0.0.1:1", 1.0, "/nowhere", {})
