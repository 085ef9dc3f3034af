"""Whole windows and images by a mapping: the same scores and alerts, and its keys."""

from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_scorer

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.mapped_windows import decode_mapped_windows
from stream_detector.core.detector import WindowDetector
from stream_detector.core.features import Features
from stream_detector.core.records import (
    BundleReference,
    Headers,
    RecordBatch,
    RecordMetadata,
    series_columns,
)
from stream_detector.core.results import Step
from stream_detector.recipes.input import InputSection

START_MS = 1_767_225_600_000
N_STEPS, N_WINDOWS = 3, 5
NAMES = ("temperature", "pressure")
VALUES = np.random.default_rng(1).normal(size=(N_WINDOWS, N_STEPS, 2)).astype(np.float32)
BUNDLE = BundleReference("b", "v")


def batch_of(
    values: list[bytes], headers: list[Headers] | None = None, keys: list[bytes] | None = None
) -> RecordBatch:
    metadata = [
        RecordMetadata(
            "t", 0, at, START_MS + at, keys[at] if keys else None, headers[at] if headers else ()
        )
        for at in range(len(values))
    ]
    return RecordBatch.from_columns(
        "t", values, series_columns(metadata), range(len(values)), headers
    )


def step(table: dict[str, Any], batch: RecordBatch, rows_max: int = 2) -> Step:
    detector = WindowDetector(
        BUNDLE,
        make_scorer(2, BUNDLE, threshold=0.4),
        (N_STEPS, 2),
        1_000,
        (("warning", 1.0),),
        Features(NAMES),
        rows_max,  # several slices a batch
        mapping=InputSection.model_validate(table).mapping(NAMES),
    )
    return detector.step(detector.initial_state(), batch)


def documents(kind: str) -> list[bytes]:
    found = []
    for at, window in enumerate(VALUES.astype(float).tolist()):
        facts: dict[str, Any] = {"device": f"d{at}", "ts": START_MS + at}
        columns = {name: [row[n] for row in window] for n, name in enumerate(NAMES)}
        rows = [dict(zip(NAMES, row, strict=True)) for row in window]
        texts = [[repr(value) for value in row] for row in window]
        inner = {
            "array": {"data": window},
            "columns": columns,
            "readings": {"rows": rows},
            "text": {"data": texts},
        }[kind]
        found.append(orjson.dumps(facts | inner))
    return found


WHERE = {"key": "device", "time": "ts"}
KINDS: dict[str, dict[str, Any]] = {
    "array": {**WHERE, "values": "data"},
    "columns": {**WHERE, "values": ""},
    "readings": {**WHERE, "readings": "rows", "values": ""},
    "text": {**WHERE, "values": "data", "numbers": "text"},
}


def facts_of(found: Step) -> Any:
    alerts = [
        (each.record, each.key, each.alert.key, each.alert.window_start_ms, each.alert.score)
        for each in found.alerts
    ]
    return found.scores.indices.tolist(), found.scores.scores.tobytes(), alerts


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_each_form_have_the_scores_of_float32(kind: str) -> None:
    header = [("content-type", CONTENT_TYPES["float32"])]
    plain = batch_of(
        [window.tobytes() for window in VALUES],
        [header] * N_WINDOWS,
        [f"d{at}".encode() for at in range(N_WINDOWS)],
    )
    expected = step({}, plain)
    found = step(KINDS[kind], batch_of(documents(kind)))
    assert found.rejected == []
    assert facts_of(found) == facts_of(expected)
    assert len(found.alerts) > 1


def test_a_window_of_another_length_is_named_and_its_neighbours_are_used() -> None:
    values = documents("columns")
    values[1] = orjson.dumps({"device": "d", "ts": 5, "temperature": [1], "pressure": [2]})
    values[3] = orjson.dumps({"device": "d", "ts": 5, **{name: [1, 2, 3] for name in NAMES}})
    found = step(KINDS["columns"], batch_of(values))
    assert found.scores.indices.tolist() == [0, 2, 4]
    assert [(each.index, str(each.error)) for each in found.rejected] == [
        (1, "expected 3 steps of 2 features, received 1 steps"),
        (
            3,
            "time: expected milliseconds since 1970 up to the year 9999, received 5.0, which "
            "looks like milliseconds since boot; add the time at which the device started",
        ),
    ]


def test_images_may_have_their_key_in_a_header() -> None:
    mapping = InputSection(key="header:camera", time="header:at", time_unit="s").mapping(("x",))
    assert mapping is not None
    headers: list[Headers] = [[("camera", b"c1"), ("at", b"1767225600.5")], [("other", b"")]]
    batch = batch_of([bytes([3, 4]), bytes([5, 6])], headers, [b"k", b"k"])
    keyed, found = decode_mapped_windows(
        batch, None, mapping, shape=ImageShape(1, 2, 1), features=Features(("x", "y"))
    )
    assert keyed.keys() == [b"c1", b"k"]
    assert found.windows.tolist() == [[[3, 4]], [[5, 6]]]
    assert found.timestamps_ms == {0: START_MS + 500}
