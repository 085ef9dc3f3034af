"""However samples arrive: peaks and the windows round them are those of the naive reference."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from peak_trains import INTERVAL_MS, PEAK_RULES, START_MS, TRAINS, Train, window_rules_of
from record_batches import SIZES, arrivals_of, batches_of
from reference_peaks import Peak, find_one_by_one, wider, window_one_by_one
from reference_windows import Name, Record, cut_one_by_one

from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.pauses import Peaks
from stream_detector.core.windowing.peak_windows import cut_windows
from stream_detector.core.windowing.peaks import Frames, PeakRules, find_peaks
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.datasets.windowing import cut_samples, cut_with_rows


def listed(found: Peaks) -> list[list[Peak]]:
    """Return the peaks of each frame."""
    columns = (found.frames, found.steps, found.intervals, found.before, found.is_pause)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    n_frames = max((frame for frame, *_ in rows), default=-1) + 1
    return [[Peak(*row) for at, *row in rows if at == frame] for frame in range(n_frames)]


@settings(max_examples=60)
@given(rules=PEAK_RULES, train=TRAINS, data=st.data())
def test_peaks_are_those_of_the_naive_reference(
    rules: PeakRules, train: Train, data: st.DataObject
) -> None:
    n_frames = data.draw(st.integers(1, 3), "frames")
    most = rules.n_search + rules.n_slack
    n_own = data.draw(st.lists(st.integers(1, most), min_size=n_frames, max_size=n_frames), "own")
    values = train.values(rules.n_frame + 40)
    frames = np.stack(
        [values[start : start + rules.n_frame] for start in range(0, 13 * n_frames, 13)]
    )
    found = find_peaks(frames, rules, Frames.apart(np.array(n_own)))
    expected = [
        find_one_by_one(frame, rules, own) for frame, own in zip(frames, n_own, strict=True)
    ]
    rest: list[list[Peak]] = [[]] * (n_frames - len(listed(found)))
    assert [*listed(found), *rest] == expected
    event(f"peaks: {any(not each.is_pause for one in expected for each in one)}")
    event(f"pauses: {any(each.is_pause for one in expected for each in one)}")


@given(rules=PEAK_RULES, train=TRAINS, owns=st.lists(st.integers(1, 100), min_size=4, max_size=20))
def test_each_peak_is_found_once_wherever_frames_start(
    rules: PeakRules, train: Train, owns: list[int]
) -> None:
    n_own = [1 + own % (rules.n_search + rules.n_slack) for own in owns]
    starts = [0, *accumulate(n_own)][:-1]
    n_searched = sum(n_own)
    at_once = wider(rules, n_searched)
    values = train.values(at_once.n_frame + rules.n_search + rules.n_slack)
    frames = np.stack([values[start : start + rules.n_frame] for start in starts])
    found = find_peaks(frames, rules, Frames.apart(np.array(n_own)))
    whole = find_peaks(
        values[np.newaxis, : at_once.n_frame], at_once, Frames.apart(np.array([n_searched]))
    )
    steps = found.steps + np.array(starts, np.intp)[found.frames]
    expected = whole.steps[~whole.is_pause]
    assert steps[~found.is_pause].tolist() == expected.tolist()
    event(f"peaks: {len(expected)}")
    for name in ("intervals", "before"):
        some, other = (getattr(each, name)[~each.is_pause].tolist() for each in (found, whole))
        assert some == other
    event(f"intervals before: {bool(whole.before.any())}")


class Cut(NamedTuple):
    """One window, without the record that completed it."""

    start_ms: int
    end_ms: int
    values: bytes


class Found(NamedTuple):
    """One window, the record that completed it, and its series."""

    record: int
    name: Name
    cut: Cut


WINDOW_RULES = st.builds(
    window_rules_of,
    PEAK_RULES,
    st.sampled_from([0, 0, 2]),
    st.sampled_from(["hold", "interpolate", "reject"]),
)
SERIES = st.lists(
    st.tuples(
        TRAINS,
        st.sampled_from([0.0, 0.0, 0.0, 0.02, 0.1]),  # share of samples that never come
        st.sampled_from([0.0, 0.0, 0.01]),  # share of values that are missing
        st.sampled_from([0, 0, 50]),  # samples before a gap, 0 for none
        st.integers(0, 30),  # samples since a multiple of any stride
    ),
    min_size=1,
    max_size=2,
)
CHUNKS = st.lists(st.integers(1, 30), min_size=1, max_size=6)
N_SAMPLES = 210


def series_of(plan: Any, number: int) -> tuple[list[float], FloatArray]:
    """Return times and values of the samples that come, the last column their number."""
    train, lost, empty, before_gap, first = plan
    rng = np.random.default_rng(train.seed)
    signal = train.values(N_SAMPLES)
    values = np.column_stack([signal, 1000 * number + np.arange(N_SAMPLES)]).astype(np.float32)
    values[:, :2][rng.random((N_SAMPLES, 2)) < empty] = np.nan
    steps = first + np.arange(N_SAMPLES)
    if before_gap:
        steps[before_gap:] += 7
    comes = rng.random(N_SAMPLES) >= lost
    return (START_MS + INTERVAL_MS * steps[comes].astype(float)).tolist(), values[comes]


def records_of(plans: list[Any], chunks: list[int], rng: np.random.Generator) -> list[Record]:
    """Return the records of all series, those of each in their order."""
    names = [(number % 2, b"k%d" % (number // 2)) for number in range(len(plans))]
    queues = []
    for number, (plan, name) in enumerate(zip(plans, names, strict=True)):
        times, values = series_of(plan, number)
        rows = [
            Record(*name, (at,), (tuple(row),))
            for at, row in zip(times, values.tolist(), strict=True)
        ]
        queues.append(
            [
                Record(
                    *name, *(tuple(chain(*column)) for column in list(zip(*some, strict=True))[2:])
                )
                for some in batches_of(rows, chunks)
            ]
        )
    order = rng.permutation(np.repeat(np.arange(len(queues)), [len(each) for each in queues]))
    iterators = [iter(each) for each in queues]
    return [next(iterators[number]) for number in order.tolist()]


def delayed(records: list[Record], rng: np.random.Generator, n_late: int) -> list[Record]:
    """Return records of which some come a few records of their series later."""
    places = np.arange(len(records)) + rng.integers(0, n_late + 1, len(records)) * 0.6
    return [records[at] for at in np.argsort(places, kind="stable").tolist()]


def cut_in_batches(records: list[Record], rules: WindowRules, sizes: Sequence[int]) -> list[Found]:
    state, start, found = WindowState.empty(rules), 0, []
    for batch in batches_of(records, sizes):
        some = cut_windows(state, rules, arrivals_of(batch, rules.n_features))
        keys, windows = some.state.keys_of(some.slots), some.gather(slice(None))
        for at, record in enumerate(some.records.tolist()):
            cut = Cut(int(some.start_ms[at]), int(some.end_ms[at]), windows[at].tobytes())
            found.append(Found(start + record, (batch[record].partition, keys[at]), cut))
        state, start = some.state, start + len(batch)
    return found


def cut_naively(records: list[Record], rules: WindowRules) -> list[Found]:
    """Return the windows round the peaks of the frames that the naive reference cuts."""
    peaks = rules.peaks
    assert peaks is not None
    found = []
    for record, name, start_ms, _, values in cut_one_by_one(records, rules.frame).windows:
        frame = np.frombuffer(values, np.float32).reshape(-1, rules.n_features)
        n_own = n_to_next(frame, start_ms, rules)
        filled = impute_windows(frame[np.newaxis, :, : peaks.n_features].copy(), rules)[0][0]
        if np.isnan(filled).any():
            first = peaks.n_context - peaks.n_before
            found.append(
                Found(record, name, cut_of(frame, filled * np.nan, start_ms, first, rules))
            )
            continue
        for step, *_ in find_one_by_one(filled, peaks, n_own):
            window = np.full_like(filled, np.nan)
            first = step - peaks.n_before
            window[first : first + rules.n_steps] = window_one_by_one(filled, step, peaks)
            found.append(Found(record, name, cut_of(frame, window, start_ms, first, rules)))
    return found


def cut_of(
    frame: FloatArray, filtered: FloatArray, start_ms: int, first: int, rules: WindowRules
) -> Cut:
    """Return a window of a frame; what is missing there, or beside the signal, stays as it is."""
    part = slice(first, first + rules.n_steps)
    values, n_signal = frame[part].copy(), filtered.shape[1]
    is_there = ~np.isnan(values[:, :n_signal])
    values[:, :n_signal][is_there] = filtered[part][is_there]
    begin_ms = start_ms + INTERVAL_MS * first
    return Cut(begin_ms, begin_ms + INTERVAL_MS * (rules.n_steps - 1), values.tobytes())


def n_to_next(frame: FloatArray, start_ms: int, rules: WindowRules) -> int:
    """Return after how many steps the next frame starts: with the first sample of a stride."""
    stride_ms = rules.stride * INTERVAL_MS
    for step in range(1, len(frame)):
        at_ms = start_ms + INTERVAL_MS * step
        if at_ms // stride_ms > start_ms // stride_ms and not np.isnan(frame[step, -1]):
            return step
    raise AssertionError(frame)


@settings(max_examples=40)
@given(
    rules=WINDOW_RULES,
    plans=SERIES,
    chunks=CHUNKS,
    sizes=SIZES,
    seed=st.integers(0, 1 << 32),
)
def test_windows_are_those_of_the_naive_reference_however_they_are_batched(
    rules: WindowRules, plans: list[Any], chunks: list[int], sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    records = delayed(records_of(plans, chunks, rng), rng, 2 if rules.allowed_lateness_ms else 0)
    expected = cut_naively(records, rules)
    for some in ([len(records)], [1], sizes):
        assert cut_in_batches(records, rules, some) == expected
    is_blank = [np.isnan(np.frombuffer(each.cut.values, np.float32)).any() for each in expected]
    event(f"windows: {len(expected) > 0}")
    event(f"windows with missing values: {any(is_blank)}")


@given(
    rules=WINDOW_RULES,
    plans=SERIES,
    chunks=st.tuples(CHUNKS, CHUNKS),
    seeds=st.tuples(st.integers(0, 1 << 32), st.integers(0, 1 << 32)),
)
def test_windows_do_not_depend_on_chunks_or_on_other_keys(
    rules: WindowRules,
    plans: list[Any],
    chunks: tuple[list[int], list[int]],
    seeds: tuple[int, int],
) -> None:
    rules = replace(rules, allowed_lateness_ms=0)
    some, other = (
        by_name(cut_in_batches(records_of(plans, each, np.random.default_rng(seed)), rules, [5]))
        for each, seed in zip(chunks, seeds, strict=True)
    )
    assert some == other


def by_name(found: list[Found]) -> dict[Name, list[Cut]]:
    cuts: dict[Name, list[Cut]] = {}
    for each in found:
        cuts.setdefault(each.name, []).append(each.cut)
    return cuts


@given(rules=WINDOW_RULES, plans=SERIES, data=st.data())
def test_labels_and_rows_beside_the_signal_are_those_of_its_samples(
    rules: WindowRules, plans: list[Any], data: st.DataObject
) -> None:
    rules = replace(rules, n_features=2, allowed_lateness_ms=0)
    parts = [series_of(plan, number) for number, plan in enumerate(plans)]
    times = np.concatenate([each for each, _ in parts])
    series = np.repeat(np.arange(len(parts)), [len(each) for each, _ in parts])
    values = np.concatenate([each[:, :2] for _, each in parts])
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32), "seed"))
    labels = (rng.random(len(times)) < 0.05).astype(np.int8)
    order = rng.permutation(len(times))
    names = tuple(f"k{number}" for number in range(len(parts)))
    samples = Samples(names, series[order], times[order], values[order], labels[order])
    found, rows = cut_with_rows(samples, rules)
    alone = cut_samples(replace(samples, labels=None), rules)
    assert alone.windows.tobytes() == found.windows.tobytes()
    assert found.labels is not None
    assert alone.labels is None
    for at, in_window in enumerate(rows):
        steps = np.flatnonzero(in_window >= 0)
        of_window = in_window[steps]
        assert found.labels[at] == labels[order][of_window].max(initial=0)
        assert (samples.times_ms[of_window] == found.start_ms[at] + INTERVAL_MS * steps).all()
        assert {found.keys[at]} == {names[each] for each in samples.series[of_window].tolist()}
        missing = np.flatnonzero(in_window < 0)
        there = {
            (key, time)
            for key, time in zip(samples.series.tolist(), samples.times_ms.tolist(), strict=True)
        }
        number = names.index(found.keys[at])
        assert all(
            (number, found.start_ms[at] + INTERVAL_MS * step) not in there for step in missing
        )
    event(f"windows: {len(rows) > 0}")
