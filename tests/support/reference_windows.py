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
    n_held: int
    is_warm: bool


class ClockSet(NamedTuple):
    """A clock that was set: the record, the time there, and the newest before it."""

    record: int
    name: Name
    time_ms: float
    newest_ms: float


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
    outliers: list[tuple[Name, float, float]] = field(default_factory=list)
    clock_sets: list[ClockSet] = field(default_factory=list)
    n_used: int = 0
    released: list[tuple[int, Name, float, tuple[float, ...]]] = field(default_factory=list)
    n_keys: int = 0


@dataclass
class _Cell:
    """All samples of one cell: its time, and what they brought together."""

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
    is_confirmed: bool = False
    held: tuple[float, tuple[float, ...]] | None = None
    behind: tuple[float, float] | None = None
    known: dict[int, _Cell] = field(default_factory=dict)
    opened_ms: dict[int, float] = field(default_factory=dict)
    newest: _Cell | None = None
    waiting: list[_Cell] = field(default_factory=list)
    last_ms: float | None = None
    cell: int = 0
    span: int = 0
    cells: dict[int, tuple[float, ...]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)


@dataclass
class Partition:
    """The stream time of a partition, and who gave a later one."""

    now_ms: float = -math.inf
    n_records: int = 0
    was_earlier: bool = False
    ahead: tuple[bytes, float, float] | None = None

    def advance(self, record: Record, rules: WindowRules) -> float:
        """Take one more record; return until when it shows that its key sends."""
        times, gap_ms = record.times_ms, rules.gap_ms_max
        steady = 0
        while steady + 1 < len(times) and times[steady + 1] - times[steady] <= gap_ms:
            steady += 1
        steady_ms = times[steady]
        self.n_records += 1
        is_earlier = self.n_records <= 3 and times[-1] < self.now_ms - gap_ms
        was_earlier, self.was_earlier = self.was_earlier, is_earlier and self.n_records == 2
        if self.n_records == 1 or (is_earlier and was_earlier):
            self.now_ms = steady_ms
        elif times[0] <= self.now_ms + gap_ms:
            self.now_ms = max(self.now_ms, steady_ms)
            self.ahead = None
            if times[-1] > self.now_ms + gap_ms:
                self.ahead = (record.key, times[-1], times[-1])
        elif self.ahead is None:
            self.ahead = (record.key, times[0], steady_ms)
        elif self.ahead[0] == record.key:
            _, from_ms, to_ms = self.ahead
            to_ms = max(to_ms, steady_ms)
            self.ahead = (record.key, from_ms, to_ms)
            if steady_ms < from_ms:
                self.ahead = (record.key, times[0], steady_ms)
            elif to_ms - from_ms > rules.key_ttl_ms:
                self.now_ms, self.ahead = to_ms, None
        else:
            both = sorted([(self.ahead[2], self.ahead[0]), (steady_ms, record.key)])
            self.now_ms = both[0][0]
            to_ms, key = both[1]
            self.ahead = (key, to_ms, to_ms) if to_ms > self.now_ms + gap_ms else None
        return max(self.now_ms, steady_ms)


@dataclass
class _Arrival:
    """One record as it is processed: its number, its key and how many samples had which fate."""

    number: int
    record: Record
    n_late: int = 0
    n_repeated: int = 0
    n_held: int = 0


def cut_one_by_one(records: list[Record], rules: WindowRules) -> Result:
    """Cut the windows of a stream, record by record."""
    result = Result()
    known: dict[Name, _Series] = {}
    partitions: dict[int, Partition] = {}
    for number, record in enumerate(records):
        partition = partitions.setdefault(record.partition, Partition())
        seen_ms = partition.advance(record, rules)
        arrival = _Arrival(number, record)
        for time_ms, values in zip(record.times_ms, record.values, strict=True):
            series = known.setdefault(record.name, _Series())
            verdict = _judge(series, time_ms, partition.now_ms, rules)
            _settle_held(series, verdict, arrival, rules, result)
            if verdict == "set":
                result.clock_sets.append(ClockSet(number, record.name, time_ms, series.newest_ms))
                result.released.append((number, record.name, time_ms, ()))
                series = known[record.name] = _Series(is_confirmed=series.is_confirmed)
            if verdict in ("holds", "leads"):
                series.held = (time_ms, values)
                arrival.n_held += 1
            elif verdict in ("late", "stays"):
                arrival.n_late += 1
            else:
                _use(series, time_ms, values, arrival, rules, result)
        warm = known[record.name].span >= rules.n_steps
        outcome = Outcome(arrival.n_late, arrival.n_repeated, arrival.n_held, warm)
        result.outcomes.append(outcome)
        known[record.name].seen_ms = seen_ms
        _expire(known, arrival, partition.now_ms, rules, result)
    result.n_used -= sum(outcome.n_repeated for outcome in result.outcomes)
    result.n_keys = len(known)
    return result


