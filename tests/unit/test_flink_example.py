"""What the jobs of examples/flink share; tests/integration/test_flink.py runs them in Flink."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from halving_bundle import make_bundle

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.records import RecordMetadata
from stream_detector.errors import ConfigError
from stream_detector.settings import DetectSettings

PROGRAM = Path(__file__).parents[2] / "examples" / "flink" / "detection.py"
NAMES, VALUES = ["content-type", "trace"], [CONTENT_TYPES["float32"], None]
HEADERS = [*zip(NAMES, VALUES, strict=True)]


@pytest.fixture(scope="module")
def detection() -> ModuleType:
    spec = importlib.util.spec_from_file_location("detection", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judge(detection: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bundle = tmp_path_factory.mktemp("flink") / "bundle"
    make_bundle(bundle)
    return detection.Judge(bundle, DetectSettings(alerts_topic="a", dead_letter_topic="d"))


@pytest.fixture
def records() -> pd.DataFrame:
    """A strange window, a tombstone without time or key, and a normal window."""
    strange, normal = (np.full(140, size, "<f4").tobytes() for size in (3.5, 0.5))
    times = pd.Series(np.array([1_500, -1, 2_000], "datetime64[ms]")).dt.tz_localize("UTC")
    columns = {
        "partition": np.array([2, 0, 2], np.int32),
        "offset": np.array([7, 9, 8]),
        "timestamp": times,
        "header_names": [NAMES, [], NAMES],
        "header_values": [VALUES, [], VALUES],
        "key": [b"k", None, b"\xff"],
        "value": [strange, None, normal],
    }
    return pd.DataFrame(columns)


def test_columns_of_flink_are_records(judge: Any, records: pd.DataFrame) -> None:
    batch = judge.batch(records)
    assert [batch.metadata(row) for row in range(3)] == [
        RecordMetadata("telemetry", 2, 7, 1_500, b"k", HEADERS),
        RecordMetadata("telemetry", 0, 9, -1, None, ()),
        RecordMetadata("telemetry", 2, 8, 2_000, b"\xff", HEADERS),
    ]
    assert batch.values == records["value"].tolist()
    assert {each.partition: offset for each, offset in batch.next_offsets.items()} == {0: 10, 2: 9}


def test_what_is_found_is_a_row_each(judge: Any, records: pd.DataFrame) -> None:
    batch = judge.batch(records)
    state = judge.detector.initial_state()
    alert, letter = judge.outputs(batch, judge.step(state, batch))
    assert alert[:3] == (0, "a", b"k")
    assert orjson.loads(alert.value)["source"]["offset"] == 7
    assert alert.header_names[:2] == ["ce_specversion", "ce_id"]
    assert len(alert.header_names) == len(alert.header_values)
    assert alert.timestamp_ms is None
    assert letter[:4] == (1, "d", None, None)
    assert letter.header_names[-1] == "__connect.errors.exception.message"
    assert letter.header_values[:3] == [b"telemetry", b"0", b"9"]


def test_the_bundle_stays_where_it_is(judge: Any) -> None:
    """A worker opens the bundle itself: nothing of it is shipped."""
    assert judge.detector is judge.detector
    assert judge.__getstate__() == {"bundle": judge.bundle, "settings": judge.settings}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores_topic": "scores"}, "^scores_topic: expected none"),
        ({"security_protocol": "SSL"}, "received SSL: .* --kafka security.protocol=SSL"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(
    detection: ModuleType, settings: dict[str, Any], message: str
) -> None:
    detection.check_settings(DetectSettings())
    with pytest.raises(ConfigError, match=message):
        detection.check_settings(DetectSettings(**settings))
