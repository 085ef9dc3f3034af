"""Say loudly that every record is rejected: the bundle or the format is wrong, not a record.

Each dead letter is logged and counted as it is. That does not tell one broken sender from a topic
of which nothing can be used, so the records that were rejected in a row are counted here, whatever
batches they came in:

    accepted, 3 rejected, accepted, 99 rejected    nothing is said
    one more rejected                              `all-rejected`, with the commonest of 100 reasons
    rejected for ten minutes more                  `all-rejected` again
"""

import logging
import re
from collections import Counter, deque

from stream_detector.core.alerting.alert import text_of
from stream_detector.core.records import RecordBatch, Rejected
from stream_detector.core.results import Step
from stream_detector.errors import AllRejectedError, DataError, KeyLimitError
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event
from stream_detector.text import printable, shorten

N_REJECTED_MIN = 100
"""Records in a row after which it is said that all are rejected."""

LOG_EVERY_S = 600.0
"""Shortest time between two lines about it."""

_KEY_CHARACTERS_MAX = 80

_VARIABLE = re.compile(r"""'[^']*'|"[^"]*"|\d[\d,_.]*(?:[eE][+-]?\d+)?""")

WHAT_TO_DO = "check that the bundle, its [input] and content_type fit what is sent"


def reason_shape(error: Exception) -> str:
    """Return the class and message of an error without what differs from record to record.

    Examples
    --------
    >>> reason_shape(ValueError("values[3]: expected 140 steps, received '7' and 1.5e-3"))
    'ValueError: values[N]: expected N steps, received ... and N'
    """

    def plain(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] in "'\"":
            return "..."
        return "N" + text[len(text.rstrip(",._")) :]

    return f"{type(error).__name__}: {_VARIABLE.sub(plain, str(error))}"


class RejectionWatch:
    """Counts the records that were rejected in a row; an observer of the service's steps.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._n_records = 0
        self._n_in_a_row = 0
        self._last: deque[tuple[DataError, str]] = deque(maxlen=N_REJECTED_MIN)
        self._logged_at_s = -LOG_EVERY_S

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Count the rejected records of a batch, in their order among the others.

        Raises
        ------
        AllRejectedError
            If `N_REJECTED_MIN` in a row were rejected and `fail_when_all_rejected` is set.
        """
        self._n_records += len(batch)
        following = 0  # the record that is next in the row
        for each in step.rejected:
            if each.index != following:
                self._begin_row()
            following = each.index + 1
            self._add(batch, each)
            if self._n_in_a_row >= N_REJECTED_MIN:
                self._report()
        if following != len(batch):
            self._begin_row()
        self._context.metrics.rejected_in_a_row.set(self._n_in_a_row)

    def finish(self) -> None:
        """Report at the end of a run with fewer records than `N_REJECTED_MIN`, all rejected.

        Raises
        ------
        AllRejectedError
            If there was such a record and `fail_when_all_rejected` is set.
        """
        if 0 < self._n_records == self._n_in_a_row < N_REJECTED_MIN:
            self._report()

    def _add(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Count one rejected record."""
        self._n_in_a_row += 1
        self._context.metrics.rejected.labels(type(rejected.error).__name__).inc()
        metadata = batch.metadata(rejected.index)
        where = metadata.place
        self._last.append((rejected.error, where))

    def _begin_row(self) -> None:
        """Begin to count again after a record that was not rejected."""
        self._n_in_a_row = 0
        self._last.clear()

    def _report(self) -> None:
        """Log that all records are rejected, and end the run where the settings ask for it."""
        now_s, settings = self._context.clock.monotonic_s(), self._context.settings
        is_due = now_s - self._logged_at_s >= LOG_EVERY_S
        if not is_due and not settings.fail_when_all_rejected:
            return
        shapes = [reason_shape(error) for error, _ in self._last]
        ((shape, n_alike),) = Counter(shapes).most_common(1)
        error, where = self._last[shapes.index(shape)]
        if is_due:
            self._logged_at_s = now_s
            log_event(
                logging.ERROR,
                "all-rejected",
                n_in_a_row=self._n_in_a_row,
                topic=settings.input_topic,
                reason=shape,
                share=f"{n_alike / len(shapes):.0%}",
                example=f"{where}: {error}",
                what_to_do=f"{WHAT_TO_DO}; {self._context.where_to_look}",
            )
        if settings.fail_when_all_rejected:
            message = (
                f"the last {self._n_in_a_row} records of topic {settings.input_topic} were all "
                f"rejected (--fail-when-all-rejected), such as {where}: {error}; {WHAT_TO_DO}; "
                f"{self._context.where_to_look}"
            )
            raise AllRejectedError(message)


class KeyLimitWatch:
    """Says loudly that a partition has as many keys as it may have, so that new ones are rejected.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._n_refused = 0
        self._logged_at_s = -LOG_EVERY_S

    def observe(self, batch: RecordBatch, step: Step) -> None:
        """Log the first refused record, and then how many there were at most each `LOG_EVERY_S`."""
        refused = [each for each in step.rejected if isinstance(each.error, KeyLimitError)]
        self._n_refused += len(refused)
        now_s = self._context.clock.monotonic_s()
        if not refused or now_s - self._logged_at_s < LOG_EVERY_S:
            return
        self._logged_at_s = now_s
        metadata = batch.metadata(refused[0].index)
        log_event(
            logging.ERROR,
            "too-many-keys",
            n_records=self._n_refused,
            first=metadata.place,
            key=shorten(printable(text_of(metadata.key)), _KEY_CHARACTERS_MAX),
            reason=refused[0].error,
        )
        self._n_refused = 0
