"""Restore keyed state after a rebalance or restart by replaying records, without publishing.

Crash, rebalance and abort are one path. With each offset, the group committed from where in the
partition one must read, and a digest of what was known there. Reading begins there, and goes live
at the committed offset if the digest is the same. Other partitions go on meanwhile.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.detector import Detector
from stream_detector.core.records import OffsetAndMetadata, RecordBatch, TopicPartition
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.errors import StateError
from stream_detector.ports import Client, Clock
from stream_detector.service.offsets import OffsetGap, OffsetGaps, topic_recreated
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event


@dataclass(slots=True)
class _Restore:
    """A partition whose past is being read.

    Parameters
    ----------
    restore_plan
        From where, and what must come of it.
    offset
        The first record that was not committed: there it goes live.
    began_s
        When reading began.
    n_records
        How many were read so far.
    is_scoring
        Whether `RestorePlan.score_from_offset` was passed.
    """

    restore_plan: RestorePlan
    offset: int
    began_s: float
    n_records: int = 0
    is_scoring: bool = False


class Restorer:
    """Brings back what is remembered of partitions that were newly assigned.

    Parameters
    ----------
    client
        Says what was committed, and reads it again.
    detector
        Remembers.
    settings
        Of the run.
    metrics
        Counted into.
    clock
        Where time comes from.
    """

    def __init__(
        self,
        client: Client,
        detector: Detector,
        settings: DetectSettings,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._client = client
        self._detector = detector
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._restores: dict[TopicPartition, _Restore] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._offsets = OffsetGaps(client)
        self._sought: set[TopicPartition] = set()

    def drop_partitions(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Stop reading the past of some partitions, or of all."""
        gone = self._offsets.partitions if partitions is None else list(partitions)
        for each in gone:
            self._restores.pop(each, None)
            self._starts.pop(each, None)
        self._offsets.stop_watching(gone)
        self._metrics.restoring.set(len(self._restores))

    def open_partitions(
        self, state: DetectorState, newly_assigned: frozenset[TopicPartition], n_partitions: int
    ) -> DetectorState:
        """Begin to read the past of newly assigned partitions.

        Parameters
        ----------
        state
            Nothing is remembered of them in it.
        newly_assigned
            Of the input topic.
        n_partitions
            How many partitions the topic has now.

        Raises
        ------
        StateError
            If what was committed cannot be trusted.
        """
        committed = self._client.committed(newly_assigned)
        beginning_offsets = self._client.beginning_offsets(newly_assigned)
        fresh = sorted(each for each in newly_assigned if committed.get(each) is None)
        end_offsets = self._begin_at_end(fresh, n_partitions)
        for each in sorted(newly_assigned):
            checkpoint, first = committed.get(each), beginning_offsets[each]
            if checkpoint is None:
                self._metrics.restores.labels("new").inc()
                self._starts[each] = end_offsets.get(each, first)
                continue
            restore_plan = self._restore_plan(each, checkpoint, first, n_partitions)
            start = checkpoint.next_offset
            if restore_plan is None:
                restore_plan = RestorePlan.nothing(max(start, first))
            self._starts[each] = restore_plan.offset
            if restore_plan.offset != start:
                self._client.seek(each, restore_plan.offset)
                self._sought.add(each)
            if restore_plan.offset < start:
                state = state.open_partition(each.partition, restore_plan.offset, restore_plan)
                began_s = self._clock.monotonic_s()
                self._restores[each] = _Restore(restore_plan, start, began_s)
        self._offsets.expect({each: self._starts[each] for each in newly_assigned})
        self._metrics.restoring.set(len(self._restores))
        return state

    def _begin_at_end(
        self, partitions: Sequence[TopicPartition], n_partitions: int
    ) -> dict[TopicPartition, int]:
        """Begin where a partition ends, if that is asked for, and commit it before it is read.

        A process that died before its first commit would find another end. The beginning stays
        where it is.
        """
        if self._settings.offset_reset != "latest" or not partitions:
            return {}
        end_offsets = self._client.end_offsets(partitions)
        version = self._detector.bundle.version
        for each, offset in end_offsets.items():
            self._client.seek(each, offset)
            self._sought.add(each)
        self._client.commit(
            {
                each: OffsetAndMetadata(
                    offset,
                    CommitMetadata(RestorePlan.nothing(offset), version, n_partitions).encode(),
                )
                for each, offset in end_offsets.items()
            }
        )
        return end_offsets

    def readable(self, batch: RecordBatch, assigned: frozenset[TopicPartition]) -> RecordBatch:
        """Leave out what came before the assignment changed and is read again, here or elsewhere.

        These are records of revoked partitions, and of those where `open_partitions` has just set
        reading to another place.
        """
        kept = assigned - self._sought
        self._sought.clear()
        if not len(batch):
            return batch
        rows = np.flatnonzero(np.isin(batch.series().partitions, [each.partition for each in kept]))
        return batch.select(
            rows, {each: offset for each, offset in batch.next_offsets.items() if each in kept}
        )

    def rewind_batch(
        self, batch: RecordBatch, partitions: Iterable[TopicPartition] | None = None
    ) -> None:
        """Let a batch's records be read again, of some partitions or of all that it has."""
        for each in batch.next_offsets if partitions is None else partitions:
            rows = batch.series().partitions == each.partition
            first = batch.offsets()[rows].min(initial=batch.next_offsets[each])
            self._client.seek(each, int(first))

    def take(self, state: DetectorState, batch: RecordBatch) -> tuple[DetectorState, RecordBatch]:
        """Take in the records of the past, and return those that are live.

        Raises
        ------
        StateError
            If offsets went back, or what was read again is not what was remembered.
        """
        batch, lost = self._offsets.check(batch, self._restores)
        for each, gap in lost.items():
            state = self._overtaken(state, each, gap)
        if not self._starts or not (len(batch) or self._restores):
            return state, batch
        partitions, offsets = batch.series().partitions, batch.offsets()
        is_live = np.ones(len(batch), dtype=np.bool_)
        for each in list(self._starts):
            rows = np.flatnonzero(partitions == each.partition)
            if len(rows):
                state = self._start(state, each, int(offsets[rows[0]]))
            restore = self._restores.get(each)
            if restore is not None:
                is_past = offsets[rows] < restore.offset
                is_live[rows[is_past]] = False
                state = self._read(state, each, restore, batch, rows[is_past])
                reached = self._client.positions([each]).get(each, -1)
                if not is_past.all() or reached >= restore.offset:
                    state = self._finish_restore(state, each, restore)
        return state, batch.select(np.flatnonzero(is_live), self._live_only(batch))

    def _overtaken(
        self, state: DetectorState, partition: TopicPartition, gap: OffsetGap
    ) -> DetectorState:
        """Begin anew behind records that retention took before they were read."""
        where = f"{partition.topic}[{partition.partition}]@{gap.begin}"
        self._reset_state("retention", where, n_records_lost=gap.end - gap.begin)
        self._starts[partition] = gap.end
        return state.drop_partitions([partition.partition])

    def _live_only(self, batch: RecordBatch) -> dict[TopicPartition, int]:
        """Return what to commit of a batch, without partitions whose past is being read."""
        return {
            each: offset
            for each, offset in batch.next_offsets.items()
            if each not in self._restores
        }

    def _restore_plan(
        self,
        partition: TopicPartition,
        checkpoint: OffsetAndMetadata,
        first: int,
        n_partitions: int,
    ) -> RestorePlan | None:
        """Return what to read again; None where reading begins with nothing remembered."""
        where = f"{partition.topic}[{partition.partition}]@{checkpoint.next_offset}"
        if checkpoint.next_offset < first:
            n_lost = first - checkpoint.next_offset
            self._reset_state("retention", where, n_records_lost=n_lost)
        elif self._detector.keeps_state and not checkpoint.metadata:
            self._reset_state("no_checkpoint", where)
        elif self._detector.keeps_state:
            return self._checked_plan(partition, checkpoint, first, n_partitions)
        return None

    def _checked_plan(
        self,
        partition: TopicPartition,
        checkpoint: OffsetAndMetadata,
        first: int,
        n_partitions: int,
    ) -> RestorePlan | None:
        """Return what was noted with an offset; None where it is of no use here and now."""
        where = f"{partition.topic}[{partition.partition}]@{checkpoint.next_offset}"
        commit_metadata = CommitMetadata.decode(checkpoint.metadata, where)
        restore_plan, before = commit_metadata.restore_plan, commit_metadata.n_partitions
        if commit_metadata.bundle_version != self._detector.bundle.version:
            self._reset_state(
                "bundle_changed", where, committed_by=commit_metadata.bundle_version[:12]
            )
        elif before != n_partitions and not self._settings.accept_repartition:
            raise _repartitioned(partition, before, n_partitions)
        elif before != n_partitions:
            self._reset_state("repartitioned", where, n_partitions_before=before)
        elif restore_plan.offset < first:
            self._reset_state(
                "retention", where, restore_offset=restore_plan.offset, kept_from=first
            )
        else:
            self._metrics.restores.labels("replayed").inc()
            return restore_plan
        return None

    def _reset_state(self, outcome: str, where: str, **facts: object) -> None:
        """Say that nothing is remembered from here on, and why."""
        self._metrics.restores.labels(outcome).inc()
        log_event(logging.WARNING, "state-reset", reason=outcome, at=where, **facts)

    def _start(self, state: DetectorState, partition: TopicPartition, offset: int) -> DetectorState:
        """Check that the first record of a partition is one that was to be read."""
        expected = self._starts[partition]
        if offset < expected:
            raise topic_recreated(partition, expected, offset)
        if partition not in self._restores:
            state = state.open_partition(partition.partition, offset)
            del self._starts[partition]
        return state

    def _read(
        self,
        state: DetectorState,
        partition: TopicPartition,
        restore: _Restore,
        batch: RecordBatch,
        rows: NDArray[np.intp],
    ) -> DetectorState:
        """Take in some records of a partition's past."""
        detector, content_type = self._detector, self._settings.content_type
        restore.n_records += len(rows)
        n_before = int((batch.offsets()[rows] < restore.restore_plan.score_from_offset).sum())
        if n_before:
            state = detector.replay(state, batch.select(rows[:n_before], {}), content_type)
        if n_before == len(rows):
            return state
        state = self._start_scoring(state, partition, restore)
        some = batch.select(rows[n_before:], {})
        if restore.restore_plan.has_active_keys:
            return detector.step(state, some, content_type).state
        return detector.replay(state, some, content_type)

    def _start_scoring(
        self, state: DetectorState, partition: TopicPartition, restore: _Restore
    ) -> DetectorState:
        """Pass the place from which windows are judged, once."""
        if restore.is_scoring:
            return state
        restore.is_scoring = True
        return state.start_scoring(partition.partition, restore.restore_plan)

    def _finish_restore(
        self, state: DetectorState, partition: TopicPartition, restore: _Restore
    ) -> DetectorState:
        """End the reading of a partition's past."""
        state = self._start_scoring(state, partition, restore)
        state = state.finish_restore(partition.partition, restore.offset, restore.restore_plan)
        del self._restores[partition], self._starts[partition]
        seconds = self._clock.monotonic_s() - restore.began_s
        self._metrics.restoring.set(len(self._restores))
        self._metrics.restore_seconds.observe(seconds)
        log_event(
            logging.INFO,
            "restored",
            partition=f"{partition.topic}[{partition.partition}]",
            live_from=restore.offset,
            read_from=restore.restore_plan.offset,
            n_records=restore.n_records,
            seconds=f"{seconds:.2f}",
        )
        return state


def _repartitioned(partition: TopicPartition, before: int, now: int) -> StateError:
    """Return the error for a topic whose number of partitions has changed."""
    message = (
        f"{partition.topic} had {before} partitions when offsets were committed and has {now} now: "
        "keys may lie in other partitions, apart from what was remembered of them; run with "
        "--accept-repartition to go on with nothing remembered"
    )
    return StateError(message)
