"""Training end to end on the synthetic ECG and on a person's own file, in seconds."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present

from stream_detector.bundle import Bundle, read_bundle
from stream_detector.cli.sources import read_file
from stream_detector.core.features import Counting
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.reconstruction_error import feature_errors
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.datasets import load_dataset
from stream_detector.datasets.fetch import MIRROR_VARIABLE
from stream_detector.engines.backend import import_keras
from stream_detector.engines.keras import load_keras
from stream_detector.engines.onnx import load_onnx
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows, train
from stream_detector.training.data import load_trained_on
from stream_detector.training.key_scales import N_SAMPLES_MIN
from stream_detector.training.splits import split_normal

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SYNTHETIC = Path(__file__).parents[3] / "models" / "synthetic-ecg-dense.toml"
TUTORIAL = SYNTHETIC.with_name("ecg5000-dense.toml")
SHORT = ("training.epochs=5", "training.batch_size=16", "data.n_windows=600")


Trained = tuple[Bundle, list[tuple[int, float]]]
"""A bundle, and number and loss of each epoch."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train once; return the bundle and the calls of `on_epoch`."""
    epochs: list[tuple[int, float]] = []
    out = tmp_path_factory.mktemp("trained") / "bundle"
    recipe = load_recipe(SYNTHETIC, SHORT)
    bundle = train(recipe, out, lambda epoch, loss: epochs.append((epoch, loss)))
    return bundle, epochs


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_without_the_onnx_file_is_refused_before_the_fitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(import_keras().backend, "backend", lambda: backend)
    with pytest.raises(ConfigError, match=f"received the backend {backend}; set KERAS_BACKEND="):
        train(
            load_recipe(SYNTHETIC, SHORT), tmp_path / "out", lambda epoch, _: epochs.append(epoch)
        )
    assert epochs == []


def test_every_epoch_is_reported(trained: Trained) -> None:
    _, epochs = trained
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4, 5]
    assert epochs[-1][1] < epochs[0][1]


def test_manifest_has_the_loss_of_each_epoch(trained: Trained) -> None:
    bundle, epochs = trained
    history = read_bundle(bundle.path).manifest.history
    assert history["loss"] == tuple(loss for _, loss in epochs)
    assert len(history["validation_loss"]) == 5
    assert history["validation_loss"][-1] < history["validation_loss"][0]


def test_bundle_can_be_read_and_passes_its_self_test_with_both_engines(trained: Trained) -> None:
    bundle = read_bundle(trained[0].path)
    bundle.check_self_test(load_onnx(bundle.network_onnx, 140, 1))
    bundle.check_self_test(load_keras(bundle.network_keras, 140, 1))


def test_threshold_is_fitted_to_held_out_normal_windows_as_scored_live(trained: Trained) -> None:
    bundle = trained[0]
    data = load_dataset("synthetic-ecg", n_windows=600)
    normal = data.normal_train
    assert bundle.manifest.threshold.n_windows == round(0.2 * len(normal))
    assert bundle.manifest.data.n_windows == len(normal) - round(0.2 * len(normal))
    assert bundle.manifest.data.fingerprint == data.fingerprint
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 140, 1))
    errors = score_windows(scorer, normal)
    assert 0.95 < (errors <= scorer.threshold).mean() <= 1.0


def test_metrics_are_those_of_the_test_part(trained: Trained) -> None:
    metrics = trained[0].manifest.metrics
    assert metrics is not None
    assert metrics["n_windows"] == 120
    assert metrics["positive_class"] == "anomaly"
    assert isinstance(metrics["auroc"], float)
    assert metrics["auroc"] > 0.8


def test_same_seed_same_bundle_in_this_process_and_in_another(
    trained: Trained, tmp_path: Path
) -> None:
    bundle = trained[0]
    again = train(load_recipe(SYNTHETIC, SHORT), tmp_path / "again")
    assert again.manifest.version == bundle.manifest.version
    code = (
        "import sys, pathlib\n"
        "from stream_detector.recipes import load_recipe\n"
        "from stream_detector.training import train\n"
        "recipe, out = map(pathlib.Path, sys.argv[1:3])\n"
        "print(train(load_recipe(recipe, sys.argv[3:]), out).manifest.version)\n"
    )
    arguments = [str(SYNTHETIC), str(tmp_path / "other"), *SHORT]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == bundle.manifest.version
    assert done.stderr == "", "start-up chatter reached the terminal"


