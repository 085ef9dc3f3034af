"""Fit the network of a recipe, and others to parts of its windows for calibration."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.datasets import Dataset
from stream_detector.datasets.window_stream import WindowStream
from stream_detector.engines.backend import import_keras, require_tensorflow
from stream_detector.engines.onnx import load_onnx
from stream_detector.networks import build_network
from stream_detector.networks.export import export_keras, export_onnx
from stream_detector.recipes import Recipe
from stream_detector.recipes.training import TrainingSection
from stream_detector.training.devices import choose_devices, sharing
from stream_detector.training.fitting import KerasFit, fit_network, has_keras_loop
from stream_detector.training.pairs import Pairs, with_noise
from stream_detector.training.splits import Fold, Rows, Split, assign_folds, cross_fit
from stream_detector.training.streaming import StreamedPairs
from stream_detector.training.task import History, OnEpoch, Task

Look = Callable[[ReconstructionScorer, FloatArray, FloatArray], NDArray[np.float64]]
"""Returns what is found of other windows, the last argument, with a network that was fitted to the
windows before them."""


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A network's files, and how it was fitted.

    Parameters
    ----------
    network_keras, network_onnx
        The two files.
    history
        Losses of each epoch.
    n_windows
        Windows that it was fitted to.
    n_devices
        Devices that shared them.
    """

    network_keras: bytes
    network_onnx: bytes
    history: History
    n_windows: int
    n_devices: int


@dataclass(frozen=True, slots=True)
class Crossed:
    """What was found of the normal training windows, by networks that were not fitted to them.

    Parameters
    ----------
    found
        Scores, shape (n_windows,), or several numbers of each window, shape (n_windows, n_numbers).
    n_epochs
        Epochs for the final network.
    """

    found: NDArray[np.float64]
    n_epochs: int

    def of(self, rows: Rows) -> "Crossed":
        """Return what was found of some of the windows; all were normal at first."""
        return Crossed(self.found[rows], self.n_epochs)


class NetworkFitter:
    """Fits networks of one recipe one after another, each as if it was the only one.

    Parameters
    ----------
    recipe
        Says how; its epochs are those of a fit unless that has others.
    scaler
        Of the windows.
    """

    def __init__(self, recipe: Recipe, scaler: Scaler) -> None:
        self.recipe = recipe
        self.scaler = scaler
        self._fits: dict[int, KerasFit] = {}

    def fit(
        self,
        windows: FloatArray | WindowStream,
        held_out: FloatArray | None,
        on_epoch: OnEpoch | None,
        training: TrainingSection | None = None,
    ) -> FittedNetwork:
        """Fit a network to scaled windows; those held out, if any, validate it."""
        require_tensorflow()  # before minutes of fitting, not at the export after them
        devices = choose_devices(self.recipe)
        import_keras().utils.set_random_seed(self.recipe.training.seed)
        task = self._task(windows, held_out, training or self.recipe.training, on_epoch)
        task = task.shared(len(devices))
        with sharing(devices):
            network, history = self._run(task)
        # A new network with the same weights, so that the files hold no state of the fitting.
        fitted = self._build()
        fitted.set_weights(network.get_weights())
        n_windows = task.fit.n_windows
        return FittedNetwork(
            export_keras(fitted), export_onnx(fitted), history, n_windows, len(devices)
        )

    def _task(
        self,
        windows: FloatArray | WindowStream,
        held_out: FloatArray | None,
        training: TrainingSection,
        on_epoch: OnEpoch | None,
    ) -> Task:
        fit: Pairs | StreamedPairs
        rng = np.random.default_rng(training.seed)
        scale = self.scaler.transform
        if isinstance(windows, WindowStream):
            n_mixed = self.recipe.data.n_windows_in_memory or len(windows)
            fit = StreamedPairs(windows, self.scaler, training.noise, training.seed, n_mixed)
        else:
            fit = with_noise(scale(windows), training.noise, rng)
        validation = None
        if held_out is not None:
            validation = with_noise(scale(held_out), training.noise, rng)
        return Task(training, fit, validation, on_epoch)

    def _run(self, task: Task) -> tuple[Any, History]:
        """Return a network that was fitted, and its losses."""
        section = self.recipe.network
        if not has_keras_loop(section):
            network = self._build()
            return network, fit_network(network, section, task)
        n_steps = task.steps_at_a_time()
        if n_steps not in self._fits:
            self._fits[n_steps] = KerasFit(self._build(), section, task)
        kept = self._fits[n_steps]
        return kept.network, kept.run(task)

    def _build(self) -> Any:
        window = self.recipe.window
        return build_network(self.recipe.network, window.steps, window.features, window.channels)


