"""How good scores are against labels.

Pure: errors and labels in, figures out. Precision and recall depend on which
class is called positive, so that class is always named beside them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PositiveClass = Literal["normal", "anomaly"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one set of scored, labelled windows.

    Parameters
    ----------
    n_windows, n_anomalous
        How many windows, and how many of them are labelled anomalous.
    threshold
        Error level used, unit of the errors.
    accuracy
        Share of windows judged as labelled, [0, 1].
    positive_class
        What precision, recall and f1 speak of.
    precision, recall, f1
        Of the positive class, [0, 1]; NaN where there is nothing to divide by.
    auroc
        Chance that an anomalous window has a higher error than a normal one, ties counted
        half, [0, 1]; free of the threshold and of the positive class. NaN with one class only.
    normal_error, anomalous_error
        Mean error of the windows labelled so, unit of the errors; NaN where there are none.
    denoised_error
        Mean error of what is made of normal windows with noise, against those without, same unit;
        NaN where the network was fitted without noise.
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
        """Return the figures by name, NaN as None, ready for JSON."""
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
    """Compare errors with labels.

    Parameters
    ----------
    errors
        Reconstruction errors, shape (n_windows,), n_windows >= 1, finite.
    labels
        0 normal, 1 anomalous, shape (n_windows,).
    threshold
        Anomalous iff error > threshold.
    positive_class
        Which class precision and recall speak of.

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
    is_judged = (errors > threshold) == (positive_class == "anomaly")  # (n_windows,)
    n_hits = int((is_labelled & is_judged).sum())
    precision = _share(n_hits, int(is_judged.sum()))
    recall = _share(n_hits, int(is_labelled.sum()))
    return Evaluation(
        n_windows=int(errors.size),
        n_anomalous=int((labels == 1).sum()),
        threshold=float(threshold),
        accuracy=float((is_labelled == is_judged).mean()),
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
    """Return the lines of a table of figures.

    Parameters
    ----------
    figures
        As `Evaluation.as_dict` gives them.
    published
        What others found, by the same names; may be empty.

    Returns
    -------
    Name, measured and published value of each; the name says which class is the positive one
    where that matters, and a value that there is not is None.
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

    Computed as the Mann-Whitney rank statistic, which equals the area under the curve that
    scikit-learn's `roc_auc_score` integrates; a test compares the two. Parameters as in
    `evaluate`.
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
    """Return part / whole, NaN where there is no whole."""
    return part / whole if whole else float("nan")


def _mean(errors: NDArray[np.float64]) -> float:
    """Return the mean, NaN where there is nothing."""
    return float(errors.mean()) if errors.size else float("nan")
