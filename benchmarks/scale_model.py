"""What a consumer group of many processes does when its load grows: a model, second by second."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ASSUMPTIONS = (
    "every process has a core of its own, and Kafka is never the limit",
    "a record costs the same CPU whatever the number of processes and partitions",
    "records and keys are spread evenly over the partitions",
    "a process that gets partitions replays their past one after the other, and scores nothing "
    "else meanwhile; the others go on (cooperative rebalance)",
    "each partition has as many records to replay, read at the rate that was measured",
    "KEDA looks every 30 s and wants total lag / 50,000 processes, at most one a partition; the "
    "autoscaler adds what its policy allows every 120 s, and such a pod is there after 20 s",
)
"""Printed with every result."""

LAG_THRESHOLD, LOOK_S, STEP_S, START_S = 50_000, 30, 120, 20
"""As `deploy/kubernetes/keda/scaled-object.yaml` has them; a pod's start is assumed."""

UTILISATION = 0.7
"""Share of a core that is planned for: the rest drains what a restore or a burst left."""


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group under a load.

    Parameters
    ----------
    n_partitions
        Of the topic.
    records_per_s
        What comes, evenly over the partitions.
    service_per_s
        Records a second that one process scores.
    restore_s
        Seconds in which the past of one partition is replayed.
    step_share
        Share of the processes that is added at a time, at least one.
    """

    n_partitions: int
    records_per_s: float
    service_per_s: float
    restore_s: float
    step_share: float = 0.0

    @property
    def n_wanted(self) -> int:
        """Return how many processes the load needs."""
        return math.ceil(self.records_per_s / (UTILISATION * self.service_per_s))


@dataclass(frozen=True, slots=True)
class Course:
    """What came of it.

    Parameters
    ----------
    n_processes
        At the end.
    n_changes, n_restores
        Times that processes were added, and partitions that were restored.
    seconds
        Until the lag was below a second's records again; infinite if it never was.
    behind_s_max
        Longest time that the group was behind: lag over load.
    """

    n_processes: int
    n_changes: int
    n_restores: int
    seconds: float
    behind_s_max: float


def play(group: Group, n_processes: int, seconds_max: int = 24 * 3_600) -> Course:
    """Let a load come upon processes that had kept up with a smaller one.

    Parameters
    ----------
    group
        Partitions and load.
    n_processes
        At the beginning.
    seconds_max
        When to give up.
    """
    lag = np.zeros(group.n_partitions)
    owner: NDArray[np.intp] = np.arange(group.n_partitions) % n_processes  # (n_partitions,)
    busy_s = np.zeros(n_processes)  # until when each replays
    n_changes = n_restores = 0
    changed_s, behind_s, arriving = -STEP_S, 0.0, (0, 0)
    for now_s in range(seconds_max):
        lag += group.records_per_s / group.n_partitions
        waiting = np.bincount(owner, lag, len(busy_s))  # (n_processes,)
        scored = np.minimum(waiting, np.where(busy_s <= now_s, group.service_per_s, 0.0))
        lag -= lag * (scored / np.maximum(waiting, 1e-9))[owner]
        behind_s = max(behind_s, float(lag.sum()) / group.records_per_s)
        is_enough = len(busy_s) * group.service_per_s > group.records_per_s
        if is_enough and not arriving[1] and lag.sum() < group.records_per_s:
            return Course(len(busy_s), n_changes, n_restores, now_s, behind_s)
        n_asked = min(math.ceil(lag.sum() / LAG_THRESHOLD), group.n_partitions)
        is_time = now_s % LOOK_S == 0 and now_s - changed_s >= STEP_S
        if is_time and n_asked > len(busy_s):
            step = max(math.floor(group.step_share * len(busy_s)), 1)
            changed_s, arriving = now_s, (now_s + START_S, min(step, n_asked - len(busy_s)))
        if arriving[1] and now_s >= arriving[0]:
            owner, moved = _share(owner, len(busy_s), arriving[1])
            replay_s = now_s + group.restore_s * np.bincount(moved, minlength=arriving[1])
            busy_s = np.concatenate([busy_s, replay_s])
            n_changes, n_restores, arriving = n_changes + 1, n_restores + len(moved), (0, 0)
    return Course(len(busy_s), n_changes, n_restores, math.inf, behind_s)


def _share(
    owner: NDArray[np.intp], n_before: int, n_more: int
) -> tuple[NDArray[np.intp], list[int]]:
    """Return the owners once new processes have their share, and which of these got each."""
    owner, moved = owner.copy(), []
    sizes = np.bincount(owner, minlength=n_before + n_more)
    least = len(owner) // (n_before + n_more)
    for new in range(n_more):
        while sizes[n_before + new] < least:
            fullest = int(sizes.argmax())
            owner[np.flatnonzero(owner == fullest)[-1]] = n_before + new
            sizes[fullest] -= 1
            sizes[n_before + new] += 1
            moved.append(new)
    return owner, moved
