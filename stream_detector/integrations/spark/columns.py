"""Columns of Spark's tables: which one is what, and the same as arrays.

What a column is follows from its name, as in a file, and its type is checked before Spark runs
anything. Numbers become float64 and times milliseconds in Spark itself, so what reaches Python is
the same whatever types a table has.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import Samples
from stream_detector.core.timestamps import (
    SECONDS_MAX,
    SECONDS_MIN,
    TIMESTAMP_MS_MAX,
    describe_time,
    looks_like,
)
from stream_detector.datasets.feature_order import match_features
from stream_detector.datasets.files.columns import canonical, roles_of
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import FEATURE_NAME, LABEL_NOTES, TIME_UNITS_MS, ColumnMap
from stream_detector.text import shorten

PLACES = KEY, TIME, LABEL = "key", "timestamp_ms", "label"
"""What columns are that are found by name, and what they are called from then on."""

_WHOLE = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
NUMBERS = (*_WHOLE, T.FloatType, T.DoubleType, T.DecimalType, T.BooleanType)
"""Types of columns of numbers."""

_KEYS = (T.StringType, *_WHOLE)
_DAY_MS = 86_400_000


class Roles(NamedTuple):
    """Which column of a table is what.

    Parameters
    ----------
    where
        What messages call the table.
    table
        The table.
    columns
        What a recipe says of its columns.
    names
        Name of the column of each role: one of the names above, `FEATURE_NAME`, or a value.
    """

    where: str
    table: DataFrame
    columns: ColumnMap
    names: dict[str, str]

    @property
    def values(self) -> tuple[str, ...]:
        """Return the roles of columns of values, in the order of the table."""
        named = (*PLACES, FEATURE_NAME, *LABEL_NOTES)
        return tuple(role for role in self.names if role not in named)

    def require(self, role: str, what: str) -> Column:
        """Return the column of a role.

        Raises
        ------
        DatasetError
            If the table has none.
        """
        if role not in self.names:
            message = (
                f"{self.where}: expected a column {role}, {what}, received "
                f"{', '.join(self.table.columns)}; add or rename it with withColumn"
            )
            raise DatasetError(message)
        return column(self.names[role])

    def key(self) -> Column:
        """Return the key of the series as text.

        Raises
        ------
        DatasetError
            If there is none, or it is neither text nor a whole number.
        """
        found = self.require(KEY, "with the key of the series")
        self._check(KEY, _KEYS, "text or whole numbers", "string")
        return found.cast("string")

    def time_ms(self) -> Column:
        """Return the time in milliseconds since 1970-01-01 UTC, float64.

        Raises
        ------
        DatasetError
            If there is none, or its type or unit is not known.
        """
        found = self.require(TIME, "with the time")
        name = self.names[TIME]
        kind = self.table.schema[name].dataType
        if isinstance(kind, T.TimestampType):
            return F.unix_micros(found) / F.lit(1_000.0)
        if isinstance(kind, T.TimestampNTZType):
            epoch = F.lit("1970-01-01 00:00:00").cast("timestamp_ntz")
            return F.timestamp_diff("MICROSECOND", epoch, found) / F.lit(1_000.0)
        if isinstance(kind, T.DateType):
            return F.unix_date(found) * F.lit(float(_DAY_MS))
        self._check(TIME, NUMBERS[:-1], "timestamps, dates or numbers", "timestamp")
        plain = canonical(name)
        unit = self.columns.format_of([plain]) or ("ms" if plain == TIME else None)
        if unit not in TIME_UNITS_MS:
            message = (
                f"{self.where}, column {name}: expected the unit of its numbers in "
                f"data.time_format of the recipe ({', '.join(TIME_UNITS_MS)}), received "
                f"{unit or 'none'}; give timestamps, such as timestamp_millis({name}), or "
                f"milliseconds in a column {TIME}"
            )
            raise DatasetError(message)
        factor, numbers = TIME_UNITS_MS[unit], found.cast("double")
        # Divided, since 1e-3 is no exact number.
        exact = round(factor) if factor >= 1 else round(1 / factor)
        return numbers * F.lit(float(exact)) if factor >= 1 else numbers / F.lit(float(exact))

    def numbers(self, role: str) -> Column:
        """Return a column of values as float64.

        Raises
        ------
        DatasetError
            If it does not hold numbers.
        """
        self._check(role, NUMBERS, "numbers", "double")
        return column(self.names[role]).cast("double")

    def places(self) -> list[Column]:
        """Return the columns with key, time and label, and what else is said of a label."""
        return [column(self.names[each]) for each in (*PLACES, *LABEL_NOTES) if each in self.names]

    def features(self, features: Features) -> list[Column]:
        """Return the columns of the features of a bundle, or of their names and values.

        Raises
        ------
        DatasetError
            If one is missing or has another type.
        """
        if FEATURE_NAME in self.names:
            (value,) = self.values
            self.numbers(value)
            return [column(self.names[FEATURE_NAME]), column(self.names[value])]
        names = self.matching(features)
        for name in names:
            self.numbers(name)
        return [column(self.names[name]) for name in names]

    def matching(self, features: Features) -> list[str]:
        """Return the roles that are the features of a bundle, in its order.

        Raises
        ------
        DatasetError
            If one is missing.
        """
        is_known = features.names if features.are_named else self.values
        known = [name for name in self.values if name in is_known]
        return [known[place] for place in match_features(known, features, self.where)]

    def _check(self, role: str, kinds: tuple[type, ...], what: str, cast: str) -> None:
        """Refuse a column of another type."""
        name = self.names[role]
        kind = self.table.schema[name].dataType
        if not isinstance(kind, kinds):
            message = (
                f"{self.where}, column {name} ({kind.simpleString()}): expected {what}; convert it "
                f"with withColumn, for example cast('{cast}'), or drop it"
            )
            raise DatasetError(message)


def find_roles(table: DataFrame, columns: ColumnMap, where: str) -> Roles:
    """Return which column of a table is what, as a file's are found.

    Parameters
    ----------
    table
        Of Spark.
    columns
        What a recipe says of its columns.
    where
        What messages call the table.

    Raises
    ------
    DatasetError
        If two columns have one name or stand for the same, or one is missing that a recipe names.
    """
    names = table.columns
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = (
            f"{where}: expected columns of different names, received {', '.join(twice)} more than "
            "once; rename or drop one"
        )
        raise DatasetError(message)
    roles = roles_of(Path(where), [*map(canonical, names)], columns.lenient)
    found = {role: name for role, name in zip(roles, names, strict=True) if role is not None}
    return Roles(where, table, columns.lenient, found)


def column(name: str) -> Column:
    """Return a column by its name, whatever characters that has."""
    return F.col("`" + name.replace("`", "``") + "`")


def value_name(number: int) -> str:
    """Return what the column of a feature is called on its way to Python."""
    return f"value_{number}"


def samples_columns(roles: Roles, features: Features) -> DataFrame:
    """Return a table of samples as key, time and a column of float64 for each feature of a bundle.

    A table in which each row has one value is made one with a column for each feature: values of
    one key and time meet, and of several for one feature the smallest counts.

    Parameters
    ----------
    roles
        Which column of the table is what.
    features
        Those of the bundle.

    Raises
    ------
    DatasetError
        If a column is missing or has another type.
    """
    key, time_ms = roles.key().alias(KEY), roles.time_ms().alias(TIME)
    if FEATURE_NAME in roles.names:
        (value,) = roles.values
        name, number = column(roles.names[FEATURE_NAME]), roles.numbers(value)
        rows = roles.table.select(key, time_ms, name.alias("name"), number.alias("value"))
        chosen = [F.min(F.when(F.col("name") == each, F.col("value"))) for each in features.names]
        named = [each.alias(value_name(at)) for at, each in enumerate(chosen)]
        # By key alone, so that rows are shared out once.
        return rows.repartition(KEY).groupBy(KEY, TIME).agg(*named)
    names = roles.matching(features)
    values = [roles.numbers(name).alias(value_name(at)) for at, name in enumerate(names)]
    return roles.table.select(key, time_ms, *values)


def samples_of(table: pa.Table, features: Features, where: str) -> Samples:
    """Return rows of `samples_columns` as samples without the origin of the features.

    Parameters
    ----------
    table
        The rows, by key.
    features
        Those of the bundle.
    where
        What messages call the table.

    Raises
    ------
    DatasetError
        If a key or a time is missing, a time is none, or a value is infinite; names the column.
    """
    keys = table[KEY].combine_chunks()
    times_ms = to_numpy(table[TIME])  # (n_samples,)
    _check_places(keys, times_ms, where)
    names = keys.dictionary_encode()
    exact = np.column_stack([to_numpy(table[value_name(at)]) for at in range(len(features))])
    values = to_float32(exact, features.origin)  # (n_samples, n_features)
    bad = np.argwhere(np.isinf(values))
    if len(bad):
        row, feature = bad[0].tolist()
        message = (
            f"{where}, column {features.names[feature]}, {_place(keys, times_ms, row)}: expected a "
            "finite number that fits float32, or null for a missing value, received "
            f"{exact[row, feature]}; correct it, or leave the row out with where"
        )
        raise DatasetError(message)
    series = to_numpy(names.indices).astype(np.intp)
    return Samples(tuple(names.dictionary.to_pylist()), series, times_ms, values)


def gathered(batches: Iterator[pa.RecordBatch], n_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of batches as tables of so many rows, and the rest."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        while sum(each.num_rows for each in pending) >= n_rows:
            whole = pa.Table.from_batches(pending)
            yield whole.slice(0, n_rows)
            pending = whole.slice(n_rows).to_batches()
    if any(each.num_rows for each in pending):
        yield pa.Table.from_batches(pending)


def to_numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers as an array; null is NaN."""
    found: NDArray[Any] = (
        array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy()
    )
    return found