def test_other_seed_other_bundle(trained: Trained, tmp_path: Path) -> None:
    other = train(load_recipe(SYNTHETIC, [*SHORT, "training.seed=1"]), tmp_path / "other")
    assert other.manifest.version != trained[0].manifest.version


@pytest.mark.slow
def test_tutorial_recipe_gives_the_published_figures(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(data_folder))
    recipe = load_recipe(TUTORIAL)
    metrics = train(recipe, tmp_path / "bundle").manifest.metrics
    assert metrics is not None
    assert recipe.published is not None
    published = recipe.published.figures()
    assert metrics["positive_class"] == "normal"
    assert metrics["accuracy"] == pytest.approx(published["accuracy"], abs=0.005)
    assert metrics["precision"] == pytest.approx(published["precision"], abs=0.002)
    assert metrics["recall"] == pytest.approx(published["recall"], abs=0.008)


KINDS = {
    "conv": ["network.filters=[4, 2]", "network.units=", "network.activation="],
    "image-conv": ["network.filters=[4, 2]", "network.units=", "network.activation="],
    "lstm": ["network.units=[4, 2]", "network.activation="],
    "vae": [],
    "pca": ["network.components=8", "training.epochs=", "training.batch_size="],
    "adversarial": ["network.discriminator_units=[4]"],
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_becomes_a_bundle_that_both_engines_run_and_the_same_again(
    tmp_path: Path, kind: str
) -> None:
    few = ["data.n_windows=200", "training.epochs=1", "training.batch_size=64"]
    recipe = load_recipe(SYNTHETIC, [*few, f"network.kind={kind}", *KINDS[kind]])
    bundle = train(recipe, tmp_path / "bundle")
    bundle.check_self_test(load_keras(bundle.network_keras, 140, 1))
    assert train(recipe, tmp_path / "again").manifest.version == bundle.manifest.version


@pytest.mark.parametrize("is_held_out", [True, False])
def test_noise_changes_what_is_fitted_and_not_the_self_test(
    trained: Trained, tmp_path: Path, is_held_out: bool
) -> None:
    calibrate_on = "held-out" if is_held_out else "train"
    overrides = [*SHORT, "training.noise=0.3", f"threshold.calibrate_on={calibrate_on}"]
    manifest = train(load_recipe(SYNTHETIC, overrides), tmp_path / "bundle").manifest
    assert ("validation_loss" in manifest.history) == is_held_out
    assert manifest.history["loss"] != trained[0].manifest.history["loss"]
    known = load_dataset("synthetic-ecg", n_windows=600).train
    assert (known == np.array(manifest.self_test.window, np.float32)).all(axis=(1, 2)).any()


HASTY = (*SHORT, "training.epochs=40", "training.patience=2", "training.learning_rate=0.1")


def test_fitting_stops_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    epochs: list[int] = []
    recipe = load_recipe(SYNTHETIC, HASTY)
    bundle = train(recipe, tmp_path / "bundle", lambda epoch, _: epochs.append(epoch))
    losses = bundle.manifest.history["validation_loss"]
    assert len(losses) == len(bundle.manifest.history["loss"]) == len(epochs) < 40
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 140, 1))
    data = load_dataset("synthetic-ecg", n_windows=600)
    held_out = split_normal(recipe, data).calibrate
    assert score_windows(scorer, held_out).mean() == pytest.approx(min(losses), rel=1e-4)
    assert train(recipe, tmp_path / "again").manifest.version == bundle.manifest.version


def test_without_patience_all_epochs_are_run(tmp_path: Path) -> None:
    recipe = load_recipe(SYNTHETIC, [*HASTY, "training.epochs=12", "training.patience="])
    history = train(recipe, tmp_path / "bundle").manifest.history
    assert len(history["loss"]) == 12


