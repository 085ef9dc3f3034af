"""Files in which a row is a whole window: many numbered columns, and no time."""

import math
import re
from collections.abc import Mapping
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
    """

    values: tuple[str, ...]
    label: str
    normal_label: str | None
    n_normal: int
    n_rows: int


def find_windows(table: RawTable) -> WindowLayout | None:
    """Return what the columns are, None where the rows are no windows."""
    runs: list[list[str]] = [[]]
    last = ("", 0)
    for column in table.columns:
        match = _NUMBERED.fullmatch(column.name)
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
    labels = find_label(rest, None, is_said=False)
    # The last number of a file without a header may be a label, as in UCR's files the first.
    is_normal = np.ones(table.n_rows, np.bool_) if labels is None else labels.is_normal
    return WindowLayout(
        values,
        "" if labels is None else labels.name,
        None if labels is None else labels.normal_label,
        int(is_normal.sum()),
        table.n_rows,
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
