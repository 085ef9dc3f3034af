"""Wrong clocks end to end: what they cost, and what is said of them."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector, make_window_detector

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.service.clock_watch import LOG_EVERY_S
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NOW_MS = 1_767_225_600_000
N_STEPS, N_GAP, N_SAMPLES = 4, 6, 120
"""Samples of a window, samples that a gap may miss, and samples of a stream."""
DAY_S = 86_400
JSON, FLOAT32 = "json", "float32"


class SetClock(SystemClock):
    """A clock that moves by a hundredth of a second at each look."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 0.01
        return self.now_s


def of_samples() -> Detector:
    """Return a detector of windows of 4 samples, one a second; anomalous above 1."""
    rules = WindowRules(N_STEPS, 1, N_STEPS, 1_000, 1_000.0 * N_GAP, 0, "hold", 0.5, 3_600_000)
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    return make_sample_detector(rules, alerting)


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: NOW_MS)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    return broker


@pytest.fixture
def serve(broker: MemoryBroker) -> Callable[..., Service]:
    def make(detector: Detector | None = None) -> Service:
        settings = load_settings(
            DetectSettings, group="g", poll_records_max=7, stop_when_idle_s=1.0
        )
        client = broker.connect(topics=["telemetry"], group="g")
        return Service(client, detector or of_samples(), settings, Metrics(), SetClock())

    return make


def sample(format_name: str, time_ms: float, value: float = 0.0, key: bytes = b"k") -> OutputRecord:
    """Return a record of one sample; its Kafka time is as wrong as its own."""
    if format_name == FLOAT32:
        headers = [
            ("content-type", b"application/vnd.stream-detector.float32"),
            ("timestamp-ms", b"%d" % time_ms),
        ]
        text = np.array([value], "<f4").tobytes()
    else:
        headers = []
        text = orjson.dumps({"values": [[value]], "timestamp_ms": time_ms})
    return OutputRecord("telemetry", key, text, headers, round(time_ms))


def at_s(seconds: float) -> float:
    return NOW_MS + 1_000.0 * seconds


RIGHT = [at_s(step) for step in range(N_SAMPLES)]


def with_wrong(at: int, *offsets_s: float) -> list[float]:
    """Return the right times with wrong ones put before one of them."""
    wrong = [RIGHT[at] + 1_000 * each for each in offsets_s]
    return [*RIGHT[:at], *wrong, *RIGHT[at:]]


CASES: dict[str, tuple[list[float], int, int]] = {
    # Times; samples that are not used besides wrong ones, at most; how often the clock was set.
    "30 days ahead once": (with_wrong(50, 30 * DAY_S), 0, 0),
    "2 h ahead once": (with_wrong(50, 7_200), 0, 0),
    "in the year 2000 once": (with_wrong(50, (946_684_800_000 - NOW_MS) / 1_000), 0, 0),
    "30 days ahead twice in a row": (with_wrong(50, 30 * DAY_S, 30 * DAY_S + 1), N_GAP, 1),
    "30 days ahead, then 60": (with_wrong(50, 30 * DAY_S, 60 * DAY_S), N_GAP, 1),
    "2 h ahead at the beginning": (with_wrong(0, 7_200), N_GAP, 1),
    "set back by 1 h": ([*RIGHT[:60], *[each - 3_600_000 for each in RIGHT[60:]]], N_GAP, 1),
    "set back by less than a gap": (
        [*RIGHT[:60], *[each - 5_000 for each in RIGHT[60:]]],
        N_GAP,
        0,
    ),
    "set ahead by 1 h": ([*RIGHT[:60], *[each + 3_600_000 for each in RIGHT[60:]]], 0, 0),
    "milliseconds since boot, reboot": (
        [
            *[5_000.0 + 1_000 * step for step in range(60)],
            *[700.0 + 1_000 * step for step in range(60)],
        ],
        N_GAP,
        1,
    ),
    "milliseconds since boot for a while": (
        [*RIGHT[:40], *[700.0 + 1_000 * step for step in range(40)], *RIGHT[80:]],
        N_GAP,
        1,
    ),
    "falls to the year 2000": (
        [*RIGHT[:60], *[946_684_800_000.0 + 1_000 * step for step in range(60)]],
        N_GAP,
        1,
    ),
    "right and wrong in turn": (
        [
            time
            for at, right in enumerate(RIGHT)
            for time in ([right, right + 30_000_000] if at % 2 else [right])
        ],
        0,
        0,
    ),
    "right and wrong in turn, in the past": (
        [time for right in RIGHT for time in (right, right - 30_000_000)],
        0,
        0,
    ),
}


@pytest.mark.parametrize("format_name", [JSON, FLOAT32])
@pytest.mark.parametrize("name", CASES)
def test_a_wrong_clock_costs_at_most_gap_ms_max_of_its_key(
    broker: MemoryBroker, serve: Callable[..., Service], name: str, format_name: str
) -> None:
    times_ms, n_lost_max, n_sets = CASES[name]
    n_wrong = len(times_ms) - N_SAMPLES
    broker.feed("telemetry", [sample(format_name, each) for each in times_ms])
    service = serve()
    service.run()
    count = service.context.metrics.registry.get_sample_value
    by_outcome = {
        name: count("stream_detector_samples_total", {"outcome": name}) or 0
        for name in ("used", "late", "duplicate", "outlier")
    }
    assert count("stream_detector_clock_sets_total") == n_sets
    assert len(broker.records("dead-letters")) == by_outcome["late"]
    assert N_SAMPLES - n_lost_max <= by_outcome["used"] <= N_SAMPLES + n_wrong
    assert len(times_ms) - 1 <= sum(by_outcome.values()) <= len(times_ms)  # one may still be held
    n_scored = count("stream_detector_windows_total", {"outcome": "normal"}) or 0
    # Each time that a series starts over, a window in progress is lost.
    assert n_scored >= (N_SAMPLES - n_lost_max) // N_STEPS - 2 * (n_sets + 1)


