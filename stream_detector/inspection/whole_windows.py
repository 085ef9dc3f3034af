"""Files in which a row is a whole window: many numbered columns, and no time."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_detector.core.scoring.thresholds import N_EXCEEDING_MIN
from stream_detector.errors import DatasetError
from stream_detector.inspection.labels import find_label
from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.recipe_text import data_source, network_size
from stream_detector.inspection.table import RawTable
from stream_detector.inspection.times import find_times

N_VALUES_MIN = 16
"""Fewer numbered columns are features that are called so."""

N_ROWS_MIN = 50
"""With fewer windows there is too little to learn from and to calibrate on."""

_N_ROWS_COMPARED, _N_APART_MAX = 5_000, 64
_MORE_ALIKE = 0.05
"""By how much rows are more alike than columns where they are samples. Of four servers of 38
metrics the two correlations were 0.51 and 0.41 at the closest. Of windows of ECG, servers and pumps
rows were less alike than columns, if only by 0.003 where windows overlap and are in order."""

_LABELS_MAX, _N_COLUMNS_COMPARED = 10, 16
"""Most different labels of a column that is not called so, and about how many columns show how many
different values are usual."""

_NUMBERED = re.compile(r"(.*?)(\d+)")
_FALSE_ALARM_SHARE = 0.005
_WRITTEN = "Written by stream-detector init from"


@dataclass(frozen=True, slots=True)
class WindowLayout:
    """What the columns of a file of windows are.

    Parameters
    ----------
    values
        Names of the columns with the values of a window, in order.
    label
        Name of the column of labels, "" if there is none.
    normal_label
        What the label of a normal row is; None for 0.
    n_normal, n_rows
        How many rows are normal, and how many there are.
    maybe_label
        Name of a column among the values that may be one of labels: the first or the last, with
        few different whole numbers. "" where there is none.
    """

    values: tuple[str, ...]
    label: str
    normal_label: str | None
    n_normal: int
    n_rows: int
    maybe_label: str = ""


def find_windows(
    table: RawTable, label: str | None = None, normal_label: str | None = None
) -> WindowLayout | None:
    """Return what the columns are, None where the rows are no windows.

    Parameters
    ----------
    table
        The file.
    label, normal_label
        What a person said: the name of the column of labels, "" for none, and the label of a normal
        row; None leaves it to be found out.
    """
    runs: list[list[str]] = [[]]
    last = ("", 0)
    for column in table.columns:
        match = _NUMBERED.fullmatch(column.name) if column.name != label else None
        found = (match[1], int(match[2])) if match and column.numbers is not None else ("", 0)
        is_next = match is not None and found == (last[0], last[1] + 1) and bool(runs[-1])
        if not is_next:
            runs.append([])
        if match is not None and column.numbers is not None:
            runs[-1].append(column.name)
        last = found
    values = tuple(sorted(runs, key=len)[-1])
    rest = [column for column in table.columns if column.name not in values]
    if len(values) < N_VALUES_MIN or find_times(rest, None, is_said=False) is not None:
        return None
    if label:
        rest = [column for column in rest if column.name == label]
        if not rest:
            return None
    is_wanted = label != ""
    labels = find_label(rest, normal_label, is_said=bool(label)) if is_wanted else None
    is_normal = np.ones(table.n_rows, np.bool_) if labels is None else labels.is_normal
    return WindowLayout(
        values,
        "" if labels is None else labels.name,
        None if labels is None else labels.normal_label,
        int(is_normal.sum()),
        table.n_rows,
        _maybe_label(table, values) if labels is None and is_wanted else "",
    )


def _maybe_label(table: RawTable, values: Sequence[str]) -> str:
    """Return the column with the first or last value if it looks like labels, as UCR's files have.

    A file without a header does not say.
    """
    numbers = {each.name: each.numbers for each in table.columns if each.numbers is not None}
    some = values[:: max(len(values) // _N_COLUMNS_COMPARED, 1)]
    usual = float(np.median([len(np.unique(numbers[name])) for name in some]))
    for name in (values[-1], values[0]):
        different = np.unique(numbers[name])
        is_whole = bool((different == np.round(different)).all())
        if is_whole and 1 < len(different) <= _LABELS_MAX < usual:
            return name
    return ""


def why_samples(table: RawTable, layout: WindowLayout) -> str | None:
    """Return why rows with numbered columns are samples; None where they are windows.

    Samples follow each other: each is like the one before it. In a window it is the columns that
    follow each other, each like the one before it, or of several features like the one so many
    columns before it.

    Parameters
    ----------
    table, layout
        The file, and what its columns would be.
    """
    by_name = {column.name: column.numbers for column in table.columns}
    columns = [by_name[name] for name in layout.values]
    values = np.stack([each[:_N_ROWS_COMPARED] for each in columns if each is not None], axis=1)
    values = values - np.nanmean(values, axis=0)  # (n_rows, n_values)
    spread = np.nanstd(values, axis=0)
    scaled = np.nan_to_num(values[:, spread > 0] / spread[spread > 0])
    n_values = scaled.shape[1]
    if len(scaled) < N_ROWS_MIN or n_values <= 1:
        return None
    of_rows = float((scaled[1:] * scaled[:-1]).mean())
    apart = range(1, min(n_values // 2, _N_APART_MAX) + 1)
    of_columns = max(float((scaled[:, each:] * scaled[:, :-each]).mean()) for each in apart)
    if of_rows <= of_columns + _MORE_ALIKE:
        return None
    return (
        f"each row is a sample of {len(layout.values)} features and no window: it is like the row "
        f"before it (correlation {of_rows:.2f}) more than a column is like its neighbours "
        f"({of_columns:.2f}); if each is a window, train a recipe with window.record = 'window'"
    )


def compose_windows(
    name: str,
    table: RawTable,
    layout: WindowLayout,
    base: Mapping[str, Any],
    *,
    is_in_memory: bool = False,
) -> dict[str, Any]:
    """Return the values of a recipe for a file of windows, with reasons.

    Parameters
    ----------
    name
        Name of the bundle.
    table, layout
        The file, and what its columns are.
    base
        The recipe that everything else is taken from, as TOML has it.
    is_in_memory
        Whether the table is no file.

    Raises
    ------
    DatasetError
        If there are too few normal windows.
    """
    if layout.n_normal < N_ROWS_MIN:
        message = (
            f"{table.path}: expected at least {N_ROWS_MIN} normal windows, one a row, received "
            f"{layout.n_normal} of {layout.n_rows} rows; collect more, from normal operation"
        )
        raise DatasetError(message)
    n_steps, first, last = len(layout.values), layout.values[0], layout.values[-1]
    data = data_source(None if is_in_memory else str(table.path)) | {
        "key": Chosen("", "each row stands for itself"),
        "label": Chosen(layout.label, "marks anomalous windows" if layout.label else "no labels"),
        "features": Chosen(list(layout.values), f"the values of a window, {first} to {last}"),
    }
    if layout.normal_label is not None:
        why = "the label of a normal row; all others are anomalous"
        data["normal_label"] = Chosen(layout.normal_label, why)
    window = {
        "record": Chosen("window", "a row is a whole window: many numbered columns, and no time"),
        "steps": Chosen(n_steps, f"{first} to {last}"),
    }
    whence = "Fitted from Python" if is_in_memory else f"{_WRITTEN} {table.path.name}"
    tables = {"data": data, "window": window}
    return _window_recipe(name, whence, tables, layout.n_normal, base)


def compose_array(
    name: str, shape: tuple[int, int, int], base: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a recipe for windows in memory, with reasons.

    Parameters
    ----------
    name
        Name of the bundle.
    shape
        (n_windows, n_steps, n_features).
    base
        The recipe that everything else is taken from, as TOML has it.
    """
    n_windows, n_steps, n_features = shape
    window = {
        "record": Chosen("window", "the array has a window in each row"),
        "steps": Chosen(n_steps, "of the array"),
        "features": Chosen(n_features, "of the array"),
    }
    data = {"data": data_source(None), "window": window}
    return _window_recipe(name, "Fitted from Python", data, n_windows, base)


