"""How the commands speak and stop: tables, JSON, CSV, progress, errors on one line, signals."""

import csv
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from stream_detector.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def console() -> Console:
    """Return a console on standard error, for progress and notes but never results."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(message: str) -> None:
    """Write one error line to standard error."""
    sys.stderr.write("error: " + " ".join(message.splitlines()) + "\n")


def progress_bar() -> "Progress":
    """Return a progress bar on standard error; it draws nothing where that is not a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

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
    """Print one JSON object on one line to standard output."""
    sys.stdout.write(to_json(values) + "\n")


def to_json(values: Mapping[str, Any]) -> str:
    """Return one JSON object; NaN becomes null."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table to standard output."""
    from rich.table import Table

    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out = Console(highlight=False)
    out.print(title, style="bold")
    out.print(table)


@contextmanager
def csv_rows(out: Path | None) -> Iterator[Callable[[Iterable[Any]], Any]]:
    """Yield a function that writes a row of CSV to a file, or to standard output if none is given.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    if out is None:
        yield csv.writer(sys.stdout, lineterminator="\n").writerow
        return
    try:
        with out.open("w", newline="", encoding="utf-8") as stream:
            yield csv.writer(stream, lineterminator="\n").writerow
    except OSError as error:
        raise cannot_write(out, error) from None


def cannot_write(out: Path, error: OSError) -> ConfigError:
    """Return the error for an output that cannot be written."""
    return ConfigError(f"--out: {out} cannot be written: {error}; give another path")


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
    """Return a time in ISO 8601, or as a number of milliseconds where no date can express it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


class StopFlag:
    """Ask a command to stop at the first SIGTERM or SIGINT, and end the process at the second.

    Parameters
    ----------
    on_stop
        Called at the first signal, within its handler.
    """

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        self.is_set = False
        self._on_stop = on_stop

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle both signals while the block lasts."""
        before = {each: signal.signal(each, self._handle) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Ask to stop; at the second signal exit at once, with nothing finished or committed."""
        del frame
        if self.is_set:
            os._exit(128 + number)
        self.is_set = True
        if self._on_stop is not None:
            self._on_stop()


def _cell(value: object) -> str:
    """Return the text of a table cell; floats have four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
