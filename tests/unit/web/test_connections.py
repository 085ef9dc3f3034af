"""Many, silent and slow connections: what they cost is bounded, and the page goes on."""

import asyncio
import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from alerts import make_alert
from console_page import Stream, ask, make_memory_page, pictures, served

from stream_detector.assembly import Served
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.web import app, events, guards
from stream_detector.web.app import LivePage
from stream_detector.web.guards import HEADERS

N_MANY = 1_000
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
TIMEOUT_S = 10.0


@pytest.fixture
def live_page(pumps: Served) -> LivePage:
    """A page on topics without a record."""
    Stream(broker := MemoryBroker(), pumps)
    return make_memory_page(broker, pumps)


@pytest.fixture
def address(live_page: LivePage) -> Iterator[str]:
    """Where the page is served."""
    with served(live_page) as address:
        yield address


def connect(address: str, request: bytes = b"", n_bytes: int | None = None) -> socket.socket:
    """Return a connection that has sent something; the system keeps so many bytes unread."""
    where = urlsplit(address)
    connection = socket.socket()
    if n_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, n_bytes)
    connection.settimeout(TIMEOUT_S)
    connection.connect((where.hostname, where.port))
    connection.sendall(request)
    return connection


def close(*connections: socket.socket) -> None:
    for each in connections:
        each.close()


def is_ended(connection: socket.socket) -> bool:
    """Return whether the server has ended a connection; what it sent stays unread."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def wait_until_ended(connection: socket.socket) -> float:
    """Wait until the server has ended a connection; gives how many seconds that took."""
    start_s = time.monotonic()
    while not is_ended(connection):
        assert time.monotonic() - start_s < TIMEOUT_S
        time.sleep(0.01)
    return time.monotonic() - start_s


def read_all(connection: socket.socket) -> bytes:
    """Return what a connection still gives."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            found += part
    return found


def test_of_a_thousand_silent_connections_the_newest_are_held_and_the_page_goes_on(
    address: str,
) -> None:
    live = pictures(address)
    first = next(live)
    held = [connect(address) for _ in range(N_MANY)]
    try:
        assert ask(address, "/")[0] == 200
        status, _, body = ask(address, "/lanes")
        assert (status, b"n_keys" in body) == (200, True)
        still = [number for number, each in enumerate(held) if not is_ended(each)]
        # Beside the events and the two connections that asked last.
        assert guards.CONNECTIONS_MAX - 3 <= len(still) <= guards.CONNECTIONS_MAX - 1
        assert still == list(range(N_MANY - len(still), N_MANY))
        assert next(live)["now_ms"] > first["now_ms"]
        assert next(live)["now_ms"] > first["now_ms"]
    finally:
        close(*held)


def test_of_many_pages_so_many_are_sent_pictures_and_the_others_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STREAMS_MAX", 5)
    held = [connect(address, REQUEST % b"/events") for _ in range(12)]
    try:
        answers = [each.recv(12) for each in held]
        assert answers == [b"HTTP/1.1 200"] * 5 + [b"HTTP/1.1 503"] * 7
        assert ask(address, "/events")[2] == b"too many pages are open\n"
        assert ask(address, "/")[0] == 200
        close(held[0])
        time.sleep(1.2)  # it is seen when the next picture is due
        with contextlib.closing(connect(address, REQUEST % b"/events")) as again:
            assert again.recv(12) == b"HTTP/1.1 200"
    finally:
        close(*held)


def test_where_all_connections_are_busy_one_more_is_told_so(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "CONNECTIONS_MAX", 4)
    held = [connect(address, REQUEST % b"/events") for _ in range(4)]
    try:
        for each in held:
            assert each.recv(12) == b"HTTP/1.1 200"
        for path in ("/", "/events"):
            status, headers, body = ask(address, path)
            assert (status, body) == (503, guards.FULL)
            assert {name: headers[name] for name in HEADERS} == HEADERS
        assert not any(map(is_ended, held))
        close(held.pop())
        time.sleep(0.1)
        assert ask(address, "/")[0] == 200
        silent = connect(address)
        assert ask(address, "/")[0] == 200  # in the place of the silent one
        assert is_ended(silent)
        close(silent)
    finally:
        close(*held)


