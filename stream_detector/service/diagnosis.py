"""Say which series send samples of which no window is scored, why, and what to do.

Every few seconds `UnscoredWatch` asks the core for them (`core.windowing.diagnosis`), sets their
metric, and writes a line for each reason: the first time at once, later at most every ten minutes.
Warm-up is only worth a line while nothing at all is scored. The last time is before the end of the
run, however short it was.
"""

import logging

from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.core.windowing.diagnosis import (
    REASONS,
    WHAT_TO_DO,
    Diagnosis,
    Reason,
    Unscored,
)
from stream_detector.core.windowing.series_health import SeriesHealth
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event
from stream_detector.text import printable, shorten

CHECK_EVERY_S = 5.0
"""Time between two looks for such series."""

LOG_EVERY_S = 600.0
"""Shortest time between two lines with the same reason."""

WARM_UP_S_MAX = 30.0
"""How long nothing may be scored, from the first record on, before warm-up is worth a line."""

N_KEYS_SHOWN = 5
_KEY_CHARACTERS_MAX = 64


class UnscoredWatch:
    """Watches for series that are not scored; an observer of the service's steps.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._diagnosis: Diagnosis | None = None
        self._has_scored = False
        self._first_at_s: float | None = None
        self._checked_at_s = context.clock.monotonic_s()
        self._logged_at_s: dict[Reason, float] = {}

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Count what a batch held of each series."""
        del batch
        facts = step.series
        if facts is None:
            return
        if self._first_at_s is None:
            self._first_at_s = self._context.clock.monotonic_s()
        keyed_state, rules = facts.windows.state.keyed_state, facts.windows.rules
        if self._diagnosis is None or self._diagnosis.keyed_state is not keyed_state:
            # The first batch, or the first one after a failure dropped all state.
            health, features = SeriesHealth(rules.n_features), self._context.detector.features
            self._diagnosis = Diagnosis(health, keyed_state, rules, features)
        self._diagnosis.health.add(facts)
        self._has_scored = self._has_scored or bool(facts.is_scored.any())

    def check(self) -> None:
        """Look for such series, at most every `CHECK_EVERY_S`."""
        if self._diagnosis is None:
            return
        now_s = self._context.clock.monotonic_s()
        if now_s - self._checked_at_s >= CHECK_EVERY_S:
            self._checked_at_s = now_s
            self._report(now_s, is_warm_up_told=self._since_s(now_s) >= WARM_UP_S_MAX)

    def finish(self) -> dict[Reason, int]:
        """Look for such series at the end of the run; return how many there are by reason."""
        return self._report(self._context.clock.monotonic_s(), is_warm_up_told=True)

    def _report(self, now_s: float, *, is_warm_up_told: bool) -> dict[Reason, int]:
        """Set the metric, write the lines that are due, and return how many there are by reason."""
        if self._diagnosis is None:
            return {}
        found = self._diagnosis.find()
        numbers: dict[Reason, int] = {}
        for reason in REASONS:
            n_keys = len(found.with_reason(reason))
            self._context.metrics.unscored_keys.labels(reason).set(n_keys)
            is_told = reason != "warm_up" or (is_warm_up_told and not self._has_scored)
            if n_keys:
                numbers[reason] = n_keys
            if n_keys and is_told and self._is_due(reason, now_s):
                self._log(self._diagnosis, found, reason, now_s)
        return numbers

    def _log(self, diagnosis: Diagnosis, found: Unscored, reason: Reason, now_s: float) -> None:
        """Write the line of one reason."""
        slots = found.with_reason(reason).tolist()
        keys = [diagnosis.keyed_state.keys[slot] or b"" for slot in slots[:N_KEYS_SHOWN]]
        detail = printable(diagnosis.describe(slots[0], reason))
        if reason == "warm_up":  # a sender that is too slow has not shown it by two samples yet
            detail += f"; the first record came {self._since_s(now_s):.0f} s ago"
        log_event(
            logging.WARNING,
            "unscored",
            reason=reason,
            n_keys=len(slots),
            keys=", ".join(map(_shown, keys)),
            detail=detail,
            what_to_do=f"{WHAT_TO_DO[reason]}; {self._context.where_to_look}",
        )

    def _since_s(self, now_s: float) -> float:
        """Return how long ago the first record came."""
        return now_s - (now_s if self._first_at_s is None else self._first_at_s)

    def _is_due(self, reason: Reason, now_s: float) -> bool:
        """Return whether a reason may be logged, and note that it is."""
        if now_s - self._logged_at_s.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
            return False
        self._logged_at_s[reason] = now_s
        return True


def _shown(key: bytes) -> str:
    """Return a key as text that is safe to show."""
    return shorten(printable(key.decode(errors="backslashreplace")), _KEY_CHARACTERS_MAX)
