"""Dead letters as text: rows of a table, JSON for scripts, everything about one.

What a record holds comes from anywhere: characters that a terminal would obey are escaped.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_detector.cli.dead_letter_reading import key_text, place_of
from stream_detector.cli.output import time_text
from stream_detector.core.codec.dead_letters import DeadLetter
from stream_detector.errors import ConfigError

INCOMPLETE = "incomplete"
"""What stands for a dead letter of which a part was left out."""

NOT_OURS = "not a dead letter"
"""What stands for the class of a record that the detector did not put aside."""

TEXT_CHARACTERS_MAX = 8_192
HEX_BYTES_MAX = 512
"""Most of a value that is shown; `--raw` gives all."""

_CELL_CHARACTERS_MAX = 200
_TIME_WIDTH = len("00:00:00.000")
_HEX_BYTES_A_LINE = 16
_INNER_ARRAY = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s*\]")


@dataclass(slots=True)
class Tally:
    """Dead letters of one kind: their times, and how many.

    Of these, how many came back from a redrive, and how many lack a part.
    """

    oldest_ms: int
    newest_ms: int
    n_letters: int = 0
    n_redriven: int = 0
    n_incomplete: int = 0


Summary = dict[tuple[str, str], Tally]
"""Tallies by stage and class."""


def count_letter(summary: Summary, letter: DeadLetter) -> None:
    """Add a dead letter to a summary."""
    time_ms = letter.metadata.timestamp_ms
    kind = (letter.reason.stage, letter.reason.error) if letter.reason else ("", NOT_OURS)
    tally = summary.setdefault(kind, Tally(time_ms, time_ms))
    tally.n_letters += 1
    tally.n_redriven += letter.redriven_from is not None
    tally.n_incomplete += bool(letter.left_out)
    tally.oldest_ms = min(tally.oldest_ms, time_ms)
    tally.newest_ms = max(tally.newest_ms, time_ms)


def print_summary(title: str, summary: Summary) -> None:
    """Write how many there are of each class, the most frequent first."""
    times = ("oldest (UTC)", "newest (UTC)")
    table = _table("count", "class", "stage", "redriven", INCOMPLETE, *times)
    for (stage, error), tally in sorted(summary.items(), key=lambda item: -item[1].n_letters):
        _add_row(
            table,
            f"{tally.n_letters:,}",
            error,
            stage,
            f"{tally.n_redriven:,}",
            f"{tally.n_incomplete:,}",
            _short_time(tally.oldest_ms),
            _short_time(tally.newest_ms),
        )
    _print(title, table)


def print_letters(title: str, letters: Iterable[DeadLetter]) -> None:
    """Write a row for each dead letter."""
    table = _table("at", "original", "time (UTC)", "key", "bytes", "reason")
    for letter in letters:
        metadata, reason = letter.metadata, letter.reason
        key = key_text(metadata.key)
        lack = f"{INCOMPLETE}, {', '.join(letter.left_out)} left out; " if letter.left_out else ""
        _add_row(
            table,
            str(place_of(letter)),
            source_text(letter) or "-",
            _short_time(metadata.timestamp_ms),
            "-" if key is None else key,
            "-" if letter.value is None else f"{len(letter.value):,}",
            f"{lack}{reason.stage} {reason.error}: {reason.message}" if reason else NOT_OURS,
        )
    _print(title, table)


def source_text(letter: DeadLetter) -> str | None:
    """Return where the record lay before it was put aside."""
    if letter.reason is None:
        return None
    source = letter.reason.source
    return f"{source.topic}[{source.partition}]@{source.offset}"


def incomplete_text(letter: DeadLetter) -> str:
    """Return what a dead letter lacks, and where the record lies that has it."""
    parts = [f"{name} ({n_bytes:,} bytes)" for name, n_bytes in letter.left_out.items()]
    return f"lacks {', '.join(parts)}; all of it lies at {source_text(letter)}"


def letter_facts(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter without headers and value, for a line of JSON."""
    metadata, reason = letter.metadata, letter.reason
    return {
        "topic": metadata.topic,
        "partition": metadata.partition,
        "offset": metadata.offset,
        "timestamp_ms": metadata.timestamp_ms,
        "key": key_text(metadata.key),
        "stage": reason.stage if reason else None,
        "error": reason.error if reason else None,
        "message": reason.message if reason else None,
        "source": asdict(reason.source) if reason else None,
        "redriven_from": letter.redriven_from,
        "left_out": dict(letter.left_out),
        "n_value_bytes": None if letter.value is None else len(letter.value),
    }


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """Return everything about a dead letter, bytes in base64."""
    return letter_facts(letter) | {
        "key_base64": _base64(letter.metadata.key),
        "headers": [
            {"name": name, "value_base64": _base64(value)}
            for name, value in letter.metadata.headers
        ],
        "value_base64": _base64(letter.value),
    }