def test_other_keys_are_not_disturbed(broker: MemoryBroker, serve: Callable[..., Service]) -> None:
    records = []
    for at, right in enumerate(RIGHT):
        records += [sample(JSON, right + 1, key=b"%d" % number) for number in range(3)]
        wrong = 30_000 * DAY_S * (at >= 50)
        records.append(sample(JSON, right + wrong, key=b"wrong"))
    broker.feed("telemetry", records)
    service = serve()
    service.run()
    count = service.context.metrics.registry.get_sample_value
    assert count("stream_detector_idle_keys_total") == 0
    assert count("stream_detector_keys") == 4
    n_scored = count("stream_detector_windows_total", {"outcome": "normal"})
    assert n_scored == 3 * N_SAMPLES // N_STEPS + 12 + 18


def test_an_open_alert_closes_where_its_clock_is_set(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    before = [sample(JSON, each, 3.0) for each in RIGHT[:20]]
    after = [sample(JSON, each - 3_600_000, 3.0) for each in RIGHT[20:40]]
    broker.feed("telemetry", [*before, *after])
    serve().run()
    alerts = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    found = [(alert["event"], alert["reason"], alert["alert_id"]) for alert in alerts]
    first, last = found[0][2], found[-1][2]
    assert found == [
        ("open", "anomalous", first),
        ("close", "clock_set", first),
        ("open", "anomalous", last),
    ]
    assert alerts[1]["event_time_ms"] == RIGHT[19]
    assert first != last


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith("clock ")]


def test_what_is_wrong_is_said_with_keys_and_both_times(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    jumps = [sample(JSON, each, key=b"a\x1b") for each in with_wrong(50, 30 * DAY_S)]
    back = [sample(JSON, each, key=b"b") for each in CASES["set back by 1 h"][0]]
    broker.feed("telemetry", [*jumps, *back])
    with caplog.at_level(logging.WARNING):
        serve().run()
    outlier, clock_set = said(caplog)
    assert "fault=outlier n=1 " in outlier
    assert "\x1b" not in outlier
    assert (
        "received 2026-01-31T00:00:50.000Z, while the newest was 2026-01-01T00:00:49.000Z"
        in outlier
    )
    assert "fault=clock_set n=1 keys=b " in clock_set
    assert (
        "received 2025-12-31T23:01:06.000Z, while the newest was 2026-01-01T00:00:59.000Z"
        in clock_set
    )
    letters = [dict(record.metadata.headers) for record in broker.records("dead-letters")]
    text = (letters[0]["__connect.errors.exception.message"] or b"").decode()
    assert (
        "the first at 2025-12-31T23:01:00.000Z, while the newest was at 2026-01-01T00:00:59.000Z"
        in text
    )


def test_times_since_boot_are_said_and_judged(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    times = [5_000.0 + 1_000 * step for step in range(40)]
    broker.feed("telemetry", [*[sample(JSON, each, 3.0) for each in times]])
    with caplog.at_level(logging.WARNING):
        serve().run()
    (line,) = said(caplog)
    assert "fault=since_boot n=1 keys=k" in line
    assert "which looks like milliseconds since boot" in line
    assert len(broker.records("alerts")) >= 1


def test_no_more_than_five_keys_are_named(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [sample(JSON, 5_000, key=b"k%d" % number) for number in range(6)])
    with caplog.at_level(logging.WARNING):
        serve().run()
    (line,) = said(caplog)
    assert 'n=6 keys="k0, k1, k2, k3, k4" ' in line


@pytest.mark.parametrize(
    ("time_ms", "words"),
    [
        (1_767_225_600, "which looks like seconds"),
        (1_000_000_000, "which looks like seconds"),
        (1_767_225_600_000_000, "which looks like microseconds"),
        (1_767_225_600_000_000_000, "which looks like nanoseconds"),
        (NOW_MS, None),
        (999_999_999, None),
    ],
)
def test_the_record_time_of_whole_windows_is_looked_at(
    broker: MemoryBroker,
    serve: Callable[..., Service],
    caplog: pytest.LogCaptureFixture,
    time_ms: int,
    words: str | None,
) -> None:
    value = orjson.dumps({"values": [0] * 4})
    broker.feed("telemetry", [OutputRecord("telemetry", b"k", value, (), time_ms)])
    with caplog.at_level(logging.WARNING):
        serve(make_window_detector()).run()
    lines = said(caplog)
    assert [words in line and "fault=record_time" in line for line in lines if words] == [True] * (
        words is not None
    )
    assert len(lines) == (words is not None)


def test_the_same_fault_is_said_at_most_every_ten_minutes(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    service = serve()
    clock: Any = service.context.clock
    times = RIGHT[:10]
    for _ in range(20):
        times += [times[-1] + DAY_S * 1_000, times[-1] + 1_000]
    moved = []

    def move(batch: Any, step: Any) -> None:
        del batch, step
        clock.now_s += 100
        moved.append(len(said(caplog)))

    service.add_observer(move)
    broker.feed("telemetry", [*[sample(JSON, each, key=b"%d" % 1) for each in times]])
    with caplog.at_level(logging.WARNING):
        service.run()
    lines = said(caplog)
    assert sum(int(line.split(" n=")[1].split()[0]) for line in lines) == 20
    assert len(lines) <= 2 + 100 * len(moved) / LOG_EVERY_S
    assert len(lines) >= 2
