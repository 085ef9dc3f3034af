"""Tables in Spark: samples cut into windows, windows scored, and what to train on taken out.

A lake has no offsets and no order, so a table means what its keys and times say, however Spark
shares it out::

    samples  -> windows_table  -> windows  -> score_table -> windows with their scores
    samples, anomalous windows -> training_table -> Parquet that `train` reads

Windows and scores are those of `stream-detector score` for the same rows, bit for bit. Nothing is
collected on the driver, and no worker holds more than some rows, the windows under way of their
keys and a bundle: Spark sorts by key and time on disk, and the detector reads what it has sorted.
"""

from collections.abc import Iterator
from math import ceil

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from stream_detector.bundle import read_bundle
from stream_detector.core.scoring.scorer import score_column
from stream_detector.core.timestamps import STEP_MS
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.cutting import cut_by_key, samples_at_once
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.files import AnyPath
from stream_detector.integrations.spark.columns import (
    KEY,
    TIME,
    Roles,
    column,
    find_roles,
    gathered,
    samples_columns,
    samples_of,
)
from stream_detector.integrations.spark.windows import (
    END,
    START,
    WINDOWS,
    WindowLayout,
    cut_batch,
    cut_schema,
    score_batch,
    value_columns,
)
from stream_detector.integrations.spark.workers import ON_WORKERS, SharedBundle, share_bundle
from stream_detector.recipes.columns import BY_NAME
from stream_detector.settings import DetectSettings, load_settings

SAMPLES, ALERTS = "table of samples", "table of alerts"
"""What messages call tables."""

IS_ANOMALOUS = "is_anomalous"

WINDOWS_A_BLOCK = 20
"""Lengths of a window in a block of time, of which all is trained on, or nothing."""

_SHARES = 1_000_000


def windows_table(samples: DataFrame, bundle: AnyPath) -> DataFrame:
    """Cut the samples of a table into windows, as the detector cuts them.

    Each key is cut as if it had a partition of its own, in the order of its times: so its windows
    depend on its samples alone. Those are the windows of `stream-detector score`, but where a key
    is silent for longer than `key_ttl_ms`; there a file, or a topic, drops what still waits.

    Parameters
    ----------
    samples
        One row a sample, columns as in a file: `key`, `timestamp_ms` and one for each feature of
        the bundle, or what `[data]` of its recipe names; also one row a value. Others are ignored.
    bundle
        The bundle's folder, of a bundle whose records are samples; see `score_stream`.

    Returns
    -------
    One row a window that can be scored: `key`, `window_start_ms`, `window_end_ms` and `values`, its
    numbers as the scorer takes them: step by step, without the origin of the features, and in the
    units of their key where each key has a scale. Of a bundle that looks at the rhythm of peaks
    also `peak_since_ms`, `peak_before_ms` and `is_pause`.

    Raises
    ------
    DatasetError
        If a column is missing or has another type. That a key or time is missing or a value is
        infinite ends Spark's job, with this error in Spark's own.
    ConfigError
        If records of the bundle are whole windows.
    BundleError
        As in `score_stream`.
    """
    shared, served = share_bundle(samples.sparkSession, bundle, load_settings(DetectSettings))
    recipe = served.bundle.manifest.recipe
    if recipe.window.record != "samples":
        message = (
            "windows_table: expected a bundle whose records are samples, received one of "
            f"{recipe.window.record}s, which are windows already: give them to score_table"
        )
        raise ConfigError(message)
    roles = find_roles(samples, recipe.data.columns, SAMPLES)
    columns = samples_columns(roles, served.bundle.features)
    # The values last, so that of two samples of one time always the same one comes first.
    in_order = columns.repartition(KEY).sortWithinPartitions(*columns.columns)
    schema = cut_schema(has_rhythm=bool(recipe.rules.peaks and recipe.rules.peaks.n_pause))
    return in_order.mapInArrow(_WindowCutter(shared), schema)


