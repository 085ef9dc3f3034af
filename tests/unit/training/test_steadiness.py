"""Which checks of which features training turns off, and what it says of them."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import Looks, looks_of
from stream_detector.core.scoring.look_limits import Parts
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.statistics import WindowView
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.steadiness import training_parts, turn_off

MODELS = Path(__file__).parents[3] / "models"
N_WINDOWS, N_STEPS = 100, 60


def telemetry() -> Recipe:
    return load_recipe(MODELS / "telemetry.toml", ["window.stride=60", "scaling.per_key=false"])


def windows_of_three() -> FloatArray:
    """Return windows of noise around a rising level, of a count, and of noise."""
    rng = np.random.default_rng(5)
    shape = (N_WINDOWS, N_STEPS)
    rising = rng.normal(size=shape) + np.linspace(0, 20, N_WINDOWS)[:, np.newaxis]
    count = (rng.random(shape) < 0.5).astype(float)
    return np.stack([rising, count, rng.normal(size=shape)], axis=2).astype(np.float32)


def dataset_of(windows: FloatArray) -> Dataset:
    starts = np.arange(len(windows)) * N_STEPS * 1_000
    keys = ("pump",) * len(windows)
    return Dataset(
        "mine", "", windows, None, windows[:0], None,
        train_timestamps_ms=starts, train_keys=keys,
    )  # fmt: skip


def look(windows: FloatArray) -> tuple[Looks, Parts | None, np.ndarray]:
    looks = looks_of(("flat", "noise", "level"), 3, has_courses=False)
    view = WindowView(windows, 0 * windows, 16, 8)
    parts = training_parts(telemetry(), dataset_of(windows), np.arange(len(windows)))
    return looks, parts, looks.values(view, np.zeros((len(windows), 1)))


def test_what_is_off_is_named_by_check_and_feature() -> None:
    windows = windows_of_three()
    looks, parts, values = look(windows)
    left, warnings = turn_off(looks, values, windows, parts, ["heat\n", "starts", "noise"])
    off = {
        (check, name, feature)
        for check, name, feature, sign in zip(
            looks.checks, looks.statistics, looks.features.tolist(), left.signs, strict=True
        )
        if sign == 0
    }
    coarse_looks = {("flat", name, 1) for name in ("sd", "mean_step", "unchanged")}
    assert off == {*coarse_looks, ("level", "mean", 0)}
    coarse, wandering = warnings
    assert coarse.startswith("not judged: flat of starts: their values come in steps")
    assert wandering.startswith("not judged: level of heat\\n: in training this went on")


def test_steady_features_are_all_judged() -> None:
    windows = windows_of_three()[:, :, [2, 2, 2]]
    looks, parts, values = look(windows)
    left, warnings = turn_off(looks, values, windows, parts, ["a", "b", "c"])
    assert warnings == ()
    assert left.signs.tolist() == looks.signs.tolist()


@pytest.mark.parametrize(("n_wandering", "more"), [(8, ""), (10, " and 2 more")])
def test_where_features_wander_as_a_habit_the_check_is_off_for_all(
    n_wandering: int, more: str
) -> None:
    windows = np.repeat(windows_of_three()[:, :, [0, 2]], [n_wandering, 1], axis=2)
    looks = looks_of(("level", "noise"), n_wandering + 1, has_courses=False)
    values = looks.values(WindowView(windows, 0 * windows, 16, 8), np.zeros((N_WINDOWS, 1)))
    parts = np.repeat(np.arange(5), 20)
    left, warnings = turn_off(
        looks, values, windows, parts, [f"m{at}" for at in range(n_wandering + 1)]
    )
    assert (left.signs == 0).tolist() == looks.is_of("level").tolist()
    (warning,) = warnings
    start = "not judged: level of any feature: in training m0, m1, m2, m3, m4, m5, m6, m7"
    assert warning.startswith(f"{start}{more} went on to what they had not been before")


@pytest.mark.parametrize(("is_counter", "is_habit"), [(False, True), (True, False)])
def test_a_trend_speaks_of_other_features_and_a_counter_does_not(
    is_counter: bool, is_habit: bool
) -> None:
    windows = windows_of_three()
    looks, parts, values = look(windows)
    relative = Relative(np.array([False, False, True]), np.array([False, False, is_counter]))
    left, warnings = turn_off(looks, values, windows, parts, ["heat", "starts", "disk"], relative)
    is_off = left.signs[looks.is_of("level") & ~looks.is_at("short_shift")] == 0
    assert is_off.all() == is_habit
    some = "any feature: in training heat, disk went on" if is_habit else "heat: in training this"
    assert f"level of {some}" in warnings[-1]


def test_records_that_are_windows_and_short_series_have_no_fifths() -> None:
    rows, windows = np.arange(49), windows_of_three()
    assert training_parts(telemetry(), dataset_of(windows), rows) is None
    assert training_parts(telemetry(), dataset_of(windows), np.arange(50)) is not None
    beats = load_recipe(MODELS / "ecg5000-best.toml")
    assert training_parts(beats, dataset_of(windows), np.arange(50)) is None
    looks, _, values = look(windows)
    warnings = turn_off(looks, values, windows, None, ["heat", "starts", "noise"])[1]
    assert [each.partition(":")[2][:6] for each in warnings] == [" flat "]
