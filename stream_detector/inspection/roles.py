"""Find out which column of a file is the key, the time and the label, and which are features."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_detector.errors import ConfigError
from stream_detector.inspection.labels import find_label, looks_like_label
from stream_detector.inspection.table import RawColumn, RawTable, is_nothing
from stream_detector.inspection.times import find_times
from stream_detector.recipes.columns import LABEL_NOTES, ColumnMap
from stream_detector.recipes.datasets import name_of
from stream_detector.text import shorten

Role = Literal["key", "time", "label", "feature", "left out"]

_SUFFIX = r"([ _-]?(id|ids|name|no|nr|num|number|key|tag|code|serial|uuid|label))?"
_KEY = re.compile(
    r"key|keys|id|name|series|serial([ _-]?(no|nr|number))?|uuid|tag|"
    r"(.*[ _-])?(device|machine|sensor|unit|asset|pump|host|hostname|node|station|meter|equipment|"
    r"turbine|vehicle|engine|line|site|plant|source|instance|cell|battery|patient|channel|server|"
    r"pod|robot|motor|boiler|compressor|chiller|fan|bearing|truck|car|train|well|tank|room|building|"
    r"panel|inverter|container|probe|logger|gateway|drive|spindle|press|furnace|oven|valve|tool|"
    r"axis|lead|record|location|maschine|anlage|geraet|gerät|equip|thing|entity|item|customer)s?"
    + _SUFFIX
)
"""Names of columns that say which machine it is."""

_MAYBE_KEY = re.compile(r".*([ _-](id|key|name|no|nr|number|code)|_id_|[a-z](Id|ID))")
"""Names of columns that may say it, and may as well be a program, a batch or an error."""

_SPARSE = 0.5
"""A column with values in fewer rows is left out: windows with it would lack too many values."""
_REPEATED_MAX = 0.02
"""Share of rows with the same time as another of their series, above which they cannot be one."""
_REGULAR_GAIN = 0.2
_KEYS_MAX = 50_000
_N_COURSE_MIN, _SAME_STEP = 50, 1e-6
"""With so many steps that differ by less than this part of them, a column numbers its rows."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said about the columns; None leaves it to be found out, "" says there is none.

    Parameters
    ----------
    key, time, label
        Names of columns.
    time_format, normal_label
        As in `stream_detector.recipes.columns.ColumnMap`.
    features
        Names of columns.
    ignored
        Names of columns that are nothing, not even features.
    feature_name, feature_value
        As there, for tables in which each row has the value of one feature; `features` and
        `ignored` are then names in the first.
    why
        Who says so.
    """

    key: str | None = None
    time: str | None = None
    time_format: str | None = None
    label: str | None = None
    normal_label: str | None = None
    features: tuple[str, ...] = ()
    feature_name: str | None = None
    feature_value: str | None = None
    ignored: tuple[str, ...] = ()
    why: str = "as you said"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the columns of a file are.

    Parameters
    ----------
    columns
        Which is what, as a recipe has it. `time` is "" where the file has no times.
    why
        Role and reason of each column, by name, in the order of the file.
    series
        Number of each row's series, shape (n_rows,).
    keys
        Names of the series.
    times_ms
        Time of each row, shape (n_rows,), milliseconds since 1970-01-01 UTC, NaN where there is
        none; empty where the file has no times.
    is_normal
        Whether no label marks a row as anomalous, shape (n_rows,).
    notes
        What a person should know beside.
    time_of_day
        Name of a second column that the times are made of; empty if there is none.
    constant
        Names of the features that never change in the file: whatever else they show is anomalous.
    """

    columns: ColumnMap
    why: Mapping[str, tuple[Role, str]]
    series: NDArray[np.intp]
    keys: tuple[str, ...]
    times_ms: NDArray[np.float64]
    is_normal: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    time_of_day: str = ""
    constant: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return self.columns.features

    def normal_rows(self) -> list[NDArray[np.intp]]:
        """Return the rows of each series that no label marks as anomalous, in the order of time."""
        order = np.lexsort((self.times_ms, self.series))  # (n_rows,), series by series, in time
        order = order[self.is_normal[order]]  # (n_normal,)
        return np.split(order, np.flatnonzero(np.diff(self.series[order])) + 1)


