"""Networks of every kind: what they are made of, and how they are fitted."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.datasets.files.streaming import load_streamed
from stream_detector.engines.backend import import_keras
from stream_detector.engines.onnx_graph import check_graph
from stream_detector.networks import build_network
from stream_detector.networks.export import export_onnx
from stream_detector.recipes import NetworkSection
from stream_detector.recipes.networks import (
    Activation,
    AdversarialNetwork,
    ConvNetwork,
    DenseNetwork,
    LstmNetwork,
    PcaNetwork,
    VariationalNetwork,
)
from stream_detector.recipes.training import TrainingSection
from stream_detector.training.components import N_FIT_MAX, principal_components
from stream_detector.training.fitting import KerasFit, fit_network
from stream_detector.training.pairs import Pairs, with_noise
from stream_detector.training.streaming import StreamedPairs
from stream_detector.training.task import Task

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SHAPE = (12, 2)
DENSE = DenseNetwork(kind="dense", units=(8, 3), output_activation="sigmoid")
VARIATIONAL = VariationalNetwork(kind="vae", units=(8, 3), output_activation="sigmoid")
ADVERSARIAL = AdversarialNetwork(kind="adversarial", units=(8, 3), discriminator_units=(8,))
PCA = PcaNetwork(kind="pca", components=3)
SECTIONS: dict[str, NetworkSection] = {
    "dense": DENSE,
    "sparse": DenseNetwork(kind="dense", units=(40,), latent_l1=0.01),
    "conv": ConvNetwork(kind="conv", filters=(4, 2)),
    "image-conv": ConvNetwork(kind="image-conv", filters=(4, 2), downsampling="pooling"),
    "lstm": LstmNetwork(kind="lstm", units=(6, 3)),
    "vae": VARIATIONAL,
    "adversarial": ADVERSARIAL,
    "pca": PCA,
}
DENOISER = ConvNetwork(kind="image-conv", filters=(16, 8), output_activation="sigmoid")
BLOG = ConvNetwork(
    kind="image-conv", filters=(16, 8, 8), downsampling="pooling", output_activation="sigmoid"
)

each_kind = pytest.mark.parametrize("name", sorted(SECTIONS))
each_learnt_kind = pytest.mark.parametrize("name", sorted(SECTIONS.keys() - {"pca"}))


def layers(model: Any) -> list[str]:
    """Return what a model's layers are and what they give."""
    return [
        f"{type(layer).__name__} {'x'.join(map(str, layer.output.shape[1:]))}"
        for layer in model.layers[1:]
    ]


def task(n_windows: int = 64, epochs: int = 3, validation: bool = True, **settings: Any) -> Task:
    """Return slow waves of some phase, to be reconstructed."""
    phases = np.random.default_rng(5).uniform(0, 6, (2 * n_windows, 1, 1))
    steps = np.linspace(0, 3, SHAPE[0])[:, None] + np.arange(SHAPE[1])
    waves = (0.5 + 0.4 * np.sin(phases + steps)).astype(np.float32)  # (2 * n_windows, 12, 2)
    training = TrainingSection(epochs=epochs, batch_size=16, learning_rate=0.01, **settings)
    fit, held_out = (Pairs(part, part) for part in (waves[:n_windows], waves[n_windows:]))
    return Task(training, fit, held_out if validation else None, None)


def fresh(section: NetworkSection, seed: int = 0) -> Any:
    import_keras().utils.set_random_seed(seed)
    return build_network(section, *SHAPE)


def test_tutorials_denoiser_layer_by_layer() -> None:
    model = build_network(DENOISER, 28, 28)
    assert layers(model.get_layer("encoder")) == [
        "Reshape 28x28x1", "Conv2D 14x14x16", "Conv2D 7x7x8",
    ]  # fmt: skip
    assert layers(model.get_layer("decoder")) == [
        "Conv2DTranspose 14x14x8", "Conv2DTranspose 28x28x16", "Cropping2D 28x28x16",
        "Conv2D 28x28x1", "Flatten 784", "Reshape 28x28",
    ]  # fmt: skip
    assert model.count_params() == 160 + 1160 + 584 + 1168 + 145


