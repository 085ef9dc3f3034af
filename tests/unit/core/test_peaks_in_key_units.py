"""Windows round peaks are brought to the units of their keys, live as offline, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from present import present
from pulses import pulses, serve_pulses

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.datasets.windowing import cut_samples
from stream_detector.evaluation.offline import run_offline

if TYPE_CHECKING:
    from stream_detector.core.alerting.alert import Alert
    from stream_detector.core.sample_detector import SampleDetector

OFFSET = np.array([[0, 0], [0.04, 0.05]], np.float32)
SCALE = np.array([[1, 0.5], [100, 50]], np.float32)
FEATURES = Features(("flow", "heat"), (), KeyScales([b"big", b"small"], OFFSET, SCALE))
PER_KEY = ("scaling.per_key=true", "scaling.warm_up_samples=0")


def test_live_scores_are_those_of_windows_in_key_units(tmp_path: Path) -> None:
    served = serve_pulses(tmp_path / "bundle", FEATURES, *PER_KEY, "peaks.keep_band_hz=[1, 20]")
    detector, features = cast("SampleDetector", served.detector), served.bundle.features
    samples = pulses(("big", "small", "new"))
    is_small = samples.series == 1
    samples.values[is_small] = samples.values[is_small] * 0.01 + OFFSET[1]
    cut = cut_samples(samples, detector.windows, features)
    assert cut.n_warm_up == 0
    rows = np.array([{"big": 0, "small": 1, "new": 2}[key] for key in cut.keys])
    assert features.key_scales is not None
    scaled = features.key_scales.transform(cut.windows, rows)
    run = run_offline(detector, samples)
    order = np.lexsort((run.end_ms, samples.series[run.rows]))
    same = np.lexsort((cut.end_ms, rows))
    np.testing.assert_array_equal(run.end_ms[order], cut.end_ms[same])
    np.testing.assert_array_equal(run.scores[order], detector.score(scaled)[same])
    # The new key has the median of both scales.
    np.testing.assert_allclose(features.key_scales.scale[2], 2 / (1 / SCALE).sum(axis=0))


def test_an_alert_of_a_small_key_is_in_its_own_unit(tmp_path: Path) -> None:
    served = serve_pulses(tmp_path / "bundle", FEATURES, *PER_KEY)
    samples = pulses(("small",))
    samples = replace(samples, values=samples.values * np.float32(0.01) + OFFSET[1])
    alerts: list[Alert] = []
    detector = cast("SampleDetector", served.detector)
    run_offline(detector, samples, alerts.append)
    assert (alerts[0].key, alerts[0].event) == ("small", "open")
    (feature, *_) = present(alerts[0].explanation).features
    assert feature.name == "heat"
    lowest = np.array(present(feature.observed), np.float64).min()
    assert lowest == pytest.approx(0.05 - 0.2, abs=1e-3)
