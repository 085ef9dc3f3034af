"""Streams of samples as hypothesis draws them, and the detector steps through them."""

import operator
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from detectors import make_sample_detector
from drawing import one_of_each
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import (
    BundleReference,
    FloatArray,
    Headers,
    RecordBatch,
    SeriesColumns,
)
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.windowing.rules import WindowRules

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

START_MS = 1_767_225_600_000
OFFSET, SCALE = np.array([[0.1, 0.2]], np.float32), np.array([[2, 0.5]], np.float32)
INTERVAL_MS = 10
FLOAT32 = [("content-type", CONTENT_TYPES["float32"])]
UNKNOWN = [("content-type", b"text/plain")]
SEVERITIES = (("warning", 1.0), ("critical", 3.0))


class Sent(NamedTuple):
    """One record, and how many usable samples it holds."""

    partition: int
    key: bytes | None
    timestamp_ms: int
    value: bytes | None
    headers: Headers
    n_samples: int


class Stream(NamedTuple):
    """What was drawn of how a detector works."""

    n_steps: int
    stride: int
    lateness_ms: int
    ttl_ms: int
    alerting: tuple[int, ...]
    missing: Any
    no_data_ms: float | None = None
    keys_max: int = 100
    warm_up: int | None = None
    incident_ms: int | None = None

    def detector(self, model_rows_max: int) -> SampleDetector:
        detector = replace(self._detector(model_rows_max), keys_max=self.keys_max)
        if self.warm_up is None:
            return detector
        features = Features(("a", "b"), (), KeyScales([b"k1"], OFFSET, SCALE), self.warm_up)
        return replace(detector, features=features)

    def _detector(self, model_rows_max: int) -> SampleDetector:
        within, after, update, close, cooldown, longest, most, flood = self.alerting
        return make_sample_detector(
            WindowRules(
                n_steps=self.n_steps,
                n_features=2,
                stride=self.stride,
                sample_interval_ms=INTERVAL_MS,
                gap_ms_max=2.5 * INTERVAL_MS,
                allowed_lateness_ms=self.lateness_ms,
                missing=self.missing,
                missing_share_max=0.4,
                key_ttl_ms=self.ttl_ms,
                no_data_after_ms=self.no_data_ms,
            ),
            AlertRules(
                open_after=min(after, within),
                open_within=within,
                update_interval_ms=update,
                close_after_ms=close,
                cooldown_ms=cooldown,
                open_ms_max=max(longest, close),
                flood_alerts_max=most,
                flood_window_ms=flood,
                severities=SEVERITIES,
                incident_within_ms=self.incident_ms,
            ),
            model_rows_max,
            bundle=BundleReference("b", "v"),
            reconstruct=shrink,
            scaler=Scaler(
                "min-max", np.array([-1, 0.5], np.float32), np.array([0.7, 3], np.float32)
            ),
            threshold=0.8,
        )


STREAMS = st.builds(
    Stream,
    n_steps=st.integers(1, 4),
    stride=st.integers(1, 5),
    lateness_ms=st.sampled_from([0, 0, 10, 35]),
    ttl_ms=st.sampled_from([100, 300, 10_000]),
    alerting=one_of_each(
        [1, 1, 2, 3],
        [1, 2],
        [1, 20, 100],
        [1, 10, 50],
        [0, 0, 30],
        [10, 60, 500],
        [1, 1, 3],
        [1, 200, 1_000],
    ),
    missing=st.sampled_from(["hold", "interpolate", "reject"]),
    no_data_ms=st.sampled_from([None, None, 10, 25, 60]),
    keys_max=st.just(100),
    warm_up=st.sampled_from([None, None, 0, 1, 3, 7]),
    incident_ms=st.sampled_from([None, 1, 30, 300]),
)
SAMPLES = st.lists(
    one_of_each(
        [1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 5],
        [0.0, 0.1, 0.2, 0.3, 3.5, 9.0, -9.0, None],
        [0.0, 0.1, 0.2, 0.3, None],
    ),
    min_size=1,
    max_size=5,
)
NEAR = [(1, 0.1, 0.2), (1, 0.2, 0.1)]
"""Two samples that follow each other."""
KINDS = ("json", "json", "json", "json", "json", "float32", "float32")
BAD = ("junk", "no key", "tombstone", "huge", "seconds", "content type", "shape")
# Partition, key, how far behind, how long before (or how far the clock is set back), what, samples.
PLANS = st.lists(
    st.tuples(
        one_of_each(
            [0, 0, 1],
            [0, 0, 0, 1, 2],
            [0] * 12 + [2, 6, 2, 6, 100_000, -100_000, 9, -9],
            [0] * 18 + [50, 2_000, -50],
        ),
        st.sampled_from(KINDS * 5 + BAD),
        SAMPLES,
    ).map(lambda drawn: (*drawn[0], *drawn[1:])),
    min_size=10,
    max_size=50,
)
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=30)


