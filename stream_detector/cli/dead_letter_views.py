"""Dead letters as text for a terminal: tables, everything about one, what a redrive will send.

A record holds whatever its producer wrote, so characters that a terminal would obey are escaped.
"""

import json
import re
from collections.abc import Iterable, Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from stream_detector.cli.terminal import show_table, time_text
from stream_detector.core.codec.dead_letters import DeadLetter
from stream_detector.errors import ConfigError
from stream_detector.outputs.dead_letters import (
    Selection,
    Summary,
    incomplete_text,
    key_text,
    location_of,
    source_text,
)
from stream_detector.outputs.redrive import Plan, Target
from stream_detector.text import printable, quoted, shorten

INCOMPLETE = "incomplete"
"""Marks a dead letter that lacks a part."""

NOT_OURS = "not a dead letter"
"""Stands for the class of a record that the detector did not write."""

TEXT_CHARACTERS_MAX = 8_192
HEX_BYTES_MAX = 512
"""How much of a value is shown; `--raw` writes all of it."""

_CELL_CHARACTERS_MAX = 200
_TIME_WIDTH = len("00:00:00.000")
_HEX_BYTES_A_LINE = 16
_INNER_ARRAY = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s*\]")


def print_summary(title: str, summary: Summary) -> None:
    """Print how many dead letters there are of each class, the most frequent class first."""
    times = ("oldest (UTC)", "newest (UTC)")
    table = _table("count", "class", "stage", "redriven", INCOMPLETE, *times)
    for kind, tally in sorted(summary.items(), key=lambda item: -item[1].n_letters):
        stage, error = kind or ("", NOT_OURS)
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
    show_table(title, table)


def print_letters(title: str, letters: Iterable[DeadLetter]) -> None:
    """Print a row for each dead letter."""
    table = _table("at", "original", "time (UTC)", "key", "bytes", "reason")
    for letter in letters:
        reason, key = letter.reason, key_text(letter.key)
        lack = f"{INCOMPLETE}, {', '.join(letter.left_out)} left out; " if letter.left_out else ""
        _add_row(
            table,
            str(location_of(letter)),
            source_text(letter) or "-",
            _short_time(letter.timestamp_ms),
            "-" if key is None else key,
            "-" if letter.value is None else f"{len(letter.value):,}",
            f"{lack}{reason.stage} {reason.error}: {reason.message}" if reason else NOT_OURS,
        )
    show_table(title, table)


def describe_letter(letter: DeadLetter) -> Iterator[str]:
    """Yield lines with everything about a dead letter."""
    metadata, reason = letter.metadata, letter.reason
    yield metadata.place
    facts = {
        INCOMPLETE: incomplete_text(letter) if letter.left_out else None,
        "original": source_text(letter),
        "redriven from": letter.redriven_from,
        "time": time_text(letter.timestamp_ms) if letter.timestamp_ms >= 0 else "none",
        "stage": reason.stage if reason else None,
        "class": reason.error if reason else NOT_OURS,
        "message": reason.message if reason else None,
        "key": "left out" if "key" in letter.left_out else _content(letter.key),
        "changed": f"{letter.changed}, because the topic refused it" if letter.changed else None,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<13}  {printable(fact)}"
    yield f"headers: {len(metadata.headers)}"
    for name, value in metadata.headers:
        yield f"  {shorten(printable(name))}: {_content(value)}"
    yield from ["value: left out"] if "value" in letter.left_out else describe_value(letter.value)


def require_value(letter: DeadLetter, *, has_terminal: bool) -> None:
    """Refuse a dead letter that lacks its value, or whose value a terminal would obey.

    Raises
    ------
    ConfigError
        If so.
    """
    text = (letter.value or b"").decode(errors="surrogateescape")
    if has_terminal and not all(each.isprintable() or each in "\n\t" for each in text):
        message = (
            f"--raw: the value of {location_of(letter)} holds characters that a terminal would "
            "obey; write it to a file, as with `> value.bin`"
        )
        raise ConfigError(message)
    if "value" in letter.left_out:
        message = f"--raw: {location_of(letter)} {incomplete_text(letter)}; read it from there"
        raise ConfigError(message)


def describe_selection(selection: Selection) -> str:
    """Return the conditions of a selection as the flags that set them; empty if there is none."""
    given = {"--error": selection.error, "--key": selection.key}
    return " ".join(f"{flag} {value}" for flag, value in given.items() if value is not None)


def describe_plan(plan: Plan, topic: str) -> list[str]:
    """Return a line on what a redrive will send, and a line on each dead letter it refuses."""
    parts = [f"{topic}: {plan.n_letters:,} of {plan.n_records:,} records to send"]
    parts += [f"{count:,} to {name}" for name, count in plan.counts.most_common()]
    if plan.n_foreign:
        parts.append(f"left out {plan.n_foreign:,}, {NOT_OURS} (--foreign sends such too)")
    if plan.n_incomplete:
        parts.append(f"refused {plan.n_incomplete:,}, {INCOMPLETE}")
    n_more = plan.n_incomplete - len(plan.incomplete)
    more = [f"... and {n_more:,} more, which `dead-letters list` shows"] if n_more else []
    return ["; ".join(parts), *plan.incomplete, *more]


def describe_target(letter: DeadLetter, target: Target) -> str:
    """Return a line on a dead letter that a redrive would send."""
    where = target.topic + ("" if target.partition is None else f"[{target.partition}]")
    error = letter.reason.error if letter.reason else NOT_OURS
    key = key_text(letter.key)
    size = "a tombstone" if letter.value is None else f"{len(letter.value):,} bytes"
    shown = "-" if key is None else quoted(key, _CELL_CHARACTERS_MAX)
    return f"{target.location} to {where}  key {shown}  {error}  {size}"


def describe_value(value: bytes | None) -> Iterator[str]:
    r"""Yield lines with a value: JSON, text, or else a hex dump; a large value is cut off.

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


def _render(value: bytes) -> tuple[str, str, int]:
    """Return what kind of value it is, how it is shown, and how much of that is cut off."""
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
    # Other characters that `splitlines` breaks at would start a line that looks like one of ours.
    lines = [printable(line) for line in re.split("\r?\n", text[:TEXT_CHARACTERS_MAX])]
    return kind, "\n".join(lines), max(0, len(text) - TEXT_CHARACTERS_MAX)


def _on_one_line(array: re.Match[str]) -> str:
    """Return an array of numbers on one line, because a window has hundreds of them."""
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


def _short_time(milliseconds: int) -> str:
    """Return a time for a table, without its time zone."""
    if milliseconds < 0:
        return "-"
    return time_text(milliseconds).removesuffix("+00:00").replace("T", " ")


def _table(*columns: str) -> Table:
    """Return a table whose cells fold on a narrow terminal, except numbers and offsets."""
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
    """Add a row of plain text: no markup, and nothing that a terminal would obey."""
    table.add_row(*(Text(shorten(printable(cell), _CELL_CHARACTERS_MAX)) for cell in cells))
