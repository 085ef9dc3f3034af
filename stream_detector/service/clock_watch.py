"""Say which keys have a wrong clock: outliers, clocks that were set, times in another unit.

What happened since the last line is written as one line for each fault: the first time at once,
later at most every ten minutes, and what is left before the end of the run.
"""

import logging
from dataclasses import dataclass, field

from stream_detector.core.records import RecordBatch
from stream_detector.core.results import CLOCK_ADVICE, ClockFault, ClockNotice, Step
from stream_detector.core.timestamps import SECONDS_MIN, looks_like
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event
from stream_detector.text import printable, shorten

LOG_EVERY_S = 600.0
"""Shortest time between two lines about the same fault."""

N_KEYS_SHOWN = 5
_KEY_CHARACTERS_MAX = 64


@dataclass(slots=True)
class _Unsaid:
    """What happened since the last line about a fault.

    Parameters
    ----------
    first
        The first of it.
    keys
        Keys that it was about, in the order of the first time; no more than are shown.
    n
        How often it happened.
    """

    first: ClockNotice
    keys: dict[bytes, None] = field(default_factory=dict)
    n: int = 0


class ClockWatch:
    """Watches for wrong clocks; an observer of the service's steps.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._clock = context.clock
        self._unsaid: dict[ClockFault, _Unsaid] = {}
        self._logged_at_s: dict[ClockFault, float] = {}

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Note the wrong clocks of a batch, and write the lines that are due."""
        for notice in step.clock_notices:
            self._note(notice)
        if step.series is None and len(batch):  # whole windows: one record stands for the batch
            metadata = batch.metadata(0)
            time_ms = float(metadata.timestamp_ms)
            if time_ms >= SECONDS_MIN and looks_like(time_ms):
                self._note(ClockNotice("record_time", metadata.key or b"", time_ms, time_ms))
        self.check()

    def check(self) -> None:
        """Write the lines that are due."""
        now_s = self._clock.monotonic_s() if self._unsaid else 0.0
        for fault in list(self._unsaid):
            if now_s - self._logged_at_s.get(fault, -LOG_EVERY_S) >= LOG_EVERY_S:
                self._logged_at_s[fault] = now_s
                _log(fault, self._unsaid.pop(fault))

    def finish(self) -> None:
        """Write what is left at the end of the run."""
        for fault in list(self._unsaid):
            _log(fault, self._unsaid.pop(fault))

    def _note(self, notice: ClockNotice) -> None:
        """Add one notice to what is to be said."""
        unsaid = self._unsaid.setdefault(notice.fault, _Unsaid(notice))
        unsaid.n += 1
        if len(unsaid.keys) < N_KEYS_SHOWN:
            unsaid.keys[notice.key] = None


def _log(fault: ClockFault, unsaid: _Unsaid) -> None:
    """Write the line about one fault."""
    log_event(
        logging.WARNING,
        "clock",
        fault=fault,
        n=unsaid.n,
        keys=", ".join(map(_shown, unsaid.keys)),
        detail=unsaid.first.describe(),
        what_to_do=CLOCK_ADVICE[fault],
    )


def _shown(key: bytes) -> str:
    """Return a key as text that is safe to show."""
    return shorten(printable(key.decode(errors="backslashreplace")), _KEY_CHARACTERS_MAX)
