"""Peaks: what is one, where each of its limits lies, and what a frame needs to find it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.peaks import Frames, PeakRules, find_peaks, window_values

RULES = PeakRules(
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
USUAL = 150.0
"""Height of most pulses; a multiple of the lengths of all means, so that strengths are exact."""
BEFORE = tuple(range(-98, -13, 14))
"""Places of the pulses before a frame's own part, which begins at 0."""


def frame_of(pulses: Mapping[int, float], rules: PeakRules = RULES) -> FloatArray:
    """Return one frame of one feature, with usual pulses before its own part, and these."""
    values = np.zeros(rules.n_frame, np.float32)
    for place in BEFORE:
        values[rules.n_context + place] = USUAL
    for place, height in pulses.items():
        values[rules.n_context + place] = height
    return values.reshape(1, -1, 1)


def places(frames: FloatArray, rules: PeakRules = RULES, n_own: int = 32) -> list[int]:
    """Return where the peaks of one frame are, counted from where its own part begins."""
    found = find_peaks(frames, rules, Frames.apart(np.array([n_own])))
    steps: list[int] = (found.steps - rules.n_context)[~found.is_pause].tolist()
    return steps


def test_a_frame_has_what_decides_on_its_peaks() -> None:
    ecg = PeakRules((0,), 1, 9, 41, 72, 360, 35, 70, 5, 159, 144, 36, 0)
    assert (ecg.n_lag, ecg.n_burst, ecg.n_reach) == (4, 29, 38)
    assert (ecg.n_past, ecg.n_wild_before, ecg.n_wild_after, ecg.n_shift) == (129, 108, 18, 24)
    assert (ecg.n_context, ecg.n_back, ecg.n_after) == (
        4 * 360 + 129 + 108 + 38,
        0,
        24 + 35 + 2 + 79,
    )
    assert ecg.n_frame == 1715 + 144 + 36 + 140
    long = replace(ecg, n_before=20, n_window=200)
    assert long.n_after == 24 + 180 + 2 + 79
    assert replace(ecg, n_smooth=1).n_lag == 1


def test_a_constant_signal_has_no_peaks() -> None:
    for value in (0.0, 7.0, -1e6):
        assert places(np.full((1, RULES.n_frame, 1), value, np.float32)) == []


