"""Keys that training did not know are said: at once, then seldom, and in all at the end."""

import logging
from dataclasses import replace

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
from stream_detector.service.unknown_keys import LOG_EVERY_S
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NOW_MS = 1_767_225_600_000


class SetClock(SystemClock):
    """A clock that moves a little at each look."""

    now_s = 0.0
    tick_s = 0.01

    def monotonic_s(self) -> float:
        self.now_s += self.tick_s
        return self.now_s


def serve(keys: list[bytes], features: Features, tick_s: float = 0.01) -> tuple[Service, Metrics]:
    """Return a service that has run over a window of each key, one record in a batch."""
    broker, metrics, clock = MemoryBroker(now_ms=lambda: NOW_MS), Metrics(), SetClock()
    clock.tick_s = tick_s
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    records = [
        OutputRecord("telemetry", key, orjson.dumps({"values": [[0.0]] * 2}), (), NOW_MS)
        for key in keys
    ]
    broker.feed("telemetry", records)
    settings = load_settings(
        DetectSettings, group="g", poll_records_max=1, stop_when_idle_s=100 * tick_s
    )
    rules = WindowRules(2, 1, 2, 1_000, 2_000, 0, "hold", 0.5, 3_600_000)
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    detector = make_sample_detector(rules, alerting, features=features)
    client = broker.connect(topics=["telemetry"], group="g")
    service = Service(client, detector, settings, metrics, clock)
    service.run()
    return service, metrics


ONE = np.ones((1, 1), np.float32)
KNOWN = Features(("x",), (), KeyScales([b"known"], ONE, ONE))


def lines(caplog: pytest.LogCaptureFixture, event: str = "unknown-keys") -> list[dict[str, object]]:
    return [
        getattr(each, "fields")  # noqa: B009  (set by `log_event`)
        for each in caplog.records
        if getattr(each, "event", "") == event
    ]


def test_unknown_keys_are_said_once_at_first_and_the_rest_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = [b"known", b"new-1\x1b[31m", b"known", *(b"new-%d" % number for number in range(2, 9))]
    with caplog.at_level(logging.WARNING, "stream_detector"):
        service, metrics = serve(keys, KNOWN)
    first, rest = lines(caplog)
    assert (first["n_keys"], first["keys"]) == (1, r"new-1\x1b[31m")
    assert (rest["n_keys"], rest["keys"]) == (7, "new-2, new-3, new-4, new-5, new-6")
    assert rest["n_keys_so_far"] == 8
    assert "train the bundle again" in str(rest["what_to_do"])
    assert service.totals.n_unknown_keys == 8
    assert metrics.registry.get_sample_value("stream_detector_unknown_keys_total") == 8


def test_the_line_is_written_again_after_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "stream_detector"):
        serve([b"a", b"b"], KNOWN, tick_s=LOG_EVERY_S)
    assert [each["keys"] for each in lines(caplog)] == ["a", "b"]


def test_only_so_many_keys_are_kept_apart(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_detector.service.unknown_keys.N_KEYS_KEPT", 2)
    with caplog.at_level(logging.WARNING, "stream_detector"):
        service, _ = serve([b"a", b"b", b"c"], KNOWN)
    assert [each["keys"] for each in lines(caplog)] == ["a", "b"]
    assert service.totals.n_unknown_keys == 2


@pytest.mark.parametrize("features", [KNOWN, Features(("x",))])
def test_nothing_is_said_where_all_keys_are_known_or_have_one_scale(
    features: Features, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "stream_detector"):
        service, metrics = serve([b"known"], features)
    assert (lines(caplog), service.totals.n_unknown_keys) == ([], 0)
    assert metrics.registry.get_sample_value("stream_detector_unknown_keys_total") == 0


def test_new_keys_are_said_when_their_warm_up_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    learning = replace(KNOWN, warm_up_samples=4)
    with caplog.at_level(logging.INFO, "stream_detector"):
        service, metrics = serve([b"known", b"a", b"b", b"c"], learning)
    first, rest = lines(caplog, "new-keys")
    assert (first["n_keys"], first["keys"], rest["keys"]) == (1, "a", "b, c")
    assert "no score" in str(first["what_to_do"])
    assert (lines(caplog), lines(caplog, "key-scales")) == ([], [])
    assert service.totals.n_unknown_keys == 3
    assert metrics.registry.get_sample_value("stream_detector_unknown_keys_total") == 3
    name, labels = "stream_detector_windows_total", {"outcome": "warm_up"}
    assert metrics.registry.get_sample_value(name, labels) == 3
    caplog.clear()
    with caplog.at_level(logging.INFO, "stream_detector"):
        serve([b"a"], replace(KNOWN, warm_up_samples=2))
    (fitted,) = lines(caplog, "key-scales")
    assert (fitted["n_keys"], fitted["keys"], fitted["n_keys_so_far"]) == (1, "a", 1)
