"""Live samples are brought to the units of their keys, bit for bit as files are."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector
from present import present

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features, to_float32
from stream_detector.core.key_scales import DEVIATIONS_MAX, KeyScales
from stream_detector.core.records import RecordBatch, RecordMetadata, Samples, series_columns
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import SCALED_MAX
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.windowing import cut_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_detector.core.state.detector_state import DetectorState

NOW_MS = 1_767_225_600_000
RULES = WindowRules(4, 2, 2, 10, 40, 0, "hold", 0.5, 1_000)
ALERTING = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
OFFSET = np.array([[40, 0], [0.04, 0]], np.float32)
SCALE = np.array([[0.5, 1], [500, 1]], np.float32)
SCALES = KeyScales([b"big", b"small"], OFFSET, SCALE)
FEATURES = Features(("bar", "c"), (1_000.0, 0.0), SCALES)


LEARNING = replace(FEATURES, warm_up_samples=20)


def detector_of(features: Features = FEATURES, **changes: Any) -> SampleDetector:
    """Return a detector with the error of a window's mean absolute value; anomalous above 1."""
    return make_sample_detector(RULES, ALERTING, features=features, **changes)


Record = tuple[bytes, float, list[Any]]
"""Key, time since `NOW_MS`, and one sample without the origin."""


def batch_of(records: list[Record], start: int = 0) -> RecordBatch:
    metadata = [
        RecordMetadata("telemetry", 0, start + row, NOW_MS + round(time_ms), key, ())
        for row, (key, time_ms, _) in enumerate(records)
    ]
    values = [
        orjson.dumps({"values": [[None if bar is None else bar + 1_000, c]]})
        for _, _, (bar, c) in records
    ]
    return RecordBatch.from_columns(
        "telemetry", values, series_columns(metadata), [each.offset for each in metadata]
    )


def steps_of(
    detector: SampleDetector, records: list[Record], size: int
) -> Iterator[tuple[RecordBatch, Step]]:
    state: DetectorState = detector.initial_state()
    for start in range(0, len(records), size):
        batch = batch_of(records[start : start + size], start)
        step = detector.step(state, batch)
        state = step.state
        yield batch, step


def fleet(n_samples: int = 24) -> list[Record]:
    """Return samples of three keys in turn, one of them not known to training."""
    rng = np.random.default_rng(0)
    levels = {b"big": (40.0, 2.0), b"small": (0.04, 0.002), b"new": (20.0, 1.0)}
    return [
        (key, 10.0 * number, [level + size * rng.normal(), rng.normal()])
        for number in range(n_samples)
        for key, (level, size) in levels.items()
    ]


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("model_rows_max", [1, 3, 2_048])
@pytest.mark.parametrize(("features", "n_scored"), [(FEATURES, 3 * 19), (LEARNING, 2 * 19 + 10)])
def test_live_scores_are_those_of_a_file_bit_for_bit(
    size: int, model_rows_max: int, features: Features, n_scored: int
) -> None:
    records = fleet(40)
    detector = replace(detector_of(features), model_rows_max=model_rows_max)
    found: dict[tuple[bytes, int], float] = {}
    for batch, step in steps_of(detector, records, size):
        keys = [batch.metadata(index).key or b"" for index in step.scores.indices.tolist()]
        ends = present(step.scores.end_ms).tolist()
        found |= dict(zip(zip(keys, ends, strict=True), step.scores.scores.tolist(), strict=True))
    names = ("big", "small", "new")
    exact = np.array([values for *_, values in records]) + np.array([1_000.0, 0.0])
    samples = Samples(
        names,
        np.array([names.index(key.decode()) for key, *_ in records]),
        np.array([NOW_MS + time_ms for _, time_ms, _ in records]),
        to_float32(exact, FEATURES.origin),
    )
    found_in_file = cut_samples(samples, RULES, features)
    assert found_in_file.n_warm_up == 3 * 19 - n_scored
    cut = found_in_file.in_key_units(present(found_in_file.features))
    scores = detector.score(cut.windows).tolist()
    places = zip((key.encode() for key in cut.keys), cut.end_ms.tolist(), strict=True)
    assert found == dict(zip(places, scores, strict=True))
    assert len(found) == n_scored


