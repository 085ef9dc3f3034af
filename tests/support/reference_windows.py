"""Windows cut from samples the naive way: one record, one sample and one cell at a time.

The rules of `stream_detector.core.windowing` written down once more, for tests to compare with: no
batches, no arrays, and the whole state of a key in one object.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stream_detector.core.windowing.rules import WindowRules

Name = tuple[int, bytes]
"""Partition and key of a series."""


class Record(NamedTuple):
    """One record of samples."""

    partition: int
    key: bytes
    times_ms: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> Name:
        return self.partition, self.key


class Window(NamedTuple):
    """One window, and the record that completed it."""

    record: int
    name: Name
    start_ms: int
    end_ms: int
    values: bytes


class Outcome(NamedTuple):
    """How one record was treated."""

    n_late: int
    n_repeated: int
    is_warm: bool


class Ending(NamedTuple):
    """A key that expired: the record that advanced stream time past it, and when it expired."""

    record: int
    name: Name
    at_ms: float


@dataclass
class Result:
    """What came of a stream."""

    windows: list[Window] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    gaps: list[tuple[int, Name, float]] = field(default_factory=list)
    n_keys: int = 0


@dataclass
class _Cell:
    """All samples of one half interval: the time of the first, and what they brought together."""

    time_ms: float
    values: list[float]
    is_used: bool = False
    is_held: bool = False
    came_in_parts: bool = False

    def fill(self, values: tuple[float, ...]) -> bool:
        """Take what the cell lacks from one more sample; return whether it brought anything."""
        lacking = [at for at, value in enumerate(self.values) if math.isnan(value)]
        brought = [at for at in lacking if not math.isnan(values[at])]
        for at in brought:
            self.values[at] = values[at]
        return bool(brought)


@dataclass
class _Series:
    """The whole state of one key."""

    seen_ms: float = -math.inf
    newest_ms: float = -math.inf
    known: dict[int, _Cell] = field(default_factory=dict)
    newest: _Cell | None = None
    waiting: list[_Cell] = field(default_factory=list)
    last_ms: float | None = None
    cell: int = 0
    span: int = 0
    cells: dict[int, tuple[float, ...]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)


def cut_one_by_one(records: list[Record], rules: WindowRules) -> Result:
    """Cut the windows of a stream, record by record."""
    result = Result()
    known: dict[Name, _Series] = {}
    stream_times_ms: dict[int, float] = {}
    for number, record in enumerate(records):
        series = known.setdefault(record.name, _Series())
        n_late = n_repeated = 0
        for time_ms, values in zip(record.times_ms, record.values, strict=True):
            if time_ms + rules.allowed_lateness_ms < series.newest_ms:
                n_late += 1
            else:
                n_repeated += _is_repeat(series, rules, time_ms, values)
                series.newest_ms = max(series.newest_ms, time_ms)
                _release(series, rules, number, record.name, result)
        result.outcomes.append(Outcome(n_late, n_repeated, series.span >= rules.n_steps))
        stream_time_ms = max(stream_times_ms.get(record.partition, -math.inf), record.times_ms[-1])
        stream_times_ms[record.partition] = series.seen_ms = stream_time_ms
        for name, other in list(known.items()):
            if name[0] == record.partition and stream_time_ms > other.seen_ms + rules.key_ttl_ms:
                result.endings.append(Ending(number, name, other.seen_ms + rules.key_ttl_ms))
                del known[name]
    result.n_keys = len(known)
    return result


def _is_repeat(
    series: _Series, rules: WindowRules, time_ms: float, values: tuple[float, ...]
) -> bool:
    """Put a sample into its cell; return whether it brought nothing that can be used."""
    half = _half(time_ms, rules)
    cell = series.known.get(half)
    if cell is None:
        had_parts = series.newest is not None and series.newest.came_in_parts
        is_whole = not any(map(math.isnan, values))
        cell = _Cell(time_ms, list(values), is_held=had_parts and not is_whole)
        series.known[half] = cell
        series.newest = cell
        series.waiting = sorted([*series.waiting, cell], key=lambda each: each.time_ms)
        return False
    if cell.is_used and rules.allowed_lateness_ms > 0:
        return True
    has_brought = cell.fill(values)
    cell.came_in_parts |= has_brought
    return cell.is_used or not has_brought


def _is_due(cell: _Cell, series: _Series, rules: WindowRules) -> bool:
    """Return whether a cell waits for nothing more."""
    if rules.allowed_lateness_ms > 0:
        return cell.time_ms + rules.allowed_lateness_ms < series.newest_ms
    is_whole = not any(map(math.isnan, cell.values))
    return not cell.is_held or is_whole or cell is not series.newest


def _release(series: _Series, rules: WindowRules, number: int, name: Name, result: Result) -> None:
    """Align the cells that wait for nothing more, and cut the windows they complete."""
    while series.waiting and _is_due(series.waiting[0], series, rules):
        used = series.waiting.pop(0)
        used.is_used = True
        time_ms = used.time_ms
        if _align(series, rules, time_ms, tuple(used.values)):
            result.gaps.append((number, name, time_ms))
        n_steps = rules.n_steps
        while series.starts and series.starts[0] + n_steps - 1 <= series.cell:
            start = series.starts.pop(0)
            nothing = (math.nan,) * rules.n_features
            window = [series.cells.get(cell, nothing) for cell in range(start, start + n_steps)]
            n_beyond = series.cell - (start + n_steps - 1)
            end_ms = time_ms - n_beyond * rules.sample_interval_ms
            start_ms = math.floor(end_ms - rules.span_ms + 0.5)
            found = np.array(window, dtype=np.float32).tobytes()
            whole_end_ms = math.floor(end_ms + 0.5)
            result.windows.append(Window(number, name, start_ms, whole_end_ms, found))


def _align(series: _Series, rules: WindowRules, time_ms: float, values: tuple[float, ...]) -> bool:
    """Put one sample in its cell, start a window where one starts; return if it ends a gap."""
    interval, last_ms = rules.sample_interval_ms, series.last_ms
    series.last_ms = time_ms
    if last_ms is None or time_ms - last_ms > rules.gap_ms_max:
        series.cell, series.span = 0, 1
        series.cells, series.starts = {0: values}, [0]
        return last_ms is not None
    n_steps = max(1, math.floor((time_ms - last_ms) / interval + 0.5))
    series.cell += n_steps
    series.span = min(rules.n_steps, series.span + n_steps)
    series.cells[series.cell] = values
    numbers = [(_half(each, rules) + 1) // (2 * rules.stride) for each in (time_ms, last_ms)]
    is_next = numbers[0] != numbers[1]
    if rules.stride == 1 or is_next:
        series.starts.append(series.cell)
    return False


def _half(time_ms: float, rules: WindowRules) -> int:
    """Return the half interval of absolute time in which a sample lies; it holds one sample."""
    return math.floor(time_ms / (rules.sample_interval_ms / 2))
