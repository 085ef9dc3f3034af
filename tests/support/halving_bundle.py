"""A bundle that needs no training and no Keras: its network halves each value."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.bundle import (
    BundleParts,
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    write_bundle,
)
from stream_detector.core.features import Features
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.recipes import Recipe, load_recipe

ROOT = Path(__file__).parents[2]


def make_bundle(
    path: Path,
    recipe: Recipe | str = "ecg5000-dense",
    network_keras: bytes = b"not read by this engine",
    factor: float = 0.5,
    name: str | None = None,
    features: Features | None = None,
) -> None:
    """Write a bundle of a recipe's shape; anomalous where the mean scaled size is above 1.

    That is so with a network that halves; another `factor` may be given. The bundle has the name
    of its recipe if no other is given.

    The features have generated names if none are given.

    Of images, which are scaled to [0, 1], those are that have a mean above a half. A network for
    the other engine fits where the self-test, a window of zeros, gives no error with it.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(ROOT / "models" / f"{recipe}.toml")
    is_image = recipe.window.record == "image"
    n_steps, n_features = recipe.window.steps, recipe.window.features
    window = np.zeros((1, n_steps, n_features), np.float32)
    facts = Facts(
        name=name or recipe.name,
        n_steps=n_steps,
        n_features=n_features,
        features=(features or Features.generated(n_features)).names,
        origin=() if features is None else features.origin,
        data=TrainingData(name=recipe.data.name, split="", fingerprint="0" * 64, n_windows=1),
        threshold=Threshold(
            value=0.25 if is_image else 0.5,
            error="mae",
            method="sigma",
            calibrated_on="train",
            n_windows=1,
        ),
        metrics=None,
        self_test=SelfTest(window=window[0].tolist(), score=0.0),
        recipe=recipe,
        history={"loss": (2.0, 1.0)},
    )
    scaler = fit_scaler("pixels" if is_image else "none", window)
    network_onnx = scaling_network(n_steps, n_features, factor)
    key_scales = None if features is None else features.key_scales
    write_bundle(path, facts, BundleParts(network_keras, network_onnx, scaler, key_scales))


def make_bundle_of_samples(
    path: Path,
    n_steps: int = 20,
    n_features: int = 1,
    features: Features | None = None,
    **alerting: int | None,
) -> None:
    """Write a bundle for samples, one a second, in windows side by side.

    Keys of the recipe's `[alerting]` may be given, and the features with their units.
    """
    recipe = load_recipe(ROOT / "models" / "smd-dense.toml")
    data = recipe.data.model_copy(update={"name": "csv", "series": None, "path": "pumps.csv"})
    if features is not None and features.units:
        units = dict(zip(features.names, features.units, strict=True))
        data = data.model_copy(update={"units": units})
    changes: dict[str, object] = {"steps": n_steps, "features": n_features, "stride": n_steps}
    changes |= {"sample_interval_ms": 1_000.0, "gap_ms_max": None}
    window = recipe.window.model_copy(update=changes)
    rules = recipe.alerting.model_copy(update=alerting)
    made = recipe.model_copy(
        update={"name": "pumps", "data": data, "window": window, "alerting": rules}
    )
    make_bundle(path, made, features=features)


def scaling_network(n_steps: int, n_features: int, factor: float) -> bytes:
    helper = pytest.importorskip("onnx.helper")
    float32 = pytest.importorskip("onnx").TensorProto.FLOAT
    shape = ["n_windows", n_steps, n_features]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["windows", "factor"], ["reconstructions"])],
        "scale",
        [helper.make_tensor_value_info("windows", float32, shape)],
        [helper.make_tensor_value_info("reconstructions", float32, shape)],
        [helper.make_tensor("factor", float32, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def untrained_network(recipe: Recipe) -> bytes:
    """Return a network for Keras whose reconstruction of zeros is zeros: it has no bias yet."""
    from stream_detector.engines.backend import import_keras

    import_keras().utils.set_random_seed(1)
    from stream_detector.networks import build_network
    from stream_detector.networks.export import export_keras

    network = build_network(recipe.network, recipe.window.steps, recipe.window.features)
    return export_keras(network)
