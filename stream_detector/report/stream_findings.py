"""Hold what a report on samples shows: the samples, their scores, faults and alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.core.features import to_float32
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.stream_evaluation import AlertSpan, LabelledEvent
from stream_detector.datasets import Dataset
from stream_detector.datasets.windowing import cut_samples
from stream_detector.evaluation.figures import StreamFigures
from stream_detector.evaluation.offline import PointScores, StreamRun, spans_of
from stream_detector.evaluation.sweep import Level


class KeyWindows(NamedTuple):
    """Windows of a key.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), unit: the signal's, without the origin.
    anomaly_scores
        Score / threshold, shape (n_windows,).
    labels
        1 if any sample of the window has the label 1, shape (n_windows,); None without labels.
    """

    windows: FloatArray
    anomaly_scores: NDArray[np.float64]
    labels: NDArray[np.int8] | None


@dataclass(frozen=True, eq=False)
class StreamFindings:
    """Samples as the detector of a bundle judged them.

    Parameters
    ----------
    bundle
        The bundle.
    where
        Name of the data, for the title.
    samples
        The samples.
    run, scores
        The run over them, and the scores of the samples.
    figures
        What was measured.
    levels
        What other thresholds would give.
    history
        Name of a curve -> its value after each epoch of training; empty where unknown.
    trained_on
        The windows that the bundle was trained on; None where they are not at hand.
    """

    bundle: Bundle
    where: str
    samples: Samples
    run: StreamRun
    scores: PointScores
    figures: StreamFigures
    levels: Sequence[Level] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    trained_on: Dataset | None = None

    @property
    def events(self) -> Sequence[LabelledEvent] | None:
        """Return the faults, None without labels."""
        return self.figures.events

    @cached_property
    def false_alarms(self) -> frozenset[AlertSpan]:
        """Return the alerts that overlap no fault; without labels, all of them."""
        return frozenset(self.figures.false_alarms)

    @cached_property
    def spans_ms(self) -> dict[str, tuple[float, float]]:
        """Return times of the first and the last sample of each key."""
        return spans_of(self.samples)

    def rows_of(self, key: str) -> NDArray[np.intp]:
        """Return the rows of a key in the order of time."""
        rows = np.flatnonzero(self.samples.series == self.samples.keys.index(key))
        return rows[np.argsort(self.samples.times_ms[rows], kind="stable")]

    def windows_of(self, key: str) -> "KeyWindows":
        """Return the windows of a key that have a score, cut from its samples once more."""
        samples, bundle = self.samples, self.bundle
        rows, features = self.rows_of(key), bundle.features
        labels = None if samples.labels is None else samples.labels[rows]
        values = to_float32(samples.values[rows], features.origin)
        nothing = np.zeros(len(rows), np.intp)
        own = Samples((key,), nothing, samples.times_ms[rows], values, labels)
        cut = cut_samples(own, bundle.manifest.recipe.rules)
        of_key = samples.series[self.run.rows] == samples.keys.index(key)  # (n_windows,)
        scores = dict(
            zip(self.run.start_ms[of_key].tolist(), self.run.scores[of_key].tolist(), strict=True)
        )
        found = np.array([scores.get(start_ms, np.nan) for start_ms in cut.start_ms.tolist()])
        scored = np.flatnonzero(~np.isnan(found))
        return KeyWindows(
            cut.windows[scored],
            found[scored] / self.run.threshold,
            None if cut.labels is None else cut.labels[scored],
        )

    def events_of(self, key: str) -> list[LabelledEvent]:
        """Return the faults of a key."""
        return [event for event in self.events or () if event.key == key]

    def alerts_of(self, key: str) -> list[AlertSpan]:
        """Return the alerts of a key, without those about its silence."""
        return [alert for alert in self.run.judged if alert.key == key]

    def keys_shown(self, n_max: int) -> list[str]:
        """Return the keys with the most faults and then alerts, in their own order."""
        order = sorted(
            self.spans_ms, key=lambda key: (-len(self.events_of(key)), -len(self.alerts_of(key)))
        )
        chosen = set(order[:n_max])
        return [key for key in self.spans_ms if key in chosen]
