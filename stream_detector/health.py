"""Whether `detect` works, and whether it is ready, as its own metrics tell.

The numbers of all `--workers` of a command meet in one registry, so the answers mean the same for
one process and for several. They ask Kafka nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry

TURN_S_MAX = 300.0
"""How long the loop may take for one turn. The group takes the partitions of a process that has not
polled for so long, and gives them to another one."""

ANSWER_S_MAX = 30.0
"""How long ago Kafka may have answered. A batch takes up to 20 s, and on a quiet topic Kafka is
asked after 5 s."""


class HealthReport(Protocol):
    """Says whether a command works, and whether it is ready."""

    def why_stuck(self) -> list[str]:
        """Return why the process should be killed and started again; empty where it works."""
        ...

    def why_not_ready(self) -> list[str]:
        """Return why it does not do its work now; empty where it does."""
        ...


class Health:
    """Judges the processes of one command by their metrics.

    Parameters
    ----------
    registry
        Holds the metrics of `stream_detector.telemetry.Metrics`.
    n_processes
        How many processes belong to the command.
    answer_s_max
        How long ago Kafka may have answered, in seconds.
    now_s
        Source of the time, seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        n_processes: int = 1,
        answer_s_max: float = ANSWER_S_MAX,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._n_processes = n_processes
        self._answer_s_max = answer_s_max
        self._now_s = now_s

    def why_stuck(self) -> list[str]:
        """Return why a process should be killed and started again; empty where it works.

        A process that is starting works, and so does one that waits for Kafka.
        """
        turned_s = self._values().get("stream_detector_loop_turn_timestamp_seconds")
        since_s = 0.0 if turned_s is None else self._now_s() - turned_s
        if since_s <= TURN_S_MAX:
            return []
        return [
            f"the loop: expected a turn within {TURN_S_MAX:.0f} s, the last was {since_s:.0f} s ago"
        ]

    def why_not_ready(self) -> list[str]:
        """Return why records of the topic are not being judged; empty where they are."""
        return list(self._problems(self._values()))

    def _problems(self, values: Mapping[str, float]) -> Iterator[str]:
        """Yield what is not as it should be, one clause each."""
        n_running = int(values.get("stream_detector_processes", 0))
        n_restoring = int(values.get("stream_detector_restoring_partitions", 0))
        answered_s = values.get("stream_detector_broker_answer_timestamp_seconds", 0.0)
        since_s = self._now_s() - answered_s
        if n_running < self._n_processes:
            yield f"processes: expected {self._n_processes}, {n_running} are running"
        if not values.get("stream_detector_assigned_partitions", 0.0):
            yield "partitions: the group has assigned none"
        if n_restoring:
            yield f"state: being restored, partitions left: {n_restoring}"
        if values.get("stream_detector_held_batches", 0.0):
            yield "a batch is held: Kafka or a Schema Registry refuses or does not answer"
        if since_s > self._answer_s_max:
            ago = f"the last was {since_s:.0f} s ago" if answered_s else "there was none yet"
            yield f"Kafka: expected an answer within {self._answer_s_max:.0f} s, {ago}"

    def _values(self) -> dict[str, float]:
        """Return the present value of each metric without labels."""
        return {
            sample.name: sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
            if not sample.labels
        }
