"""The loop: poll, judge, publish, commit. The only place that orders effects.

One poll is one batch is one commit. With delivery at least once, alerts and dead letters are
flushed and every acknowledgement is checked before the offsets are committed, so whatever stops the
process, the records it had not finished are read again, and a repeated alert has the same
`alert_id`. With delivery exactly once the client makes one transaction of the same calls.

A batch that Kafka does not take is held: its partitions are paused, polling goes on so that the
process stays in the group, and the same is tried again. After any other failure everything is
dropped and begun anew: what was known before is read again (`restoring`).
"""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stream_detector.core.detector import Detector
from stream_detector.core.records import OffsetAndMetadata, RecordBatch, TopicPartition
from stream_detector.core.results import Step
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.errors import StreamDetectorError, missing_topics
from stream_detector.ports import Client, Clock
from stream_detector.service.publishing import Publisher
from stream_detector.service.recovery import Restorer
from stream_detector.service.retry import RetryPolicy
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event

BATCH_S_MAX = 20.0
"""A batch that takes longer is followed by a smaller one. The group gives a member up that has not
polled for 300 s."""

POLL_RECORDS_FIRST = 256
"""Most records in the first poll, when it is not known how long one takes: even where the network
takes a second for each, the next poll is in time."""

StepObserver = Callable[[RecordBatch, Step], None]
"""Takes a batch and its step, after the batch has been committed."""


@dataclass(slots=True)
class Totals:
    """What a service has done so far."""

    n_records: int = 0
    n_alerts: int = 0
    n_dead_letters: int = 0
    n_batches: int = 0
    n_retries: int = 0