def score_table(
    windows: DataFrame, bundle: AnyPath, *, settings: DetectSettings | None = None
) -> DataFrame:
    """Score the windows of a table, bit for bit as `stream-detector score` scores them.

    Parameters
    ----------
    windows
        One row a window. Of a bundle whose records are samples, what `windows_table` returns; rows
        may be left out and columns added. Of a bundle of whole windows or images: the values in a
        column `values`, as an array of numbers or of steps, or as bytes (float32, little-endian, or
        an image); or, as in a file, in a column each. `key` and `timestamp_ms` may be there.
    bundle
        The bundle's folder; see `score_stream`.
    settings
        As for `detect`; of use here are `engine`, `alerting` and `model_rows_max`.

    Returns
    -------
    The same rows with `reconstruction_error`, or `score` with checks, `threshold`, `anomaly_score`
    and `is_anomalous`; and with `window_start_ms` and `window_end_ms` if they have a time.

    Raises
    ------
    DatasetError
        If a column is missing, has another type, or is one of those that are added. That a value is
        missing or cannot be scored ends Spark's job, with this error in Spark's own.
    BundleError, ConfigError
        As in `score_stream`.
    """
    asked = settings or load_settings(DetectSettings)
    shared, served = share_bundle(windows.sparkSession, bundle, asked)
    recipe, layout = served.bundle.manifest.recipe, WindowLayout.of(windows, served)
    name = score_column(served.detector.scorer.score_kind)
    added = [T.StructField(each, T.DoubleType()) for each in (name, "threshold", "anomaly_score")]
    added.append(T.StructField(IS_ANOMALOUS, T.BooleanType()))
    has_times = not served.detector.keeps_state and layout.time is not None
    new = [*(START, END) * has_times, *(each.name for each in added)]
    known = {each.lower() for each in windows.columns}  # Spark knows no case
    taken = [each for each in new if each in known]
    if taken:
        message = (
            f"{WINDOWS}: expected a table without the columns {', '.join(new)}, which are added, "
            f"received {', '.join(taken)}; drop or rename them"
        )
        raise DatasetError(message)
    if has_times:
        roles = find_roles(windows, recipe.data.columns, WINDOWS)
        start_ms = F.floor(roles.time_ms() + F.lit(0.5))
        windows = windows.withColumns(
            {START: start_ms, END: start_ms + F.lit(round(recipe.rules.span_ms))}
        )
    schema = T.StructType([*windows.schema.fields, *added])
    return windows.mapInArrow(_WindowScorer(shared, layout, schema.names), schema)


def training_table(
    rows: DataFrame,
    anomalous: DataFrame,
    bundle: AnyPath,
    path: AnyPath,
    *,
    share: float = 0.1,
    seed: int = 0,
) -> None:
    """Write rows to train on, without the spans of anomalous windows.

    They are rows of the table, samples or whole windows, with the columns that `train` reads by the
    same recipe with `--set data.path=PATH`, in the order of key and time. Which are chosen depends
    on the seed, their key and their time alone, so the same table gives the same rows in the same
    order, however it is shared out. They come in blocks of time of some window lengths, so that
    windows can be cut from samples, and no window reaches over what was left out.

    Parameters
    ----------
    rows
        Samples as for `windows_table`, or whole windows as for `score_table`, no images, with key
        and time. An array of values becomes a column for each value.
    anomalous
        Windows to leave out: `key`, `window_start_ms` and `window_end_ms`, as `score_table` returns
        and alerts have them. With a column `is_anomalous`, those where it is true.
    bundle
        The bundle's folder. It says which column is what, and how long windows and gaps are.
    path
        Where to write Parquet: any place that Spark can write to, where there is nothing yet.
    share
        Share of the blocks, above 0 and up to 1.
    seed
        Which blocks.

    Raises
    ------
    DatasetError
        If a column is missing or has another type, or no row is left.
    ConfigError
        If the bundle is for images, or the share is out of range.
    BundleError
        If the bundle cannot be read.
    """
    if not 0 < share <= 1:
        message = f"share: expected a number above 0 and up to 1, received {share}"
        raise ConfigError(message)
    opened = read_bundle(str(bundle).removeprefix(ON_WORKERS))
    recipe = opened.manifest.recipe
    is_samples = recipe.window.record == "samples"
    roles = find_roles(rows, recipe.data.columns, SAMPLES if is_samples else WINDOWS)
    values = roles.features(opened.features) if is_samples else value_columns(roles, recipe)
    row = F.struct(*roles.places(), *values).alias("row")
    keyed = rows.select(row, roles.key().alias(KEY), roles.time_ms().alias(TIME))
    chosen = keyed.where(_is_chosen(recipe.rules, share, seed))
    length_ms = 0.0 if is_samples else recipe.rules.span_ms
    kept = _without(chosen, _spans(anomalous, recipe.rules, length_ms))
    kept.orderBy(KEY, TIME, "row").select("row.*").write.parquet(str(path))
    if rows.sparkSession.read.parquet(str(path)).isEmpty():
        message = (
            f"{path}: expected at least one row to train on, received none: the {roles.where} is "
            f"empty, or all of it is left out; give more, or a share above {share}"
        )
        raise DatasetError(message)