def describe_letter(letter: DeadLetter) -> Iterator[str]:
    """Yield the lines that say everything about a dead letter to a person."""
    metadata, reason = letter.metadata, letter.reason
    yield f"{metadata.topic}[{metadata.partition}]@{metadata.offset}"
    facts = {
        INCOMPLETE: incomplete_text(letter) if letter.left_out else None,
        "original": source_text(letter),
        "redriven from": letter.redriven_from,
        "time": time_text(metadata.timestamp_ms) if metadata.timestamp_ms >= 0 else "none",
        "stage": reason.stage if reason else None,
        "class": reason.error if reason else NOT_OURS,
        "message": reason.message if reason else None,
        "key": "left out" if "key" in letter.left_out else _content(metadata.key),
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<13}  {printable(fact)}"
    yield f"headers: {len(metadata.headers)}"
    for name, value in metadata.headers:
        yield f"  {printable(name)}: {_content(value)}"
    yield from ["value: left out"] if "value" in letter.left_out else describe_value(letter.value)


def require_value(letter: DeadLetter) -> None:
    """Refuse a dead letter whose value was left out.

    Raises
    ------
    ConfigError
        If it was.
    """
    if "value" in letter.left_out:
        message = f"--raw: {place_of(letter)} {incomplete_text(letter)}; read it there"
        raise ConfigError(message)


def describe_value(value: bytes | None) -> Iterator[str]:
    r"""Yield a value as JSON, as text, or else as a hex dump; of a large one the beginning.

    Examples
    --------
    >>> print(*describe_value(b'{"values":[1,2]}'), sep="\n")
    value: 16 bytes, JSON
    {
      "values": [1, 2]
    }
    """
    if not value:
        yield "value: none, a tombstone" if value is None else "value: empty"
        return
    kind, shown, n_left = _render(value)
    yield f"value: {len(value):,} bytes, {kind}"
    yield from shown.split("\n")
    if n_left:
        unit = "bytes" if kind == "binary" else "characters"
        yield f"... {n_left:,} more {unit}; --raw writes the whole value"


def printable(text: str) -> str:
    r"""Return text with what is not printable escaped.

    Examples
    --------
    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _render(value: bytes) -> tuple[str, str, int]:
    """Return what a value is, how it is shown, and how much of that was left out."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _hex_dump(value)
    try:
        document = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        kind, text = "JSON", _INNER_ARRAY.sub(_on_one_line, document)
    except (ValueError, RecursionError):
        kind = "text"
        if not all(each.isprintable() or each in "\r\n\t" for each in text):
            return _hex_dump(value)
    lines = [printable(line) for line in text[:TEXT_CHARACTERS_MAX].splitlines()]
    return kind, "\n".join(lines), max(0, len(text) - TEXT_CHARACTERS_MAX)


def _on_one_line(array: re.Match[str]) -> str:
    """Return an array of numbers as one line: a window has hundreds."""
    return f"[{' '.join(array[1].split())}]"


def _hex_dump(value: bytes) -> tuple[str, str, int]:
    """Return the first bytes of a value in hexadecimal, with the characters beside them."""
    lines = []
    for start in range(0, min(len(value), HEX_BYTES_MAX), _HEX_BYTES_A_LINE):
        part = value[start : start + _HEX_BYTES_A_LINE]
        characters = "".join(chr(each) if 32 <= each < 127 else "." for each in part)  # noqa: PLR2004
        lines.append(f"{start:06x}  {part.hex(' '):<47}  {characters}")
    return "binary", "\n".join(lines), max(0, len(value) - HEX_BYTES_MAX)


def _content(value: bytes | None) -> str:
    """Return a key or a header's value on one line."""
    if not value:
        return "none" if value is None else "empty"
    text = value.decode(errors="backslashreplace")
    shown = printable(text[:TEXT_CHARACTERS_MAX])
    n_left = len(text) - TEXT_CHARACTERS_MAX
    return shown if n_left <= 0 else f"{shown} ... {n_left:,} more characters"


def _base64(value: bytes | None) -> str | None:
    """Return bytes as base64 has them."""
    return None if value is None else base64.b64encode(value).decode()


def _short_time(milliseconds: int) -> str:
    """Return a time for a table, without its zone."""
    if milliseconds < 0:
        return "-"
    return time_text(milliseconds).removesuffix("+00:00").replace("T", " ")


def _table(*columns: str) -> Table:
    """Return a table whose rows fold where a terminal is narrow; numbers and places never do."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        is_number = column in ("count", "bytes", "redriven", INCOMPLETE)
        table.add_column(
            column,
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=is_number or column in ("at", "class"),
            min_width=_TIME_WIDTH if "UTC" in column else None,
        )
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add a row of plain text: nothing in it is read as markup or obeyed by a terminal."""
    shown = [
        cell if len(cell) <= _CELL_CHARACTERS_MAX else cell[:_CELL_CHARACTERS_MAX] + "..."
        for cell in cells
    ]
    table.add_row(*(Text(printable(cell)) for cell in shown))


def _print(title: str, table: Table) -> None:
    """Write a table to standard output."""
    out = Console(highlight=False)
    out.print(Text(title), style="bold")
    out.print(table)
