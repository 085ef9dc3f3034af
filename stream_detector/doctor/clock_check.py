"""The check of clocks: times that are right, and in order."""

from collections.abc import Mapping

import numpy as np

from stream_detector.core.results import CLOCK_ADVICE, ClockFault
from stream_detector.core.timestamps import looks_like
from stream_detector.core.windowing.diagnosis import WHAT_TO_DO
from stream_detector.doctor.examination import Examination
from stream_detector.doctor.findings import (
    Finding,
    Status,
    check_rejected,
    count_keys,
    duration_text,
)

AHEAD_MS_MAX = 60_000
"""How far a sender's clock may be ahead of this machine's."""

_CLOCK_FAULTS: Mapping[ClockFault, str] = {
    "outlier": "a sample was far ahead and not used",
    "clock_set": "the clock was set back",
    "since_boot": "times are none of today",
    "record_time": "times of records are none of today",
}
"""What was wrong with the clocks of keys, which are named before it."""


def check_clock(examination: Examination, now_ms: int) -> Finding:
    """Check that times are right, and samples in order."""
    advice = "send milliseconds since 1970-01-01 UTC, and correct the sender's clock"
    finding = check_rejected(examination, "clock", "clock", advice)
    if finding is not None:
        return finding
    finding = _check_order(examination)
    if finding is not None:
        return finding
    if not np.isfinite(examination.newest_ms):
        return Finding("clock", "ok", "no time could be read")
    ahead_ms = examination.newest_ms - now_ms
    if ahead_ms > AHEAD_MS_MAX:
        found = f"the newest time is {duration_text(ahead_ms)} ahead of this machine's"
        return Finding("clock", "warning", found, "correct the clock of the sender or of this one")
    unit = looks_like(examination.newest_ms)
    if unit:
        found = f"the newest time is {examination.newest_ms:.16g}{unit}"
        return Finding("clock", "warning", found, advice)
    return Finding("clock", "ok", f"the newest time is {duration_text(max(-ahead_ms, 0.0))} ago")


def _check_order(examination: Examination) -> Finding | None:
    """Return a finding on clocks that went back or were wrong, and on samples that were late."""
    faults = examination.clock_faults
    late = check_rejected(examination, "clock", "order", WHAT_TO_DO["late"])
    n_late, n_samples = examination.samples["late"], examination.samples.total()
    status: Status = "problem" if 2 * n_late >= n_samples else "warning"
    if not faults:
        return None if late is None else late._replace(status=status)
    found = [
        f"{count_keys(len(keys), [*keys])}: {_CLOCK_FAULTS[fault]}, "
        + next(iter(keys.values())).describe()
        for fault, keys in faults.items()
    ]
    found += [] if late is None else [f"{n_late:,} of {n_samples:,} samples were late"]
    gravest: ClockFault = "clock_set" if "clock_set" in faults else next(iter(faults))
    return Finding("clock", status, "; ".join(found), CLOCK_ADVICE[gravest])
