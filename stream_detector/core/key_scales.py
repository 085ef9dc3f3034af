"""One offset and one factor per key and feature: what is normal for each series of a fleet.

Pure. Where one pump stands at 40 bar and another at 0.04, a network that saw both would reconstruct
the second one's faults as noise of the first. With a scale of its own, every key is counted in its
own normal deviations before anything else looks at it. The scales are fitted in training and never
change afterwards, so they are no state.

A key that training did not know gets a scale from its first samples
(`stream_detector.core.state.new_keys`). Where it cannot, it takes the scale of the fleet: the
median over all keys. That fits a new pump that is like the others, and no other one, so such keys
are reported.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY_SCALES_MAX = 100_000
"""Most keys with a scale of their own."""

KEY_SCALES_BYTES_MAX = 256 * 1024 * 1024
"""Largest scales: those of 100,000 keys have room for 300 features and short names."""

_VALUES_AT_ONCE = 65_536
"""Values at a time, so that what is taken from them stays in the processor's cache."""

_WIDER = 1e-6
"""By what share the bounds of all keys are wider than exact ones, for the rounding of float32."""


DEVIATIONS_MAX = 1e6
"""What values of a key with a scale from its first samples are limited to, in its deviations.
Whether they can be scored was decided by the scale of the fleet, beside which its own may be small.
"""


