"""The scorer that looks at a window in several calibrated ways; see `checks`.

Pure, with a network that is: the same windows give the same scores, bit for bit.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import Looks
from stream_detector.core.scoring.explanation import (
    N_UNRELIABLE_MAX,
    Explanation,
    UnreliableFeature,
    WindowContext,
    WindowEvidence,
    explain_span,
    worst_span,
)
from stream_detector.core.scoring.image_explanation import explain_image
from stream_detector.core.scoring.look_facts import course_facts, facts_of
from stream_detector.core.scoring.members import Members, member_errors
from stream_detector.core.scoring.normal_scores import NormalScores
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import value_errors
from stream_detector.core.scoring.rhythm import RhythmCheck, RhythmLimits
from stream_detector.core.scoring.scorer import Finding, WindowScores
from stream_detector.core.scoring.sentences import CheckFacts
from stream_detector.core.scoring.statistics import LOG_FLOOR, WindowView

_OF_ERRORS = frozenset(("members", "error", "max_error"))
"""Numbers that the network's errors decide."""

_OF_COURSE, _OF_PEAK = (
    frozenset(("members", "course", "error")),
    frozenset(("max_error", "max_step", "max_deviation")),
)
"""Numbers that a few steps decide; the others are of all steps that were looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Checks:
    """The calibrated checks of a bundle.

    Parameters
    ----------
    n_short, n_peak
        Steps of a short look, and of a peak; see `WindowView`.
    members
        What the check `shape` is made of.
    looks
        How each number of a window is judged.
    normal
        What normal windows scored.
    rhythm
        When peaks come normally; None where the recipe has no check `rhythm`. It is not the
        scorer's, which sees windows alone: see `rhythm_check`.
    """

    n_short: int
    n_peak: int
    members: Members
    looks: Looks
    normal: NormalScores
    rhythm: RhythmLimits | None = None

    @property
    def rhythm_check(self) -> RhythmCheck | None:
        """Return what looks at when peaks came; None where nothing does."""
        return None if self.rhythm is None else RhythmCheck(self.rhythm, self.normal)


class _Looked(NamedTuple):
    """Windows that were scored, and all that explains them; see `member_errors` and `Looks`."""

    windows: FloatArray
    reconstructions: FloatArray
    view: WindowView
    errors: NDArray[np.float64]
    ratios: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CheckScorer:
    """Scores a window by its most anomalous look.

    Parameters
    ----------
    network
        Scales and reconstructs windows; its own threshold is not used.
    checks
        What is looked at, and how far from normal it may be.
    """

    network: ReconstructionScorer
    checks: Checks

    @property
    def threshold(self) -> float:
        """Return 1: every look is in units in which it is anomalous from there on."""
        return 1.0

    @property
    def score_kind(self) -> str:
        """Return "checks"."""
        return "checks"

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values are finite and not absurd; see `Scorer`."""
        return self.network.in_range(values)

    def score(self, windows: FloatArray) -> WindowScores:
        """Return the ratio of each window's most anomalous look; see `Scorer`.

        Raises
        ------
        NonFiniteScoreError
            If the network gives a non-finite result for a finite window.
        """
        looked = self._look(windows)
        scores = self.checks.looks.scores(looked.ratios)  # (n_windows,)
        self.network.require_finite(scores)

        def explain_window(index: int, context: WindowContext) -> Finding:
            return self._find(looked, index, context)

        return WindowScores(scores, explain_window)

    def _look(self, windows: FloatArray) -> _Looked:
        """Return the ratios of windows, with what they were computed from."""
        network, checks = self.network, self.checks
        scaled, reconstructions = network.reconstruct_windows(windows)
        errors = value_errors(scaled, reconstructions, network.error_kind)
        view = WindowView(scaled, errors, checks.n_short, checks.n_peak)
        members = checks.members
        of_members = member_errors(members.neighbours, view, members.combine)
        values = checks.looks.values(view, members.join(of_members))
        ratios = checks.looks.ratios(values)  # (n_windows, n_looks)
        return _Looked(windows, reconstructions, view, of_members, ratios)

    def _find(self, looked: _Looked, index: int, context: WindowContext) -> Finding:
        """Say which check found a window anomalous, and where."""
        looks, network = self.checks.looks, self.network
        ratios = looked.ratios[index]  # (n_looks,)
        worst = looks.worst(ratios)
        score = float(looks.scores(looked.ratios[index : index + 1])[0])
        errors = looked.view.errors[index]  # (n_steps, n_features)
        evidence = WindowEvidence(
            looked.windows[index],
            looked.view.scaled[index],
            looked.reconstructions[index],
            *context,
        )
        if network.image is not None:
            explanation, facts = explain_image(evidence, network.image, network.error_kind), None
        else:
            shares = self._shares(ratios, worst, errors)
            span = self._span(worst, errors[:, int(np.argmax(shares))])
            explanation = explain_span(evidence, network.scaler, shares, span)
            facts = self._facts(evidence, explanation, worst, float(ratios[worst]))
        return Finding(
            explanation=replace(explanation, unreliable=self._unreliable(looked, index)),
            reconstruction_error=float(errors.mean(dtype=np.float64)),
            check=looks.checks[worst],
            false_alarms_per_day=self.checks.normal.false_alarms_per_day(score),
            p_value=self.checks.normal.p_value(score),
            facts=facts,
        )

    def _unreliable(self, looked: _Looked, index: int) -> tuple[UnreliableFeature, ...]:
        """Return the features of a window that are not believed, without names."""
        members = self.checks.members
        if members.combine == "together":
            return ()
        (found,) = members.unreliable(looked.errors[index : index + 1])  # (n_features,)
        return tuple(
            UnreliableFeature(feature, "", "noise" if found[feature] > 0 else "off")
            for feature in np.flatnonzero(found)[:N_UNRELIABLE_MAX].tolist()
        )

    def _facts(
        self, evidence: WindowEvidence, explanation: Explanation, worst: int, ratio: float
    ) -> CheckFacts | None:
        """Return what the most anomalous look found, in numbers."""
        looks, scaler = self.checks.looks, self.network.scaler
        if looks.checks[worst] == "shape":
            feature = explanation.features[0].feature
            normal = self._normal_errors()[feature] if self.network.error_kind == "mae" else 0.0
            return course_facts(explanation, float(normal), scaler)
        steps = (self.checks.n_short, self.checks.n_peak)
        return facts_of(looks, worst, ratio, evidence, scaler, steps)

    def _normal_errors(self) -> NDArray[np.float64]:
        """Return the median error of each feature, shape (n_features,), where `shape` looks."""
        looks = self.checks.looks
        is_error = np.array([name == "error" for name in looks.statistics], dtype=np.bool_)
        errors: NDArray[np.float64] = np.exp(looks.middles[is_error]) - LOG_FLOOR
        return errors

    def _shares(self, ratios: NDArray[np.float64], worst: int, errors: FloatArray) -> list[float]:
        """Return how much each feature has to do with it; together 1.

        Where a look is at the signal of one feature, features are compared by their largest ratios
        in such looks of the same check. A network that gets one feature wrong gets others wrong
        too, and those that are easy to reconstruct are then the farthest from normal; so where
        errors decide, the excess of each feature's error over its normal one counts.
        """
        looks, n_features = self.checks.looks, errors.shape[1]
        found = np.zeros(n_features)  # (n_features,)
        if looks.statistics[worst] in _OF_ERRORS:
            found = np.maximum(errors.mean(axis=0, dtype=np.float64) - self._normal_errors(), 0)
        else:
            is_alike = looks.is_of(looks.checks[worst]) & (looks.ranks == looks.ranks[worst])
            rows = np.flatnonzero(is_alike & (looks.features >= 0))
            np.maximum.at(found, looks.features[rows], ratios[rows])
        total = float(found.sum())
        shares: list[float] = (found / total if total else found + 1 / n_features).tolist()
        return shares

    def _span(self, worst: int, errors: NDArray[np.floating]) -> tuple[int, int]:
        """Return the first and the last step that a look is about, both included."""
        name, n_steps, checks = self.checks.looks.statistics[worst], len(errors), self.checks
        if name in _OF_PEAK:
            first, last = worst_span(np.maximum(errors[-checks.n_peak :], 0))
            return n_steps - checks.n_peak + first, n_steps - checks.n_peak + last
        if name in _OF_COURSE:
            return worst_span(np.maximum(errors, 0))
        return (n_steps - checks.n_short if name.startswith("short_") else 0), n_steps - 1
