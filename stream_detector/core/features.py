"""What the features of a bundle are called, and what is subtracted from their values.

Pure. Files and records that name their features are matched by name, in any order, and alerts,
reports and the command line call a feature by its name. Where float32 could not hold how a feature
varies around a large offset, the bundle has an origin for it: the origin is taken away while values
are float64, offline and live alike, and everything behind works with what is left. Where each key
has a scale of its own, its windows are brought to that after they were cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.key_scales import KeyScales

NAME_CHARACTERS_MAX = 200
"""Longest name of a feature: every alert carries some."""

UNIT_CHARACTERS_MAX = 24
"""Longest unit of a feature, such as m³/h."""

_GENERATED = "feature_"


class LinearUnit(NamedTuple):
    """How a number that a scorer sees becomes one in the signal's unit.

    Parameters
    ----------
    factor
        Multiplied with first; above zero.
    offset
        Added then, unit: the signal's.

    Examples
    --------
    >>> celsius = LinearUnit(0.5, 20.0)
    >>> celsius.value(4.0), celsius.difference(4.0)
    (22.0, 2.0)
    """

    factor: float = 1.0
    offset: float = 0.0

    def value(self, number: float) -> float:
        """Return a value of the signal."""
        return number * self.factor + self.offset

    def difference(self, number: float) -> float:
        """Return a difference between two values of the signal."""
        return number * self.factor


class Counting(NamedTuple):
    """How a feature counts, of which its level and deviation of a key are made.

    Parameters
    ----------
    relative_steps
        Its deviation is from the means of blocks of so many values; 0 where it is from one level.
    is_logarithmic
        Whether it counts by its logarithm, which has no deviation here: its unit is its usual size.
    """

    relative_steps: int = 0
    is_logarithmic: bool = False


AS_IT_IS = Counting()
"""How a feature counts that is neither relative nor logarithmic."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a sample, in the order in which the network sees them.

    Parameters
    ----------
    names
        Their names, each different from all others. Length n_features.
    origin
        What is taken from each, unit: the signal's. Length n_features, or empty where nothing is.
    key_scales
        The scale of each key; None where all keys have the same.
    warm_up_samples
        From how many first samples a key that training did not know gets its scale; 0 where it has
        the fleet's.
    units
        What their values are measured in, such as bar, for people; "" of a feature where that is
        not known. Length n_features, or empty where no unit is known.
    countings
        How each counts. Length n_features, or empty where none is relative or logarithmic.

    Examples
    --------
    >>> Features.generated(2).names
    ('feature_0', 'feature_1')
    """

    names: tuple[str, ...]
    origin: tuple[float, ...] = ()
    key_scales: KeyScales | None = None
    warm_up_samples: int = 0
    units: tuple[str, ...] = ()
    countings: tuple[Counting, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def generated(cls, n_features: int) -> "Features":
        """Return features of data that does not name them."""
        return cls(tuple(f"{_GENERATED}{number}" for number in range(n_features)))

    @property
    def are_named(self) -> bool:
        """Whether the data named them; if not, features are matched by their places."""
        return self.names != self.generated(len(self)).names

    def unit_name(self, feature: int) -> str:
        """Return what the values of a feature are measured in; "" where that is not known."""
        return self.units[feature] if self.units else ""

    def to_unit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of shape (.., n_features) in the signal's unit: with the origin again."""
        return values + np.array(self.origin) if self.origin else values

    def unit(self, feature: int, of_key: LinearUnit | None = None) -> LinearUnit:
        """Return how numbers of a feature become ones in the signal's unit.

        Parameters
        ----------
        feature
            Which, counted from 0.
        of_key
            How they become ones in the unit of all keys first; None where they are.
        """
        factor, offset = of_key or LinearUnit()
        return LinearUnit(factor, offset + (self.origin[feature] if self.origin else 0.0))

    def units_of(self, key: bytes) -> tuple[LinearUnit, ...]:
        """Return from what the windows of a key were brought to its units, one a feature.

        Empty where keys have no units of their own.
        """
        if self.key_scales is None:
            return ()
        row = self.key_scales.rows([key])[0]
        return linear_units(self.key_scales.offset[row], self.key_scales.scale[row])

    def to_key_units(
        self, windows: NDArray[np.float32], keys: Sequence[str]
    ) -> NDArray[np.float32]:
        """Return windows as a scorer takes them: each in the units of its key, where it has some.

        Parameters
        ----------
        windows
            Shape (n_windows, n_steps, n_features), unit: the signal's, without the origin.
        keys
            Series key of each window. Length n_windows.
        """
        if self.key_scales is None:
            return windows
        return self.key_scales.transform(windows, self._rows(keys, len(windows)))

    def from_key_units(
        self, values: NDArray[np.float64], keys: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Return values of a scorer in the signal's unit, with the origin again.

        Parameters
        ----------
        values
            Shape (n_windows, .., n_features), as `to_key_units` makes them.
        keys
            Series key of each window; None for windows of no key, which have the fleet's scale.
        """
        if self.key_scales is not None:
            values = self.key_scales.inverse(values, self._rows(keys, len(values)))
        return self.to_unit(values)

    def unknown_keys(self, keys: Sequence[str]) -> list[str]:
        """Return the keys without a scale of their own where keys have one, each once, in order."""
        if self.key_scales is None:
            return []
        return [key.decode() for key in self.key_scales.unknown(key.encode() for key in keys)]

    def _rows(self, keys: Sequence[str] | None, n_windows: int) -> NDArray[np.intp]:
        """Return the row of each window's key among the scales, shape (n_windows,)."""
        assert self.key_scales is not None  # noqa: S101  (callers look)
        if keys is None:
            return np.full(n_windows, self.key_scales.fleet_row)
        return self.key_scales.rows(key.encode() for key in keys)

    def places_in(self, received: Sequence[str]) -> list[int]:
        """Return where each feature is among names in any order.

        Parameters
        ----------
        received
            Names, each different from all others.

        Raises
        ------
        ValueError
            If one is missing or one is unknown; the message lists both.

        Examples
        --------
        >>> Features(("t", "h")).places_in(["h", "t"])
        [1, 0]
        >>> Features(("t", "h")).places_in(["h", "p", "q"])
        Traceback (most recent call last):
        ValueError: expected the features t, h; missing t, unknown p, q
        """
        places = {name: at for at, name in enumerate(received)}
        missing = [name for name in self.names if name not in places]
        unknown = [name for name in received if name not in self.names]
        if missing or unknown:
            lists = (("missing", missing), ("unknown", unknown))
            found = ", ".join(f"{what} {list_names(names)}" for what, names in lists if names)
            message = f"expected the features {list_names(self.names)}; {found}"
            raise ValueError(message)
        return [places[name] for name in self.names]


def linear_units(offset: NDArray[np.float32], scale: NDArray[np.float32]) -> tuple[LinearUnit, ...]:
    """Return from what a key's windows were brought to its units, one a feature.

    Parameters
    ----------
    offset, scale
        Of the key, shape (n_features,); see `KeyScales`.
    """
    return tuple(
        LinearUnit(1.0 / factor, at)
        for factor, at in zip(scale.tolist(), offset.tolist(), strict=True)
    )


def to_float32(
    values: NDArray[np.float32] | NDArray[np.float64],
    origin: Sequence[float] | NDArray[np.float64] = (),
) -> NDArray[np.float32]:
    """Take the origin away and round to float32, in this order.

    Parameters
    ----------
    values
        Shape (.., n_features), unit: the signal's.
    origin
        See `Features`.

    Returns
    -------
    C-contiguous; the same array where nothing has to be done. What is too large for float32 becomes
    infinite, NaN stays NaN.

    Examples
    --------
    >>> to_float32(np.array([1.7e9 + 0.25]), [1.7e9])
    array([0.25], dtype=float32)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centred = values - np.array(origin, dtype=np.float64) if len(origin) else values
        return np.ascontiguousarray(centred, dtype=np.float32)


def list_names(names: Sequence[str], n_max: int = 10) -> str:
    """Return names as a list, of many the first.

    Parameters
    ----------
    names
        What is listed.
    n_max
        So many are named, the others counted.

    Examples
    --------
    >>> list_names(["t", "h", "p"], 2)
    't, h and 1 more'
    """
    more = f" and {len(names) - n_max} more" if len(names) > n_max else ""
    return ", ".join(names[:n_max]) + more
