"""Records as other programs write them: the same scores as of the same values in float32."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from input_forms import (
    FORMS,
    INTERVAL_MS,
    KEYS,
    N_SAMPLES,
    N_STEPS,
    OF_PRESETS,
    PARTITIONS,
    START_MS,
    Form,
    float32_records,
    records_of,
    write_bundle,
)
from input_runs import Found, run

from stream_detector.assembly import open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import Detector
from stream_detector.core.records import (
    OutputRecord,
    RecordBatch,
    RecordMetadata,
    series_columns,
)
from stream_detector.recipes.presets import PRESETS


def found_in(records: list[OutputRecord], detector: Detector) -> Found:
    broker = MemoryBroker()
    broker.create_topic("t", PARTITIONS)
    producer = broker.connect()
    producer.produce(records)
    producer.flush(1_000)
    return run(broker.connect(topics=["t"]), detector, len(records))


def value_batch(values: list[bytes | None]) -> RecordBatch:
    """Return a batch of records without headers."""
    metadata = [RecordMetadata("t", 0, at, START_MS, b"own", ()) for at in range(len(values))]
    return RecordBatch.from_columns("t", values, series_columns(metadata), range(len(values)))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Found]:
    folder = tmp_path_factory.mktemp("plain")
    detectors = {n: open_bundle(write_bundle(folder / str(n), {}, n)).detector for n in (1, 2)}
    return {n: found_in(float32_records(n, "t"), each) for n, each in detectors.items()}


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_each_form_has_the_scores_of_float32(
    form: Form, tmp_path: Path, expected: dict[int, Found]
) -> None:
    detector = open_bundle(write_bundle(tmp_path / "b", form.table, form.n_features)).detector
    found, plain = found_in(records_of(form, "t"), detector), expected[form.n_features]
    assert found.rejected == []
    assert found.scores == plain.scores
    assert found.alerts == plain.alerts
    assert found.partitions == plain.partitions


def test_what_the_forms_are_compared_with_is_worth_it(expected: dict[int, Found]) -> None:
    for found in expected.values():
        n_windows = (N_SAMPLES - N_STEPS) // 2 + 1 - 1  # the newest sample waits
        assert len(found.scores) == len(KEYS) * n_windows
        assert {key for key, _ in found.scores} == set(KEYS)
        assert {start_ms for _, start_ms in found.scores} == {
            START_MS + 2 * number * INTERVAL_MS for number in range(n_windows)
        }
        assert {key for key, *_ in found.alerts} == {key.encode() for key in KEYS}
        assert found.partitions == {"pump-1": {0}, "pump-2": {1}}


def test_each_preset_has_a_form() -> None:
    assert {form.name for form in OF_PRESETS} == set(PRESETS)
    assert all(form.table["preset"] == form.name for form in OF_PRESETS)


def test_a_run_may_change_where_things_are(tmp_path: Path, expected: dict[int, Found]) -> None:
    path = write_bundle(tmp_path / "b", {"preset": "flat", "key": "device"})
    records = [
        each._replace(value=(each.value or b"").replace(b'"device"', b'"machine"'))
        for each in records_of(OF_PRESETS[0], "t")
    ]
    changes: dict[str, Any] = {"key": "machine"}
    served = open_bundle(path, changes={"input": changes})
    assert found_in(records, served.detector).scores == expected[2].scores
    plain = open_bundle(path)
    assert not found_in(records, plain.detector).scores
    assert served.detector.bundle.version != plain.detector.bundle.version
    unchanged = open_bundle(path, changes={"input": {"key": "device"}})
    assert unchanged.detector.bundle == plain.detector.bundle


TAGS = {"feature_name": "tag", "feature_value": "value"}


@pytest.mark.parametrize(("others", "n_skipped"), [("skip", 2), ("reject", 0), (None, 0)])
@pytest.mark.parametrize("is_alone", [True, False])
def test_records_of_other_features_are_counted_and_are_no_dead_letters(
    others: str | None, n_skipped: int, is_alone: bool, tmp_path: Path
) -> None:
    table = TAGS | ({} if others is None else {"other_features": others})
    detector = open_bundle(write_bundle(tmp_path / "b", table)).detector
    values = [
        {"tag": "state", "value": "on"},  # what is skipped may be no number
        {"tag": "speed", "value": 1.5},
        {"value": 1.5},  # says of no feature, and so of no other one
        *([] if is_alone else [{"tag": "temperature", "value": 1.5}]),
    ]
    batch = value_batch([orjson.dumps(each) for each in values])
    step = detector.step(detector.initial_state(), batch)
    assert [each.index for each in step.skipped] == [0, 1][:n_skipped]
    assert [each.index for each in step.rejected] == [0, 1, 2][n_skipped:]
    assert step.counts.records.get("skipped", 0) == n_skipped
    assert step.counts.records["dead_letter"] == 3 - n_skipped
    assert sum(step.counts.records.values()) == len(batch)


def test_readings_of_other_features_beside_one_that_is_known_change_nothing(
    tmp_path: Path,
) -> None:
    table = TAGS | {"readings": "rows", "other_features": "skip"}
    detector = open_bundle(write_bundle(tmp_path / "b", table)).detector
    rows = [{"tag": "speed", "value": 2}, {"tag": "pressure", "value": 1.5}]
    step = detector.step(detector.initial_state(), value_batch([orjson.dumps({"rows": rows})]))
    assert (step.skipped, step.rejected) == ([], [])


@pytest.mark.parametrize("record", ["samples", "window"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_deletions_are_counted_and_are_no_dead_letters(
    record: str, is_alone: bool, tmp_path: Path
) -> None:
    table = {"preset": "debezium", "key": "payload.after.device"}
    path = write_bundle(tmp_path / "b", table, record=record)
    detector = open_bundle(path).detector
    deletion = b'{"payload": {"before": {}, "after": null, "op": "d", "ts_ms": 5}}'
    column = [1.0] * (N_STEPS if record == "window" else 1)
    row = {"device": "a", "temperature": column, "pressure": column}
    usable = [] if is_alone else [orjson.dumps({"payload": {"after": row, "ts_ms": START_MS}})]
    batch = value_batch([deletion, None, b"no JSON", *usable])
    step = detector.step(detector.initial_state(), batch)
    assert [each.index for each in step.rejected] == [2]
    assert [each.index for each in step.skipped] == [0, 1]
    assert (step.counts.records["deletion"], step.counts.records["dead_letter"]) == (2, 1)
    assert sum(step.counts.records.values()) == len(batch)
    assert len(step.scores) == (len(usable) if record == "window" else 0)
