"""Models of the course of a window, whose errors the check `shape` joins to one number.

Pure. A member is a reconstruction error, or the distance to nearest neighbours; of all features
together, or of each alone. Each is brought to a scale on which 1 is the far end of normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import ALL_FEATURES, SPREAD_MIN
from stream_detector.core.scoring.neighbours import Neighbours
from stream_detector.core.scoring.statistics import LOG_FLOOR, WindowView

Combine = Literal["together", "mean", "min-max"]
"""How the features of a window are joined: looked at as one course; or each alone, and then the
mean, or 0.7 of the least and 0.3 of the most anomalous one. What is wrong with one feature only,
such as a loose contact, is then no anomaly of the whole."""

COMBINES: tuple[Combine, ...] = get_args(Combine)

_LEAST_SHARE = 0.7

_UNBELIEVED = float(np.log(10.0))
"""How much larger or smaller than usual, as a logarithm, a feature is when it is not believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Models of the course of a window, whose errors are averaged on a common scale.

    Parameters
    ----------
    neighbours
        Nearest neighbours of the window, or of its newest steps; of all features, or of one.
    middles, widths
        Median of the logarithm of each member's error, and distance from it to the 99 % quantile,
        of windows that it was not fitted to; in the order of `member_errors`, shape (n_members,).
    has_errors
        Whether the errors of the reconstruction count.
    combine
        How features are joined.
    """

    neighbours: Sequence[Neighbours]
    middles: NDArray[np.float64]
    widths: NDArray[np.float64]
    has_errors: bool = True
    combine: Combine = "together"

    def join(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Join the errors of members to one number, and where features have neighbours, more.

        Parameters
        ----------
        errors
            From `member_errors`, shape (n_windows, n_members).

        Returns
        -------
        Shape (n_windows, 1) or (n_windows, 1 + n_features); about 1 at the far end of normal.

        Notes
        -----
        Compressed above the median, so that no member outvotes all others; and little below it,
        where no member knows anything.
        """
        units = (errors - self.middles) / self.widths  # (n_windows, n_members)
        units = np.where(units > 0, 3 * np.arcsinh(units / 3), 0.05 * units)
        if self.combine != "together":
            return self._join_features(units, self.unreliable(errors))
        features = np.array([_feature_of(each) for each in self.neighbours], dtype=np.intp)
        if self.has_errors:
            features = np.concatenate([np.full(N_ERRORS, ALL_FEATURES), features])
        else:
            units = units[:, N_ERRORS:]
        groups = [units[:, features == group] for group in np.unique(features)]
        joined: NDArray[np.float64] = np.stack([each.mean(axis=1) for each in groups], axis=1)
        return joined

    def without(
        self, errors: NDArray[np.float64], counts: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return errors of members of single features, at their medians where these do not count.

        Parameters
        ----------
        errors
            From `member_errors`, shape (n_windows, n_members).
        counts
            Which features count, shape (n_windows, n_features).
        """
        n_features = counts.shape[1]
        own = [_feature_of(each) for each in self.neighbours]
        features = np.array([*range(n_features), *range(n_features), *own], dtype=np.intp)
        return np.where(counts[:, features], errors, self.middles)

    def unreliable(self, errors: NDArray[np.float64]) -> NDArray[np.int8]:
        """Return which features are not believed, where each is looked at alone.

        Parameters
        ----------
        errors
            From `member_errors`, shape (n_windows, n_members).

        Returns
        -------
        Shape (n_windows, n_features): 1 of a feature that is ten times as large as usual, which is
        noise, -1 of one that is a tenth, which is off, and 0 of one that is believed.
        """
        n_features = len(self.middles) - len(self.neighbours) >> 1
        sizes = slice(n_features, 2 * n_features)
        away = errors[:, sizes] - self.middles[sizes]  # (n_windows, n_features)
        return np.where(np.abs(away) > _UNBELIEVED, np.sign(away), 0).astype(np.int8)

    def _join_features(
        self, units: NDArray[np.float64], unreliable: NDArray[np.int8]
    ) -> NDArray[np.float64]:
        """Join the units of members of single features, shape (n_windows, 1)."""
        n_features = unreliable.shape[1]
        of_feature = np.array([_feature_of(each) for each in self.neighbours], dtype=np.intp)
        columns = [
            [*([feature] if self.has_errors else ()), *(2 * n_features + at).tolist()]
            for feature in range(n_features)
            for at in [np.flatnonzero(of_feature == feature)]
        ]
        each = np.stack([units[:, some].mean(axis=1) for some in columns], axis=1)
        is_believed = unreliable == 0  # (n_windows, n_features)
        # Where none is believed the least counts: noise in one that no other shows is nothing.
        is_believed |= ~is_believed.any(axis=1, keepdims=True) & (
            each == each.min(1, keepdims=True)
        )
        if self.combine == "mean":
            joined = np.where(is_believed, each, 0).sum(axis=1) / is_believed.sum(axis=1)
        else:
            least = np.where(is_believed, each, np.inf).min(axis=1)
            most = np.where(is_believed, each, -np.inf).max(axis=1)
            joined = _LEAST_SHARE * least + (1 - _LEAST_SHARE) * most
        column: NDArray[np.float64] = joined[:, np.newaxis]
        return column


N_ERRORS = 2
"""Errors of the reconstruction among those of the members, where features are joined as one."""


def n_errors(combine: Combine, n_features: int) -> int:
    """Return how many numbers of `member_errors` are none of neighbours."""
    return N_ERRORS if combine == "together" else 2 * n_features


def member_errors(
    neighbours: Sequence[Neighbours], view: WindowView, combine: Combine = "together"
) -> NDArray[np.float64]:
    """Return logarithms of the errors of all members.

    Parameters
    ----------
    neighbours, combine
        See `Members`.
    view
        The windows.

    Returns
    -------
    Shape (n_windows, n_errors + n_neighbours): error of the reconstruction, of its newest `n_short`
    steps, and the distances to the neighbours; or the error of each feature, its size, and these
    distances.
    """
    distances = [np.log(each.distances(view.scaled) + LOG_FLOOR) for each in neighbours]
    if combine != "together":
        sizes = np.log(view.max_deviation + LOG_FLOOR)  # (n_windows, n_features)
        columns = [*view.error.T, *sizes.T, *distances]
        return np.stack(columns, axis=1).astype(np.float64)
    own = [np.log(each + LOG_FLOOR) for each in (view.window_error, view.short_window_error)]
    found: NDArray[np.float64] = np.stack([*own, *distances], axis=1)
    return found


def fit_members(
    neighbours: Sequence[Neighbours],
    errors: NDArray[np.float64],
    *,
    has_errors: bool = True,
    combine: Combine = "together",
) -> Members:
    """Bring members to a common scale.

    Parameters
    ----------
    neighbours
        See `Members`.
    errors
        Of windows that the members were not fitted to; see `member_errors`. n_windows >= 1.
    has_errors, combine
        See `Members`.
    """
    middles = np.median(errors, axis=0)  # (n_members,)
    widths = np.maximum(np.quantile(errors, 0.99, axis=0) - middles, SPREAD_MIN)
    return Members(neighbours, middles, widths, has_errors, combine)


def _feature_of(neighbours: Neighbours) -> int:
    """Return which feature is compared, -1 for all."""
    return ALL_FEATURES if neighbours.feature is None else neighbours.feature
