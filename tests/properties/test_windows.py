"""However samples arrive: the windows are those of the naive reference, bit for bit."""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, compress
from typing import Any

import numpy as np
from drawing import one_of_each
from hypothesis import event, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from record_batches import SIZES, arrivals_of, batches_of
from reference_no_data import Change, changes_in, features_one_by_one, silences_one_by_one
from reference_windows import ClockSet, Ending, Outcome, Record, Result, Window, cut_one_by_one

from stream_detector.core.records import Samples
from stream_detector.core.timestamps import keep
from stream_detector.core.windowing.key_clocks import ClockEvent
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows
from stream_detector.datasets.windowing import cut_samples

START_MS = 1_767_225_600_000
NEVER_MS = 1e15
STEADY = (1.0,) * 6
STEPS = (*STEADY, 0.0, 0.3, 2.0, 3.0, 9.0)
"""Intervals from one sample to the next; 0 is the same time again, 0.3 is too close."""


def rules_of(facts: tuple[Any, ...]) -> WindowRules:
    n_steps, stride, interval, n_features, gap, lateness, ttl = facts
    gap_ms = interval * (gap or n_steps)
    return WindowRules(
        n_steps=n_steps,
        n_features=n_features,
        stride=max(stride if stride > 0 else n_steps - stride, 1),
        sample_interval_ms=interval,
        gap_ms_max=gap_ms,
        allowed_lateness_ms=lateness * interval,
        missing="hold",
        missing_share_max=1.0,
        key_ttl_ms=gap_ms * ttl,
    )


RULES = st.tuples(
    st.integers(1, 12),
    st.sampled_from([1, 1, 2, 3, 0, -3]),  # 0 and below: as long as a window, and longer
    st.sampled_from([1.0, 2.5, 10.0, 1000 / 360]),
    st.integers(1, 3),
    st.sampled_from([1.0, 1.5, 3.0, None]),
    st.sampled_from([0.0, 0.0, 1.0, 3.0, 7.3]),
    st.sampled_from([1.0, 3.0, 20.0]),
).map(rules_of)
MISSING = [None] * 6 + [0, 1, 2]
"""The feature that is missing, or with 2 all of them."""
JITTERS = [0.0, 0.0, 0.2, -0.2, 0.45, -1.5]
SAMPLES = st.lists(one_of_each(STEPS, JITTERS, MISSING), min_size=1, max_size=5) | st.lists(
    one_of_each([0.1875, 0.3125, 0.4375], [0.0], MISSING), max_size=9
).map(lambda crowded: [(1.0, 0.0, None), *crowded])
# Partition, key, how far behind the record is, how long the key was idle before or how far its
# clock was set back, samples.
RECORDS = st.lists(
    st.tuples(
        one_of_each(
            [0, 1],
            [0, 1, 2],
            [0] * 12 + [2, 5, 9, 2, 5, 9, 60, -60, 61, -500],
            [0.0] * 15 + [1.5, -1.5, -0.3],
        ),
        SAMPLES,
    ).map(lambda drawn: (*drawn[0], drawn[1])),
    min_size=10,
    max_size=40,
)
NEAR = [(1.0, 0.0, None), (0.3, 0.0, None)]
"""Two samples that are close to each other."""
BASES_MS = (0.0, START_MS + 0.25, START_MS + 3.0)


def stream_of(plans: list[Any], rules: WindowRules) -> list[Record]:
    """Return the records that were drawn; no two values are the same."""
    at_ms: dict[tuple[int, int], float] = {}
    records: list[Record] = []
    for partition, key, behind, shift, samples in plans:
        name = (partition, key)
        time_ms = at_ms.get(name, BASES_MS[key]) + shift * rules.key_ttl_ms
        times: list[float] = []
        values: list[tuple[float, ...]] = []
        for step, jitter, missing in samples:
            time_ms += step * rules.sample_interval_ms
            # As read, to a sixteenth of a millisecond: sums of such times are exact.
            times.append(round(16 * (time_ms + (jitter - behind) * rules.sample_interval_ms)) / 16)
            value = len(records) * 8.0 + len(values)
            whole = (value, *[-value - at for at in range(1, rules.n_features)])
            lacks = [missing in (at, 2) for at in range(rules.n_features)]
            given = zip(whole, lacks, strict=True)
            values.append(tuple(math.nan if is_lacking else each for each, is_lacking in given))
        at_ms[name] = time_ms
        records.append(Record(partition, b"k%d" % key, tuple(sorted(times)), tuple(values)))
    return records


