"""Detectors that need neither a bundle nor an engine: any function stands for the network."""

from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.detector import WindowDetector
from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.reconstruction import Reconstruct, ReconstructionScorer
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.windowing.rules import WindowRules

SEVERITIES = (("warning", 1.0), ("critical", 2.0))
PUMPS = BundleReference("pumps", "v1")
Found = TypeVar("Found", WindowDetector, SampleDetector)

SCORER_FACTS = ("reconstruct", "scaler", "error_kind", "threshold")


def make_scorer(
    n_features: int = 1,
    bundle: BundleReference = PUMPS,
    image: ImageShape | None = None,
    **facts: Any,
) -> ReconstructionScorer:
    """Return a scorer whose network gives zeros; anomalous above an error of 1."""
    known: dict[str, Any] = {
        "reconstruct": np.zeros_like,
        "scaler": Scaler("none", np.zeros(n_features, np.float32), np.ones(n_features, np.float32)),
        "error_kind": "mae",
        "threshold": 1.0,
    }
    return ReconstructionScorer(**(known | facts), bundle=bundle, image=image)


def make_window_detector(**facts: Any) -> WindowDetector:
    """Return a detector for windows of 4 samples, 10 ms apart; the scorer's facts may be given."""
    known: dict[str, Any] = {
        "bundle": PUMPS,
        "shape": (4, 1),
        "sample_interval_ms": 10,
        "severities": SEVERITIES,
        "image": None,
    } | facts
    scored = {name: known.pop(name) for name in SCORER_FACTS if name in known}
    known.setdefault("features", Features.generated(known["shape"][1]))
    scorer = make_scorer(known["shape"][1], known["bundle"], known["image"], **scored)
    return WindowDetector(scorer=scorer, **known)


def make_sample_detector(
    windows: WindowRules, alerting: AlertRules, model_rows_max: int = 2048, **facts: Any
) -> SampleDetector:
    """Return a detector of samples; the scorer's facts and the bundle may be given."""
    bundle = facts.pop("bundle", PUMPS)
    features = facts.pop("features", Features.generated(windows.n_features))
    scorer = make_scorer(windows.n_features, bundle, **facts)
    return SampleDetector(bundle, scorer, windows, alerting, features, model_rows_max)


def with_network(detector: Found, reconstruct: Reconstruct) -> Found:
    """Return the same detector with another network."""
    scorer = replace(cast("ReconstructionScorer", detector.scorer), reconstruct=reconstruct)
    return replace(detector, scorer=scorer)
