"""What was known before: the past of gained partitions is read again, and nothing of it published.

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
from stream_detector.core.records import Progress, RecordBatch, TopicPartition
from stream_detector.core.rewind import Note, Rewind
from stream_detector.core.step import DetectorState
from stream_detector.errors import StateError
from stream_detector.ports import Client, Clock, Reconstructor
from stream_detector.service.offsets import Hole, OffsetWatch, made_anew
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event


@dataclass(slots=True)
class _Past:
    """A partition whose past is being read.

    Parameters
    ----------
    rewind
        From where, and what must come of it.
    offset
        The first record that was not committed: there it goes live.
    began_s
        When reading began.
    n_records
        How many were read so far.
    is_reached
        Whether `Rewind.judge_offset` was passed.
    """

    rewind: Rewind
    offset: int
    began_s: float
    n_records: int = 0
    is_reached: bool = False


class Restorer:
    """Brings back what is remembered of partitions that were gained.

    Parameters
    ----------
    client
        Says what was committed, and reads it again.
    detector
        Remembers.
    reconstruct
        The loaded network.
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
        reconstruct: Reconstructor,
        settings: DetectSettings,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._client = client
        self._detector = detector
        self._reconstruct = reconstruct
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._pasts: dict[TopicPartition, _Past] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._offsets = OffsetWatch(client)
        self._sought: set[TopicPartition] = set()

    def forget(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Stop reading the past of some partitions, or of all."""
        gone = self._offsets.partitions if partitions is None else list(partitions)
        for each in gone:
            self._pasts.pop(each, None)
            self._starts.pop(each, None)
        self._offsets.forget(gone)
        self._metrics.restoring.set(len(self._pasts))

    def begin(
        self, state: DetectorState, gained: frozenset[TopicPartition], n_partitions: int
    ) -> DetectorState:
        """Begin to read the past of gained partitions.

        Parameters
        ----------
        state
            Nothing is remembered of them in it.
        gained
            Of the input topic.
        n_partitions
            How many partitions the topic has now.

        Raises
        ------
        StateError
            If what was committed cannot be trusted.
        """
        committed = self._client.committed(gained)
        beginnings = self._client.beginnings(gained)
        fresh = sorted(each for each in gained if committed.get(each) is None)
        ends = self._begin_at_end(fresh, n_partitions)
        for each in sorted(gained):
            progress, first = committed.get(each), beginnings[each]
            if progress is None:
                self._metrics.restores.labels("new").inc()
                self._starts[each] = ends.get(each, first)
                continue
            rewind = self._rewind(each, progress, first, n_partitions)
            start = progress.next_offset
            if rewind is None:
                rewind = Rewind.nothing(max(start, first))
            self._starts[each] = rewind.offset
            if rewind.offset != start:
                self._client.seek(each, rewind.offset)
                self._sought.add(each)
            if rewind.offset < start:
                state = self._detector.begin(state, each.partition, rewind.offset, rewind)
                began_s = self._clock.monotonic_s()
                self._pasts[each] = _Past(rewind, start, began_s)
        self._offsets.expect({each: self._starts[each] for each in gained})
        self._metrics.restoring.set(len(self._pasts))
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
        ends = self._client.ends(partitions)
        version = self._detector.bundle.version
        for each, offset in ends.items():
            self._client.seek(each, offset)
            self._sought.add(each)
        self._client.commit(
            {
                each: Progress(offset, Note(Rewind.nothing(offset), version, n_partitions).encode())
                for each, offset in ends.items()
            }
        )
        return ends

    def readable(self, batch: RecordBatch, assigned: frozenset[TopicPartition]) -> RecordBatch:
        """Leave out what came before the assignment changed and is read again, here or elsewhere.

        That is records of partitions that went, and of those where `begin` has just set reading to
        another place.
        """
        kept = assigned - self._sought
        self._sought.clear()
        if not len(batch):
            return batch
        rows = np.flatnonzero(np.isin(batch.series().partitions, [each.partition for each in kept]))
        return batch.select(
            rows, {each: offset for each, offset in batch.next_offsets.items() if each in kept}
        )

    def give_back(
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
        batch, lost = self._offsets.check(batch, self._pasts)
        for each, hole in lost.items():
            state = self._overtaken(state, each, hole)
        if not self._starts or not (len(batch) or self._pasts):
            return state, batch
        partitions, offsets = batch.series().partitions, batch.offsets()
        is_live = np.ones(len(batch), dtype=np.bool_)
        for each in list(self._starts):
            rows = np.flatnonzero(partitions == each.partition)
            if len(rows):
                state = self._start(state, each, int(offsets[rows[0]]))
            past = self._pasts.get(each)
            if past is not None:
                is_past = offsets[rows] < past.offset
                is_live[rows[is_past]] = False
                state = self._read(state, each, past, batch, rows[is_past])
                reached = self._client.positions([each]).get(each, -1)
                if not is_past.all() or reached >= past.offset:
                    state = self._go_live(state, each, past)
        return state, batch.select(np.flatnonzero(is_live), self._live_only(batch))

    def _overtaken(
        self, state: DetectorState, partition: TopicPartition, hole: Hole
    ) -> DetectorState:
        """Begin anew behind records that retention took before they were read."""
        where = f"{partition.topic}[{partition.partition}]@{hole.begin}"
        self._begin_anew("retention", where, n_records_lost=hole.end - hole.begin)
        self._starts[partition] = hole.end
        return self._detector.forget(state, [partition.partition])

    def _live_only(self, batch: RecordBatch) -> dict[TopicPartition, int]:
        """Return what to commit of a batch, without partitions whose past is being read."""
        return {
            each: offset for each, offset in batch.next_offsets.items() if each not in self._pasts
        }

    def _rewind(
        self, partition: TopicPartition, progress: Progress, first: int, n_partitions: int
    ) -> Rewind | None:
        """Return what to read again; None where reading begins with nothing remembered."""
        where = f"{partition.topic}[{partition.partition}]@{progress.next_offset}"
        if progress.next_offset < first:
            n_lost = first - progress.next_offset
            self._begin_anew("retention", where, n_records_lost=n_lost)
        elif self._detector.has_memory and not progress.metadata:
            self._begin_anew("no_note", where)
        elif self._detector.has_memory:
            return self._compared(partition, progress, first, n_partitions)
        return None

    def _compared(
        self, partition: TopicPartition, progress: Progress, first: int, n_partitions: int
    ) -> Rewind | None:
        """Return what was noted with an offset; None where it is of no use here and now."""
        where = f"{partition.topic}[{partition.partition}]@{progress.next_offset}"
        note = Note.decode(progress.metadata, where)
        rewind, before = note.rewind, note.n_partitions
        if note.bundle_version != self._detector.bundle.version:
            self._begin_anew("other_bundle", where, committed_by=note.bundle_version[:12])
        elif before != n_partitions and not self._settings.accept_repartition:
            raise _repartitioned(partition, before, n_partitions)
        elif before != n_partitions:
            self._begin_anew("repartitioned", where, n_partitions_before=before)
        elif rewind.offset < first:
            self._begin_anew("retention", where, rewind_offset=rewind.offset, kept_from=first)
        else:
            self._metrics.restores.labels("read_again").inc()
            return rewind
        return None

    def _begin_anew(self, outcome: str, where: str, **facts: object) -> None:
        """Say that nothing is remembered from here on, and why."""
        self._metrics.restores.labels(outcome).inc()
        log_event(logging.WARNING, "begins-anew", reason=outcome, at=where, **facts)

    def _start(self, state: DetectorState, partition: TopicPartition, offset: int) -> DetectorState:
        """Check that the first record of a partition is one that was to be read."""
        expected = self._starts[partition]
        if offset < expected:
            raise made_anew(partition, expected, offset)
        if partition not in self._pasts:
            state = self._detector.begin(state, partition.partition, offset)
            del self._starts[partition]
        return state

    def _read(
        self,
        state: DetectorState,
        partition: TopicPartition,
        past: _Past,
        batch: RecordBatch,
        rows: NDArray[np.intp],
    ) -> DetectorState:
        """Take in some records of a partition's past."""
        detector, content_type = self._detector, self._settings.content_type
        past.n_records += len(rows)
        n_before = int((batch.offsets()[rows] < past.rewind.judge_offset).sum())
        if n_before:
            state = detector.recall(state, batch.select(rows[:n_before], {}), content_type)
        if n_before == len(rows):
            return state
        state = self._reach(state, partition, past)
        some = batch.select(rows[n_before:], {})
        if past.rewind.is_restless:
            return detector.step(state, some, self._reconstruct, content_type).state
        return detector.recall(state, some, content_type)

    def _reach(self, state: DetectorState, partition: TopicPartition, past: _Past) -> DetectorState:
        """Pass the place from which windows are judged, once."""
        if past.is_reached:
            return state
        past.is_reached = True
        return self._detector.reach(state, partition.partition, past.rewind)

    def _go_live(
        self, state: DetectorState, partition: TopicPartition, past: _Past
    ) -> DetectorState:
        """End the reading of a partition's past."""
        state = self._reach(state, partition, past)
        state = self._detector.resume(state, partition.partition, past.offset, past.rewind)
        del self._pasts[partition], self._starts[partition]
        seconds = self._clock.monotonic_s() - past.began_s
        self._metrics.restoring.set(len(self._pasts))
        self._metrics.restore_seconds.observe(seconds)
        log_event(
            logging.INFO,
            "restored",
            partition=f"{partition.topic}[{partition.partition}]",
            live_from=past.offset,
            read_from=past.rewind.offset,
            n_records=past.n_records,
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