def add_batch(result: Result, some: WindowBatch, records: list[Record]) -> None:
    """Add the windows, outcomes, expired keys and gaps of a batch."""
    start = len(result.outcomes)
    keys = some.state.keys_of(some.slots)
    columns = (some.records, some.start_ms, some.end_ms)
    windows = some.gather(slice(None))
    rows = zip(*(column.tolist() for column in columns), keys, windows, strict=True)
    for record, start_ms, end_ms, key, window in rows:
        name = (records[record].partition, key)
        result.windows.append(Window(start + record, name, start_ms, end_ms, window.tobytes()))
    counts = (some.n_late, some.n_repeated, some.n_held, some.is_warm)
    outcomes = zip(*(column.tolist() for column in counts), strict=True)
    result.outcomes += [Outcome(*row) for row in outcomes]
    expired, ended = some.expired, some.state.keys_of(some.expired.slots)
    rows = zip(expired.records.tolist(), ended, expired.at_ms.tolist(), strict=True)
    for record, key, at_ms in rows:
        result.endings.append(Ending(start + record, (records[record].partition, key), at_ms))
    gap_keys = some.state.keys_of(some.gap_slots)
    rows = zip(some.gap_records.tolist(), gap_keys, some.gap_ms.tolist(), strict=True)
    for record, key, at_ms in rows:
        result.gaps.append((start + record, (records[record].partition, key), at_ms))
    sets, set_keys = some.clock_sets, some.state.keys_of(slots_of(some.clock_sets))
    for (_, record, *times), key in zip(sets, set_keys, strict=True):
        name = (records[record].partition, key)
        result.clock_sets.append(ClockSet(start + record, name, *times))
    outlier_keys = some.state.keys_of(slots_of(some.outliers))
    for (*_, time_ms, newest_ms), key in zip(some.outliers, outlier_keys, strict=True):
        result.outliers.append(((0, key), time_ms, newest_ms))
    result.n_used += some.n_used
    result.n_keys = some.state.n_keys


def slots_of(events: Sequence[ClockEvent]) -> NDArray[np.intp]:
    return np.array([event.slot for event in events], dtype=np.intp)


def cut_in_batches(
    records: list[Record], rules: WindowRules, sizes: Iterable[int], n_times: int = 1
) -> Result:
    """Cut batch by batch, each so many times from the same state."""
    state, result = WindowState.empty(rules), Result()
    for batch in batches_of(records, sizes):
        steps = [
            assign_windows(state, rules, arrivals_of(batch, rules.n_features))
            for _ in range(n_times)
        ]
        add_batch(result, steps[-1], batch)
        state = steps[-1].state
    return result


def summary(result: Result) -> tuple[object, ...]:
    """Return a result to compare; keys that expire at one record, and its gaps, in any order."""
    endings, gaps = sorted(result.endings), sorted(result.gaps)
    outliers = sorted((key, *times) for (_, key), *times in result.outliers)
    sets = sorted(result.clock_sets)
    counts = (result.n_used, result.n_keys)
    return result.windows, result.outcomes, endings, gaps, outliers, sets, counts


@given(plans=RECORDS, rules=RULES, sizes=SIZES)
def test_any_batches_give_what_the_naive_reference_gives(
    plans: list[Any], rules: WindowRules, sizes: list[int]
) -> None:
    records = stream_of(plans, rules)
    expected = summary(cut_one_by_one(records, rules))
    for some in ([len(records)], [1], sizes):
        assert summary(cut_in_batches(records, rules, some)) == expected


@given(plans=RECORDS, rules=RULES, sizes=SIZES)
def test_a_batch_can_be_processed_again_from_the_same_state(
    plans: list[Any], rules: WindowRules, sizes: list[int]
) -> None:
    records = stream_of(plans, rules)
    once, thrice = (cut_in_batches(records, rules, sizes, n_times) for n_times in (1, 3))
    assert summary(thrice) == summary(once)


@given(plans=RECORDS, rules=RULES, data=st.data())
def test_a_key_s_windows_do_not_depend_on_other_keys(
    plans: list[Any], rules: WindowRules, data: st.DataObject
) -> None:
    rules = replace(rules, key_ttl_ms=NEVER_MS)
    # The second sample of each key is near its first, so that stream time need not decide.
    start = [(*name, 0, 0.0, NEAR) for name in dict.fromkeys(plan[:2] for plan in plans)]
    records = stream_of([*start, *((*plan[:3], 0.0, plan[4]) for plan in plans)], rules)
    names = data.draw(st.permutations([record.name for record in records]), "interleaving")
    queues: dict[Any, deque[Record]] = defaultdict(deque)
    for record in records:
        queues[record.name].append(record)
    other = [queues[name].popleft() for name in names]
    assert by_key(other, rules) == by_key(records, rules)


