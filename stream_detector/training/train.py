"""Recipe in, bundle out.

Data, scaling, fit on normal windows, export, calibration, evaluation, self-test, bundle. The
threshold is calibrated through the exported network and `Detector.score`, which is what runs on
a stream, and not through the network in training.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import (
    Bundle,
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    check_target,
    write_bundle,
)
from stream_detector.core.detector import Detector
from stream_detector.core.evaluation import Evaluation, evaluate
from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.reconstruction import window_errors
from stream_detector.core.scoring.scaling import Scaler, fit_scaler
from stream_detector.core.scoring.thresholds import fit_threshold, hold_out_blocks
from stream_detector.datasets import (
    IMAGE_DATASET_NAMES,
    Dataset,
    ImageChoice,
    load_dataset,
    load_images,
    load_samples,
)
from stream_detector.datasets.sampling import draw_each, draw_share
from stream_detector.datasets.windowing import to_windows
from stream_detector.engines.backend import import_keras
from stream_detector.engines.onnx import load_onnx
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.ports import Reconstructor
from stream_detector.recipes import Recipe
from stream_detector.training.fitting import History, OnEpoch, Task, fit_network, with_noise

N_NORMAL_MIN = 20
"""Fewer normal windows say nothing about what is normal."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Normal windows by use; raw, shape (n_windows, n_steps, n_features)."""

    fit: FloatArray
    calibrate: FloatArray


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The network's two files, and the loss of each epoch."""

    network_keras: bytes
    network_onnx: bytes
    history: History


def train(recipe: Recipe, out: Path, on_epoch: OnEpoch | None = None) -> Bundle:
    """Make a bundle; the same recipe on the same machine gives the same one.

    Parameters
    ----------
    recipe
        How to.
    out
        Folder for the bundle; an older bundle there is replaced.
    on_epoch
        Told each finished epoch, counted from 1, and its mean training loss.

    Raises
    ------
    ConfigError
        If Keras is not installed, `out` is something else, or the recipe's window does not fit
        the data.
    DatasetError
        If the data is missing, cannot be used, or holds too few normal windows.
    BundleError
        If the bundle cannot be written, or the network gives a non-finite error.
    """
    check_target(out)
    dataset = load_windows(recipe)
    parts = _part(recipe, dataset)
    scaler = fit_scaler(
        recipe.scaling.kind, dataset.train if recipe.scaling.fit_on == "all" else parts.fit
    )
    fitted = _fit(recipe, scaler, parts, on_epoch)
    reconstruct = _load_network(recipe, fitted.network_onnx)
    detector = _calibrate(recipe, scaler, parts.calibrate, reconstruct)
    facts = _facts(recipe, dataset, parts, detector, reconstruct, fitted.history)
    bundle = write_bundle(out, facts, fitted.network_keras, fitted.network_onnx, scaler)
    bundle.check_self_test(reconstruct)
    return bundle


def load_windows(recipe: Recipe) -> Dataset:
    """Load a recipe's data, cut into windows where it is samples.

    Raises
    ------
    ConfigError
        If the recipe's window does not fit the data.
    DatasetError
        If the data is missing or cannot be used.
    """
    section = recipe.data
    path = Path(section.path) if section.path is not None else None
    if recipe.window.record == "samples":
        samples = load_samples(section.name, series=section.series, path=path)
        return to_windows(samples, recipe.window.rules)
    dataset = _load_whole(recipe, path)
    expected = (recipe.window.steps, recipe.window.features)
    if dataset.train.shape[1:] != expected:
        message = (
            f"window: expected steps and features as in data {dataset.name}, "
            f"{dataset.train.shape[1:]}, received {expected}; "
            f"set window.steps = {dataset.train.shape[1]}"
        )
        raise ConfigError(message)
    seed = section.seed or 0
    if section.test_each is not None:
        return draw_each(dataset, section.test_each, seed)
    if section.anomalous_share is not None:
        return draw_share(dataset, section.anomalous_share, seed)
    return dataset


