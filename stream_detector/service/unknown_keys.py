"""Say which keys training did not know, where each key has a scale of its own.

They are in warm-up until they have a scale from their first samples. Where no more keys get one,
they have the fleet's scale, which fits them only if they are like the others. Of each of the three
a line is written for the first key at once, later at most every ten minutes, and what is left
before the end of the run.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event
from stream_detector.text import printable, shorten

LOG_EVERY_S = 600.0
"""Shortest time between two lines of the same event."""

N_KEYS_KEPT = 100_000
"""Most keys that are kept apart; further ones are not counted."""

WHAT_TO_DO = (
    "train the bundle again with data of these keys; until then their windows have the median "
    "scale of all keys of the training data, so scores are right only for keys that are like these"
)

WHAT_TO_DO_IF_NEW = (
    "nothing, or train the bundle again with data of these keys: until they have sent "
    "scaling.warm_up_samples samples their windows have no score, and faults in these samples "
    "count as normal"
)

N_KEYS_SHOWN = 5
_KEY_CHARACTERS_MAX = 64


class UnknownKeyWatch:
    """Watches for keys that training did not know; an observer of the service's steps.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._counter = context.metrics.unknown_keys
        self._unknown: set[bytes] = set()
        self._lines = [_Line(context, log) for log in (_log_unknown, _log_new, _log_fitted)]

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Note the keys of a batch, and write the lines that are due."""
        del batch
        for key in (*step.unknown_keys, *step.new_keys):
            if key not in self._unknown and len(self._unknown) < N_KEYS_KEPT:
                self._unknown.add(key)
                self._counter.inc()
        of_step = (step.unknown_keys, step.new_keys, step.fitted_keys)
        for line, keys in zip(self._lines, of_step, strict=True):
            line.add(keys)
        self.check()

    def check(self) -> None:
        """Write the lines that are due."""
        for line in self._lines:
            line.check()

    def finish(self) -> int:
        """Write what is left at the end of the run, and return how many keys there were."""
        for line in self._lines:
            line.finish()
        return len(self._unknown)


class _Line:
    """One event of the log about keys, each said once."""

    def __init__(self, context: RunContext, log: Callable[[Sequence[bytes], int], None]) -> None:
        self._clock, self._log = context.clock, log
        self._keys: set[bytes] = set()
        self._unsaid: list[bytes] = []
        self._logged_at_s = -LOG_EVERY_S

    def add(self, keys: Iterable[bytes]) -> None:
        """Note keys."""
        for key in keys:
            if key not in self._keys and len(self._keys) < N_KEYS_KEPT:
                self._keys.add(key)
                self._unsaid.append(key)

    def check(self) -> None:
        """Write the line if it is due."""
        if not self._unsaid:
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            self.finish()

    def finish(self) -> None:
        """Write the line if there is anything to say."""
        if self._unsaid:
            self._log(self._unsaid, len(self._keys))
            self._unsaid.clear()


def _log_unknown(keys: Sequence[bytes], n_so_far: int) -> None:
    """Say which keys have the fleet's scale."""
    log_event(
        logging.WARNING,
        "unknown-keys",
        n_keys=len(keys),
        keys=_shown(keys),
        n_keys_so_far=n_so_far,
        what_to_do=WHAT_TO_DO,
    )


def _log_new(keys: Sequence[bytes], n_so_far: int) -> None:
    """Say which keys are in warm-up."""
    log_event(
        logging.WARNING,
        "new-keys",
        n_keys=len(keys),
        keys=_shown(keys),
        n_keys_so_far=n_so_far,
        what_to_do=WHAT_TO_DO_IF_NEW,
    )


def _log_fitted(keys: Sequence[bytes], n_so_far: int) -> None:
    """Say which keys have a scale now."""
    log_event(
        logging.INFO,
        "key-scales",
        n_keys=len(keys),
        keys=_shown(keys),
        n_keys_so_far=n_so_far,
    )


def _shown(keys: Sequence[bytes]) -> str:
    """Return the first keys as text that is safe to show."""
    texts = (key.decode(errors="backslashreplace") for key in keys[:N_KEYS_SHOWN])
    return ", ".join(shorten(printable(text), _KEY_CHARACTERS_MAX) for text in texts)
