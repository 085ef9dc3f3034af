"""The groups of nearest neighbours that a recipe asks for, and what calibrates its checks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.datasets import Dataset
from stream_detector.recipes import load_recipe
from stream_detector.training.checks import CheckFitter

BEST = Path(__file__).parents[3] / "models" / "ecg5000-best.toml"
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