def test_a_cross_fit_calibrates_on_every_window_and_fits_to_all(tmp_path: Path) -> None:
    epochs: list[int] = []
    overrides = [*SHORT, "training.epochs=3", "threshold.calibrate_on=cross-fit"]
    recipe = load_recipe(SYNTHETIC, [*overrides, "threshold.folds=3"])
    bundle = train(recipe, tmp_path / "bundle", lambda epoch, _: epochs.append(epoch))
    manifest, data = bundle.manifest, load_dataset("synthetic-ecg", n_windows=600)
    n_normal = len(data.normal_train)
    # Folds of two thirds are fitted for 5 epochs, which count as the 3 of all windows.
    assert len(epochs) == 3 * 5 + 3
    assert sorted(set(epochs)) == list(range(1, 4 * 3 + 1))
    assert epochs == sorted(epochs)
    assert manifest.threshold.calibrated_on == "cross-fit"
    assert manifest.threshold.n_windows == manifest.data.n_windows == n_normal
    assert set(manifest.history) == {"loss"}
    assert len(manifest.history["loss"]) == 3
    # The network of the bundle is that of all windows, and the threshold not that of its errors.
    plain = [*SHORT, "training.epochs=3", "threshold.calibrate_on=train"]
    other = train(load_recipe(SYNTHETIC, plain), tmp_path / "other")
    assert other.network_onnx.read_bytes() == bundle.network_onnx.read_bytes()
    assert manifest.threshold.value > other.manifest.threshold.value
    calibration = manifest.threshold.calibration
    assert calibration is not None
    assert calibration.stated == pytest.approx(0.005)
    assert calibration.reached == pytest.approx(0.005, abs=1 / n_normal)


def test_the_larger_score_of_each_window_calibrates_a_cross_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_normal = len(load_dataset("synthetic-ecg", n_windows=600).normal_train)

    def look(
        _: ReconstructionScorer, fitted: FloatArray, others: FloatArray
    ) -> NDArray[np.float64]:
        scores = np.ones(len(others))
        if len(fitted) == n_normal:
            scores[-len(others) // 10 :] = 3.0
        else:
            scores[: len(others) // 20] = 2.0
        return scores

    monkeypatch.setattr(sys.modules["stream_detector.training.train"], "score_others", look)
    overrides = [*SHORT, "training.epochs=1", "threshold.calibrate_on=cross-fit"]
    overrides += ["threshold.method=quantile", "threshold.quantile=0.88", "threshold.folds=2"]
    bundle = train(load_recipe(SYNTHETIC, overrides), tmp_path / "bundle")
    # A twentieth has 2 from the folds, a tenth 3 from the final network: neither alone is enough.
    assert bundle.manifest.threshold.value == 2.0


def test_a_cross_fit_fits_for_as_long_as_was_best_for_the_folds(tmp_path: Path) -> None:
    bundle = train(
        load_recipe(SYNTHETIC, [*HASTY, "threshold.calibrate_on=cross-fit"]), tmp_path / "bundle"
    )
    assert 1 <= len(bundle.manifest.history["loss"]) < 40


def test_networks_of_a_cross_fit_take_as_many_steps_where_all_windows_are_one_batch(
    tmp_path: Path,
) -> None:
    epochs: list[int] = []
    overrides = [*SHORT, "training.epochs=2", "training.batch_size=512"]
    recipe = load_recipe(SYNTHETIC, [*overrides, "threshold.calibrate_on=cross-fit"])
    train(recipe, tmp_path / "bundle", lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3, 4, 5, 6]


def test_labels_place_a_threshold(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    values = np.random.default_rng(0).normal(size=(100, 8))
    labels = (np.arange(100) % 5 == 0).astype(int)
    values[labels == 1] += 100.0
    header = ",".join([*(f"v{n}" for n in range(8)), "label"])
    np.savetxt(path, np.column_stack([values, labels]), delimiter=",", header=header, comments="")
    keys = ["threshold.method=f-beta", "scaling.kind=standard", "network.output_activation="]
    bundle = train(own_recipe(path, *keys), tmp_path / "bundle")
    # In the middle between normal windows, at about 1, and the others, at about 100.
    assert 20 < bundle.manifest.threshold.value < 80
    assert bundle.manifest.metrics is not None
    assert bundle.manifest.metrics["f1"] == 1.0


def own_recipe(path: Path, *overrides: str) -> Recipe:
    return load_recipe(
        SYNTHETIC,
        [
            "data.name=csv", f"data.path={path}", "data.seed=", "data.n_windows=",
            "window.steps=4", "window.features=2", "network.units=[3]", "training.epochs=1",
            *overrides,
        ],
    )  # fmt: skip


@pytest.mark.parametrize("error", ["mae", "mse", "bce"])
def test_own_file_of_several_features_without_labels(tmp_path: Path, error: str) -> None:
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.random.default_rng(0).normal(size=(60, 8)), delimiter=",")
    recipe = own_recipe(path, f"threshold.error={error}", f"training.loss={error}")
    bundle = train(recipe, tmp_path / "bundle")
    assert (bundle.manifest.n_steps, bundle.manifest.n_features) == (4, 2)
    assert bundle.manifest.metrics is None
    assert bundle.scaler.offset.shape == (2,)


@pytest.mark.parametrize("error", ["mae", "mse"])
def test_the_normal_error_of_a_feature_is_its_median_over_calibration_windows(
    tmp_path: Path, error: Literal["mae", "mse"]
) -> None:
    path = tmp_path / "mine.csv"
    values = np.random.default_rng(0).normal(scale=[1.0, 3.0] * 4, size=(60, 8))
    np.savetxt(path, values, delimiter=",")
    changes = (f"threshold.error={error}", f"training.loss={error}", "threshold.calibrate_on=train")
    bundle = train(own_recipe(path, *changes), tmp_path / "bundle")
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 4, 2))
    assert isinstance(scorer, ReconstructionScorer)
    scaled = scorer.scaler.transform(
        np.loadtxt(path, delimiter=",").astype(np.float32).reshape(60, 4, 2)
    )
    errors = feature_errors(scaled, scorer.reconstruct(scaled), error)
    assert bundle.manifest.normal_errors == tuple(np.median(errors, axis=0).tolist())
    assert present(scorer.normal_errors).tolist() == list(bundle.manifest.normal_errors)
    assert min(bundle.manifest.normal_errors) > 0


