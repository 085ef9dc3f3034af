"""The synthetic ECG: repeatable, endless, and anomalous where it says so."""

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets import load_dataset
from stream_detector.datasets.synthetic_ecg import KINDS, N_STEPS, generate, stream

Beats = tuple[FloatArray, NDArray[np.int8], NDArray[Any]]
"""Windows, labels and kinds."""


@pytest.fixture(scope="module")
def beats() -> Beats:
    return generate(4000, np.random.default_rng(7), anomaly_share=0.5)


def of(beats: Beats, kind: str) -> FloatArray:
    windows, _, kinds = beats
    chosen: FloatArray = windows[kinds == kind][:, :, 0]
    return chosen


def test_shapes_types_and_labels(beats: Beats) -> None:
    windows, labels, kinds = beats
    assert windows.shape == (4000, N_STEPS, 1)
    assert windows.dtype == np.float32
    assert windows.flags.c_contiguous
    assert np.isfinite(windows).all()
    np.testing.assert_array_equal(labels == 1, kinds != "normal")
    assert set(kinds.tolist()) == set(KINDS)
    assert 0.45 < labels.mean() < 0.55


def test_normal_beat_is_an_ecg(beats: Beats) -> None:
    normal = of(beats, "normal").mean(axis=0)
    peak = int(normal.argmax())
    assert abs(peak - N_STEPS // 2) <= 1
    assert 0.9 < normal[peak] < 1.5
    assert normal[peak - 10 : peak].min() < -0.1, "Q goes down before R"
    assert normal[peak : peak + 15].min() < -0.2, "S goes down after R"
    assert 0.1 < normal[peak - 35 : peak - 12].max() < 0.5, "P before"
    assert 0.2 < normal[peak + 20 : peak + 50].max() < 0.7, "T after"


def test_anomalies_look_like_their_names(beats: Beats) -> None:
    normal = of(beats, "normal")
    assert of(beats, "ectopic").argmax(axis=1).max() < normal.argmax(axis=1).min()
    assert of(beats, "missing").max(axis=1).max() < normal.max(axis=1).min()
    shift = np.abs(of(beats, "st-shift") - normal.mean(axis=0)).mean(axis=0)
    assert shift[85:115].min() > 4 * shift[:60].max()
    roughness = np.abs(np.diff(of(beats, "noise"), axis=1)).mean(axis=1)
    assert roughness.min() > 1.2 * np.abs(np.diff(normal, axis=1)).mean()


def test_same_seed_same_stream() -> None:
    first, second, other = (
        np.stack([beat.window for beat in itertools.islice(stream(seed), 600)])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_stream_says_what_each_beat_is() -> None:
    beats = list(itertools.islice(stream(3, anomaly_share=0.3), 300))
    assert {beat.kind for beat in beats} == set(KINDS)
    assert all(beat.label == int(beat.kind != "normal") for beat in beats)


def test_no_windows_is_no_windows() -> None:
    windows, labels, kinds = generate(0, np.random.default_rng(0))
    assert windows.shape == (0, N_STEPS, 1)
    assert len(labels) == len(kinds) == 0


def test_as_a_data_set() -> None:
    data = load_dataset("synthetic-ecg", seed=5, n_windows=500)
    assert data.train.shape == (400, N_STEPS, 1)
    assert data.test.shape == (100, N_STEPS, 1)
    assert data.fingerprint == load_dataset("synthetic-ecg", seed=5, n_windows=500).fingerprint
    assert data.fingerprint != load_dataset("synthetic-ecg", seed=6, n_windows=500).fingerprint
    assert (data.normal_train == data.train[data.train_labels == 0]).all()


def test_needs_numpy_alone() -> None:
    code = (
        "import sys; import stream_detector.datasets.synthetic_ecg; "
        "print(sorted({'pandas', 'pyarrow', 'pooch', 'keras', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
