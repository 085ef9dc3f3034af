"""A bundle that needs no training and no Keras: its network halves each value."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.bundle import Facts, SelfTest, Threshold, TrainingData, write_bundle
from stream_detector.core.scaling import fit_scaler
from stream_detector.recipes import Recipe, load_recipe

ROOT = Path(__file__).parents[2]


def make_bundle(
    path: Path,
    shape: tuple[int, int] = (140, 1),
    factor: float = 0.5,
    recipe: Recipe | None = None,
) -> None:
    """Write a bundle for windows of 140 values; anomalous where their mean size is above 1.

    Parameters
    ----------
    path
        Of the folder.
    shape
        (n_steps, n_features), where it is another.
    factor
        What each value is multiplied by, where not halved.
    recipe
        Where it is not that of ECG5000.
    """
    recipe = recipe or load_recipe(ROOT / "models" / "ecg5000-dense.toml")
    window = np.zeros((1, *shape), np.float32)
    facts = Facts(
        name=recipe.name,
        n_steps=shape[0],
        n_features=shape[1],
        data=TrainingData(name="ecg5000", split="tutorial", fingerprint="0" * 64, n_windows=1),
        threshold=Threshold(
            value=0.5, error="mae", method="sigma", calibrated_on="train", n_windows=1
        ),
        metrics=None,
        self_test=SelfTest(window=window[0].tolist(), reconstruction_error=0.0),
        recipe=recipe,
    )
    write_bundle(
        path,
        facts,
        b"not read by this engine",
        scaling_network(shape, factor),
        fit_scaler("none", window),
    )


def scaling_network(shape: tuple[int, int], factor: float) -> bytes:
    helper = pytest.importorskip("onnx.helper")
    float32 = pytest.importorskip("onnx").TensorProto.FLOAT
    sizes = ["n_windows", *shape]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["windows", "factor"], ["reconstructions"])],
        "scale",
        [helper.make_tensor_value_info("windows", float32, sizes)],
        [helper.make_tensor_value_info("reconstructions", float32, sizes)],
        [helper.make_tensor("factor", float32, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()
