"""What features say of each other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.relations import (
    BLOCK,
    Relations,
    blocks_of,
    fit_relations,
    unexplained,
)


def windows_of(*features: FloatArray) -> FloatArray:
    """Return windows of 40 steps of features, each of shape (n_windows * 40,)."""
    return np.stack([each.reshape(-1, 40) for each in features], axis=2).astype(np.float32)


def fitted(*features: FloatArray) -> tuple[Relations, NDArray[np.float64]]:
    """Return how features belong together, and what of each stays unexplained."""
    windows = windows_of(*features)
    relations = fit_relations(windows)
    return relations, unexplained(relations, windows)


def walk(seed: int, n: int = 8_000) -> FloatArray:
    """Return noise that hardly changes within four steps, mean 0 and deviation 1."""
    steps = np.repeat(np.random.default_rng(seed).standard_normal(n // BLOCK), BLOCK)
    scaled: FloatArray = ((steps - steps.mean()) / steps.std()).astype(np.float32)
    return scaled


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_feature_is_blamed_without_which_the_others_agree(wrong: int) -> None:
    base = walk(1)
    features = [base + 0.05 * walk(seed) for seed in (2, 3, 4)]
    relations, _ = fitted(*features)
    values = [2.0, 2.0, 2.0]
    values[wrong] = 0.5
    now = blocks_of(windows_of(*(np.full(40, each, np.float32) for each in values)))
    blame = relations.blame(now, np.full(3, 0.01))
    assert int(blame.argmax()) == wrong
    assert blame[wrong] > 2 * np.delete(blame, wrong).max()


def test_nothing_is_blamed_on_a_feature_that_is_not_judged() -> None:
    first = walk(1)
    relations, _ = fitted(first, first, first)
    now = blocks_of(windows_of(*(np.full(40, each, np.float32) for each in (5.0, 0.0, 0.0))))
    assert relations.blame(now, np.array([np.inf, 0.01, 0.01]))[0] == 0
    assert relations.blame(0 * now, np.full(3, 0.01)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("n_steps", "blocks"), [(8, [1.5, 5.5]), (9, [2.5, 6.5]), (11, [4.5, 8.5]), (4, [1.5])]
)
def test_blocks_end_with_the_newest_step(n_steps: int, blocks: list[float]) -> None:
    windows = np.arange(n_steps, dtype=np.float32).reshape(1, n_steps, 1)
    assert blocks_of(windows).ravel().tolist() == blocks


def test_of_fewer_steps_each_is_a_block() -> None:
    windows = np.array([[[1.0], [2.0], [4.0]]], np.float32)
    assert blocks_of(windows).tolist() == windows.tolist()


def test_a_feature_is_what_the_others_say_it_is() -> None:
    first, second = walk(1), walk(2)
    third = 2 * first - 0.5 * second + 3
    relations, left = fitted(first, second, third)
    assert relations.weights[:, 2] == pytest.approx([2, -0.5, 0, 0, 0, 0], abs=0.01)
    assert relations.offsets[2] == pytest.approx(3, abs=0.01)
    assert left == pytest.approx([0, 0, 0], abs=0.001)
    for each in range(3):
        assert relations.weights[[each, 3 + each], each].tolist() == [0, 0]
    now = windows_of(*(np.full(40, each, np.float32) for each in (1.0, 2.0, 7.0)))
    residuals = relations.residuals(blocks_of(now))
    assert residuals.shape == (1, 10, 3)
    assert residuals[0, :, 2] == pytest.approx(np.full(10, 3 / (1 + 2 + 1)), abs=0.01)


def test_a_feature_may_follow_the_square_of_another() -> None:
    first = walk(1)
    relations, left = fitted(first, first**2 - 3 * first)
    assert relations.weights[:, 1] == pytest.approx([-3, 0, 1, 0], abs=0.01)
    assert left[1] < 0.001


def test_a_feature_that_has_gone_wild_makes_no_other_one_anomalous() -> None:
    first = walk(1)
    relations, _ = fitted(first, first + 0.01 * walk(2), walk(3))
    wild = blocks_of(windows_of(*(np.full(40, each, np.float32) for each in (1e6, 1.0, 1.0))))
    own, others = np.split(np.abs(relations.residuals(wild))[0, 0], [1])
    assert own > 1e5
    assert (others <= 1).all()


def test_what_is_left_is_the_part_that_others_do_not_know() -> None:
    first, own = walk(1), walk(2)
    half = (first + own) / np.sqrt(2)
    _, left = fitted(first, half, walk(3))
    assert left == pytest.approx([0.5, 0.5, 1], abs=0.05)


def test_where_a_relation_does_not_hold_more_is_left_than_there_was() -> None:
    first = walk(1)
    relations, _ = fitted(first, first)
    assert unexplained(relations, windows_of(first, -first)) == pytest.approx([4, 4], abs=0.02)


def test_noise_within_a_block_hides_no_relation() -> None:
    noise = np.random.default_rng(4).standard_normal((2, 8_000))
    first = walk(1)
    _, left = fitted(first + noise[0], first + noise[1])
    assert left == pytest.approx([1 - 0.8**2] * 2, abs=0.03)  # 1 / 1.25 of it is common


def test_alike_features_share_their_weight() -> None:
    first = walk(1)
    relations, _ = fitted(first, first, first)
    assert relations.weights[:3, 0] == pytest.approx([0, 0.5, 0.5], abs=0.001)


def test_a_feature_that_never_moves_says_nothing_and_nothing_is_known_of_it() -> None:
    first, nothing = walk(1), np.zeros(8_000, np.float32)
    relations, left = fitted(first, nothing, first)
    assert left[1] == 1
    assert not relations.weights[[1, 4]].any()
    assert not relations.weights[:, 1].any()
    alone, left = fitted(first)
    assert (alone.weights.tolist(), left.tolist()) == ([[0.0], [0.0]], [pytest.approx(1)])
