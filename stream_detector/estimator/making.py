"""From data in memory to a recipe and a data set, as `init` and `train` make them of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from stream_detector.datasets import Dataset, SampleDataset
from stream_detector.datasets.files import samples as sample_files
from stream_detector.datasets.files import windows as window_files
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.estimator.inputs import TIMES, Given
from stream_detector.inspection.base import base_recipe
from stream_detector.inspection.copy import with_equal_times
from stream_detector.inspection.long_form import find_layout
from stream_detector.inspection.plan import make_plan
from stream_detector.inspection.recipe_text import compose, plain
from stream_detector.inspection.roles import Layout, Said
from stream_detector.inspection.scaling import choose_scaling
from stream_detector.inspection.strange import find_strange_in
from stream_detector.inspection.table import RawTable, feature_values
from stream_detector.inspection.timing import measure
from stream_detector.inspection.whole_windows import (
    N_VALUES_MIN,
    compose_array,
    compose_windows,
    find_windows,
    why_samples,
)
from stream_detector.recipes import Recipe, apply_overrides, parse_recipe
from stream_detector.training import load_windows

NAME = "autoencoder"
"""Name of a bundle until it is saved."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a program asked for; see `AutoencoderDetector`."""

    window: int | str
    record: str
    columns: Mapping[str, Any] | None
    interval_s: float
    false_alarms_per_day: float
    overrides: Sequence[str]

    def check(self) -> None:
        """Refuse what nobody can mean.

        Raises
        ------
        ValueError
            The caller's mistake.
        """
        is_number = isinstance(self.window, int | np.integer) and self.window >= 1
        if self.window != "auto" and not is_number:
            message = f"window: expected 'auto' or a number of steps, received {self.window!r}"
            raise ValueError(message)
        if self.record not in ("auto", "samples", "window"):
            message = f"record: expected auto, samples or window, received {self.record!r}"
            raise ValueError(message)
        for name in ("interval_s", "false_alarms_per_day"):
            if not getattr(self, name) > 0:
                message = f"{name}: expected a number above 0, received {getattr(self, name)!r}"
                raise ValueError(message)

    @property
    def n_steps(self) -> int | None:
        """Return the length of a window where it was said."""
        return None if self.window == "auto" else int(self.window)

    @property
    def said(self) -> Said:
        """Return what was said about the columns."""
        columns = dict(self.columns or {})
        known = tuple(Said.__dataclass_fields__)
        unknown = sorted(set(columns) - set(known))
        if unknown:
            message = f"columns: expected some of {', '.join(known)}, received {unknown[0]!r}"
            raise ValueError(message)
        if ("feature_name" in columns) != ("feature_value" in columns):
            message = "columns: expected feature_name and feature_value together, received one"
            raise ValueError(message)
        several = {name: tuple(columns.get(name) or ()) for name in ("features", "ignored")}
        return Said(**columns | several)


class Prepared(NamedTuple):
    """A recipe, and the data to train it on."""

    recipe: Recipe
    data: Dataset | SampleDataset


def prepare(given: Given, wishes: Wishes) -> Prepared:
    """Decide the recipe for data, as `init` decides it for a file.

    Raises
    ------
    ValueError
        If what was asked for has no meaning: the caller's mistake.
    ConfigError
        If a column that was named is not there, or an override does not fit.
    DatasetError
        If the data cannot be used, or hold too little.
    """
    wishes.check()
    if _holds_windows(given, wishes):
        return _prepare_windows(given, wishes)
    return _prepare_samples(given, wishes)


def _holds_windows(given: Given, wishes: Wishes) -> bool:
    """Return whether each row is a whole window."""
    if wishes.record != "auto" or given.window_shape is not None:
        return wishes.record == "window" or given.window_shape is not None
    if given.index is None:
        return len(given.names) >= N_VALUES_MIN
    if wishes.said != Said():
        return False
    raw = given.raw()
    layout = find_windows(raw)
    return layout is not None and why_samples(raw, layout) is None


