"""Windows in Spark's tables: how a table has them, and the same as arrays for a scorer.

Windows cut from samples are as `windows_table` writes them. Those that are whole rows have their
values in one column or in a column each::

    values      [0.1, 0.2, 0.3, 0.4]   or   [[0.1, 0.2], [0.3, 0.4]]   or bytes
    v0 .. v3    0.1   0.2   0.3   0.4
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from stream_detector.assembly import Served
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.detector import WindowDetector
from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import FloatArray
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scorer import describe_bad_value, usable_windows
from stream_detector.core.timestamps import describe_time
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets.cutting import CutWindows
from stream_detector.errors import ConfigError, DatasetError, RecordValueError
from stream_detector.integrations.spark.columns import (
    KEY,
    NUMBERS,
    TIME,
    Roles,
    column,
    find_roles,
    to_numpy,
)
from stream_detector.recipes import Recipe
from stream_detector.text import shorten

START, END, VALUES = "window_start_ms", "window_end_ms", "values"
"""Columns of windows: times of the first and the last sample, and the numbers step by step."""

PEAKS = ("peak_since_ms", "peak_before_ms", "is_pause")
"""Columns of `PeakIntervals`, of windows round peaks whose rhythm is looked at."""

WINDOWS = "table of windows"
"""What messages call it."""

_PLACES = [
    T.StructField(KEY, T.StringType(), nullable=False),
    T.StructField(START, T.LongType(), nullable=False),
    T.StructField(END, T.LongType(), nullable=False),
]
_RHYTHM = [
    T.StructField(PEAKS[0], T.DoubleType(), nullable=False),
    T.StructField(PEAKS[1], T.DoubleType(), nullable=False),
    T.StructField(PEAKS[2], T.BooleanType(), nullable=False),
]
_CUT = T.ArrayType(T.FloatType(), containsNull=False)


def cut_schema(*, has_rhythm: bool) -> T.StructType:
    """Return the columns of windows that are cut from samples."""
    values = T.StructField(VALUES, _CUT, nullable=False)
    return T.StructType([*_PLACES, values, *(_RHYTHM if has_rhythm else [])])


def cut_batch(found: CutWindows, features: Features) -> pa.RecordBatch:
    """Return windows that were cut from samples as columns of `cut_schema`.

    Parameters
    ----------
    found
        The windows.
    features
        Those of the bundle, to whose scales of keys the windows are brought.
    """
    windows = (found.features or features).to_key_units(found.windows, found.keys)
    n_values = int(np.prod(windows.shape[1:]))
    ends = np.arange(len(windows) + 1, dtype=np.int32) * n_values  # (n_windows + 1,)
    columns = {
        KEY: pa.array(found.keys, pa.string()),
        START: pa.array(found.start_ms),
        END: pa.array(found.end_ms),
        VALUES: pa.ListArray.from_arrays(pa.array(ends), pa.array(windows.reshape(-1))),
    }
    if found.intervals is not None:
        columns |= {
            name: pa.array(each) for name, each in zip(PEAKS, _parts(found.intervals), strict=True)
        }
    return pa.RecordBatch.from_pydict(columns)


@dataclass(frozen=True, slots=True)
class WindowLayout:
    """How a table has its windows.

    Parameters
    ----------
    values
        Columns of values, in the order of the window; one that has them all, or one each.
    is_packed
        Which of both it is.
    key, time
        Columns with the key of a window and the time of its start, for messages and rules; None
        where there is none.
    """

    values: tuple[str, ...]
    is_packed: bool
    key: str | None
    time: str | None

    @classmethod
    def of(cls, table: DataFrame, served: Served) -> "WindowLayout":
        """Return how a table has windows that a bundle can score.

        Raises
        ------
        DatasetError
            If it has none, or a column has another type.
        """
        if served.detector.keeps_state:
            _check_cut(table, served)
            return cls((VALUES,), is_packed=True, key=KEY, time=START)
        recipe = served.bundle.manifest.recipe
        roles = find_roles(table, recipe.data.columns, WINDOWS)
        places = roles.names.get(KEY), roles.names.get(TIME)
        if VALUES in table.columns:
            _check_packed(table, is_image=recipe.window.record == "image")
            return cls((VALUES,), True, *places)
        return cls(_value_names(roles, recipe), False, *places)

    def read(self, batch: pa.RecordBatch, served: Served) -> FloatArray:
        """Return the windows of some rows as a scorer takes them.

        Parameters
        ----------
        batch
            Rows of the table.
        served
            The bundle.

        Raises
        ------
        DatasetError
            If a row has no window, or one of another shape.
        """
        recipe, features = served.bundle.manifest.recipe, served.bundle.features
        shape = (recipe.window.steps, recipe.window.features)
        is_cut = served.detector.keeps_state
        if not self.is_packed:
            exact = np.column_stack([_float64(batch[name]) for name in self.values])
        else:
            packed = batch[VALUES]
            if packed.null_count:
                row = int(np.flatnonzero(to_numpy(pc.is_null(packed)))[0])
                raise self.refusal(batch, row, VALUES, "expected a window, received null")
            if pa.types.is_binary(packed.type) or pa.types.is_large_binary(packed.type):
                return self._decoded(batch, served, shape)
            exact = self._flat(batch, packed, shape)
        origin = () if is_cut else np.tile(features.origin, shape[0])
        return to_float32(exact, origin).reshape(-1, *shape)

    def refusal(self, batch: pa.RecordBatch, row: int, name: str, what: str) -> DatasetError:
        """Return the error for a column of a row."""
        parts = []
        if self.key is not None:
            parts.append(f"key {shorten(str(batch[self.key][row].as_py()), 64)}")
        if self.time is not None:
            at = batch[self.time][row].as_py()
            at = describe_time(float(at)) if isinstance(at, int | float) else str(at)
            parts.append(f"at {at}")
        place = ", " + " ".join(parts) if parts else ""
        message = f"{WINDOWS}, column {name}{place}: {what}; correct it, or leave the row out"
        return DatasetError(message)

    def _flat(
        self, batch: pa.RecordBatch, packed: pa.Array, shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Return the numbers of a column of arrays, shape (n_windows, n_values)."""
        lengths = [shape[0] * shape[1]]
        if pa.types.is_nested(packed.type.value_type):
            lengths = [*shape]
        flat, n_before = packed, 1
        for n_expected in lengths:
            counts = pc.fill_null(pc.list_value_length(flat), 0)
            bad = np.flatnonzero(to_numpy(counts) != n_expected)
            if len(bad):
                row = int(bad[0]) // n_before
                what = (
                    f"expected {shape[0]} steps x {shape[1]} features, as one array or as one of "
                    f"steps, received an array of {counts[int(bad[0])].as_py()}"
                )
                raise self.refusal(batch, row, VALUES, what)
            flat, n_before = flat.flatten(), n_before * n_expected
        return _float64(flat).reshape(-1, shape[0] * shape[1])

    def _decoded(self, batch: pa.RecordBatch, served: Served, shape: tuple[int, int]) -> FloatArray:
        """Return the windows of a column of bytes, decoded as those of records are."""
        detector = served.detector
        image = detector.image if isinstance(detector, WindowDetector) else None
        format_name = "float32" if image is None else None
        values: list[bytes] = to_numpy(batch[VALUES]).tolist()
        origin = served.bundle.features.origin
        decoded = decode_windows(values, None, image or shape, format_name, 0, origin)
        for rejected in decoded.rejected:
            raise self.refusal(batch, rejected.index, VALUES, str(rejected.error))
        return decoded.windows


