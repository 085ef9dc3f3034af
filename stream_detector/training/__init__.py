"""Training: from a recipe to a bundle with a fitted network and a calibrated threshold."""

from stream_detector.training.data import load_trained_on, load_windows
from stream_detector.training.train import evaluate_on, train

__all__ = ["evaluate_on", "load_trained_on", "load_windows", "train"]
