"""A check of the rhythm, and series of pulses with a known one."""

from collections.abc import Sequence

import numpy as np

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.normal_scores import NormalScores
from stream_detector.core.scoring.rhythm import RhythmCheck, RhythmLimits
from stream_detector.core.windowing.pauses import PeakIntervals

NORMAL = NormalScores(np.linspace(0, 1, 100), 1_000, None)


def make_rhythm(
    low_ms: float = 600,
    median_ms: float = 800,
    high_ms: float = 1_000,
    change_max: float = 1.5,
    pause_ms: float = 3_000,
) -> RhythmCheck:
    """Return a check with these limits."""
    return RhythmCheck(RhythmLimits(median_ms, low_ms, high_ms, change_max, pause_ms), NORMAL)


def intervals_of(
    since_ms: Sequence[float], before_ms: Sequence[float] = (), pauses: Sequence[int] = ()
) -> PeakIntervals:
    """Return the intervals of some windows; those before are not known if not given."""
    n_windows = len(since_ms)
    before = np.array(before_ms or [0] * n_windows, np.float64)
    return PeakIntervals(np.array(since_ms, np.float64), before, np.isin(range(n_windows), pauses))


def pulses(places: Sequence[int], n_samples: int, seed: int = 0) -> FloatArray:
    """Return pulses of five samples at these places, with a little noise, shape (n_samples,)."""
    values = 0.02 * np.random.default_rng(seed).standard_normal(n_samples)
    for place in places:
        values[place - 2 : place + 3] += [0.3, 1.0, 2.0, -0.6, -0.2]
    return values.astype(np.float32)
