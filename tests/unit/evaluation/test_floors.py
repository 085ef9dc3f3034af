"""Simple detectors: what each of them scores, and what it does with gaps and without training."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.point_metrics import vus_pr
from stream_detector.core.records import Samples
from stream_detector.evaluation.floors import FLOOR_NOTES, N_STEPS, score_floors


def samples_of(values: NDArray[np.float64], labels: NDArray[np.int8] | None = None) -> Samples:
    """Return two series of the same values, mixed in time."""
    n = len(values)
    order = np.repeat(np.arange(n), 2)
    return Samples(
        ("a", "b"),
        np.tile([0, 1], n),
        10.0 * order.astype(np.float64),
        values[order].astype(np.float32),
        None if labels is None else labels[order],
    )


def wave(n: int, noise: float = 0.1, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    at = np.arange(n)
    return np.column_stack([np.sin(at / 5), np.cos(at / 7)]) + rng.normal(0, noise, (n, 2))


def test_every_floor_scores_every_sample_and_finds_what_is_plain() -> None:
    values, labels = wave(600, seed=1), np.zeros(600, np.int8)
    values[300:340, 0] += 4.0
    labels[300:340] = 1
    samples, train = samples_of(values, labels), samples_of(wave(1_000))
    found = score_floors(samples, train)
    assert list(found) == [name for name in FLOOR_NOTES if name in found]
    assert set(found) == set(FLOOR_NOTES)
    one = samples.series == 0
    for name in (f"PCA of {N_STEPS} samples", f"3-NN of {N_STEPS} samples"):
        scores = found[name]
        assert np.isnan(scores.causal[one][: N_STEPS - 1]).all()
        assert np.isfinite(scores.causal[one][N_STEPS - 1 :]).all()
        assert np.isfinite(scores.put_back).all()
        assert vus_pr(scores.put_back[one], labels) > 0.9
        assert vus_pr(scores.put_back[one], labels) > vus_pr(scores.causal[one], labels)
    assert vus_pr(found["running Gaussian"].causal[one], labels) > 0.8
    assert vus_pr(found["random"].causal[one], labels) < 0.3
    # Both series are scored alike, and the same seed gives the same scores.
    np.testing.assert_array_equal(found["moving z"].causal[one], found["moving z"].causal[~one])
    again = score_floors(samples, train)
    np.testing.assert_array_equal(found["random"].causal, again["random"].causal)


def test_the_last_value_is_compared_in_units_of_normal() -> None:
    values = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 50.0]])
    spread = np.array([[0.0, -100.0], [2.0, 100.0]] * 40)
    samples = samples_of(values)
    found = score_floors(samples, samples_of(spread))["last value"].causal
    np.testing.assert_allclose(found[samples.series == 0], [0.0, 2.0, 0.0, 0.5])


def test_a_single_outlier_is_debounced() -> None:
    values = wave(200, seed=2)
    values[100] += 50.0
    samples = samples_of(values)
    found = score_floors(samples, None)
    one = samples.series == 0
    assert found["moving z"].causal[one].argmax() == 100
    assert found["running Gaussian"].causal[one].argmax() != 100


def test_without_training_data_the_floors_that_learn_are_left_out() -> None:
    samples = samples_of(wave(100))
    assert set(score_floors(samples, None)) == set(list(FLOOR_NOTES)[:4])
    assert set(score_floors(samples, samples_of(wave(N_STEPS - 1)))) == set(list(FLOOR_NOTES)[:4])
    assert set(score_floors(samples, samples_of(wave(N_STEPS)))) == set(FLOOR_NOTES)


@pytest.mark.parametrize(("n_samples", "is_scored"), [(N_STEPS - 1, False), (N_STEPS, True)])
def test_a_series_as_long_as_a_window_is_scored(n_samples: int, is_scored: bool) -> None:
    found = score_floors(samples_of(wave(n_samples)), samples_of(wave(200)))
    scores = found[f"PCA of {N_STEPS} samples"]
    assert np.isfinite(scores.causal[-1]) == is_scored
    assert np.isfinite(scores.put_back).all() == is_scored


def test_labelled_faults_are_not_learnt() -> None:
    values, labels = wave(400), np.zeros(400, np.int8)
    values[200:240] += 9.0
    labels[200:240] = 1
    clean = score_floors(samples_of(values, labels), samples_of(values, labels))
    dirty = score_floors(samples_of(values, labels), samples_of(values))
    name = f"3-NN of {N_STEPS} samples"
    assert np.nanmax(clean[name].causal) > 2 * np.nanmax(dirty[name].causal)


@pytest.mark.filterwarnings("error")
def test_missing_values_a_constant_feature_and_few_samples_do_no_harm() -> None:
    values = wave(60)
    values[:5, 0] = values[30:35, 0] = np.nan
    values[:, 1] = 7.0
    for given in (values, np.full((60, 2), np.nan), values[:3]):
        for scores in score_floors(samples_of(given), samples_of(values)).values():
            assert not np.isinf(scores.causal).any()
            assert not np.isinf(scores.put_back).any()
    nothing = Samples(("a",), np.empty(0, np.intp), np.empty(0), np.empty((0, 2), np.float32))
    assert all(not len(each.causal) for each in score_floors(nothing, None).values())
