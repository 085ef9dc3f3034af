"""Load the data of a recipe, and cut it into windows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.core.features import Features, to_float32
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import Samples
from stream_detector.datasets import (
    IMAGE_DATASET_NAMES,
    Dataset,
    ImageChoice,
    SampleDataset,
    load_dataset,
    load_images,
    load_samples,
)
from stream_detector.datasets.files.room import A_PART, require_memory
from stream_detector.datasets.files.samples import load as load_sample_file
from stream_detector.datasets.files.streamed_samples import Choice, load_streamed_samples
from stream_detector.datasets.files.streaming import load_streamed
from stream_detector.datasets.files.window_file import WindowFile
from stream_detector.datasets.files.windows import load as load_window_file
from stream_detector.datasets.sampling import draw_each, draw_share
from stream_detector.datasets.windowing import to_windows
from stream_detector.errors import ConfigError, DatasetError, TooLargeError
from stream_detector.recipes import DataSection, Recipe
from stream_detector.training.key_scales import fit_file_scales, fit_key_scales, fit_window_scales
from stream_detector.training.origin import choose_origin
from stream_detector.training.splits import BLOCK_SPANS

_PCA_TIMES, _NETWORK_TIMES = 2, 6
"""How many times the windows are taken, beside themselves, while components or a network are fitted
and the threshold is calibrated."""


def load_windows(
    recipe: Recipe,
    features: Features | None = None,
    data: Dataset | SampleDataset | None = None,
) -> Dataset:
    """Load a recipe's data, and cut it into windows if it is samples.

    Parameters
    ----------
    recipe
        Its tables `[data]` and `[window]` decide.
    features
        The features of a bundle, whose origin is subtracted, whose scales of keys are applied, and
        in whose order samples have theirs; None keeps the order of the data, chooses the origin
        that float32 needs, and fits the scale of each key where the recipe asks for it.
    data
        The data where they are in memory, with the values of a file, float64; None loads those
        that `[data]` names.

    Raises
    ------
    ConfigError
        If the recipe's window does not fit the data.
    DatasetError
        If the data is missing or cannot be used.
    TooLargeError
        If it does not fit into memory; with what to set, where it is to be trained on.
    """
    try:
        dataset = _load_windows(recipe, features, data)
        if features is None:
            times = _PCA_TIMES if recipe.network.kind == "pca" else _NETWORK_TIMES
            what = f"training on {len(dataset.train):,} windows"
            require_memory(what, times * dataset.train.nbytes)
    except TooLargeError as error:
        if features is not None:
            raise
        raise _of_training(recipe, error) from None
    return dataset


def _of_training(recipe: Recipe, error: TooLargeError) -> TooLargeError:
    """Return an error about data that do not fit into memory with what to set in the recipe."""
    section, set_to = recipe.data, "data.n_windows_in_memory"
    where = section.path or f"data {section.name}"
    remedy = f"hold some of its windows only, --set {set_to}=50000"
    if section.n_windows_in_memory is not None:
        remedy = f"hold fewer windows, by a smaller {set_to}"
    elif section.name == "csv":
        remedy = (
            f"write it as Parquet and {remedy} --set data.name=parquet --set data.path=FILE.parquet"
        )
    elif section.path is None:
        return TooLargeError(f"{where}: {error.problem}", "give less data")
    problem = error.problem.removeprefix(f"{where}: ")
    return TooLargeError(
        f"{where}: {problem}", f"{remedy}, as docs/how-to/train-at-scale.md says; or {A_PART}"
    )


def _load_windows(
    recipe: Recipe, features: Features | None, data: Dataset | SampleDataset | None
) -> Dataset:
    """Load a recipe's data as windows; see `load_windows`."""
    section = recipe.data
    if recipe.window.record == "samples":
        n_windows = section.n_windows_in_memory
        if data is None and section.path is not None and n_windows is not None:
            return _load_streamed_samples(recipe, section.path, n_windows, features)
        samples = load_training_samples(section, data)
        if features is not None:
            return to_windows(samples, recipe.rules, features)
        return _cut_and_scale(recipe, samples)
    dataset = _load_whole(recipe) if data is None else data
    if not isinstance(dataset, Dataset):
        message = "data: expected windows, since the recipe's records are, received samples"
        raise TypeError(message)
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


def _load_streamed_samples(
    recipe: Recipe, path: str, n_windows: int, features: Features | None
) -> Dataset:
    """Cut the samples of a file into windows, of which only some are held."""
    section, where = recipe.data, f"data {Path(path).name}"

    def mark(samples: Samples) -> Samples:
        return _marked(samples, section.leave_out) if section.leave_out else samples

    def fit_scales(samples: Samples, names: tuple[str, ...]) -> KeyScales:
        return fit_key_scales(samples, samples.values, where, recipe.countings(names))

    def fit_of_file(
        file: WindowFile, keys: tuple[str, ...], labels: NDArray[np.int8] | None
    ) -> KeyScales:
        return fit_file_scales(file, keys, labels, where)

    is_per_day = recipe.threshold.method == "false_alarms_per_day"
    choice = Choice(
        n_windows,
        recipe.training.seed,
        section.columns,
        section.test_share,
        BLOCK_SPANS * recipe.rules.span_ms if is_per_day else None,
        mark,
        fit_scales if recipe.scaling.per_key else None,
        fit_of_file if recipe.scaling.per_key else None,
    )
    return load_streamed_samples(Path(path), recipe.rules, choice, features)


