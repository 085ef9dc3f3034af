"""How log lines look on standard error: text for people, or JSON for programs."""

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stream_detector.settings import LogFormat
from stream_detector.telemetry import VALUE_CHARACTERS_MAX, logger
from stream_detector.text import json_line, quoted, shorten

LIBRARIES = {"kafka": "kafka-library", "opentelemetry": "otlp-library", "py": "python-warning"}
"""Events of lines that others wrote, by the first part of their loggers' names."""

REPEATS_S = 10.0
"""A library's line that differs from one before in its numbers only is left out for so long: while
a broker or a topic is away, kafka-python writes ten a second."""

_OF_CLOSING = re.compile(
    r"LeaveGroup request |<\w+ \[.*\] \(closed\)>: |.*: failed Transport closed for writes$"
)
"""Lines of kafka-python about a connection that it has closed itself while an answer was under way,
and about a group that did not confirm in time that a member leaves. They come as errors where a
process ends in order during a rebalance, and nothing follows from them."""

_KINDS_MAX = 100
_NUMBERS = re.compile(r"\d+(\.\d+)?")


def set_up_logging(level: int, log_format: LogFormat = "text", worker: int | None = None) -> None:
    """Send log lines to standard error, one line an event, time in UTC.

    Warnings of libraries, and of Python, are lines of the same form.

    Parameters
    ----------
    level
        Lowest level of the project's own lines.
    log_format
        `text`, or `json` for one JSON object a line.
    worker
        Number of this worker among those of a command, which every line then carries.
    """
    handler = logging.StreamHandler()
    more = {} if worker is None else {"worker": worker}
    handler.setFormatter((_JsonFormatter if log_format == "json" else _TextFormatter)(more))
    logging.captureWarnings(capture=True)
    handler.addFilter(_is_of_consequence)
    handler.addFilter(_Repeats())
    libraries = [logging.getLogger(name) for name in ("kafka", "opentelemetry", "py.warnings")]
    levels = [level, *[logging.WARNING] * len(libraries)]
    for each, its_level in zip((logger, *libraries), levels, strict=True):
        each.handlers = [handler]
        each.propagate = False
        each.setLevel(its_level)


def _is_of_consequence(record: logging.LogRecord) -> bool:
    """Return whether a line says something that matters; the project's own always do."""
    return hasattr(record, "event") or not _OF_CLOSING.match(record.getMessage())


class _Repeats(logging.Filter):
    """Leaves out lines of libraries that repeat one of the last seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; the project's own always are."""
        if hasattr(record, "event"):
            return True
        kind = record.name, _NUMBERS.sub("0", record.getMessage())
        if record.created < self._said_at.get(kind, -REPEATS_S) + REPEATS_S:
            return False
        if len(self._said_at) >= _KINDS_MAX:
            self._said_at.clear()
        self._said_at[kind] = record.created
        return True


class _TextFormatter(logging.Formatter):
    """Writes time, level, event and fields."""

    def __init__(self, more: Mapping[str, Any]) -> None:
        super().__init__()
        self._more = "".join(f" {name}={value}" for name, value in more.items())

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        text = record.getMessage()
        if not hasattr(record, "event"):
            reason = quoted(text, VALUE_CHARACTERS_MAX)
            text = f"{_event_of(record)} logger={quoted(record.name)} reason={reason}"
        return f"{_time_of(record)} {record.levelname} {text}{self._more}"


class _JsonFormatter(logging.Formatter):
    """Writes one JSON object with time, level, event and fields."""

    def __init__(self, more: Mapping[str, Any]) -> None:
        super().__init__()
        self._more = more

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        event = getattr(record, "event", "") or _event_of(record)
        unknown = {"logger": record.name, "reason": record.getMessage()}
        given = getattr(record, "fields", unknown)
        fields = {name: _json_value(value) for name, value in given.items()}
        line = {"time": _time_of(record), "level": record.levelname, "event": event}
        return json_line(json.dumps({**line, **fields, **self._more}, ensure_ascii=False))


def _event_of(record: logging.LogRecord) -> str:
    """Return the event of a line that a library wrote."""
    return LIBRARIES[record.name.partition(".")[0]]


def _json_value(value: object) -> object:
    """Return a field's value as JSON has it: numbers as they are, all else as bounded text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int | float | None):
        return value
    return shorten(str(value), VALUE_CHARACTERS_MAX)


def _time_of(record: logging.LogRecord) -> str:
    """Return the time of a log record in UTC."""
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