def _load_whole(recipe: Recipe, path: Path | None) -> Dataset:
    """Load a set of which each record is a whole window."""
    section = recipe.data
    if section.name in IMAGE_DATASET_NAMES:
        choice = ImageChoice(
            section.normal, section.anomalous, section.anomalous_from, section.n_windows
        )
        return load_images(section.name, choice)
    given = {"n_windows": section.n_windows}
    if section.name == "synthetic-ecg":
        given["seed"] = section.seed
    return load_dataset(
        section.name,
        split=section.split,
        path=path,
        n_features=recipe.window.features,
        **{name: value for name, value in given.items() if value is not None},
    )


def evaluate_on(
    dataset: Dataset, recipe: Recipe, detector: Detector, reconstruct: Reconstructor
) -> tuple[Evaluation, NDArray[np.float64]]:
    """Compare verdicts with the labels of a data set's test windows.

    Parameters
    ----------
    dataset
        With a labelled test part of at least one window of the detector's shape.
    recipe
        Says which class is the positive one, and what noise the network was fitted with.
    detector, reconstruct
        What judges.

    Returns
    -------
    The figures, and the reconstruction error of each test window, shape (n_windows,).
    """
    labels = dataset.test_labels
    if labels is None:
        message = f"data {dataset.name}: expected labelled test windows, received none"
        raise ValueError(message)
    errors = detector.score(dataset.test, reconstruct)
    found = evaluate(errors, labels, detector.threshold, recipe.evaluation.positive_class)
    training = recipe.training
    if training.noise and (labels == 0).any():
        clean = detector.scaler.transform(dataset.test[labels == 0])
        noisy = with_noise(clean, training.noise, np.random.default_rng(training.seed)).inputs
        denoised = window_errors(clean, reconstruct(noisy), detector.error_kind)
        found = replace(found, denoised_error=float(denoised.mean()))
    return found, errors


def _part(recipe: Recipe, dataset: Dataset) -> _Parts:
    """Share the normal windows out between fitting and calibration."""
    normal = dataset.normal_train
    if len(normal) < N_NORMAL_MIN:
        message = (
            f"data {dataset.name}: expected at least {N_NORMAL_MIN} normal windows to train on, "
            f"received {len(normal)} of {len(dataset.train)}; add more, and label normal ones 0"
        )
        raise DatasetError(message)
    if recipe.threshold.calibrate_on == "train":
        return _Parts(normal, normal)
    if recipe.window.record == "samples":
        return _part_by_time(recipe, dataset)
    order = np.random.default_rng(recipe.training.seed).permutation(len(normal))
    share = round(recipe.threshold.calibration_share * len(normal))
    n_held_out = min(max(share, 1), len(normal) - 1)
    # Sorted, so that neither part depends on how the other was shuffled.
    held_out, rest = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    return _Parts(normal[rest], normal[held_out])


def _part_by_time(recipe: Recipe, dataset: Dataset) -> _Parts:
    """Share out windows that overlap, so that no sample is both fitted to and calibrated on."""
    starts, keys = dataset.train_timestamps_ms, dataset.train_keys
    if starts is None or keys is None:
        message = f"data {dataset.name}: windows cut from samples need keys and times"
        raise ValueError(message)
    starts_ms = starts.astype(np.float64)
    series = np.unique(np.array(keys), return_inverse=True)[1]
    is_normal: NDArray[np.bool_] = np.ones(len(keys), dtype=np.bool_)
    if dataset.train_labels is not None:
        is_normal = dataset.train_labels == 0
    share = recipe.threshold.calibration_share
    ends_ms = starts_ms + recipe.window.rules.span_ms
    rest, held_out = (
        mask & is_normal for mask in hold_out_blocks(series, starts_ms, ends_ms, share)
    )
    if not rest.any() or not held_out.any():
        message = (
            f"data {dataset.name}: expected normal windows to fit to and others to calibrate on "
            f"that share no sample with them, received {int(rest.sum())} and "
            f"{int(held_out.sum())}; add more data, take fewer window.steps, or set "
            "threshold.calibrate_on = 'train'"
        )
        raise DatasetError(message)
    return _Parts(dataset.train[rest], dataset.train[held_out])


