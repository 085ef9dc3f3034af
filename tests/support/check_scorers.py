"""A scorer of checks for windows of three features, calibrated in a second, without training."""

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import BundleReference, FloatArray
from stream_detector.core.scoring.check_scorer import Checks, CheckScorer
from stream_detector.core.scoring.checks import CheckKind, looks_of
from stream_detector.core.scoring.look_limits import calibrate_looks
from stream_detector.core.scoring.members import Combine, fit_members, member_errors
from stream_detector.core.scoring.neighbours import fit_neighbours
from stream_detector.core.scoring.normal_scores import keep_scores
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.core.scoring.statistics import WindowView
from stream_detector.core.scoring.tails import CalibrationScores, covered_ms

N_STEPS, N_SHORT, N_PEAK = 40, 8, 20


def normal_windows(n_windows: int, seed: int = 0) -> FloatArray:
    """Return windows of three features: two noisy sines, and noise around a level."""
    steps, rng = np.arange(N_STEPS), np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, (n_windows, 1))
    noise = 0.1 * rng.standard_normal((n_windows, N_STEPS, 3))
    first = np.sin(2 * np.pi * steps / 20 + phases)
    second = np.cos(2 * np.pi * steps / 20 + phases)
    third = 5.0 + 0 * first
    return (np.stack([first, second, third], axis=2) + noise).astype(np.float32)


def smooth(windows: FloatArray) -> FloatArray:
    """Stand for a network: the mean of five steps."""
    padded = np.pad(windows, ((0, 0), (2, 2), (0, 0)), mode="edge")
    found: FloatArray = np.mean([padded[:, at : at + N_STEPS] for at in range(5)], axis=0)
    return found


def quantile(scores: NDArray[np.float64]) -> float:
    """Return the threshold for scores of normal windows."""
    return float(np.quantile(scores, 0.995, method="higher"))


def calibration(scores: NDArray[np.float64]) -> CalibrationScores:
    """Return scores of one series, a window each second."""
    end_ms = 1_000.0 * np.arange(len(scores), dtype=np.float64)
    series = np.zeros(len(scores), np.intp)
    return CalibrationScores(scores, series, end_ms, covered_ms(series, end_ms, 1_000.0), 10_000.0)


USUAL: tuple[CheckKind, ...] = ("shape", "peak", "flat", "noise", "level")


def make_scorer(
    kinds: tuple[CheckKind, ...] = USUAL,
    *,
    has_errors: bool = True,
    combine: Combine = "together",
) -> CheckScorer:
    """Return a calibrated scorer; normal windows exceed its threshold once in two hundred."""
    windows = normal_windows(2_000, seed=1)
    scaler = fit_scaler("standard", windows)
    network = ReconstructionScorer(smooth, scaler, "mae", 1.0, BundleReference("test", "v1"))
    scaled, found = network.reconstruct_windows(windows)
    view = WindowView(scaled, np.abs(scaled - found), N_SHORT, N_PEAK)
    others = scaler.transform(normal_windows(500, seed=2))  # what calibrates was not fitted to
    rng = np.random.default_rng(0)
    is_one = combine == "together"
    neighbours = [fit_neighbours(others, N_STEPS, 8, 256, rng)] if is_one else []
    neighbours += [fit_neighbours(others, N_STEPS, 8, 256, rng, feature) for feature in range(3)]
    errors = member_errors(neighbours, view, combine)
    members = fit_members(neighbours, errors, has_errors=has_errors, combine=combine)
    looks = looks_of(kinds, 3, has_courses=is_one, has_errors=has_errors and is_one)
    values = looks.values(view, members.join(errors))
    looks = calibrate_looks(looks, values, quantile)
    scores = calibration(looks.scores(looks.ratios(values)))
    return CheckScorer(network, Checks(N_SHORT, N_PEAK, members, looks, keep_scores(scores)))