@dataclass(slots=True)
class _Finding:
    """What is known so far: roles with reasons, and notes."""

    table: RawTable
    why: dict[str, tuple[Role, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    time_of_day: str = ""

    def rest(self) -> list[RawColumn]:
        """Return the columns without a role yet."""
        return [each for each in self.table.columns if each.name not in self.why]


def find_roles(table: RawTable, said: Said) -> Layout:
    """Find out what each column of a file of samples is.

    Parameters
    ----------
    table
        The file.
    said
        What a person said; it is never questioned.

    Raises
    ------
    ConfigError
        If a column that was said is not there, or nothing is left for features.
    """
    check_said(table, said)
    found = _Finding(table)
    found.why |= {_name_in(table, each): ("left out", said.why) for each in said.ignored}
    for name, role in ((said.key, "key"), (said.label, "label")):
        if name:
            found.why[_name_in(table, name)] = (role, said.why)  # type: ignore[assignment]
    time, time_format, times_ms = _time(found, said)
    normal_label, is_normal = _label(found, said)
    key, series, keys = _key(found, said, times_ms)
    features = _features(found, said, series)
    constant = tuple(
        each.name for each in table.columns if each.name in features and each.only is not None
    )
    if len(constant) == len(features) and not said.features:
        left = "; ".join(f"{name}: {why}" for name, (_, why) in found.why.items())
        message = (
            f"{table.path}: expected at least one column of numbers that vary, beside key, time "
            f"and label, received none: {left}; name features with --features"
        )
        raise ConfigError(message)
    label = next((name for name, (role, _) in found.why.items() if role == "label"), "")
    columns = ColumnMap(key, time, time_format, label, normal_label, features)
    order = {each.name: found.why[each.name] for each in table.columns}
    notes = tuple(found.notes)
    return Layout(
        columns, order, series, keys, times_ms, is_normal, notes, found.time_of_day, constant
    )


def check_said(table: RawTable, said: Said) -> None:
    """Refuse names of columns that the file does not have.

    Raises
    ------
    ConfigError
        Naming the option, the name and the columns that are there.
    """
    for flag, names in (
        ("--key", [said.key]),
        ("--time", [said.time]),
        ("--label", [said.label]),
        ("--features", list(said.features)),
        ("--ignore", list(said.ignored)),
        ("--long", [said.feature_name, said.feature_value]),
    ):
        for name in names:
            if name and table.named(name) is None:
                known = ", ".join(each.name for each in table.columns)
                message = (
                    f"{flag}: expected a column of {table.path}, one of {known}, received {name!r}"
                )
                raise ConfigError(message)


def _name_in(table: RawTable, name: str) -> str:
    """Return the name of a column as the table has it."""
    column = table.named(name)
    return name if column is None else column.name


def _time(found: _Finding, said: Said) -> tuple[str, str, NDArray[np.float64]]:
    """Return name and format of the column of times, "" if there is none, and the times."""
    candidates = [] if said.time == "" else found.rest()
    if said.time:
        candidates = [each for each in candidates if each.name == _name_in(found.table, said.time)]
    best = find_times(candidates, said.time_format, is_said=bool(said.time))
    if said.time and (best is None or not np.isfinite(best.times_ms).any()):
        _refuse_time(found.table, said.time, said.time_format)
    if best is None:
        return "", "ms", np.empty(0)
    if said.time_format and not np.isfinite(best.times_ms).any():
        _refuse_time(found.table, best.name, said.time_format)
    found.why[best.name] = ("time", said.why if said.time else best.why)
    for other in best.others:
        found.why[other] = ("left out", f"is a time too, and {best.name} was taken")
    if best.time_of_day:
        found.why[best.time_of_day] = ("time", "time of day")
        found.time_of_day = best.time_of_day
    if best.note:
        found.notes.append(best.note)
    return best.name, best.time_format, best.times_ms


def _refuse_time(table: RawTable, name: str, time_format: str | None) -> NoReturn:
    """Raise for a column that was said to hold times, or times of a format, and holds none."""
    column = table.named(name)
    cells = () if column is None else column.cells if column.numbers is None else column.numbers
    first = next((str(cell) for cell in cells if not is_nothing(cell)), "nothing")
    flag, expected = ("--time", "times") if time_format is None else ("--time-format", time_format)
    message = (
        f"{flag}: expected a column of {expected}, received {name} of {table.path}, in which the "
        f"first cell is {shorten(first, 40)!r}; the columns are "
        f"{', '.join(each.name for each in table.columns)}"
    )
    raise ConfigError(message)


def _label(found: _Finding, said: Said) -> tuple[str | None, NDArray[np.bool_]]:
    """Return what the label of a normal row is, None for 0, and which rows are normal."""
    table = found.table
    for column in table.columns:
        if column.name in LABEL_NOTES and column.name not in found.why:
            found.why[column.name] = ("left out", "says more of a label")
    if said.label == "":
        return None, np.ones(table.n_rows, dtype=np.bool_)
    candidates = found.rest()
    if said.label:
        candidates = [each for each in table.columns if each.name == _name_in(table, said.label)]
    best = find_label(candidates, said.normal_label, is_said=bool(said.label))
    if best is None:
        return None, np.ones(table.n_rows, dtype=np.bool_)
    found.why[best.name] = ("label", best.why)
    for column in found.rest():
        if looks_like_label(column):
            found.why[column.name] = ("left out", f"is a label too, and {best.name} was taken")
    return best.normal_label, best.is_normal


@dataclass(frozen=True, slots=True)
class _Grouping:
    """How one column groups the rows: shares of repeated times and of regular intervals."""

    name: str
    series: NDArray[np.intp]
    keys: tuple[str, ...]
    repeated: float
    regular: float
    is_named: bool = False
    is_maybe: bool = False


def _key(
    found: _Finding, said: Said, times_ms: NDArray[np.float64]
) -> tuple[str, NDArray[np.intp], tuple[str, ...]]:
    """Return the name of the column of keys, "" if there is none, and the series of each row."""
    table = found.table
    nothing = np.zeros(table.n_rows, np.intp)
    alone = _Grouping("", nothing, (name_of(table.path),), *_steadiness(nothing, times_ms))
    if said.key == "":
        return "", alone.series, alone.keys
    if said.key:
        column = table.named(said.key)
        assert column is not None  # noqa: S101  (checked before)
        codes, keys = column.codes()
        _warn_of_missing_keys(found, column)
        return column.name, codes, tuple(keys)
    groupings = [
        each for column in found.rest() if (each := _grouping(column, times_ms)) is not None
    ]
    best = max(groupings, key=lambda each: _merit(each, alone), default=None)
    if best is None or _merit(best, alone) <= 0:
        return "", alone.series, alone.keys
    n_keys = len(best.keys)
    why = "called as keys are" if best.is_named else "splits the rows into regular series"
    found.why[best.name] = ("key", f"{why}; {n_keys} different" if n_keys > 1 else why)
    column = table.named(best.name)
    if column is not None:
        _warn_of_missing_keys(found, column)
    if best.repeated > _REPEATED_MAX:
        found.notes.append(
            f"{best.repeated:.0%} of the rows have the same time as another row of their key, and "
            "only the first of them counts: if the key is made of several columns, join them to "
            "one; if a row has the value of one feature, say so with --long NAME,VALUE"
        )
    return best.name, best.series, best.keys


def _warn_of_missing_keys(found: _Finding, column: RawColumn) -> None:
    """Note rows without a key."""
    n_missing = int(column.is_missing.sum())
    if n_missing:
        found.notes.append(f"{n_missing} rows have no {column.name}, which is the key")


def _grouping(column: RawColumn, times_ms: NDArray[np.float64]) -> _Grouping | None:
    """Return how a column divides the rows into series, None where it cannot be a key."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower()
    is_named = _KEY.fullmatch(plain) is not None
    is_maybe = _MAYBE_KEY.fullmatch(column.name) is not None
    numbers = column.numbers
    if numbers is not None and not (np.isfinite(numbers) & (numbers == np.trunc(numbers))).all():
        return None
    codes, keys = column.codes()
    n_rows, n_keys = len(codes), len(keys)
    if n_keys > min(_KEYS_MAX, max(n_rows // 5, 1)) or (n_keys == 1 and not is_named):
        return None
    if n_keys == 1 and numbers is not None and column.name.lower() != "key":
        return None
    repeated, regular = _steadiness(codes, times_ms)
    return _Grouping(column.name, codes, tuple(keys), repeated, regular, is_named, is_maybe)


def _merit(each: _Grouping, alone: _Grouping) -> float:
    """Return how good a key is, above 0 where it is better than none."""
    gain = (alone.repeated - each.repeated) + (each.regular - alone.regular)
    is_needed = alone.repeated > _REPEATED_MAX or alone.regular < 1 - _REGULAR_GAIN
    if each.is_named or (each.is_maybe and is_needed):
        return gain + (0.1 if each.is_named else 0.05)
    return gain - 0.1 if is_needed and gain > _REGULAR_GAIN else min(gain, 0.0)


def _steadiness(series: NDArray[np.intp], times_ms: NDArray[np.float64]) -> tuple[float, float]:
    """Return the shares of repeated times and of intervals near the median, within each series."""
    if not len(times_ms):
        return 0.0, 0.0
    order = np.lexsort((times_ms, series))
    is_same = np.diff(series[order]) == 0
    apart = np.diff(times_ms[order])[is_same]
    if not len(apart):
        return 0.0, 0.0
    later = apart[apart > 0]
    if not len(later):
        return 1.0, 0.0
    middle = float(np.median(later))
    regular = float((np.abs(later - middle) <= 0.5 * middle).mean())
    return float((apart <= 0).mean()), regular


def _features(found: _Finding, said: Said, series: NDArray[np.intp]) -> tuple[str, ...]:
    """Return the names of the features, in the order of the file."""
    wanted = {_name_in(found.table, name) for name in said.features}
    features = []
    for column in found.rest():
        reason = None if column.name in wanted else _why_not(column, series)
        if wanted and column.name not in wanted:
            reason = "you named other features"
        if reason is None:
            share, only = float(column.is_missing.mean()), column.only
            missing = f", {share:.1%} missing" if share else ""
            what = "numbers" if only is None else f"always {only:g}, so others are anomalous"
            found.why[column.name] = ("feature", f"{what}{missing}")
            features.append(column.name)
        else:
            found.why[column.name] = ("left out", reason)
    return tuple(features)


def _why_not(column: RawColumn, series: NDArray[np.intp]) -> str | None:
    """Return why a column is no feature, None where it is one."""
    missing = column.is_missing
    if column.is_index or missing.all():
        return "is the index of the table" if column.is_index else "is empty"
    if column.numbers is None:
        return _why_text(column, missing)
    there = column.numbers[~missing]
    if np.isinf(there).any():
        return "holds infinite values"
    if missing.mean() > _SPARSE:
        return f"has values in {1 - missing.mean():.0%} of the rows only"
    if column.only is not None:
        return None
    return _why_course(column.numbers, series)


def _why_course(values: NDArray[np.float64], series: NDArray[np.intp]) -> str | None:
    """Return why the course of a column within each series makes it no feature, None if not."""
    if len(values) > _N_COURSE_MIN and (np.diff(values) == 1).all():
        return "counts the rows"
    order = np.argsort(series, kind="stable")
    steps = np.diff(values[order])[np.diff(series[order]) == 0]
    steps = steps[~np.isnan(steps)]  # beside a missing value
    if len(steps) and not steps.any():
        return "never changes within a key"
    if len(steps) > _N_COURSE_MIN and np.ptp(steps) <= _SAME_STEP * abs(steps[0]):
        return "goes on by the same step from row to row, as a row number does"
    return None


def _why_text(column: RawColumn, missing: NDArray[np.bool_]) -> str:
    """Return why a column that is not all numbers is no feature."""
    there: Sequence[object] = [
        cell
        for cell, is_missing in zip(column.cells, missing.tolist(), strict=True)
        if not is_missing
    ]
    if not isinstance(there[0], str):
        return f"holds {type(there[0]).__name__} and no numbers"
    bad = next((cell for cell in there if not _is_number(str(cell))), there[0])
    n_numbers = sum(_is_number(str(cell)) for cell in there[:1000])
    if n_numbers > 0.5 * len(there[:1000]):
        return f"is numbers, but for cells such as {str(bad)[:32]!r}: leave these empty to use it"
    if len(set(there)) == 1:
        return f"is always {str(there[0])[:32]!r}"
    return f"is text, such as {str(bad)[:32]!r}"


def _is_number(text: str) -> bool:
    """Return whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
