"""Features that count from the mean of their own window, since their level says nothing.

Pure. Disk in use is higher than ever at any time, and so is a counter: a network that compares a
window with those of training finds it strange whatever happens. From the mean of its window it is
like others, and how it moves is judged. Of a counter that starts again, and then is relative::

    window           7   9   0   2
    goes on          7   9   9  11
    from the mean   -2   0   0   2
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.statistics import window_means


@dataclass(frozen=True, slots=True, eq=False)
class Relative:
    """Which features are relative.

    Parameters
    ----------
    is_relative
        Those that count from the mean of their window, counters included, shape (n_features,).
    is_counter
        Those that go on from where they were when they start again, shape (n_features,).
    """

    is_relative: NDArray[np.bool_]
    is_counter: NDArray[np.bool_]

    def counted(self, windows: FloatArray) -> FloatArray:
        """Return windows whose relative features count from their means.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), unit: the signal's. The result for a
            window does not depend, in any bit, on the others.

        Examples
        --------
        >>> relative = Relative(np.array([True]), np.array([True]))
        >>> relative.counted(np.float32([[[7.0], [9.0], [0.0], [2.0]]])).ravel().tolist()
        [-2.0, 0.0, 0.0, 2.0]
        """
        values = self.without_restarts(windows)
        relative = values[..., self.is_relative]  # (n_windows, n_steps, n_relative)
        relative -= window_means(relative)[:, np.newaxis]
        values[..., self.is_relative] = relative
        return values.astype(np.float32)

    def without_restarts(self, windows: FloatArray) -> NDArray[np.float64]:
        """Return windows whose counters go on from where they were, float64, same shape.

        Parameters
        ----------
        windows
            As above.
        """
        values = windows.astype(np.float64)
        steps = np.diff(values[..., self.is_counter], axis=1)
        values[:, 1:, self.is_counter] -= np.minimum(steps, 0).cumsum(axis=1)
        return values

    def taken_away(self, windows: FloatArray) -> NDArray[np.float64]:
        """Return what `counted` takes from each value, float64, same shape.

        Parameters
        ----------
        windows
            As above.
        """
        return windows.astype(np.float64) - self.counted(windows).astype(np.float64)