def test_no_frames_have_no_peaks() -> None:
    none = np.empty((0, RULES.n_frame, 1), np.float32)
    for rules in (RULES, replace(RULES, n_pause=20)):
        found = find_peaks(none[:, : rules.n_frame], rules, Frames.apart(np.empty(0, np.intp)))
        assert len(found) == 0
        assert window_values(none, (found.frames, found.steps), rules).shape == (0, 5, 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_pulses_are_peaks_upwards_and_downwards(sign: int) -> None:
    assert places(frame_of({0: sign * USUAL, 14: sign * USUAL, 28: sign * USUAL})) == [0, 14, 28]


@pytest.mark.parametrize("n_own", [20, 32])
def test_a_frame_has_the_peaks_of_its_own_part(n_own: int) -> None:
    assert places(frame_of({-1: USUAL}), n_own=n_own) == []
    assert places(frame_of({0: USUAL}), n_own=n_own) == [0]
    between = n_own - 16
    last = frame_of({between: USUAL, n_own - 1: USUAL})
    assert places(last, n_own=n_own) == [between, n_own - 1]
    assert places(frame_of({between: USUAL, n_own: USUAL}), n_own=n_own) == [between]


def test_a_peak_has_more_than_the_least_strength() -> None:
    assert places(frame_of({5: 0.299 * USUAL})) == []
    assert places(frame_of({5: 0.301 * USUAL})) == [5]
    # With this pulse in the past, no rounding makes a strength of 0.3 another one.
    rounding = {-70: 84.0}
    assert places(frame_of({**rounding, 5: 0.3 * USUAL})) == []
    assert places(frame_of({**rounding, 5: np.nextafter(0.3, 1, dtype=np.float32) * USUAL})) == [5]


def test_a_peak_has_its_share_of_the_strongest_before() -> None:
    assert places(frame_of({5: USUAL, 14: 0.5 * USUAL})) == [5, 14]
    assert places(frame_of({5: USUAL, 14: 0.49 * USUAL})) == [5]
    # For n_past = 10 steps.
    assert places(frame_of({5: USUAL, 15: 0.4 * USUAL})) == [5]
    assert places(frame_of({5: USUAL, 16: 0.4 * USUAL})) == [5, 16]


def test_what_is_far_stronger_than_usual_hides_no_more_than_what_is_usual() -> None:
    assert places(frame_of({5: 2.9 * USUAL, 15: 0.5 * USUAL}))[1:] == [15]
    assert places(frame_of({5: 2.9 * USUAL, 15: 0.49 * USUAL}))[1:] == []


def test_peaks_are_apart() -> None:
    assert places(frame_of({5: USUAL, 11: USUAL})) == [5]
    assert places(frame_of({5: USUAL, 12: USUAL})) == [5, 12]
    assert places(frame_of({5: 0.9 * USUAL, 11: USUAL})) == [11]
    assert places(frame_of({5: 0.9 * USUAL, 12: USUAL})) == [5, 12]


def test_a_feature_three_times_as_strong_as_usual_is_believed_and_no_further() -> None:
    rules = replace(RULES, features=(0, 1), n_features=2, n_apart=16)
    for height, n_peaks in ((3.0, 1), (3.05, 0)):
        features = [frame_of(each, rules) for each in ({}, {20: height * USUAL})]
        assert len(places(np.concatenate(features, axis=2), rules)) == n_peaks


@pytest.mark.parametrize("wild", [0, 1])
def test_a_feature_that_is_wild_does_not_hide_the_peaks_of_the_other(wild: int) -> None:
    rules = replace(RULES, features=(0, 1), n_features=2)
    pulses = {1: USUAL, 15: USUAL, 29: USUAL}
    frames = np.concatenate([frame_of(pulses)] * 2, axis=2)
    assert places(frames, rules) == [1, 15, 29]
    noise = np.random.default_rng(0).normal(0, 30 * USUAL, rules.n_frame - rules.n_context + 9)
    frames[0, rules.n_context - 9 :, wild] += noise.astype(np.float32)
    assert places(frames, rules) == [1, 15, 29]


def test_peaks_are_sought_in_the_features_that_are_named() -> None:
    frames = np.concatenate([frame_of({3: USUAL}), frame_of({17: USUAL})], axis=2)
    for features, expected in (((0,), [3]), ((1,), [17]), ((0, 1), [3, 17])):
        assert places(frames, replace(RULES, features=features, n_features=2)) == expected


def test_a_flat_feature_counts_for_nothing() -> None:
    rules = replace(RULES, features=(0, 1), n_features=2)
    flat = np.full((1, rules.n_frame, 1), 5.0, np.float32)
    assert places(np.concatenate([flat, frame_of({3: USUAL})], axis=2), rules) == [3]


def test_a_change_of_gain_is_followed() -> None:
    frame = frame_of({0: USUAL, 14: USUAL, 28: USUAL})
    for gain in (1 / 64, 64):
        assert places(frame * np.float32(gain)) == [0, 14, 28]


def pauses_of(pulses: Mapping[int, float], n_own: int = 32) -> list[tuple[int, int, int, bool]]:
    rules = replace(RULES, n_pause=16)
    found = find_peaks(frame_of(pulses, rules), rules, Frames.apart(np.array([n_own])))
    columns = (found.steps - rules.n_context, found.intervals, found.before, found.is_pause)
    return list(zip(*(each.tolist() for each in columns), strict=True))


def test_a_pause_begins_so_many_steps_after_a_peak() -> None:
    assert pauses_of({-4: USUAL, 12: USUAL}) == [(12, 16, 0, False)]
    assert pauses_of({-4: USUAL, 13: USUAL}) == [(12, 16, 0, True), (13, 16, 0, False)]
    assert pauses_of({-4: USUAL}, n_own=12) == []
    assert pauses_of({-4: USUAL}, n_own=13) == [(12, 16, 0, True)]


def test_a_pause_that_goes_on_is_told_by_each_frame() -> None:
    assert [each for each in pauses_of({}) if each[-1]] == [(2, 16, 0, True)]
    rules = replace(RULES, n_pause=16)
    blank = find_peaks(
        np.zeros((2, rules.n_frame, 1), np.float32), rules, Frames.apart(np.array([32, 5]))
    )
    assert blank.frames.tolist() == [0, 1]
    assert (blank.steps - rules.n_context).tolist() == [0, 0]
    assert blank.intervals.tolist() == [16, 16]


def test_how_long_ago_a_peak_was_is_known_up_to_a_pause() -> None:
    assert replace(RULES, n_pause=16).n_back == 20
    for last in (-18, -19):
        found = pauses_of({-14: 0.0, last: USUAL, 6: USUAL})
        assert found == [(0, 16, 0, True), (6, 16, 0, False)]
    assert pauses_of({-14: 0.0, -9: USUAL, -1: USUAL, 6: USUAL}) == [(6, 7, 8, False)]


def test_windows_hold_the_signal_around_each_peak() -> None:
    frames = np.arange(2 * 40, dtype=np.float32).reshape(2, 20, 2)
    at = np.array([0, 1]), np.array([6, 10])
    rules = replace(RULES, n_features=2)
    windows = window_values(frames, at, rules)
    assert windows.flags.c_contiguous
    assert (windows == np.stack([frames[0, 4:9], frames[1, 8:13]])).all()


def test_windows_are_within_their_band() -> None:
    at = np.array([0]), np.array([10])
    ramp = 1e6 + np.arange(20, dtype=np.float32).reshape(1, 20, 1)
    without_low = window_values(ramp, at, replace(RULES, n_base=7))
    assert without_low.ravel().tolist() == [0.0] * 5  # a straight line is its moving mean
    smooth = window_values(ramp, at, replace(RULES, n_low=3))
    assert smooth.ravel().tolist() == ramp[0, 8:13, 0].tolist()
    pulse = np.zeros((1, 20, 1), np.float32)
    pulse[0, 10] = 105
    assert window_values(pulse, at, replace(RULES, n_low=3)).ravel().tolist() == [0, 35, 35, 35, 0]
    kept = window_values(pulse, at, replace(RULES, n_low=3, n_base=7))
    assert kept.ravel().tolist() == [-15, 20, 20, 20, -15]
