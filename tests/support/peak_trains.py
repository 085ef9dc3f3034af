"""Series of pulses as hypothesis draws them, and rules of a few steps that find them."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from stream_detector.core.records import FloatArray
from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.core.windowing.rules import MissingRule, WindowRules

INTERVAL_MS = 10
START_MS = 1_767_225_600_000


def peak_rules_of(facts: tuple[Any, ...]) -> PeakRules:
    features, smooth, trend, apart, block, steps, kept, search, slack, pause = facts
    return PeakRules(
        features=features,
        n_features=2,
        n_smooth=smooth,
        n_trend=smooth + trend,
        n_apart=apart,
        n_block=block,
        n_before=steps // 2,
        n_window=steps,
        n_low=kept[0],
        n_base=kept[1],
        n_search=search,
        n_slack=slack,
        n_pause=pause,
    )


PEAK_RULES = st.tuples(
    st.sampled_from([(0,), (1,), (0, 1), (0, 1)]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([2, 4, 8]),
    st.sampled_from([6, 7, 9, 12]),
    st.sampled_from([7, 10, 13]),
    st.sampled_from([1, 4, 7]),
    st.sampled_from([(1, 0), (3, 0), (1, 5), (3, 9)]),
    st.sampled_from([8, 11, 16]),
    st.sampled_from([2, 4]),
    st.sampled_from([0, 0, 9, 14, 16, 25]),
).map(peak_rules_of)


class Train(NamedTuple):
    """Pulses of one series."""

    seed: int
    apart: int
    noise: float
    gains: tuple[float, float]
    is_flat: tuple[bool, bool]

    def values(self, n_samples: int) -> FloatArray:
        """Return pulses with noise and a change of gain, in eighths, shape (n_samples, 2)."""
        rng = np.random.default_rng(self.seed)
        pulses = np.zeros(n_samples)
        at = int(rng.integers(self.apart))
        while at < n_samples:
            shape = np.array([0.5, 3, -1.5]) * rng.choice([1, 1, 1, 0.4, -0.7])
            pulses[at : at + 3] += shape[: n_samples - at]
            at += self.apart + int(rng.integers(-2, 4))
        gains = np.where(np.arange(n_samples) < n_samples // 2, *self.gains)
        noise = self.noise * rng.normal(size=(2, n_samples))
        values = np.column_stack([gains * pulses + noise[0], 5 - 2 * pulses + 2 * noise[1]])
        if rng.random() < 0.3:  # one feature goes wild for a time
            begin = int(rng.integers(n_samples))
            values[begin : begin + 12, 1] += rng.normal(0, 30, size=(n_samples - begin))[:12]
        values[:, list(self.is_flat)] = 7
        return (np.round(values * 8) / 8).astype(np.float32)


TRAINS = st.builds(
    Train,
    seed=st.integers(0, 1 << 32),
    apart=st.integers(8, 20),
    noise=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    gains=st.sampled_from([(1.0, 1.0), (1.0, 1.0), (1.0, 3.0), (2.0, 0.25)]),
    is_flat=st.sampled_from([(False, False)] * 4 + [(True, False), (False, True), (True, True)]),
)


def window_rules_of(
    peaks: PeakRules, lateness: int, missing: MissingRule, n_beside: int = 1
) -> WindowRules:
    return WindowRules(
        n_steps=peaks.n_window,
        n_features=2 + n_beside,
        stride=peaks.n_search,
        sample_interval_ms=INTERVAL_MS,
        gap_ms_max=peaks.n_slack * INTERVAL_MS,
        allowed_lateness_ms=lateness * INTERVAL_MS,
        missing=missing,
        missing_share_max=0.1,
        key_ttl_ms=1e15,
        peaks=peaks,
    )
