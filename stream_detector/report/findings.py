"""Hold what a report shows: scored, labelled windows, and which of them to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.core.evaluation import Evaluation
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.reconstruction import Reconstruct
from stream_detector.core.scoring.reconstruction_error import value_errors
from stream_detector.datasets import Dataset

Rows = NDArray[np.intp]
"""Indices of windows in the test part, from 0."""


class Redrawn(NamedTuple):
    """Windows and their reconstructions.

    Parameters
    ----------
    windows, reconstructions
        Float64, shape (n_windows, n_steps, n_features), unit: the signal's.
    feature_errors
        Mean error of each feature, shape (n_windows, n_features), unit: the bundle's error.
    """

    windows: NDArray[np.float64]
    reconstructions: NDArray[np.float64]
    feature_errors: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Labelled windows as a bundle scored them.

    Parameters
    ----------
    bundle
        The bundle.
    where
        Name of the data set, for the title.
    windows
        Float32, shape (n_windows, n_steps, n_features), n_windows >= 1, as the scorer takes them.
    labels
        0 normal, 1 anomalous, shape (n_windows,).
    errors
        Reconstruction errors, shape (n_windows,), finite.
    evaluation
        The figures: accuracy, precision and so on.
    reconstruct
        The engine that gave the errors.
    keys, start_ms
        Key and start of each window; None where the data have none.
    latent
        Latent codes, shape (n_windows, n_latent); None where the network has no encoder of its own.
    history
        Name of a curve -> its value after each epoch of training; empty where unknown.
    trained_on
        The windows that the bundle was trained on; None where they are not at hand.
    """

    bundle: Bundle
    where: str
    windows: FloatArray
    labels: NDArray[np.int8]
    errors: NDArray[np.float64]
    evaluation: Evaluation
    reconstruct: Reconstruct
    keys: tuple[str, ...] | None = None
    start_ms: NDArray[np.int64] | None = None
    latent: FloatArray | None = None
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    trained_on: Dataset | None = None

    @property
    def threshold(self) -> float:
        """Return the error above which a window is anomalous."""
        return self.evaluation.threshold

    @property
    def is_anomalous(self) -> NDArray[np.bool_]:
        """Return which windows are scored as anomalous, shape (n_windows,)."""
        found: NDArray[np.bool_] = self.errors > self.threshold
        return found

    @property
    def is_image(self) -> bool:
        """Whether a window is an image."""
        return self.bundle.manifest.recipe.window.record == "image"

    def of_class(self, label: int) -> Rows:
        """Return the windows with a label, the smallest error first."""
        order = np.argsort(self.errors, kind="stable")
        rows: Rows = order[self.labels[order] == label]
        return rows

    def typical(self, label: int) -> Rows:
        """Return the window with the median error of a class; empty if the class has no windows."""
        rows = self.of_class(label)
        return rows[len(rows) // 2 :][:1]

    def examples(self, label: int, n_max: int) -> Rows:
        """Return windows of a class, evenly spaced from its smallest error to its largest."""
        rows = self.of_class(label)
        places = np.linspace(0, len(rows) - 1, min(n_max, len(rows)))
        return rows[np.rint(places).astype(np.intp)]

    def worst_misses(self, n_max: int) -> Rows:
        """Return anomalous windows scored as normal, the smallest error first."""
        rows = self.of_class(1)
        return self._without_overlaps(rows[~self.is_anomalous[rows]], n_max)

    def worst_false_alarms(self, n_max: int) -> Rows:
        """Return normal windows scored as anomalous, the largest error first."""
        rows = self.of_class(0)[::-1]
        return self._without_overlaps(rows[self.is_anomalous[rows]], n_max)

    def _without_overlaps(self, rows: Rows, n_max: int) -> Rows:
        """Return the first windows, leaving out each that overlaps one already chosen."""
        window = self.bundle.manifest.recipe.window
        if window.record != "samples" or self.start_ms is None or self.keys is None:
            return rows[:n_max]
        span_ms = self.bundle.manifest.recipe.rules.span_ms
        chosen: list[int] = []
        for row in rows.tolist():
            if len(chosen) == n_max:
                break
            if all(
                self.keys[row] != self.keys[other]
                or abs(self.start_ms[row] - self.start_ms[other]) > span_ms
                for other in chosen
            ):
                chosen.append(row)
        return np.array(chosen, dtype=np.intp)

    def sentences(self, rows: Rows) -> list[str]:
        """Return of each window at some indices, in one sentence, what is unusual about it."""
        bundle, features = self.bundle, self.bundle.features
        found = bundle.scorer(self.reconstruct).score(self.windows[rows])
        sentences = []
        for place, row in enumerate(rows.tolist()):
            start_ms = 0 if self.start_ms is None else int(self.start_ms[row])
            key = b"" if self.keys is None else self.keys[row].encode(errors="replace")
            context = WindowContext(start_ms, bundle.manifest.recipe.window.sample_interval_ms)
            finding = found.explain(place, context).described(features, features.units_of(key))
            sentences.append(finding.explanation.sentence)
        return sentences

    def redraw(self, rows: Rows) -> Redrawn:
        """Return the windows at some indices with their reconstructions."""
        scaler, features = self.bundle.scaler, self.bundle.features
        windows = self.windows[rows]
        scaled = scaler.transform(windows)
        made = self.reconstruct(scaled)
        errors = value_errors(scaled, made, self.bundle.manifest.threshold.error)
        keys = None if self.keys is None else [self.keys[row] for row in rows.tolist()]
        return Redrawn(
            features.from_key_units(windows.astype(np.float64), keys),
            features.from_key_units(scaler.inverse(made, windows), keys),
            errors.mean(axis=1, dtype=np.float64),  # (n_windows, n_features)
        )


def principal_components(latent: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latent codes projected on the two directions in which they vary most.

    Parameters
    ----------
    latent
        Shape (n_windows, n_latent), n_latent >= 2, finite.

    Returns
    -------
    Points of shape (n_windows, 2), and the share of the variance along each direction, in [0, 1].
    The largest component of a direction is positive, so that its sign is determined.

    Examples
    --------
    >>> points, shares = principal_components(np.float32([[0, 0], [3, 0], [0, 1], [3, 1]]))
    >>> points.round(2).tolist()
    [[-1.5, -0.5], [1.5, -0.5], [-1.5, 0.5], [1.5, 0.5]]
    >>> shares.round(2).tolist()
    [0.9, 0.1]
    """
    centred = latent.astype(np.float64) - latent.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    chosen = directions[:, :-3:-1]  # (n_latent, 2)
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(axis=0)[np.newaxis], axis=0)
    shares = np.clip(variances[:-3:-1], 0, None) / max(
        variances.clip(0).sum(), np.finfo(float).tiny
    )
    return centred @ (chosen * np.sign(largest)), shares
