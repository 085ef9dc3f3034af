"""Pacing, forms and headers of replayed records."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from image_files import pixels_of  # tests/support

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.image_format import MEDIA_TYPES as IMAGE_TYPES
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.windows import decode_windows, encode_window
from stream_detector.core.records import FloatArray
from stream_detector.replay import ReplayOptions, ReplaySummary, replay, replay_parts

TOPIC = "telemetry"


class SteppedClock:
    """A clock that only `sleep` moves; each look at it costs a little, as real ones do."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.time_s = 0.0
        self.cost_s = cost_s
        self.sleeps_s: list[float] = []

    def now_ms(self) -> int:
        return int(self.time_s * 1000)

    def monotonic_s(self) -> float:
        self.time_s += self.cost_s
        return self.time_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps_s.append(seconds)
        self.time_s += seconds


def windows_of(n_windows: int, n_features: int = 1) -> FloatArray:
    rng = np.random.default_rng(7)
    return rng.normal(size=(n_windows, 5, n_features)).astype(np.float32)


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker(now_ms=lambda: 42)
    made.create_topic(TOPIC, 1)
    return made


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("content_type", ["json", "float32"])
def test_values_read_back_exactly(n_features: int, content_type: str) -> None:
    window = np.concatenate(
        (
            windows_of(1, n_features)[0],
            np.full((1, n_features), np.finfo(np.float32).smallest_subnormal),
            np.full((1, n_features), -np.finfo(np.float32).max),
        )
    ).astype(np.float32)

    value = encode_window(window, content_type)

    if content_type == "json":
        read = np.array(orjson.loads(value)["values"], dtype=np.float64).astype(np.float32)
    else:
        read = np.frombuffer(value, dtype="<f4")
    np.testing.assert_array_equal(read.reshape(window.shape), window)


def test_a_record_carries_its_key_time_type_and_label(broker: MemoryBroker) -> None:
    windows = windows_of(2)
    options = ReplayOptions(keys=["a", "b"], timestamps_ms=[5, 6], labels=[0, 1])

    replay(windows, broker.connect(), TOPIC, options=options, clock=SteppedClock())

    first, second = (record.metadata for record in broker.records(TOPIC))
    assert (first.key, first.timestamp_ms, second.key, second.timestamp_ms) == (b"a", 5, b"b", 6)
    assert list(first.headers) == [("content-type", CONTENT_TYPES["json"]), ("label", b"0")]
    assert dict(second.headers)["label"] == b"1"
    assert json.loads(broker.records(TOPIC)[0].value or b"")["values"] == [
        float(value) for value in windows[0, :, 0]
    ]


def test_without_labels_and_times_there_are_none(broker: MemoryBroker) -> None:
    options = ReplayOptions(content_type="float32")
    replay(windows_of(1), broker.connect(), TOPIC, options=options, clock=SteppedClock())

    (record,) = broker.records(TOPIC)
    assert list(record.metadata.headers) == [("content-type", CONTENT_TYPES["float32"])]
    assert record.metadata.timestamp_ms == 42  # the time of sending


@pytest.mark.parametrize(("rate", "n_windows"), [(10.0, 21), (1_000.0, 2_001), (50_000.0, 25_001)])
def test_the_rate_is_kept_without_drift(broker: MemoryBroker, rate: float, n_windows: int) -> None:
    # Every look at the clock costs time, so a schedule counted from the last record would drift.
    clock = SteppedClock(cost_s=0.0001)

    summary = replay(
        windows_of(n_windows),
        broker.connect(),
        TOPIC,
        options=ReplayOptions(rate=rate, content_type="float32"),
        clock=clock,
    )

    assert summary.n_records == n_windows
    assert summary.seconds == pytest.approx((n_windows - 1) / rate, abs=0.02)


def test_records_leave_steadily_and_not_in_bursts(broker: MemoryBroker) -> None:
    clock = SteppedClock()
    sent: list[tuple[float, int]] = []

    replay(
        windows_of(3_000),
        broker.connect(),
        TOPIC,
        options=ReplayOptions(rate=1_000.0, content_type="float32"),
        clock=clock,
        on_progress=lambda n_sent: sent.append((clock.time_s, n_sent)),
    )

    sizes = np.diff([0, *(n_sent for _, n_sent in sent)])
    assert sizes.max() <= 12
    assert all(abs(n_sent - time_s * 1000) <= 12 for time_s, n_sent in sent)


