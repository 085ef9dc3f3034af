"""Which samples are of a key's time: the worked example, each row of the table, and the limits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support

from stream_detector.core.windowing.clocks import FRESH, Clock, Verdict, advance_clock
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows

DAYS_MS = 86_400_000.0
VALUES: list[list[float]] = []
LATE_RULES = replace(RULES, allowed_lateness_ms=20.0)


def verdicts(
    times_ms: Sequence[float], rules: WindowRules = RULES, stream_time_ms: float = 0.0
) -> str:
    """Return the first letter of each verdict: Used, Late, Held, Confirming, lEading, Set."""
    letters = dict(zip(get_args(Verdict), "ULHCES", strict=True))
    clock, found = FRESH, ""
    for time_ms in times_ms:
        clock, verdict = advance_clock(clock, time_ms, stream_time_ms, rules)
        found += letters[verdict]
    return found


@pytest.mark.parametrize(
    ("next_ms", "letters"),
    [
        ([70], "UUH"),  # 71 is the first that is out of reach
        ([70, 71], "UUHC"),
    ],
)
def test_a_sample_out_of_reach_is_held(next_ms: list[float], letters: str) -> None:
    assert verdicts([0, 29.0, *next_ms]) == letters
    assert verdicts([0, 30.0, 70.0]) == "UUU"


@pytest.mark.parametrize(
    ("next_ms", "letter"),
    [
        (30, "U"),  # continues the series
        (60, "U"),
        (61, "H"),  # a third place
        (499, "H"),
        (500, "C"),  # within reach of the held one
        (540, "C"),
        (541, "E"),  # further ahead still
        (19, "L"),
        (-21, "L"),
    ],
)
def test_what_comes_after_a_held_sample(next_ms: float, letter: str) -> None:
    assert verdicts([0, 10, 20, 500, next_ms]) == "UUUH" + letter


@pytest.mark.parametrize(("next_ms", "letter"), [(480, "C"), (479, "H"), (0, "U"), (-1, "L")])
def test_lateness_widens_the_reach(next_ms: float, letter: str) -> None:
    assert verdicts([0, 10, 20, 500, next_ms], LATE_RULES) == "UUUH" + letter


def test_a_late_sample_nearby_leaves_a_held_one_and_one_far_behind_does_not() -> None:
    assert verdicts([0, 100, 110, 500, 70, 510]) == "UHCHLC"
    assert verdicts([0, 100, 110, 500, 69, 510]) == "UHCHLH"


@pytest.mark.parametrize(
    ("late_ms", "letters"),
    [
        ([0, 10, 20, 30], "LLLL"),
        ([0, 10, 20, 31], "LLLS"),  # with the interval of 10 ms they span more than 40
        ([0, 10, 20, 30, 40], "LLLLS"),
        ([0, 10, 5, 20, 30, 40], "LLLLLS"),  # 5 is late within the run, and does not end it
        ([0, 10, -31, 19, 29], "LLLSU"),  # -31 begins another run
        ([0, 10, -30, 19, 29], "LLLLL"),  # -30 does not
        ([0, 10, 530, 20, 30, 40], "LLULLL"),  # a sample of the old series ends the run
        ([0, 10, 900, 20, 30, 40], "LLHLLL"),  # and so does one at a third place
        ([0, 1_000, 50, 60], "LHLL"),
        ([0, 100], "LS"),
        ([0] * 9, "LLLLLLLLL"),
        ([40, 30, 20, 10, 0, -10], "LLLLLL"),
    ],
)
def test_late_samples_in_order_are_a_clock_that_was_set(late_ms: list[float], letters: str) -> None:
    assert verdicts([490, 500, 510, 520, *late_ms]) == "UUUU" + letters


def test_a_clock_set_back_by_less_than_its_reach_is_caught_up_with() -> None:
    set_back = [100.0 - 40 + 10 * step for step in range(8)]
    assert verdicts([80, 90, 100, *set_back]) == "UUU" + "LLLL" + "UUUU"


def test_samples_that_are_all_too_far_apart_are_used_one_behind() -> None:
    assert verdicts([0, 50, 100, 150, 200]) == "UHEEE"


@pytest.mark.parametrize(
    ("stream_time_ms", "letters"), [(5_000, "UUU"), (0, "UHC"), (2_500, "UHC")]
)
def test_of_two_first_samples_the_one_nearer_to_stream_time_is_kept(
    stream_time_ms: float, letters: str
) -> None:
    assert verdicts([0, 5_000, 5_010], RULES, stream_time_ms) == letters
    assert verdicts([5_000, 0, 10], RULES, 5_000 - stream_time_ms)[1] == (
        "S" if letters == "UUU" else "L"
    )


def test_a_clock_says_what_is_out_of_its_reach() -> None:
    clock = Clock(20.0, 500.0, 500.0)
    assert (clock.is_holding, clock.is_unconfirmed) == (True, False)
    assert Clock(20.0, 20.0, 20.0).is_unconfirmed
    assert not Clock(20.0).is_holding
    assert Clock(20.0).equals(Clock(20.0))
    assert not clock.equals(Clock(20.0))


def cut(
    *records: Record, rules: WindowRules = RULES, one_by_one: bool = False
) -> list[WindowBatch]:
    """Return what batches of all records, or of one each, lead to; their windows in VALUES."""
    state, found = WindowState.empty(rules), []
    VALUES.clear()
    for some in [[each] for each in records] if one_by_one else [list(records)]:
        found.append(assign_windows(state, rules, arrivals(*some)))
        VALUES.extend(found[-1].gather(slice(None))[:, :, 0].tolist())  # before the next batch
        state = found[-1].state
    return found


@pytest.mark.parametrize("one_by_one", [False, True])
def test_the_worked_example(one_by_one: bool) -> None:
    times = [0, 10, 20, 5000, 30, 40, 200, 210, 220, 10, 20, 30, 40, 50, 60]
    found = cut(*((b"a", [time]) for time in times), one_by_one=one_by_one)
    assert VALUES == [[0, 10, 20, 30]]
    late = [event.time_ms for each in found for event in each.late]
    assert late == [10, 20, 30, 40]
    assert [event[2:] for each in found for event in each.outliers] == [(5000, 20)]
    assert [event[2:] for each in found for event in each.clock_sets] == [(50, 220)]
    assert sum(each.n_used for each in found) == 10
    assert sum(len(each.gap_ms) for each in found) == 1


def test_a_record_with_samples_on_both_sides_of_a_jump() -> None:
    (found,) = cut((b"a", [0, 10, 20, 30, 500]), (b"a", [510, 520, 530]))
    assert VALUES == [[0, 10, 20, 30], [500, 510, 520, 530]]
    assert (found.n_held.tolist(), found.gap_ms.tolist()) == ([1, 0], [500])
    assert found.records.tolist() == [0, 1]
    (found,) = cut((b"a", [0, 10, 20, 500]), (b"a", [30, 40]))
    assert (VALUES, found.n_used) == ([[0, 10, 20, 30]], 5)


def test_a_clock_that_is_set_starts_the_key_over() -> None:
    times = [*range(1_000, 1_060, 10), 10, 20, 30, 40, 50, 60, 70, 80]
    found = cut(*((b"a", [time]) for time in times), one_by_one=True)
    assert VALUES == [[1_000, 1_010, 1_020, 1_030], [50, 60, 70, 80]]
    assert [bool(each.is_warm[0]) for each in found] == [
        *[False] * 3,
        *[True] * 7,
        *[False] * 3,
        True,
    ]


@pytest.mark.parametrize("wrong_ms", [30 * DAYS_MS, 7_200_000.0])
@pytest.mark.parametrize("n_before", [0, 1, 2, 100])
def test_one_wrong_sample_costs_nothing_else(wrong_ms: float, n_before: int) -> None:
    right = [float(10 * step) for step in range(200)]
    times = [*right[:n_before], right[n_before] + wrong_ms, *right[n_before:]]
    found = cut(*((b"a", [time]) for time in times))[0]
    assert len(found.late) <= RULES.gap_ms_max / RULES.sample_interval_ms
    assert len(found.late) == (0 if n_before else 4)
    assert len(found) == 50 - (n_before == 0)


def test_a_held_sample_of_a_key_that_expires_is_an_outlier() -> None:
    rules = replace(RULES, key_ttl_ms=100.0)
    others: list[Record] = [(b"b", [time]) for time in range(0, 200, 10)]
    for one_by_one in (False, True):
        found = cut((b"a", [0]), (b"a", [900]), *others, rules=rules, one_by_one=one_by_one)
        assert not any(each.outliers for each in found)  # its record shows that it sends until 900
    records: list[Record] = [(b"b", [0]), (b"c", [0]), (b"a", [0, 10]), (b"a", [60])]
    times = [10.0 * step for step in range(1, 40)]
    for one_by_one in (False, True):
        found = cut(
            *records, *((b"b", [each]) for each in times), rules=rules, one_by_one=one_by_one
        )
        assert [event[2:] for each in found for event in each.outliers] == [(60, 10)]
        assert len(found[-1].state.apply_delta().held.slots) == 0


def test_a_key_has_a_history_once_a_reader_from_there_has_its_clock() -> None:
    state, found = cut((b"a", [0, 10, 20]))[0].state, []
    state.apply_delta().begin_restore_point(0)
    for time_ms in (30, 40, 50, 60):
        batch = assign_windows(state, RULES, arrivals((b"a", [time_ms])))
        state = batch.state
        found.append([state.apply_delta().has_history(0, needed_ms) for needed_ms in (0.0, 20.0)])
    # The first sample of a reader is not confirmed; with the second it is, so from 30 ms on.
    assert found == [[False, False], [True, False], [True, True], [True, True]]


def test_held_values_are_those_of_their_key() -> None:
    records: list[Record] = [(b"%d" % key, [key, key + 10.0]) for key in range(5)]
    jumps: list[Record] = [(b"%d" % key, [key + 1_000.0]) for key in (3, 0, 4)]
    more: list[Record] = [
        (b"%d" % key, [key + 1_010.0 + at for at in (0, 10, 20)]) for key in (4, 3)
    ]
    found = cut(*records, *jumps, *more, one_by_one=True)
    assert VALUES == [[1_004, 1_014, 1_024, 1_034], [1_003, 1_013, 1_023, 1_033]]
    held = found[-1].state.apply_delta().held
    assert held.values.ravel().tolist() == held.times_ms.tolist() == [1_000]
    assert np.isfinite(held.times_ms).all()
