"""Records of samples as the code that cuts windows takes them, in batches of any sizes."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, cycle, pairwise

import numpy as np
from hypothesis import strategies as st
from reference_windows import Record

from stream_detector.core.windowing.sessions import Arrivals

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def arrivals_of(records: Sequence[Record], n_features: int) -> Arrivals:
    values = list(chain.from_iterable(record.values for record in records))
    return Arrivals(
        keys=[record.key for record in records],
        partitions=np.array([record.partition for record in records], dtype=np.int64),
        counts=np.array([len(record.times_ms) for record in records], dtype=np.intp),
        times_ms=np.array(list(chain.from_iterable(record.times_ms for record in records)), float),
        values=np.array(values, dtype=np.float32).reshape(-1, n_features),
    )


def batches_of(records: list[Record], sizes: Iterable[int]) -> list[list[Record]]:
    ends = [0]
    if not records:
        return []
    for end in accumulate(cycle(sizes)):
        ends.append(min(end, len(records)))
        if end >= len(records):
            break
    return [records[start:end] for start, end in pairwise(ends)]
