"""Say which keys training did not know, where each key has a scale of its own.

Their windows have the fleet's scale, which fits them only if they are like the others. A line is
written for the first of them at once, later at most every ten minutes, and what is left before the
end of the run.
"""

import logging
from collections.abc import Sequence

from stream_detector.core.records import RecordBatch
from stream_detector.core.results import Step
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event
from stream_detector.text import printable, shorten

LOG_EVERY_S = 600.0
"""Shortest time between two lines."""

N_KEYS_KEPT = 100_000
"""Most keys that are kept apart; further ones are not counted."""

WHAT_TO_DO = (
    "train the bundle again with data of these keys; until then their windows have the median "
    "scale of all keys of the training data, so scores are right only for keys that are like these"
)

N_KEYS_SHOWN = 5
_KEY_CHARACTERS_MAX = 64


class UnknownKeyWatch:
    """Watches for keys without a scale of their own; an observer of the service's steps.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._clock = context.clock
        self._counter = context.metrics.unknown_keys
        self._keys: set[bytes] = set()
        self._unsaid: list[bytes] = []
        self._logged_at_s = -LOG_EVERY_S

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Note the keys of a batch, and write the line if it is due."""
        del batch
        for key in step.unknown_keys:
            if key not in self._keys and len(self._keys) < N_KEYS_KEPT:
                self._keys.add(key)
                self._unsaid.append(key)
                self._counter.inc()
        self.check()

    def check(self) -> None:
        """Write the line if it is due."""
        if not self._unsaid:
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            self._log()

    def finish(self) -> int:
        """Write what is left at the end of the run, and return how many keys there were."""
        if self._unsaid:
            self._log()
        return len(self._keys)

    def _log(self) -> None:
        """Write the line."""
        log_event(
            logging.WARNING,
            "unknown-keys",
            n_keys=len(self._unsaid),
            keys=", ".join(_shown(self._unsaid)),
            n_keys_so_far=len(self._keys),
            what_to_do=WHAT_TO_DO,
        )
        self._unsaid.clear()


def _shown(keys: Sequence[bytes]) -> list[str]:
    """Return the first keys as text that is safe to show."""
    texts = (key.decode(errors="backslashreplace") for key in keys[:N_KEYS_SHOWN])
    return [shorten(printable(text), _KEY_CHARACTERS_MAX) for text in texts]
