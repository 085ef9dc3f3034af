"""The scale of each key is fitted to its normal samples, and none is left without."""

from dataclasses import replace

import numpy as np
import pytest
from present import present
from pulses import N_STEPS, STRANGE, pulse_recipe, pulses

from stream_detector.core.records import FloatArray, Samples
from stream_detector.datasets import Dataset, SampleDataset
from stream_detector.errors import DatasetError
from stream_detector.training import key_scales, load_windows
from stream_detector.training.key_scales import (
    N_SAMPLES_MIN,
    fit_key_scales,
    fit_window_scales,
)

N = 101


def samples_of(
    *columns: list[list[float]], labels: list[int] | None = None
) -> tuple[Samples, FloatArray]:
    """Return samples of keys k0, k1 and so on, interleaved, each with its values by feature."""
    counts = [len(column[0]) for column in columns]
    values = np.concatenate([np.array(column, np.float32).T for column in columns])
    series = np.repeat(np.arange(len(columns)), counts)
    order = np.random.default_rng(0).permutation(len(series))
    keys = tuple(f"k{number}" for number in range(len(columns)))
    found = np.array(labels, np.int8)[order] if labels is not None else None
    times_ms = np.arange(len(series), dtype=np.float64)
    return Samples(keys, series[order], times_ms, values[order], found), values[order]


