"""What holds for every scaler, threshold and evaluation, whatever the numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_detector.core.evaluation import auroc, evaluate
from stream_detector.core.scoring.scaling import SCALER_KINDS, fit_scaler
from stream_detector.core.scoring.tails import CalibrationScores
from stream_detector.core.scoring.thresholds import (
    THRESHOLD_MIN,
    LogMadThreshold,
    QuantileThreshold,
    SigmaThreshold,
)

plain = CalibrationScores.without_times

SIGNAL = st.floats(-(2**20), 2**20, width=32)
ERRORS = st.lists(st.floats(0, 1e6), min_size=1, max_size=40).map(np.array)
LABELLED = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1e6), st.integers(0, 1)),
    min_size=1,
    max_size=40,
)


@st.composite
def windows(draw: st.DrawFn) -> NDArray[np.float32]:
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3)))
    n_values = int(np.prod(shape))
    values = draw(st.lists(SIGNAL, min_size=n_values, max_size=n_values))
    return np.array(values, dtype=np.float32).reshape(shape)


def columns(labelled: list[tuple[float, int]]) -> tuple[Any, Any]:
    return np.array([e for e, _ in labelled]), np.array([x for _, x in labelled], dtype=np.int8)


@given(windows=windows(), kind=st.sampled_from(SCALER_KINDS))
def test_training_windows_stay_finite(windows: NDArray[np.float32], kind: str) -> None:
    scaled = fit_scaler(kind, windows).transform(windows)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()


@given(windows=windows())
def test_min_max_brings_training_windows_into_0_to_1(windows: NDArray[np.float32]) -> None:
    scaled = fit_scaler("min-max", windows).transform(windows)
    assert scaled.min() >= 0
    assert scaled.max() <= 1 + 1e-6


@given(windows=windows(), kind=st.sampled_from(SCALER_KINDS), row=st.integers(0, 3))
def test_scaling_a_window_does_not_depend_on_the_others(
    windows: NDArray[np.float32], kind: str, row: int
) -> None:
    scaler, at = fit_scaler(kind, windows), row % len(windows)
    alone = scaler.transform(windows[at : at + 1])
    assert alone.tobytes() == scaler.transform(windows)[at].tobytes()


@given(windows=windows())
def test_larger_stays_larger(windows: NDArray[np.float32]) -> None:
    scaled = fit_scaler("standard", windows).transform(windows)
    for feature in range(windows.shape[2]):
        order = np.argsort(windows[..., feature].ravel(), kind="stable")
        assert (np.diff(scaled[..., feature].ravel()[order]) >= 0).all()


@given(errors=ERRORS, quantile=st.floats(0.01, 0.99))
def test_a_quantile_keeps_its_share_normal(errors: NDArray[np.float64], quantile: float) -> None:
    threshold = QuantileThreshold(quantile).fit(plain(errors))
    assert threshold in errors or threshold == THRESHOLD_MIN
    assert (errors <= threshold).mean() >= quantile - 1e-9


@given(errors=ERRORS, sigmas=st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_more_sigmas_never_lower_the_threshold(
    errors: NDArray[np.float64], sigmas: tuple[float, float]
) -> None:
    low, high = (SigmaThreshold(each).fit(plain(errors)) for each in sorted(sigmas))
    assert THRESHOLD_MIN <= low <= high


@given(errors=ERRORS, n_mads=st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_more_deviations_never_lower_the_threshold(
    errors: NDArray[np.float64], n_mads: tuple[float, float]
) -> None:
    low, high = (LogMadThreshold(each).fit(plain(errors)) for each in sorted(n_mads))
    assert THRESHOLD_MIN <= low <= high


@given(errors=ERRORS, factor=st.floats(0.1, 10))
def test_a_larger_signal_has_a_log_mad_threshold_larger_by_as_much(
    errors: NDArray[np.float64], factor: float
) -> None:
    errors = errors + 1e-3
    one, other = (LogMadThreshold(5.0).fit(plain(e)) for e in (errors, factor * errors))
    assert other == pytest.approx(factor * one, rel=1e-6)


@given(errors=ERRORS, order=st.randoms(use_true_random=False))
def test_a_quantile_does_not_depend_on_the_order(errors: NDArray[np.float64], order: Any) -> None:
    shuffled = errors.tolist()
    order.shuffle(shuffled)
    one, other = (QuantileThreshold(0.9).fit(plain(each)) for each in (errors, np.array(shuffled)))
    assert one == other


@given(labelled=LABELLED, threshold=st.sampled_from([0.25, 0.5, 1.0, 7.0]))
def test_figures_are_those_of_a_plain_count(
    labelled: list[tuple[float, int]], threshold: float
) -> None:
    errors, labels = columns(labelled)
    pairs = [(error > threshold, label == 1) for error, label in labelled]
    n_hits, n_judged = pairs.count((True, True)), sum(judged for judged, _ in pairs)
    found = evaluate(errors, labels, threshold)
    assert found.accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    expected = n_hits / n_judged if n_judged else float("nan")
    assert found.precision == pytest.approx(expected, nan_ok=True)
    assert found.n_anomalous == int(labels.sum())


@given(labelled=LABELLED)
def test_the_area_is_the_chance_of_a_right_order(labelled: list[tuple[float, int]]) -> None:
    errors, labels = columns(labelled)
    wins = [
        1.0 if anomalous > normal else 0.5 if anomalous == normal else 0.0
        for anomalous in errors[labels == 1]
        for normal in errors[labels == 0]
    ]
    expected = sum(wins) / len(wins) if wins else float("nan")
    assert auroc(errors, labels) == pytest.approx(expected, nan_ok=True)


@given(labelled=LABELLED)
def test_the_area_of_opposite_labels_is_what_is_left(labelled: list[tuple[float, int]]) -> None:
    errors, labels = columns(labelled)
    area, opposite = auroc(errors, labels), auroc(errors, (1 - labels).astype(np.int8))
    assert area == pytest.approx(1 - opposite, nan_ok=True)
