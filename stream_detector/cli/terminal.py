"""How the commands speak and stop: notes, tables, JSON, CSV, progress, errors on one line, signals.

All that a command prints goes through this module, which escapes foreign text: no key, header,
name, path or message can move the cursor, forge a line or be read as Rich's markup.
"""

import contextlib
import csv
import errno
import json
import logging
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from stream_detector.errors import ConfigError, StreamDetectorError
from stream_detector.text import csv_cell, json_line, printable, shorten

if TYPE_CHECKING:
    from rich.progress import Progress, Task
    from rich.status import Status
    from rich.table import Table

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

PROGRESS_EVERY_S = 10.0
"""Time between two lines about a task where there is no terminal for a progress bar."""

N_SKIPS_SAID = 10
"""So many skipped records have a line each: a topic of something else has millions."""

NOTE_CHARACTERS_MAX = 8_192
"""Longest note or error. They repeat what files and flags hold, which may be of any length."""


def set_up_streams() -> None:
    """Let standard output take any text: UTF-8 where it is no terminal, else with escapes.

    A stream that was closed before the program began is replaced by one that goes nowhere. What
    libraries log is a note like those of `say`.
    """
    logging.lastResort = _Notes(logging.INFO)  # of all else, warnings alone come so far
    logging.getLogger("stream_detector.datasets.files").setLevel(logging.INFO)
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        encoding = {} if sys.stdout.isatty() else {"encoding": "utf-8"}
        reconfigure(errors="backslashreplace", **encoding)


def is_output_read() -> bool:
    """Return whether standard output still has a reader; True where the system cannot tell."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return not poll.poll(0)


def flush_output(code: int) -> int:
    """Write what standard output still holds, and return the exit code.

    A reader that has ended, as with `| head`, is no error; output that cannot be written is one.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say_error(f"standard output cannot be written: {error}")
            code = code or 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
    return code


def say(*lines: str) -> None:
    """Write notes to standard error, never results; each is one line."""
    with contextlib.suppress(OSError):  # nobody reads them any more
        for line in lines:
            sys.stderr.write(shorten(printable(line), NOTE_CHARACTERS_MAX) + "\n")


def say_error(message: str) -> None:
    """Write one error line to standard error."""
    say("error: " + " ".join(message.splitlines()))


def describe_error(error: Exception) -> tuple[int, str]:
    """Return the exit code and the message for what ended a command."""
    if isinstance(error, StreamDetectorError):
        return error.exit_code, str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 1, f"the disk that is written to is full: {error}; free some of it"
    if isinstance(error, MemoryError):
        said = f": {error}" * bool(str(error))
        return 1, f"no memory is left{said}; give less data at once, or this process more memory"
    hint = "run it again as `stream-detector --debug ...` for the traceback"
    return 1, f"unexpected {type(error).__name__}: {error}; {hint}"


class Skips:
    """Say of records that are skipped what is wrong with them: of many, of each tenfold only."""

    def __init__(self) -> None:
        self._n_skipped = 0

    def __call__(self, problem: Exception) -> None:
        """Count one, and say what it is where its turn has come."""
        self._n_skipped += 1
        n_skipped = self._n_skipped
        if n_skipped <= N_SKIPS_SAID:
            say(f"skipped a record that is {problem}")
        elif n_skipped == 10 ** (len(str(n_skipped)) - 1):
            say(f"skipped {n_skipped:,} records so far, the last of them {problem}")


def is_agreed(question: str) -> bool:
    """Ask on the terminal; no answer is a no."""
    from rich.prompt import Confirm

    try:
        return Confirm.ask(_text(question), console=_console(), default=False)
    except EOFError:
        return False


def ask(question: str, default: str) -> str:
    """Ask for a text on the terminal; no answer is the default."""
    from rich.prompt import Prompt

    try:
        return Prompt.ask(_text(question), console=_console(), default=default)
    except EOFError:
        return default


def waiting(what: str) -> "Status":
    """Show on standard error what is waited for; `update` replaces it."""
    return _console().status(_text(what))


@contextmanager
def progress_bar() -> "Iterator[Progress]":
    """Show progress on standard error: a bar on a terminal, elsewhere a line every 10 seconds."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TimeRemainingColumn,
    )

    class DescriptionColumn(ProgressColumn):
        """A task's description as plain text."""

        def render(self, task: "Task") -> Text:
            return _text(task.description)

    has_terminal = sys.stderr.isatty()
    progress = Progress(
        SpinnerColumn(),
        DescriptionColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_console(),
        disable=not has_terminal,
    )
    with progress, contextlib.nullcontext() if has_terminal else _progress_lines(progress):
        yield progress


def write_line(text: str) -> None:
    """Write one line of a command's result to standard output."""
    sys.stdout.write(printable(text) + "\n")


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object on one line to standard output."""
    write_line(to_json(values))


def to_json(values: Mapping[str, Any]) -> str:
    """Return one JSON object on one line; NaN becomes null."""
    return json_line(json.dumps(_json_value(values), ensure_ascii=False, separators=(",", ":")))


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]], *, is_text: bool = False
) -> None:
    """Print a table to standard output; all columns but the first are numbers, or text."""
    from rich.table import Table

    table = Table(show_header=any(columns))
    for number, column in enumerate(columns):
        justify: Any = "left" if is_text or not number else "right"
        table.add_column(_text(column), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(_text(_cell(value)) for value in row))
    show_table(title, table)


def show_table(title: str, table: "Table") -> None:
    """Print a table, whose cells are plain text, to standard output."""
    out = Console(highlight=False)
    out.print(_text(title), style="bold")
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
        yield _row_writer(sys.stdout)
        return
    try:
        with out.open("w", newline="", encoding="utf-8") as stream:
            yield _row_writer(stream)
    except BrokenPipeError:
        raise
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


def _is_note(record: logging.LogRecord) -> bool:
    """Return whether a record is a warning, or one of ours."""
    return record.levelno >= logging.WARNING or record.name.startswith("stream_detector")


class _Notes(logging.Handler):
    """Writes log lines that nothing else handles: ours, and warnings of libraries."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()
        self.addFilter(_is_note)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record; one of ours only once, such as of a file read again."""
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {message}"
        if record.name.startswith("stream_detector"):
            if message in self._said:
                return
            self._said.add(message)
        say(message)


def _console() -> Console:
    """Return a console on standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _text(text: str) -> Text:
    """Return text that Rich shows as it is: no markup, no emoji codes, nothing to obey."""
    return Text(printable(text))


@contextmanager
def _progress_lines(progress: "Progress") -> Iterator[None]:
    """Write a line about each task every `PROGRESS_EVERY_S` while the block lasts."""
    start_s, is_over = time.monotonic(), threading.Event()

    def report() -> None:
        while not is_over.wait(PROGRESS_EVERY_S):
            for task in progress.tasks:
                of_all = "" if task.total is None else f"{task.completed:g} of {task.total:g}, "
                say(f"{task.description}: {of_all}{time.monotonic() - start_s:.0f} s")

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _row_writer(stream: Any) -> Callable[[Iterable[Any]], Any]:
    """Return a function that writes a row of CSV to a stream."""
    write_row = csv.writer(stream, lineterminator="\n").writerow
    return lambda row: write_row(
        [csv_cell(cell) if isinstance(cell, str) else cell for cell in row]
    )


def _json_value(value: Any) -> Any:
    """Return a value as the standard library's JSON takes it; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {name: _json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json_value(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> str:
    """Return the text of a table cell; floats have four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
