"""Train a bundle: load data, fit a network, calibrate the threshold, evaluate, write the files.

The threshold is calibrated by the exported network and `Detector.score`, which also run on a
stream, and not by the network in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.bundle import (
    THRESHOLD_MAX,
    Bundle,
    BundleParts,
    Calibration,
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    check_target,
    write_bundle,
)
from stream_detector.core.evaluation import Evaluation, evaluate
from stream_detector.core.features import Features, list_names
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.check_scorer import CheckScorer
from stream_detector.core.scoring.logarithmic import fit_logarithmic
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import feature_errors, window_errors
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import Scaler, fit_scaler, fit_scaler_by_parts
from stream_detector.core.scoring.scorer import WINDOWS_MAX, score_windows, usable_windows
from stream_detector.core.scoring.thresholds import THRESHOLD_MIN
from stream_detector.datasets import Dataset, SampleDataset
from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath
from stream_detector.recipes import Recipe
from stream_detector.recipes.units import units_of
from stream_detector.schemas.mapping import open_mapping
from stream_detector.text import printable, shorten
from stream_detector.training.calibration import (
    calibration_scores,
    calibration_warnings,
    describe,
    lacks_test_part,
)
from stream_detector.training.checks import CheckFitter
from stream_detector.training.data import load_training_samples, load_windows
from stream_detector.training.devices import choose_devices
from stream_detector.training.kept_windows import count_left_out
from stream_detector.training.logarithms import with_logarithms
from stream_detector.training.network import (
    FittedNetwork,
    NetworkFitter,
    calibration_numbers,
    cross_fit_networks,
    fit_final,
    load_scorer,
    score_others,
)
from stream_detector.training.origin import features_of_few_steps, features_of_few_steps_by_key
from stream_detector.training.pairs import with_noise
from stream_detector.training.splits import Rows, Split, split_normal
from stream_detector.training.task import OnEpoch
from stream_detector.training.trimming import trim_strange


def train(
    recipe: Recipe,
    out: AnyPath,
    on_epoch: OnEpoch | None = None,
    *,
    overwrite: bool = False,
    data: Dataset | SampleDataset | None = None,
) -> Bundle:
    """Train a bundle; the same recipe on the same machine gives the same bundle.

    Parameters
    ----------
    recipe
        Data, network, settings of the training, and how the threshold is fitted.
    out
        Folder for the bundle; an older bundle of the same recipe there is replaced.
    on_epoch
        Called after each epoch with its number, counted from 1, and its mean training loss. With
        `threshold.calibrate_on = "cross-fit"` the epochs of all networks are counted on.
    overwrite
        Replace a bundle of another recipe too.
    data
        The data where they are in memory; None loads those that the recipe names.

    Raises
    ------
    ConfigError
        If Keras is not installed, `out` is not a bundle or that of another recipe, or the recipe's
        window does not fit the data.
    DatasetError
        If the data is missing, cannot be used, or has too few normal windows.
    BundleError
        If the bundle cannot be written, or the network gives a non-finite error.
    """
    check_target(out, recipe.name, overwrite=overwrite)
    choose_devices(recipe)  # before minutes of loading
    recipe, data = _decided(recipe, data)
    dataset = load_windows(recipe, data=data)
    fingerprint = dataset.fingerprint  # the data are the same, whatever is left out
    dataset, trimmed = trim_strange(recipe, dataset)
    names = _features(recipe, dataset).names
    open_mapping(recipe.input, names)  # refuses features that the data has not
    recipe.alerting.business_rules(_features(recipe, dataset))  # so do rules of them
    units_of(recipe.data.units, names)  # likewise
    split = split_normal(recipe, dataset)
    scaler = _fit_scaler(recipe, dataset, split, names)
    fitter = CheckFitter(recipe) if recipe.scorer.kind == "checks" else None
    look = score_others if fitter is None else fitter.look
    networks = NetworkFitter(recipe, scaler)
    crossed = (
        cross_fit_networks(networks, dataset, look, on_epoch)
        if recipe.threshold.calibrate_on == "cross-fit"
        else None
    )
    if fitter is not None and crossed is not None and not recipe.training.trim:
        dataset, trimmed = fitter.trim(dataset, crossed.found)
        if trimmed is not None:
            split = split_normal(recipe, dataset)
            crossed = crossed.of(split.calibrate_rows)
    fitted = fit_final(networks, split, crossed, on_epoch)
    network = load_scorer(recipe, scaler, fitted)
    found = calibration_numbers(network, split, crossed, look)
    scorer: ReconstructionScorer | CheckScorer
    off: tuple[str, ...] = ()
    if fitter is None:
        scorer, calibration = _calibrate(recipe, dataset, split.calibrate_rows, found, network)
    else:
        scorer, calibration, off = fitter.finish(dataset, network, found, names)
    facts = _facts(recipe, dataset, split, scorer, fitted, calibration)
    trained_on = facts.data.model_copy(update={"fingerprint": fingerprint})
    warnings = (*facts.warnings, *off, *([] if trimmed is None else [trimmed]))
    is_trimmed = trimmed is not None and dataset.train_labels is not None
    left_out = count_left_out(recipe, dataset) if recipe.training.trim or is_trimmed else None
    facts = facts.model_copy(
        update={"data": trained_on, "warnings": warnings, "left_out": left_out}
    )
    parts = BundleParts(
        fitted.network_keras,
        fitted.network_onnx,
        scaler,
        dataset.key_scales,
        scorer.checks if isinstance(scorer, CheckScorer) else None,
    )
    bundle = write_bundle(out, facts, parts, overwrite=overwrite)
    bundle.check_self_test(network.reconstruct)
    return bundle


def _decided(
    recipe: Recipe, data: Dataset | SampleDataset | None
) -> tuple[Recipe, Dataset | SampleDataset | None]:
    """Return a recipe without what it leaves to its data, and these where they were loaded."""
    recipe = recipe.model_copy(update={"input": recipe.input.decided(recipe.data.time_format)})
    if recipe.scaling.logarithmic != "auto":
        return recipe, data
    samples = load_training_samples(recipe.data, data)
    return with_logarithms(recipe, samples), samples


def evaluate_on(
    dataset: Dataset, recipe: Recipe, scorer: ReconstructionScorer | CheckScorer
) -> tuple[Evaluation, NDArray[np.float64]]:
    """Score a data set's test windows and compare the result with their labels.

    Parameters
    ----------
    dataset
        With a labelled test part of at least one window of the network's shape.
    recipe
        Gives the positive class, and the noise that the network was fitted with.
    scorer
        Scores the windows with its network.

    Returns
    -------
    The metrics, and the reconstruction error of each test window, shape (n_windows,).
    """
    labels = dataset.test_labels
    if labels is None:
        message = f"data {dataset.name}: expected labelled test windows, received none"
        raise ValueError(message)
    errors = score_windows(scorer, dataset.test)
    rhythm = scorer.checks.rhythm if isinstance(scorer, CheckScorer) else None
    if rhythm is not None and dataset.test_intervals is not None:
        errors = rhythm.lift(errors, dataset.test_intervals)
    found = evaluate(errors, labels, scorer.threshold, recipe.evaluation.positive_class)
    training = recipe.training
    if training.noise and (labels == 0).any():
        network = scorer.network if isinstance(scorer, CheckScorer) else scorer
        clean = network.scaler.transform(dataset.test[labels == 0])
        noisy = with_noise(clean, training.noise, np.random.default_rng(training.seed)).inputs
        denoised = window_errors(clean, network.reconstruct(noisy), network.error_kind)
        found = replace(found, denoised_error=float(denoised.mean()))
    return found, errors


def _fit_scaler(recipe: Recipe, dataset: Dataset, split: Split, names: Sequence[str]) -> Scaler:
    """Fit the scaling; medians, which one pass does not give, to windows in memory."""
    kind, is_every = recipe.scaling.kind, recipe.scaling.fit_on == "all"
    in_memory = dataset.train if is_every else split.fit
    countings = recipe.countings(names)
    relative, logarithmic = None, None
    is_relative = np.array([each.relative_steps > 0 for each in countings], np.bool_)
    if is_relative.any():
        relative = Relative(is_relative, np.isin(names, recipe.scaling.counters))
    is_logarithmic = np.array([each.is_logarithmic for each in countings], np.bool_)
    if is_logarithmic.any():
        _refuse_origin(dataset, names, is_logarithmic)
        logarithmic = fit_logarithmic(in_memory.reshape(-1, len(names)), is_logarithmic)
    if split.stream is None or dataset.stream is None or kind not in ("min-max", "standard"):
        return fit_scaler(kind, in_memory, relative, logarithmic)
    stream = dataset.stream.every if is_every else split.stream
    parts = (windows for _, windows in stream.parts())
    return fit_scaler_by_parts(kind, parts, relative, logarithmic)


def _refuse_origin(
    dataset: Dataset, names: Sequence[str], is_logarithmic: NDArray[np.bool_]
) -> None:
    """Refuse logarithmic features from which an origin is taken: what is left varies by amounts."""
    origins = zip(names, dataset.origin, is_logarithmic.tolist(), strict=False)
    found = [name for name, origin, is_of in origins if origin and is_of]
    if found:
        message = (
            "scaling.logarithmic: expected features that vary by factors, received "
            f"{list_names(found)}, which vary by so little of their level that float32 does not "
            "hold it; remove them from the list"
        )
        raise ConfigError(message)


def _calibrate(
    recipe: Recipe,
    dataset: Dataset,
    rows: Rows,
    scores: NDArray[np.float64],
    scorer: ReconstructionScorer,
) -> tuple[ReconstructionScorer, Calibration]:
    """Return a scorer whose threshold is fitted to scores of windows, and what it reaches."""
    section = recipe.threshold
    method, anomalous = section.build(), None
    if method.wants_anomalous and dataset.train_labels is not None:
        windows = dataset.train[dataset.train_labels != 0]
        anomalous = score_windows(scorer, windows[usable_windows(scorer, windows)])
    calibration = calibration_scores(recipe, dataset, rows, scores, anomalous)
    threshold = method.fit(calibration)
    if not threshold <= THRESHOLD_MAX[section.error]:
        message = (
            f"recipe {recipe.name}: threshold: expected at most "
            f"{THRESHOLD_MAX[section.error]:g}, received {threshold:g} from the method "
            f"{section.method!r}: nothing would ever be anomalous; choose fewer deviations"
        )
        raise ConfigError(message)
    normal_errors = None
    if recipe.window.image is None:
        normal_errors = _normal_errors(scorer, dataset.train[rows])
    scorer = replace(scorer, threshold=threshold, normal_errors=normal_errors)
    return scorer, describe(method, calibration, threshold)


def _normal_errors(scorer: ReconstructionScorer, windows: FloatArray) -> NDArray[np.float64]:
    """Return the median error of each feature over normal windows, shape (n_features,)."""
    errors = []
    for start in range(0, len(windows), WINDOWS_MAX):
        scaled = scorer.scaler.transform(windows[start : start + WINDOWS_MAX])
        errors.append(feature_errors(scaled, scorer.reconstruct(scaled), scorer.error_kind))
    medians: NDArray[np.float64] = np.median(np.concatenate(errors), axis=0)
    return medians


def _facts(
    recipe: Recipe,
    dataset: Dataset,
    split: Split,
    scorer: ReconstructionScorer | CheckScorer,
    fitted: FittedNetwork,
    calibration: Calibration,
) -> Facts:
    """Return the content of the manifest, with the metrics on the test part."""
    metrics, features = None, _features(recipe, dataset)
    network = scorer.network if isinstance(scorer, CheckScorer) else scorer
    if dataset.test_labels is not None and len(dataset.test):
        metrics = evaluate_on(dataset, recipe, scorer)[0].as_dict()
    window = split.calibrate[:1]  # (1, n_steps, n_features)
    section, n_features = recipe.threshold, recipe.window.features
    return Facts(
        name=recipe.name,
        n_steps=recipe.window.steps,
        n_features=n_features,
        features=features.names,
        origin=dataset.origin,
        normal_errors=() if network.normal_errors is None else network.normal_errors.tolist(),
        data=TrainingData(
            name=dataset.name,
            split=dataset.split,
            fingerprint=dataset.fingerprint,
            n_windows=fitted.n_windows,
        ),
        threshold=Threshold(
            value=scorer.threshold,
            error=section.error,
            method=section.method,
            calibrated_on=section.calibrate_on,
            n_windows=len(split.calibrate),
            calibration=calibration,
        ),
        metrics=metrics,
        self_test=SelfTest(
            window=window[0].tolist(),
            score=float(score_windows(scorer, window)[0]),
        ),
        recipe=recipe,
        history={name: tuple(losses) for name, losses in fitted.history.items()},
        n_devices=fitted.n_devices,
        warnings=tuple(_warnings(recipe, dataset, split, scorer.threshold)),
    )


def _features(recipe: Recipe, dataset: Dataset) -> Features:
    """Return the features of the data, with generated names if it names none."""
    if dataset.feature_names is None:
        return Features.generated(recipe.window.features)
    return Features(dataset.feature_names)


def _warnings(recipe: Recipe, dataset: Dataset, split: Split, threshold: float) -> Iterator[str]:
    """Yield what a person should know of a bundle before trusting it."""
    yield from calibration_warnings(recipe, dataset, split)
    if lacks_test_part(recipe, dataset):
        yield "the test part of the data makes no window, so how well it detects is not known"
    without = Features((), key_scales=dataset.key_scales).unknown_keys(dataset.train_keys or ())
    if without:
        what = "samples" if recipe.peaks is None else "windows"
        yield (
            f"keys with too few normal {what} for a scale of their own, which have the median "
            f"scale of all keys: {len(without):,}, such as {_some(without)}"
        )
    names, scales = _features(recipe, dataset).names, dataset.key_scales
    if scales is None:
        few_steps = features_of_few_steps(split.fit, names)
    else:
        few_steps = features_of_few_steps_by_key(scales, names)
    if few_steps and recipe.window.record != "image":
        yield (
            f"the features {', '.join(few_steps)} vary by a few steps of float32 only: if they "
            "were rounded to float32 before, keep them in float64 or subtract an offset before"
        )
    if threshold > 2 * THRESHOLD_MIN:  # methods round
        return
    is_constant = np.ptp(split.fit, axis=(0, 1)) == 0  # (n_features,)
    constant = [names[at] for at in np.flatnonzero(is_constant)]
    which = (
        f"these features never change in it: {', '.join(constant)}"
        if constant
        else ("none of its features is constant, so check that the scores are not all zero")
    )
    yield (
        f"the threshold is at its floor, {THRESHOLD_MIN:g}: the network reconstructs the data "
        f"exactly, and any change will be anomalous; {which}"
    )


def _some(keys: Sequence[str], n_max: int = 5) -> str:
    """Return the first keys as text that is safe to show."""
    return ", ".join(shorten(printable(key), 64) for key in keys[:n_max])
