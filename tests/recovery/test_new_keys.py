"""A service that starts again knows the scales of keys that training did not know."""

from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import OutputRecord
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

START_MS = 1_767_225_600_000
N_SAMPLES = 400
LEVELS = {b"known": (40.0, 2.0), b"small": (0.04, 0.002), b"large": (9e5, 3e4)}


class SetClock(SystemClock):
    """A clock that moves a little at each look."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 0.01
        return self.now_s


def records() -> list[OutputRecord]:
    """Return samples of three keys in turn; each but the known one has a fault of 8 deviations."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(N_SAMPLES):
        for key, (level, size) in LEVELS.items():
            fault = 8 * size * (key != b"known") * (300 <= number < 320)
            value = level + size * rng.normal() + fault
            body = orjson.dumps({"values": [[value]], "timestamp_ms": START_MS + 10 * number})
            found.append(OutputRecord("telemetry", key, body, (), START_MS + 10 * number))
    return found


def broker_of() -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: START_MS)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    return broker


def serve(broker: MemoryBroker) -> Metrics:
    """Run a service until the topic is read."""
    rules = WindowRules(4, 1, 2, 10, 100, 0, "hold", 0.5, 1_000)
    alerting = AlertRules(1, 1, 60_000, 100, 0, 1_000, 10, 1_000, (("warning", 1.0),))
    scale = KeyScales([b"known"], np.array([[40.0]], np.float32), np.array([[0.5]], np.float32))
    detector = make_sample_detector(
        rules, alerting, features=Features(("x",), (), scale, 30), threshold=3.0
    )
    settings = load_settings(DetectSettings, group="g", poll_records_max=48, stop_when_idle_s=1)
    metrics = Metrics()
    client = broker.connect(topics=["telemetry"], group="g")
    Service(client, detector, settings, metrics, SetClock()).run()
    return metrics


def alerts_of(broker: MemoryBroker) -> list[dict[str, Any]]:
    found = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    for alert in found:
        del alert["detected_at_ms"]
    return found


@pytest.mark.parametrize("cuts", [[60], [880], [90, 500, 905, 930]])
def test_alerts_are_those_of_a_service_that_was_never_stopped(cuts: list[int]) -> None:
    sent, whole, broker = records(), broker_of(), broker_of()
    whole.feed("telemetry", sent)
    serve(whole)
    expected = alerts_of(whole)
    opened = {(each["key"], each["event"]) for each in expected}
    assert opened == {(key, event) for key in ("small", "large") for event in ("open", "close")}
    n_replayed = 0.0
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        broker.feed("telemetry", sent[start:end])
        metrics = serve(broker)
        labels = {"outcome": "replayed"}
        name = "stream_detector_restores_total"
        n_replayed += metrics.registry.get_sample_value(name, labels) or 0
    assert n_replayed == len(cuts)
    assert alerts_of(broker) == expected
