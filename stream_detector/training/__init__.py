"""A recipe to a bundle: load and split the data, fit the network, calibrate the threshold."""

from stream_detector.training.train import evaluate_on, load_windows, train

__all__ = ["evaluate_on", "load_windows", "train"]
