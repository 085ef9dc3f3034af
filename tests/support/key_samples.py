"""Records of samples for the tests of windowing: each sample's value is its time."""

from collections.abc import Sequence

import numpy as np

from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.sessions import Arrivals

RULES = WindowRules(
    n_steps=4,
    n_features=1,
    stride=4,
    sample_interval_ms=10.0,
    gap_ms_max=40.0,
    allowed_lateness_ms=0.0,
    missing="hold",
    missing_share_max=0.5,
    key_ttl_ms=1_000.0,
)

Record = tuple[bytes, Sequence[float]]
"""Key, and the times of the samples."""


def arrivals(*records: Record, partitions: Sequence[int] | None = None) -> Arrivals:
    """Return records of which each sample's value is its time."""
    times = np.array([time for _, each in records for time in each], dtype=np.float64)
    return Arrivals(
        keys=[key for key, _ in records],
        partitions=np.array(partitions or [0] * len(records), dtype=np.int64),
        counts=np.array([len(each) for _, each in records], dtype=np.intp),
        times_ms=times,
        values=times.astype(np.float32).reshape(-1, 1),
    )