def fit_final(
    networks: NetworkFitter, split: Split, crossed: Crossed | None, on_epoch: OnEpoch | None
) -> FittedNetwork:
    """Fit the network of the bundle; windows held out for the threshold validate it."""
    recipe = networks.recipe
    windows = _to_fit(recipe, split.fit, split.stream)
    if recipe.threshold.calibrate_on == "held-out":
        return networks.fit(windows, split.calibrate, on_epoch)
    if crossed is None:
        return networks.fit(windows, None, on_epoch)
    # Nothing is held out to stop by, so it is fitted for as long as was best for the folds.
    final = _with_epochs(recipe.training, crossed.n_epochs, patience=None)
    return networks.fit(windows, None, _later(recipe, on_epoch, recipe.threshold.folds), final)


def cross_fit_networks(
    networks: NetworkFitter, dataset: Dataset, look: Look, on_epoch: OnEpoch | None
) -> Crossed:
    """Look at every normal training window with a network that was not fitted to it.

    Parameters
    ----------
    networks
        Fits them.
    dataset
        The windows.
    look
        Called for each fold.
    on_epoch
        Called after each epoch; those of all networks are counted on.
    """
    recipe = networks.recipe
    n_best: list[float] = []

    def n_steps(windows: FloatArray | WindowStream) -> int:
        """Return how many steps an epoch has, a batch that is not full included."""
        if recipe.network.is_closed_form:
            return 1
        return math.ceil(len(windows) / recipe.training.batch_size)

    n_final = n_steps(_to_fit(recipe, dataset.normal_train, dataset.stream))

    def fit_and_look(fold: Fold) -> NDArray[np.float64]:
        windows, others = dataset.train[fold.fit_rows], dataset.train[fold.score_rows]
        to_fit = _to_fit(recipe, windows, fold.stream)
        # As many steps of the optimizer as the final network: with fewer its errors would be larger
        # than those that it calibrates.
        share = n_steps(to_fit) / n_final
        training = recipe.training
        part = _with_epochs(training, math.ceil(round(training.epochs / share, 6)))
        report = _later(recipe, on_epoch, len(n_best), share)
        fitted = networks.fit(to_fit, others, report, part)
        n_best.append(share * _best_epoch(fitted.history))
        return look(load_scorer(recipe, networks.scaler, fitted), windows, others)

    _, found = cross_fit(assign_folds(recipe, dataset), fit_and_look)
    if recipe.training.patience is None:
        return Crossed(found, recipe.training.epochs)
    return Crossed(found, max(round(float(np.median(n_best))), 1))


def calibration_numbers(
    network: ReconstructionScorer, split: Split, crossed: Crossed | None, look: Look
) -> NDArray[np.float64]:
    """Return what the threshold, or the checks, are calibrated on: the numbers of each window.

    Networks differ, and the final one sees a regular signal with larger errors than those of the
    folds now and then. A window that it was fitted to is not to be anomalous for that, so of a
    cross-fit the larger number of each window counts.

    Parameters
    ----------
    network
        The final one.
    split
        Says which windows calibrate.
    crossed
        What other networks found of them; None without a cross-fit, and then these are scores.
    look
        What looked at the windows of each fold.
    """
    if crossed is None:
        return score_windows(network, split.calibrate)
    return np.maximum(crossed.found, look(network, split.calibrate, split.calibrate))


def score_others(
    network: ReconstructionScorer, windows: FloatArray, others: FloatArray
) -> NDArray[np.float64]:
    """Return the reconstruction errors of other windows; the `Look` of a plain scorer."""
    del windows
    return score_windows(network, others)


def _best_epoch(history: History) -> int:
    """Return after how many epochs the loss of the held-out windows was lowest."""
    losses = history.get("validation_loss", history["loss"])
    return int(np.argmin(losses)) + 1


def _with_epochs(training: TrainingSection, n_epochs: int, **others: Any) -> TrainingSection:
    """Return settings that fit for other epochs."""
    return training.model_copy(update={"epochs": n_epochs, **others})


def _later(
    recipe: Recipe, on_epoch: OnEpoch | None, n_networks: int, share: float = 1.0
) -> OnEpoch | None:
    """Return what counts epochs on from those of the networks before.

    Of a network that is fitted to a share of the windows the epochs are counted as that share.
    """
    if on_epoch is None:
        return None
    report, n_epochs = on_epoch, recipe.n_epochs

    def count_on(epoch: int, loss: float) -> None:
        n_done = min(math.ceil(round(share * epoch, 6)), n_epochs)
        report(n_networks * n_epochs + n_done, loss)

    return count_on


def _to_fit(
    recipe: Recipe, windows: FloatArray, stream: WindowStream | None
) -> FloatArray | WindowStream:
    """Return what a network is fitted to; one in closed form takes the windows in memory."""
    return windows if stream is None or recipe.network.is_closed_form else stream


def load_scorer(recipe: Recipe, scaler: Scaler, fitted: FittedNetwork) -> ReconstructionScorer:
    """Return a scorer without its threshold, with the engine that runs it on a stream."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(fitted.network_onnx)
        reconstruct = load_onnx(path, recipe.window.steps, recipe.window.features)
    bundle = BundleReference(recipe.name, "in training")
    error, image = recipe.threshold.error, recipe.window.image
    return ReconstructionScorer(reconstruct, scaler, error, 1.0, bundle, image)