def test_a_key_that_training_did_not_know_has_the_fleet_s_scale_and_is_told() -> None:
    records = fleet(4)
    told = [step.unknown_keys for _, step in steps_of(detector_of(), records, 1)]
    assert [keys for keys in told if keys] == [[b"new"]]
    (_, step), *_ = steps_of(detector_of(), records, 1_000)
    assert step.unknown_keys == [b"new"]
    new = np.array([values for key, _, values in records if key == b"new"])
    scaled = (new - SCALES.offset[2]) * SCALES.scale[2]
    assert step.scores.scores[2] == pytest.approx(np.abs(scaled).mean(), rel=1e-4)
    (_, without), *_ = steps_of(detector_of(Features(("bar", "c"))), records, 1_000)
    assert without.unknown_keys == []


def test_a_fault_of_a_sensor_1000_times_smaller_is_found_and_said_in_its_unit() -> None:
    """Eight deviations of a small sensor are nothing beside the deviation of a big one."""
    records: list[Record] = []
    for number in range(8):
        fault = 0.002 * 8 if number >= 4 else 0.0
        records.append((b"big", 10.0 * number, [40.0 + 2 * (-1) ** number / 4, 0.0]))
        records.append((b"small", 10.0 * number, [0.04 + fault, 0.0]))
    (batch, step), *_ = steps_of(detector_of(), records, 1_000)
    assert {batch.metadata(each.record).key for each in step.alerts} == {b"small"}
    (alert, *_) = [each.alert for each in step.alerts]
    (first, _) = present(alert.explanation).features
    assert first.name == "bar"
    assert present(first.observed[-1]) == pytest.approx(1_000.056, abs=1e-6)
    assert first.expected == pytest.approx([1_000.04] * len(first.expected), abs=1e-6)
    one_scale = Scaler("none", np.array([20, 0], np.float32), np.array([0.05, 1], np.float32))
    (_, without), *_ = steps_of(
        detector_of(Features(("bar", "c"), (1_000.0, 0.0)), scaler=one_scale), records, 1_000
    )
    assert without.alerts == []


def test_an_alert_says_that_training_did_not_know_its_key() -> None:
    records: list[Record] = [
        (key, 10.0 * number, [level, 0.0])
        for number in range(4)
        for key, level in ((b"new", 90.0), (b"big", 90.0))
    ]
    (_, step), *_ = steps_of(detector_of(), records, 1_000)
    said = {each.key: present(each.alert.explanation).sentence for each in step.alerts}
    end = "; training did not know this key, which has the scale of all keys"
    assert said[b"new"] == said[b"big"].replace("1040 was", "1020 was") + end


@pytest.mark.parametrize("size", [1, 1_000])
def test_whether_a_value_can_be_scored_is_decided_by_the_scale_of_its_key(size: int) -> None:
    edge = float(np.float32(SCALED_MAX))
    values: NDArray[Any] = np.array([1.9, 0.0019, 2.1, 0.0021]) * edge
    keys = [b"big", b"small", b"big", b"small"]
    records: list[Record] = [
        (key, 10.0 * row, [float(value), 0.0])
        for row, (key, value) in enumerate(zip(keys, values, strict=True))
    ]
    records.append((b"new", 50.0, [None, 0.0]))
    rejected = [
        batch.metadata(each.index).offset
        for batch, step in steps_of(detector_of(), records, size)
        for each in step.rejected
    ]
    assert rejected == [2, 3]


