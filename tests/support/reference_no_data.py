"""Silent keys and missing features the naive way: one record and one sample at a time.

The rules of `silences` and `missing_features` of `stream_detector.core.windowing` written down once
more, for tests to compare with.
"""

import math
from typing import NamedTuple

from reference_windows import Name, Partition, Record, Result

from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.silences import NOT_HERE
from stream_detector.core.windowing.window_batch import WindowBatch


class Change(NamedTuple):
    """Something that began to be missed, or that ended: a key, or a feature of it."""

    record: int
    name: Name
    feature: int | None
    since_ms: float
    at_ms: float
    what: str


def silences_one_by_one(records: list[Record], rules: WindowRules) -> list[Change]:
    """Return when keys fell silent, sent again and expired."""
    after_ms = rules.no_data_after_ms or math.inf
    changes: list[Change] = []
    seen: dict[Name, float] = {}
    silent: set[Name] = set()
    partitions: dict[int, Partition] = {}
    for number, record in enumerate(records):
        partition = partitions.setdefault(record.partition, Partition())
        seen_ms = partition.advance(record, rules)
        now = partition.now_ms
        if record.name in silent:
            silent.remove(record.name)
            changes.append(Change(number, record.name, None, seen[record.name], now, "again"))
        seen[record.name] = seen_ms
        for name, at_ms in list(seen.items()):
            if name[0] != record.partition:
                continue
            if now > at_ms + after_ms and name not in silent:
                silent.add(name)
                changes.append(Change(number, name, None, at_ms, math.nan, "begins"))
            if now > at_ms + rules.key_ttl_ms:
                gone_ms = at_ms + rules.key_ttl_ms
                changes.append(Change(number, name, None, at_ms, gone_ms, "expired"))
                silent.discard(name)
                del seen[name]
    return changes


def features_one_by_one(result: Result, rules: WindowRules, n_records: int) -> list[Change]:
    """Return when features began to be missing, had a value again and were given up.

    Parameters
    ----------
    result
        Released samples, and the keys that expired.
    """
    found = _Features(rules.no_data_after_ms or math.inf, rules.key_ttl_ms)
    for number in range(n_records):
        for _, name, time_ms, values in (each for each in result.released if each[0] == number):
            if values:
                found.take(number, name, time_ms, values)
            else:
                found.end(number, name, found.newest_ms.get(name, math.nan), "clock_set")
        for _, name, at_ms in (each for each in result.endings if each[0] == number):
            found.end(number, name, at_ms, "expired")
    return found.changes


class _Features:
    """When each feature of each key had its last value, and which are missing."""

    def __init__(self, after_ms: float, ttl_ms: float) -> None:
        self.changes: list[Change] = []
        self.newest_ms: dict[Name, float] = {}
        self._after_ms, self._ttl_ms = after_ms, ttl_ms
        self._last: dict[Name, list[float]] = {}
        self._missing: set[tuple[Name, int]] = set()

    def take(self, number: int, name: Name, time_ms: float, values: tuple[float, ...]) -> None:
        """Take one sample."""
        self.newest_ms[name] = time_ms
        times = self._last.setdefault(name, [time_ms] * len(values))
        for feature, value in enumerate(values):
            place, since_ms = (name, feature), times[feature]
            times[feature] = since_ms if math.isnan(value) else time_ms
            age_ms = time_ms - times[feature]
            is_over = age_ms > self._ttl_ms
            if place in self._missing and (age_ms == 0 or is_over):
                self._missing.remove(place)
                at_ms = since_ms + self._ttl_ms if is_over else time_ms
                what = "given_up" if is_over else "value"
                self.changes.append(Change(number, name, feature, since_ms, at_ms, what))
            elif age_ms > self._after_ms and not is_over and place not in self._missing:
                self._missing.add(place)
                at_ms = since_ms + self._after_ms
                self.changes.append(Change(number, name, feature, since_ms, at_ms, "begins"))

    def end(self, number: int, name: Name, at_ms: float, what: str) -> None:
        """End a series, and with it what is missing of it."""
        for feature, since_ms in enumerate(self._last.pop(name, ())):
            if (name, feature) in self._missing:
                self._missing.remove((name, feature))
                self.changes.append(Change(number, name, feature, since_ms, at_ms, what))


def changes_in(batch: WindowBatch, start: int, partitions: list[int]) -> list[Change]:
    """Return what began and ended in a batch."""
    found = []
    silences, features = batch.silences, batch.missing_features
    assert silences is not None
    assert features is not None
    keys = batch.state.keys_of(silences.slots)
    for row, key in enumerate(keys):
        begin, end = int(silences.begins[row]), int(silences.ends[row])
        since_ms, at_ms = float(silences.since_ms[row]), float(silences.end_ms[row])
        name = (partitions[end if begin == NOT_HERE else begin], key)
        if begin != NOT_HERE:
            found.append(Change(start + begin, name, None, since_ms, 0.0, "begins"))
        if end != NOT_HERE:
            what = "expired" if silences.is_expired[row] else "again"
            found.append(Change(start + end, name, None, since_ms, at_ms, what))
    keys = batch.state.keys_of(features.slots)
    for row, key in enumerate(keys):
        record = int(features.records[row])
        found.append(
            Change(
                start + record,
                (partitions[record], key),
                int(features.features[row]),
                float(features.since_ms[row]),
                float(features.at_ms[row]),
                str(features.what[row]),
            )
        )
    return found