def _expire(
    known: dict[Name, _Series], arrival: _Arrival, now_ms: float, rules: WindowRules, result: Result
) -> None:
    """Drop the keys of the record's partition that have sent nothing for too long."""
    for name, other in list(known.items()):
        at_ms = other.seen_ms + rules.key_ttl_ms
        if name[0] == arrival.record.partition and now_ms > at_ms:
            result.endings.append(Ending(arrival.number, name, at_ms))
            if other.held is not None:
                result.outliers.append((name, other.held[0], other.newest_ms))
            del known[name]


def _settle_held(
    series: _Series, verdict: str, arrival: _Arrival, rules: WindowRules, result: Result
) -> None:
    """Use or drop the held sample, where the next one shows what it is."""
    if series.held is None or verdict == "stays":
        return
    if verdict in ("confirms", "leads"):
        _use(series, *series.held, arrival, rules, result)
    else:
        result.outliers.append((arrival.record.name, series.held[0], series.newest_ms))
    series.held = None


def _judge(series: _Series, time_ms: float, now_ms: float, rules: WindowRules) -> str:
    """Return what a sample is: used, confirms, leads, holds, late, stays (late too), or set."""
    newest_ms, gap_ms, lateness_ms = series.newest_ms, rules.gap_ms_max, rules.allowed_lateness_ms
    if newest_ms == -math.inf:
        return "used"
    is_near = newest_ms - lateness_ms <= time_ms <= newest_ms + gap_ms
    if not series.is_confirmed:
        series.is_confirmed = True
        if not is_near and abs(now_ms - time_ms) < abs(now_ms - newest_ms):
            series.is_confirmed = False
            return "used" if time_ms > newest_ms else "set"
    held_ms = None if series.held is None else series.held[0]
    if held_ms is not None and held_ms - lateness_ms <= time_ms <= held_ms + gap_ms:
        return "confirms"
    if is_near:
        series.behind = None
        return "used"
    if time_ms > newest_ms:
        series.behind = None
        return "leads" if held_ms is not None and time_ms > held_ms else "holds"
    return _judge_late(series, time_ms, rules)


def _judge_late(series: _Series, time_ms: float, rules: WindowRules) -> str:
    """Return what a late sample is: late, stays or set."""
    gap_ms, lateness_ms = rules.gap_ms_max, rules.allowed_lateness_ms
    if series.behind is not None:
        from_ms, to_ms = series.behind
        if time_ms >= to_ms - lateness_ms:
            series.behind = (from_ms, max(time_ms, to_ms))
            is_set = max(time_ms, to_ms) - from_ms + rules.sample_interval_ms > gap_ms
            return "set" if is_set else "late"
        if time_ms >= to_ms - lateness_ms - gap_ms:
            return "late"
    if time_ms >= series.newest_ms - lateness_ms - gap_ms:
        return "stays"
    series.behind = (time_ms, time_ms)
    return "late"


def _use(
    series: _Series,
    time_ms: float,
    values: tuple[float, ...],
    arrival: _Arrival,
    rules: WindowRules,
    result: Result,
) -> None:
    """Use one sample."""
    arrival.n_repeated += _is_repeat(series, rules, time_ms, values)
    series.newest_ms = max(series.newest_ms, time_ms)
    result.n_used += 1
    _release(series, rules, arrival.number, arrival.record.name, result)


def _is_repeat(
    series: _Series, rules: WindowRules, time_ms: float, values: tuple[float, ...]
) -> bool:
    """Put a sample into its cell; return whether it brought nothing that can be used."""
    half = _half(time_ms, rules)
    cell = _cell_of(series, rules, time_ms)
    series.opened_ms.setdefault(half, time_ms)
    if cell is None:
        had_parts = series.newest is not None and series.newest.came_in_parts
        is_whole = not any(map(math.isnan, values))
        cell = _Cell(time_ms, list(values), is_held=had_parts and not is_whole)
        series.known[half] = cell
        series.newest = cell
        series.waiting = sorted([*series.waiting, cell], key=lambda each: each.time_ms)
        return False
    series.known[half] = cell
    if cell.is_used and rules.allowed_lateness_ms > 0:
        return True
    has_brought = cell.fill(values)
    cell.came_in_parts |= has_brought
    return cell.is_used or not has_brought


def _cell_of(series: _Series, rules: WindowRules, time_ms: float) -> _Cell | None:
    """Return the cell of a sample, None for a new one."""
    half, quarter_ms = _half(time_ms, rules), rules.sample_interval_ms / 4
    if half in series.known:
        return series.known[half]
    if abs(series.opened_ms.get(half - 1, math.inf) - time_ms) < quarter_ms:
        return series.known[half - 1]
    if abs(series.opened_ms.get(half + 1, math.inf) - time_ms) < quarter_ms:
        cell = series.known[half + 1]
        cell.time_ms = time_ms
        return cell
    return None


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
        result.released.append((number, name, time_ms, tuple(used.values)))
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