def by_key(records: list[Record], rules: WindowRules) -> dict[Any, list[object]]:
    """Return windows and outcomes of each key."""
    found = cut_in_batches(records, rules, [7])
    found_of: dict[Any, list[object]] = {record.name: [] for record in records}
    for window in found.windows:
        found_of[window.name].append(window[2:])
    for record, outcome in zip(records, found.outcomes, strict=True):
        found_of[record.name].append(outcome)
    return found_of


@given(
    rules=RULES,
    n_samples=st.integers(1, 80),
    n_strides=st.sampled_from([0, 1, 7, 30_000_000_000]),
    sizes=SIZES,
    chunks=st.lists(st.integers(1, 30), min_size=1, max_size=6),
)
def test_a_regular_series_gives_its_slices_however_it_is_chunked(
    rules: WindowRules, n_samples: int, n_strides: int, sizes: list[int], chunks: list[int]
) -> None:
    interval, stride, n_steps = rules.sample_interval_ms, rules.stride, rules.n_steps
    # Times are sums of floats: a gap of one interval would be found between any two of them.
    rules = replace(rules, gap_ms_max=max(rules.gap_ms_max, 1.5 * interval))
    first_ms = n_strides * stride * interval
    times = keep(first_ms + np.arange(n_samples, dtype=np.float64) * interval).tolist()
    values = np.arange(n_samples * rules.n_features, dtype=np.float32).reshape(n_samples, -1)
    samples = [
        Record(0, b"k", (time_ms,), (tuple(row),))
        for time_ms, row in zip(times, values.tolist(), strict=True)
    ]
    records = [
        Record(0, b"k", *(tuple(chain(*column)) for column in list(zip(*some, strict=True))[2:]))
        for some in batches_of(samples, chunks)
    ]
    found = cut_in_batches(records, rules, sizes).windows
    n_released = n_samples
    if rules.allowed_lateness_ms > 0:  # the newest still wait
        n_released = sum(time_ms + rules.allowed_lateness_ms < times[-1] for time_ms in times)
    starts = range(0, n_released - n_steps + 1, stride)
    slices = [values[start : start + n_steps].tobytes() for start in starts]
    assert [window.values for window in found] == slices
    columns = Samples(("k",), np.zeros(n_samples, np.intp), np.array(times, float), values)
    offline = cut_samples(columns, rules)
    assert [window.tobytes() for window in offline.windows] == slices
    assert offline.start_ms.tolist() == [window.start_ms for window in found]
    assert offline.end_ms.tolist() == [window.end_ms for window in found]
    # Counted back from the window's end, whose time is kept to a sixteenth of a millisecond.
    expected = [math.floor(times[start] + 0.5) for start in starts]
    assert np.abs(offline.start_ms - np.array(expected, np.int64)).max(initial=0) <= 1


@given(plans=RECORDS, rules=RULES, sizes=SIZES)
def test_memory_is_keys_times_window_and_the_reorder_buffer(
    plans: list[Any], rules: WindowRules, sizes: list[int]
) -> None:
    records = stream_of(plans, rules)
    state, n_keys_max = WindowState.empty(rules), 0
    for batch in batches_of(records, sizes):
        n_before = state.n_keys
        state = assign_windows(state, rules, arrivals_of(batch, rules.n_features)).state
        assert state.delta is not None
        n_keys_max = max(n_keys_max, n_before + len(state.delta.added))
        keyed_state = state.apply_delta()
        assert len(keyed_state.rows) == len(keyed_state.starts) == len(keyed_state.partitions)
        assert len(keyed_state.rows) <= n_keys_max * 1.125 + 1
        assert (
            keyed_state.n_keys == state.n_keys == sum(key is not None for key in keyed_state.keys)
        )
        for slot, key in enumerate(keyed_state.keys):
            if key is not None:
                stream_time_ms = keyed_state.stream_times_ms[int(keyed_state.partitions[slot])]
                assert stream_time_ms <= keyed_state.columns.seen_ms[slot] + rules.key_ttl_ms
        waiting = keyed_state.reorder_buffer
        newest = keyed_state.columns.newest_ms[waiting.slots]
        if rules.allowed_lateness_ms > 0:
            assert (waiting.times_ms + rules.allowed_lateness_ms >= newest).all()
        else:  # at most the newest cell of a key, while it lacks values
            assert len(set(waiting.slots.tolist())) == len(waiting.slots)
            assert (waiting.times_ms >= newest - rules.sample_interval_ms / 2).all()
            assert np.isnan(waiting.values).any(axis=1).all()
        places = list(zip(waiting.slots.tolist(), waiting.times_ms.tolist(), strict=True))
        assert places == sorted(set(places))


