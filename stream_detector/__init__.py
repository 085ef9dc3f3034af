"""Detect anomalies in time-series telemetry: offline from files, online from Kafka.

The names below are what a program builds on; the command line has the rest. Importing the package
loads neither Keras nor a Kafka client: a name is imported when it is first used.

Examples
--------
>>> import numpy as np
>>> import stream_detector
>>> labels = np.array([0, 0, 1, 1], dtype=np.int8)
>>> stream_detector.evaluate(np.array([0.1, 0.2, 0.3, 0.9]), labels, threshold=0.25).accuracy
1.0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_detector.bundle import Bundle, read_bundle
    from stream_detector.core.alerting.alert import Alert
    from stream_detector.core.detector import Detector
    from stream_detector.core.evaluation import Evaluation, evaluate
    from stream_detector.datasets import load_dataset
    from stream_detector.errors import StreamDetectorError
    from stream_detector.estimator import AutoencoderDetector, score
    from stream_detector.outputs.alerts import alerts
    from stream_detector.recipes import Recipe, load_recipe
    from stream_detector.training import train

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AutoencoderDetector",
    "Bundle",
    "Detector",
    "Evaluation",
    "Recipe",
    "StreamDetectorError",
    "alerts",
    "evaluate",
    "load_dataset",
    "load_recipe",
    "read_bundle",
    "score",
    "train",
]

_HOMES = {
    "Alert": "core.alerting.alert",
    "AutoencoderDetector": "estimator.detector",
    "Bundle": "bundle",
    "Detector": "core.detector",
    "Evaluation": "core.evaluation",
    "Recipe": "recipes",
    "StreamDetectorError": "errors",
    "alerts": "outputs.alerts",
    "evaluate": "core.evaluation",
    "load_dataset": "datasets",
    "load_recipe": "recipes",
    "read_bundle": "bundle",
    "score": "estimator.detector",
    "train": "training",
}

if not TYPE_CHECKING:  # a type checker would take every unknown name for one of these

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names too, imported or not."""
    return sorted({*globals(), *__all__})
