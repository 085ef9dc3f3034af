"""What the columns of a file are, for the command `init`: shown, asked for, agreed to."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stream_detector.cli.options import names_in
from stream_detector.cli.terminal import ask, is_agreed, print_table, say, write_line
from stream_detector.errors import ConfigError
from stream_detector.inspection.long_form import find_layout
from stream_detector.inspection.roles import Layout, Said
from stream_detector.inspection.table import RawTable
from stream_detector.recipes.input import parse_input


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person asked for.

    Parameters
    ----------
    said
        What the columns are.
    is_asking
        Whether to ask where a guess is made; needs a terminal.
    interval_s
        Time between two rows of a file without times.
    false_alarms_per_day
        Of a key.
    table
        Keys of `[input]`, for the recipe.
    needed
        Features without which records of the topic would be rejected; empty if there are none.
    """

    said: Said
    is_asking: bool
    interval_s: float | None
    false_alarms_per_day: float
    table: Mapping[str, Any] = field(default_factory=dict)
    needed: tuple[str, ...] = ()


def show_columns(table: RawTable, layout: Layout) -> None:
    """Show what each column is and why."""
    n_keys = len(layout.keys)
    keys = "1 key" if n_keys == 1 else f"{n_keys:,} keys"
    title = f"{table.path.name}: {table.n_rows:,} rows, {keys}, {len(layout.features)} features"
    rows = [(name, role, why) for name, (role, why) in layout.why.items()]
    print_table(title, ("column", "is", "because"), rows, is_text=True)
    for note in layout.notes:
        write_line(f"note: {note}")


def decide_on_others(layout: Layout, choices: Choices) -> Choices:
    """Say which features of a topic's records the detector will not have, and what follows.

    Returns
    -------
    The choices; where records have one feature each, those of the others will be skipped, unless
    it was said what becomes of them.
    """
    table, needed = choices.table, choices.needed
    left_out = [name for name in needed if name not in layout.features]
    if not left_out:
        return choices
    has_one_each = "feature_name" in parse_input(table).resolved()
    if has_one_each and "other_features" not in table:
        table = {**table, "other_features": "skip"}
    if table.get("other_features") == "skip":
        say(f"note: records of {', '.join(left_out)} are only counted: input.other_features = skip")
    else:
        say(
            f"warning: {', '.join(left_out)} left out, and records with a feature that the bundle "
            f"does not have are dead letters: keep all with --features {','.join(needed)}, or send "
            "records without"
        )
    return replace(choices, table=table)


def refuse_to_ask() -> None:
    """Refuse a run that would ask where there is nobody, before anything takes time.

    Raises
    ------
    ConfigError
        If there is no terminal.
    """
    if not sys.stdin.isatty():
        message = "init: expected a terminal to ask, received none; give --yes to take its guess"
        raise ConfigError(message)


def agree_on_columns(given: RawTable, choices: Choices) -> tuple[RawTable, Layout]:
    """Return what the columns are, as was said, guessed, and agreed to where there is a terminal.

    Returns
    -------
    The table, with a column for each feature, and what its columns are.

    Raises
    ------
    ConfigError
        If there is nobody to ask.
    """
    said = choices.said
    table, layout = find_layout(given, said)
    if not choices.is_asking:
        return table, layout
    refuse_to_ask()
    while True:
        show_columns(table, layout)
        if is_agreed("are these the key, time, label and features?"):
            return table, layout
        columns = layout.columns
        said = replace(
            said,
            key=ask("column of the key, empty for none", columns.key or ""),
            time=ask("column of the time, empty for none", columns.time or ""),
            label=ask("column of the label, empty for none", columns.label or ""),
            features=names_in(ask("features, with commas", ", ".join(columns.features))),
        )
        try:
            table, layout = find_layout(given, said)
        except ConfigError as error:
            say(str(error))
