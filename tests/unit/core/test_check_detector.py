"""A detector with checks gives the same scores however a stream is cut into batches."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from check_scorers import N_STEPS, make_scorer
from present import present

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import (
    BundleReference,
    FloatArray,
    RecordBatch,
    RecordMetadata,
    Samples,
    series_columns,
)
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.windowing import cut_samples

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

NOW_MS, INTERVAL_MS, N_SAMPLES = 1_767_225_600_000, 1_000, 160
RULES = WindowRules(N_STEPS, 3, 5, INTERVAL_MS, 60_000, 0, "interpolate", 0.25, 3_600_000)
ALERTING = AlertRules(1, 1, 60_000, 10_000, 0, 600_000, 10, 600_000, (("warning", 1.0),))
DETECTOR = SampleDetector(
    BundleReference("test", "v1"),
    make_scorer(),
    RULES,
    ALERTING,
    Features(("first", "second", "third")),
)
KEYS = (b"calm", b"stuck")


def signal(key: bytes) -> FloatArray:
    """Return the samples of a key, shape (N_SAMPLES, 3): the third feature of one gets stuck."""
    steps, rng = np.arange(N_SAMPLES), np.random.default_rng(len(key))
    angle = 2 * np.pi * steps / 20
    values = np.stack([np.sin(angle), np.cos(angle), np.full(N_SAMPLES, 5.0)], axis=1)
    values += 0.1 * rng.standard_normal(values.shape)
    if key == b"stuck":
        values[80:, 2] = values[80, 2]
    return values.astype(np.float32)


SIGNALS = {key: signal(key) for key in KEYS}


def batch_of(start: int, stop: int) -> RecordBatch:
    """Return some records of one sample, the keys in turn."""
    keys = [KEYS[row % len(KEYS)] for row in range(start, stop)]
    times_ms = [NOW_MS + row // len(KEYS) * INTERVAL_MS for row in range(start, stop)]
    metadata = [
        RecordMetadata("telemetry", 0, start + at, time_ms, key, ())
        for at, (key, time_ms) in enumerate(zip(keys, times_ms, strict=True))
    ]
    values = [
        orjson.dumps({"values": [SIGNALS[key][row // len(KEYS)].tolist()]})
        for key, row in zip(keys, range(start, stop), strict=True)
    ]
    return RecordBatch.from_columns(
        "telemetry", values, series_columns(metadata), [each.offset for each in metadata]
    )


def steps_of(size: int) -> Iterator[tuple[RecordBatch, Step]]:
    """Yield what the detector finds in batches of so many records."""
    state: DetectorState = DETECTOR.initial_state()
    n_records = N_SAMPLES * len(KEYS)
    for start in range(0, n_records, size):
        batch = batch_of(start, min(start + size, n_records))
        step = DETECTOR.step(state, batch)
        state = step.state
        yield batch, step


def scores_of(size: int) -> dict[tuple[bytes, int], float]:
    """Return the score of each window by key and end."""
    found: dict[tuple[bytes, int], float] = {}
    for batch, step in steps_of(size):
        keys = [batch.metadata(index).key or b"" for index in step.scores.indices.tolist()]
        ends = present(step.scores.end_ms).tolist()
        found |= dict(zip(zip(keys, ends, strict=True), step.scores.scores.tolist(), strict=True))
    return found


def alerts_of(size: int) -> list[Alert]:
    """Return the events of all alerts."""
    return [each.alert for _, step in steps_of(size) for each in step.alerts]


@pytest.mark.parametrize("size", [1, 7, 64, 321])
def test_live_scores_are_those_of_a_file_bit_for_bit(size: int) -> None:
    samples = Samples(
        ("calm", "stuck"),
        np.repeat(np.arange(2), N_SAMPLES),
        np.tile(NOW_MS + INTERVAL_MS * np.arange(N_SAMPLES, dtype=np.float64), 2),
        np.concatenate([SIGNALS[key] for key in KEYS]),
    )
    cut = cut_samples(samples, RULES)
    places = zip((key.encode() for key in cut.keys), cut.end_ms.tolist(), strict=True)
    expected = dict(zip(places, DETECTOR.score(cut.windows).tolist(), strict=True))
    assert scores_of(size) == expected
    assert len(expected) == 2 * 25


@pytest.mark.parametrize("size", [1, 7, 64])
def test_alerts_do_not_depend_on_batches_either(size: int) -> None:
    assert alerts_of(size) == alerts_of(321)


def test_a_stuck_sensor_is_named_with_its_check() -> None:
    opened = [each for each in alerts_of(321) if each.event == "open"]
    assert {each.key for each in opened} == {"stuck"}
    first = opened[0]
    assert (first.check, first.score_kind, first.threshold) == ("flat", "checks", 1.0)
    explanation = present(first.explanation)
    assert explanation.features[0].name == "third"
    assert explanation.sentence.startswith("third ")
    assert 0 < present(first.p_value) < 0.01
