"""No changed bundle is ever read as if it were the one that was written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.bundle import (
    Facts,
    SelfTest,
    Threshold,
    TrainingData,
    read_bundle,
    write_bundle,
)
from stream_detector.core.scaling import fit_scaler
from stream_detector.errors import BundleError
from stream_detector.recipes import load_recipe

RECIPE = load_recipe(Path(__file__).parents[2] / "models" / "synthetic-ecg-dense.toml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    window = np.zeros((1, 2, 1), dtype=np.float32)
    facts = Facts(
        name="test",
        n_steps=2,
        n_features=1,
        data=TrainingData(name="mine", split="", fingerprint="0" * 64, n_windows=80),
        threshold=Threshold(
            value=0.4, error="mae", method="sigma", calibrated_on="train", n_windows=80
        ),
        metrics=None,
        self_test=SelfTest(window=window[0].tolist(), reconstruction_error=0.0),
        recipe=RECIPE,
    )
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    return write_bundle(out, facts, bytes(range(256)), b"onnx", fit_scaler("none", window))


@given(data=st.data())
def test_one_changed_byte_is_noticed_or_changes_nothing(bundle, data):
    path = data.draw(st.sampled_from(sorted(bundle.path.iterdir())))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(changed)
        try:
            again = read_bundle(bundle.path)
        except BundleError:
            return
        # Only white space between the manifest's values can change without a trace.
        assert path.name == "manifest.json"
        assert again.manifest == bundle.manifest
    finally:
        path.write_bytes(original)


@given(length=st.integers(0, 255))
def test_cut_off_file_is_noticed(bundle, length):
    original = bundle.network_keras.read_bytes()
    try:
        bundle.network_keras.write_bytes(original[:length])
        with pytest.raises(BundleError):
            read_bundle(bundle.path)
    finally:
        bundle.network_keras.write_bytes(original)
