"""Checks as arrays: they come back bit for bit, and what was changed is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_detector.bundle.check_arrays import (
    N_PEAKS_MAX,
    dump_checks,
    load_checks,
    pack_checks,
    unpack_checks,
)
from stream_detector.core.scoring.check_scorer import Checks
from stream_detector.core.scoring.checks import CHECK_KINDS, looks_of
from stream_detector.core.scoring.look_limits import calibrate_looks
from stream_detector.core.scoring.members import Combine, Members
from stream_detector.core.scoring.neighbours import fit_neighbours
from stream_detector.core.scoring.normal_scores import N_KEPT_MAX, keep_scores
from stream_detector.core.scoring.relations import fit_relations
from stream_detector.core.scoring.rhythm import RhythmLimits
from stream_detector.core.scoring.tails import CalibrationScores
from stream_detector.errors import BundleIntegrityError

N_STEPS, N_FEATURES = 10, 2


def make_checks(*, with_times: bool = True) -> Checks:
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((60, N_STEPS, N_FEATURES)).astype(np.float32)
    neighbours = [
        fit_neighbours(windows, n_last, 4, 20, rng, feature)
        for n_last, feature in ((N_STEPS, None), (3, None), (N_STEPS, 0), (N_STEPS, 1))
    ]
    looks = looks_of(CHECK_KINDS, N_FEATURES, has_courses=True)
    values = rng.standard_normal((60, len(looks)))
    looks = calibrate_looks(looks, values, lambda scores: float(scores.max()) + 0.1)
    end_ms = 1e3 * np.arange(60, dtype=np.float64)
    scores = CalibrationScores(rng.random(60), np.zeros(60, np.intp), end_ms, 6e4, 2_000.0)
    if not with_times:
        scores = CalibrationScores.without_times(scores.scores)
    members = Members(neighbours, rng.random(6), 1 + rng.random(6))
    rhythm = RhythmLimits(800.0, 600.0, 1_000.0, 1.5, 3_000.0)
    relations = fit_relations(windows)
    return Checks(
        3, 4, members, looks, keep_scores(scores), rhythm if with_times else None, relations
    )


def apart(combine: Combine, *, has_errors: bool) -> Checks:
    """Return checks that look at each feature alone."""
    rng = np.random.default_rng(1)
    checks = make_checks()
    neighbours = checks.members.neighbours[2:]
    members = Members(
        neighbours, rng.random(6), 1 + rng.random(6), has_errors=has_errors, combine=combine
    )
    looks = looks_of(CHECK_KINDS, N_FEATURES, has_courses=False, has_errors=False)
    return replace(checks, members=members, looks=looks)


@pytest.mark.parametrize("has_errors", [True, False])
@pytest.mark.parametrize("combine", ["mean", "min-max"])
def test_features_that_are_joined_apart_come_back(combine: Combine, has_errors: bool) -> None:
    checks = apart(combine, has_errors=has_errors)
    again = load_checks(Path("b"), dump_checks(checks), N_STEPS, N_FEATURES)
    assert as_bytes(again) == as_bytes(checks)
    assert (again.members.combine, again.members.has_errors) == (combine, has_errors)
    assert again.looks.signs.tolist() == checks.looks.signs.tolist()
    errors = np.random.default_rng(2).normal(size=(5, 6))
    assert (again.members.join(errors) == checks.members.join(errors)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("combine", np.array(0)), ("combine", np.array(3)), ("combine", np.array(-1))]
    + [(name, np.ones(n)) for name in ("member_middles", "member_widths") for n in (4, 5, 7)],
)
def test_what_was_changed_of_features_apart_is_refused(name: str, value: Any) -> None:
    arrays = pack_checks(apart("min-max", has_errors=True)) | {name: value}
    with pytest.raises(ValueError, match="expected"):
        unpack_checks(arrays, N_STEPS, N_FEATURES)


def test_looks_that_are_off_stay_off() -> None:
    checks = make_checks()
    is_off = np.arange(len(checks.looks)) % 5 == 0
    checks = replace(checks, looks=checks.looks.without(is_off))
    again = load_checks(Path("b"), dump_checks(checks), N_STEPS, N_FEATURES)
    assert (again.looks.signs == 0).tolist() == is_off.tolist()
    assert again.looks.signs.tolist() == checks.looks.signs.tolist()
    arrays = pack_checks(checks)
    for wrong in (is_off[1:], is_off.astype(np.int8)):
        with pytest.raises(ValueError, match="expected finite bool"):
            unpack_checks(arrays | {"look_is_off": wrong}, N_STEPS, N_FEATURES)


def as_bytes(checks: Checks) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (array.dtype.str, array.shape, array.tobytes())
        for name, array in pack_checks(checks).items()
    }


@pytest.mark.parametrize("with_times", [True, False])
def test_they_come_back_bit_for_bit(with_times: bool) -> None:
    checks = make_checks(with_times=with_times)
    content = dump_checks(checks)
    again = load_checks(Path("b"), content, N_STEPS, N_FEATURES)
    assert as_bytes(again) == as_bytes(checks)
    assert again.looks.checks == checks.looks.checks
    assert again.rhythm == checks.rhythm
    assert (again.rhythm is None) is not with_times
    assert (again.normal.tail is None) is not with_times
    assert dump_checks(again) == content


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_short", np.array(11)),
        ("n_short", np.array(1)),
        ("n_peak", np.array(1)),
        ("n_peak", np.array(11)),
        ("n_short", np.array(2.0)),
        ("look_checks", np.array([], np.int8)),
        ("look_checks", np.array([len(CHECK_KINDS)], np.int8)),
        ("look_checks", np.array([-1], np.int8)),
        ("look_checks", np.array([0, 1, 0], np.int8)),
        ("look_middles", np.zeros(3)),
        ("look_scales", np.zeros(len(make_checks().looks))),
        ("member_widths", np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])),
        ("member_middles", np.array([1.0, np.nan, 1.0, 1.0, 1.0, 1.0])),
        ("scores", np.array([2.0, 1.0])),
        ("scores", np.empty(0)),
        ("scores", np.zeros(N_KEPT_MAX + 1)),
        ("n_windows", np.array(0)),
        ("tail", np.array([1.0, 0.0, 0.0, 1.0])),
        ("tail", np.array([1.0, 1.0, 0.6, 1.0])),
        ("tail", np.array([1.0, 1.0, 0.1, 0.0])),
        ("tail", np.array([1.0, 1.0])),
        ("peaks", np.array([1.0, 2.0])),
        ("peaks", np.zeros(N_PEAKS_MAX + 1)),
        ("axes_0", np.zeros((4, 20), np.float32)),
        ("has_errors", np.array(1)),
        ("factors_0", np.ones(5, np.float32)),
        ("prototypes_1", np.zeros((20, 3), np.float32)),
        ("middle_0", np.zeros(20)),
        ("n_nearest_0", np.array([10, 21, -1])),
        ("n_nearest_1", np.array([11, 1, -1])),
        ("n_nearest_2", np.array([10, 3, 2])),
        ("n_nearest_2", np.array([10, 3, 1])),
        ("n_nearest_1", np.array([3, 3])),
        ("relation_weights", np.zeros((2, 2), np.float32)),
        ("relation_weights", np.full((4, 2), np.nan, np.float32)),
        ("relation_offsets", np.zeros(2)),
        ("relation_offsets", np.zeros(1, np.float32)),
        ("rhythm", np.array([800.0, 600.0, 1_000.0, 1.5])),
        ("rhythm", np.array([800.0, 0.0, 1_000.0, 1.5, 3_000.0])),
        ("rhythm", np.array([800.0, 800.0, 1_000.0, 1.5, 3_000.0])),
        ("rhythm", np.array([800.0, 600.0, 800.0, 1.5, 3_000.0])),
        ("rhythm", np.array([800.0, 600.0, 1_000.0, 1.0, 3_000.0])),
        ("rhythm", np.array([800.0, 600.0, 1_000.0, 1.5, 0.0])),
        ("rhythm", np.array([800.0, 600.0, np.inf, 1.5, 3_000.0])),
    ],
)
def test_what_was_changed_is_refused(name: str, value: Any) -> None:
    arrays = pack_checks(make_checks()) | {name: value}
    with pytest.raises(ValueError, match="expected"):
        unpack_checks(arrays, N_STEPS, N_FEATURES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, np.array(n)) for name in ("n_short", "n_peak") for n in (2, N_STEPS)],
        *[("scores", scores) for scores in (np.zeros(1), np.zeros(N_KEPT_MAX))],
        *[("tail", np.array([1.0, 1.0, shape, 1.0])) for shape in (0.0, 0.5)],
        *[("peaks", peaks) for peaks in (np.empty(0), np.zeros(2), np.zeros(N_PEAKS_MAX))],
        *[("n_windows", np.array(n)) for n in (1, 2**53)],
    ],
)
def test_what_is_at_its_limit_is_read(name: str, value: Any) -> None:
    checks = unpack_checks(pack_checks(make_checks()) | {name: value}, N_STEPS, N_FEATURES)
    assert pack_checks(checks)[name].tolist() == value.tolist()


def test_where_no_relation_is_judged_none_is_kept() -> None:
    checks = make_checks()
    is_off = checks.looks.is_of("relation")
    arrays = pack_checks(replace(checks, looks=checks.looks.without(is_off), relations=None))
    assert unpack_checks(arrays, N_STEPS, N_FEATURES).relations is None


def test_without_the_check_no_relations_are_kept() -> None:
    checks = make_checks()
    kinds = tuple(each for each in CHECK_KINDS if each != "relation")
    looks = looks_of(kinds, N_FEATURES, has_courses=True)
    arrays = pack_checks(replace(checks, looks=looks, relations=None))
    assert not any("relation" in name for name in arrays)
    assert unpack_checks(arrays, N_STEPS, N_FEATURES).relations is None


@pytest.mark.parametrize("name", sorted(pack_checks(make_checks())))
def test_what_is_missing_is_refused(name: str) -> None:
    arrays = pack_checks(make_checks())
    del arrays[name]
    with pytest.raises((KeyError, ValueError)):
        unpack_checks(arrays, N_STEPS, N_FEATURES)


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(BundleIntegrityError, match=r"checks\.npz cannot be read"):
        load_checks(Path("b"), b"no archive", N_STEPS, N_FEATURES)
