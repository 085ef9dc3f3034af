"""Figures against labels: worked by hand, and the area under the curve against scikit-learn's."""

import numpy as np
import pytest

from stream_detector.core.evaluation import auroc, evaluate

ERRORS = np.array([0.1, 0.5, 0.6, 0.2, 0.7, 0.9])
LABELS = np.array([0, 0, 0, 1, 1, 1], dtype=np.int8)


@pytest.mark.parametrize(
    ("positive_class", "precision", "recall"),
    [("anomaly", 2 / 3, 2 / 3), ("normal", 2 / 3, 2 / 3)],
)
def test_figures_speak_of_the_positive_class(
    positive_class: str, precision: float, recall: float
) -> None:
    found = evaluate(ERRORS, LABELS, 0.5, positive_class)  # type: ignore[arg-type]
    assert (found.n_windows, found.n_anomalous, found.threshold) == (6, 3, 0.5)
    assert found.positive_class == positive_class
    assert found.accuracy == 4 / 6
    assert (found.precision, found.recall) == (precision, recall)
    assert found.f1 == pytest.approx(2 / 3)


def test_the_two_classes_have_figures_of_their_own() -> None:
    errors, labels = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 1, 1, 1], dtype=np.int8)
    anomaly, normal = evaluate(errors, labels, 2.0), evaluate(errors, labels, 2.0, "normal")
    assert (anomaly.precision, anomaly.recall, anomaly.f1) == (1.0, 2 / 3, 0.8)
    assert (normal.precision, normal.recall, normal.f1) == (0.5, 1.0, 2 / 3)
    assert anomaly.auroc == normal.auroc == 5 / 6


def test_an_error_equal_to_the_threshold_is_normal() -> None:
    labels = np.array([0, 1], dtype=np.int8)
    assert evaluate(np.array([0.5, 0.5]), labels, 0.5).recall == 0.0
    assert evaluate(np.array([0.5, np.nextafter(0.5, 1)]), labels, 0.5).accuracy == 1.0


def test_nothing_to_divide_by_is_nan_and_null_in_json() -> None:
    found = evaluate(np.array([0.1, 0.2]), np.zeros(2, dtype=np.int8), 0.5)
    for value in (found.precision, found.recall, found.f1, found.auroc, found.anomalous_error):
        assert np.isnan(value)
    figures = found.as_dict()
    assert figures["accuracy"] == 1.0
    assert [name for name, value in figures.items() if value is None] == [
        "precision",
        "recall",
        "f1",
        "auroc",
        "anomalous_error",
        "denoised_error",
    ]


def test_each_class_has_its_mean_error() -> None:
    found = evaluate(ERRORS, LABELS, 0.5)
    assert found.normal_error == pytest.approx(0.4)
    assert found.anomalous_error == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("errors", "area"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([1, 1, 1, 1], 0.5), ([1, 3, 2, 4], 0.75)],
)
def test_the_area_counts_ties_half(errors: list[float], area: float) -> None:
    assert auroc(np.array(errors, dtype=float), np.array([0, 0, 1, 1], dtype=np.int8)) == area


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_scikit_learn_s(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    labels = (random.random(500) < 0.2).astype(np.int8)
    errors = np.round(random.random(500) + 0.3 * labels, 2).astype(np.float64)
    assert auroc(errors, labels) == pytest.approx(metrics.roc_auc_score(labels, errors), abs=1e-12)


@pytest.mark.parametrize(
    ("errors", "labels", "words"),
    [
        ([], [], "expected one label a window"),
        ([1.0, 2.0], [0], "expected one label a window"),
        ([1.0, 2.0], [0, 2], r"received \[0 2\]"),
        ([1.0, 2.0], [-1, 1], r"received \[-1  1\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    errors: list[float], labels: list[int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(np.array(errors), np.array(labels, dtype=np.int8), 0.5)
