"""A simulated fleet of pumps as if it ran now: its faults begin soon after a given moment.

The signal of each pump of `pumps` is moved in time so that its first fault begins when it should.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Samples
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.pumps import Fault, simulate

N_PUMPS = 12
TRAIN_HOURS, PAST_HOURS, LIVE_HOURS = 1.5, 1.0, 8.0
"""What is trained on, how much of the past there is, and how long the pumps then run."""

FIRST_FAULT_S, FAULT_EVERY_S = 15, 30
KIND_ORDER = ("shift", "spike", "noise", "oscillation", "stuck", "dead", "drift")
"""Which kind of fault begins first: those that are seen soonest."""

_HOUR_MS = 3_600_000


class LiveFleet(NamedTuple):
    """A fleet around a moment.

    Parameters
    ----------
    trained_on
        The first hours of each pump, at the times of the simulation.
    shown
        From some time before the moment on, by time.
    faults
        The faults in it, by time; all begin after the moment.
    """

    trained_on: Samples
    shown: Samples
    faults: list[Fault]


def fleet_around(now_ms: int, n_pumps: int = N_PUMPS, past_hours: float = PAST_HOURS) -> LiveFleet:
    """Return a fleet whose faults begin soon after a moment, one after the other.

    The first fault of each pump begins `FIRST_FAULT_S` after the moment, the next pump's
    `FAULT_EVERY_S` later, and so on.

    Parameters
    ----------
    now_ms
        The moment, milliseconds since 1970-01-01 UTC.
    n_pumps
        Number of pumps; three of four have faults.
    past_hours
        How long before the moment the fleet is shown, at most `PAST_HOURS`. What is trained on is
        the same with each.

    Examples
    --------
    >>> fleet = fleet_around(1_800_000_000_000, n_pumps=3, past_hours=0.1)
    >>> [(each.key, each.kind, each.start_ms - 1_800_000_000_000) for each in fleet.faults[:2]]
    [('pump-00', 'spike', 15000.0), ('pump-02', 'dead', 45000.0)]
    """
    hours = TRAIN_HOURS + PAST_HOURS
    samples, faults = simulate(0, n_pumps=n_pumps, train_hours=hours, test_hours=LIVE_HOURS)
    starts_ms = dict.fromkeys(samples.keys, BASE_MS + hours * _HOUR_MS)  # of the simulation
    first = {fault.key: fault for fault in reversed(faults)}
    order = sorted(first.values(), key=lambda fault: KIND_ORDER.index(fault.kind))
    for number, fault in enumerate(order):
        starts_ms[fault.key] = fault.start_ms - 1_000 * (FIRST_FAULT_S + number * FAULT_EVERY_S)
    shifts_ms = np.array([now_ms - starts_ms[key] for key in samples.keys])
    times_ms = samples.times_ms + shifts_ms[samples.series]
    rows = np.flatnonzero(times_ms >= now_ms - past_hours * _HOUR_MS)
    moved = [
        fault._replace(start_ms=fault.start_ms + shift_ms, end_ms=fault.end_ms + shift_ms)
        for fault in faults
        for shift_ms in [now_ms - starts_ms[fault.key]]
    ]
    return LiveFleet(
        _rows(samples, np.flatnonzero(samples.times_ms < BASE_MS + TRAIN_HOURS * _HOUR_MS)),
        _rows(replace(samples, times_ms=times_ms), rows[np.argsort(times_ms[rows])]),
        sorted(moved, key=lambda fault: fault.start_ms),
    )


def _rows(samples: Samples, rows: NDArray[np.intp]) -> Samples:
    """Return some samples."""
    columns = samples.series[rows], samples.times_ms[rows], samples.values[rows]
    return Samples(samples.keys, *columns, None if samples.labels is None else samples.labels[rows])