def test_blogs_convolutional_autoencoder_layer_by_layer() -> None:
    model = build_network(BLOG, 28, 28)
    assert layers(model.get_layer("encoder")) == [
        "Reshape 28x28x1", "Conv2D 28x28x16", "MaxPooling2D 14x14x16", "Conv2D 14x14x8",
        "MaxPooling2D 7x7x8", "Conv2D 7x7x8", "MaxPooling2D 4x4x8",
    ]  # fmt: skip
    assert layers(model.get_layer("decoder")) == [
        "Conv2D 4x4x8", "UpSampling2D 8x8x8", "Conv2D 8x8x8", "UpSampling2D 16x16x8",
        "Conv2D 16x16x16", "UpSampling2D 32x32x16", "Cropping2D 28x28x16", "Conv2D 28x28x1",
        "Flatten 784", "Reshape 28x28",
    ]  # fmt: skip
    assert model.count_params() == 4385


def test_image_of_three_channels_is_rows_columns_channels() -> None:
    model = build_network(DENOISER, 9, 33, 3)
    assert layers(model.get_layer("encoder"))[0] == "Reshape 9x11x3"
    assert model.output_shape == (None, 9, 33)


def test_convolution_over_steps_does_not_mix_in_other_axes() -> None:
    model = build_network(ConvNetwork(kind="conv", filters=(4, 2), kernel_size=7), 37, 5)
    encoder = model.get_layer("encoder")
    assert layers(encoder) == ["Reshape 37x1x5", "Conv2D 19x1x4", "Conv2D 10x1x2"]
    assert encoder.get_layer("encoder_1").kernel.shape == (7, 1, 5, 4)


def test_recurrent_layers_write_a_window_from_its_code() -> None:
    model = build_network(LstmNetwork(kind="lstm", units=(16, 8, 3)), *SHAPE)
    assert layers(model.get_layer("encoder")) == ["LSTM 12x16", "LSTM 8", "Dense 3"]
    assert layers(model.get_layer("decoder")) == [
        "RepeatVector 12x3", "LSTM 12x8", "LSTM 12x16", "Dense 12x2",
    ]  # fmt: skip


@pytest.mark.parametrize(("section", "activation"), [(DENSE, "relu"), (VARIATIONAL, "linear")])
def test_code_that_is_to_look_gaussian_may_be_negative(
    section: NetworkSection, activation: str
) -> None:
    latent = build_network(section, *SHAPE).get_layer("encoder").layers[-1]
    assert (latent.units, latent.activation.__name__) == (3, activation)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_activation_can_be_exported_and_loaded(activation: Activation) -> None:
    section = DenseNetwork(kind="dense", units=(4,), activation=activation)
    check_graph(Path("network.onnx"), export_onnx(fresh(section)))


@each_kind
def test_encoder_and_decoder_are_the_whole_and_names_never_count_up(name: str) -> None:
    first, second = (fresh(SECTIONS[name]) for _ in range(2))
    assert first.input_shape == first.output_shape == (None, *SHAPE)
    windows = task().held.inputs
    encoder, decoder = (first.get_layer(role) for role in ("encoder", "decoder"))
    np.testing.assert_array_equal(
        decoder.predict_on_batch(encoder.predict_on_batch(windows)), first.predict_on_batch(windows)
    )
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.name == other.name
        assert [layer.name for layer in getattr(one, "layers", [])] == [
            layer.name for layer in getattr(other, "layers", [])
        ]


