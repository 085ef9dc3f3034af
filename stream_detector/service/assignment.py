"""Which partitions of the input topic this process reads, and what a change of them requires.

The group assigns partitions to its members, and takes them away, inside `Client.poll`. After each
poll `Assignment.update` compares the assignment with the one before it. It changes neither state
nor reading positions: it returns what has to be done, and the loop does it.

In this example the process reads partitions 0 and 1 and holds a batch with records of both, when
the group moves partition 1 to another member and assigns partition 2:

| | Partitions | Why |
| --- | --- | --- |
| before the poll | 0, 1 | |
| after the poll | 0, 2 | 2 is newly assigned |
| state to drop | 0, 1 | 1 is revoked; the state of 0 includes the held batch, which is dropped |
| to rewind | 0 | the records of the held batch have not been published |
| to restore | 0, 2 | their state is empty now |
"""

import logging
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import missing_topics
from stream_detector.service.context import RunContext
from stream_detector.service.output_topics import check_output_topics
from stream_detector.telemetry import log_event
from stream_detector.text import shorten

Partitions = frozenset[TopicPartition]

NO_PARTITIONS: Partitions = frozenset()

_DESCRIPTION_CHARACTERS_MAX = 120


class AssignmentChange(NamedTuple):
    """What a changed assignment requires, in the order in which it is to be done.

    Parameters
    ----------
    drops_held_batch
        Whether the held batch must be dropped, because a partition of it was revoked or is to be
        restored.
    to_rewind
        Partitions of the dropped batch that stay assigned: reading continues at the first of its
        records.
    to_drop
        Partitions whose state must be dropped, ascending.
    to_restore
        Partitions whose state must be restored; all of them are assigned.
    """

    drops_held_batch: bool
    to_rewind: Partitions
    to_drop: list[TopicPartition]
    to_restore: Partitions


class Assignment:
    """Keeps track of the partitions assigned to this process.

    Parameters
    ----------
    context
        Of the service.

    Attributes
    ----------
    partitions
        Those assigned at the last `update`.
    n_partitions
        How many partitions the input topic has; 0 until `check_topics` has asked.
    is_ready
        Whether there are partitions to read. It becomes True in `become_ready`, after their
        restores were started, and False when all partitions are lost.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.partitions = NO_PARTITIONS
        self.n_partitions = 0
        self.is_ready = False
        self._are_outputs_checked = False

    def check_topics(self) -> None:
        """Check once that the topics exist, and note how many partitions the input topic has.

        What the topics of alerts and dead letters will refuse is logged.

        Raises
        ------
        BrokerError
            If a topic does not exist; the message has the commands that create it.
        """
        if self.n_partitions:
            return
        settings = self._context.settings
        counts = {each: self._context.client.n_partitions(each) for each in settings.topics}
        missing = [topic for topic, count in counts.items() if count == 0]
        if missing:
            raise missing_topics(settings.bootstrap_servers, missing)
        self.n_partitions = counts[settings.input_topic]
        if not self._are_outputs_checked:
            self._are_outputs_checked = True
            check_output_topics(self._context.client, settings)

    def update(self, held: RecordBatch | None) -> AssignmentChange | None:
        """Compare the client's assignment with the last one.

        Parameters
        ----------
        held
            The batch whose delivery is being retried, None where there is none.

        Returns
        -------
        What the change requires; None if nothing changed. A partition that was lost and assigned
        again between two calls counts as new.
        """
        client, before = self._context.client, self.partitions
        assigned, newly_assigned = client.assignment(), client.newly_assigned()
        if assigned == before and not newly_assigned:
            return None
        to_restore = self._needing_restore(assigned, newly_assigned)
        in_batch = frozenset(held.next_offsets if held is not None else ())
        drops_held_batch = not in_batch <= assigned - to_restore
        to_rewind = NO_PARTITIONS
        if drops_held_batch:
            to_rewind = in_batch & (assigned - newly_assigned)
            to_restore |= in_batch & assigned
        to_drop = sorted((before - assigned) | (before & to_restore))
        self._log_change(assigned - before | newly_assigned, before - assigned)
        self._set(assigned)
        return AssignmentChange(drops_held_batch, to_rewind, to_drop, to_restore)

    def become_ready(self) -> bool:
        """Log that reading begins, once there are partitions; return whether this was done now.

        To be called when the restores of new partitions have begun.
        """
        self._context.metrics.partitions.set(len(self.partitions))
        if self.is_ready or not self.partitions:
            return False
        self.is_ready = True
        settings, bundle = self._context.settings, self._context.detector.bundle
        log_event(
            logging.INFO,
            "ready",
            topic=settings.input_topic,
            group=settings.group_of(bundle.name),
            n_partitions=len(self.partitions),
            bundle=f"{bundle.name}/{bundle.version[:12]}",
        )
        return True

    def clear(self) -> None:
        """Remove all partitions, after the client has been reset."""
        self._set(NO_PARTITIONS)
        self._context.metrics.partitions.set(0)

    def _log_change(self, assigned: Partitions, revoked: Partitions) -> None:
        """Log which partitions were assigned and which revoked."""
        group = self._context.settings.group_of(self._context.detector.bundle.name)
        if revoked:
            text = describe_partitions(revoked)
            log_event(logging.INFO, "revoked", partitions=text, group=group)
        if assigned:
            text = describe_partitions(assigned)
            log_event(logging.INFO, "assigned", partitions=text, group=group)

    def _set(self, partitions: Partitions) -> None:
        """Replace the assigned partitions."""
        self.partitions = partitions
        # A process that waits for partitions is not ready, and so not idle.
        self.is_ready = self.is_ready and bool(partitions)

    def _needing_restore(self, assigned: Partitions, newly_assigned: Partitions) -> Partitions:
        """Return the new partitions, or all of them if the topic has more partitions now."""
        if not newly_assigned:
            return newly_assigned
        n_before = self.n_partitions
        self.n_partitions = self._context.client.n_partitions(self._context.settings.input_topic)
        # With another number of partitions, a key may have moved from one that stays assigned, too.
        return newly_assigned if self.n_partitions == n_before else assigned


def describe_partitions(partitions: Iterable[TopicPartition]) -> str:
    """Return partitions of one topic as a short text for logs; empty for none.

    Examples
    --------
    >>> describe_partitions(TopicPartition("telemetry", number) for number in (0, 1, 2, 7))
    'telemetry[0-2,7]'
    """
    ordered = sorted(partitions)
    if not ordered:
        return ""
    runs = []
    for _, run in groupby(enumerate(ordered), lambda item: item[1].partition - item[0]):
        first, *_, last = [each.partition for _, each in run] * 2
        runs.append(f"{first}-{last}" if last > first else f"{first}")
    return f"{ordered[0].topic}[{shorten(','.join(runs), _DESCRIPTION_CHARACTERS_MAX)}]"