# Key, step, jitter, how many records later it comes, the feature that it lacks: a stream that is
# nearly in order of time.
NEARLY_ORDERED = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([*STEADY, 0.0, 0.0, 2.0, 3.0, 9.0, 40.0]),
        st.sampled_from([0.0, 0.2, -0.2]),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.sampled_from([None, None, 0, 1]),
    ),
    min_size=30,
    max_size=100,
)


def nearly_ordered(plans: list[Any], rules: WindowRules) -> list[Record]:
    interval = rules.sample_interval_ms
    at_ms = dict.fromkeys(range(3), float(START_MS))
    delayed = []
    for number, (key, step, jitter, delay, missing) in enumerate(plans):
        at_ms[key] += step * interval
        features = range(rules.n_features)
        values = (tuple(math.nan if at == missing else float(number) for at in features),)
        record = Record(0, b"k%d" % key, (round(at_ms[key] + jitter * interval, 3),), values)
        delayed.append((at_ms[key] + delay * interval, number, record))
    return [record for *_, record in sorted(delayed)]


@given(plans=NEARLY_ORDERED, rules=RULES, sizes=SIZES, share=st.floats(0, 1))
def test_reading_from_long_before_a_moment_gives_the_same_windows_after_it(
    plans: list[Any], rules: WindowRules, sizes: list[int], share: float
) -> None:
    interval = rules.sample_interval_ms
    rules = replace(rules, key_ttl_ms=rules.key_ttl_ms + 5 * interval)
    records = nearly_ordered(plans, rules)
    first = int(share * (len(records) - 1))
    completed = cut_in_batches(records, rules, sizes)
    # Whether a sample far beyond its key's last one is held is decided by that, however old it is.
    is_past = [at < first or bool(each.n_held) for at, each in enumerate(completed.outcomes)]
    past = compress(records, is_past)
    newest_ms = max((record.times_ms[-1] for record in past), default=-math.inf)
    moment_ms = newest_ms + 3 * rules.n_steps * interval + rules.allowed_lateness_ms
    part = cut_in_batches(records[first:], rules, sizes)
    shifted = [window._replace(record=window.record + first) for window in part.windows]
    assert after(shifted, moment_ms) == after(completed.windows, moment_ms)
    pairs = zip(records[first:], part.outcomes, completed.outcomes[first:], strict=True)
    for record, of_part, of_whole in pairs:
        # `is_warm` is left out: it follows from the last sample that was released, however old.
        assert record.times_ms[0] <= moment_ms or of_part[:2] == of_whole[:2]


def after(windows: list[Window], moment_ms: float) -> list[Window]:
    return [window for window in windows if window.end_ms > moment_ms]


def changes_of(records: list[Record], rules: WindowRules, sizes: list[int]) -> list[Change]:
    """Return all changes, in an order of their own."""
    state, start, found = WindowState.empty(rules), 0, []
    for some in batches_of(records, sizes):
        batch = assign_windows(state, rules, arrivals_of(some, rules.n_features))
        found += changes_in(batch, start, [record.partition for record in some])
        state, start = batch.state, start + len(some)
    return sorted(found, key=repr)


@given(plans=RECORDS, rules=RULES, sizes=SIZES, share=st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_silences_and_missing_features_are_those_of_the_naive_reference(
    plans: list[Any], rules: WindowRules, sizes: list[int], share: float
) -> None:
    rules = replace(rules, no_data_after_ms=rules.key_ttl_ms * share)
    records = stream_of(plans, rules)
    silences = [
        each._replace(at_ms=0.0) if each.what == "begins" else each
        for each in silences_one_by_one(records, rules)
    ]
    features = features_one_by_one(cut_one_by_one(records, rules), rules, len(records))
    expected = sorted([*silences, *features], key=repr)
    for what in ("begins", "again", "value", "given_up", "expired", "clock_set"):
        event(f"feature {what}: {any(each.what == what for each in features)}")
        event(f"key {what}: {any(each.what == what for each in silences)}")
    for some in ([len(records)], [1], sizes):
        assert changes_of(records, rules, some) == expected
