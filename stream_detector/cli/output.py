"""How the commands speak: tables for people, JSON for scripts, errors on one line."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from stream_detector.errors import ConfigError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def console() -> Console:
    """Return a console on standard error: progress and notes, never results."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(message: str) -> None:
    """Write one error line to standard error."""
    sys.stderr.write("error: " + " ".join(message.splitlines()) + "\n")


def progress_bar() -> Progress:
    """Return a progress bar on standard error; nothing is drawn where that is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(),
        disable=not sys.stderr.isatty(),
    )


def print_json(values: Mapping[str, Any]) -> None:
    """Write one JSON object on one line to standard output."""
    sys.stdout.write(to_json(values) + "\n")


def to_json(values: Mapping[str, Any]) -> str:
    """Return one JSON object; NaN becomes null."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table to standard output."""
    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out = Console(highlight=False)
    out.print(title, style="bold")
    out.print(table)


def parse_duration_s(text: str, name: str) -> float:
    """Return seconds for "500ms", "5s", "2m", "1h" or a plain number of seconds.

    Raises
    ------
    ConfigError
        If it is none of these, or not above zero; `name` says which option.

    Examples
    --------
    >>> parse_duration_s("500ms", "--x")
    0.5
    """
    number, factor = text.strip(), 1.0
    for unit, unit_s in _UNITS_S.items():
        if number.endswith(unit):
            number, factor = number.removesuffix(unit), unit_s
            break
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        message = f"{name}: expected a time above zero such as 500ms, 5s or 2m, received {text!r}"
        raise ConfigError(message)
    return seconds


def time_text(milliseconds: int) -> str:
    """Return a time as ISO 8601 has it, or as the number it is where no calendar has it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def _cell(value: object) -> str:
    """Return a table cell; floats with four digits that count."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