@pytest.mark.parametrize("request_line", [b"", b"GET / HTTP/1.1\r\nHost: local", REQUEST % b"/"])
def test_a_connection_that_asks_nothing_more_is_closed(
    address: str, monkeypatch: pytest.MonkeyPatch, request_line: bytes
) -> None:
    monkeypatch.setattr(guards, "SILENCE_S_MAX", 0.3)
    with contextlib.closing(connect(address, request_line)) as silent:
        assert 0.2 < wait_until_ended(silent) < 3
    # One that is sent pictures is not.
    live = pictures(address)
    assert [next(live)["title"] for _ in range(2)] == ["pumps"] * 2


def test_headers_that_come_byte_by_byte_are_not_waited_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "SILENCE_S_MAX", 0.3)
    with contextlib.closing(connect(address, b"GET / HTTP/1.1\r\nX: ")) as slow:
        start_s = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012  (which byte fails is not known)
            while time.monotonic() - start_s < TIMEOUT_S:
                slow.sendall(b"a")
                time.sleep(0.02)
        assert time.monotonic() - start_s < 3


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 40_000,
        b"GET /" + b"a" * 200_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["long", "many", "path", "tls"],
)
def test_headers_without_an_end_are_refused(address: str, request_line: bytes) -> None:
    connection = connect(address)
    with contextlib.closing(connection):
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_line)
        wait_until_ended(connection)
        assert read_all(connection)[:12] in (b"HTTP/1.1 400", b"")
    assert ask(address, "/")[0] == 200


def test_of_questions_that_cost_much_so_many_wait_and_one_more_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "WAITING_MAX", 3)
    gate = threading.Event()
    at_work: list[int] = []

    def work() -> dict[str, Any]:
        at_work.append(1)
        gate.wait(TIMEOUT_S)
        return {}

    async def ask_all() -> None:
        turns = app.Turns(2)
        asked = [asyncio.create_task(app._answer(turns, work)) for _ in range(5)]
        while len(at_work) < 2:
            await asyncio.sleep(0.01)
        assert turns.is_full
        refused = await app._answer(turns, work)
        assert refused.status_code == 503
        assert b"3 such questions wait" in bytes(refused.body)
        assert len(at_work) == 2
        gate.set()
        assert [(await each).status_code for each in asked] == [200] * 5
        assert (await app._answer(turns, work)).status_code == 200

    asyncio.run(ask_all())


def alert(number: int) -> Alert:
    """Return an alert with long texts."""
    metadata = RecordMetadata("telemetry", 0, number, 0, b"k" * 256, ())
    nothing = Explanation(0, 0, (), (), (), 0.0, 0, sentence="s" * 256)
    return make_alert(metadata, (0, 0), (2.0, 1.0, "high"), BundleReference("b", "v"), nothing)


@pytest.mark.parametrize("path", [b"/events", b"/bokeh.js"])
def test_a_page_that_does_not_read_is_left_and_its_memory_bounded(
    live_page: LivePage, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(guards, "READ_S_MAX", 0.5)
    monkeypatch.setattr(events, "EVERY_S", 0.01)
    for number in range(100):
        live_page.board.add(alert(number))
    n_threads = threading.active_count()
    with served(live_page) as address:
        start_s = time.monotonic()
        with contextlib.closing(connect(address, REQUEST % path, n_bytes=4_096)) as unread:
            assert next(pictures(address))["alerts"]["n_open"] == 100
            wait_until_ended(unread)
            assert time.monotonic() - start_s > 0.4
            # What both systems held, and the one picture that was being sent.
            assert 4_096 <= len(read_all(unread)) < 2**19
        assert next(pictures(address))["alerts"]["n_open"] == 100
        assert ask(address, "/")[0] == 200
    assert threading.active_count() <= n_threads + 1


def test_a_page_that_reads_slowly_is_sent_the_newest_picture(
    live_page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "READ_S_MAX", 1.0)
    monkeypatch.setattr(events, "EVERY_S", 0.01)
    for number in range(100):
        live_page.board.add(alert(number))
    with (
        served(live_page) as address,
        contextlib.closing(connect(address, REQUEST % b"/events", n_bytes=4_096)) as slow,
    ):
        for _ in range(4):
            time.sleep(0.5)  # the buffers fill up, and are emptied in time
            n_bytes = 0
            while n_bytes < 2**19:
                n_bytes += len(slow.recv(65_536))
        assert not is_ended(slow)
