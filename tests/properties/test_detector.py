"""However a stream is cut into batches: the same scores bit for bit, and the same alerts."""

import operator
from functools import reduce
from typing import Any

import numpy as np
from detectors import make_window_detector
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import (
    BundleReference,
    FloatArray,
    Headers,
    RecordBatch,
    RecordMetadata,
    TopicPartition,
    series_columns,
)
from stream_detector.core.results import Step
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.state.detector_state import DetectorState, IncidentState

SHAPE = (3, 2)
FLOAT32 = [("content-type", CONTENT_TYPES["float32"])]
WINDOWS = (
    st.lists(
        st.floats(-10, 10, width=32) | st.sampled_from([np.nan, np.inf, 1e38]),
        min_size=6,
        max_size=6,
    )
    | st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6)
).map(lambda values: (np.array(values, np.float32).tobytes(), FLOAT32))
BAD = st.tuples(st.none() | st.binary(max_size=30), st.none())
RECORDS = st.lists(WINDOWS | BAD, max_size=24)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=24)


def shrink(windows: FloatArray) -> FloatArray:
    """Reconstruct each window from its own values only, as a small network does."""
    means = windows.mean(axis=1, keepdims=True)
    shrunk: FloatArray = np.tanh(windows * np.float32(0.5) + means * np.float32(0.1))
    return shrunk


def detector_of(model_rows_max: int, error_kind: Any = "mae") -> WindowDetector:
    scaler = Scaler("min-max", np.array([-1, 0.5], np.float32), np.array([0.7, 3], np.float32))
    severities = (("warning", 1.0), ("critical", 3.0))
    return make_window_detector(
        bundle=BundleReference("b", "v"),
        shape=SHAPE,
        sample_interval_ms=4,
        severities=severities,
        model_rows_max=model_rows_max,
        reconstruct=shrink,
        scaler=scaler,
        error_kind=error_kind,
        threshold=0.8,
    )


def batch_of(records: list[tuple[bytes | None, Headers | None]], start: int = 0) -> RecordBatch:
    def metadata(index: int) -> RecordMetadata:
        at = start + index
        return RecordMetadata("t", 0, at, 1_000 * at, b"k%d" % (at % 3), records[index][1] or ())

    next_offsets = {TopicPartition("t", 0): start + len(records)}
    return RecordBatch(
        [value for value, _ in records],
        [headers for _, headers in records],
        next_offsets,
        metadata,
        lambda: series_columns([metadata(index) for index in range(len(records))]),
        lambda: np.arange(start, start + len(records), dtype=np.int64),
    )


def facts(step: Step, start: int = 0) -> tuple[Any, ...]:
    """Return all that a step says, its indices counted from the beginning of the stream."""
    return (
        [start + int(index) for index in step.scores.indices],
        step.scores.scores.tobytes(),
        [(start + index, alert, key) for index, alert, key in step.alerts],
        [(start + each.index, each.stage, repr(each.error)) for each in step.rejected],
    )


@given(records=RECORDS, model_rows_max=st.integers(1, 9))
def test_scores_and_rejected_partition_the_batch(records: list[Any], model_rows_max: int) -> None:
    step = detector_of(model_rows_max).step(IncidentState(), batch_of(records))
    scored, rejected = step.scores.indices.tolist(), [each.index for each in step.rejected]
    assert scored == sorted(scored)
    assert rejected == sorted(rejected)
    assert sorted(scored + rejected) == list(range(len(records)))
    assert np.isfinite(step.scores.scores).all()
    anomalous = step.scores.indices[step.scores.is_anomalous].tolist()
    assert [index for index, *_ in step.alerts] == anomalous
    assert len({alert.alert_id for _, alert, _ in step.alerts}) == len(anomalous)


@given(
    records=RECORDS,
    cuts=CUTS,
    model_rows_max=st.integers(1, 9),
    error_kind=st.sampled_from(["mae", "mse"]),
)
def test_any_cut_into_batches_gives_the_same(
    records: list[Any], cuts: list[int], model_rows_max: int, error_kind: str
) -> None:
    whole = facts(detector_of(1_000, error_kind).step(IncidentState(), batch_of(records)))
    detector = detector_of(model_rows_max, error_kind)
    state: DetectorState = IncidentState()
    parts: list[tuple[Any, ...]] = []
    start = 0
    for n_records in [*cuts, len(records)]:
        step = detector.step(state, batch_of(records[start : start + n_records], start))
        parts.append(facts(step, start))
        state, start = step.state, start + n_records
    joined = tuple(reduce(operator.add, column) for column in zip(*parts, strict=True))
    assert joined == whole


@given(records=RECORDS)
def test_a_step_can_be_repeated(records: list[Any]) -> None:
    detector, batch = detector_of(4), batch_of(records)
    first, second = (facts(detector.step(IncidentState(), batch)) for _ in range(2))
    assert first == second


@given(records=st.lists(WINDOWS, max_size=12), model_rows_max=st.integers(1, 9))
def test_offline_scores_are_live_scores(records: list[Any], model_rows_max: int) -> None:
    live = detector_of(1_000).step(IncidentState(), batch_of(records)).scores
    values = [records[index][0] for index in live.indices]
    windows = np.frombuffer(b"".join(values), dtype=np.float32).reshape(-1, *SHAPE)
    offline = detector_of(model_rows_max).score(windows)
    assert offline.tobytes() == live.scores.tobytes()