def test_as_fast_as_possible_never_sleeps(broker: MemoryBroker) -> None:
    clock = SteppedClock()
    summary = replay(
        windows_of(2_500), broker.connect(), TOPIC, options=ReplayOptions(), clock=clock
    )
    assert summary == ReplaySummary(n_records=2_500, seconds=0.0)
    assert clock.sleeps_s == []


def test_an_interrupt_flushes_what_was_handed_over(broker: MemoryBroker) -> None:
    def interrupt(n_sent: int) -> None:
        if n_sent >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(
            windows_of(100),
            broker.connect(),
            TOPIC,
            options=ReplayOptions(rate=10.0),
            clock=SteppedClock(),
            on_progress=interrupt,
        )
    assert len(broker.records(TOPIC)) == 3


def test_nothing_to_send_is_no_error(broker: MemoryBroker) -> None:
    summary = replay(
        windows_of(0), broker.connect(), TOPIC, options=ReplayOptions(), clock=SteppedClock()
    )
    assert summary == ReplaySummary(n_records=0, seconds=0.0)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("content_type", ["png", "uint8"])
def test_images_leave_with_their_reference_and_read_back_exactly(
    broker: MemoryBroker, content_type: Any, n_channels: int
) -> None:
    image = ImageShape(4, 2, n_channels)
    windows = np.stack([pixels_of(image, seed) for seed in range(3)]).astype(np.float32)
    references = [f"mine/test/{number}" for number in range(3)]
    options = ReplayOptions(
        content_type=content_type, n_channels=n_channels, labels=[0, 1, 0], references=references
    )
    replay(windows, broker.connect(), TOPIC, options=options, clock=SteppedClock())
    sent = broker.records(TOPIC)
    assert [dict(each.metadata.headers) for each in sent] == [
        {
            "content-type": IMAGE_TYPES[content_type],
            "label": str(number % 2).encode(),
            "reference": reference.encode(),
        }
        for number, reference in enumerate(references)
    ]
    values, headers = [each.value for each in sent], [each.metadata.headers for each in sent]
    decoded = decode_windows(values, headers, image, "image")
    assert np.array_equal(decoded.windows, windows)


@pytest.mark.parametrize("name", ["keys", "timestamps_ms", "labels", "references"])
def test_columns_of_another_length_are_refused(broker: MemoryBroker, name: str) -> None:
    options = ReplayOptions(**{name: [1]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{name}.*expected 2, received 1"):
        replay(windows_of(2), broker.connect(), TOPIC, options=options, clock=SteppedClock())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0.0}, "rate"), ({"rate": float("nan")}, "rate"), ({"content_type": "xml"}, "json")],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayOptions(**options)  # type: ignore[arg-type]


def test_parts_are_sent_as_all_at_once(broker: MemoryBroker) -> None:
    windows, keys = windows_of(5), list("abcde")
    broker.create_topic("parts", 1)
    whole = ReplayOptions(rate=10.0, keys=keys, labels=[0, 1, 0, 1, 1])
    sent: dict[str, list[tuple[float, int]]] = {"parts": [], TOPIC: []}
    clocks = {name: SteppedClock() for name in sent}

    def note(name: str, n_sent: int) -> None:
        sent[name].append((clocks[name].time_s, n_sent))

    parts = [
        (windows[rows], replace(whole, keys=keys[rows], labels=[0, 1, 0, 1, 1][rows]))
        for rows in (slice(2), slice(2, 2), slice(2, 5))
    ]
    client = broker.connect()
    found = replay_parts(
        parts, client, "parts", clock=clocks["parts"], on_progress=partial(note, "parts")
    )
    expected = replay(
        windows, client, TOPIC, options=whole, clock=clocks[TOPIC], on_progress=partial(note, TOPIC)
    )

    assert found == expected
    assert found.n_records == 5
    assert sent["parts"] == sent[TOPIC]
    both = ([(each.metadata.key, each.value, each.metadata.headers) for each in broker.records(to)]
            for to in ("parts", TOPIC))  # fmt: skip
    assert next(both) == next(both)
