"""The model of large groups, in cases that can be worked out by hand."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "scale_model.py"


@pytest.fixture(scope="module")
def model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_model", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def course(model: ModuleType) -> Any:
    """Return what a group does, given as the fields of `Group`, processes, and seconds."""
    return lambda group, *others: model.play(model.Group(*group), *others)


def test_one_partition_under_capacity_is_never_behind(model: ModuleType, course: Any) -> None:
    assert course((1, 99, 100, 5.0), 1) == model.Course(1, 0, 0, 0, 0.0)


def test_a_load_that_is_just_the_capacity_is_never_drained(model: ModuleType, course: Any) -> None:
    assert course((1, 100, 100, 5.0), 1, 500) == model.Course(1, 0, 0, math.inf, 0.0)


def test_an_overload_of_one_partition_has_no_end(model: ModuleType, course: Any) -> None:
    """Half of 200 records/s is left each second, and more processes have nothing to do."""
    assert course((1, 200, 100, 5.0), 1, 1_000) == model.Course(1, 0, 0, math.inf, 500.0)


@pytest.mark.parametrize(
    ("restore_s", "seconds", "behind_s"),
    [
        # 5,000 records are left each second. KEDA looks after 30 s, and sees 155,000: two
        # processes, of which the second is there at 50 s, when 255,000 wait, 17 s of the load. Both
        # together drain 5,000 a second: after 49 of them less than a second's records is left.
        (0.0, 50 + 49, 17),
        (1.0, 50 + 49, 17),
        # Six seconds more in which only the first works: 285,000, 19 s of the load. In its
        # partition are 112,500, 45 s; then 2,500 a second are drained of the other's 60,000.
        (7.0, 56 + 45 + 19, 19),
        # The first is done after 51 of 59 s; in the other partition are 570,000, 38 s of the load.
        (60.0, 109 + 223, 38),
    ],
)
def test_a_second_process_restores_one_of_two_partitions(
    model: ModuleType, course: Any, restore_s: float, seconds: int, behind_s: float
) -> None:
    assert course((2, 15_000, 10_000, restore_s), 1) == model.Course(2, 1, 1, seconds, behind_s)


def test_nothing_is_added_before_the_lag_asks_for_it(course: Any) -> None:
    """After 30 s the lag is 31 times what is left in a second: 1,612 make 49,972, 1,613 more."""
    assert course((2, 10_000 + 1_612, 10_000, 0.0), 1, 60).n_changes == 0
    assert course((2, 10_000 + 1_613, 10_000, 0.0), 1, 60).n_changes == 1


def test_a_share_is_added_at_a_time_every_two_minutes(course: Any) -> None:
    """Half of four, and at 150 s the two that are still asked for: a partition each."""
    group = (8, 60_000, 10_000, 0.0, 0.5)
    before, after = course(group, 4, 170), course(group, 4, 171)
    assert (before.n_processes, before.n_changes, before.n_restores) == (6, 1, 2)
    assert (after.n_processes, after.n_changes, after.n_restores) == (8, 2, 4)


def test_no_more_processes_than_partitions_are_asked_for(course: Any) -> None:
    found = course((3, 60_000, 10_000, 0.0, 5.0), 1, 1_000)
    assert (found.n_processes, found.n_changes, found.n_restores) == (3, 1, 2)


@pytest.mark.parametrize(("load", "n_processes"), [(700, 1), (701, 2), (1_401, 3)])
def test_seven_tenths_of_a_core_are_planned_for(
    model: ModuleType, load: int, n_processes: int
) -> None:
    assert model.Group(10, load, 1_000, 1.0).n_wanted == n_processes


def test_the_model_takes_what_the_manifest_says(model: ModuleType) -> None:
    manifest = PROGRAM.parents[1] / "deploy" / "kubernetes" / "keda" / "scaled-object.yaml"
    text = manifest.read_text()
    assert f"pollingInterval: {model.LOOK_S}" in text
    assert f'lagThreshold: "{model.LAG_THRESHOLD}"' in text
    assert f"periodSeconds: {model.STEP_S}" in text
