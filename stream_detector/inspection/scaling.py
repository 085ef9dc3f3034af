"""What a recipe says of scaling, beside what all recipes of `init` say."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.inspection.logarithmic import choose_logarithmic
from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.relative import choose_relative
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.warm_up import choose_warm_up


def choose_scaling(layout: Layout, values: NDArray[np.float64], n_steps: int) -> dict[str, Chosen]:
    """Return the keys of `[scaling]` that depend on the data.

    The warm-up of a new key shows what is normal of features that have a level.

    Parameters
    ----------
    layout
        Series and times of the rows of a file.
    values
        The features, shape (n_rows, n_features); NaN is a missing value.
    n_steps
        Samples of a window.
    """
    relative = choose_relative(layout, values, n_steps)
    names = {name for chosen in relative.values() for name in chosen.value}
    has_level = np.array([name not in names for name in layout.features])  # (n_features,)
    return {
        "warm_up_samples": choose_warm_up(layout, values[:, has_level]),
        **relative,
        **choose_logarithmic(layout, values, has_level),
    }