def ramp(middle: float, step: float, n: int = N) -> list[float]:
    """Return values whose median is the middle, and whose median distance from it is n // 4."""
    return [middle + step * (number - n // 2) for number in range(n)]


def test_each_key_has_its_median_and_its_robust_deviation() -> None:
    samples, values = samples_of([ramp(40, 1), ramp(0, 4)], [ramp(0.04, 0.001), ramp(5, 1)])
    scales = fit_key_scales(samples, values, "data")
    assert scales.keys == (b"k0", b"k1")
    assert scales.offset[:2] == pytest.approx(np.array([[40, 0], [0.04, 5]]), rel=1e-5)
    expected = 1 / (1.4826 * 25 * np.array([[1, 4], [0.001, 1]]))
    np.testing.assert_allclose(scales.scale[:2], expected, rtol=1e-4)


def test_missing_values_and_samples_labelled_anomalous_are_left_out() -> None:
    good = ramp(3, 1)
    labels = [0] * N + [1] * 60
    faulty = [*good, *[1e6] * 60]
    gappy = [*good[:-1], float("nan"), *[0.0] * 60]
    samples, values = samples_of([faulty, gappy], labels=labels)
    scales = fit_key_scales(samples, values, "data")
    assert scales.offset[0].tolist() == [3, 2.5]
    assert scales.scale[0, 0] == np.float32(1 / (1.4826 * 25))


def test_a_feature_that_never_moved_has_the_deviation_of_the_other_keys() -> None:
    still = [7.0] * N
    samples, values = samples_of([ramp(0, 1)], [still], [ramp(0, 3)], [[float("nan")] * N])
    scales = fit_key_scales(samples, values, "data")
    np.testing.assert_allclose(1 / (1.4826 * 25 * scales.scale[:4, 0]), [1, 2, 3, 2], rtol=1e-5)
    assert scales.offset[:4, 0] == pytest.approx([0, 7, 0, 0])


def test_a_feature_that_moved_for_no_key_is_counted_in_hundredths_of_its_level() -> None:
    samples, values = samples_of(*[[[level] * N] for level in (4.0, -2.0, 0.0)])
    scales = fit_key_scales(samples, values, "data")
    assert scales.scale[:3, 0].tolist() == [25, 50, 100]
    samples, values = samples_of([[float("nan")] * N])
    scales = fit_key_scales(samples, values, "data")
    assert (scales.offset[0, 0], scales.scale[0, 0]) == (0, 100)


def test_keys_that_no_record_can_have_and_too_large_scales_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, values = samples_of([ramp(0, 1)], [ramp(0, 1)])
    longest = "p\u00fc" + "m" * 4_093
    scales = fit_key_scales(replace(samples, keys=("a", longest)), values, "data")
    assert scales.n_bytes == 4 * (2 * 2 + 2) + 1 + 4_096
    with pytest.raises(DatasetError, match="received 2 keys of up to 4,097 bytes and 1 features"):
        fit_key_scales(replace(samples, keys=("a", longest + "m")), values, "data")
    for n_bytes_max, is_refused in ((scales.n_bytes, False), (scales.n_bytes - 1, True)):
        monkeypatch.setattr(key_scales, "KEY_SCALES_BYTES_MAX", n_bytes_max)
        if is_refused:
            with pytest.raises(DatasetError, match="scales take at most 4,120 bytes"):
                fit_key_scales(replace(samples, keys=("a", longest)), values, "data")
        else:
            fit_key_scales(replace(samples, keys=("a", longest)), values, "data")


def test_a_key_with_too_few_samples_has_none_of_its_own() -> None:
    samples, values = samples_of(
        [ramp(0, 1, N_SAMPLES_MIN)], [ramp(0, 1, N_SAMPLES_MIN - 1)], [ramp(0, 1)]
    )
    assert fit_key_scales(samples, values, "data").keys == (b"k0", b"k2")
    samples, values = samples_of([ramp(0, 1, N_SAMPLES_MIN - 1)])
    with pytest.raises(DatasetError, match=r"data mine: scaling.per_key: .* received 0 of 1"):
        fit_key_scales(samples, values, "data mine")


def test_no_more_keys_than_a_bundle_can_hold_have_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_scales, "KEY_SCALES_MAX", 2)
    samples, values = samples_of([ramp(0, 1)], [ramp(0, 1)])
    assert len(fit_key_scales(samples, values, "data").keys) == 2
    samples, values = samples_of([ramp(0, 1)], [ramp(0, 1)], [ramp(0, 1)])
    with pytest.raises(DatasetError, match=r"expected 1 to 2 keys .* received 3 of 3"):
        fit_key_scales(samples, values, "data")


def windows_of(
    *columns: list[tuple[float, float]], labels: list[int] | None = None
) -> tuple[Dataset, list[str]]:
    """Return windows of keys k0, k1 and so on, interleaved, each of a mean and a deviation."""
    facts = [(f"k{number}", *each) for number, column in enumerate(columns) for each in column]
    order = np.random.default_rng(0).permutation(len(facts)).tolist()
    windows = np.array([[[m - s], [m + s], [m], [m + s], [m - s], [m]] for _, m, s in facts])
    keys = [facts[row][0] for row in order]
    found = None if labels is None else np.array(labels, np.int8)[order]
    train = windows[order].astype(np.float32)
    return Dataset("data", "", train, found, train[:0], None, tuple(keys)), keys


ROOT_OF_2_3 = np.sqrt(2 / 3)


def test_round_peaks_each_key_has_the_median_mean_and_deviation_of_its_windows() -> None:
    big = [(8.0, 1.0), (10.0, 3.0), (11.0, 9.0)] * 9
    small = [(0.5, 0.25)] * 11 + [(90.0, 90.0)] * 9  # nearly half of them are anomalous
    dataset, keys = windows_of(big, small)
    scales = fit_window_scales(dataset, "data")
    assert scales.keys == tuple(dict.fromkeys(key.encode() for key in keys))
    rows = scales.rows([b"k0", b"k1"])
    np.testing.assert_allclose(scales.offset[rows, 0], [10, 0.5])
    np.testing.assert_allclose(scales.scale[rows, 0] * ROOT_OF_2_3, [1 / 3, 4], rtol=1e-6)


def test_windows_labelled_anomalous_are_left_out() -> None:
    column = [(1.0, 2.0)] * 20 + [(50.0, 60.0)] * 30
    dataset, _ = windows_of(column, labels=[0] * 20 + [1] * 30)
    scales = fit_window_scales(dataset, "data")
    assert scales.offset[0, 0] == 1
    np.testing.assert_allclose(scales.scale[0, 0] * ROOT_OF_2_3, 0.5, rtol=1e-6)


def test_a_feature_that_never_moved_round_peaks_has_the_deviation_of_the_other_keys() -> None:
    dataset, _ = windows_of([(0.0, 1.0)] * 20, [(7.0, 0.0)] * 20, [(0.0, 3.0)] * 20)
    scales = fit_window_scales(dataset, "data")
    rows = scales.rows([b"k0", b"k1", b"k2"])
    np.testing.assert_allclose(ROOT_OF_2_3 * scales.scale[rows, 0], [1, 0.5, 1 / 3], rtol=1e-6)
    assert scales.offset[rows, 0].tolist() == [0, 7, 0]


def test_a_key_with_too_few_windows_has_none_of_its_own() -> None:
    dataset, _ = windows_of([(0.0, 1.0)] * N_SAMPLES_MIN, [(0.0, 1.0)] * (N_SAMPLES_MIN - 1))
    assert fit_window_scales(dataset, "data").keys == (b"k0",)
    dataset, _ = windows_of([(0.0, 1.0)] * (N_SAMPLES_MIN - 1))
    with pytest.raises(DatasetError, match=r"data mine: .* 20 normal windows, received 0 of 1"):
        fit_window_scales(dataset, "data mine")


def two_pulses() -> SampleDataset:
    """Return pulses of two keys, of the second one in units a thousand times smaller."""
    samples = pulses(("big", "small"))
    samples.values[samples.series == 1] *= 0.001
    nothing = np.empty(0, np.intp)
    none = Samples(samples.keys, nothing, np.empty(0), samples.values[:0], np.empty(0, np.int8))
    return SampleDataset("pulses", "", samples, none, ("flow", "heat"))


PER_KEY = ("scaling.per_key=true", "scaling.warm_up_samples=0")


@pytest.mark.parametrize("trim", [True, False])
def test_windows_round_peaks_are_trained_on_in_the_units_of_their_keys(trim: bool) -> None:
    recipe = pulse_recipe(*PER_KEY, f"training.trim={str(trim).lower()}")
    found, plain = (load_windows(each, data=two_pulses()) for each in (recipe, pulse_recipe()))
    keys, scales = np.array(found.train_keys), present(found.key_scales)
    assert found.train.shape == plain.train.shape == (len(keys), N_STEPS, 2)
    is_strange = present(plain.train_labels) == 1
    assert is_strange.sum() == 2 * len(STRANGE)
    for key in ("big", "small"):
        own = (keys == key) & (trim | ~is_strange)
        spreads = found.train[own].std(axis=1, dtype=np.float64)  # (n_windows, n_features)
        np.testing.assert_allclose(np.median(spreads, axis=0), 1, rtol=1e-3)
        means = found.train[own].mean(axis=1, dtype=np.float64)
        np.testing.assert_allclose(np.median(means, axis=0), 0, atol=1e-3)
    rows = scales.rows(key.encode() for key in keys.tolist())
    np.testing.assert_array_equal(found.train, scales.transform(plain.train, rows))


@pytest.mark.parametrize("align", ["peaks", "stride"])
@pytest.mark.parametrize("trim", [True, False])
def test_labels_fit_no_scale_where_normal_is_found_without_them(align: str, trim: bool) -> None:
    cut = ("window.align=stride", "peaks=") if align == "stride" else ()
    recipe = pulse_recipe(*cut, *PER_KEY, f"training.trim={str(trim).lower()}")
    labelled = two_pulses()
    train, test = (replace(part, labels=None) for part in (labelled.train, labelled.test))
    plain = replace(labelled, train=train, test=test)
    with_labels, without = (
        present(load_windows(recipe, data=data).key_scales) for data in (labelled, plain)
    )
    assert (with_labels.scale == without.scale).all() == trim
