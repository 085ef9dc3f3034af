"""How many records, windows and samples of a batch had which outcome."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.samples import DecodedSamples
from stream_detector.core.results import Counts, Outcome
from stream_detector.core.windowing.window_batch import WindowBatch

_OUTCOMES: tuple[Outcome, ...] = (
    "buffered", "warm_up", "held", "unscored", "normal", "anomalous", "duplicate", "late"
)  # fmt: skip


class Judged(NamedTuple):
    """Scores of the windows of a batch, shape (n_windows,), and which came in a key's warm-up."""

    scores: NDArray[np.float64]
    threshold: float
    is_warm_up: NDArray[np.bool_] | None


def count_outcomes(
    unused: Mapping[str, int], decoded: DecodedSamples, completed: WindowBatch, judged: Judged
) -> Counts:
    """Return how many records, samples and windows had which outcome, with the unused records."""
    scores, threshold, is_warm_up = judged
    number = {name: number for number, name in enumerate(_OUTCOMES)}
    # Later lines take precedence.
    outcome = np.where(completed.is_warm, number["buffered"], number["warm_up"])  # (n_records,)
    is_scored = np.isfinite(scores)  # (n_windows,)
    outcome[completed.n_held == decoded.counts] = number["held"]
    outcome[completed.gap_records[completed.is_cold_gap]] = number["unscored"]
    outcome[completed.records[~is_scored]] = number["unscored"]
    n_warm_up = 0
    if is_warm_up is not None:
        outcome[completed.records[is_warm_up]] = number["warm_up"]
        n_warm_up = int(is_warm_up.sum())
    outcome[completed.records[is_scored]] = number["normal"]
    outcome[completed.records[scores > threshold]] = number["anomalous"]
    outcome[completed.n_repeated == decoded.counts] = number["duplicate"]
    outcome[completed.n_late > 0] = number["late"]
    n_each = np.bincount(outcome, minlength=len(_OUTCOMES)).tolist()
    records: dict[str, int] = {name: n for name, n in zip(_OUTCOMES, n_each, strict=True) if n}
    n_anomalous = int((scores > threshold).sum())
    n_scored = int(is_scored.sum())
    n_late, n_repeated = int(completed.n_late.sum()), int(completed.n_repeated.sum())
    return Counts(
        records={**records, **unused},
        windows={
            "normal": n_scored - n_anomalous,
            "anomalous": n_anomalous,
            "missing": len(scores) - n_scored - n_warm_up,
            **({} if is_warm_up is None else {"warm_up": n_warm_up}),
        },
        samples={
            "used": completed.n_used,
            "late": n_late,
            "duplicate": n_repeated,
            "outlier": len(completed.outliers),
        },
        n_missing_values=int(np.isnan(decoded.values).sum()),
        n_gaps=len(completed.gap_slots),
        n_idle_keys=len(completed.expired.slots),
        n_clock_sets=len(completed.clock_sets),
    )
