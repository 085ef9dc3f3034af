"""Count the training windows that were kept and left out, and draw some of both to be shown."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import LeftOut, LeftOutKey
from stream_detector.bundle.manifest import LEFT_OUT_KEYS_MAX, LEFT_OUT_ROWS_MAX
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe

N_KEYS_DRAWN = 4
"""Keys of which windows are drawn to be shown: those with the most left out."""


def count_left_out(recipe: Recipe, dataset: Dataset) -> LeftOut:
    """Count the windows that were left out of training, and draw some to be shown.

    Parameters
    ----------
    recipe
        Says whether windows belong to keys, and gives the seed that draws.
    dataset
        Its training windows are labelled: 0 kept, 1 left out.

    Returns
    -------
    The counts by key. Of the `N_KEYS_DRAWN` keys with the most left out, some windows of both
    kinds.
    """
    labels, keys = dataset.train_labels, dataset.train_keys
    is_out = np.zeros(len(dataset.train), np.bool_) if labels is None else labels != 0
    if keys is None or recipe.window.record != "samples":
        keys = ("",) * len(is_out)
    names, series = np.unique(np.array(keys, dtype=np.str_), return_inverse=True)
    n_windows = np.bincount(series)  # (n_keys,)
    n_out = np.bincount(series, is_out).astype(np.intp)  # (n_keys,)
    order = np.argsort(-n_out, kind="stable")[:LEFT_OUT_KEYS_MAX].tolist()
    n_drawn_keys = min(N_KEYS_DRAWN, int((n_out > 0).sum()))
    rng = np.random.default_rng(recipe.training.seed)
    by_key = []
    for place, at in enumerate(order):
        n_max = LEFT_OUT_ROWS_MAX // n_drawn_keys if place < n_drawn_keys else 0
        own = series == at
        by_key.append(
            LeftOutKey(
                key=str(names[at]),
                n_windows=int(n_windows[at]),
                n_left_out=int(n_out[at]),
                left_out=_draw(np.flatnonzero(own & is_out), n_max, rng),
                kept=_draw(np.flatnonzero(own & ~is_out), n_max, rng),
            )
        )
    return LeftOut(
        n_windows=len(is_out), n_left_out=int(n_out.sum()), n_keys=len(names), by_key=tuple(by_key)
    )


def _draw(rows: NDArray[np.intp], n_max: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Return some of the rows, ascending."""
    chosen = rows if len(rows) <= n_max else rng.choice(rows, n_max, replace=False)
    return tuple(np.sort(chosen).tolist())