def test_window_that_does_not_fit_the_file_is_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.zeros((60, 10)), delimiter=",")
    with pytest.raises(ConfigError, match=r"set window\.steps = 5"):
        train(own_recipe(path), tmp_path / "bundle")


def test_the_level_of_a_relative_feature_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    windows = np.random.default_rng(0).normal(size=(60, 4, 2)).astype(np.float32)
    np.savetxt(path, windows.reshape(60, 8), delimiter=",")
    bundle = train(own_recipe(path, "scaling.relative=['feature_1']"), tmp_path / "bundle")
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 4, 2))
    higher = windows + np.array([0, 4_096], np.float32)
    found, again = scorer.score(windows), scorer.score(higher)
    assert again.scores == pytest.approx(found.scores, rel=1e-2)
    off = windows + np.array([9, 0], np.float32)
    assert (scorer.score(off).scores > 2 * found.scores).all()
    first, second = (
        each.explain(7, WindowContext(0, 1_000)).explanation.features for each in (found, again)
    )
    for one, other in zip(first, second, strict=True):
        level = 4_096 * one.feature
        assert other.expected == pytest.approx([level + each for each in one.expected], abs=0.01)


@pytest.mark.parametrize("key", ["relative", "counters", "logarithmic"])
def test_features_to_be_scaled_that_there_are_not_are_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.zeros((60, 8)), delimiter=",")
    expected = rf"scaling\.{key}: expected names of the features feature_0, .*received feature_9"
    with pytest.raises(ConfigError, match=expected):
        train(own_recipe(path, f"scaling.{key}=['feature_9']"), tmp_path / "bundle")


def test_a_logarithmic_feature_is_far_off_where_it_is_a_tenth_or_tenfold(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    windows = np.random.default_rng(0).normal(size=(60, 4, 2)).astype(np.float32)
    windows[..., 1] = 100 * np.exp(0.5 * windows[..., 1])
    np.savetxt(path, windows.reshape(60, 8), delimiter=",")
    bundle = train(own_recipe(path, "scaling.logarithmic=['feature_1']"), tmp_path / "bundle")
    assert bundle.scaler.logarithmic is not None
    assert bundle.scaler.logarithmic.is_logarithmic.tolist() == [False, True]
    assert bundle.features.countings == (Counting(), Counting(is_logarithmic=True))
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 4, 2))
    usual, tenth, tenfold = (
        scorer.score(np.full((1, 4, 2), (0, 100 * factor), np.float32)).scores[0]
        for factor in (1, 0.1, 10)
    )
    assert usual < min(tenth, tenfold) < max(tenth, tenfold) < 1.5 * min(tenth, tenfold)
    found = scorer.score(np.full((1, 4, 2), (0, 1_000), np.float32))
    worst = found.explain(0, WindowContext(0, 1_000)).explanation.features[0]
    assert (worst.feature, worst.observed[0]) == (1, 1_000)
    assert 0 <= worst.expected[0] < 1_000


def test_a_logarithmic_feature_with_an_origin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    values = 1.7e9 + np.random.default_rng(0).normal(size=(60, 8))
    np.savetxt(path, values, delimiter=",", fmt="%.6f")
    expected = r"scaling\.logarithmic: .* received feature_1, which vary by so little"
    with pytest.raises(ConfigError, match=expected):
        train(own_recipe(path, "scaling.logarithmic=['feature_1']"), tmp_path / "bundle")


