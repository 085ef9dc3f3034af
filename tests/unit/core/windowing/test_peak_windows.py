"""Windows round peaks: when they are complete, what they hold, and what is beside the signal."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing import peak_windows
from stream_detector.core.windowing.peak_windows import cut_windows
from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState

PEAKS = PeakRules(
    features=(0,),
    n_features=1,
    n_smooth=1,
    n_trend=5,
    n_apart=6,
    n_block=20,
    n_before=2,
    n_window=5,
    n_low=1,
    n_base=0,
    n_search=30,
    n_slack=2,
    n_pause=0,
)
RULES = WindowRules(
    n_steps=5,
    n_features=1,
    stride=30,
    sample_interval_ms=10.0,
    gap_ms_max=20.0,
    allowed_lateness_ms=0.0,
    missing="interpolate",
    missing_share_max=0.1,
    key_ttl_ms=100_000.0,
    peaks=PEAKS,
)
N_SAMPLES = 330
PULSES = tuple(range(7, N_SAMPLES, 14))


def signal(n_samples: int = N_SAMPLES) -> FloatArray:
    """Return a ramp with pulses, shape (n_samples, 1)."""
    values = np.arange(n_samples) / 8
    values[list(PULSES)] += 150
    return values.reshape(-1, 1).astype(np.float32)


def cut(
    values: FloatArray, rules: WindowRules = RULES, times: NDArray[np.float64] | None = None
) -> WindowBatch:
    """Cut windows from one series, each sample in a record of its own."""
    n_samples = len(values)
    arrivals = Arrivals(
        keys=[b"k"] * n_samples,
        partitions=np.zeros(n_samples, np.int64),
        counts=np.ones(n_samples, np.intp),
        times_ms=10.0 * np.arange(n_samples, dtype=np.float64) if times is None else times,
        values=values,
    )
    return cut_windows(WindowState.empty(rules), rules, arrivals)


def test_there_is_a_window_round_each_peak_once_it_can_be_told() -> None:
    some = cut(signal())
    frame = PEAKS.n_frame
    assert frame == 103 + 30 + 2 + 11
    starts = range(0, N_SAMPLES - frame + 1, 30)  # of frames, each complete with its last sample
    owners = [
        (pulse, start + frame - 1)
        for start in starts
        for pulse in PULSES
        if 0 <= pulse - start - PEAKS.n_context < 30
    ]
    assert len(owners) == 15
    assert some.end_ms.tolist() == [10 * (pulse + 2) for pulse, _ in owners]
    assert some.start_ms.tolist() == [10 * (pulse - 2) for pulse, _ in owners]
    assert some.records.tolist() == [record for _, record in owners]
    windows = some.gather(slice(None))
    assert (windows == np.stack([signal()[pulse - 2 : pulse + 3] for pulse, _ in owners])).all()
    assert some.intervals is None


def test_the_delay_is_at_most_the_steps_after_a_peak_and_those_of_a_search() -> None:
    some = cut(signal())
    waits = some.records - (some.end_ms // 10 - 2)  # samples from a peak to its window
    assert waits.max() <= PEAKS.n_after + PEAKS.n_search + PEAKS.n_slack
    assert waits.min() >= PEAKS.n_after


def test_distances_between_peaks_are_known_where_they_are_asked_for() -> None:
    some = cut(signal(), replace(RULES, peaks=replace(PEAKS, n_pause=40)))
    assert some.intervals is not None
    assert set(some.intervals.since_ms.tolist()) == {140}
    assert set(some.intervals.before_ms.tolist()) == {140}
    assert not some.intervals.is_pause.any()


def test_without_peaks_windows_are_cut_each_stride() -> None:
    some = cut(signal(), replace(RULES, peaks=None))
    assert some.start_ms.tolist() == list(range(0, 3_300, 300))
    assert some.filtered is None
    assert some.intervals is None


def test_a_window_holds_the_band_that_is_asked_for_and_all_that_is_beside_the_signal() -> None:
    beside = np.arange(N_SAMPLES, dtype=np.float32).reshape(-1, 1) * 1000
    both = np.concatenate([signal(), beside], axis=1)
    rules = replace(RULES, n_features=2, peaks=replace(PEAKS, n_base=9))
    windows = cut(both, rules).gather(slice(None))
    assert len(windows) > 5
    assert windows[0, :, 1].tolist() == (1000 * (windows[0, 0, 1] // 1000 + np.arange(5))).tolist()
    # The ramp is gone, and of a pulse of 150 its share of the mean of nine.
    share = np.float32(150 / 9)
    expected = [-share, -share, 150 - share, -share, -share]
    assert windows[:, :, 0] == pytest.approx(np.tile(expected, (len(windows), 1)), abs=1e-3)


def test_a_value_that_is_missing_stays_missing_in_its_windows() -> None:
    values = signal()
    whole = cut(values)
    at = int(whole.end_ms[3]) // 10
    values[at] = np.nan
    some = cut(values)
    assert some.end_ms.tolist() == whole.end_ms.tolist()
    is_missing = np.isnan(some.gather(slice(None))[:, :, 0])
    assert np.argwhere(is_missing).tolist() == [[3, 4]]


def test_a_frame_that_lacks_too_much_is_one_window_that_is_missing() -> None:
    values = signal()
    n_frames = len(range(0, N_SAMPLES - PEAKS.n_frame + 1, 30))
    lacking = np.arange(0, N_SAMPLES, 8)
    values[lacking] = np.nan  # an eighth
    some = cut(values)
    assert len(some) == n_frames
    assert np.isnan(some.gather(slice(None))).all()
    first_ms = 10 * (PEAKS.n_context - PEAKS.n_before)
    assert some.start_ms.tolist() == [first_ms + 300 * frame for frame in range(n_frames)]
    allowed = replace(RULES, missing_share_max=0.125)
    assert not np.isnan(cut(values, allowed).gather(slice(None))).all()


def test_after_a_gap_the_context_is_waited_for_again() -> None:
    times = 10.0 * np.arange(N_SAMPLES, dtype=np.float64)
    times[150:] += 20  # 30 ms from one sample to the next
    some = cut(signal(), times=times)
    assert len(some.gap_slots) == 1
    after = some.start_ms[some.start_ms >= 1_500]
    assert len(after)
    assert after.min() >= times[150] + 10 * (PEAKS.n_context - PEAKS.n_before - 1)
    times[150:] -= 10
    assert len(cut(signal(), times=times).gap_slots) == 0


def test_windows_of_many_frames_are_those_of_a_few() -> None:
    long = signal(30 * 150)
    long[:, 0] += 20 * np.sin(np.arange(len(long)) / 3).astype(np.float32)
    whole = cut(long)
    assert len({*whole.records.tolist()}) > 64  # frames that are held at once
    state, found = WindowState.empty(RULES), []
    for start in range(0, len(long), 500):
        part = long[start : start + 500]
        arrivals = Arrivals(
            keys=[b"k"],
            partitions=np.zeros(1, np.int64),
            counts=np.array([len(part)]),
            times_ms=10.0 * np.arange(start, start + len(part), dtype=np.float64),
            values=part,
        )
        some = cut_windows(state, RULES, arrivals)
        state = some.state
        found.append(some.gather(slice(None)))
    assert (np.concatenate(found) == whole.gather(slice(None))).all()


def test_frames_that_share_their_signal_have_the_windows_of_frames_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_samples = 3_000
    noise = np.random.default_rng(0).normal(size=(n_samples, 1)).astype(np.float32)
    values = np.resize(signal(), (n_samples, 1)) + noise
    values[1_700:1_702] = np.nan  # of these frames each has its own signal
    times = 10.0 * np.arange(n_samples, dtype=np.float64)
    times[2_400:] += 500.0  # a gap
    pauses = replace(RULES, peaks=replace(PEAKS, n_pause=16))
    for rules in (RULES, pauses):
        found = []
        for n_frames in (1, 2, 7, 32, 1_000):
            monkeypatch.setattr(peak_windows, "_FRAMES_A_STRETCH", n_frames)
            batch = cut(values, rules, times)
            assert len(batch) > 100
            columns = (batch.gather(slice(None)), batch.records, batch.start_ms, batch.cells)
            intervals = batch.intervals
            more = () if intervals is None else (intervals.since_ms, intervals.is_pause)
            found.append([each.tobytes() for each in (*columns, *more)])
        assert all(each == found[0] for each in found)


def test_a_stretch_has_so_many_frames_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_windows, "_FRAMES_A_STRETCH", 3)
    is_joined = np.array([True, True, True, False, True, False, True, True])
    assert peak_windows._stretch_starts(is_joined).tolist() == [0, 3, 4, 6]
    assert peak_windows._stretch_starts(is_joined[:0]).tolist() == [0]