def false_alarm_share(n_normal: int) -> Chosen:
    """Return the share of normal windows above the threshold: no fewer than some can tell.

    Examples
    --------
    >>> [false_alarm_share(n_normal).value for n_normal in (50, 200, 599, 600, 10_000)]
    [0.06, 0.015, 0.006, 0.005, 0.005]
    """
    if _FALSE_ALARM_SHARE * n_normal >= N_EXCEEDING_MIN:
        return Chosen(_FALSE_ALARM_SHARE, "one normal window in 200")
    least = math.ceil(1_000 * N_EXCEEDING_MIN / n_normal) / 1_000
    why = f"{N_EXCEEDING_MIN} of {n_normal} windows: from so few, none smaller can be told"
    return Chosen(least, why)


def _window_recipe(
    name: str,
    description: str,
    tables: Mapping[str, Mapping[str, Chosen]],
    n_normal: int,
    base: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values of a recipe for whole windows."""
    window = tables["window"]
    n_values = window["steps"].value * (window["features"].value if "features" in window else 1)
    kept = {key: base[key] for key in ("scorer", "check", "training") if key in base}
    return {
        "name": name,
        "description": description,
        **tables,
        "scaling": {"kind": Chosen("standard", "mean 0 and standard deviation 1")},
        "network": {**base.get("network", {}), **network_size(n_values, base.get("network", {}))},
        **kept,
        "threshold": {
            "calibrate_on": Chosen("cross-fit", "every normal window calibrates once"),
            "method": Chosen("false_alarm_share", "share of normal windows above the threshold"),
            "false_alarm_share": false_alarm_share(n_normal),
        },
    }
