"""Metrics of scored, labelled windows.

Pure: errors and labels in, metrics out. Precision and recall depend on which class is the positive
one, so every table names that class beside them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PositiveClass = Literal["normal", "anomaly"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of one set of scored, labelled windows.

    Parameters
    ----------
    n_windows, n_anomalous
        Number of windows, and of those labelled anomalous.
    threshold
        Threshold that the errors were compared with, unit of the errors.
    accuracy
        Share of windows whose verdict equals the label, [0, 1].
    positive_class
        Class that precision, recall and F1 refer to.
    precision, recall, f1
        Precision, recall and F1 of the positive class, [0, 1]; NaN where the denominator is 0.
    auroc
        Probability that an anomalous window has a higher error than a normal one, ties counted
        half, [0, 1]. It depends neither on the threshold nor on the positive class. NaN with one
        class only.
    normal_error, anomalous_error
        Mean error of the normal and of the anomalous windows, unit of the errors; NaN where there
        are none.
    denoised_error
        Mean error between normal windows and the reconstructions of the same windows with noise,
        same unit; NaN if the network was fitted without noise.
    """

    n_windows: int
    n_anomalous: int
    threshold: float
    accuracy: float
    positive_class: PositiveClass
    precision: float
    recall: float
    f1: float
    auroc: float
    normal_error: float
    anomalous_error: float
    denoised_error: float = float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics by name, NaN as None, ready for JSON."""
        return {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in asdict(self).items()
        }


def evaluate(
    errors: NDArray[np.float64],
    labels: NDArray[np.int8],
    threshold: float,
    positive_class: PositiveClass = "anomaly",
) -> Evaluation:
    """Compute the metrics of errors against labels.

    Parameters
    ----------
    errors
        Reconstruction errors, shape (n_windows,), n_windows >= 1, finite.
    labels
        0 normal, 1 anomalous, shape (n_windows,).
    threshold
        Anomalous iff error > threshold.
    positive_class
        Class that precision and recall refer to.

    Raises
    ------
    ValueError
        If shapes differ, there are no windows, or a label is neither 0 nor 1.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1], dtype=np.int8)
    >>> evaluate(np.array([0.1, 0.4, 0.3, 0.9]), labels, 0.35).auroc
    0.75
    """
    if errors.shape != labels.shape or errors.size == 0:
        message = f"errors {errors.shape} and labels {labels.shape}: expected one label a window"
        raise ValueError(message)
    if not np.isin(labels, (0, 1)).all():
        message = f"labels: expected 0 (normal) or 1 (anomalous), received {np.unique(labels)}"
        raise ValueError(message)
    is_labelled = labels == (1 if positive_class == "anomaly" else 0)  # (n_windows,)
    is_predicted = (errors > threshold) == (positive_class == "anomaly")  # (n_windows,)
    n_hits = int((is_labelled & is_predicted).sum())
    precision = _share(n_hits, int(is_predicted.sum()))
    recall = _share(n_hits, int(is_labelled.sum()))
    return Evaluation(
        n_windows=int(errors.size),
        n_anomalous=int((labels == 1).sum()),
        threshold=float(threshold),
        accuracy=float((is_labelled == is_predicted).mean()),
        positive_class=positive_class,
        precision=precision,
        recall=recall,
        f1=_share(2 * precision * recall, precision + recall),
        auroc=auroc(errors, labels),
        normal_error=_mean(errors[labels == 0]),
        anomalous_error=_mean(errors[labels == 1]),
    )


def figure_rows(
    figures: Mapping[str, Any], published: Mapping[str, float]
) -> list[tuple[str, Any, float | None]]:
    """Return the rows of a table of metrics.

    Parameters
    ----------
    figures
        The result of `Evaluation.as_dict`.
    published
        Published values by the same names; may be empty.

    Returns
    -------
    Name, measured and published value of each. The names of precision, recall and F1 include the
    positive class. A missing value is None.
    """
    positive = f"{figures['positive_class']} is positive"
    left_out = {"positive_class"}
    if figures["denoised_error"] is None:
        left_out.add("denoised_error")
    names = [name for name in Evaluation.__dataclass_fields__ if name not in left_out]
    return [
        (
            f"{name} ({positive})" if name in ("precision", "recall", "f1") else name,
            figures[name],
            published.get(name),
        )
        for name in names
    ]


def auroc(errors: NDArray[np.float64], labels: NDArray[np.int8]) -> float:
    """Return the area under the receiver operating characteristic, NaN with one class only.

    It is computed as the Mann-Whitney rank statistic, which equals the area under the curve that
    scikit-learn's `roc_auc_score` integrates; a test compares the two. `evaluate` describes the
    parameters.
    """
    n_anomalous = int((labels == 1).sum())
    n_normal = labels.size - n_anomalous
    if n_anomalous == 0 or n_normal == 0:
        return float("nan")
    _, position, n_equal = np.unique(errors, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(n_equal)
    ranks = (last_rank - (n_equal - 1) / 2)[position]  # (n_windows,), from 1, ties averaged
    rank_sum = ranks[labels == 1].sum()
    return float((rank_sum - n_anomalous * (n_anomalous + 1) / 2) / (n_anomalous * n_normal))


def _share(part: float, whole: float) -> float:
    """Return part / whole, NaN if the whole is 0."""
    return part / whole if whole else float("nan")


def _mean(errors: NDArray[np.float64]) -> float:
    """Return the mean, NaN if there are no errors."""
    return float(errors.mean()) if errors.size else float("nan")