def test_units_of_other_features_are_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.zeros((60, 8)), delimiter=",")
    recipe = own_recipe(path)
    data = recipe.data.model_copy(update={"units": {"feature_9": "bar"}})
    with pytest.raises(ConfigError, match=r"data\.units: .* feature_0, .*received feature_9"):
        train(recipe.model_copy(update={"data": data}), tmp_path / "bundle")


def test_too_few_normal_windows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.zeros((19, 8)), delimiter=",")
    with pytest.raises(DatasetError, match="at least 20 normal windows"):
        train(own_recipe(path), tmp_path / "bundle")


def test_target_that_is_no_bundle_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a bundle"):
        train(load_recipe(SYNTHETIC, SHORT), tmp_path)


N_PUMPS, N_TRAINED = 6, 2_400


def write_fleet(path: Path, *, with_fault: bool) -> None:
    """Write a second's samples of pumps that swing by 1, and of one that swings by 0.001."""
    rng = np.random.default_rng(0)
    n_samples = 300 if with_fault else N_TRAINED
    start_s = 1_767_225_600 + (N_TRAINED if with_fault else 0)
    rows = ["key,timestamp_ms,bar"]
    for number in range(N_PUMPS):
        size = 0.001 if number == N_PUMPS - 1 else 1.0
        time_s = start_s + np.arange(n_samples)
        bar = 5 * size + size * np.sin(2 * np.pi * time_s / 30 + number)
        bar += 0.1 * size * rng.normal(size=n_samples)
        if with_fault and size < 1:
            bar[150:156] += 8 * size
        pairs = zip(time_s.tolist(), bar.tolist(), strict=True)
        rows += [f"pump-{number},{time}000,{value!r}" for time, value in pairs]
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("per_key", [True, False])
def test_a_fault_of_a_sensor_1000_times_smaller_is_found_with_a_scale_for_each_key(
    tmp_path: Path, per_key: bool
) -> None:
    write_fleet(tmp_path / "fleet.csv", with_fault=False)
    write_fleet(tmp_path / "later.csv", with_fault=True)
    changes = [
        *("data.name=csv", f"data.path={tmp_path / 'fleet.csv'}", "data.series="),
        *("window.steps=30", "window.features=1", "window.stride=5", "training.epochs=8"),
        *("window.sample_interval_ms=1000", "window.gap_ms_max=", "scaling.kind=robust"),
        *("window.allowed_lateness_ms=0", f"scaling.per_key={str(per_key).lower()}"),
    ]
    recipe = load_recipe(SYNTHETIC.with_name("smd-dense.toml"), changes)
    bundle = train(recipe, tmp_path / "bundle")
    scales = bundle.features.key_scales
    assert (None if scales is None else len(scales)) == (N_PUMPS if per_key else None)
    found = read_file(tmp_path / "later.csv", bundle)
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, 30, 1))
    is_anomalous = score_windows(scorer, found.windows) > scorer.threshold
    is_small = np.array(found.keys) == f"pump-{N_PUMPS - 1}"
    first_ms = int(found.start_ms[0])
    starts_s = (np.array(found.start_ms).astype(np.int64) - first_ms) / 1_000
    has_fault = is_small & (starts_s > 120) & (starts_s <= 150)
    assert is_anomalous[has_fault].any() == per_key
    assert is_anomalous[has_fault].all() == per_key
    assert is_anomalous[~has_fault].mean() < 0.1


def test_keys_with_too_few_samples_are_warned_of(tmp_path: Path) -> None:
    write_fleet(tmp_path / "fleet.csv", with_fault=False)
    lines = (tmp_path / "fleet.csv").read_text().splitlines()
    few = [line.replace("pump-0", "new\\x1b") for line in lines[1:N_SAMPLES_MIN]]
    (tmp_path / "fleet.csv").write_text("\n".join([*lines, *few]) + "\n")
    changes = [
        *("data.name=csv", f"data.path={tmp_path / 'fleet.csv'}", "data.series="),
        *("window.steps=4", "window.features=1", "window.stride=5", "training.epochs=1"),
        *("window.sample_interval_ms=1000", "window.gap_ms_max=", "scaling.per_key=true"),
        "window.allowed_lateness_ms=0",
    ]
    bundle = train(load_recipe(SYNTHETIC.with_name("smd-dense.toml"), changes), tmp_path / "b")
    (warning,) = [each for each in bundle.manifest.warnings if "keys with too few" in each]
    assert warning.endswith("which have the median scale of all keys: 1, such as new\\x1b")