class Service:
    """Detect anomalies in one topic until told to stop.

    Parameters
    ----------
    client
        Reads the input topic, writes alerts and dead letters.
    detector
        Judges.
    settings
        Topics, sizes and time limits.
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
        self.totals = Totals()
        self._observers: list[StepObserver] = []
        self._client = client
        self._detector = detector
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._state = detector.initial_state()
        self._publisher = Publisher(client, settings, metrics, clock)
        self._retry_policy = RetryPolicy(settings, metrics, clock)
        self._restorer = Restorer(client, detector, settings, metrics, clock)
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._held: RecordBatch | None = None
        self._is_stopping = False
        self.is_ready = False
        self._n_partitions = 0
        self._n_records_max = min(settings.poll_records_max, POLL_RECORDS_FIRST)
        self._busy_at_s = clock.monotonic_s()

    def stop(self) -> None:
        """Finish the batch in hand, commit and return from `run`. Safe in a signal handler."""
        self._is_stopping = True

    def add_observer(self, observe: StepObserver) -> None:
        """Call `observe` with each batch and its step, once that batch has been committed.

        Observers are called in the order in which they were added, in the thread of `run`. What an
        observer raises ends `run`.
        """
        self._observers.append(observe)

    def run(self) -> Totals:
        """Work until `stop` is called or the stream has been idle for `stop_when_idle_s`.

        Returns
        -------
        What was done. The group has been left.

        Raises
        ------
        BrokerError
            If the broker did not answer, or took nothing, for `broker_timeout_s`, or refused.
        StateError
            If what was committed cannot be trusted.
        BundleError
            If the network gave a non-finite score. Nothing of that batch is committed.
        """
        try:
            while not self._is_stopping and not self._is_idle():
                try:
                    with _collector_paused():
                        self._process_batch()
                except StreamDetectorError as error:
                    if not error.retriable:
                        raise
                    self._recover(error)
        finally:
            self._client.close()
        return self.totals

    def _process_batch(self) -> None:
        """Do one batch from poll to commit."""
        self._retry_policy.begin_attempt()
        if not self._n_partitions:
            self._check_topics()
        polled = self._client.poll(self._n_records_max, self._settings.poll_timeout_ms)
        polled_at_s = self._clock.monotonic_s()
        try:
            batch, step = self._judge(polled)
        finally:  # where it failed too: what took too long must not be tried again at that size
            if len(polled):
                self._busy_at_s = self._clock.monotonic_s()
                self._adapt(len(polled), self._busy_at_s - polled_at_s)
        if step is None:
            return
        self._state, restore_plans = step.state.restore_plans(
            {each.partition: at for each, at in batch.next_offsets.items()}
        )
        if self._deliver(batch, step, self._offsets_to_commit(batch, restore_plans)):
            self._count(batch, step)
            self._retry_policy.end_outage()
            self._busy_at_s = self._clock.monotonic_s()

    def _judge(self, polled: RecordBatch) -> tuple[RecordBatch, Step | None]:
        """Return the part of what was polled that is new, and the verdict on it if there is any."""
        batch = self._check_assignment(polled)
        self._state, batch = self._restorer.take(self._state, batch)
        if not len(batch):
            return batch, None
        return batch, self._detector.step(self._state, batch, self._settings.content_type)

    def _offsets_to_commit(
        self, batch: RecordBatch, restore_plans: Mapping[int, RestorePlan]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what to commit: where to go on, and how to know again what is known now."""
        version = self._detector.bundle.version
        return {
            each: OffsetAndMetadata(
                offset,
                CommitMetadata(restore_plans[each.partition], version, self._n_partitions).encode(),
            )
            for each, offset in batch.next_offsets.items()
        }

    def _adapt(self, n_records: int, seconds: float) -> None:
        """Take in as many records next as fit into `BATCH_S_MAX`, and at most twice as many."""
        most = min(self._settings.poll_records_max, 2 * self._n_records_max)
        n_fitting = int(n_records * BATCH_S_MAX / max(seconds, 1e-9))
        self._n_records_max = max(1, min(most, n_fitting))

    def _deliver(
        self, batch: RecordBatch, step: Step, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> bool:
        """Publish a step and commit; return False where that was left to whoever reads it again."""
        if not self._deliver_with_retry(lambda: self._publisher.publish(batch, step), batch):
            return False
        if self._settings.delivery == "exactly_once":
            # Of a transaction whose end failed, only the group's offsets tell whether it was done.
            self._client.commit(offsets)
            return True
        return self._deliver_with_retry(lambda: self._client.commit(offsets), batch)

    def _deliver_with_retry(self, attempt: Callable[[], None], batch: RecordBatch) -> bool:
        """Try until it works, holding the batch meanwhile; False where it is no longer ours."""
        error = _failure_of(attempt)
        if error is None:
            return True
        self._held = batch
        while error is not None and self._pause_and_heartbeat(error):
            error = _failure_of(attempt)
        self._held = None
        self._client.resume(self._assigned)
        self._busy_at_s = self._clock.monotonic_s()
        return error is None

    def _pause_and_heartbeat(self, error: StreamDetectorError) -> bool:
        """Poll without taking records, so that the group sees us; return whether to try again."""
        self._retry_policy.record_failure(error)
        self.totals.n_retries += 1
        self._client.abort()
        self._client.pause(self._assigned)
        self._retry_policy.back_off()
        polled = self._client.poll(1, self._settings.poll_timeout_ms)
        # What was newly assigned just now is not paused yet.
        self._restorer.rewind_batch(self._check_assignment(polled))
        return self._held is not None and not self._is_stopping

    def _count(self, batch: RecordBatch, step: Step) -> None:
        """Count a finished batch."""
        n_records, n_rejected = len(batch), len(step.rejected)
        self.totals.n_records += n_records
        self.totals.n_alerts += len(step.alerts)
        self.totals.n_dead_letters += n_rejected
        self.totals.n_batches += 1
        self._metrics.count(step.counts)
        self._metrics.batch.observe(n_records)
        self._metrics.set_lag(self._client.lag_records())
        if n_rejected:
            first = step.rejected[0]
            metadata = batch.metadata(first.index)
            log_event(
                logging.WARNING,
                "dead-letters",
                n_records=n_rejected,
                first=f"{metadata.topic}[{metadata.partition}]@{metadata.offset}",
                error=type(first.error).__name__,
                n_left_out=self._publisher.n_left_out,
                reason=first.error,
            )
        for observe in self._observers:
            observe(batch, step)

    def _check_topics(self) -> None:
        """Refuse to start on a topic that does not exist, and say how to make it."""
        settings = self._settings
        topics = (settings.input_topic, settings.alerts_topic, settings.dead_letter_topic)
        counts = {topic: self._client.n_partitions(topic) for topic in topics}
        missing = [topic for topic, count in counts.items() if count == 0]
        if missing:
            raise missing_topics(settings.bootstrap_servers, missing)
        self._n_partitions = counts[settings.input_topic]

    def _check_assignment(self, batch: RecordBatch) -> RecordBatch:
        """Drop revoked partitions, start restoring new ones, and log once when there are some.

        Returns
        -------
        The batch without records that will be read again, here or by another member.
        """
        assigned, newly_assigned = self._client.assignment(), self._client.newly_assigned()
        if assigned == self._assigned and not newly_assigned:
            return batch
        to_restore = self._partitions_to_restore(assigned, newly_assigned)
        to_restore = self._drop_revoked_batch(assigned, newly_assigned, to_restore)
        gone = sorted((self._assigned - assigned) | (self._assigned & to_restore))
        if gone:
            self._restorer.drop_partitions(gone)
            self._state = self._state.drop_partitions([each.partition for each in gone])
        self._assigned = assigned
        # A process that waits for partitions is not idle.
        self.is_ready = self.is_ready and bool(assigned)
        self._metrics.partitions.set(len(assigned))
        if to_restore:
            self._state = self._restorer.open_partitions(
                self._state, to_restore, self._n_partitions
            )
        if assigned and not self.is_ready:
            self._log_ready()
        return self._restorer.readable(batch, assigned)

    def _partitions_to_restore(
        self, assigned: frozenset[TopicPartition], newly_assigned: frozenset[TopicPartition]
    ) -> frozenset[TopicPartition]:
        """Return the new partitions, or all of them where the topic has more partitions now."""
        if not newly_assigned:
            return newly_assigned
        n_before = self._n_partitions
        self._n_partitions = self._client.n_partitions(self._settings.input_topic)
        # Keys may have moved from the partitions that stay, too.
        return newly_assigned if self._n_partitions == n_before else assigned

    def _drop_revoked_batch(
        self,
        assigned: frozenset[TopicPartition],
        newly_assigned: frozenset[TopicPartition],
        to_restore: frozenset[TopicPartition],
    ) -> frozenset[TopicPartition]:
        """Drop a held batch once a partition of it was revoked; its others are restored as well."""
        mine = frozenset(self._held.next_offsets if self._held is not None else ())
        if self._held is None or mine <= assigned - to_restore:
            return to_restore
        kept = mine & assigned
        self._restorer.rewind_batch(self._held, kept - newly_assigned)
        self._held = None
        return to_restore | kept

    def _log_ready(self) -> None:
        """Say once that there is something to read."""
        self.is_ready = True
        self._busy_at_s = self._clock.monotonic_s()
        log_event(
            logging.INFO,
            "ready",
            topic=self._settings.input_topic,
            group=self._settings.group,
            n_partitions=len(self._assigned),
            bundle=f"{self._detector.bundle.name}/{self._detector.bundle.version[:12]}",
        )

    def _is_idle(self) -> bool:
        """Return whether no record has come for `stop_when_idle_s` since we were ready."""
        limit_s = self._settings.stop_when_idle_s
        if limit_s is None or not self.is_ready:
            return False
        return self._clock.monotonic_s() - self._busy_at_s >= limit_s

    def _recover(self, error: StreamDetectorError) -> None:
        """Wait, drop the connections and go on at the committed offsets; give up in the end."""
        self._retry_policy.record_failure(error)
        self.totals.n_retries += 1
        self._client.reset()
        self._state = self._detector.initial_state()
        self._restorer.drop_partitions()
        self._held = None
        self._assigned = frozenset()
        self.is_ready = False
        self._metrics.partitions.set(0)
        self._retry_policy.back_off()


def _failure_of(attempt: Callable[[], None]) -> StreamDetectorError | None:
    """Return what made an attempt fail where another one can help, None where it did not fail."""
    try:
        attempt()
    except StreamDetectorError as error:
        if not error.retriable:
            raise
        return error
    return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking a batch's tens of thousands of records.

    They hold no cycles and are gone when their turn ends, so between two turns the collector finds
    only what is really left over. A benchmark's bare poll loop has no such pause.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
