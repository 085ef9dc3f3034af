"""The groups of nearest neighbours that a recipe asks for, and what calibrates its checks."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.datasets import Dataset
from stream_detector.recipes import load_recipe
from stream_detector.training.checks import CheckFitter

MODELS = Path(__file__).parents[3] / "models"
BEST, TELEMETRY = MODELS / "ecg5000-best.toml", MODELS / "telemetry.toml"
N_STEPS = 140


def beats(n_windows: int) -> FloatArray:
    """Return windows in which as much as a random walk of 140 steps varies."""
    steps = np.random.default_rng(n_windows).standard_normal((n_windows, N_STEPS, 1))
    walks: FloatArray = steps.cumsum(axis=1).astype(np.float32)
    return walks


def zeros(windows: FloatArray) -> FloatArray:
    """Stand for a network."""
    return 0 * windows


def network_of(windows: FloatArray) -> ReconstructionScorer:
    scaler = fit_scaler("standard", windows)
    return ReconstructionScorer(zeros, scaler, "mse", 1.0, BundleReference("test", "v1"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", [(140, 24)]),
        (",axes=[8,12],neighbour_steps=[140,140]", [(140, 8), (140, 12)]),
        (",axes=[8,8],neighbour_steps=[140,200]", [(140, 8)]),
        (",axes=5,neighbour_steps=[140,70]", [(140, 5), (70, 5)]),
        (",neighbour_steps=[]", []),
    ],
)
def test_groups_of_neighbours(keys: str, expected: Sequence[tuple[int, int]]) -> None:
    recipe = load_recipe(BEST, [f"check=[{{kind='shape',feature_neighbours=false{keys}}}]"])
    windows = beats(200)
    dataset = Dataset("mine", "", windows, None, windows[:0], None)
    network, fitter = network_of(windows), CheckFitter(recipe)
    found = fitter.look(network, windows[:100], windows[100:])
    assert found.shape == (100, 2 + len(expected) + 2)  # two errors and two looks
    scorer, *_ = fitter.finish(dataset, network, np.concatenate([found, found]), ["value"])
    groups = scorer.checks.members.neighbours
    assert [(each.n_last, each.axes.shape[1]) for each in groups] == expected


def test_all_groups_are_whitened_and_know_all_windows() -> None:
    recipe = load_recipe(BEST)
    windows = beats(700)
    dataset = Dataset("mine", "", windows, None, windows[:0], None)
    network, fitter = network_of(windows), CheckFitter(recipe)
    found = fitter.look(network, windows[:100], windows)
    scorer, calibration, off = fitter.finish(dataset, network, found, ["value"])
    assert off == ()
    for each in scorer.checks.members.neighbours:
        assert len(each.prototypes) == 700
        assert each.factors[0] == 1
        assert (np.diff(each.factors) > 0).all()
    assert not scorer.checks.members.has_errors
    assert calibration.stated == 0.025


def panels(n_windows: int, seed: int) -> FloatArray:
    """Return minutes of irradiance, power that follows it within 2 %, and wind."""
    rng = np.random.default_rng(seed)
    sky = np.repeat(rng.uniform(200, 800, (n_windows, 15, 1)), 4, axis=1)
    sky += rng.normal(0, 4, (n_windows, 60, 1))
    power = 0.01 * sky * rng.normal(1, 0.02, sky.shape)
    wind = rng.uniform(0, 9, sky.shape)
    return np.concatenate([sky, power, wind], axis=2).astype(np.float32)


def test_features_that_no_longer_agree_are_found_and_named() -> None:
    keys = ("check=[{kind='flat'},{kind='relation'}]", "threshold.method=false_alarm_share")
    recipe = load_recipe(TELEMETRY, [*keys, "threshold.false_alarm_share=0.04"])
    windows = panels(1_000, seed=1)
    starts = 60_000 * np.arange(len(windows))
    dataset = Dataset(
        "mine", "", windows, None, windows[:0], None,
        train_timestamps_ms=starts, train_keys=("roof",) * len(windows),
    )  # fmt: skip
    network, fitter = network_of(windows), CheckFitter(recipe)
    found = fitter.look(network, windows[:500], windows)
    scorer, _, off = fitter.finish(dataset, network, found, ["sky", "power", "wind"])
    assert off == (
        "not judged: relation of wind: the other features explain less than three quarters of how "
        "they vary, or do not over all the time of training",
    )
    is_relation = scorer.checks.looks.is_of("relation")
    assert scorer.checks.looks.signs[is_relation].tolist() == [1, 1, 0] * 2
    judged = panels(200, seed=2)
    assert (scorer.score(judged).scores > 1).mean() < 0.05
    judged[0, :, 1] *= 0.6  # a string of panels has failed; neither is where it never was
    judged[1, -12:, 2] = 3.25
    scored = scorer.score(judged[:2])
    assert (scored.scores > 1).all()
    names = Features(("sky", "power", "wind"))
    failed, stuck = (
        scored.explain(row, WindowContext(0.0, 1_000.0)).described(names) for row in (0, 1)
    )
    assert (failed.check, stuck.check) == ("relation", "flat")
    assert re.match(
        r"(sky|power) is at [\d.]+; going by the other features, it is normally between",
        failed.explanation.sentence,
    )
    assert stuck.explanation.sentence == (
        "wind stayed at 3.25 for 11 s without any change; it normally changes within 9 s"
    )
    span = (stuck.explanation.worst_start_ms, stuck.explanation.worst_end_ms)
    assert span == (48_000, 59_000)