def stream_of(plans: list[Any]) -> list[Sent]:
    at_ms: dict[tuple[int, int], int] = {}
    sent = []
    for partition, number, behind, pause, kind, samples in plans:
        time_ms = at_ms.get((partition, number), START_MS) + pause * INTERVAL_MS
        times = []
        for step, *_ in samples:
            time_ms += step * INTERVAL_MS
            times.append(time_ms - behind * INTERVAL_MS)
        at_ms[(partition, number)] = time_ms
        sent.append(record_of(partition, b"k%d" % number, kind, times, samples))
    return sent


def record_of(partition: int, key: bytes, kind: str, times: list[int], samples: list[Any]) -> Sent:
    values = [list(row) for _, *row in samples]
    bad = {
        "junk": b"?",
        "tombstone": None,
        "shape": orjson.dumps({"values": [[1, 2, 3]]}),
        "huge": orjson.dumps({"values": [[0, 0], [1e30, 0]]}),
        "seconds": orjson.dumps({"values": values, "timestamp_ms": START_MS // 1000}),
    }
    if kind in bad:
        return Sent(partition, key, times[0], bad[kind], (), 0)
    if kind == "float32":
        numbers = np.array(values, dtype="<f4")  # None becomes NaN
        return Sent(partition, key, times[0], numbers.tobytes(), FLOAT32, len(values))
    value = orjson.dumps({"values": values, "timestamps_ms": times})
    if kind == "no key":
        return Sent(partition, None, times[0], value, (), 0)
    if kind == "content type":
        return Sent(partition, key, times[0], value, UNKNOWN, 0)
    return Sent(partition, key, times[0], value, (), len(values))


def batch_of(sent: list[Sent], start: int = 0, offsets: list[int] | None = None) -> RecordBatch:
    series = SeriesColumns(
        keys=[each.key for each in sent],
        partitions=np.array([each.partition for each in sent], np.int64),
        timestamps_ms=np.array([each.timestamp_ms for each in sent], np.int64),
    )
    values, headers = [each.value for each in sent], [each.headers for each in sent]
    numbers = offsets or range(start, start + len(sent))
    return RecordBatch.from_columns("t", values, series, numbers, headers)


def shrink(windows: FloatArray) -> FloatArray:
    """Reconstruct each window from its own values only, as a small network does."""
    means = windows.mean(axis=1, keepdims=True)
    shrunk: FloatArray = np.tanh(windows * np.float32(0.5) + means * np.float32(0.1))
    return shrunk


def steps_of(
    sent: list[Sent], stream: Stream, sizes: list[int], model_rows_max: int
) -> list[tuple[int, Step]]:
    """Step batch by batch; return each step with its first record."""
    detector = stream.detector(model_rows_max)
    state: DetectorState = detector.initial_state()
    start, steps = 0, []
    for size in [*sizes, len(sent)]:
        step = detector.step(state, batch_of(sent[start : start + size], start))
        steps.append((start, step))
        state, start = step.state, start + size
        if start >= len(sent):
            break
    return steps


def _listed(times_ms: NDArray[np.int64] | None) -> list[int]:
    assert times_ms is not None
    return [int(each) for each in times_ms]


def published_by(steps: list[tuple[int, Step]]) -> tuple[Any, ...]:
    """Return all that steps say, their indices counted from the beginning of the stream."""
    facts = [
        (
            [start + int(index) for index in step.scores.indices],
            step.scores.scores.tobytes(),
            _listed(step.scores.start_ms),
            _listed(step.scores.end_ms),
            [(start + index, alert, key) for index, alert, key in step.alerts],
            [(start + each.index, each.stage, repr(each.error)) for each in step.rejected],
            step.counts.n_suppressed,
        )
        for start, step in steps
    ]
    return tuple(reduce(operator.add, column) for column in zip(*facts, strict=True))