def _prepare_windows(given: Given, wishes: Wishes) -> Prepared:
    """Return recipe and data for rows that are whole windows."""
    base = base_recipe(wishes.false_alarms_per_day)
    if given.index is None:
        n_steps, n_features = given.window_shape or (len(given.names), 1)
        values = compose_array(NAME, (len(given), n_steps, n_features), base)
    else:
        raw = given.raw()
        layout = find_windows(raw)
        if layout is None:
            message = (
                f"record = 'window': expected a table with at least {N_VALUES_MIN} numbered "
                f"columns and no times, received {', '.join(given.names)[:200]}; give an array of "
                "shape (n_windows, n_steps) or (n_windows, n_steps, n_features)"
            )
            raise DatasetError(message)
        values = compose_windows(NAME, raw, layout, base, is_in_memory=True)
    recipe = _parsed(values, wishes.overrides)
    if wishes.n_steps not in (None, recipe.window.steps):
        message = f"window: expected {recipe.window.steps} or 'auto', received {wishes.window!r}"
        raise ValueError(message)
    read = given.columns(recipe.data.columns, blank_is_missing=False)
    table = window_files.to_windows(read, n_features=recipe.window.features)
    share = recipe.data.test_share
    return Prepared(recipe, window_files.to_dataset(table, NAME, exact=True, test_share=share))


def _prepare_samples(given: Given, wishes: Wishes) -> Prepared:
    """Return recipe and data for rows that are samples."""
    given, table, layout = _roles(given, wishes.said, wishes.interval_s)
    features = feature_values(table, layout.features)
    timing = measure(layout, features)
    if timing is None:
        message = (
            "expected samples of different times, received none for any key; name the column, with "
            "columns={'time': ..}, or say that there is none, with columns={'time': ''}"
        )
        raise DatasetError(message)
    plan = make_plan(layout, timing, wishes.false_alarms_per_day, wishes.n_steps)
    values = compose(NAME, None, layout, plan, base_recipe(wishes.false_alarms_per_day))
    values["scaling"] = {**values["scaling"], **choose_scaling(layout, features, plan.n_steps)}
    if given.index is None:  # files are then matched by the places of their columns
        values["data"] = {key: each for key, each in values["data"].items() if key != "features"}
    recipe = _parsed(values, wishes.overrides)
    read = given.columns(recipe.data.columns, blank_is_missing=True)
    samples = sample_files.to_samples(read)
    data = sample_files.to_dataset(samples, NAME, exact=True, test_share=recipe.data.test_share)
    return Prepared(_without_strange(recipe, data), data)


def _roles(given: Given, said: Said, interval_s: float) -> tuple[Given, RawTable, Layout]:
    """Return the rows that have a time and a key, with times if they had none, and what is what.

    The table has a column for each feature, also where each row has the value of one.
    """
    table, layout = find_layout(given.raw(), said)
    if layout.time_of_day:
        first, second = layout.columns.time, layout.time_of_day
        message = (
            f"DataFrame: expected the time in one column, received it in {first} and {second}; "
            f"join them: frame[{first!r}] = frame[{first!r}] + ' ' + frame.pop({second!r})"
        )
        raise DatasetError(message)
    is_lacking = given.missing(layout.columns.key) if layout.columns.key else False
    if layout.columns.feature_name is not None:
        is_lacking = is_lacking | given.missing(layout.columns.time or "")
    elif layout.columns.time:
        is_lacking = is_lacking | ~np.isfinite(layout.times_ms)
    if np.any(is_lacking):
        return _roles(given.select(np.flatnonzero(~is_lacking)), said, interval_s)
    if not layout.columns.time:
        layout = with_equal_times(layout, 1_000.0 * interval_s)
        columns = replace(layout.columns, time=TIMES, time_format="ms")
        given, layout = given.with_times(layout.times_ms), replace(layout, columns=columns)
    return given, table, layout


def _parsed(values: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """Return the recipe of values with reasons, with overrides."""
    changed: dict[str, Any] = plain(values)
    apply_overrides(changed, overrides, where="of these data")
    return parse_recipe(changed, where="of these data")


def _without_strange(recipe: Recipe, data: SampleDataset) -> Recipe:
    """Return a recipe that leaves out spans which are unlike the rest of their key, as `init`."""
    windows = load_windows(recipe, data=data)
    left_out = find_strange_in(windows, recipe.rules.span_ms).left_out
    if not left_out:
        return recipe
    section = recipe.data.model_copy(update={"leave_out": left_out})
    return recipe.model_copy(update={"data": section})


def in_python(error: ConfigError) -> ConfigError:
    """Return an error about flags of the command line in the words of Python."""
    text = str(error)
    for flag in ("time-format", "time", "key", "label", "features"):
        text = text.replace(f"--{flag}", f"columns[{flag.replace('-', '_')!r}]")
    text = text.replace("--long", "columns['feature_name'], columns['feature_value']")
    return ConfigError(text)