def write_waves(folder: Path) -> None:
    """Write two files of 300 windows each, in row groups of 70: waves, and noise for anomalies."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(2):
        labels = (rng.random(300) < 0.05).astype(np.int8)
        phases = rng.uniform(0, 6, (300, 1))
        values = np.sin(phases + np.arange(8)) + rng.normal(0, 0.02 + labels[:, None], (300, 8))
        columns = {f"v{at}": column for at, column in enumerate(values.T)} | {"label": labels}
        path = folder / f"part-{number}.parquet"
        parquet.write_table(pyarrow.table(columns), path, row_group_size=70)


def streamed_recipe(folder: Path, *overrides: str) -> Recipe:
    keys = ("data.name=parquet", "data.n_windows_in_memory=200", "window.steps=8")
    return own_recipe(folder, *keys, "window.features=1", "training.batch_size=16", *overrides)


def test_a_network_is_fitted_to_windows_that_are_not_in_memory(tmp_path: Path) -> None:
    write_waves(tmp_path / "waves")
    recipe = streamed_recipe(tmp_path / "waves", "training.epochs=6", "training.patience=3")
    bundle = train(recipe, tmp_path / "bundle")
    manifest, metrics = bundle.manifest, present(bundle.manifest.metrics)
    held = load_windows(recipe)
    stream = present(held.stream)
    assert manifest.data.n_windows == len(stream) - manifest.threshold.n_windows
    assert 400 < manifest.data.n_windows < 480
    assert manifest.threshold.n_windows == round(0.2 * len(held.normal_train))
    assert manifest.data.fingerprint == held.fingerprint
    assert len(present(load_trained_on(bundle)).train) == len(held.train)
    assert isinstance(metrics["auroc"], float)
    assert metrics["auroc"] > 0.9
    assert "; hold more windows, by data.n_windows_in_memory, or" in manifest.warnings[0]
    # The same normal windows scale the values as in memory.
    memory = train(streamed_recipe(tmp_path / "waves", IN_MEMORY), tmp_path / "memory")
    low, high = (bundle.scaler.offset, bundle.scaler.offset + 1 / bundle.scaler.scale)
    np.testing.assert_allclose(memory.scaler.offset, low, rtol=0.05)
    np.testing.assert_allclose(memory.scaler.offset + 1 / memory.scaler.scale, high, rtol=0.05)
    assert memory.manifest.data.n_windows < 480
    assert train(recipe, tmp_path / "again").manifest.version == manifest.version


IN_MEMORY = "data.n_windows_in_memory=600"


def test_where_all_windows_are_in_memory_nothing_differs(tmp_path: Path) -> None:
    write_waves(tmp_path / "waves")
    names = ("data.n_windows_in_memory=", IN_MEMORY)
    bundles = [train(streamed_recipe(tmp_path / "waves", each), tmp_path / "b") for each in names]
    first, second = (each.manifest.model_dump(exclude={"version", "recipe"}) for each in bundles)
    assert first == second


def test_checks_are_calibrated_on_windows_in_memory_by_networks_that_were_fitted_to_all_others(
    tmp_path: Path,
) -> None:
    write_waves(tmp_path / "waves")
    epochs: list[int] = []
    crossed = ["threshold.method=false_alarm_share", "threshold.quantile="]
    crossed += ["threshold.calibrate_on=cross-fit", "threshold.calibration_share="]
    crossed += ["threshold.folds=2", "threshold.false_alarm_share=0.05", "scorer.kind=checks"]
    recipe = streamed_recipe(tmp_path / "waves", *crossed, "check=[{kind='shape'}]")
    bundle = train(recipe, tmp_path / "bundle", lambda epoch, _: epochs.append(epoch))
    held = load_windows(recipe)
    assert bundle.manifest.data.n_windows == len(present(held.stream))
    assert bundle.manifest.threshold.n_windows == len(held.normal_train)
    assert epochs == [1, 1, 2, 2, 3]
    # In closed form it is fitted to the windows in memory.
    plain = ["network.kind=pca", "network.components=2", "training.epochs=", "network.units="]
    plain += ["network.activation=", "network.output_activation=", "training.batch_size="]
    other = train(
        streamed_recipe(tmp_path / "waves", *crossed, "check=[{kind='shape'}]", *plain),
        tmp_path / "other",
        overwrite=True,
    )
    assert other.manifest.data.n_windows == len(held.normal_train)