class KeyScales:
    """Scales by key, and that of the fleet for keys that are not among them.

    Parameters
    ----------
    keys
        Series keys, each different from all others. Length n_keys, 1 to `KEY_SCALES_MAX`.
    offset
        Taken away first, shape (n_keys, n_features), float32, finite, unit: the signal's.
    scale
        Multiplied with then, same shape, float32, finite and above zero, unit: 1 / the signal's.

    Attributes
    ----------
    keys, offset, scale
        As given; `offset` and `scale` have the fleet's values in one more row, the last.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        offset: NDArray[np.float32],
        scale: NDArray[np.float32],
    ) -> None:
        self.keys = tuple(keys)
        spread = np.median(1.0 / scale.astype(np.float64), axis=0)  # (n_features,)
        middle = np.median(offset.astype(np.float64), axis=0)  # (n_features,)
        self.offset = np.vstack([offset, middle.astype(np.float32)])  # (n_keys + 1, n_features)
        self.scale = np.vstack([scale, (1.0 / spread).astype(np.float32)])
        self._rows = {key: row for row, key in enumerate(self.keys)}
        shifts = -self.offset.astype(np.float64) * self.scale  # (n_keys + 1, n_features)
        # Smallest and largest of all keys, (2, n_features) each.
        self._shifts = np.stack([shifts.min(axis=0), shifts.max(axis=0)])
        self._factors = np.stack([self.scale.min(axis=0), self.scale.max(axis=0)])

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def n_bytes(self) -> int:
        """Return how much the keys and their scales take, without the fleet's."""
        n_features = int(self.offset.shape[1])
        return 4 * len(self.keys) * (2 * n_features + 1) + sum(map(len, self.keys))

    @property
    def fleet_row(self) -> int:
        """Return the row of keys that training did not know."""
        return len(self.keys)

    def rows(self, keys: Iterable[bytes]) -> NDArray[np.intp]:
        """Return the row of each key, `fleet_row` for one that training did not know.

        Examples
        --------
        >>> scales = KeyScales([b"a"], np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
        >>> scales.rows([b"b", b"a"])
        array([1, 0])
        """
        find, fleet = self._rows.get, self.fleet_row
        return np.array([find(key, fleet) for key in keys], dtype=np.intp)

    def with_keys(
        self, keys: Sequence[bytes], offset: NDArray[np.float32], scale: NDArray[np.float32]
    ) -> "KeyScales":
        """Return the scales with those of keys that training did not know; see `KeyUnits`.

        Parameters
        ----------
        keys
            Which keys. Length n_new.
        offset, scale
            Theirs, shape (n_new, n_features). Those of the fleet stay as they are.
        """
        more = KeyScales(self.keys, self.offset[:-1], self.scale[:-1])
        first = self.fleet_row + 1
        more.offset = np.vstack([self.offset, offset])
        more.scale = np.vstack([self.scale, scale])
        more._rows |= {key: row for row, key in enumerate(keys, first)}
        return more

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def unknown(self, keys: Iterable[bytes]) -> list[bytes]:
        """Return the keys that training did not know, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def transform(
        self, windows: NDArray[np.float32], rows: NDArray[np.intp], *, in_place: bool = False
    ) -> NDArray[np.float32]:
        """Bring windows to the units of their keys.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), or samples of shape
            (n_samples, n_features), unit: the signal's.
        rows
            Row of the key of each, shape (n_windows,) or (n_samples,).
        in_place
            Whether to overwrite the windows, which then must be C-contiguous.

        Returns
        -------
        A new float32 array of the same shape, or the same one, in normal deviations of the key. A
        window's values do not depend, in any bit, on the others. Empty stays empty, NaN stays NaN;
        a value too large for float32 becomes infinite.
        """
        scaled = _transform(windows, (self.offset, self.scale), rows, in_place=in_place)
        return _limited(scaled, rows > self.fleet_row)

    def inverse(self, values: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Bring values back to the signal's unit.

        Parameters
        ----------
        values
            Shape (n, .., n_features), in normal deviations of the key.
        rows
            Row of the key of each, shape (n,).

        Returns
        -------
        A new float64 array of the same shape; equal to what was transformed up to the rounding of
        float32. Empty stays empty, NaN stays NaN.
        """
        among = (len(rows), *[1] * (values.ndim - 2), values.shape[-1])
        scale = self.scale[rows].reshape(among)
        signal: NDArray[np.float64] = np.divide(values, scale, dtype=np.float64)
        signal += self.offset[rows].reshape(among)
        return signal

    def bounds(self, ends: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return between what values lie in the units of any key.

        Parameters
        ----------
        ends
            Smallest and largest value of each feature, shape (2, n_features), unit: the signal's.

        Returns
        -------
        Same shape: no value between the ends is outside of these bounds for any key, or for the
        fleet. An infinite end gives infinite bounds, a NaN gives NaN.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            corners = self._factors[:, np.newaxis] * ends.astype(np.float64)  # (2, 2, n_features)
            low = corners.min(axis=(0, 1)) + self._shifts[0]  # (n_features,)
            high = corners.max(axis=(0, 1)) + self._shifts[1]
            wider = np.stack([low - _WIDER * np.abs(low), high + _WIDER * np.abs(high)])
            return wider.astype(np.float32)  # (2, n_features)


@dataclass(frozen=True, slots=True, eq=False)
class KeyUnits:
    """The units of the keys of some windows.

    Parameters
    ----------
    offset, scale
        Of each key, shape (n_keys, n_features); see `KeyScales`.
    rows
        Key of each window, shape (n_windows,).
    is_fleet
        Whether the key has the fleet's scale, shape (n_keys,).
    is_new
        Whether its scale is from its first samples, shape (n_keys,).
    is_warm_up
        Whether the window came before its key had a scale, shape (n_windows,); it has no score.
    """

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    rows: NDArray[np.intp]
    is_fleet: NDArray[np.bool_]
    is_new: NDArray[np.bool_]
    is_warm_up: NDArray[np.bool_]

    def transform_in_place(
        self, windows: NDArray[np.float32], places: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Bring windows to the units of their keys, as `KeyScales.transform` does.

        Values of a key whose scale is from its first samples are limited to `DEVIATIONS_MAX`.

        Parameters
        ----------
        windows
            Float32, C-contiguous, shape (n, n_steps, n_features), unit: the signal's; overwritten.
        places
            Which windows they are, shape (n,).
        """
        rows = self.rows[places]  # (n,)
        is_new = self.is_new[rows]  # (n,)
        with np.errstate(over="ignore"):
            scaled = _transform(windows, (self.offset, self.scale), rows, in_place=True)
        return _limited(scaled, is_new)


def _limited(scaled: NDArray[np.float32], is_new: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return windows with those of new keys limited in place; NaN stays NaN."""
    if is_new.any():
        scaled[is_new] = np.clip(scaled[is_new], -DEVIATIONS_MAX, DEVIATIONS_MAX)
    return scaled


def _transform(
    windows: NDArray[np.float32],
    of_keys: tuple[NDArray[np.float32], NDArray[np.float32]],
    rows: NDArray[np.intp],
    *,
    in_place: bool,
) -> NDArray[np.float32]:
    """Bring windows to the units of their keys, whose offsets and scales are given."""
    shape = windows.shape
    n_steps = shape[1] if windows.ndim == 3 else 1  # noqa: PLR2004
    flat = windows.reshape(shape[0], n_steps * shape[-1])
    scaled = flat if in_place else np.empty_like(flat)  # (n_windows, n_steps * n_features)
    n_rows = max(1, _VALUES_AT_ONCE // max(1, flat.shape[1]))
    for start in range(0, len(flat), n_rows):
        some = slice(start, start + n_rows)
        # One offset a value instead of one a feature: the same numbers, in long loops.
        offset = np.tile(of_keys[0][rows[some]], n_steps)  # (n_rows, n_steps * n_features)
        np.subtract(flat[some], offset, out=scaled[some])
        scaled[some] *= np.tile(of_keys[1][rows[some]], n_steps)
    return scaled.reshape(shape)
