"""What a detector keeps between batches, and how it follows partitions that come and go.

Pure: every method returns the next state. Each partition goes through the same steps:
`open_partition`, then (where state is restored) `Detector.replay` of its past records with
`start_scoring` on the way, `finish_restore`, any number of `Detector.step` with `restore_plans`
after each, and in the end `drop_partitions`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from stream_detector.core.alerting.incidents import Begun
from stream_detector.core.state.restore_plan import RestorePlan


class StateCounts(NamedTuple):
    """How much a state holds.

    Parameters
    ----------
    n_keys
        Keys with state.
    n_silent_keys
        Those of them that have sent nothing for `no_data_after_ms`; none where that is not set.
    n_open_alerts
        Alerts that were published and not closed, those about missing data among them.
    """

    n_keys: int = 0
    n_silent_keys: int = 0
    n_open_alerts: int = 0


class DetectorState(Protocol):
    """The state between two batches."""

    def open_partition(
        self, partition: int, offset: int, restore_plan: RestorePlan | None = None
    ) -> "DetectorState":
        """Start to read a partition that has no state.

        Parameters
        ----------
        partition
            Which one.
        offset
            Where reading starts.
        restore_plan
            What is to be restored; None starts without state.
        """
        ...

    def start_scoring(self, partition: int, restore_plan: RestorePlan) -> "DetectorState":
        """Note that the replay has reached `RestorePlan.score_from_offset`.

        Where `step` replays the rest, incomplete windows are dropped: they would be scored from
        here on, and were not when the offset was committed.
        """
        ...

    def finish_restore(
        self, partition: int, offset: int, restore_plan: RestorePlan
    ) -> "DetectorState":
        """Go live in a partition whose past was replayed.

        Parameters
        ----------
        partition
            Which one.
        offset
            The next record, which is the first that was not committed.
        restore_plan
            What was committed with it.

        Raises
        ------
        StateError
            If the restored state differs from the state when the offset was committed.
        """
        ...

    def drop_partitions(self, partitions: Sequence[int]) -> "DetectorState":
        """Drop the state of partitions that another member reads now."""
        ...

    def restore_plans(
        self, next_offsets: Mapping[int, int]
    ) -> tuple["DetectorState", dict[int, RestorePlan]]:
        """Say from where in each partition the state can be restored.

        Parameters
        ----------
        next_offsets
            Of each partition of the batch, the offset after its last record. No earlier state may
            be stepped from after this call.

        Returns
        -------
        The state for the next step, and what to commit with each offset.
        """
        ...

    def counts(self) -> StateCounts:
        """Return how much the state holds. No earlier state may be stepped from after this."""
        ...


@dataclass(frozen=True, slots=True)
class IncidentState:
    """The state of a detector of records that are whole windows: incidents, and nothing of keys.

    Parameters
    ----------
    incidents
        When the last incidents of each partition began.
    """

    incidents: Begun = field(default_factory=dict)

    def open_partition(
        self, partition: int, offset: int, restore_plan: RestorePlan | None = None
    ) -> "IncidentState":
        """Return the state with the incidents that were committed, if there were any."""
        del offset
        if restore_plan is None:
            return self
        return IncidentState(with_incidents(self.incidents, partition, restore_plan.incidents))

    def start_scoring(self, partition: int, restore_plan: RestorePlan) -> "IncidentState":
        """Return the same state."""
        del partition, restore_plan
        return self

    def finish_restore(
        self, partition: int, offset: int, restore_plan: RestorePlan
    ) -> "IncidentState":
        """Return the state with the incidents that were committed."""
        return self.open_partition(partition, offset, restore_plan)

    def drop_partitions(self, partitions: Sequence[int]) -> "IncidentState":
        """Return the state without the incidents of some partitions."""
        return IncidentState(without_incidents(self.incidents, partitions))

    def restore_plans(
        self, next_offsets: Mapping[int, int]
    ) -> tuple["IncidentState", dict[int, RestorePlan]]:
        """Return plans that replay nothing: reading continues at the committed offset."""
        return self, {
            each: RestorePlan.nothing(offset, self.incidents.get(each, ()))
            for each, offset in next_offsets.items()
        }

    def counts(self) -> StateCounts:
        """Return zeros: no key has state, and no alert stays open."""
        return StateCounts()


def with_incidents(begun: Begun, partition: int, of_partition: tuple[int, ...]) -> Begun:
    """Return the incidents of all partitions with those of one replaced."""
    return {**begun, partition: of_partition}


def without_incidents(begun: Begun, partitions: Sequence[int]) -> Begun:
    """Return the incidents of all partitions but some."""
    return {each: of for each, of in begun.items() if each not in partitions}
