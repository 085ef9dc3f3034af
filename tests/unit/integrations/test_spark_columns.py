"""Rows of Spark as samples and windows, without Spark: what is refused, and by which words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from halving_bundle import make_bundle
from pulses import pulses, serve_pulses
from rhythms import make_rhythm

from stream_detector.assembly import Served, open_bundle
from stream_detector.core.features import Features
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets.windowing import cut_samples
from stream_detector.errors import DatasetError

pytest.importorskip("pyspark", reason="Spark is not installed: pip install -r tests/spark.lock")

from stream_detector.integrations.spark.columns import gathered, samples_of
from stream_detector.integrations.spark.windows import (
    PEAKS,
    WindowLayout,
    cut_batch,
    cut_schema,
    score_batch,
)

START_MS = 1_767_225_600_000
FLOW = Features(("flow", "heat"), (100.0, 0.0))
PACKED = WindowLayout(("values",), is_packed=True, key="key", time="at")


def rows_of(**columns: Any) -> pa.Table:
    """Return three rows of samples, of which some columns are others."""
    plain: dict[str, Any] = {
        "key": ["a", "a", "b"],
        "timestamp_ms": [START_MS, START_MS + 0.5, START_MS],
        "value_0": [100.1, 100.25, None],
        "value_1": [1.0, 2.0, 3.0],
    }
    types = {"key": pa.string()}
    every = plain | columns
    return pa.table({name: pa.array(each, types.get(name)) for name, each in every.items()})


def test_rows_are_samples_without_the_origin() -> None:
    samples = samples_of(rows_of(), FLOW, "table")
    assert samples.keys == ("a", "b")
    assert samples.series.tolist() == [0, 0, 1]
    assert samples.times_ms.tolist() == [START_MS, START_MS + 0.5, START_MS]
    expected = np.array([[100.1 - 100, 1], [0.25, 2], [np.nan, 3]], np.float32)
    assert samples.values.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"key": ["a", None, "b"]}, "column key, a row at 2026-01-01T00:00:00.000Z: expected the"),
        ({"timestamp_ms": [1.0, None, 2.0]}, "column timestamp_ms, a row of key a: expected milli"),
        ({"timestamp_ms": [0.0, 1.0, -0.5]}, "row of key b: expected milliseconds since 1970"),
        ({"timestamp_ms": [1.0, 2.0, 253_402_300_800_000.0]}, "received 253402300800000"),
        ({"timestamp_ms": [1e9, 1.0, 1.0]}, "received 1000000000, which looks like seconds; mult"),
        ({"timestamp_ms": [1.0, 9_999_999_999.0, 1.0]}, "which looks like seconds"),
        ({"value_1": [1.0, np.inf, 1.0]}, "column heat, key a at 2026-01-01T00:00:00.000Z: expec"),
        ({"value_0": [1.0, 1e39, 1.0]}, "column flow, key a at"),
    ],
)
def test_a_row_that_is_no_sample_is_refused_by_its_column(
    columns: dict[str, Any], words: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        samples_of(rows_of(**columns), FLOW, "table")
    assert str(caught.value).startswith("table, column ")
    assert words in str(caught.value)


def test_times_at_the_edges_are_times() -> None:
    edges = [0.0, 999_999_999.0, 1e10]
    samples = samples_of(rows_of(timestamp_ms=edges), FLOW, "table")
    assert samples.times_ms.tolist() == edges
    samples_of(rows_of(timestamp_ms=[0.0, 1.0, 253_402_300_799_999.0]), FLOW, "table")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_rows_are_gathered_to_tables_of_one_size(size: int) -> None:
    batches = [
        pa.record_batch({"n": pa.array(range(a, b), pa.int64())})
        for a, b in ((0, 5), (5, 5), (5, 12))
    ]
    found = [table["n"].to_pylist() for table in gathered(iter(batches), size)]
    assert [number for each in found for number in each] == [*range(12)]
    assert {len(each) for each in found[:-1]} <= {size}
    assert 0 < len(found[-1]) <= size
    assert list(gathered(iter([]), size)) == []


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Served:
    path = tmp_path_factory.mktemp("bundles") / "beats"
    make_bundle(path, "ecg5000-dense")
    return open_bundle(path)


def packed(values: Any) -> pa.RecordBatch:
    """Return rows of windows in one column."""
    n_rows = len(values)
    return pa.record_batch(
        {"key": pa.array(["k"] * n_rows), "at": pa.array([START_MS] * n_rows), "values": values}
    )


def test_all_forms_of_a_window_have_its_score(beats: Served) -> None:
    windows = np.random.default_rng(0).normal(size=(5, 140, 1)).astype(np.float32)
    expected = beats.detector.score(windows).tolist()
    flat = [window.reshape(-1).tolist() for window in windows]
    for values in (
        pa.array(flat),
        pa.array(flat, pa.list_(pa.float32())),
        pa.array(flat, pa.large_list(pa.float64())),
        pa.array([[[value] for value in row] for row in flat]),
        pa.array([window.tobytes() for window in windows]),
    ):
        assert score_batch(PACKED, packed(values), beats).tolist() == expected
        some = packed(values).slice(2, 2)
        assert score_batch(PACKED, some, beats).tolist() == expected[2:4]
        assert score_batch(PACKED, some.slice(0, 0), beats).tolist() == []
    names = tuple(f"v{at}" for at in range(140))
    apart = pa.record_batch({name: windows[:, at, 0] for at, name in enumerate(names)})
    layout = WindowLayout(names, is_packed=False, key=None, time=None)
    assert score_batch(layout, apart, beats).tolist() == expected


def changed(at: int, value: Any) -> list[Any]:
    row: list[Any] = [0.0] * 140
    row[at] = value
    return row


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([changed(0, 0.0), None]), "expected a window, received null"),
        (pa.array([changed(3, None)]), "values[3]: expected a finite number in the range of"),
        (pa.array([changed(3, np.inf)]), "values[3]: expected a finite number in the range of"),
        (pa.array([changed(139, 1e30)]), "values[139]: received 1e+30, over 1e+12 times"),
        (pa.array([[0.0] * 141]), "expected 140 steps x 1 features, as one array or as one of"),
        (pa.array([[0.0] * 139]), "received an array of 139"),
        (pa.array([[[0.0]] * 139 + [[0.0, 0.0]]]), "received an array of 2"),
        (pa.array([[[0.0]] * 139 + [None]]), "received an array of 0"),
        (pa.array([b"\0" * 559]), "expected a multiple of 4 bytes, received 559 bytes"),
        (pa.array([b"\0" * 556]), "140"),
    ],
)
def test_a_row_that_is_no_window_is_refused_by_its_column(
    values: Any, words: str, beats: Served
) -> None:
    with pytest.raises(DatasetError) as caught:
        score_batch(PACKED, packed(values), beats)
    place = "table of windows, column values, key k at 2026-01-01T00:00:00.000Z: "
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)


def test_a_column_of_its_own_is_named(beats: Served) -> None:
    names = tuple(f"v{at}" for at in range(140))
    row = pa.record_batch(
        {name: pa.array([None if at == 7 else 1]) for at, name in enumerate(names)}
    )
    layout = WindowLayout(names, is_packed=False, key=None, time=None)
    with pytest.raises(DatasetError, match="table of windows, column v7: values"):
        score_batch(layout, row, beats)


def test_windows_round_peaks_keep_their_intervals(tmp_path: Path) -> None:
    served = serve_pulses(tmp_path / "pulses")
    bundle, detector = served.bundle, served.detector
    assert isinstance(detector, SampleDetector)
    found = cut_samples(pulses(has_labels=False), bundle.manifest.recipe.rules, bundle.features)
    n_windows = len(found.windows)
    since = np.where(np.arange(n_windows) == 3, 9_000.0, 1_000.0)
    intervals = PeakIntervals(since, since, since > 5_000)
    batch = cut_batch(replace(found, intervals=intervals), bundle.features)
    assert batch.schema.names == cut_schema(has_rhythm=True).names
    with_rhythm = served._replace(detector=replace(detector, rhythm=make_rhythm(pause_ms=2_000)))
    layout = WindowLayout(("values",), is_packed=True, key="key", time="window_start_ms")
    scores = score_batch(layout, batch, with_rhythm)
    expected = with_rhythm.detector.score(found.windows, intervals)  # type: ignore[call-arg]
    assert scores.tolist() == expected.tolist()
    assert scores[3] != score_batch(layout, batch.drop_columns([*PEAKS]), served)[3]
