"""Restore keyed state after a rebalance or restart by replaying records, without publishing.

The state of a partition (windows under way, open alerts) is a function of its recent records. So it
is not saved: with each offset C the group commits a restore plan, which says from which earlier
offset R the state at C can be rebuilt, and a digest of that state. A crash, a rebalance and a
failed transaction are handled in the same way:

1. **Ask.** When partitions are assigned, ask the broker for their committed offsets C and for the
   first offsets that it still keeps (`Restorer.open_partitions`).
2. **Choose.** Decode the restore plan from the metadata of the commit. It cannot be used if it is
   missing (`no_checkpoint`), was made by another bundle (`bundle_changed`), by other rules of
   alerts (`rules_changed`) or with another number of partitions (`repartitioned`), or if R is no
   longer kept (`retention`). Then the partition starts at C with empty state, and the log line
   `state-reset` says why. Alerts whose state is lost are closed first
   (`stream_detector.service.takeover`).
3. **Seek.** Otherwise open the partition in the state and continue reading at R.
4. **Replay without scores.** Records before the plan's `score_from_offset` S only fill windows and
   set the stream time (`Restorer.replay`).
5. **Replay with scores.** Where keys had open alerts, records from S up to C pass through
   `Detector.step`, which rebuilds the alerts. What the step would publish is dropped: it has been
   published already. Where no key had one, these records are replayed without scores, too.
6. **Compare.** At C the digest of the rebuilt state must be the committed one. If it is not, the
   process ends with a `StateError`: alerts from a wrong state would be worse than none.
7. **Go live.** Records from C on are scored, published and committed.

Other partitions are processed meanwhile. A partition without a committed offset starts at its
beginning; with `offset_reset = "latest"` it starts at its end, which is committed first. For a
detector that keeps no state between records, R is C, and steps 3 to 6 are empty.

As an example, partition 0 was committed at C = 120 with R = 80 and S = 110, while one key had an
open alert:

| Offsets | What happens |
| --- | --- |
| 80 to 109 | replayed without scores |
| 110 to 119 | replayed with scores; nothing is published |
| 120 | the digest is compared; `restored` is logged |
| from 120 | live |
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import OffsetAndMetadata, RecordBatch, TopicPartition
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.service.checkpoints import Checkpoints
from stream_detector.service.context import RunContext
from stream_detector.service.group_watch import GroupWatch, commit_metadata
from stream_detector.service.offsets import OffsetGap, OffsetGaps, topic_recreated
from stream_detector.service.takeover import Lost, close_open_alerts
from stream_detector.telemetry import log_event


@dataclass(slots=True)
class _Restore:
    """A partition that is being restored.

    Parameters
    ----------
    plan
        From where to replay, and the digest that must result.
    offset
        The committed offset, from which the partition is live.
    began_s
        When the restore began.
    n_records
        How many records were replayed so far.
    is_scoring
        Whether `RestorePlan.score_from_offset` has been reached.
    """

    plan: RestorePlan
    offset: int
    began_s: float
    n_records: int = 0
    is_scoring: bool = False


class Restorer:
    """Restores the state of partitions that were assigned; the module's docstring has the steps.

    Parameters
    ----------
    context
        Of the service.
    group_watch
        Looks at the commits of partitions that are assigned.
    """

    def __init__(self, context: RunContext, group_watch: GroupWatch) -> None:
        self._context = context
        self._group_watch = group_watch
        self._checkpoints = Checkpoints(context)
        self._restores: dict[TopicPartition, _Restore] = {}
        # Where reading starts, of partitions whose first record has not come or that are restored.
        self._starts: dict[TopicPartition, int] = {}
        self._offsets = OffsetGaps(context.client)
        # Partitions that were sought after the last poll.
        self._sought: set[TopicPartition] = set()

    def clear(self) -> None:
        """Remove all partitions, after the client has been reset."""
        self._remove(self._offsets.partitions)

    def drop_partitions(
        self, state: DetectorState, partitions: Sequence[TopicPartition]
    ) -> DetectorState:
        """Return the state without these partitions, whose restores end."""
        if not partitions:
            return state
        self._remove(partitions)
        return state.drop_partitions([each.partition for each in partitions])

    def open_partitions(
        self, state: DetectorState, partitions: frozenset[TopicPartition], n_partitions: int
    ) -> DetectorState:
        """Begin to restore the state of partitions: steps 1 to 3.

        Parameters
        ----------
        state
            Holds nothing of these partitions.
        partitions
            Assigned partitions of the input topic.
        n_partitions
            How many partitions the topic has now.

        Raises
        ------
        StateError
            If the committed offset or its metadata cannot be trusted, or the number of partitions
            has changed and this was not accepted.
        """
        if not partitions:
            return state
        client = self._context.client
        committed = client.committed(partitions)
        self._group_watch.on_assigned(committed)
        beginning_offsets = client.beginning_offsets(partitions)
        self._close_lost_alerts(committed, beginning_offsets, n_partitions)
        without_commit = sorted(each for each in partitions if committed.get(each) is None)
        end_offsets = self._start_at_end(without_commit, n_partitions)
        for each in sorted(partitions):
            checkpoint, first = committed.get(each), beginning_offsets[each]
            if checkpoint is None:
                self._context.metrics.restores.labels("new").inc()
                self._starts[each] = end_offsets.get(each, first)
                continue
            plan = self._checkpoints.choose_plan(each, checkpoint, first, n_partitions)
            state = self._begin(state, each, plan, checkpoint.next_offset)
        self._offsets.expect({each: self._starts[each] for each in partitions})
        self._context.metrics.restoring.set(len(self._restores))
        return state

    def without_stale(self, batch: RecordBatch, assigned: frozenset[TopicPartition]) -> RecordBatch:
        """Leave out the records of a poll that will be read again, here or by another member.

        These are records of partitions that were revoked, and of those that `open_partitions` has
        just sought.
        """
        kept = assigned - self._sought
        self._sought.clear()
        if not len(batch):
            return batch
        rows = np.flatnonzero(np.isin(batch.series().partitions, [each.partition for each in kept]))
        return batch.select(
            rows, {each: offset for each, offset in batch.next_offsets.items() if each in kept}
        )

    def rewind(
        self, batch: RecordBatch, partitions: Iterable[TopicPartition] | None = None
    ) -> None:
        """Continue reading at the first records of a batch, of some of its partitions or of all."""
        for each in batch.next_offsets if partitions is None else partitions:
            rows = batch.series().partitions == each.partition
            first = batch.offsets()[rows].min(initial=batch.next_offsets[each])
            self._context.client.seek(each, int(first))

    def replay(self, state: DetectorState, batch: RecordBatch) -> tuple[DetectorState, RecordBatch]:
        """Replay the records of partitions that are being restored: steps 4 to 6.

        Returns
        -------
        The state after the replayed records, and the live part of the batch.

        Raises
        ------
        StateError
            If offsets went back, or a rebuilt state differs from the committed one.
        """
        batch, lost = self._offsets.check(batch, self._restores)
        for each, gap in lost.items():
            state = self._reset_after_gap(state, each, gap)
        if not self._starts or not (len(batch) or self._restores):
            return state, batch
        partitions, offsets = batch.series().partitions, batch.offsets()
        is_live = np.ones(len(batch), dtype=np.bool_)  # (n_records,)
        # The last offsets before C may hold no record: some hold the end of a transaction.
        positions = self._context.client.positions(self._restores)
        for each in list(self._starts):
            rows = np.flatnonzero(partitions == each.partition)  # (n_of_partition,)
            if len(rows):
                state = self._check_first(state, each, int(offsets[rows[0]]))
            restore = self._restores.get(each)
            if restore is not None:
                is_replayed = offsets[rows] < restore.offset  # (n_of_partition,)
                is_live[rows[is_replayed]] = False
                state = self._replay_rows(state, each, batch, rows[is_replayed])
                if not is_replayed.all() or positions.get(each, -1) >= restore.offset:
                    state = self._finish(state, each)
        next_offsets = {
            each: offset
            for each, offset in batch.next_offsets.items()
            if each not in self._restores
        }
        return state, batch.select(np.flatnonzero(is_live), next_offsets)

    def checkpoints(
        self, state: DetectorState, next_offsets: Mapping[TopicPartition, int], n_partitions: int
    ) -> tuple[DetectorState, dict[TopicPartition, OffsetAndMetadata]]:
        """Return what to commit: the next offsets, each with how to restore the state there.

        Parameters
        ----------
        state
            After a step. No earlier state may be stepped from after this call.
        next_offsets
            Of the batch of that step.
        n_partitions
            How many partitions the topic has now.

        Returns
        -------
        The state for the next step, and the offset and metadata of each partition.
        """
        state, plans = state.restore_plans(
            {each.partition: offset for each, offset in next_offsets.items()}
        )
        return state, {
            each: self._checkpoints.encode(offset, plans[each.partition], n_partitions)
            for each, offset in next_offsets.items()
        }

    def _remove(self, partitions: Sequence[TopicPartition]) -> None:
        """End the restores of partitions, and expect no offsets of them."""
        for each in partitions:
            self._restores.pop(each, None)
            self._starts.pop(each, None)
        self._offsets.stop_watching(partitions)
        self._context.metrics.restoring.set(len(self._restores))

    def _close_lost_alerts(
        self,
        committed: Mapping[TopicPartition, OffsetAndMetadata | None],
        beginning_offsets: Mapping[TopicPartition, int],
        n_partitions: int,
    ) -> None:
        """Close alerts whose state is lost, and commit the same offsets with an empty state.

        See `stream_detector.service.takeover`.
        """
        lost = {}
        for each, checkpoint in committed.items():
            metadata = commit_metadata(each, checkpoint)
            if checkpoint is None or metadata is None:
                continue
            offset, first = checkpoint.next_offset, beginning_offsets[each]
            reason = self._checkpoints.why_lost(offset, metadata, first, n_partitions)
            if reason is not None:
                lost[each] = Lost(offset, metadata, reason)
        if not lost:
            return
        close_open_alerts(self._context, lost)
        self._context.client.commit(
            {
                each: self._checkpoints.encode_empty(one.offset, n_partitions)
                for each, one in lost.items()
            }
        )
        self._group_watch.on_taken_over(lost)

    def _start_at_end(
        self, partitions: Sequence[TopicPartition], n_partitions: int
    ) -> dict[TopicPartition, int]:
        """Start at the ends of partitions if `offset_reset` says so, and commit these first.

        If the process ended before its first commit, the next one would start at a later end, and
        the records between the two would be lost.
        """
        client = self._context.client
        if self._context.settings.offset_reset != "latest" or not partitions:
            return {}
        end_offsets = client.end_offsets(partitions)
        for each, offset in end_offsets.items():
            client.seek(each, offset)
            self._sought.add(each)
        client.commit(
            {
                each: self._checkpoints.encode_empty(offset, n_partitions)
                for each, offset in end_offsets.items()
            }
        )
        return end_offsets

    def _begin(
        self, state: DetectorState, partition: TopicPartition, plan: RestorePlan, offset: int
    ) -> DetectorState:
        """Read on at a plan's offset, and begin a restore if that is before the committed one."""
        self._starts[partition] = plan.offset
        if plan.offset != offset:
            self._context.client.seek(partition, plan.offset)
            self._sought.add(partition)
        if plan.offset >= offset:
            # Opened once more at its first record, whose offset may be later.
            return state.open_partition(partition.partition, plan.offset, plan)
        self._restores[partition] = _Restore(plan, offset, self._context.clock.monotonic_s())
        return state.open_partition(partition.partition, plan.offset, plan)

    def _reset_after_gap(
        self, state: DetectorState, partition: TopicPartition, gap: OffsetGap
    ) -> DetectorState:
        """Start with empty state after records that retention deleted before they were read."""
        self._checkpoints.reset_state(
            "retention", partition, gap.begin, n_records_lost=gap.end - gap.begin
        )
        self._starts[partition] = gap.end
        return state.drop_partitions([partition.partition])

    def _check_first(
        self, state: DetectorState, partition: TopicPartition, offset: int
    ) -> DetectorState:
        """Check the offset of a partition's first record; open the partition if it is live."""
        expected = self._starts[partition]
        if offset < expected:
            raise topic_recreated(partition, expected, offset)
        if partition not in self._restores:
            state = state.open_partition(partition.partition, offset)
            del self._starts[partition]
        return state

    def _replay_rows(
        self,
        state: DetectorState,
        partition: TopicPartition,
        batch: RecordBatch,
        rows: NDArray[np.intp],
    ) -> DetectorState:
        """Replay some records of a partition, first without scores, then with them if needed."""
        detector, content_type = self._context.detector, self._context.settings.content_type
        restore = self._restores[partition]
        restore.n_records += len(rows)
        n_before = int((batch.offsets()[rows] < restore.plan.score_from_offset).sum())
        if n_before:
            state = detector.replay(state, batch.select(rows[:n_before], {}), content_type)
        if n_before == len(rows):
            return state
        state = self._start_scoring(state, partition)
        others = batch.select(rows[n_before:], {})
        if restore.plan.has_active_keys:
            return detector.step(state, others, content_type).state
        return detector.replay(state, others, content_type)

    def _start_scoring(self, state: DetectorState, partition: TopicPartition) -> DetectorState:
        """Note in the state, once, that `RestorePlan.score_from_offset` has been reached."""
        restore = self._restores[partition]
        if restore.is_scoring:
            return state
        restore.is_scoring = True
        return state.start_scoring(partition.partition, restore.plan)

    def _finish(self, state: DetectorState, partition: TopicPartition) -> DetectorState:
        """Compare the digest of a restored partition, count the restore and go live."""
        state = self._start_scoring(state, partition)
        restore = self._restores[partition]
        state = state.finish_restore(partition.partition, restore.offset, restore.plan)
        del self._restores[partition], self._starts[partition]
        seconds = self._context.clock.monotonic_s() - restore.began_s
        self._context.metrics.restoring.set(len(self._restores))
        self._context.metrics.restore_seconds.observe(seconds)
        log_event(
            logging.INFO,
            "restored",
            partition=f"{partition.topic}[{partition.partition}]",
            live_from=restore.offset,
            read_from=restore.plan.offset,
            n_records=restore.n_records,
            seconds=f"{seconds:.2f}",
        )
        return state