def score_batch(layout: WindowLayout, batch: pa.RecordBatch, served: Served) -> NDArray[np.float64]:
    """Return the scores of the windows of some rows, shape (n_rows,).

    Raises
    ------
    DatasetError
        If a row has no window, or a value of one cannot be scored.
    """
    windows, detector = layout.read(batch, served), served.detector
    try:
        if not isinstance(detector, SampleDetector):
            return detector.score(windows)
        keys = None if detector.rules is None else batch[KEY].to_pylist()
        intervals = None if detector.rhythm is None else _intervals(batch)
        return detector.score(windows, intervals, keys)
    except RecordValueError:
        scorer = detector.scorer
        row = int(np.flatnonzero(~usable_windows(scorer, windows))[0])
        at = int(np.flatnonzero(~scorer.in_range(windows[row]).reshape(-1))[0])
        name = VALUES if layout.is_packed else layout.values[at]
        raise layout.refusal(batch, row, name, describe_bad_value(scorer, windows[row])) from None


def value_columns(roles: Roles, recipe: Recipe) -> list[Column]:
    """Return a column for each value of whole windows, those of an array one after the other.

    Parameters
    ----------
    roles
        Which column of the table is what.
    recipe
        Of whole windows.

    Raises
    ------
    ConfigError
        If the windows are images.
    DatasetError
        If there are no such columns.
    """
    if recipe.window.record == "image":
        message = "training_table: expected a bundle of samples or whole windows, received images"
        raise ConfigError(message)
    if VALUES not in roles.table.columns:
        return [column(name) for name in _value_names(roles, recipe)]
    _check_packed(roles.table, is_image=False)
    kind, values = roles.table.schema[VALUES].dataType, column(VALUES)
    if isinstance(kind, T.BinaryType):
        message = f"{WINDOWS}, column {VALUES} (binary): expected arrays of numbers to train on"
        raise DatasetError(message)
    if isinstance(kind.elementType, T.ArrayType):
        values = F.flatten(values)
    n_values = recipe.window.steps * recipe.window.features
    message = f"{WINDOWS}, column {VALUES}: expected {n_values} numbers; leave the row out"
    whole = F.when(F.size(values) == n_values, values).otherwise(F.raise_error(F.lit(message)))
    return [F.get(whole, F.lit(at)).alias(f"v{at}") for at in range(n_values)]