def small(n_samples: int, fault_at: int) -> list[Record]:
    """Return samples of a new sensor a thousand times smaller, and of a known big one."""
    rng = np.random.default_rng(1)
    records: list[Record] = []
    for number in range(n_samples):
        fault = 0.002 * 8 if number >= fault_at else 0.0
        records.append((b"big", 10.0 * number, [40.0 + rng.uniform(-1, 1), 0.0]))
        records.append((b"new", 10.0 * number, [0.04 + 0.002 * rng.normal() + fault, 0.0]))
    return records


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_a_fault_of_a_new_sensor_1000_times_smaller_is_found(size: int) -> None:
    wide = np.array([[40, 0], [90, 0]], np.float32), np.array([[0.5, 1], [0.2, 1]], np.float32)
    known = Features(("bar", "c"), (1_000.0, 0.0), KeyScales([b"big", b"huge"], *wide), 20)
    records = small(60, 40)
    steps = [step for _, step in steps_of(detector_of(known), records, size)]
    alerts = [each.alert for step in steps for each in step.alerts]
    assert {(each.key, each.event) for each in alerts} == {("new", "open")}
    opened = alerts[0]
    assert 380 <= opened.event_time_ms - NOW_MS <= 450
    (first, _) = present(opened.explanation).features
    assert (first.name, "training did not know" in opened.sentence) == ("bar", False)
    assert present(first.observed[-1]) == pytest.approx(1_000.056, abs=0.01)
    assert first.expected == pytest.approx([1_000.04] * len(first.expected), abs=0.002)
    assert [key for step in steps for key in step.new_keys] == [b"new"]
    assert [key for step in steps for key in step.fitted_keys] == [b"new"]
    assert [key for step in steps for key in step.unknown_keys] == []
    without = replace(known, warm_up_samples=0)
    steps = [step for _, step in steps_of(detector_of(without), records, size)]
    alerts = [each.alert for step in steps for each in step.alerts]
    assert alerts[0].opened_ms - NOW_MS < 100, "in the fleet's scale it is never normal"


def test_windows_of_a_warm_up_are_counted_as_such() -> None:
    def counted(n_samples: int) -> list[dict[str, int]]:
        steps = [step for _, step in steps_of(detector_of(LEARNING), small(n_samples, 99), 7)]
        names = ("normal", "missing", "warm_up")
        windows = {name: sum(step.counts.windows.get(name, 0) for step in steps) for name in names}
        outcomes = ("normal", "buffered", "warm_up", "unscored")
        records = {
            name: sum(step.counts.records.get(name, 0) for step in steps) for name in outcomes
        }
        return [windows, records]

    # Windows of four samples begin at every second one; the tenth ends at sample 22.
    assert counted(20)[0] == {"normal": 9, "missing": 0, "warm_up": 9}
    assert counted(22)[0] == {"normal": 11, "missing": 0, "warm_up": 9}
    assert counted(22)[1] == {"normal": 11, "buffered": 18, "warm_up": 15, "unscored": 0}
    with_whole = {"normal", "anomalous", "missing"}
    (_, step), *_ = steps_of(detector_of(Features(("bar", "c"))), small(4, 99), 100)
    assert set(step.counts.windows) == with_whole


def test_what_is_absurd_beside_a_new_scale_is_limited() -> None:
    records = small(30, 99)
    records += [(b"new", 300.0, [1e11, 0.0]), (b"new", 310.0, [0.04, 0.0])]
    records += [(b"new", 320.0, [0.04, 0.0]), (b"new", 330.0, [0.04, 0.0])]
    steps = [step for _, step in steps_of(detector_of(LEARNING), records, 3)]
    assert not any(step.rejected for step in steps)
    scores = np.concatenate([step.scores.scores for step in steps])
    assert scores.max() == pytest.approx(DEVIATIONS_MAX / 8, rel=1e-3)


def test_a_full_table_gives_further_keys_the_scale_of_the_fleet() -> None:
    n_features = 200  # of which one new key has a place
    rules = replace(RULES, n_features=n_features)
    ones = np.ones((1, n_features), np.float32)
    names = Features.generated(n_features).names
    features = Features(names, (), KeyScales([b"big"], ones, ones), 20)
    detector = make_sample_detector(rules, ALERTING, features=features)
    metadata = [
        RecordMetadata("telemetry", 0, row, NOW_MS + 10 * (row // 2), key, ())
        for row, key in enumerate([b"first", b"second"] * 24)
    ]
    values = [orjson.dumps({"values": [[float(row % 7)] * n_features]}) for row in range(48)]
    batch = RecordBatch.from_columns("telemetry", values, series_columns(metadata), range(48))
    step = detector.step(detector.initial_state(), batch)
    assert (step.new_keys, step.fitted_keys, step.unknown_keys) == (
        [b"first"], [b"first"], [b"second"]
    )  # fmt: skip
