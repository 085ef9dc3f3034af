"""The scorer that looks at a window in several calibrated ways; see `checks`.

Pure, with a network that is: the same windows give the same scores, bit for bit.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import ALL_FEATURES, JUST_ABOVE, Looks, largest
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
from stream_detector.core.scoring.look_facts import course_facts, facts_of, relation_facts
from stream_detector.core.scoring.members import Members, member_errors
from stream_detector.core.scoring.normal_scores import NormalScores
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import value_errors
from stream_detector.core.scoring.relations import N_SUSPECTS_MAX, Relations, blocks_of, n_blocks
from stream_detector.core.scoring.rhythm import RhythmCheck, RhythmLimits
from stream_detector.core.scoring.scorer import CountFeatures, Finding, WindowScores
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
    relations
        How features belong together; None where the check `relation` judges none.
    """

    n_short: int
    n_peak: int
    members: Members
    looks: Looks
    normal: NormalScores
    rhythm: RhythmLimits | None = None
    relations: Relations | None = None

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

    def some(self, rows: NDArray[np.intp]) -> "_Looked":
        """Return some of the windows."""
        return _Looked(
            self.windows[rows],
            self.reconstructions[rows],
            self.view.some(rows),
            self.errors[rows],
            self.ratios[rows],
        )


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

        def restrict(rows: NDArray[np.intp], count: CountFeatures) -> WindowScores:
            return self._restricted(looked.some(rows), count)

        parts = partial(self.checks.looks.parts, looked.ratios, windows.shape[2])
        return WindowScores(scores, explain_window, restrict, parts)

    def _restricted(self, looked: _Looked, count: CountFeatures) -> WindowScores:
        """Return the scores of windows from the looks alone that are at features that count.

        The look at all features together is left out where one that does not count is farther from
        normal than all that do: of that look nobody knows whose fault it is. Where it is joined
        from looks at single features, those that do not count are taken as normal.
        """
        looks, before, members = self.checks.looks, looked.view, self.checks.members
        expected = self.network.scaler.inverse(looked.reconstructions, looked.windows)
        n_steps, of_steps = expected.shape[1], self._counts(looked, expected, count)
        of_looks = np.stack(
            [
                of_steps[self._n_looked_at(name, n_steps)][:, feature]
                for name, feature in zip(looks.statistics, looks.features.tolist(), strict=True)
            ],
            axis=1,
        )  # (n_windows, n_looks)
        counts = of_steps[n_steps]  # (n_windows, n_features)
        is_together = looks.features == ALL_FEATURES  # (n_looks,)
        kept = largest(np.where(of_looks & ~is_together, looked.ratios, 0))  # (n_windows,)
        gone = largest(np.where(of_looks | is_together, 0, looked.ratios))  # (n_windows,)
        errors_of_members, of_all = looked.errors, looked.ratios
        if members.combine == "together":
            is_kept = (gone <= kept) & counts.any(axis=1)  # (n_windows,)
            of_all = np.where(is_kept[:, np.newaxis], of_all, 0)
        else:
            errors_of_members = members.without(looked.errors, counts)
            joined = members.join(errors_of_members)
            of_all = np.minimum(of_all, looks.ratios(looks.values(before, joined)))
        of_one = np.where(of_looks, looked.ratios, 0)
        ratios = np.where(is_together, of_all, of_one)  # (n_windows, n_looks)
        errors = np.where(counts[:, np.newaxis], before.errors, np.float32(0))
        view = before.with_errors(errors)
        left = _Looked(looked.windows, looked.reconstructions, view, errors_of_members, ratios)

        def explain_window(index: int, context: WindowContext) -> Finding:
            return self._find(left, index, context)

        parts = partial(looks.parts, ratios, counts.shape[1])
        return WindowScores(looks.scores(ratios), explain_window, parts=parts)

    def _counts(
        self, looked: _Looked, expected: NDArray[np.float64], count: CountFeatures
    ) -> dict[int, NDArray[np.bool_]]:
        """Return which features count in so many of the newest steps, (n_windows, n_features) each.

        Where the mean of a feature is out of its limits, the mean and its normal median are what is
        compared, for a network follows a feature that is shifted; else observed and expected values
        are.
        """
        windows, inverse = looked.windows, self.network.scaler.inverse
        n_steps, usual = expected.shape[1], self._usual_values()
        of_values = {
            n: count(windows[:, -n:], expected[:, -n:])
            for n in {n_steps, self.checks.n_short, self.checks.n_peak}
        }
        if usual is None:
            return of_values
        is_mean = self.checks.looks.is_at("mean")
        features = self.checks.looks.features[is_mean]
        is_off = np.zeros((len(windows), len(usual)), dtype=np.bool_)
        for feature, ratios in zip(features, looked.ratios[:, is_mean].T, strict=True):
            is_off[:, feature] |= ratios > 1
        means = inverse(looked.view.mean[:, np.newaxis])  # (n_windows, 1, n_features)
        by_mean = count(means, np.broadcast_to(inverse(usual), means.shape))
        return {n: np.where(is_off, by_mean, counts) for n, counts in of_values.items()}

    def _n_looked_at(self, name: str, n_steps: int) -> int:
        """Return how many of the newest steps a number is of."""
        if name in _OF_PEAK:
            return self.checks.n_peak
        return self.checks.n_short if name.startswith("short_") else n_steps

    def _look(self, windows: FloatArray) -> _Looked:
        """Return the ratios of windows, with what they were computed from."""
        network, checks = self.network, self.checks
        scaled, reconstructions = network.reconstruct_windows(windows)
        errors = value_errors(scaled, reconstructions, network.error_kind)
        view = WindowView(scaled, errors, checks.n_short, checks.n_peak, checks.relations)
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
            shares = self._shares(looked, index, worst)
            feature = int(np.argmax(shares))
            if looks.checks[worst] == "relation":  # the look at the feature that is to blame
                is_alike = looks.is_at(looks.statistics[worst])
                worst = int(np.flatnonzero(is_alike & (looks.features == feature))[0])
            span = self._span(looked.view, index, worst, feature)
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
        relations = self.checks.relations
        if looks.checks[worst] == "relation" and relations is not None:
            n_steps = self._n_looked_at(looks.statistics[worst], len(evidence.window))
            return relation_facts(looks, worst, evidence, scaler, relations, n_steps)
        steps = (self.checks.n_short, self.checks.n_peak)
        return facts_of(looks, worst, ratio, evidence, scaler, steps)

    def _normal_errors(self) -> NDArray[np.float64]:
        """Return the median error of each feature, shape (n_features,), where `shape` looks."""
        looks = self.checks.looks
        errors: NDArray[np.float64] = np.exp(looks.middles[looks.is_at("error")]) - LOG_FLOOR
        return errors

    def _shares(self, looked: _Looked, index: int, worst: int) -> list[float]:
        """Return how much each feature has to do with it; together 1.

        Where a look is at the signal of one feature, features are compared by their largest ratios
        in such looks of the same check; where errors decide and normal ones are known, see
        `_excess`, and where features disagree, `Relations.blame`.
        """
        looks, n_features = self.checks.looks, looked.windows.shape[2]
        if looks.checks[worst] == "relation":
            found = self._blame(looked, index, worst)
        elif looks.statistics[worst] in _OF_ERRORS and looks.is_at("error").any():
            found = self._excess(looked.view.scaled[index], looked.view.errors[index])
        else:
            found = np.zeros(n_features)  # (n_features,)
            is_alike = looks.is_of(looks.checks[worst]) & (looks.ranks == looks.ranks[worst])
            rows = np.flatnonzero(is_alike & (looks.features >= 0))
            np.maximum.at(found, looks.features[rows], looked.ratios[index, rows])
        total = float(found.sum())
        shares: list[float] = (found / total if total else found + 1 / n_features).tolist()
        return shares

    def _blame(self, looked: _Looked, index: int, worst: int) -> NDArray[np.float64]:
        """Return by how much each feature makes those disagree that do, shape (n_features,)."""
        relations, looks = self.checks.relations, self.checks.looks
        ratios, name = looked.ratios[index], looks.statistics[worst]
        scaled = looked.view.scaled[index : index + 1]  # (1, n_steps, n_features)
        n_steps, n_features = scaled.shape[1:]
        if relations is None:
            return np.zeros(n_features)
        is_far = looks.is_at(name) & (ratios >= min(ratios[worst], JUST_ABOVE))  # (n_looks,)
        normal = np.full(n_features, np.inf)
        normal[looks.features[is_far]] = looks.middles[is_far]
        newest = n_blocks(self._n_looked_at(name, n_steps))
        return relations.blame(blocks_of(scaled)[:, -newest:], normal)

    def _excess(self, scaled: FloatArray, errors: FloatArray) -> NDArray[np.float64]:
        """Return by how much each feature makes the errors larger than normal, (n_features,).

        A network that gets one feature wrong gets others wrong too, and these may be farther from
        normal than the one to blame. So each of those with the largest errors is put at its usual
        value, and what that takes from the excess of all errors over their normal ones is its own.
        Where the usual values are not known, or none takes anything, it is its own excess.

        Parameters
        ----------
        scaled, errors
            Of one window, shape (n_steps, n_features); errors are 0 of features that do not count.
        """
        normal, usual = self._normal_errors(), self._usual_values()
        own: NDArray[np.float64] = np.maximum(errors.mean(axis=0, dtype=np.float64) - normal, 0)
        suspects = np.argsort(-own, kind="stable")[:N_SUSPECTS_MAX]
        suspects = suspects[own[suspects] > 0]  # (n_suspects,)
        if usual is None or len(suspects) <= 1:
            return own
        replaced = np.repeat(scaled[np.newaxis], len(suspects), axis=0)
        rows = np.arange(len(suspects))
        replaced[rows, :, suspects] = usual[suspects, np.newaxis]
        left = value_errors(replaced, self.network.reconstruct(replaced), self.network.error_kind)
        others = np.maximum(left.mean(axis=1, dtype=np.float64) - normal, 0)
        others[rows, suspects] = 0  # (n_suspects, n_features)
        others[:, ~errors.any(axis=0)] = 0  # those that do not count
        taken = np.zeros_like(own)
        taken[suspects] = np.maximum(own.sum() - others.sum(axis=1), 0)
        return taken if taken.any() else own

    def _usual_values(self) -> FloatArray | None:
        """Return the median of each feature's mean, scaled; None where no check looks at means."""
        looks = self.checks.looks
        is_mean = looks.is_at("mean")
        if not is_mean.any():
            return None
        usual = np.zeros(int(looks.features.max()) + 1, np.float32)
        usual[looks.features[is_mean]] = looks.middles[is_mean]
        return usual

    def _span(self, view: WindowView, index: int, worst: int, feature: int) -> tuple[int, int]:
        """Return the first and the last step that a look is about, both included."""
        errors = view.errors[index, :, feature]  # (n_steps,)
        name, n_steps, checks = self.checks.looks.statistics[worst], len(errors), self.checks
        if name in _OF_PEAK:
            first, last = worst_span(np.maximum(errors[-checks.n_peak :], 0))
            return n_steps - checks.n_peak + first, n_steps - checks.n_peak + last
        if name in _OF_COURSE:
            return worst_span(np.maximum(errors, 0))
        if name == "unchanged":
            return n_steps - 1 - int(view.unchanged[index, feature]), n_steps - 1
        return (n_steps - checks.n_short if name.startswith("short_") else 0), n_steps - 1
