"""Send records on a schedule that does not drift, in small ticks.

At 1,000 records a second, 10 records are sent every 10 milliseconds, not 1,000 at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import OutputRecord
from stream_detector.ports import Client, Clock

TICK_S = 0.01
"""Shortest time between two ticks; at low rates each record has a tick of its own."""

RECORDS_PER_TICK_MAX = 1_000
"""Largest number of records that are produced in one tick, however many are due."""

FLUSH_TIMEOUT_MS = 60_000

LABEL_HEADER = "label"
"""Header with a record's label, to evaluate alerts downstream; the detector never reads it."""

Progress = Callable[[int], None]
"""Takes, after each tick, the number of records produced so far."""

MakeRecords = Callable[[int, int], Iterable[OutputRecord]]
"""Returns the records from one index up to, and not including, another."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """How many records were sent, and how long it took.

    Parameters
    ----------
    n_records
        Records that the broker acknowledged.
    seconds
        Time from the first record to the last acknowledgement.
    """

    n_records: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """How many records there are, and when each is due.

    Parameters
    ----------
    n_records
        Number of records, >= 0.
    due_s
        Seconds after the start at which each record is due, ascending, shape (n_records,). None
        sends as fast as the client accepts records.
    """

    n_records: int
    due_s: NDArray[np.float64] | None = None

    @classmethod
    def at_rate(cls, n_records: int, rate: float | None, n_before: int = 0) -> "Schedule":
        """Return a schedule of `rate` records a second, after others; None is at once."""
        numbers = np.arange(n_before, n_before + n_records)
        return cls(n_records, None if rate is None else numbers / rate)

    def n_due(self, elapsed_s: float) -> int:
        """Return how many records are due by now, counted from the start, so without drift."""
        if self.due_s is None:
            return self.n_records
        return int(np.searchsorted(self.due_s, elapsed_s, side="right"))

    def wait_s(self, n_sent: int, elapsed_s: float) -> float:
        """Return how long to wait for the next record; 0 if it is due or there is none."""
        if self.due_s is None or n_sent >= self.n_records:
            return 0.0
        return max(0.0, float(self.due_s[n_sent]) - elapsed_s)


class Part(NamedTuple):
    """Records that are made together.

    Parameters
    ----------
    schedule
        How many there are, and when each is due after the start of the first part.
    make
        Makes the records of a tick.
    """

    schedule: Schedule
    make: MakeRecords


def send(
    parts: Iterable[Part], client: Client, clock: Clock, on_progress: Progress
) -> ReplaySummary:
    """Produce records as they become due, and wait until all are acknowledged.

    Parameters
    ----------
    parts
        The records, part by part: one part is sent before the next one is taken.
    client
        Sends them; not closed here.
    clock
        Source of the time.
    on_progress
        Called after each tick.

    Returns
    -------
    How many records were acknowledged, and how long it took. No records give (0, 0.0).

    Raises
    ------
    BrokerError
        If the broker did not accept a record.
    KeyboardInterrupt
        After all records produced so far have been acknowledged.
    """
    start_s, n_before = clock.monotonic_s(), 0
    try:
        for schedule, make in parts:
            n_sent = 0
            while n_sent < schedule.n_records:
                n_due = schedule.n_due(clock.monotonic_s() - start_s)
                n_due = min(n_due, n_sent + RECORDS_PER_TICK_MAX)
                if n_due > n_sent:
                    client.produce(make(n_sent, n_due))
                    n_sent = n_due
                    on_progress(n_before + n_sent)
                wait_s = schedule.wait_s(n_sent, clock.monotonic_s() - start_s)
                if wait_s > 0:  # otherwise the next record is due already
                    clock.sleep(max(wait_s, TICK_S))
            n_before += n_sent
    finally:
        # Also on Ctrl-C, so that every record produced so far is acknowledged.
        client.flush(FLUSH_TIMEOUT_MS)
    return ReplaySummary(n_records=n_before, seconds=clock.monotonic_s() - start_s)
