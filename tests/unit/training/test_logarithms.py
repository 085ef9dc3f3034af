"""Features that training names where the recipe leaves it to the samples."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.datasets import SampleDataset
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.logarithms import with_logarithms

MODELS = Path(__file__).parents[3] / "models"
NAMES = ("heat", "traffic", "bytes")


def recipe(*overrides: str) -> Recipe:
    return load_recipe(MODELS / "smd.toml", overrides)


def samples(n_faulty: int = 0) -> SampleDataset:
    """Return two series of an amount and two factors; the labelled samples are below 0."""
    random = np.random.default_rng(5)
    values = random.normal(size=(800, 3)).astype(np.float32)
    values[:, 1:] = np.exp(values[:, 1:])
    labels = np.zeros(800, np.int8)
    labels[:n_faulty] = labels[400 : 400 + n_faulty] = 1
    values[labels == 1] = -1
    train = Samples(("a", "b"), np.repeat([0, 1], 400), np.arange(800.0), values, labels)
    return SampleDataset("mine", "", train, train, NAMES)


def test_names_take_the_place_of_auto() -> None:
    found = with_logarithms(recipe(), samples())
    assert found.scaling.logarithmic == ("traffic", "bytes")
    assert [each.is_logarithmic for each in found.countings(NAMES)] == [False, True, True]
    assert found.data == recipe().data


def test_a_relative_feature_is_not_named() -> None:
    found = with_logarithms(recipe("scaling.counters=['bytes']"), samples())
    assert found.scaling.logarithmic == ("traffic",)
    assert [each.relative_steps for each in found.countings(NAMES)] == [0, 0, 16]


def test_labelled_samples_do_not_count_unless_the_recipe_finds_them_itself() -> None:
    assert with_logarithms(recipe(), samples(9)).scaling.logarithmic == ("traffic", "bytes")
    trimmed = recipe("training.trim=true")
    assert with_logarithms(trimmed, samples(9)).scaling.logarithmic == ()


def test_auto_is_no_name_of_a_feature() -> None:
    with pytest.raises(ValueError, match="expected names of features, received auto"):
        recipe().countings(NAMES)