@each_learnt_kind
def test_fitting_lowers_both_losses_and_reports_each_epoch(name: str) -> None:
    reported = []
    given = task(epochs=6)
    given = Task(given.training, given.fit, given.validation, lambda *each: reported.append(each))
    history = fit_network(fresh(SECTIONS[name]), SECTIONS[name], given)
    assert sorted(history) == ["loss", "validation_loss"]
    assert reported == list(enumerate(history["loss"], start=1))
    for losses in history.values():
        assert len(losses) == 6
        assert losses[-1] < losses[0]


@each_kind
def test_same_seed_same_weights(name: str) -> None:
    section = SECTIONS[name]

    def weights(seed: int) -> list[FloatArray]:
        network = fresh(section, seed)
        fit_network(network, section, task(epochs=2, seed=seed, validation=False))
        return list(network.get_weights())

    one, again = weights(1), weights(1)
    assert len(one) == len(again)
    for index, array in enumerate(one):
        np.testing.assert_array_equal(array, again[index])


@pytest.mark.parametrize("name", ["sparse", "vae"])
def test_a_network_is_fitted_again_as_if_it_was_the_first_time(name: str) -> None:
    given, other = task(), task(n_windows=48, epochs=2, patience=1)
    alone = fresh(SECTIONS[name])
    expected = fit_network(alone, SECTIONS[name], given)
    kept = KerasFit(fresh(SECTIONS[name]), SECTIONS[name], other)
    kept.run(other)
    import_keras().utils.set_random_seed(0)
    assert kept.run(given) == expected
    for one, again in zip(alone.get_weights(), kept.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, again)


def test_principal_components_reconstruct_best_and_do_not_ask_for_the_settings() -> None:
    reported = []
    given = task(epochs=6, noise=0.5)
    given = Task(given.training, given.fit, given.validation, lambda *each: reported.append(each))
    network = fresh(PCA)
    history = fit_network(network, PCA, given)
    rows = given.held.targets.reshape(64, -1).astype(np.float64)
    around = rows - rows.mean(axis=0)
    left = np.linalg.svd(around, compute_uv=False)[3:]
    assert history["loss"] == [pytest.approx(np.square(left).sum() / rows.size, rel=1e-6)]
    assert reported == [(1, history["loss"][0])]
    for pairs, losses in zip((given.held, given.validation), history.values(), strict=True):
        assert pairs is not None
        error = network.predict_on_batch(pairs.targets) - pairs.targets
        assert losses == [pytest.approx(float(np.square(error).mean()), rel=1e-3, abs=1e-8)]
    latent = network.get_layer("encoder").predict_on_batch(given.held.inputs)
    np.testing.assert_allclose(latent.mean(axis=0), 0, atol=1e-5)


