"""Features that vary by factors, such as traffic: they count by their logarithm."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.scoring.logarithmic import vary_by_factors
from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.roles import Layout

_WHY = "vary by factors: a tenth of the usual is judged to be as unusual as ten times as much"


def choose_logarithmic(
    layout: Layout, values: NDArray[np.float64], is_candidate: NDArray[np.bool_]
) -> Mapping[str, Chosen]:
    """Return which features are logarithmic, where some are, in more than half of the series.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.
    is_candidate
        Which features can be, shape (n_features,).
    """
    series = [values[rows] for rows in layout.normal_rows()]
    is_found = vary_by_factors(layout.features, series) & is_candidate  # (n_features,)
    names = [name for name, is_one in zip(layout.features, is_found, strict=True) if is_one]
    return {"logarithmic": Chosen(names, _WHY)} if names else {}
