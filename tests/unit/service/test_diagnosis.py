"""Series of which no window is scored are said, with reason and keys, soon, and not too often."""

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import orjson
import pytest
from detectors import make_sample_detector, make_window_detector

from stream_detector.clients.memory import EOF, MemoryBroker
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.service.diagnosis import CHECK_EVERY_S, LOG_EVERY_S, WARM_UP_S_MAX
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NOW_MS = 1_767_225_600_000
N_STEPS = 20


class SetClock(SystemClock):
    """A clock that only the test moves."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def of_samples(**changes: Any) -> Detector:
    """Return a detector of windows of 20 samples, one a second."""
    rules: dict[str, Any] = {
        "n_steps": N_STEPS,
        "n_features": 1,
        "stride": N_STEPS,
        "sample_interval_ms": 1_000,
        "gap_ms_max": 20_000,
        "allowed_lateness_ms": 0,
        "missing": "interpolate",
        "missing_share_max": 0.25,
        "key_ttl_ms": 36_000_000,
    }
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    return make_sample_detector(WindowRules(**(rules | changes)), alerting)


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: NOW_MS)
    broker.create_topic("telemetry", 2)
    for topic in ("alerts", "dead-letters"):
        broker.create_topic(topic)
    return broker


@pytest.fixture
def serve(broker: MemoryBroker) -> Callable[..., Service]:
    def make(detector: Detector | None = None, **changes: Any) -> Service:
        settings = load_settings(DetectSettings, group="g", poll_records_max=100, **changes)
        client = broker.connect(topics=["telemetry"], group="g")
        return Service(client, detector or of_samples(), settings, Metrics(), SetClock())

    return make


def samples(key: str, times_s: Iterable[float], value: float | None = 0.0) -> list[OutputRecord]:
    """Return records of one sample each."""
    text = orjson.dumps({"values": [[value]]})
    return [
        OutputRecord("telemetry", key.encode(), text, (), NOW_MS + round(1_000 * each))
        for each in times_s
    ]


def run(service: Service, seconds_each: float = 0.0, n_polls: int = 20) -> list[float]:
    """Run for some polls of which each takes some time; return when each line was written."""
    clock = service.context.clock
    assert isinstance(clock, SetClock)
    at_s: list[float] = []
    poll, left = service.context.client.poll, [n_polls]

    def note(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("unscored"):
            at_s.append(clock.now_s)
        return True

    def poll_slowly(n_records_max: int, timeout_ms: int) -> Any:
        clock.now_s += seconds_each
        left[0] -= 1
        if not left[0]:
            service.stop()
        return poll(n_records_max, timeout_ms)

    service.context.client.poll = poll_slowly  # type: ignore[method-assign]
    logger = logging.getLogger("stream_detector")
    logger.addFilter(note)
    try:
        service.run()
    finally:
        logger.removeFilter(note)
    return at_s


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno == logging.WARNING and each.getMessage().startswith("unscored")
    ]


def test_keys_with_another_interval_are_said_with_reason_keys_and_what_to_do(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    slow = [samples(f"pump-{each}", range(0, 80, 2)) for each in range(7)]
    broker.feed("telemetry", [*chain(*slow), *samples("fan", range(60))])
    service = serve()
    run(service)
    (line,) = said(caplog)
    assert "reason=interval n_keys=7 " in line
    assert 'keys="pump-0, pump-1, pump-2, pump-3, pump-4" ' in line
    assert 'detail="received samples about 2000 ms apart, expected 1000" ' in line
    assert "window.sample_interval_ms" in line
    assert "stream-detector doctor BUNDLE --topic telemetry" in line
    assert "troubleshooting.md" in line
    assert service.totals.n_scored_windows == 3
    assert service.totals.unscored == {"interval": 7}
    value = service.context.metrics.registry.get_sample_value
    assert value("stream_detector_unscored_keys", {"reason": "interval"}) == 7
    assert value("stream_detector_unscored_keys", {"reason": "gaps"}) == 0
    normal = value("stream_detector_records_total", {"outcome": "normal"})
    assert normal == 3


def test_no_line_where_every_key_is_scored(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", samples("fan", range(55)))
    service = serve()
    run(service)
    assert said(caplog) == []
    assert (service.totals.n_scored_windows, service.totals.unscored) == (2, {})


def test_every_reason_has_its_line(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    for partition in (0, 1):
        broker.feed("telemetry", samples("both", range(partition, 80, 2)), partition)
    bursts = [start + each for start in range(0, 300, 60) for each in range(10)]
    broker.feed("telemetry", samples("bursts", bursts))
    broker.feed("telemetry", samples("late", [1_000, *range(40, 0, -1)]))
    broker.feed("telemetry", samples("same", [5] * 40))
    broker.feed("telemetry", samples("empty", range(60), None))
    broker.feed("telemetry", samples("slow", range(0, 200, 5)))
    broker.feed("telemetry", samples("new", range(3)))
    service = serve()
    run(service)
    reasons = {line.split("reason=")[1].split()[0]: line for line in said(caplog)}
    assert {name: line.split("keys=")[-1].split()[0] for name, line in reasons.items()} == {
        "key_on_several_partitions": '"both,',
        "late": "late",
        "duplicates": "same",
        "interval": "slow",
        "missing_values": "empty",
        "gaps": "bursts",
        "warm_up": "new",
    }
    assert 'detail="the key comes on partitions 0, 1"' in reasons["key_on_several_partitions"]
    assert sum(service.totals.unscored.values()) == 8


def test_it_is_said_within_seconds_although_nothing_more_comes(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    broker.feed("telemetry", samples("pump", range(0, 80, 2)))
    assert run(serve(), seconds_each=1.0) == [CHECK_EVERY_S]


@pytest.mark.parametrize("n_s", [1, 60])
def test_warm_up_is_said_once_nothing_was_scored_for_half_a_minute(
    broker: MemoryBroker,
    serve: Callable[..., Service],
    caplog: pytest.LogCaptureFixture,
    n_s: int,
) -> None:
    broker.feed("telemetry", samples("pump", [0]))
    (at_s,) = run(serve(), seconds_each=1.0, n_polls=n_s)
    assert at_s == min(n_s, WARM_UP_S_MAX + CHECK_EVERY_S)
    (line,) = said(caplog)
    assert "samples received so far: 1; a window has 20, one each 1000 ms; " in line
    assert f"the first record came {at_s - 1:.0f} s ago" in line


def test_warm_up_is_said_after_exactly_half_a_minute(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    broker.feed("telemetry", samples("pump", [0]))
    first_at_s = CHECK_EVERY_S  # of the first poll, so that each look is at a whole multiple
    assert run(serve(), seconds_each=CHECK_EVERY_S) == [first_at_s + WARM_UP_S_MAX]


def test_warm_up_is_not_worth_a_line_while_others_are_scored(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [*samples("fan", range(25)), *samples("pump", [0])])
    service = serve()
    run(service, seconds_each=1.0, n_polls=60)
    assert said(caplog) == []
    assert service.totals.unscored == {"warm_up": 1}


def test_a_reason_is_said_again_after_ten_minutes_and_not_before(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    broker.feed("telemetry", samples("pump", range(0, 80, 2)))
    at_s = run(serve(), seconds_each=CHECK_EVERY_S, n_polls=int(LOG_EVERY_S / CHECK_EVERY_S) + 2)
    assert at_s == [CHECK_EVERY_S, CHECK_EVERY_S + LOG_EVERY_S]


def test_a_run_that_ends_at_once_says_it(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [*samples("pump", range(0, 80, 2)), EOF])
    run(serve(), n_polls=2)
    assert len(said(caplog)) == 1


def test_a_key_is_shown_safely(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", samples("\x1b[31m\n" + "k" * 200, range(0, 80, 2)))
    run(serve())
    (line,) = said(caplog)
    assert line.isprintable()
    assert 'keys="\\x1b[31m\\nkkk' in line
    assert "k" * 60 not in line


def test_whole_windows_are_never_unscored(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [b'{"values":[0,0,0,0]}'] * 5)
    service = serve(make_window_detector())
    run(service)
    assert said(caplog) == []
    assert (service.totals.n_scored_windows, service.totals.unscored) == (5, {})
