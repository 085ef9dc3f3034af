"""The first scorer: how far a network's reconstruction is from its window.

Pure, with a network that is: the same windows give the same scores, bit for bit.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.explanation import (
    Explanation,
    WindowContext,
    WindowEvidence,
    explain,
)
from stream_detector.core.scoring.image_explanation import explain_image
from stream_detector.core.scoring.reconstruction_error import (
    ErrorKind,
    errors_by_feature,
    mean_errors,
    value_errors,
    window_errors,
)
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import (
    SCALED_MAX,
    CountFeatures,
    Finding,
    ScoreParts,
    WindowScores,
)
from stream_detector.errors import NonFiniteScoreError


class Reconstruct(Protocol):
    """Windows in, reconstructions out: a loaded network."""

    def __call__(self, windows: FloatArray, /) -> FloatArray:
        """Reconstruct scaled windows.

        Parameters
        ----------
        windows
            Float32, C-contiguous, shape (n_windows, n_steps, n_features), n_windows >= 0.

        Returns
        -------
        The same shape and type. The result for a window does not depend, in any bit, on
        what else is in the batch.

        Raises
        ------
        ValueError
            If type or shape is another: a caller's mistake, never bad data.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReconstructionScorer:
    """Scores a window by its reconstruction error.

    Parameters
    ----------
    reconstruct
        The loaded network.
    scaler
        Brings windows to the range the network knows.
    error_kind
        How the distance between a window and its reconstruction is measured.
    threshold
        Anomalous iff error > threshold; above zero.
    bundle
        Name and version, for messages.
    image
        What each window is an image of; None where windows are signal.
    normal_errors
        Median of `feature_errors` over normal windows, for explanations, shape (n_features,); None
        where it is not known.
    """

    reconstruct: Reconstruct
    scaler: Scaler
    error_kind: ErrorKind
    threshold: float
    bundle: BundleReference
    image: ImageShape | None = None
    normal_errors: NDArray[np.float64] | None = None

    @property
    def score_kind(self) -> str:
        """Return the kind of the reconstruction error, which is the score."""
        return self.error_kind

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values are finite and, scaled, within `SCALED_MAX`; see `Scorer`."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self.scaler.linear(values)
            is_in_range: NDArray[np.bool_] = np.abs(scaled) <= SCALED_MAX  # NaN compares False
        return is_in_range

    def score(self, windows: FloatArray) -> WindowScores:
        """Return the reconstruction errors of windows; see `Scorer`.

        Raises
        ------
        NonFiniteScoreError
            If the network gives a non-finite result for a finite window.
        """
        scaled, reconstructions = self.reconstruct_windows(windows)
        errors = window_errors(scaled, reconstructions, self.error_kind)  # (n_windows,)
        self.require_finite(errors)

        def explain_window(index: int, context: WindowContext) -> Finding:
            evidence = WindowEvidence(
                windows[index], scaled[index], reconstructions[index], *context
            )
            return Finding(self._explain(evidence), reconstruction_error=float(errors[index]))

        def restrict(rows: NDArray[np.intp], count: CountFeatures) -> WindowScores:
            parts = (windows[rows], scaled[rows], reconstructions[rows])
            return self._restricted(*parts, count)

        def parts() -> ScoreParts:
            return _parts_of(value_errors(scaled, reconstructions, self.error_kind))

        return WindowScores(errors, explain_window, restrict, parts)

    def _restricted(
        self,
        windows: FloatArray,
        scaled: FloatArray,
        reconstructions: FloatArray,
        count: CountFeatures,
    ) -> WindowScores:
        """Return the scores of windows from the features alone that count."""
        expected = self.scaler.inverse(reconstructions, windows)
        counts = count(windows, expected)  # (n_windows, n_features)
        errors = value_errors(scaled, reconstructions, self.error_kind)
        left = np.where(counts[:, np.newaxis], errors, np.minimum(errors, np.float32(0)))
        scores = mean_errors(left)  # (n_windows,)

        def explain_window(index: int, context: WindowContext) -> Finding:
            evidence = WindowEvidence(
                windows[index], scaled[index], reconstructions[index], *context, counts[index]
            )
            error = float(mean_errors(errors[index : index + 1])[0])
            return Finding(self._explain(evidence), reconstruction_error=error)

        return WindowScores(scores, explain_window, parts=lambda: _parts_of(left))

    def reconstruct_windows(self, windows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return windows as the network sees them, and as it reconstructs them.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), unit: the signal's.

        Returns
        -------
        Two arrays of the same shape, without unit.
        """
        scaled = self.scaler.transform(windows)  # (n_windows, n_steps, n_features)
        return scaled, self.reconstruct(scaled)

    def require_finite(self, scores: NDArray[np.float64]) -> None:
        """Refuse scores of finite windows that are not finite.

        Raises
        ------
        NonFiniteScoreError
            Naming the bundle.
        """
        if not np.isfinite(scores).all():
            message = (
                f"bundle {self.bundle.name} {self.bundle.version} gave a non-finite error for "
                f"{int((~np.isfinite(scores)).sum())} of {len(scores)} finite windows; it cannot "
                "be trusted: train it again and check its input range"
            )
            raise NonFiniteScoreError(message)

    def _explain(self, evidence: WindowEvidence) -> Explanation:
        """Say where the error of one window lies."""
        if self.image is not None:
            return explain_image(evidence, self.image, self.error_kind)
        return explain(evidence, self.scaler, self.error_kind, self.normal_errors)


def _parts_of(errors: FloatArray) -> ScoreParts:
    """Return what scores are made of, from the error of each value; see `value_errors`."""
    return ScoreParts((), np.empty((len(errors), 0)), errors_by_feature(errors))
