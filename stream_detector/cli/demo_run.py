"""What the parts of the demo work with: a bundle, a broker, and a detector in a thread."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.errors import BrokerError
from stream_detector.settings import DetectSettings, load_settings

if TYPE_CHECKING:
    from stream_detector.assembly import Served
    from stream_detector.service import Service

N_PARTITIONS = 4
WAIT_S = 30.0
"""Longest wait for the detector and the alert reader once everything was sent."""


@dataclass(slots=True)
class Run:
    """The bundle and the broker of a part of the demo."""

    served: "Served"
    bootstrap_servers: str
    create_topic: Callable[[str, int], None]

    def settings(self, name: str, **changes: Any) -> DetectSettings:
        """Create the topics of one part and return its settings."""
        topics = {
            "input_topic": f"{name}-telemetry",
            "alerts_topic": f"{name}-alerts",
            "dead_letter_topic": f"{name}-dead-letters",
        }
        for topic in topics.values():
            self.create_topic(topic, N_PARTITIONS)
        return load_settings(
            DetectSettings,
            None,
            bootstrap_servers=self.bootstrap_servers,
            client="kafka-python",
            group=name,
            poll_timeout_ms=50,
            **topics,
            **changes,
        )


@contextmanager
def detecting(
    run: Run, settings: DetectSettings, on_step: Callable[[RecordBatch, Step], None]
) -> Iterator["Service"]:
    """Run the detector in a thread while the block lasts; it tells each finished batch."""
    from stream_detector.assembly import make_service
    from stream_detector.telemetry import Metrics

    service = make_service(run.served, settings, Metrics())
    service.add_observer(on_step)
    with running(service.run, "detector", service.stop) as failures:
        wait_until(lambda: service.is_ready or bool(failures), "detector", "its partitions")
        yield service


@contextmanager
def running(
    work: Callable[[], Any], name: str, stop: Callable[[], None]
) -> Iterator[list[BaseException]]:
    """Run `work` in a thread while the block lasts, stop it then, and raise what it raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
            failures.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        stop()
        thread.join(timeout=WAIT_S)
    if failures:
        raise failures[0]


def wait_until(is_done: Callable[[], bool], who: str, what: object) -> None:
    """Wait until something is done, and give up after `WAIT_S`."""
    deadline_s = time.monotonic() + WAIT_S
    while not is_done():
        if time.monotonic() > deadline_s:
            message = f"demo: the {who} did not get {what} within {WAIT_S:.0f} s"
            raise BrokerError(message)
        time.sleep(0.01)
