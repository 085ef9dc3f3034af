"""What features say of each other."""

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.relations import BLOCK, blocks_of, fit_relations


def windows_of(*features: FloatArray) -> FloatArray:
    """Return windows of 40 steps of features, each of shape (n_windows * 40,)."""
    return np.stack([each.reshape(-1, 40) for each in features], axis=2).astype(np.float32)


def walk(seed: int, n: int = 8_000) -> FloatArray:
    """Return noise that hardly changes within four steps, mean 0 and deviation 1."""
    steps = np.repeat(np.random.default_rng(seed).standard_normal(n // BLOCK), BLOCK)
    scaled: FloatArray = ((steps - steps.mean()) / steps.std()).astype(np.float32)
    return scaled


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
    relations, unexplained = fit_relations(windows_of(first, second, third))
    assert relations.weights[:, 2] == pytest.approx([2, -0.5, 0], abs=0.01)
    assert relations.offsets[2] == pytest.approx(3, abs=0.01)
    assert unexplained == pytest.approx([0, 0, 0], abs=0.001)
    assert relations.weights.diagonal().tolist() == [0, 0, 0]
    now = windows_of(*(np.full(40, each, np.float32) for each in (1.0, 2.0, 7.0)))
    residuals = relations.residuals(blocks_of(now))
    assert residuals.shape == (1, 10, 3)
    assert residuals[0, :, 2] == pytest.approx(np.full(10, 3 / (1 + 2 + 1)), abs=0.01)


def test_a_feature_that_has_gone_wild_makes_no_other_one_anomalous() -> None:
    first = walk(1)
    relations, _ = fit_relations(windows_of(first, first + 0.01 * walk(2), walk(3)))
    wild = blocks_of(windows_of(*(np.full(40, each, np.float32) for each in (1e6, 1.0, 1.0))))
    own, others = np.split(np.abs(relations.residuals(wild))[0, 0], [1])
    assert own > 1e5
    assert (others <= 1).all()


def test_what_is_left_is_the_part_that_others_do_not_know() -> None:
    first, own = walk(1), walk(2)
    half = (first + own) / np.sqrt(2)
    _, unexplained = fit_relations(windows_of(first, half, walk(3)))
    assert unexplained == pytest.approx([0.5, 0.5, 1], abs=0.05)
    assert unexplained.max() <= 1


def test_noise_within_a_block_hides_no_relation() -> None:
    noise = np.random.default_rng(4).standard_normal((2, 8_000))
    first = walk(1)
    _, unexplained = fit_relations(windows_of(first + noise[0], first + noise[1]))
    assert unexplained == pytest.approx([1 - 0.8**2] * 2, abs=0.03)  # 1 / 1.25 of it is common


def test_alike_features_share_their_weight() -> None:
    first = walk(1)
    relations, _ = fit_relations(windows_of(first, first, first))
    assert relations.weights[:, 0] == pytest.approx([0, 0.5, 0.5], abs=0.001)


def test_a_feature_that_never_moves_says_nothing_and_nothing_is_known_of_it() -> None:
    first, nothing = walk(1), np.zeros(8_000, np.float32)
    relations, unexplained = fit_relations(windows_of(first, nothing, first))
    assert unexplained[1] == 1
    assert relations.weights[1].tolist() == relations.weights[:, 1].tolist() == [0, 0, 0]
    alone, unexplained = fit_relations(windows_of(first))
    assert (alone.weights.tolist(), unexplained.tolist()) == ([[0.0]], [pytest.approx(1)])


def test_of_many_windows_some_that_are_spread_evenly_are_fitted() -> None:
    rng = np.random.default_rng(5)
    first = rng.standard_normal(8_193 * 4).astype(np.float32)
    windows = np.stack([first, -first], axis=1).reshape(8_193, 4, 2)
    windows[1::2] = 7.0  # every second one is left out
    relations, unexplained = fit_relations(windows)
    assert relations.weights[0, 1] == pytest.approx(-1, abs=0.01)
    assert unexplained.max() < 0.01
    _, unexplained = fit_relations(windows[:8_192])
    assert unexplained.max() > 0.01
