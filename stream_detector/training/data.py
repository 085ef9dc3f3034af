"""Load the data of a recipe, and share its normal windows out between fitting and calibration."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.thresholds import N_WINDOWS_MIN
from stream_detector.datasets import (
    IMAGE_DATASET_NAMES,
    Dataset,
    ImageChoice,
    SampleDataset,
    load_dataset,
    load_images,
    load_samples,
)
from stream_detector.datasets.files.samples import load as load_sample_file
from stream_detector.datasets.files.windows import load as load_window_file
from stream_detector.datasets.sampling import draw_each, draw_share
from stream_detector.datasets.windowing import to_windows
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import DataSection, Recipe
from stream_detector.training.key_scales import fit_key_scales
from stream_detector.training.origin import choose_origin

N_NORMAL_MIN = 20
"""With fewer normal windows there is too little to learn from and to calibrate on."""

N_FIT_MIN = 10
"""Fewest windows that a network is fitted to."""

_BLOCK_SPANS = 16
_HELD_OUT_BLOCKS_MIN = 2
"""A held-out block is `_BLOCK_SPANS` windows long, or shorter if that is needed to have
`_HELD_OUT_BLOCKS_MIN` of them."""


@dataclass(frozen=True, slots=True)
class Split:
    """Normal windows by use, unscaled; each (n_windows, n_steps, n_features).

    Parameters
    ----------
    fit
        Windows that the network and the scaling are fitted to.
    calibrate
        Windows that the threshold is fitted to: others, or the same with
        `threshold.calibrate_on = "train"`.
    """

    fit: FloatArray
    calibrate: FloatArray


def load_windows(recipe: Recipe, features: Features | None = None) -> Dataset:
    """Load a recipe's data, and cut it into windows if it is samples.

    Parameters
    ----------
    recipe
        Its tables `[data]` and `[window]` decide.
    features
        The features of a bundle, whose origin is subtracted, whose scales of keys are applied, and
        in whose order samples have theirs; None keeps the order of the data, chooses the origin
        that float32 needs, and fits the scale of each key where the recipe asks for it.

    Raises
    ------
    ConfigError
        If the recipe's window does not fit the data.
    DatasetError
        If the data is missing or cannot be used.
    """
    section = recipe.data
    if recipe.window.record == "samples":
        samples = _load_samples(section)
        if features is None:
            features = _features_of(samples, per_key=recipe.scaling.per_key)
        return to_windows(samples, recipe.window.rules, features)
    dataset = _load_whole(section, recipe.window.features)
    expected = (recipe.window.steps, recipe.window.features)
    if dataset.train.shape[1:] != expected:
        message = (
            f"window: expected steps and features as in data {dataset.name}, "
            f"{dataset.train.shape[1:]}, received {expected}; "
            f"set window.steps = {dataset.train.shape[1]} if that is right, or remove the columns "
            "that are no values"
        )
        raise ConfigError(message)
    dataset = dataset.in_float32(_origin_of(dataset) if features is None else features.origin)
    seed = section.seed or 0
    if section.test_each is not None:
        return draw_each(dataset, section.test_each, seed)
    if section.anomalous_share is not None:
        return draw_share(dataset, section.anomalous_share, seed)
    return dataset


def _load_samples(section: DataSection) -> SampleDataset:
    """Load a data set of samples; the values of a file are exact."""
    if section.path is not None:
        return load_sample_file(
            Path(section.path),
            exact=True,
            columns=section.columns,
            test_share=section.test_share,
        )
    return load_samples(section.name, series=section.series)


def _features_of(dataset: SampleDataset, *, per_key: bool) -> Features:
    """Return the features of samples to train on: the origin that float32 needs, keys' scales."""
    samples, names = dataset.train, dataset.feature_names
    where = f"data {dataset.name}"
    origin = choose_origin(samples.values, samples.series, names, where)
    if not per_key:
        return Features(names, origin)
    scales = fit_key_scales(samples, to_float32(samples.values, origin), where)
    return Features(names, origin, scales)


def _origin_of(dataset: Dataset) -> tuple[float, ...]:
    """Return the origin that float32 needs for windows to train on."""
    n_windows, n_steps, n_features = dataset.train.shape
    values = dataset.train.reshape(-1, n_features)  # (n_windows * n_steps, n_features)
    groups = np.repeat(np.arange(n_windows), n_steps)
    names = Features.generated(n_features).names
    return choose_origin(values, groups, names, f"data {dataset.name}")


def _load_whole(section: DataSection, n_features: int) -> Dataset:
    """Load a data set whose records are whole windows or images."""
    if section.name in IMAGE_DATASET_NAMES:
        choice = ImageChoice(
            section.normal, section.anomalous, section.anomalous_from, section.n_windows
        )
        return load_images(section.name, choice)
    if section.path is not None:
        return load_window_file(
            Path(section.path),
            n_features,
            exact=True,
            columns=section.columns,
            test_share=section.test_share,
        )
    return load_dataset(
        section.name,
        split=section.split,
        seed=section.seed,
        n_windows=section.n_windows,
    )