def test_principal_components_fit_to_what_is_to_be_given_and_not_to_its_noise() -> None:
    given = task(validation=False)
    noisy = Pairs(given.held.inputs[::-1].copy(), given.held.targets)
    weights = []
    for fit in (given.fit, noisy):
        network = fresh(PCA)
        fit_network(network, PCA, Task(given.training, fit, None, None))
        weights.append(network.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_principal_components_beyond_the_number_of_windows_are_nothing() -> None:
    windows = task().held.targets[:2]
    _, axes = principal_components(windows, 5)
    assert axes.shape == (24, 5)
    np.testing.assert_allclose(np.square(axes).sum(axis=0), [1, 1, 0, 0, 0], atol=1e-12)
    section = PCA.model_copy(update={"components": 5})
    network = fresh(section)
    fit_network(network, section, Task(task().training, Pairs(windows, windows), None, None))
    np.testing.assert_allclose(network.predict_on_batch(windows), windows, atol=1e-6)


def test_principal_components_of_many_windows_are_those_of_some_spread_over_all() -> None:
    windows = np.random.default_rng(0).normal(size=(2 * N_FIT_MAX, 2, 1)).astype(np.float32)
    windows[N_FIT_MAX:, :, 0] += 100  # a second half that the first says nothing of
    middle, axes = principal_components(windows, 1)
    np.testing.assert_allclose(middle, 50, atol=0.1)
    np.testing.assert_allclose(axes, np.sqrt(0.5), atol=1e-3)
    same = principal_components(windows[:N_FIT_MAX], 2)[1]
    assert (same[np.abs(same).argmax(axis=0), [0, 1]] > 0).all()


def test_without_validation_there_is_no_validation_loss() -> None:
    for section in (DENSE, ADVERSARIAL):
        history = fit_network(fresh(section), section, task(validation=False))
        assert sorted(history) == ["loss"]


def test_l1_makes_codes_sparse_and_counts_in_the_loss() -> None:
    plain, sparse = (
        DenseNetwork(kind="dense", units=(40,), latent_l1=latent_l1) for latent_l1 in (0.0, 0.1)
    )
    networks = [fresh(section) for section in (plain, sparse)]
    given = task(epochs=8)
    losses = [
        fit_network(network, section, given)["loss"][0]
        for network, section in zip(networks, (plain, sparse), strict=True)
    ]
    latent = [
        network.get_layer("encoder").predict_on_batch(given.held.inputs) for network in networks
    ]
    assert losses[1] > losses[0]
    assert np.abs(latent[1]).mean() < 0.2 * np.abs(latent[0]).mean()


def test_divergence_is_that_of_the_paper_and_codes_are_drawn_only_while_fitting() -> None:
    keras = import_keras()
    from stream_detector.training.variational import DrawnLatent

    mean, log_variance = (
        np.array([[1.0, -2.0], [0.0, 0.5]], np.float32),
        np.array([[0.0, 0.5], [-1, 0]], np.float32),
    )
    layer = DrawnLatent(weight=0.25, seed=0)
    latent = keras.ops.convert_to_numpy(layer(mean, log_variance, training=False))
    np.testing.assert_array_equal(latent, mean)
    # Between N(mean, variance) and N(0, 1): (variance + mean^2 - 1 - log(variance)) / 2.
    each = (np.exp(log_variance) + mean**2 - 1 - log_variance) / 2
    assert float(layer.losses[0]) == pytest.approx(0.25 * each.sum(axis=1).mean(), rel=1e-6)
    many = np.full((4000, 2), 3.0, np.float32)
    drawn = keras.ops.convert_to_numpy(layer(many, np.log(many), training=True))
    assert drawn.mean() == pytest.approx(3.0, abs=0.1)
    assert drawn.var() == pytest.approx(3.0, abs=0.2)


def test_codes_come_to_look_gaussian() -> None:
    section = VARIATIONAL.model_copy(update={"kl_weight": 4.0})
    given = task(n_windows=256, epochs=30)
    network = fresh(section)
    fit_network(network, section, given)
    latent = network.get_layer("encoder").predict_on_batch(given.held.inputs)
    assert np.abs(latent.mean(axis=0)).max() < 0.5
    assert latent.std(axis=0).max() < 2.0


def test_playing_against_the_discriminator_draws_codes_near_and_leaves_the_decoder_alone() -> None:
    from stream_detector.training.adversarial import _Adversaries

    given = task(n_windows=64)
    network = fresh(ADVERSARIAL)
    encoder, decoder = (network.get_layer(role) for role in ("encoder", "decoder"))
    encoder.layers[-1].bias.assign([5.0, -5.0, 5.0])
    before = decoder.get_weights()
    adversaries, rng = _Adversaries(network, ADVERSARIAL, given), np.random.default_rng(0)
    for _ in range(300):
        adversaries.fit_batch(given.held.inputs, rng)
    latent = encoder.predict_on_batch(given.held.inputs)
    assert np.abs(latent.mean(axis=0)).max() < 2.5
    for index, array in enumerate(before):
        np.testing.assert_array_equal(array, decoder.get_weights()[index])


def test_noise_is_seen_and_not_to_be_given() -> None:
    windows = task().held.inputs
    inputs, targets = with_noise(windows, 0.2, np.random.default_rng(0))
    assert targets is windows
    assert inputs.dtype == np.float32
    assert (inputs.min(), inputs.max()) == (0.0, 1.0)
    inside = (inputs > 0) & (inputs < 1) & (np.abs(windows - 0.5) < 0.1)
    assert (inputs - windows)[inside].std() == pytest.approx(0.2, abs=0.03)
    again = with_noise(windows, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(again.inputs, inputs)
    assert with_noise(windows, 0.0, np.random.default_rng(0)) == (windows, windows)


def test_every_kind_fits_with_another_backend() -> None:
    code = (
        "import sys\n"
        "try:\n"
        "    import jax\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "import keras\n"
        "from test_networks import SECTIONS, fresh, task\n"
        "from stream_detector.training.fitting import fit_network\n"
        "assert keras.backend.backend() == 'jax'\n"
        "for name, section in SECTIONS.items():\n"
        "    if name == 'pca':\n"
        "        fit_network(fresh(section), section, task())\n"
        "        continue\n"
        "    losses = fit_network(fresh(section), section, task(epochs=6))['loss']\n"
        "    assert losses[-1] < losses[0], (name, losses)\n"
    )
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode == 77:
        pytest.skip("needs JAX: pip install jax")
    assert done.returncode == 0, done.stderr


def test_batches_are_those_of_keras_for_arrays() -> None:
    """Several steps at a time too: 10 an epoch, the last of fewer windows."""
    given = task(147, epochs=50)
    assert given.steps_at_a_time() == 16
    network, other = fresh(DENSE), fresh(DENSE)
    import_keras().utils.set_random_seed(3)
    history = fit_network(network, DENSE, given)
    import_keras().utils.set_random_seed(3)
    given.compile(other)
    arrays = {"x": given.held.inputs, "y": given.held.targets, "batch_size": 16}
    fitted = other.fit(**arrays, validation_data=given.validation, epochs=50, verbose=0)
    assert list(history.values()) == list(fitted.history.values())
    for one, another in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_many_networks_are_fitted_without_a_word_of_tensorflow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`init` fits six and more; what TensorFlow says of functions that it traces helps nobody."""
    import tensorflow as tf

    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    for _ in range(8):
        task(16).held.draw_order()
    assert not caplog.records


def test_several_steps_are_taken_at_a_time_where_that_pays_and_can_be() -> None:
    import tensorflow as tf

    assert task(160, epochs=49).steps_at_a_time() == 1
    assert task(160, epochs=50).steps_at_a_time() == 16
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert task(160, epochs=50).steps_at_a_time() == 1


@pytest.mark.parametrize("name", ["dense", "sparse", "vae"])
def test_windows_read_while_fitting_give_the_same_bits_as_in_memory_in_the_same_order(
    tmp_path: Path, name: str
) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    given = task(121, epochs=1)
    values = given.held.inputs.reshape(121, -1)
    table = pyarrow.table({f"v{at}": column for at, column in enumerate(values.T)})
    parquet.write_table(table, tmp_path / "windows.parquet", row_group_size=13)
    stream = present(load_streamed(tmp_path / "windows.parquet", SHAPE[1], 100, 0).stream)
    plain = Scaler("none", np.zeros(2, np.float32), np.ones(2, np.float32))
    streamed = StreamedPairs(stream, plain, noise=0.0, seed=0, n_mixed=30)
    network = fresh(SECTIONS[name])
    history = fit_network(network, SECTIONS[name], replace(given, fit=streamed))

    class InOrder(Pairs):
        """Windows in memory that are not shuffled."""

        def draw_order(self) -> NDArray[np.int64]:
            return np.arange(self.n_windows)

    inputs = np.concatenate([batch.inputs for batch in streamed.batches(0, 16)])
    assert len(inputs) == 121
    other = fresh(SECTIONS[name])
    in_memory = replace(given, fit=InOrder(inputs, inputs))
    assert fit_network(other, SECTIONS[name], in_memory) == history
    for one, another in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
