"""Fit and calibrate the checks of a recipe: every normal window calibrates once.

Each window is looked at with a network and with neighbours that were not fitted to it, so that what
calibrates is as new as what comes on a stream. What is kept is fitted to all windows.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Calibration
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.check_scorer import Checks, CheckScorer
from stream_detector.core.scoring.checks import COURSE, Looks, looks_of
from stream_detector.core.scoring.look_limits import calibrate_looks
from stream_detector.core.scoring.members import (
    N_ERRORS,
    Combine,
    fit_members,
    member_errors,
    n_errors,
)
from stream_detector.core.scoring.neighbours import Neighbours, fit_neighbours
from stream_detector.core.scoring.normal_scores import keep_scores
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import value_errors
from stream_detector.core.scoring.rhythm import limits_of, rhythm_looks, rhythm_values
from stream_detector.core.scoring.scorer import WINDOWS_MAX
from stream_detector.core.scoring.statistics import WindowView
from stream_detector.core.scoring.tails import CalibrationScores
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe
from stream_detector.recipes.scorers import SHORT_STEPS, ChecksScorerSection, ShapeSection
from stream_detector.training.calibration import calibration_scores, describe
from stream_detector.training.relations import judge_relations
from stream_detector.training.rhythm import normal_intervals, pause_ms
from stream_detector.training.splits import normal_rows
from stream_detector.training.steadiness import describe_unrelated, training_parts, turn_off
from stream_detector.training.trimming import (
    describe_faults,
    describe_too_many,
    find_faults,
)

_FEATURE_AXES, _FEATURE_PROTOTYPES = 8, 256
"""Most principal components and normal windows for neighbours of a single feature."""

_UNEXPLAINED_MAX = 0.1
"""Largest part of how features vary that their own neighbours may leave unexplained. On series with
a course it was at most 0.06, on the counters of servers at least 0.18; nothing was in between."""
_WHY_FAULTS = (
    "look like faults, since most keys show nothing like them; if they are normal, set "
    "scorer.trim = false"
)


class CheckFitter:
    """Fits the checks of a recipe.

    Parameters
    ----------
    recipe
        Its scorer has the kind "checks".
    """

    def __init__(self, recipe: Recipe) -> None:
        if not isinstance(recipe.scorer, ChecksScorerSection):
            message = f"expected a recipe with checks, received {recipe.scorer}"
            raise TypeError(message)
        self._recipe, self._section = recipe, recipe.scorer
        window, scorer = recipe.window, recipe.scorer
        # A window round a peak is looked at as a whole, as one that is a whole record.
        is_cut = window.record == "samples" and recipe.peaks is None
        short = scorer.short_steps or (SHORT_STEPS if is_cut else window.steps)
        self._n_short = min(short, window.steps)
        # At least one more than the stride, so that no step is left out.
        peak = max(scorer.peak_steps, recipe.rules.stride + 1) if is_cut else window.steps
        self._n_peak = min(peak, window.steps)
        shapes = [each for each in recipe.check if isinstance(each, ShapeSection)]
        self._shape = shapes[0] if shapes else None

    def look(
        self, network: ReconstructionScorer, windows: FloatArray, others: FloatArray
    ) -> NDArray[np.float64]:
        """Return the errors of all members and the numbers of all looks, side by side.

        Parameters
        ----------
        network
            Fitted to `windows`.
        windows
            The neighbours are drawn from these.
        others
            What is looked at, shape (n_windows, n_steps, n_features).

        Returns
        -------
        Shape (n_windows, n_members + n_looks). The errors of members are not joined yet: how they
        are is known once all windows were seen.
        """
        neighbours = self._fit_neighbours(network, windows)
        looks = self._looks(has_courses=self._may_have_courses)
        parts = []
        for start in range(0, len(others), WINDOWS_MAX):
            scaled, found = network.reconstruct_windows(others[start : start + WINDOWS_MAX])
            errors = value_errors(scaled, found, network.error_kind)
            view = WindowView(scaled, errors, self._n_short, self._n_peak)
            not_joined = np.zeros((len(scaled), 1 + self._recipe.window.features))
            values = looks.values(view, not_joined)
            of_members = member_errors(neighbours, view, self._combine)
            parts.append(np.concatenate([of_members, values], axis=1))
        return np.concatenate(parts)

    def trim(self, dataset: Dataset, found: NDArray[np.float64]) -> tuple[Dataset, str | None]:
        """Label the training windows that look like faults, where the data has no labels.

        Parameters
        ----------
        dataset
            The windows.
        found
            What `look` found of each of them.

        Returns
        -------
        The data set, with labels if there are such windows, and a sentence that names them; or
        without labels and with a sentence that they are too many.
        """
        starts, keys = dataset.train_timestamps_ms, dataset.train_keys
        is_wanted = self._section.trim and dataset.train_labels is None
        is_wanted &= dataset.stream is None  # else those that are not in memory would stay
        if not is_wanted or starts is None or keys is None:
            return dataset, None
        looks = self._looks(has_courses=self._may_have_courses)
        series = np.unique(np.array(keys), return_inverse=True)[1]  # (n_windows,)
        is_fault = find_faults(looks, found[:, -len(looks) :], series)
        too_many = describe_too_many(is_fault)
        if too_many is not None or not is_fault.any():
            return dataset, too_many
        ends_ms = starts.astype(np.float64) + self._recipe.rules.span_ms  # (n_windows,)
        warning = describe_faults(is_fault, keys, starts, ends_ms, _WHY_FAULTS)
        return replace(dataset, train_labels=is_fault.astype(np.int8)), warning

    def finish(
        self,
        dataset: Dataset,
        network: ReconstructionScorer,
        found: NDArray[np.float64],
        names: Sequence[str],
    ) -> tuple[CheckScorer, Calibration, tuple[str, ...]]:
        """Calibrate the checks, and fit what is kept to all normal windows.

        Parameters
        ----------
        dataset
            The windows.
        network
            Fitted to all normal ones.
        found
            What `look` found of each of these.
        names
            Names of the features.

        Returns
        -------
        The scorer, what its threshold reaches, and which checks of which features are off.
        """
        rows, method = normal_rows(dataset), self._recipe.threshold.build()
        windows = dataset.train[rows]
        neighbours = self._fit_neighbours(network, windows)
        n_members = n_errors(self._combine, windows.shape[2]) + len(neighbours)
        errors, values = found[:, :n_members], found[:, n_members:]
        looks = self._looks(has_courses=self._may_have_courses)
        if self._may_have_courses and not self._explains(network, windows, errors, neighbours):
            is_kept = np.array([each.feature is None for each in neighbours], dtype=np.bool_)
            neighbours = tuple(each for each in neighbours if each.feature is None)
            errors = errors[:, np.concatenate([np.ones(N_ERRORS, np.bool_), is_kept])]
            values = values[:, [name != COURSE for name in looks.statistics]]
            looks = self._looks(has_courses=False)
        members = fit_members(
            neighbours, errors, has_errors=self._has_errors, combine=self._combine
        )
        values = looks.with_joined(values, members.join(errors))  # (n_windows, n_looks)
        parts = training_parts(self._recipe, dataset, rows)
        looks, values, relations = judge_relations(
            looks, values, windows, network.scaler, parts, self._n_short
        )
        unrelated = describe_unrelated(looks, names)
        scaled = network.scaler.transform(windows[:: -(-len(windows) // WINDOWS_MAX)])
        relative = network.scaler.relative
        looks, warnings = turn_off(looks, values, scaled, parts, names, relative)

        def with_times(scores: NDArray[np.float64]) -> CalibrationScores:
            return calibration_scores(self._recipe, dataset, rows, scores)

        def fit(some: NDArray[np.float64]) -> float:
            return method.fit(with_times(some))

        intervals, limits = normal_intervals(self._recipe, dataset, rows), None
        if intervals is None:
            looks = calibrate_looks(looks, values, fit, parts)
            found_scores = looks.scores(looks.ratios(values))  # (n_windows,)
        else:
            n_looks, both = len(looks), looks.beside(rhythm_looks())
            of_both = np.concatenate([values, rhythm_values(intervals)], axis=1)
            both = calibrate_looks(both, of_both, fit, parts)
            looks = both.part(slice(n_looks))
            limits = limits_of(both.part(slice(n_looks, None)), pause_ms(self._recipe))
            found_scores = limits.lift(looks.scores(looks.ratios(values)), intervals)
        scores = with_times(found_scores)
        normal = keep_scores(scores)
        checks = Checks(self._n_short, self._n_peak, members, looks, normal, limits, relations)
        scorer = CheckScorer(network, checks)
        return scorer, describe(method, scores, scorer.threshold), (*unrelated, *warnings)

    @property
    def _combine(self) -> Combine:
        """Return how features are joined."""
        return "together" if self._shape is None else self._shape.combine

    @property
    def _may_have_courses(self) -> bool:
        """Return whether each feature may be anomalous by neighbours of its own."""
        is_asked = self._shape is not None and self._shape.feature_neighbours is not False
        return is_asked and self._combine == "together"

    @property
    def _has_errors(self) -> bool:
        """Return whether the errors of the reconstruction count in the check `shape`."""
        return self._shape is None or self._shape.error

    def _looks(self, *, has_courses: bool) -> Looks:
        """Return the looks of the recipe, not calibrated."""
        kinds = [each.kind for each in self._recipe.check]
        n_features = self._recipe.window.features
        has_errors = self._has_errors and self._combine == "together"
        return looks_of(kinds, n_features, has_courses=has_courses, has_errors=has_errors)

    def _explains(
        self,
        network: ReconstructionScorer,
        windows: FloatArray,
        errors: NDArray[np.float64],
        neighbours: Sequence[Neighbours],
    ) -> bool:
        """Return whether neighbours of single features are close enough to be of use.

        Where a feature rarely repeats itself, as counters of a server do, every window is far from
        all others, and the distance says nothing.
        """
        if self._shape is None or self._shape.feature_neighbours:
            return self._shape is not None
        variances = np.concatenate(
            [
                network.scaler.transform(windows[start : start + WINDOWS_MAX]).var(axis=(0, 1))
                for start in range(0, len(windows), WINDOWS_MAX)
            ]
        ).reshape(-1, windows.shape[2])  # (n_parts, n_features)
        is_short = [
            each.feature is not None and each.n_last == self._n_short for each in neighbours
        ]
        columns = N_ERRORS + np.flatnonzero(is_short)
        left_out = np.square(np.exp(errors[:, columns])).mean(axis=0).sum()
        return bool(left_out < _UNEXPLAINED_MAX * variances.mean(axis=0).sum())

    def _fit_neighbours(
        self, network: ReconstructionScorer, windows: FloatArray
    ) -> tuple[Neighbours, ...]:
        """Return the nearest neighbours of all features, and of each, among normal windows."""
        if self._shape is None:
            return ()
        n_steps, shape = self._recipe.window.steps, self._shape
        rng = np.random.default_rng(self._recipe.training.seed)
        scaled = network.scaler.transform(windows)
        given = shape.neighbour_steps if shape.neighbour_steps is not None else (self._n_short,)
        axes = shape.axes * len(given) if len(shape.axes) == 1 else shape.axes
        steps = [min(each, n_steps) for each in given]
        apart = range(self._recipe.window.features)
        compared = [None] if self._combine == "together" else apart
        found = [
            fit_neighbours(scaled, n_last, n_axes, shape.prototypes, rng, feature).whitened(
                shape.whitening
            )
            for n_last, n_axes in dict.fromkeys(zip(steps, axes, strict=True))
            for feature in compared
        ]
        if self._may_have_courses:
            lengths = dict.fromkeys((n_steps, self._n_short))
            found += [
                fit_neighbours(scaled, each, _FEATURE_AXES, _FEATURE_PROTOTYPES, rng, feature)
                for feature in range(self._recipe.window.features)
                for each in lengths
            ]
        return tuple(found)
