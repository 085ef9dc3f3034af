"""A console on topics in this process, served on a free port and asked as a browser asks."""

import base64
import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
from halving_bundle import make_bundle, make_bundle_of_samples
from numpy.typing import NDArray

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import Alert, encode_alert
from stream_detector.core.codec.image_format import encode_image
from stream_detector.core.codec.samples import encode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.outputs.dead_letters import Snapshot
from stream_detector.ports import NoSchemas, SystemClock
from stream_detector.web.alert_board import AlertBoard
from stream_detector.web.app import LivePage, take_alerts
from stream_detector.web.history import History
from stream_detector.web.input_watch import InputWatch
from stream_detector.web.key_view import KeyView
from stream_detector.web.reading import TopicReader
from stream_detector.web.server import serve
from stream_detector.web.what_if import WhatIf


def open_pumps(folder: Path, n_steps: int = 4, features: Features | None = None) -> Served:
    """Return a bundle of samples of one feature, one a second, in windows side by side.

    Its network halves. A window is anomalous where the mean size of its values is above 1, and its
    anomaly score is that mean. An alert closes 4 s after its last anomalous window.
    """
    path = folder / "pumps"
    make_bundle_of_samples(
        path, n_steps, features=features, close_after_ms=4_000, no_data_after_ms=None
    )
    return open_bundle(path)


def open_images(folder: Path) -> Served:
    """Return a bundle of grey images of 28 x 28 pixels, anomalous where the mean is above a half.

    Its network halves.
    """
    make_bundle(folder / "images", "fashion-basic")
    return open_bundle(folder / "images")


def send_images(
    broker: MemoryBroker, key: str, start_ms: int, levels: Sequence[int]
) -> list[NDArray[np.uint8]]:
    """Write an image a second to the input topic; gives them.

    All have a square of this level, and the last row and column are dark.
    """
    for topic in ("telemetry", "alerts"):
        broker.create_topic(topic)
    sent = []
    for number, level in enumerate(levels):
        pixels = np.full((28, 28), level, np.uint8)
        pixels[-1], pixels[:, -1] = 0, 0
        value, time_ms = encode_image(pixels, 1, "png"), start_ms + 1_000 * number
        header = ("content-type", b"image/png")
        broker.feed(
            "telemetry", [OutputRecord("telemetry", key.encode(), value, (header,), time_ms)]
        )
        sent.append(pixels)
    return sent


def make_memory_page(broker: MemoryBroker, served: Served) -> LivePage:
    """Return a page on the topics `alerts` and `telemetry` of a broker."""
    detector, clock = served.detector, SystemClock()
    board = AlertBoard.of(detector)
    watch = InputWatch(detector, NoSchemas(), None, clock)
    readers = [
        TopicReader(
            topic,
            "memory",
            partial(broker.connect, topics=[topic]),
            take,
            1_000,
            topic == "silences",
        )
        for topic, take in (
            ("alerts", partial(take_alerts, board, NoSchemas())),
            ("telemetry", watch.take),
            ("silences", board.silences.take),
        )
    ]
    history = History("telemetry", partial(broker.connect, topics=["telemetry"]), watch.marks)
    look = KeyView(served, NoSchemas(), None)
    return LivePage(
        title="pumps",
        board=board,
        watch=watch,
        readers=readers,
        clock=clock,
        history=history,
        key_view=look,
        what_if=WhatIf(look, history),
        take_snapshot=partial(take_memory_snapshot, broker),
    )


def take_memory_snapshot(broker: MemoryBroker) -> Snapshot:
    """Return what the topic `dead-letters` holds."""
    topic = "dead-letters"
    offsets = {
        TopicPartition(topic, number): range(log.start, len(log.records))
        for number, log in enumerate(broker.partitions_of(topic))
    }
    return Snapshot(topic, partial(broker.connect, topics=[topic]), offsets)


def sample_record(key: str, time_ms: int, *values: float) -> OutputRecord:
    """Return a record of samples of one feature, one a second, which is sent at the first."""
    samples = np.array(values, np.float32).reshape(-1, 1)
    value = encode_samples(samples, "json", float(time_ms))
    return OutputRecord("telemetry", key.encode(), value, (), time_ms)


class Stream:
    """A detector that publishes to the topics of a broker what it makes of records sent to it."""

    def __init__(self, broker: MemoryBroker, served: Served) -> None:
        for topic in ("telemetry", "alerts"):
            broker.create_topic(topic, 2)
        self.broker = broker
        self.detector = served.detector
        self._state = self.detector.initial_state()
        self._client = broker.connect(topics=["telemetry"])

    def send(self, *records: OutputRecord) -> list[Alert]:
        """Send records, and publish the alerts that they cause."""
        self.broker.feed("telemetry", records)
        alerts = []
        while len(batch := self._client.poll(1_000, 0)):
            step = self.detector.step(self._state, batch)
            self._state = step.state
            for raised in step.alerts:
                now_ms = SystemClock().now_ms()
                record = encode_alert(raised.alert, "alerts", raised.key, now_ms)
                self.broker.feed("alerts", [record], partition=1)
                alerts.append(raised.alert)
        return alerts


@contextmanager
def served(page: LivePage, password: str | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve a page while the block lasts; gives its address."""
    with serve(page, host, 0, password) as address:
        yield address


def ask(
    address: str, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return (
            answer.status,
            {name.lower(): each for name, each in answer.getheaders()},
            answer.read(),
        )
    finally:
        connection.close()


def pictures(address: str, headers: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the pictures that the page is sent."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request("GET", "/events", headers=headers or {})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        while True:
            line = answer.readline()
            if line.startswith(b"data: "):
                yield orjson.loads(line[6:])
    finally:
        connection.close()


def wait_for_picture(
    address: str, is_wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 10.0
) -> dict[str, Any]:
    """Return the first picture that is wanted."""
    until_s = time.monotonic() + timeout_s
    last: dict[str, Any] = {}
    for last in pictures(address):
        if is_wanted(last):
            return last
        assert time.monotonic() < until_s, last
    raise AssertionError(last)


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header that a browser sends with a password."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {token}"}
