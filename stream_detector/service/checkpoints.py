"""Checkpoints: committed offsets whose metadata says how to restore the state there.

What a checkpoint holds is `stream_detector.core.state.restore_plan.CommitMetadata`; whether it can
be used now is decided here, and `stream_detector.service.recovery` does what it says.
"""

import logging

from stream_detector.core.alerting.alert import AlertReason
from stream_detector.core.records import OffsetAndMetadata, TopicPartition
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.errors import StateError
from stream_detector.service.context import RunContext
from stream_detector.service.group_watch import commit_metadata
from stream_detector.telemetry import log_event


class Checkpoints:
    """Reads and writes the checkpoints of partitions.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def encode(self, offset: int, plan: RestorePlan, n_partitions: int) -> OffsetAndMetadata:
        """Return what to commit for a partition.

        Parameters
        ----------
        offset
            Its next offset.
        plan
            How to restore the state there.
        n_partitions
            How many partitions the topic has now.
        """
        version = self._context.detector.bundle.version
        metadata = CommitMetadata(plan, version, n_partitions, self._rules)
        return OffsetAndMetadata(offset, metadata.encode())

    def encode_empty(self, offset: int, n_partitions: int) -> OffsetAndMetadata:
        """Return what to commit where there is nothing to restore: no state, and no alert open."""
        plan = RestorePlan.nothing(offset)
        if self._context.detector.keeps_state:
            plan = plan._replace(n_open_alerts=0)
        return self.encode(offset, plan, n_partitions)

    def choose_plan(
        self,
        partition: TopicPartition,
        checkpoint: OffsetAndMetadata,
        first: int,
        n_partitions: int,
    ) -> RestorePlan:
        """Return the restore plan of a committed offset, an empty one if there is none to use.

        Parameters
        ----------
        partition
            An assigned partition.
        checkpoint
            What was committed for it.
        first
            The first offset that the partition still has.
        n_partitions
            How many partitions the topic has now.

        Raises
        ------
        StateError
            If the metadata cannot be decoded, or the number of partitions has changed and this was
            not accepted.
        """
        offset = checkpoint.next_offset
        plan = None
        if offset < first:
            self.reset_state("retention", partition, offset, n_records_lost=first - offset)
        elif self._context.detector.keeps_state and not checkpoint.metadata:
            self.reset_state("no_checkpoint", partition, offset)
        elif self._context.detector.keeps_state:
            plan = self._usable_plan(partition, checkpoint, first, n_partitions)
        else:
            plan = RestorePlan.nothing(offset, self._incidents(partition, checkpoint))
        return plan or RestorePlan.nothing(max(offset, first))

    def why_lost(
        self, offset: int, metadata: CommitMetadata, first: int, n_partitions: int
    ) -> AlertReason | None:
        """Return why alerts that are open at a checkpoint cannot go on, None where they can.

        Parameters
        ----------
        offset, metadata
            What was committed.
        first, n_partitions
            As in `choose_plan`.
        """
        detector, plan = self._context.detector, metadata.restore_plan
        if metadata.bundle_version != detector.bundle.version:
            return "bundle_changed"
        is_repartitioned = metadata.n_partitions != n_partitions
        if is_repartitioned and not self._context.settings.accept_repartition:
            return None  # nothing is done then
        if not detector.keeps_state:
            return None
        if is_repartitioned or min(offset, plan.offset) < first:
            return "state_reset"
        return None if metadata.rules == self._rules else "rules_changed"

    @property
    def _rules(self) -> str:
        """Return the digest of the rules of alerts, empty where they are the bundle's own."""
        return self._context.detector.rules_digest or ""

    def reset_state(
        self, outcome: str, partition: TopicPartition, offset: int, **facts: object
    ) -> None:
        """Count and log that a partition starts with empty state, and why.

        Parameters
        ----------
        outcome
            The reason, as the metric and the log line name it.
        partition, offset
            Where.
        facts
            More fields of the log line.
        """
        self._context.metrics.restores.labels(outcome).inc()
        place = _place(partition, offset)
        log_event(logging.WARNING, "state-reset", reason=outcome, at=place, **facts)

    def _incidents(
        self, partition: TopicPartition, checkpoint: OffsetAndMetadata
    ) -> tuple[int, ...]:
        """Return the incidents that a detector of whole windows goes on with."""
        metadata = commit_metadata(partition, checkpoint)
        if metadata is None or metadata.bundle_version != self._context.detector.bundle.version:
            return ()
        return metadata.restore_plan.incidents

    def _usable_plan(
        self,
        partition: TopicPartition,
        checkpoint: OffsetAndMetadata,
        first: int,
        n_partitions: int,
    ) -> RestorePlan | None:
        """Return the restore plan in the metadata of a commit, None if it cannot be used now."""
        offset = checkpoint.next_offset
        metadata = CommitMetadata.decode(checkpoint.metadata, _place(partition, offset))
        plan, before = metadata.restore_plan, metadata.n_partitions
        if metadata.bundle_version != self._context.detector.bundle.version:
            committed_by = metadata.bundle_version[:12]
            self.reset_state("bundle_changed", partition, offset, committed_by=committed_by)
        elif before != n_partitions and not self._context.settings.accept_repartition:
            raise _repartitioned(partition, before, n_partitions)
        elif metadata.rules != self._rules:
            before_rules = metadata.rules or "own"
            self.reset_state("rules_changed", partition, offset, rules_before=before_rules)
        elif before != n_partitions:
            self.reset_state("repartitioned", partition, offset, n_partitions_before=before)
        elif plan.offset < first:
            self.reset_state(
                "retention", partition, offset, restore_offset=plan.offset, kept_from=first
            )
        else:
            self._context.metrics.restores.labels("replayed").inc()
            return plan
        return None


def _place(partition: TopicPartition, offset: int) -> str:
    """Return how logs and messages name an offset of a partition."""
    return f"{partition.topic}[{partition.partition}]@{offset}"


def _repartitioned(partition: TopicPartition, before: int, now: int) -> StateError:
    """Return the error for a topic whose number of partitions has changed."""
    message = (
        f"{partition.topic} had {before} partitions when offsets were committed and has {now} now: "
        "a key may be in another partition than its state; run with --accept-repartition to start "
        "with empty state"
    )
    return StateError(message)