def _value_names(roles: Roles, recipe: Recipe) -> tuple[str, ...]:
    """Return the columns of values, one each, in the order of the window."""
    n_values = recipe.window.steps * recipe.window.features
    if recipe.window.record == "image" or len(roles.values) != n_values:
        message = (
            f"{WINDOWS}: expected a column {VALUES}, or {n_values} columns of values "
            f"({recipe.window.steps} steps x {recipe.window.features} features) beside the "
            f"columns {KEY} and {TIME}, received {len(roles.values)}: "
            f"{shorten(', '.join(roles.values), 200)}"
        )
        raise DatasetError(message)
    for role in roles.values:
        roles.numbers(role)  # checks its type
    return tuple(roles.names[role] for role in roles.values)


def _check_cut(table: DataFrame, served: Served) -> None:
    """Refuse a table that is not what `cut_schema` says."""
    detector = served.detector
    has_rhythm = isinstance(detector, SampleDetector) and detector.rhythm is not None
    for field in cut_schema(has_rhythm=has_rhythm):
        kind = table.schema[field.name].dataType if field.name in table.columns else None
        if kind is None or kind.simpleString() != field.dataType.simpleString():
            received = "none" if kind is None else kind.simpleString()
            message = (
                f"{WINDOWS}: expected the column {field.name} ({field.dataType.simpleString()}), "
                f"received {received}: the bundle's records are samples, so give what "
                "windows_table cuts from them"
            )
            raise DatasetError(message)


def _check_packed(table: DataFrame, *, is_image: bool) -> None:
    """Refuse a column of values that holds no windows."""
    kind = table.schema[VALUES].dataType
    is_right = isinstance(kind, T.BinaryType)
    if not is_image and isinstance(kind, T.ArrayType):
        element = kind.elementType
        is_right = isinstance(getattr(element, "elementType", element), NUMBERS)
    if not is_right:
        expected = "images as bytes" if is_image else "arrays of numbers, or bytes of float32"
        message = (
            f"{WINDOWS}, column {VALUES} ({kind.simpleString()}): expected {expected}; convert it "
            "with withColumn, or rename it if it is something else"
        )
        raise DatasetError(message)


def _parts(intervals: PeakIntervals) -> tuple[NDArray[Any], ...]:
    """Return the columns of intervals."""
    return intervals.since_ms, intervals.before_ms, intervals.is_pause


def _intervals(batch: pa.RecordBatch) -> PeakIntervals:
    """Return the intervals of rows."""
    return PeakIntervals(*(to_numpy(batch[name]) for name in PEAKS))


def _float64(array: pa.Array) -> NDArray[np.float64]:
    """Return numbers of any type; null is NaN."""
    kind = array.type
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        array = array.cast(pa.float64(), safe=False)
    return to_numpy(array).astype(np.float64)