def _check_places(keys: pa.Array, times_ms: NDArray[np.float64], where: str) -> None:
    """Refuse rows without a key, or with a time that is none."""
    if keys.null_count:
        row = int(np.flatnonzero(to_numpy(pc.is_null(keys)))[0])
        at = describe_time(float(times_ms[row]))
        message = (
            f"{where}, column {KEY}, a row at {at}: expected the name of a series, received null; "
            "correct it, or leave the row out with where"
        )
        raise DatasetError(message)
    is_time = (times_ms >= 0) & (times_ms <= TIMESTAMP_MS_MAX)  # (n_samples,), False for NaN
    is_time &= (times_ms < SECONDS_MIN) | (times_ms >= SECONDS_MAX)
    if not is_time.all():
        row = int(np.flatnonzero(~is_time)[0])
        time_ms = float(times_ms[row])
        received = "null" if np.isnan(time_ms) else f"{time_ms:.16g}{looks_like(time_ms)}"
        message = (
            f"{where}, column {TIME}, a row of key {shorten(keys[row].as_py(), 64)}: expected "
            f"milliseconds since 1970 up to the year 9999, received {received}; correct it, or "
            "leave the row out with where"
        )
        raise DatasetError(message)


def _place(keys: Sequence[Any], times_ms: NDArray[np.float64], row: int) -> str:
    """Return which row that is."""
    key = shorten(keys[row].as_py(), 64)
    return f"key {key} at {describe_time(float(times_ms[row]))}"
