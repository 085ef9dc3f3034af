"""Several calibrated ways to look at a window, each of which can find it anomalous.

Pure. A mean error says little of a fault that is short, or that makes a signal more regular than
it was: a spike is one value of many, and a stuck sensor is easy to reconstruct. So several checks
look at the same window::

    check   looks at                                        finds
    shape   reconstruction error and nearest neighbours     a course that was never seen
    peak    largest step and largest error of a feature     spikes
    flat    variation of a feature, far below normal        stuck sensors
    noise   variation of a feature, far above normal        bursts of noise, oscillations
    level   mean and slope of a feature                     shifts and drifts
    relation a feature against what the others say          features that no longer agree
    shift   newest mean of a feature against its own past   shifts where levels come and go
    rhythm  when the peak of a window came                  early, late and missing peaks

Each consists of looks: one number of a window, and on which side of normal it is anomalous. A look
measures how far a number is from its median, in units in which 1 is where it is anomalous. A window
is anomalous iff one of its looks is; that look names check and feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.scorer import ScoreParts
from stream_detector.core.scoring.statistics import WindowView

CheckKind = Literal["shape", "peak", "flat", "noise", "level", "relation", "shift", "rhythm"]
CHECK_KINDS: tuple[CheckKind, ...] = get_args(CheckKind)

MEMBERS = "members"
"""The number that stands for the course of all features, beside those of `statistics`."""

COURSE = "course"
"""The number that stands for the course of one feature, by its own nearest neighbours."""

ERROR = "error"
"""The number that is the error of the reconstruction of a feature."""

_OF_COURSE = frozenset((MEMBERS, COURSE))

_LOOKS: Mapping[CheckKind, tuple[tuple[str, int], ...]] = {
    "shape": ((MEMBERS, 1), (COURSE, 1), (ERROR, 1)),
    "peak": (("max_step", 1), ("max_error", 1), ("max_deviation", 1)),
    "flat": (("sd", -1), ("mean_step", -1), ("unchanged", 1)),
    "noise": (("short_sd", 1), ("short_mean_step", 1), ("swing", 1)),
    "level": (
        *(("mean", 1), ("mean", -1)),
        *(("slope", 1), ("slope", -1), ("short_slope", 1), ("short_slope", -1)),
    ),
    "relation": (("relation", 1), ("short_relation", 1)),
    "shift": (("short_shift", 1),),
    "rhythm": (),  # of no window, but of when its peak came: `rhythm`
}
"""What each check looks at, and whether it is anomalous far above (1) or far below (-1) normal."""

_FITTED = frozenset((MEMBERS, COURSE, "error", "max_error", "relation", "short_relation"))
"""Numbers of what was fitted to windows and knows these: a network, neighbours, a regression."""

JUST_ABOVE = float(np.nextafter(1.0, 2.0))
"""The least score that is anomalous."""

ALL_FEATURES = -1
"""Stands for the feature of a number that is of the whole window."""

_RANKS: Mapping[str, int] = {
    **{"max_error": 1, COURSE: 2, "relation": 3, "short_relation": 3, "error": 4, MEMBERS: 5}
}
"""How directly numbers see a feature; 0, best, where the feature alone decides them."""

SPREAD_MIN = 0.15
"""Least distance from the median to the far end of normal: about a seventh of a feature's spread,
or a factor of 1.16 of a logarithm. Without it, what hardly varied in training would be anomalous
with the slightest change."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Numbers of a window, and how far from normal each is.

    Parameters
    ----------
    checks, statistics
        To which check each look belongs, and at which number it looks. Length n_looks.
    features
        At which feature it looks, `ALL_FEATURES` for all; shape (n_looks,).
    signs
        1 where far above normal is anomalous, -1 where far below is, 0 where neither is and only
        what is normal is of interest; shape (n_looks,).
    middles, scales
        Median of the number, and distance from there at which it is anomalous; shape (n_looks,).
    """

    checks: tuple[CheckKind, ...]
    statistics: tuple[str, ...]
    features: NDArray[np.intp]
    signs: NDArray[np.float64]
    middles: NDArray[np.float64]
    scales: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.checks)

    def beside(self, others: "Looks") -> "Looks":
        """Return these looks and then others."""
        return Looks(
            self.checks + others.checks,
            self.statistics + others.statistics,
            *(
                np.concatenate([getattr(self, name), getattr(others, name)])
                for name in ("features", "signs", "middles", "scales")
            ),
        )

    def part(self, some: slice) -> "Looks":
        """Return some of the looks."""
        return Looks(*(getattr(self, each.name)[some] for each in fields(self)))

    def without(self, is_off: NDArray[np.bool_]) -> "Looks":
        """Return the same looks, of which some find nothing anomalous any more; (n_looks,)."""
        return replace(self, signs=np.where(is_off, 0.0, self.signs))

    def values(self, view: WindowView, joined: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of each window, shape (n_windows, n_looks).

        Parameters
        ----------
        view
            The windows.
        joined
            From `Members.join`.
        """
        names = list(dict.fromkeys(self.statistics))
        own = {MEMBERS: joined[:, :1], COURSE: joined[:, 1:]}
        tables = [own[name] if name in own else getattr(view, name) for name in names]
        starts = np.cumsum([0, *(table.shape[1] for table in tables)])  # (n_names + 1,)
        first = dict(zip(names, starts.tolist(), strict=False))
        columns = np.array([first[name] for name in self.statistics], dtype=np.intp)
        columns += np.maximum(self.features, 0)  # (n_looks,)
        found: NDArray[np.float64] = np.concatenate(tables, axis=1)[:, columns].astype(np.float64)
        return found

    def with_joined(
        self, values: NDArray[np.float64], joined: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return numbers in which those of the members are others; see `values`."""
        found = values.copy()
        for column, (name, feature) in enumerate(zip(self.statistics, self.features, strict=True)):
            if name in (MEMBERS, COURSE):
                found[:, column] = joined[:, 1 + feature]  # `ALL_FEATURES` is -1
        return found

    def ratios(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far numbers are from normal, shape (n_windows, n_looks); 1 is anomalous."""
        ratios: NDArray[np.float64] = (values - self.middles) * (self.signs / self.scales)
        return ratios

    def scores(self, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each window, shape (n_windows,), above 1 iff one of its ratios is.

        Notes
        -----
        How unlike all normal courses a window is ranks windows best; how far other numbers are
        from normal says little as long as they are normal. So where there is the check `shape`,
        the score is that of members and courses, and what else finds the window anomalous lifts
        it above 1. Otherwise the largest ratio is the score.
        """
        is_course = np.array([name in _OF_COURSE for name in self.statistics], dtype=np.bool_)
        course, other = largest(ratios[:, is_course]), largest(ratios[:, ~is_course])
        if not is_course.any():
            return other
        return lifted(course, other)

    def worst(self, ratios: NDArray[np.float64]) -> int:
        """Return the look that says best why a window is anomalous.

        The most anomalous one of those that find anything and see the feature most directly: a
        network that gets one feature wrong gets others wrong too, and of the course of all features
        it is not known which one is to blame.

        Parameters
        ----------
        ratios
            Of one window, shape (n_looks,).
        """
        found = ratios > 1  # (n_looks,)
        ranks = self.ranks
        if not found.any():
            return int(ratios.argmax())
        return int(np.where(ranks == ranks[found].min(), ratios, -np.inf).argmax())

    def parts(self, ratios: NDArray[np.float64], n_features: int) -> ScoreParts:
        """Return the largest ratio of each check and of each feature, at least 0.

        Parameters
        ----------
        ratios
            Shape (n_windows, n_looks).
        n_features
            Features of a window.
        """
        checks = tuple(dict.fromkeys(self.checks))
        of_checks = [largest(ratios[:, self.is_of(each)]) for each in checks]
        of_features = [largest(ratios[:, self.features == each]) for each in range(n_features)]
        return ScoreParts(checks, np.stack(of_checks, axis=1), np.stack(of_features, axis=1))

    @property
    def ranks(self) -> NDArray[np.intp]:
        """Return how directly each look sees its feature, 0 best, shape (n_looks,)."""
        return np.array([_RANKS.get(name, 0) for name in self.statistics], dtype=np.intp)

    def is_of(self, check: CheckKind) -> NDArray[np.bool_]:
        """Return which looks belong to a check, shape (n_looks,)."""
        return np.array([each == check for each in self.checks], dtype=np.bool_)

    def is_at(self, statistic: str) -> NDArray[np.bool_]:
        """Return which looks are at one number, shape (n_looks,)."""
        return np.array([each == statistic for each in self.statistics], dtype=np.bool_)


def looks_of(
    checks: Sequence[CheckKind], n_features: int, *, has_courses: bool, has_errors: bool = True
) -> Looks:
    """Return the looks of some checks, not calibrated yet.

    Parameters
    ----------
    checks
        Which checks.
    n_features
        Features of a window.
    has_courses
        Whether there are nearest neighbours of each single feature.
    has_errors
        Whether the error of a feature can be anomalous.
    """
    rows = [
        (check, name, feature, sign if name != ERROR or has_errors else 0)
        for check in checks
        for name, sign in _LOOKS[check]
        if name != COURSE or has_courses
        for feature in ([ALL_FEATURES] if name == MEMBERS else range(n_features))
    ]
    return Looks(
        checks=tuple(row[0] for row in rows),
        statistics=tuple(row[1] for row in rows),
        features=np.array([row[2] for row in rows], dtype=np.intp),
        signs=np.array([row[3] for row in rows], dtype=np.float64),
        middles=np.zeros(len(rows)),
        scales=np.ones(len(rows)),
    )


def lifted(course: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores of courses, above 1 where another ratio is; see `Looks.scores`."""
    # The root of the number after 1 is 1 in float64, which would not be anomalous.
    lift = np.maximum(np.sqrt(other), JUST_ABOVE)
    return np.where(other > 1, np.maximum(course + lift / 2, lift), course)


def is_fitted(check: CheckKind) -> bool:
    """Return whether a check looks at what was fitted to windows, so that others calibrate it.

    Examples
    --------
    >>> is_fitted("peak"), is_fitted("flat")
    (True, False)
    """
    return any(name in _FITTED for name, _ in _LOOKS[check])


def largest(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest ratio of each window, at least 0, shape (n_windows,)."""
    found: NDArray[np.float64] = ratios.max(axis=1, initial=0.0)
    return found
