"""How far peaks are apart, and where there was none for long."""

import numpy as np
import pytest

from stream_detector.core.windowing.pauses import Found, PeakIntervals, Peaks, with_pauses

N_CONTEXT, N_PAUSE = 200, 50


def found_of(*middles: int, frame: int = 0, shift: int = 0) -> Found:
    steps = np.array(middles, np.intp)
    return Found(np.full(len(steps), frame), steps + shift, steps)


def rows_of(found: Found, n_own: int = 40) -> list[tuple[int, int, int, bool]]:
    """Return step, interval, interval before and whether it is a pause, of one frame."""
    is_own = (found.middles >= N_CONTEXT) & (found.middles < N_CONTEXT + n_own)
    peaks = with_pauses(found, is_own, np.array([n_own]), N_CONTEXT, N_PAUSE)
    columns = (peaks.steps, peaks.intervals, peaks.before, peaks.is_pause)
    return list(zip(*(each.tolist() for each in columns), strict=True))


def test_an_interval_as_long_as_a_pause_is_known_and_one_step_more_is_a_pause() -> None:
    assert rows_of(found_of(160, 210)) == [(210, 50, 0, False)]
    assert rows_of(found_of(159, 210)) == [(209, 50, 0, True), (210, 50, 0, False)]


def test_the_interval_before_is_known_while_both_are_within_a_pause() -> None:
    assert rows_of(found_of(160, 190, 210)) == [(210, 20, 30, False)]
    assert rows_of(found_of(159, 190, 210)) == [(210, 20, 0, False)]


def test_intervals_are_between_highest_points_and_pauses_between_middles() -> None:
    found = found_of(160, 190, 210)
    shifted = Found(found.frames, found.steps + np.array([3, -2, 1]), found.middles)
    assert rows_of(shifted) == [(211, 23, 25, False)]


def test_a_pause_that_began_before_is_told_once_more_in_each_frame() -> None:
    assert rows_of(found_of()) == [(200, 50, 0, True)]
    assert rows_of(found_of(120)) == [(200, 50, 0, True)]
    assert rows_of(found_of(120, 200)) == [(200, 50, 0, False)]


def test_a_pause_begins_within_the_own_part_or_in_a_later_frame() -> None:
    assert rows_of(found_of(189)) == [(239, 50, 0, True)]
    assert rows_of(found_of(190)) == []


def test_frames_know_nothing_of_each_other() -> None:
    parts = [found_of(190, 210), found_of(205, frame=1)]
    found = Found(
        *(
            np.concatenate([getattr(each, name) for each in parts])
            for name in ("frames", "steps", "middles")
        )
    )
    peaks = with_pauses(found, found.middles >= N_CONTEXT, np.array([40, 40]), N_CONTEXT, N_PAUSE)
    assert peaks.frames.tolist() == [0, 1, 1]
    assert peaks.steps.tolist() == [210, 200, 205]
    assert peaks.intervals.tolist() == [20, 50, 50]


def test_intervals_are_in_milliseconds_and_can_be_parted_and_joined() -> None:
    peaks = with_pauses(found_of(190, 210), np.array([False, True]), np.array([70]), 200, 50)
    intervals = PeakIntervals.of_peaks(peaks, 2.5)
    assert intervals.since_ms.tolist() == [50.0]
    none = PeakIntervals.of_peaks(Peaks.without_intervals(*[np.zeros(2, np.intp)] * 2), 2.5)
    joined = PeakIntervals.joined([none, intervals])
    assert joined.since_ms.tolist() == [0, 0, 50]
    assert joined.of(np.array([False, False, True])).since_ms.tolist() == [50]
    assert (len(joined), len(joined.of(slice(0, 2)))) == (3, 2)


@pytest.mark.parametrize("n_own", [1, 40])
def test_no_peak_of_another_part_is_returned(n_own: int) -> None:
    found = found_of(180, 200, 220)
    assert [row[0] for row in rows_of(found, n_own)] == ([200] if n_own == 1 else [200, 220])
