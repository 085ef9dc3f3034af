"""Every record is rejected: that is said loudly, with the commonest reason, and may end the run."""

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from detectors import make_sample_detector, make_window_detector

from stream_detector.cli.workers import PERMANENT
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.errors import AllRejectedError, RecordShapeError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.service.rejections import LOG_EVERY_S, N_REJECTED_MIN, reason_shape
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

NOW_MS = 1_767_225_600_000
GOOD, BAD, OTHER = b'{"values":[0,0,0,0]}', b'{"values":[0,0,0]}', b"?"


class SetClock(SystemClock):
    """A clock whose time is added to by the test; reading it and sleeping take a moment."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 0.01
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: NOW_MS)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    return broker


@pytest.fixture
def serve(broker: MemoryBroker) -> Callable[..., Service]:
    def make(detector: Detector | None = None, **changes: Any) -> Service:
        settings = load_settings(DetectSettings, **({"stop_when_idle_s": 0.5} | changes))
        client = broker.connect(topics=["telemetry"], group="g")
        return Service(client, detector or make_window_detector(), settings, Metrics(), SetClock())

    return make


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno == logging.ERROR and each.getMessage().startswith("all-rejected")
    ]


def test_it_is_said_once_after_100_records_with_the_commonest_reason_and_an_example(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [OTHER] * 40 + [BAD] * 60 + [OTHER] * 200)
    assert serve(poll_records_max=50).run().n_dead_letters == 300
    (line,) = said(caplog)
    assert "n_in_a_row=100 topic=telemetry " in line
    assert 'reason="RecordShapeError: expected N steps, received N steps" share=60% ' in line
    assert 'example="telemetry[0]@40: expected 4 steps, received 3 steps"' in line
    assert "stream-detector doctor BUNDLE --topic telemetry" in line
    assert "troubleshooting.md" in line


@pytest.mark.parametrize("poll_records_max", [1, 7, 100, 1_000])
@pytest.mark.parametrize(
    ("values", "is_said"),
    [
        ([BAD] * 100, True),
        ([BAD] * 99 + [GOOD], False),
        ([BAD] * 99 + [GOOD] + [BAD] * 99, False),
        ([GOOD] + [BAD] * 100 + [GOOD], True),
        ([BAD] * 99 + [GOOD] + [BAD] * 100, True),
        ([BAD] * 20, True),  # the run ends before
        ([BAD] * 20 + [GOOD], False),
        ([GOOD] + [BAD] * 99, False),
        ([], False),
    ],
)
def test_it_depends_on_records_in_a_row_and_not_on_batches(
    broker: MemoryBroker,
    serve: Callable[..., Service],
    caplog: pytest.LogCaptureFixture,
    values: list[bytes],
    is_said: bool,
    poll_records_max: int,
) -> None:
    broker.feed("telemetry", values)
    serve(poll_records_max=poll_records_max).run()
    assert len(said(caplog)) == is_said


def test_it_is_said_again_after_ten_minutes_and_not_before(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    broker.feed("telemetry", [BAD] * 400)
    service = serve(poll_records_max=100)
    clock = service.context.clock
    assert isinstance(clock, SetClock)
    seen: list[tuple[float, int]] = []

    def pass_time(_: Any, __: Any) -> None:
        seen.append((clock.now_s, len(said(caplog))))
        clock.now_s += LOG_EVERY_S / 2

    service.add_observer(pass_time)
    service.run()
    assert [n_lines for _, n_lines in seen] == [1, 1, 2, 2]
    assert all(after > before for (before, _), (after, _) in pairwise(seen))


def test_the_metrics_count_by_error_and_in_a_row(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    broker.feed("telemetry", [OTHER, BAD, GOOD, BAD, BAD, OTHER])
    service = serve()
    service.run()
    value = service.context.metrics.registry.get_sample_value
    for name, number in (("RecordShapeError", 3), ("RecordDecodeError", 2)):
        assert value("stream_detector_rejected_total", {"error": name}) == number
    assert value("stream_detector_rejected_in_a_row") == 3


@pytest.mark.parametrize("n_records", [1, N_REJECTED_MIN - 1, N_REJECTED_MIN, 300])
def test_a_run_can_end_when_all_are_rejected_and_its_dead_letters_are_committed(
    broker: MemoryBroker, serve: Callable[..., Service], n_records: int
) -> None:
    broker.feed("telemetry", [BAD] * n_records)
    with pytest.raises(AllRejectedError) as caught:
        serve(fail_when_all_rejected=True, poll_records_max=100).run()
    assert caught.value.exit_code == 7
    assert "telemetry[0]@0: expected 4 steps, received 3 steps" in str(caught.value)
    n_done = min(n_records, N_REJECTED_MIN)
    assert len(list(broker.records("dead-letters"))) == n_done
    later = serve(poll_records_max=100).run()
    assert later.n_records == n_records - n_done


def test_a_run_with_a_good_record_does_not_end(
    broker: MemoryBroker, serve: Callable[..., Service]
) -> None:
    broker.feed("telemetry", [BAD] * 99 + [GOOD] + [BAD] * 99)
    assert serve(fail_when_all_rejected=True).run().n_records == 199


def of_samples() -> Detector:
    rules = WindowRules(4, 1, 4, 10, 40, 0, "hold", 0.5, 1_000)
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    return make_sample_detector(rules, alerting)


def of_images() -> Detector:
    image = ImageShape(2, 2, 1)
    return make_window_detector(shape=(2, 2), sample_interval_ms=0, image=image)


def png(n_rows: int, n_columns: int) -> bytes:
    """Return a grey PNG of zeros."""
    header = struct.pack(">IIBBBBB", n_columns, n_rows, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(n_rows * (n_columns + 1)))
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in chunks
    )


@pytest.mark.parametrize(
    ("make", "value", "error"),
    [
        (make_window_detector, np.zeros(4, np.float32).tobytes(), "RecordDecodeError"),
        (of_samples, b'{"values":[[1,2]]}', "RecordShapeError"),
        (of_samples, b'{"values":[1],"timestamp_ms":1767225600}', "RecordValueError"),
        (of_images, png(3, 2), "RecordShapeError"),
        (of_images, GOOD, "RecordDecodeError"),
    ],
)
def test_all_record_shapes_say_so(
    broker: MemoryBroker,
    serve: Callable[..., Service],
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], Detector],
    value: bytes,
    error: str,
) -> None:
    broker.feed("telemetry", [OutputRecord("telemetry", b"k", value, (), NOW_MS)] * 100)
    with pytest.raises(AllRejectedError):
        serve(make(), fail_when_all_rejected=True).run()
    (line,) = said(caplog)
    assert f"{error}: " in line


def test_the_shape_of_a_reason_has_neither_numbers_nor_quotations() -> None:
    first = reason_shape(RecordShapeError("values[3]: expected 1,000 steps, received 'a b' 1e-05."))
    other = reason_shape(RecordShapeError("values[12]: expected 7 steps, received '' 4.5."))
    assert first == other == "RecordShapeError: values[N]: expected N steps, received ... N."


def test_too_many_keys_are_said_loudly_and_the_old_ones_go_on(
    broker: MemoryBroker, serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    rules = WindowRules(4, 1, 1, 10, 40, 0, "hold", 0.5, 1_000)
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    detector = replace(make_sample_detector(rules, alerting), keys_max=2)
    client = broker.connect()
    keys = [b"a", b"b", b"new\n", b"a", b"other"]
    client.produce(
        [
            OutputRecord("telemetry", key, b'{"values":[[9]]}', timestamp_ms=NOW_MS + 10 * at)
            for at, key in enumerate(keys * 30)
        ]
    )
    client.flush(1_000)
    totals = serve(detector, poll_records_max=7).run()
    assert (totals.n_dead_letters, totals.n_alerts > 0) == (60, True)
    (line,) = [
        each.getMessage() for each in caplog.records if each.getMessage().startswith("too-many")
    ]
    assert "n_records=2 " in line
    assert "first=telemetry[0]@2 key=new\\n " in line
    assert "set keys_max higher" in line
    errors = {
        dict(each.metadata.headers)["__connect.errors.exception.class.name"]
        for each in broker.records("dead-letters")
    }
    assert errors == {b"KeyLimitError"}


def test_workers_are_not_started_again_after_it() -> None:
    assert AllRejectedError.exit_code in PERMANENT
