"""Fit and calibrate the checks of a recipe: every normal window calibrates once.

Each window is looked at with a network and with neighbours that were not fitted to it, so that what
calibrates is as new as what comes on a stream. What is kept is fitted to all windows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Calibration
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.check_scorer import Checks, CheckScorer
from stream_detector.core.scoring.checks import (
    calibrate_looks,
    fit_members,
    largest,
    looks_of,
    member_errors,
)
from stream_detector.core.scoring.neighbours import Neighbours, fit_neighbours
from stream_detector.core.scoring.normal_scores import keep_scores
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import value_errors
from stream_detector.core.scoring.scorer import WINDOWS_MAX
from stream_detector.core.scoring.statistics import WindowView
from stream_detector.core.scoring.tails import CalibrationScores
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe
from stream_detector.recipes.scorers import ChecksScorerSection, ShapeSection
from stream_detector.training.calibration import calibration_scores, describe
from stream_detector.training.splits import normal_rows


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
        self._recipe = recipe
        self._n_short = min(recipe.scorer.short_steps, recipe.window.steps)
        self._looks = looks_of([each.kind for each in recipe.check], recipe.window.features)
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
        Shape (n_windows, n_members + n_looks). The numbers of members are not joined yet: how they
        are is known once all windows were seen.
        """
        neighbours = self._fit_neighbours(network, windows)
        parts = []
        for start in range(0, len(others), WINDOWS_MAX):
            scaled, found = network.reconstruct_windows(others[start : start + WINDOWS_MAX])
            view = WindowView(
                scaled, value_errors(scaled, found, network.error_kind), self._n_short
            )
            values = self._looks.values(view, np.zeros(len(scaled)))
            parts.append(np.concatenate([member_errors(neighbours, view), values], axis=1))
        return np.concatenate(parts)

    def finish(
        self, dataset: Dataset, network: ReconstructionScorer, found: NDArray[np.float64]
    ) -> tuple[CheckScorer, Calibration]:
        """Calibrate the checks, and fit what is kept to all normal windows.

        Parameters
        ----------
        dataset
            The windows.
        network
            Fitted to all normal ones.
        found
            What `look` found of each of them.

        Returns
        -------
        The scorer, and what its threshold reaches.
        """
        rows, method = normal_rows(dataset), self._recipe.threshold.build()
        neighbours = self._fit_neighbours(network, dataset.train[rows])
        errors, values = np.split(found, [1 + len(neighbours)], axis=1)
        members = fit_members(neighbours, errors)
        values = self._looks.with_joined(values, members.join(errors))  # (n_windows, n_looks)

        def with_times(scores: NDArray[np.float64]) -> CalibrationScores:
            return calibration_scores(self._recipe, dataset, rows, scores)

        looks = calibrate_looks(self._looks, values, lambda each: method.fit(with_times(each)))
        scores = with_times(largest(looks.ratios(values)))
        checks = Checks(self._n_short, members, looks, keep_scores(scores))
        scorer = CheckScorer(network, checks)
        return scorer, describe(method, scores, scorer.threshold)

    @property
    def _neighbour_steps(self) -> Sequence[int]:
        """Return how many steps each group of neighbours compares, none twice."""
        n_steps = self._recipe.window.steps
        if self._shape is None:
            return ()
        steps = self._shape.neighbour_steps
        if steps is None:
            steps = (n_steps, self._n_short)
        return tuple(dict.fromkeys(min(each, n_steps) for each in steps))

    def _fit_neighbours(
        self, network: ReconstructionScorer, windows: FloatArray
    ) -> tuple[Neighbours, ...]:
        """Return the nearest neighbours of each length among normal windows."""
        if self._shape is None:
            return ()
        rng = np.random.default_rng(self._recipe.training.seed)
        scaled = network.scaler.transform(windows)
        return tuple(
            fit_neighbours(scaled, n_last, self._shape.axes, self._shape.prototypes, rng)
            for n_last in self._neighbour_steps
        )