def split_normal(recipe: Recipe, dataset: Dataset) -> Split:
    """Share the normal training windows out between fitting and calibration.

    Windows that are whole records are held out at random, windows cut from samples by blocks of
    time.

    Raises
    ------
    DatasetError
        If there are too few normal windows, or too few to fit to or to calibrate on.
    """
    normal = dataset.normal_train
    if len(normal) < N_NORMAL_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_NORMAL_MIN} normal windows to train on, "
            f"received {len(normal)} of {len(dataset.train)}; add more, and label normal ones 0"
        )
        raise DatasetError(message)
    if recipe.threshold.calibrate_on == "train":
        return Split(normal, normal)
    if recipe.window.record == "samples":
        split = _split_by_time(recipe, dataset)
    else:
        split = _split_at_random(recipe, normal)
    n_fit, n_held_out = len(split.fit), len(split.calibrate)
    if n_fit < N_FIT_MIN or n_held_out < N_WINDOWS_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_FIT_MIN} normal windows to fit to and "
            f"{N_WINDOWS_MIN} others to calibrate the threshold on, received {n_fit} and "
            f"{n_held_out} of {len(normal)} that share no sample; {_remedy(recipe)}"
        )
        raise DatasetError(message)
    return split


def calibration_warning(recipe: Recipe, split: Split) -> str | None:
    """Return what is to be said of a threshold that is fitted to few windows, None if nothing.

    Parameters
    ----------
    recipe
        Its threshold's method says how many windows it wants.
    split
        The windows.
    """
    n_windows, n_wanted = len(split.calibrate), recipe.threshold.build().n_windows_wanted
    if n_windows >= n_wanted:
        return None
    return (
        f"the threshold is fitted to {n_windows} normal windows, and its method wants at least "
        f"{n_wanted}, so the rate of false alarms may be another than asked for; {_remedy(recipe)}"
    )


def _remedy(recipe: Recipe) -> str:
    """Return how there are more windows to calibrate a threshold on."""
    steps = ", take fewer window.steps" if recipe.window.record == "samples" else ""
    if recipe.threshold.calibrate_on == "train":
        return f"add more data{steps}"
    return (
        f"add more data{steps}, or set a larger threshold.calibration_share, or "
        "threshold.calibrate_on = 'train'"
    )


def _split_at_random(recipe: Recipe, normal: FloatArray) -> Split:
    """Hold out windows that are whole records at random."""
    order = np.random.default_rng(recipe.training.seed).permutation(len(normal))
    share = round(recipe.threshold.calibration_share * len(normal))
    n_held_out = min(max(share, 1), len(normal) - 1)
    # Sorted, so that the order within a part does not depend on the draw.
    held_out, rest = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    return Split(normal[rest], normal[held_out])


def _split_by_time(recipe: Recipe, dataset: Dataset) -> Split:
    """Share out overlapping windows so that no sample is used for both fitting and calibration."""
    starts, keys = dataset.train_timestamps_ms, dataset.train_keys
    if starts is None or keys is None:
        message = f"data {dataset.name}: windows cut from samples need keys and times"
        raise ValueError(message)
    starts_ms = starts.astype(np.float64)  # (n_windows,)
    series = np.unique(np.array(keys), return_inverse=True)[1]  # (n_windows,)
    is_normal: NDArray[np.bool_] = np.ones(len(keys), dtype=np.bool_)
    if dataset.train_labels is not None:
        is_normal = dataset.train_labels == 0
    share = recipe.threshold.calibration_share
    ends_ms = starts_ms + recipe.window.rules.span_ms
    rest, held_out = (
        mask & is_normal for mask in hold_out_blocks(series, starts_ms, ends_ms, share)
    )
    return Split(dataset.train[rest], dataset.train[held_out])


def hold_out_blocks(
    series: NDArray[np.intp],
    starts_ms: NDArray[np.float64],
    ends_ms: NDArray[np.float64],
    share: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Split overlapping windows by blocks of time, so that no sample is in both parts.

    Overlapping windows share samples. If single windows were held out at random, nearly all
    samples of a held-out window would also be in windows that the network is trained on, and a
    threshold fitted to such windows would be too low. The blocks are spread over the whole time,
    since a signal drifts and its end differs from the rest.

    Parameters
    ----------
    series
        Number of each window's series, shape (n_windows,).
    starts_ms, ends_ms
        Times of first and last samples, shape (n_windows,), milliseconds.
    share
        Share of the time to hold out, in (0, 1).

    Returns
    -------
    Two masks, shape (n_windows,): windows outside all held-out blocks, and windows inside one of
    them. Windows across a border are in neither. The second mask is empty for a series too short
    for a block that holds a window.

    Examples
    --------
    >>> starts_ms = np.arange(0.0, 100.0)
    >>> rest, held_out = hold_out_blocks(np.zeros(100, int), starts_ms, starts_ms + 1, 0.2)
    >>> int(rest.sum()), int(held_out.sum())
    (78, 18)
    """
    rest = np.zeros(len(series), dtype=np.bool_)
    held_out = np.zeros(len(series), dtype=np.bool_)
    for one in np.unique(series):
        rows = np.flatnonzero(series == one)  # (n_rows,)
        first_ms = starts_ms[rows].min()
        starts, ends = starts_ms[rows] - first_ms, ends_ms[rows] - first_ms  # (n_rows,)
        longest = ends.max() * share / _HELD_OUT_BLOCKS_MIN
        block_ms = max(min(_BLOCK_SPANS * float((ends - starts).max()), longest), 1e-9)
        first, last = np.floor(starts / block_ms), np.floor(ends / block_ms)  # (n_rows,)
        held_out[rows] = (first == last) & _is_held_out(first, share)
        rest[rows] = ~_is_held_out(first, share) & ~_is_held_out(last, share)
    return rest, held_out


def _is_held_out(blocks: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return which blocks, numbered from 0, are held out: the given share, evenly spread."""
    return np.floor((blocks + 1) * share + 0.5) > np.floor(blocks * share + 0.5)