def load_trained_on(bundle: Bundle) -> Dataset | None:
    """Return the windows that a bundle was trained on, None where they are not at hand any more.

    They are known to be the same by their fingerprint.
    """
    try:
        dataset = load_windows(bundle.manifest.recipe, bundle.features)
    except (ConfigError, DatasetError):  # a file was moved, or has other columns now
        return None
    return dataset if dataset.fingerprint == bundle.manifest.data.fingerprint else None


def load_recipe_samples(section: DataSection) -> SampleDataset:
    """Load the samples that the table `[data]` of a recipe names; the values of a file are exact.

    Raises
    ------
    DatasetError
        If the data is missing or cannot be used.
    """
    if section.path is not None:
        return load_sample_file(
            Path(section.path),
            exact=True,
            columns=section.columns,
            test_share=section.test_share,
        )
    return load_samples(section.name, series=section.series)


def load_training_samples(
    section: DataSection, data: Dataset | SampleDataset | None = None
) -> SampleDataset:
    """Load samples as `load_recipe_samples` does, and mark what is left out as anomalous.

    Parameters
    ----------
    section
        The table `[data]` of a recipe.
    data
        The samples where they are in memory.

    Raises
    ------
    DatasetError
        If the data is missing or cannot be used.
    """
    dataset = load_recipe_samples(section) if data is None else data
    if not isinstance(dataset, SampleDataset):
        message = "data: expected samples, since the recipe's records are, received windows"
        raise TypeError(message)
    if not section.leave_out:
        return dataset
    train, test = (_marked(part, section.leave_out) for part in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def _marked(samples: Samples, spans: Sequence[tuple[str, float, float]]) -> Samples:
    """Return samples with those of some spans labelled as anomalous."""
    labels = np.zeros(len(samples), np.int8) if samples.labels is None else samples.labels.copy()
    numbers = {key: number for number, key in enumerate(samples.keys)}
    for key, start_ms, end_ms in spans:
        is_inside = (samples.times_ms >= start_ms) & (samples.times_ms <= end_ms)
        labels[is_inside & (samples.series == numbers.get(key, -1))] = 1
    return replace(samples, labels=labels)


def _cut_and_scale(recipe: Recipe, dataset: SampleDataset) -> Dataset:
    """Cut windows to train on, with the origin that float32 needs, and the scales of keys.

    Where the recipe finds what is normal itself, labels do not say to what a scale is fitted.
    """
    samples, names = dataset.train, dataset.feature_names
    where = f"data {dataset.name}"
    origin = choose_origin(samples.values, samples.series, names, where)
    features, is_trimmed = Features(names, origin), recipe.training.trim
    if recipe.scaling.per_key and recipe.peaks is None:
        known = replace(samples, labels=None) if is_trimmed else samples
        values = to_float32(samples.values, origin)
        scales = fit_key_scales(known, values, where, recipe.countings(names))
        features = replace(features, key_scales=scales)
    windows = to_windows(dataset, recipe.rules, features)
    if not recipe.scaling.per_key or recipe.peaks is None:
        return windows
    scales = fit_window_scales(
        replace(windows, train_labels=None) if is_trimmed else windows, where
    )
    return windows.in_key_units(replace(features, key_scales=scales))


def _origin_of(dataset: Dataset) -> tuple[float, ...]:
    """Return the origin that float32 needs for windows to train on."""
    n_windows, n_steps, n_features = dataset.train.shape
    values = dataset.train.reshape(-1, n_features)  # (n_windows * n_steps, n_features)
    groups = np.repeat(np.arange(n_windows), n_steps)
    names = Features.generated(n_features).names
    return choose_origin(values, groups, names, f"data {dataset.name}")


def _load_whole(recipe: Recipe) -> Dataset:
    """Load a data set whose records are whole windows or images."""
    section, n_features = recipe.data, recipe.window.features
    if section.name in IMAGE_DATASET_NAMES:
        choice = ImageChoice(
            section.normal, section.anomalous, section.anomalous_from, section.n_windows
        )
        return load_images(section.name, choice)
    if section.path is not None and section.n_windows_in_memory is not None:
        return load_streamed(
            Path(section.path),
            n_features,
            section.n_windows_in_memory,
            recipe.training.seed,
            columns=section.columns,
            test_share=section.test_share,
        )
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
