"""MNIST and Fashion-MNIST, and the choice of what is normal in them. Needs the files."""

from pathlib import Path

import numpy as np
import pytest
from present import present

from stream_detector.datasets import ImageChoice, load_images
from stream_detector.errors import DatasetError
from stream_detector.recipes import load_recipe
from stream_detector.training import load_windows

pytestmark = pytest.mark.usefixtures("mirror")

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_all_is_normal_unless_chosen(name: str) -> None:
    data = load_images(name)
    assert data.train.shape == (60_000, 28, 28)
    assert data.test.shape == (10_000, 28, 28)
    assert data.train.dtype == np.float32
    assert data.train.flags.c_contiguous
    assert (data.train.min(), data.train.max()) == (0, 255)
    assert not present(data.test_labels).any()


def test_one_digit_against_another() -> None:
    data = load_images("mnist", ImageChoice(normal=(1,), anomalous=(9,)))
    assert len(data.train) == 6_742
    assert np.bincount(present(data.test_labels)).tolist() == [1_135, 1_009]
    assert not present(data.train_labels).any()


def test_one_digit_against_the_rest() -> None:
    data = load_images("mnist", ImageChoice(normal=(1,)))
    assert np.bincount(present(data.test_labels)).tolist() == [1_135, 8_865]


def test_what_is_strange_comes_from_the_other_set() -> None:
    data = load_images("mnist", ImageChoice(anomalous_from="fashion-mnist"))
    assert np.bincount(present(data.test_labels)).tolist() == [10_000, 10_000]
    assert present(data.test_keys)[0] == "mnist/test/0"
    assert present(data.test_keys)[-1] == "fashion-mnist/test/9999"
    assert np.array_equal(data.test[10_000:], load_images("fashion-mnist").test)


def test_the_first_images_keep_the_parts_in_proportion() -> None:
    data = load_images("mnist", ImageChoice(n_images=700, anomalous_from="fashion-mnist"))
    assert (len(data.train), len(data.test)) == (600, 200)


def test_a_recipe_draws_its_test_part() -> None:
    changes = ["data.n_windows=1400", "data.anomalous_from=mnist", "data.test_each=50"]
    data = load_windows(load_recipe(MODELS / "fashion-basic.toml", changes))
    assert np.bincount(present(data.test_labels)).tolist() == [50, 50]
    other = load_windows(load_recipe(MODELS / "fashion-basic.toml", [*changes, "data.seed=1"]))
    assert data.test_keys != other.test_keys


def test_no_image_to_train_on_is_said() -> None:
    with pytest.raises(DatasetError, match="to train on, received none"):
        load_images("mnist", ImageChoice(normal=()))


def test_unknown_set_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="expected one of mnist, fashion-mnist"):
        load_images("cifar")
    with pytest.raises(ValueError, match="received 'cifar'"):
        load_images("mnist", ImageChoice(anomalous_from="cifar"))
