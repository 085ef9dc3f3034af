"""Where normal ends: thresholds fitted to the errors of normal windows.

Pure: errors in, one number out. A window is anomalous iff its error exceeds
the threshold; equal is normal.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ThresholdMethod = Literal["sigma", "quantile"]

THRESHOLD_MIN = 1e-9
"""Floor. A constant signal reconstructed exactly has error 0 and would have threshold 0; with
the floor, error / threshold stays finite and the signal stays normal."""


def fit_threshold(
    errors: NDArray[np.float64],
    method: ThresholdMethod,
    *,
    n_sigma: float | None = None,
    quantile: float | None = None,
) -> float:
    """Fit a threshold to the reconstruction errors of normal windows.

    Parameters
    ----------
    errors
        Shape (n_windows,), n_windows >= 1, finite. Best from windows the network was not
        trained on.
    method
        "sigma": mean + `n_sigma` population standard deviations. "quantile": the smallest error
        that is at least as large as the share `quantile` of all errors.
    n_sigma
        For "sigma", >= 0.
    quantile
        For "quantile", in (0, 1).

    Returns
    -------
    The threshold, unit of `errors`, at least `THRESHOLD_MIN`.

    Raises
    ------
    ValueError
        If there are no errors, one is not finite, or the method's parameter is missing: the
        caller's mistake.

    Notes
    -----
    Source: "mean + 1 standard deviation" as in TensorFlow, "Intro to Autoencoders", third
    example, section "Detect anomalies"; the quantile is NumPy's method "higher".

    Examples
    --------
    >>> fit_threshold(np.array([1.0, 3.0]), "sigma", n_sigma=1.0)
    3.0
    >>> fit_threshold(np.array([1.0, 2.0, 3.0, 4.0]), "quantile", quantile=0.5)
    3.0
    """
    if errors.size == 0 or not np.isfinite(errors).all():
        message = f"a threshold needs finite errors of at least one window, received {errors!r}"
        raise ValueError(message)
    if method == "sigma" and n_sigma is not None:
        fitted = float(errors.mean() + n_sigma * errors.std())
    elif method == "quantile" and quantile is not None:
        fitted = float(np.quantile(errors, quantile, method="higher"))
    else:
        message = (
            "threshold: expected method sigma with n_sigma or quantile with quantile, "
            f"received {method!r}, n_sigma={n_sigma}, quantile={quantile}"
        )
        raise ValueError(message)
    return max(fitted, THRESHOLD_MIN)
