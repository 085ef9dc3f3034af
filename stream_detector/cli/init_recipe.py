"""The recipe that the command `init` writes: what the columns are, what follows, the file."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stream_detector.bundle import check_target
from stream_detector.cli.init_columns import Choices
from stream_detector.cli.terminal import is_agreed, say
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.inspection.base import base_recipe
from stream_detector.inspection.copy import why_copy, with_equal_times, write_copy
from stream_detector.inspection.plan import Chosen, Plan, make_plan
from stream_detector.inspection.recipe_text import compose, recipe_name, to_text
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.scaling import choose_scaling
from stream_detector.inspection.table import RawTable, feature_values, read_raw
from stream_detector.inspection.timing import Timing, measure
from stream_detector.recipes import Recipe, load_recipe


@dataclass(frozen=True, slots=True)
class Target:
    """What is written.

    Parameters
    ----------
    name
        Name of the recipe and its bundle.
    recipe, bundle
        The file and the folder.
    is_replacing
        Whether what is there may be replaced.
    topic
        The topic that its data were read from, and options of the commands that read it; empty for
        a file.
    """

    name: str
    recipe: Path
    bundle: Path
    is_replacing: bool
    topic: str = ""

    @classmethod
    def of(
        cls, name: str, out: Path | None, bundle: Path | None, *, is_replacing: bool
    ) -> "Target":
        """Return what is written for data of a name, never replacing a recipe without being asked.

        Raises
        ------
        ConfigError
            If the recipe, or the bundle of another one, is there and may not be replaced.
        """
        name = recipe_name(name if out is None else out.stem)
        recipe = out or Path(f"{name}.toml")
        if recipe.exists() and not is_replacing:
            question = f"{recipe} is there; replace it?"
            if not (sys.stdin.isatty() and is_agreed(question)):
                message = (
                    f"--out: {recipe} is there; give another path, or replace it with --overwrite"
                )
                raise ConfigError(message)
        bundle = bundle or Path("bundles") / name
        check_target(bundle, name, overwrite=is_replacing)
        return cls(name, recipe, bundle, is_replacing)


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A recipe that was made, and from what.

    Parameters
    ----------
    recipe
        The recipe.
    table
        The file that it reads.
    layout, timing, plan
        What that file holds, and what follows from it.
    false_alarms_per_day
        Of a key, as asked for.
    values
        The values of the recipe with their reasons.
    """

    recipe: Recipe
    table: RawTable
    layout: Layout
    timing: Timing
    plan: Plan
    false_alarms_per_day: float
    values: dict[str, Any]


def make_recipe(table: RawTable, layout: Layout, target: Target, choices: Choices) -> Made:
    """Write the recipe for a file whose columns are known.

    Raises
    ------
    ConfigError
        If a column that was said is not there, or nothing is left for features.
    DatasetError
        If the file cannot be read, or holds too little.
    """
    table, layout = _copied(table, layout, target, choices)
    features = feature_values(table, layout.features)
    timing = measure(layout, features)
    if timing is None:
        message = (
            f"{table.path}: expected samples of different times, received none for any key; name "
            "the column with --time, or say that there is none with --time '' --interval 1s"
        )
        raise DatasetError(message)
    plan = make_plan(layout, timing, choices.false_alarms_per_day)
    rate = choices.false_alarms_per_day
    base = dict(base_recipe(rate)) | ({"input": choices.table} if choices.table else {})
    values = compose(target.name, str(table.path), layout, plan, base)
    values["scaling"] = {**values["scaling"], **choose_scaling(layout, features, plan.n_steps)}
    recipe = write_values(values, table.path, target)
    return Made(recipe, table, layout, timing, plan, rate, values)


def leave_out(made: Made, target: Target, spans: Sequence[tuple[str, float, float]]) -> Made:
    """Write the recipe again with spans that are not trained on.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    why = (
        "spans that are unlike the rest of their key, so likely faults, and not trained on; remove "
        "those that are normal and train again"
    )
    data = {**made.values["data"], "leave_out": Chosen([list(span) for span in spans], why)}
    values = {**made.values, "data": data}
    return replace(made, recipe=write_values(values, made.table.path, target), values=values)


def write_values(values: dict[str, Any], data: Path, target: Target) -> Recipe:
    """Write the values of a recipe with their reasons, and return it as read back.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    head = (
        f"Written by stream-detector init from {data.name}: every key has its reason above it.",
        f"Train it again with: stream-detector train {target.recipe}",
    )
    try:
        target.recipe.parent.mkdir(parents=True, exist_ok=True)
        target.recipe.write_text(to_text(values, head), encoding="utf-8")
    except OSError as error:
        message = f"--out: {target.recipe} cannot be written: {error}; give another path"
        raise ConfigError(message) from None
    return load_recipe(target.recipe)


def _copied(
    table: RawTable, layout: Layout, target: Target, choices: Choices
) -> tuple[RawTable, Layout]:
    """Return the file to train on: the given one, or a copy where a recipe cannot read it."""
    why = why_copy(table, layout)
    if not why:
        return table, layout
    if not layout.columns.time:
        interval_s = choices.interval_s or 1.0
        layout = with_equal_times(layout, 1_000.0 * interval_s)
        why += f", so its rows are taken to be {interval_s:g} s apart (--interval)"
    out = target.recipe.with_name(f"{target.name}.samples.csv")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        layout = write_copy(table, layout, out)
    except OSError as error:
        message = f"{out} cannot be written: {error}; give another --out"
        raise ConfigError(message) from None
    say(f"{why}: a copy that a recipe can read is written to {out}")
    return read_raw(out), layout
