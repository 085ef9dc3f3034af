"""When records leave: on a schedule that does not drift, in small ticks.

A rate of 1,000 records a second is 10 every 10 milliseconds and not 1,000 at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import OutputRecord
from stream_detector.ports import Client, Clock

TICK_S = 0.01
"""How often records leave; at low rates each record has a tick of its own."""

RECORDS_PER_TICK_MAX = 1_000
"""Most records handed over between two looks at the clock, however many are due."""

FLUSH_TIMEOUT_MS = 60_000

LABEL_HEADER = "label"
"""Travels along so that the outcome can be checked downstream; the detector never reads it."""

Progress = Callable[[int], None]
"""Called after each tick with the number of records handed over so far."""

MakeRecords = Callable[[int, int], Iterable[OutputRecord]]
"""Gives the records from one number up to, and not including, another."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What was sent.

    Parameters
    ----------
    n_records
        Records that the broker acknowledged.
    seconds
        From the first record to the last acknowledgement.
    """

    n_records: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """How many records there are, and when each is to leave.

    Parameters
    ----------
    n_records
        How many, >= 0.
    due_s
        Seconds after the start at which each is to leave, ascending, shape (n_records,); None
        lets all leave as fast as the client takes them.
    """

    n_records: int
    due_s: NDArray[np.float64] | None = None

    @classmethod
    def at_rate(cls, n_records: int, rate: float | None) -> "Schedule":
        """Return a schedule of `rate` records a second; None is as fast as it goes."""
        return cls(n_records, None if rate is None else np.arange(n_records) / rate)

    def n_due(self, elapsed_s: float) -> int:
        """Return how many records should have left by now, counted from the start: no drift."""
        if self.due_s is None:
            return self.n_records
        return int(np.searchsorted(self.due_s, elapsed_s, side="right"))

    def wait_s(self, n_sent: int, elapsed_s: float) -> float:
        """Return how long to wait for the next record; 0 where it is due or there is none."""
        if self.due_s is None or n_sent >= self.n_records:
            return 0.0
        return max(0.0, float(self.due_s[n_sent]) - elapsed_s)


def send(
    schedule: Schedule, make: MakeRecords, client: Client, clock: Clock, on_progress: Progress
) -> ReplaySummary:
    """Hand records over as they become due, and wait until all are acknowledged.

    Parameters
    ----------
    schedule
        How many, and when.
    make
        Makes them, a tick at a time.
    client
        Where to send; not closed here.
    clock
        Tells and takes the time.
    on_progress
        Told of each tick.

    Returns
    -------
    How many records were acknowledged, and in what time. No records give (0, 0.0).

    Raises
    ------
    BrokerError
        If the broker did not take a record.
    KeyboardInterrupt
        After what was handed over has been acknowledged.
    """
    start_s = clock.monotonic_s()
    n_sent = 0
    try:
        while n_sent < schedule.n_records:
            n_due = schedule.n_due(clock.monotonic_s() - start_s)
            n_due = min(n_due, n_sent + RECORDS_PER_TICK_MAX)
            if n_due > n_sent:
                client.produce(make(n_sent, n_due))
                n_sent = n_due
                on_progress(n_sent)
            wait_s = schedule.wait_s(n_sent, clock.monotonic_s() - start_s)
            if wait_s > 0:  # else we are behind, and go on at once
                clock.sleep(max(wait_s, TICK_S))
    finally:
        # Also on Ctrl-C: what was handed over arrives.
        client.flush(FLUSH_TIMEOUT_MS)
    return ReplaySummary(n_records=n_sent, seconds=clock.monotonic_s() - start_s)