def _fit(recipe: Recipe, scaler: Scaler, parts: _Parts, on_epoch: OnEpoch | None) -> _Fitted:
    """Fit the network to scaled windows; those held out for the threshold validate it."""
    keras = import_keras()
    from stream_detector.networks import build_network  # noqa: PLC0415  (after Keras, quietly)
    from stream_detector.networks.export import export_keras, export_onnx  # noqa: PLC0415

    training, window = recipe.training, recipe.window
    keras.utils.set_random_seed(training.seed)
    rng = np.random.default_rng(training.seed)
    fit, validation = (
        with_noise(scaler.transform(windows), training.noise, rng)
        for windows in (parts.fit, parts.calibrate)
    )
    is_held_out = recipe.threshold.calibrate_on == "held-out"
    task = Task(training, fit, validation if is_held_out else None, on_epoch)
    shape = (window.steps, window.features, window.channels)
    network = build_network(recipe.network, *shape)
    history = fit_network(network, recipe.network, task)
    # A fresh network of the same weights: the files hold nothing that only fitting needs.
    fitted = build_network(recipe.network, *shape)
    fitted.set_weights(network.get_weights())
    return _Fitted(export_keras(fitted), export_onnx(fitted), history)


def _load_network(recipe: Recipe, network_onnx: bytes) -> Reconstructor:
    """Return the exported network as the stream will run it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(network_onnx)
        return load_onnx(path, recipe.window.steps, recipe.window.features)


def _calibrate(
    recipe: Recipe, scaler: Scaler, windows: FloatArray, reconstruct: Reconstructor
) -> Detector:
    """Return a detector whose threshold is fitted to the errors of normal windows."""
    section = recipe.threshold
    detector = Detector(
        bundle=BundleReference(recipe.name, "in training"),
        shape=(recipe.window.steps, recipe.window.features),
        sample_interval_ms=recipe.window.sample_interval_ms,
        scaler=scaler,
        error_kind=section.error,
        threshold=1.0,
        severities=recipe.alerting.levels,
    )
    errors = detector.score(windows, reconstruct)
    threshold = fit_threshold(
        errors,
        section.method,
        n_sigma=section.n_sigma,
        quantile=section.quantile,
        n_mad=section.n_mad,
    )
    return replace(detector, threshold=threshold)


def _facts(
    recipe: Recipe,
    dataset: Dataset,
    parts: _Parts,
    detector: Detector,
    reconstruct: Reconstructor,
    history: History,
) -> Facts:
    """Return what the manifest says, figures on the test part included."""
    metrics = None
    if dataset.test_labels is not None and len(dataset.test):
        metrics = evaluate_on(dataset, recipe, detector, reconstruct)[0].as_dict()
    window = parts.calibrate[:1]  # (1, n_steps, n_features)
    section = recipe.threshold
    return Facts(
        name=recipe.name,
        n_steps=recipe.window.steps,
        n_features=recipe.window.features,
        data=TrainingData(
            name=dataset.name,
            split=dataset.split,
            fingerprint=dataset.fingerprint,
            n_windows=len(parts.fit),
        ),
        threshold=Threshold(
            value=detector.threshold,
            error=section.error,
            method=section.method,
            calibrated_on=section.calibrate_on,
            n_windows=len(parts.calibrate),
        ),
        metrics=metrics,
        self_test=SelfTest(
            window=window[0].tolist(),
            reconstruction_error=float(detector.score(window, reconstruct)[0]),
        ),
        recipe=recipe,
        history={name: tuple(losses) for name, losses in history.items()},
    )
