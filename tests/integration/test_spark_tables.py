"""Tables in Spark: windows and scores are those of the command `score`, bit for bit."""

import csv
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doc_pages import read_blocks
from halving_bundle import ROOT, make_bundle, make_bundle_of_samples
from local_spark import LocalSparkError, open_session
from pulses import pulse_recipe, pulses

from stream_detector.assembly import open_bundle
from stream_detector.cli.score import score
from stream_detector.core.codec.image_format import encode_image
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import Samples
from stream_detector.datasets import load_dataset, load_samples
from stream_detector.datasets.cutting import cut_by_key
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import load_recipe
from stream_detector.training.data import load_windows

pytestmark = [
    pytest.mark.slow,
    # What Spark's own documentation says of pandas; no data of ours goes through it.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]

START_MS = 1_767_225_600_000
N_BEATS = 60
PUMP_FEATURES = Features(("pressure", "temperature", "vibration"))
OPTIONS = {
    # Spark would join the parts of a small table to one.
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            folder = tmp_path_factory.mktemp("spark")
            found = stack.enter_context(open_session(folder, **OPTIONS))
        except LocalSparkError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="module")
def functions(spark: Any) -> Any:
    del spark
    from pyspark.sql import functions

    return functions


@pytest.fixture(scope="module")
def tables(spark: Any) -> Any:
    del spark
    from stream_detector.integrations.spark import tables

    return tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def beats(folder: Path, data_folder: Path) -> Path:
    """Return the bundle and beside it beats.parquet, a column for each value."""
    del data_folder
    make_bundle(folder / "beats", "ecg5000-dense")
    windows = load_dataset("ecg5000").test[:N_BEATS, :, 0].astype(np.float64)
    windows[::3] *= 3
    columns: dict[str, Any] = {
        "key": [f"beat-{number % 7}" for number in range(N_BEATS)],
        "timestamp_ms": START_MS + 1_000 * np.arange(N_BEATS),
    }
    packed = {"values": pa.array(windows[:, :, None].tolist())}  # arrays of steps
    pq.write_table(pa.table(columns | packed), folder / "beats-packed.parquet")
    columns |= {f"v{at}": windows[:, at] for at in range(140)}
    pq.write_table(pa.table(columns), folder / "beats.parquet")
    return folder / "beats"


def file_of(samples: Samples, names: tuple[str, ...], path: Path, seed: int = 1) -> Path:
    """Write samples in order as PATH.parquet, and shuffled in three files as the folder PATH."""
    columns: dict[str, Any] = {
        "key": [samples.keys[number] for number in samples.series.tolist()],
        "timestamp_ms": samples.times_ms,
    }
    columns |= {
        name: pa.array(samples.values[:, at].astype(np.float64), from_pandas=True)
        for at, name in enumerate(names)
    }
    table = pa.table(columns)
    pq.write_table(table, path.with_suffix(".parquet"))
    path.mkdir()
    order = np.random.default_rng(seed).permutation(len(samples))
    for number, rows in enumerate(np.array_split(order, 3)):
        pq.write_table(table.take(rows), path / f"part-{number}.parquet")
    return path


@pytest.fixture(scope="module")
def hearts(folder: Path, data_folder: Path) -> Path:
    """Return the bundle and beside it half a minute of two patients."""
    del data_folder
    make_bundle(folder / "hearts", "mitdb-dense")
    parts = [load_samples("mitdb", series=name).test for name in ("106", "119")]
    firsts = [np.flatnonzero(part.times_ms < part.times_ms.min() + 30_000) for part in parts]
    both = list(zip(parts, firsts, strict=True))
    samples = Samples(
        tuple(part.keys[0] for part in parts),
        np.repeat([0, 1], [len(rows) for rows in firsts]),
        np.concatenate([part.times_ms[rows] for part, rows in both]),
        2 * np.concatenate([part.values[rows] for part, rows in both]),
    )
    file_of(samples, ("MLII", "V1"), folder / "hearts-table")
    return folder / "hearts"


@pytest.fixture(scope="module")
def pumps(folder: Path) -> Path:
    """Return the bundle and beside it ten minutes of five pumps, with gaps and missing values."""
    make_bundle_of_samples(folder / "pumps", 20, 3, PUMP_FEATURES)
    data = load_samples("pumps", series="0").test
    is_some = (data.series < 5) & (data.times_ms < data.times_ms.min() + 600_000)  # (n_samples,)
    rng = np.random.default_rng(3)
    is_some &= rng.random(len(data)) > 0.02
    is_some &= ~((data.series == 2) & (data.times_ms % 400_000 < 50_000))
    samples = Samples(
        data.keys[:5],
        data.series[is_some],
        data.times_ms[is_some],
        np.where(rng.random((is_some.sum(), 3)) < 0.02, np.nan, data.values[is_some] / 21),
    )
    file_of(samples, PUMP_FEATURES.names, folder / "pumps-table")
    return folder / "pumps"


@contextmanager
def session_of(
    spark: Any, n_partitions: int = 2, n_rows: int = 10_000, time_zone: str = "UTC"
) -> Iterator[None]:
    """Let Spark share tables out in so many parts and hand so many rows to Python at a time."""
    options = {
        "spark.sql.shuffle.partitions": n_partitions,
        "spark.sql.execution.arrow.maxRecordsPerBatch": n_rows,
        "spark.sql.session.timeZone": time_zone,
    }
    before = {name: spark.conf.get(name) for name in options}
    for name, value in options.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def by_command(bundle: Path, file: Path) -> Rows:
    """Return what the command `score` writes of a file, by key and start."""
    out = file.with_suffix(".scores.csv")
    score(bundle, file, out)
    with out.open(newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    return sorted(
        (key, int(start), int(end), *map(float, numbers), verdict == "true")
        for key, start, end, *numbers, verdict in rows
    )


def scored(found: Any, name: str = "reconstruction_error") -> Rows:
    """Return the same of a table of scores."""
    columns = ("key", "window_start_ms", "window_end_ms", name, "threshold", "anomaly_score")
    return sorted(map(tuple, found.select(*columns, "is_anomalous").collect()))


def windows_of(found: Any) -> Rows:
    """Return windows by key and start, each as bytes."""
    columns = ("key", "window_start_ms", "window_end_ms", "values")
    table = found.select(*columns).toArrow()
    values = table["values"].combine_chunks()
    cells = values.flatten().to_numpy().astype("<f4").reshape(len(values), -1)
    places = zip(*(table[name].to_pylist() for name in columns[:3]), strict=True)
    return sorted((*place, row.tobytes()) for place, row in zip(places, cells, strict=True))


def test_whole_windows_have_the_scores_of_the_command(spark: Any, tables: Any, beats: Path) -> None:
    file = beats.with_name("beats.parquet")
    expected = by_command(beats, file)
    assert {row[-1] for row in expected} == {True, False}
    table = spark.read.parquet(str(file))
    found = tables.score_table(table, beats)
    assert found.columns[: len(table.columns)] == table.columns
    assert scored(found) == expected
    packed = spark.read.parquet(str(beats.with_name("beats-packed.parquet"))).repartition(4)
    found = tables.score_table(packed.select("key", "timestamp_ms", "values"), beats)
    assert scored(found) == expected


def digits(folder: Path) -> Path:
    """Return a bundle of images."""
    path = folder / "digits"
    if not path.exists():
        make_bundle(path, "digit-one")
    return path


def test_bytes_are_windows_and_images(spark: Any, tables: Any, folder: Path, beats: Path) -> None:
    windows = load_dataset("ecg5000").test[:5]
    rows = [(window.astype("<f4").tobytes(), number) for number, window in enumerate(windows)]
    table = spark.createDataFrame(rows, "values binary, place int")
    found = tables.score_table(table, beats)
    assert "window_start_ms" not in found.columns
    scores = {row.place: row.reconstruction_error for row in found.collect()}
    detector = open_bundle(beats).detector
    assert scores == dict(enumerate(detector.score(windows).tolist()))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    images = [(encode_image(each, 1, "png"),) for each in pixels]
    found = tables.score_table(spark.createDataFrame(images, "values binary"), digits(folder))
    detector = open_bundle(digits(folder)).detector
    expected = detector.score(pixels.astype(np.float32)).tolist()
    assert sorted(row.reconstruction_error for row in found.collect()) == sorted(expected)


@pytest.mark.parametrize("name", ["hearts", "pumps"])
def test_samples_have_the_windows_and_scores_of_the_command(
    name: str, spark: Any, tables: Any, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    expected = by_command(bundle, bundle.with_name(f"{name}-table.parquet"))
    assert {row[-1] for row in expected} == {True, False}
    samples = spark.read.parquet(str(bundle.with_name(f"{name}-table")))
    found = []
    for n_partitions, n_rows in ((1, 10_000), (5, 97)):
        with session_of(spark, n_partitions, n_rows):
            windows = tables.windows_table(samples, bundle)
            found.append(windows_of(windows))
            assert scored(tables.score_table(windows, bundle)) == expected
    assert found[0] == found[1]
    assert len(found[0]) == len(expected)


def second_by_second(
    spark: Any, n_rows: int, name: str = "a", start_ms: int = START_MS, **columns: str
) -> Any:
    """Return samples of a key, one a second, of three features; columns as SQL says."""
    named = {each: f"sin(id * {at}.7)" for at, each in enumerate(PUMP_FEATURES.names, start=1)}
    made = {"key": f"'{name}'", "timestamp_ms": f"{start_ms} + 1000 * id"} | named | columns
    return spark.range(n_rows).selectExpr(*(f"{value} as {each}" for each, value in made.items()))


def test_columns_are_found_by_name_and_times_may_have_any_type(
    spark: Any, functions: Any, tables: Any, pumps: Path, folder: Path
) -> None:
    plain = second_by_second(spark, 60)
    expected = windows_of(tables.windows_table(plain, pumps))
    assert [row[1:3] for row in expected] == [
        (START_MS + at, START_MS + at + 19_000) for at in (0, 20_000, 40_000)
    ]
    other = plain.select("vibration", "key", "temperature", "pressure", "timestamp_ms")
    other = other.withColumn("note", functions.lit("x")).withColumn("day", functions.current_date())
    # What records of a topic look like says nothing of a table.
    bundle = changed_bundle(folder / "avro", input={"format": "avro"})
    assert windows_of(tables.windows_table(other, bundle)) == expected
    for time in (
        "timestamp_millis(timestamp_ms)",
        "timestamp_ntz'2026-01-01' + make_dt_interval(0, 0, 0, (timestamp_ms - %d) / 1000)",
        "cast(timestamp_ms as decimal(20, 3))",
    ):
        typed = plain.withColumn("timestamp_ms", functions.expr(time.replace("%d", str(START_MS))))
        with session_of(spark, time_zone="America/Lima"):
            assert windows_of(tables.windows_table(typed, pumps)) == expected, time
    named = {"name": "csv", "path": "x.csv", "key": "pump", "time": "at", "time_format": "us"}
    renamed = plain.selectExpr(
        "key as pump", "timestamp_ms * 1000 as at", "1 as extra", *PUMP_FEATURES.names
    )
    bundle = changed_bundle(folder / "renamed", data=named)
    assert windows_of(tables.windows_table(renamed, bundle)) == expected
    parts = [
        renamed.selectExpr("pump", "at", f"'{name}' as tag", f"{name} as number")
        for name in reversed(PUMP_FEATURES.names)
    ]
    long = {**named, "feature_name": "tag", "feature_value": "number"}
    found = tables.windows_table(
        parts[0].unionAll(parts[1]).unionAll(parts[2]), changed_bundle(folder / "long", data=long)
    )
    assert windows_of(found) == expected


def changed_bundle(path: Path, features: Features = PUMP_FEATURES, **tables: Any) -> Path:
    """Write a bundle of pumps with other keys in some tables of its recipe."""
    recipe = load_recipe(ROOT / "models" / "smd-dense.toml")
    plain: dict[str, Any] = {
        "data": {"name": "csv", "series": None, "path": "pumps.csv"},
        "window": {
            "steps": 20,
            "features": 3,
            "stride": 20,
            "sample_interval_ms": 1_000.0,
            "gap_ms_max": None,
        },
    }
    for name, changes in tables.items():
        plain[name] = plain.get(name, {}) | changes
    made = {
        name: getattr(recipe, name).model_copy(update=changes) for name, changes in plain.items()
    }
    make_bundle(path, recipe.model_copy(update=made), features=features)
    return path


def test_each_key_stands_alone_and_new_ones_get_a_scale(
    spark: Any, tables: Any, folder: Path
) -> None:
    """Silence for longer than key_ttl_ms ends nothing; samples of one time always meet alike."""
    ones = np.ones((2, 3), np.float32)
    scales = KeyScales([b"a", b"c"], ones, 2 * ones)
    features = Features(PUMP_FEATURES.names, (5.0, 0.0, 0.0), scales)
    scaling = {"per_key": True, "warm_up_samples": 30}
    window = {"allowed_lateness_ms": 3_000.0, "key_ttl_ms": 60_000.0, "stride": 5}
    quiet = {"no_data_after_ms": None}
    tables_of = {"window": window, "scaling": scaling, "alerting": quiet}
    bundle = changed_bundle(folder / "scales", features, **tables_of)
    keys = [
        second_by_second(spark, 100),
        second_by_second(spark, 50, start_ms=START_MS + 400_000),
        second_by_second(spark, 90, "new", START_MS + 50_000),
        second_by_second(spark, 90, "new", START_MS + 50_000, pressure="id"),
        second_by_second(spark, 300, "b"),
    ]
    table = keys[0].unionAll(keys[1]).unionAll(keys[2]).unionAll(keys[3]).unionAll(keys[4])
    found = windows_of(tables.windows_table(table, bundle))
    ordered = table.orderBy("key", "timestamp_ms", *PUMP_FEATURES.names).toArrow()
    names = ordered["key"].to_pylist()
    numbers, series = np.unique(names, return_inverse=True)
    values = np.column_stack([ordered[name].to_numpy() for name in PUMP_FEATURES.names])
    centred = (values - np.array(features.origin)).astype(np.float32)
    samples = Samples(
        tuple(numbers.tolist()), series, ordered["timestamp_ms"].to_numpy().astype(float), centred
    )
    opened = open_bundle(bundle).bundle
    (cut,) = cut_by_key([samples], opened.manifest.recipe.rules, opened.features)
    assert cut.n_warm_up > 0
    own = cut.in_key_units(cut.features or features)
    places = zip(own.keys, own.start_ms.tolist(), own.end_ms.tolist(), strict=True)
    assert found == sorted(
        (*place, row.tobytes()) for place, row in zip(places, own.windows, strict=True)
    )
    assert {row[0] for row in found} == {"a", "b", "new"}
    shuffled = table.repartition(3, "temperature")
    assert windows_of(tables.windows_table(shuffled, bundle)) == found


def test_windows_round_peaks_are_those_of_the_command(
    spark: Any, tables: Any, folder: Path
) -> None:
    make_bundle(folder / "pulses", pulse_recipe(), features=Features(("flow", "heat")))
    file = file_of(pulses(("a", "b"), has_labels=False), ("heat", "flow"), folder / "pulses-table")
    windows = tables.windows_table(spark.read.parquet(str(file)), folder / "pulses")
    expected = by_command(folder / "pulses", file.with_suffix(".parquet"))
    assert scored(tables.score_table(windows, folder / "pulses")) == expected


def message_of(run: Any, kind: type[Exception] = DatasetError) -> str:
    with pytest.raises(kind) as caught:
        run()
    return str(caught.value)


def test_a_table_of_another_form_is_refused_before_spark_runs(
    spark: Any, tables: Any, pumps: Path, beats: Path
) -> None:
    plain = second_by_second(spark, 5)
    for change, words in (
        (plain.drop("key"), "expected a column key"),
        (plain.drop("timestamp_ms"), "expected a column timestamp_ms"),
        (plain.drop("pressure"), "missing pressure"),
        (plain.withColumn("key", plain.pressure), "column key (double): expected text"),
        (plain.withColumn("pressure", plain.key), "column pressure (string): expected numbers"),
        (plain.withColumn("timestamp_ms", plain.key), "column timestamp_ms (string): expected"),
        (plain.withColumnRenamed("key", "temperature"), "received temperature more than once"),
        (plain.withColumn(" KEY", plain.key), "received key more than once"),
    ):
        assert words in message_of(lambda table=change: tables.windows_table(table, pumps))
    windows = tables.windows_table(plain, pumps)
    for change, words in (
        (windows.drop("values"), "expected the column values (array<float>), received none"),
        (windows.withColumn("values", windows.key), "received string"),
        (windows.withColumn("threshold", windows.key), "received threshold; drop or rename"),
    ):
        assert words in message_of(lambda table=change: tables.score_table(table, pumps))
    for change, words in (
        (plain, "expected a column values, or 140 columns of values"),
        (plain.withColumnRenamed("key", "values"), "column values (string): expected arrays"),
        (
            plain.selectExpr("binary(key) as values", "timestamp_ms", "1 as WINDOW_START_MS"),
            "received window_start_ms; drop or rename",
        ),
    ):
        assert words in message_of(lambda table=change: tables.score_table(table, beats))
    assert "give them to score_table" in message_of(
        lambda: tables.windows_table(plain, beats), ConfigError
    )


def test_a_cell_that_is_none_ends_the_job_with_its_column(
    spark: Any, tables: Any, pumps: Path
) -> None:
    """What else a cell may be that cannot be used is tried without Spark."""
    from pyspark.errors import PythonException

    table = second_by_second(spark, 5, key="nullif(string(id), '3')")
    found = tables.windows_table(table, pumps)
    words = message_of(found.collect, PythonException)
    assert "table of samples, column key, a row at 2026-01-01T00:00:03.000Z: expected" in words


def test_no_rows_have_no_windows_and_no_scores(spark: Any, tables: Any, pumps: Path) -> None:
    empty = second_by_second(spark, 0)
    windows = tables.windows_table(empty, pumps)
    assert windows.collect() == []
    assert tables.score_table(windows, pumps).collect() == []


def spans_of(spark: Any, *spans: tuple[str, int, int, bool]) -> Any:
    """Return windows of a table of scores, from second to second."""
    rows = [
        (key, START_MS + 1_000 * a, START_MS + 1_000 * b, is_bad) for key, a, b, is_bad in spans
    ]
    schema = "key string, window_start_ms bigint, window_end_ms bigint, is_anomalous boolean"
    return spark.createDataFrame(rows, schema)


def seconds_of(path: Path) -> dict[str, list[int]]:
    """Return the seconds of each key in a training set."""
    table = pq.read_table(path)
    found: dict[str, list[int]] = {}
    places = zip(table["key"].to_pylist(), table["timestamp_ms"].to_pylist(), strict=True)
    for key, time_ms in places:
        found.setdefault(key, []).append((time_ms - START_MS) // 1_000)
    return found


def test_spans_of_anomalous_windows_are_left_out_to_the_second(
    spark: Any, tables: Any, pumps: Path, folder: Path
) -> None:
    table = second_by_second(spark, 400).unionAll(second_by_second(spark, 400, "b"))
    spans = spans_of(
        spark,
        ("a", 100, 119, True),
        ("a", 110, 129, True),
        ("b", 0, 19, True),
        ("b", 50, 69, False),
    )
    tables.training_table(table, spans, pumps, str(folder / "all"), share=1.0)
    assert seconds_of(folder / "all") == {
        "a": [*range(100), *range(130, 400)],
        "b": [*range(20, 400)],
    }
    # Of a shorter span so much is left out that no window reaches over it.
    spans = spans_of(spark, ("a", 100, 100, True))
    tables.training_table(table, spans, pumps, folder / "wide", share=1.0)
    kept = seconds_of(folder / "wide")["a"]
    (at,) = np.flatnonzero(np.diff(kept) > 1)
    assert (kept[at], kept[at + 1]) == (89, 111)  # a gap of 20 s does not end a series


def test_a_training_set_is_the_same_however_its_table_is_shared_out(
    spark: Any, functions: Any, tables: Any, pumps: Path, folder: Path
) -> None:
    samples = second_by_second(spark, 6_000).unionAll(second_by_second(spark, 6_000, "b"))
    time = functions.timestamp_millis("timestamp_ms")
    samples = samples.withColumn("note", functions.lit("x")).withColumn("timestamp_ms", time)
    spans = spans_of(spark, ("a", 2_000, 2_019, True), ("b", 4_000, 4_999, True))
    found = []
    for number, table in enumerate((samples, samples.repartition(7, "pressure"))):
        path = folder / f"sample-{number}"
        with session_of(spark, 1 + 3 * number):
            tables.training_table(table, spans, pumps, str(path), share=0.4)
        found.append(pq.read_table(path))
    assert found[0].equals(found[1])
    assert found[0].column_names == ["key", "timestamp_ms", *PUMP_FEATURES.names]
    assert 0.2 < len(found[0]) / 12_000 < 0.6
    tables.training_table(samples, spans, pumps, str(folder / "other"), share=0.4, seed=1)
    assert not pq.read_table(folder / "other").equals(found[0])
    recipe = open_bundle(pumps).bundle.manifest.recipe
    data = recipe.data.model_copy(update={"path": str(folder / "sample-0")})
    train = load_windows(recipe.model_copy(update={"data": data}))
    assert train.feature_names == PUMP_FEATURES.names
    assert train.train_keys is not None
    assert train.train_timestamps_ms is not None
    assert len(train.train) > 100
    for key, start_ms in zip(train.train_keys, train.train_timestamps_ms.tolist(), strict=True):
        start = (start_ms - START_MS) // 1_000
        first, last = {"a": (2_000, 2_019), "b": (4_000, 4_999)}[key]
        assert start + 19 < first or start > last


def test_whole_windows_are_trained_on_without_those_that_reach_into_a_span(
    spark: Any, tables: Any, beats: Path, folder: Path
) -> None:
    packed = spark.read.parquet(str(beats.with_name("beats-packed.parquet")))
    rows = packed.selectExpr("key", "timestamp_ms", "values", "1 as extra")
    recipe = open_bundle(beats).bundle.manifest.recipe
    assert recipe.rules.span_ms == 0  # its interval is not known, so a window is a moment
    spans = spans_of(spark, ("beat-1", 8, 15, True), ("beat-2", 10, 15, True))
    tables.training_table(rows, spans, beats, folder / "beats-month", share=1.0)
    kept = {
        (key, at) for key, seconds in seconds_of(folder / "beats-month").items() for at in seconds
    }
    left_out = {("beat-1", 8), ("beat-1", 15)}
    assert kept == {(f"beat-{number % 7}", number) for number in range(N_BEATS)} - left_out
    data = {"name": "parquet", "split": None, "path": str(folder / "beats-month")}
    data_of = recipe.data.model_copy(update=data)
    windows = load_windows(recipe.model_copy(update={"data": data_of})).train
    assert windows.shape == (N_BEATS - 2, 140, 1)
    ragged = rows.selectExpr("key", "timestamp_ms", "slice(values, 1, 139) as values")
    words = message_of(
        lambda: tables.training_table(ragged, spans, beats, folder / "ragged", share=1.0), Exception
    )
    assert "table of windows, column values: expected 140 numbers" in words


def test_what_cannot_be_trained_on_is_refused(
    spark: Any, tables: Any, pumps: Path, beats: Path, folder: Path
) -> None:
    table, spans = second_by_second(spark, 30), spans_of(spark, ("a", 0, 19, True))
    path = str(folder / "refused")

    def write(**changes: Any) -> None:
        given = {"rows": table, "anomalous": spans, "bundle": pumps, "path": path, "share": 1.0}
        tables.training_table(**given | changes)

    for share in (0.0, -0.1, 1.1, float("nan")):
        assert "share: expected" in message_of(lambda each=share: write(share=each), ConfigError)
    assert "or 140 columns of values" in message_of(lambda: write(bundle=beats))
    images = table.selectExpr("key", "timestamp_ms", "binary(key) as values")
    assert "received images" in message_of(
        lambda: write(rows=images, bundle=digits(folder)), ConfigError
    )
    assert "(binary): expected arrays" in message_of(lambda: write(rows=images, bundle=beats))
    words = message_of(lambda: write(anomalous=spans.drop("window_end_ms")))
    assert "table of alerts: expected a column window_end_ms" in words
    words = message_of(lambda: write(anomalous=spans.withColumn("window_end_ms", spans.key)))
    assert "table of alerts, column window_end_ms (string): expected numbers" in words
    null = spans.selectExpr("key", "window_start_ms", "cast(null as bigint) as window_end_ms")
    words = message_of(lambda: write(anomalous=null, path=path + "-null"), Exception)
    assert "table of alerts, column window_end_ms: expected a time, received null" in words
    whole = spans_of(spark, ("a", 0, 40, True))
    assert "expected at least one row" in message_of(lambda: write(anomalous=whole))


def test_the_tutorial_runs(
    spark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks for Spark, on two days and by a bundle that needs no training."""
    del spark
    page = "docs/tutorials/backfill.md"
    blocks = [block for block in read_blocks(page) if block.language in ("python", "toml")]
    make_lake, recipe, score_month, train_on_month = (block.text for block in blocks)
    monkeypatch.chdir(tmp_path)

    def run(block: str) -> None:
        """Run a block where Java, too, finds its files."""
        for name in ("lake", "scores", "month"):
            block = block.replace(f'"{name}"', f'"{tmp_path / name}"')
        exec(block, {})  # noqa: S102  (of our own page)

    run(make_lake.replace("30 * DAY", "2 * DAY"))
    Path("pump.toml").write_text(recipe)
    features = Features(("temperature", "pressure"))
    own = load_recipe(Path("pump.toml"))
    make_bundle(Path("bundles/pump"), own, factor=0.985, features=features)
    run(score_month)
    run(train_on_month)
    printed = capsys.readouterr().out
    assert "|pump-4|2026-01-02|" in printed
    n_kept, n_samples = map(int, re.findall(r"(\d+) samples of (\d+)", printed)[0])
    assert n_samples == 4 * 2 * 24 * 60
    assert 0 < n_kept < n_samples
    of_month = load_recipe(Path("pump.toml"), ["data.path=month"])
    assert len(load_windows(of_month).train) > 0
