"""However samples are put into records: sent, read and cut, they give the same windows."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.samples import decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import Samples, series_columns
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows
from stream_detector.datasets.windowing import cut_samples
from stream_detector.ports import SystemClock
from stream_detector.replay import SampleReplayOptions, replay_samples

BASE_MS = 1_767_225_600_000.0
INTERVALS_MS = [1_000 / 360, 10 / 3, 1_000 / 60, 1_000 / 173.61, 7.8125, 1.0, 2.5]
CHUNKS = [1, 2, 3, 7, 36, 10_000]
FORMATS: list[ContentType] = ["json", "float32"]

Found = list[tuple[bytes, int, int, bytes]]
"""Of each window: key, start, end, values; every value is the number of its sample."""


class SignalsClock(SystemClock):
    """The time is that of the signals: their records are not old."""

    def now_ms(self) -> int:
        return int(BASE_MS)


class Signal(NamedTuple):
    """A series: where it starts, which samples are lost, how far some are from the interval."""

    interval_ms: float
    start_ms: float
    n_samples: int
    lost: tuple[int, ...] = ()
    jitter: float = 0.0

    def samples(self) -> Samples:
        kept = np.setdiff1d(np.arange(self.n_samples), self.lost)
        off_ms = self.jitter * self.interval_ms * np.sin(kept.astype(float))
        return Samples(
            keys=("pump",),
            series=np.zeros(len(kept), np.intp),
            times_ms=self.start_ms + kept * self.interval_ms + off_ms,
            values=kept.astype(np.float32)[:, None],
        )


def rules_of(interval_ms: float, n_steps: int, stride: int) -> WindowRules:
    return WindowRules(
        n_steps=n_steps,
        n_features=1,
        stride=stride,
        sample_interval_ms=interval_ms,
        gap_ms_max=max(n_steps, 1.5) * interval_ms,
        allowed_lateness_ms=0,
        missing="hold",
        missing_share_max=1.0,
        key_ttl_ms=3_600_000,
    )


def streamed(samples: Samples, rules: WindowRules, n: int, format_: ContentType) -> Found:
    """Return the windows of samples that were sent, `n` to a record, and read again."""
    broker = MemoryBroker()
    broker.create_topic("telemetry", 1)
    options = SampleReplayOptions(
        sample_interval_ms=rules.sample_interval_ms, chunk_samples=n, content_type=format_
    )
    replay_samples(samples, broker.connect(), "telemetry", options=options, clock=SignalsClock())
    records = broker.records("telemetry")
    decoded = decode_samples(
        [record.value for record in records],
        [record.metadata.headers for record in records],
        series_columns([record.metadata for record in records]),
        "json",
        features=Features.generated(1),
        interval_ms=rules.sample_interval_ms,
    )
    assert list(decoded.rejected) == []
    found = assign_windows(
        WindowState.empty(rules),
        rules,
        Arrivals(
            keys=[record.metadata.key or b"" for record in records],
            partitions=np.zeros(len(records), np.int64),
            counts=decoded.counts,
            times_ms=decoded.times_ms,
            values=decoded.values,
        ),
    )
    keys = found.state.keys_of(found.slots)
    windows = [window.tobytes() for window in impute_windows(found.gather(slice(None)), rules)[0]]
    return list(zip(keys, found.start_ms.tolist(), found.end_ms.tolist(), windows, strict=True))


def sliced(samples: Samples, rules: WindowRules) -> Found:
    """Return the windows of samples in a file."""
    found = cut_samples(samples, rules)
    keys = [key.encode() for key in found.keys]
    windows = [window.tobytes() for window in found.windows]
    return list(zip(keys, found.start_ms.tolist(), found.end_ms.tolist(), windows, strict=True))


@st.composite
def signals(draw: st.DrawFn) -> tuple[Signal, WindowRules]:
    interval_ms = draw(st.sampled_from(INTERVALS_MS))
    stride = draw(st.integers(1, 8))
    length = stride * interval_ms
    starts = st.one_of(
        st.integers(0, 1_000),
        st.floats(0, 1_000),
        # Each sample half an interval before a stride begins, which is where it is decided.
        st.integers(0, 20).map(lambda n: -(BASE_MS % length) + n * interval_ms / 2),
    )
    n_samples = draw(st.integers(1, 80))
    lost = draw(st.sets(st.integers(0, n_samples - 1), max_size=n_samples - 1))
    jitter = draw(st.sampled_from([0.0, 0.0, 0.001, 0.3]))
    start_ms = BASE_MS + draw(starts)
    signal = Signal(interval_ms, start_ms, n_samples, tuple(sorted(lost)), jitter)
    return signal, rules_of(interval_ms, draw(st.integers(1, 8)), stride)


@given(signals(), st.sampled_from(CHUNKS), st.sampled_from(FORMATS))
@example((Signal(10 / 3, BASE_MS + 5, 80), rules_of(10 / 3, 4, 4)), 7, "float32")
def test_any_chunking_gives_the_windows_of_offline_slicing(
    drawn: tuple[Signal, WindowRules], chunk_samples: int, format_: ContentType
) -> None:
    signal, rules = drawn
    samples = signal.samples()
    assert streamed(samples, rules, chunk_samples, format_) == sliced(samples, rules)


@pytest.mark.parametrize("start_ms", range(19))
def test_an_ecg_gives_the_same_windows_from_any_start_in_any_records(start_ms: int) -> None:
    interval_ms = 1_000 / 360
    samples = Signal(interval_ms, BASE_MS + start_ms, 2_000).samples()
    rules = rules_of(interval_ms, 256, 32)
    one = sliced(samples, rules)
    assert len(one) > 50
    for chunk_samples, format_ in ((1, "json"), (7, "float32"), (36, "json"), (100, "float32")):
        assert streamed(samples, rules, chunk_samples, format_) == one
