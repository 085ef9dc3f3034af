"""A second scorer: how far a window is from the nearest of some stored windows.

It stands for whatever somebody may plug in. Nothing in `core`, `service` or `cli` knows of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    WindowContext,
)
from stream_detector.core.scoring.scorer import Finding, WindowScores


@dataclass(frozen=True, slots=True, eq=False)
class NearestScorer:
    """Scores a window by its mean absolute distance to the nearest stored window.

    Parameters
    ----------
    stored
        Normal windows, float32, shape (n_stored, n_steps, n_features), n_stored >= 1.
    threshold
        Anomalous iff distance > threshold.
    """

    stored: FloatArray
    threshold: float

    @property
    def score_kind(self) -> str:
        """Return what the score is."""
        return "distance"

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values are finite and not absurd."""
        is_in_range: NDArray[np.bool_] = np.abs(values) <= 1e12  # NaN compares False
        return is_in_range

    def score(self, windows: FloatArray) -> WindowScores:
        """Return the distances, shape (n_windows,)."""
        distances = np.empty((len(windows), len(self.stored)))  # (n_windows, n_stored)
        for column, known in enumerate(self.stored):
            flat = np.abs(windows - known).reshape(len(windows), known.size)
            distances[:, column] = flat.mean(axis=1)
        nearest = distances.argmin(axis=1)  # (n_windows,)

        def explain(index: int, context: WindowContext) -> Finding:
            return Finding(self._explain(windows[index], self.stored[nearest[index]], context))

        return WindowScores(distances.min(axis=1, initial=np.inf), explain)

    def _explain(
        self, window: FloatArray, known: FloatArray, context: WindowContext
    ) -> Explanation:
        """Say which feature differs most from the nearest window, and what that one holds."""
        gaps = np.abs(window - known).mean(axis=0, dtype=np.float64)  # (n_features,)
        shares = (gaps / max(gaps.sum(), 1e-300)).tolist()
        worst = int(gaps.argmax())
        steps = np.arange(len(window)) * context.sample_interval_ms
        times_ms = tuple(np.rint(context.start_ms + steps).astype(np.int64).tolist())
        feature = FeatureExplanation(
            feature=worst,
            share=shares[worst],
            expected=tuple(known[:, worst].tolist()),
            observed=tuple(window[:, worst].tolist()),
        )
        return Explanation(
            worst_start_ms=times_ms[0],
            worst_end_ms=times_ms[-1],
            features=(feature,),
            shares=tuple(shares),
            times_ms=times_ms,
            imputed_share=0.0 if context.imputed is None else float(context.imputed.mean()),
            n_gaps=0,
        )