class _WindowCutter:
    """Cuts the samples of a part of a table, which are in the order of key and time."""

    def __init__(self, shared: SharedBundle) -> None:
        self._shared = shared

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the windows of rows of `samples_columns`."""
        bundle = self._shared.open().served.bundle
        rules, features = bundle.manifest.recipe.rules, bundle.features
        tables = gathered(batches, samples_at_once(rules))
        parts = (samples_of(table, features, SAMPLES) for table in tables)
        for found in cut_by_key(parts, rules, features):
            if len(found.windows):
                yield cut_batch(found, features)


class _WindowScorer:
    """Scores the windows of a part of a table."""

    def __init__(self, shared: SharedBundle, layout: WindowLayout, names: list[str]) -> None:
        self._shared, self._layout, self._names = shared, layout, names

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows with what `score_table` adds."""
        served = self._shared.open().served
        threshold = served.detector.scorer.threshold
        for batch in batches:
            scores = score_batch(self._layout, batch, served)  # (n_rows,)
            thresholds = np.full(len(scores), threshold)
            added = (scores, thresholds, scores / threshold, scores > threshold)
            yield pa.RecordBatch.from_arrays([*batch.columns, *map(pa.array, added)], self._names)


def _is_chosen(rules: WindowRules, share: float, seed: int) -> Column:
    """Return whether the block of time that a row is in is trained on."""
    # A block that is not chosen is a gap.
    block_ms = ceil(max(WINDOWS_A_BLOCK * rules.frame.span_ms, 2 * rules.gap_ms_max, 1.0))
    block = F.floor(F.col(TIME) / F.lit(float(block_ms)))
    number = F.xxhash64(F.lit(seed).cast("long"), F.col(KEY), block)
    return F.pmod(number, F.lit(_SHARES)) < F.lit(share * _SHARES)


def _spans(anomalous: DataFrame, rules: WindowRules, length_ms: float) -> DataFrame:
    """Return spans to leave out: key, start and end, wider than a gap, both ends included.

    Parameters
    ----------
    anomalous, rules
        The windows, and how they were cut.
    length_ms
        How long a row lasts from its time on.

    Raises
    ------
    DatasetError
        If a column is missing or has another type.
    """
    roles = Roles(ALERTS, anomalous, BY_NAME, {name: name for name in anomalous.columns})
    ends = {}
    for name in (START, END):
        roles.require(name, "with a time in milliseconds since 1970")
        message = f"{ALERTS}, column {name}: expected a time, received null; leave the row out"
        ends[name] = F.coalesce(roles.numbers(name), F.raise_error(F.lit(message)))
    if IS_ANOMALOUS in anomalous.columns:
        anomalous = anomalous.where(column(IS_ANOMALOUS))
    # Times of windows are whole milliseconds, and those of samples are not quite regular.
    least_ms = max(rules.sample_interval_ms, 1.0) / 2
    missing_ms = F.lit(rules.gap_ms_max + 2 * STEP_MS) - (ends[END] - ends[START])
    margin_ms = F.greatest(F.lit(least_ms), missing_ms / F.lit(2.0))
    return anomalous.select(
        roles.key().alias(KEY),
        (ends[START] - margin_ms - F.lit(length_ms)).alias(START),
        (ends[END] + margin_ms).alias(END),
    )


def _without(rows: DataFrame, spans: DataFrame) -> DataFrame:
    """Return the rows that are in no span of their key.

    Ends of spans are rows beside the others, and are counted in the order of time, so no table has
    to fit into memory, and no row meets every span of its key::

        time      10   20   30   40   50   60   70   80
        rows      r         r    r         r         r
        spans          +1        +1   -1        -1
        open      0         1    2         1         0
    """
    before, own, after = (F.lit(place).alias("place") for place in (0, 1, 2))
    begins = spans.select(KEY, F.col(START).alias(TIME), before, F.lit(1).alias("step"))
    ends = spans.select(KEY, F.col(END).alias(TIME), after, F.lit(-1).alias("step"))
    marked = rows.select("*", own, F.lit(0).alias("step")).unionByName(
        begins.unionByName(ends), allowMissingColumns=True
    )
    in_order = Window.partitionBy(KEY).orderBy(TIME, "place")
    until_now = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    n_open = F.sum("step").over(until_now)
    return marked.withColumn("n_open", n_open).where("place = 1 and n_open = 0")
