"""Business rules: which deviations of a feature are of interest, whatever a network makes of them.

Pure. Rules look at windows above the threshold only, and can only lower their scores: what they
leave out counts as if it were normal. A feature counts in a window where, at a step whose deviation
from the expected value is at least half of the largest, everything holds that its rule demands::

    deviation   0.1  0.2 -0.1  3.0  2.0  0.3     expected 10 each time
    at least half of the largest      x    x
    direction = "above"               x    x     the feature counts
    direction = "below"                          it does not
    valid_max = 14.0                             it does not: 13 and 12 are valid

The score of the window is then that of the features that count. So a sensor that is ignored hides
nothing of its neighbours, and where no feature counts the window is normal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyUnits
from stream_detector.core.scoring.explanation import WORST_SHARE_MIN, WindowContext
from stream_detector.core.scoring.scorer import Finding, ScoreParts, WindowScores

Direction = Literal["above", "below", "both"]


@dataclass(frozen=True, slots=True)
class FeatureRule:
    """Which deviations of a feature are of interest; by default all are.

    Parameters
    ----------
    direction
        On which side of the expected value an observed one must be.
    deviation_min
        Least distance between the two, >= 0, unit: the signal's.
    relative_deviation_min
        Least distance in units of the expected value's size, >= 0.
    valid
        Least and largest value that is never of interest, unit: the signal's; None for none.
    is_ignored
        Whether nothing of the feature is of interest.
    """

    direction: Direction = "both"
    deviation_min: float = 0.0
    relative_deviation_min: float = 0.0
    valid: tuple[float, float] | None = None
    is_ignored: bool = False

    def holds(
        self, observed: NDArray[np.float64], expected: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return in which windows the feature counts, shape (n_windows,).

        Parameters
        ----------
        observed, expected
            Shape (n_windows, n_steps), unit: the signal's.
        """
        if self.is_ignored:
            return np.zeros(len(observed), dtype=np.bool_)
        deviations = observed - expected  # (n_windows, n_steps)
        sizes = np.abs(deviations)
        counts: NDArray[np.bool_] = sizes >= WORST_SHARE_MIN * sizes.max(axis=1, keepdims=True)
        counts &= sizes >= self.deviation_min
        counts &= sizes >= self.relative_deviation_min * np.abs(expected)
        if self.direction != "both":
            counts &= deviations > 0 if self.direction == "above" else deviations < 0
        if self.valid is not None:
            counts &= (observed < self.valid[0]) | (observed > self.valid[1])
        return np.asarray(counts.any(axis=1))


EVERYTHING = FeatureRule()
"""The rule of a feature that has none."""


class RowUnits(NamedTuple):
    """How numbers that a scorer sees become ones in the signal's unit, of each window.

    Parameters
    ----------
    factor, offset
        Multiplied with first, and added then; shape (n_windows, n_features).
    """

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of_keys(cls, units: KeyUnits, windows: NDArray[np.intp]) -> "RowUnits":
        """Return the units of some windows, which were brought to those of their keys."""
        rows = units.rows[windows]
        return cls.of(units.scale[rows], units.offset[rows])

    @classmethod
    def of(cls, scale: NDArray[np.float32], offset: NDArray[np.float32]) -> "RowUnits":
        """Return the units of windows with these scales and offsets, as `KeyScales` has them."""
        return cls(1.0 / scale.astype(np.float64), offset.astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class BusinessRules:
    """The rules of all features.

    Parameters
    ----------
    rules
        One a feature, in the order of the features.
    features
        The features, for their origin.
    """

    rules: Sequence[FeatureRule]
    features: Features

    def apply(
        self, found: WindowScores, threshold: float, units: RowUnits | None = None
    ) -> WindowScores:
        """Return scores in which only features that count have a say.

        Parameters
        ----------
        found
            From a scorer that can restrict its scores to some features.
        threshold
            Windows up to it stay as they are.
        units
            Of the windows; None where all keys have the same.

        Returns
        -------
        No score is above that of before. What explains a window speaks of features that count.
        """
        rows = np.flatnonzero(found.scores > threshold)  # (n,)
        if not len(rows):
            return found
        if found.restrict is None:
            message = "expected a scorer that says what it expected; business rules need one"
            raise TypeError(message)
        some = None if units is None else RowUnits(units.factor[rows], units.offset[rows])
        left = found.restrict(rows, _Judge(self, some))
        scores = found.scores.copy()
        scores[rows] = np.minimum(scores[rows], left.scores)
        places = {row: at for at, row in enumerate(rows.tolist())}

        def explain_window(index: int, context: WindowContext) -> Finding:
            if index in places:
                return left.explain(places[index], context)
            return found.explain(index, context)

        def parts() -> ScoreParts:
            made_of, of_left = found.made_of(), left.made_of()
            of_checks, of_features = made_of.of_checks.copy(), made_of.of_features.copy()
            of_checks[rows], of_features[rows] = of_left.of_checks, of_left.of_features
            return ScoreParts(made_of.checks, of_checks, of_features)

        return WindowScores(scores, explain_window, parts=parts)

    def changes(
        self, threshold: float, keys: Sequence[str] | None = None
    ) -> Callable[[WindowScores, slice], WindowScores]:
        """Return what applies the rules to scores of some of the windows of these keys.

        Parameters
        ----------
        threshold
            As for `apply`.
        keys
            Series key of each window; None takes the fleet's scale where each key has its own.
        """
        scales = self.features.key_scales
        if scales is None:
            return lambda found, _: self.apply(found, threshold)
        rows = None if keys is None else scales.rows(key.encode() for key in keys)

        def change(found: WindowScores, some: slice) -> WindowScores:
            of = np.full(len(found), scales.fleet_row) if rows is None else rows[some]
            return self.apply(found, threshold, RowUnits.of(scales.scale[of], scales.offset[of]))

        return change


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Says of some windows which features count; see `scorer.CountFeatures`."""

    rules: BusinessRules
    units: RowUnits | None

    def __call__(
        self, observed: NDArray[np.floating], expected: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Return which features count, shape (n_windows, n_features)."""
        counts = np.ones((len(observed), observed.shape[2]), dtype=np.bool_)
        for feature, rule in enumerate(self.rules.rules):
            if rule != EVERYTHING:
                seen = self._in_unit(observed[:, :, feature], feature)
                normal = self._in_unit(expected[:, :, feature], feature)
                counts[:, feature] = rule.holds(seen, normal)
        return counts

    def _in_unit(self, values: NDArray[np.floating], feature: int) -> NDArray[np.float64]:
        """Return values of a feature in the signal's unit, shape (n_windows, n_steps)."""
        found = values.astype(np.float64)
        if self.units is not None:
            found = found * self.units.factor[:, feature, np.newaxis]
            found += self.units.offset[:, feature, np.newaxis]
        origin = self.rules.features.origin
        return found + origin[feature] if origin else found
