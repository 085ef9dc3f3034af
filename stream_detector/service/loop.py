"""The loop: poll, score, publish, commit. The only place that orders effects.

One poll is one batch is one commit:

1. `Client.poll` returns a batch of records.
2. `Assignment` says which partitions were assigned or revoked; `Restorer` begins to restore the
   state of the new ones, and drops that of the others.
3. `Restorer` replays the records of partitions that are being restored, and returns the others.
4. `Detector.step` scores the others: the next state, alerts and rejected records.
5. `Publisher` writes alerts and dead letters, and waits until all are acknowledged.
6. `Client.commit` saves the next offsets and, in their metadata, how to restore the state.
7. Totals and metrics are counted, and the observers are called.

With delivery at least once, a process that stops between two steps leaves its batch uncommitted.
The next member of the group processes it again, and an alert that is published twice has the same
`alert_id`. With delivery exactly once, the client makes one transaction of steps 5 and 6.

A batch that Kafka does not accept, or whose schemas a registry does not give, is held: its
partitions are paused, polling continues so that the process stays in the group, and delivery is
retried. After any other failure that can be retried the connections and the state are dropped, and
the state is restored (`recovery`).
"""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from stream_detector.core.detector import Detector
from stream_detector.core.records import OffsetAndMetadata, RecordBatch, TopicPartition
from stream_detector.core.results import Step
from stream_detector.core.windowing.diagnosis import Reason
from stream_detector.errors import StreamDetectorError
from stream_detector.ports import Client, Clock, NoSchemas, SchemaSource
from stream_detector.service.assignment import Assignment
from stream_detector.service.clock_watch import ClockWatch
from stream_detector.service.context import RunContext
from stream_detector.service.diagnosis import UnscoredWatch
from stream_detector.service.group_watch import GroupWatch
from stream_detector.service.lost_headers import name_lost_headers
from stream_detector.service.publisher import Publisher
from stream_detector.service.recovery import Restorer
from stream_detector.service.rejections import KeyLimitWatch, RejectionWatch
from stream_detector.service.retry import RetryPolicy
from stream_detector.service.unknown_keys import UnknownKeyWatch
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event

BATCH_S_MAX = 20.0
"""Time that a batch may take; after one that took longer, the next is smaller. The group removes a
member that has not polled for 300 s."""

POLL_RECORDS_FIRST = 256
"""Most records in the first poll, when the time per record is not known yet: even where the network
takes a second for each, the next poll is in time."""

StepObserver = Callable[[RecordBatch, Step], None]
"""Takes a batch and its step, after the batch has been committed."""


@dataclass(slots=True)
class Totals:
    """What a service has done so far.

    Parameters
    ----------
    n_records, n_alerts, n_dead_letters, n_batches, n_retries, n_scored_windows
        Counts.
    unscored
        At the end of the run, how many keys send samples of which no window is scored, by reason.
    n_unknown_keys
        At the end of the run, how many keys training did not know, where each has its own scale.
    """

    n_records: int = 0
    n_alerts: int = 0
    n_dead_letters: int = 0
    n_batches: int = 0
    n_retries: int = 0
    n_scored_windows: int = 0
    unscored: Mapping[Reason, int] = field(default_factory=dict)
    n_unknown_keys: int = 0


class Service:
    """Detect anomalies in one topic until stopped.

    Parameters
    ----------
    client
        Reads the input topic, writes alerts and dead letters, commits offsets.
    detector
        Scores batches and raises alerts.
    settings
        Topics, sizes and time limits.
    metrics
        Where the service counts and times what it does.
    clock
        Source of the time.
    schemas
        Where schemas of records come from, and that of alerts goes to; None where there are none.

    Attributes
    ----------
    context
        The parameters, which the parts of the service share.
    totals
        What was done so far.
    polled_at_ms
        When the last poll returned, milliseconds since 1970-01-01 UTC; 0 before it.
    """

    def __init__(
        self,
        client: Client,
        detector: Detector,
        settings: DetectSettings,
        metrics: Metrics,
        clock: Clock,
        schemas: SchemaSource | None = None,
    ) -> None:
        self.context = RunContext(
            client, detector, settings, metrics, clock, schemas or NoSchemas()
        )
        self.totals = Totals()
        self.polled_at_ms = 0
        self._rejection_watch = RejectionWatch(self.context)
        self._unscored_watch = UnscoredWatch(self.context)
        self._clock_watch = ClockWatch(self.context)
        self._unknown_key_watch = UnknownKeyWatch(self.context)
        self._observers: list[StepObserver] = [
            self._unscored_watch.observe,
            KeyLimitWatch(self.context).observe,
            self._rejection_watch.observe,
            self._clock_watch.observe,
            self._unknown_key_watch.observe,
        ]
        self._assignment = Assignment(self.context)
        self._group_watch = GroupWatch(self.context)
        self._restorer = Restorer(self.context, self._group_watch)
        self._publisher = Publisher(self.context)
        self._retry_policy = RetryPolicy(self.context)
        self._state = self._shown = detector.initial_state()
        self._held: RecordBatch | None = None
        self._is_stopping = False
        self._n_records_max = min(settings.poll_records_max, POLL_RECORDS_FIRST)
        self._busy_at_s = clock.monotonic_s()

    @property
    def is_ready(self) -> bool:
        """Whether the service reads partitions of the input topic."""
        return self._assignment.is_ready

    def stop(self) -> None:
        """Finish the current batch, commit and return from `run`. Safe in a signal handler."""
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
        What was done. The process has left the group.

        Raises
        ------
        BrokerError
            If the broker did not answer, or accepted nothing, for `broker_timeout_s`, or refused.
        StateError
            If the committed offsets or their metadata cannot be trusted.
        BundleError
            If the network gave a non-finite score. Nothing of that batch is committed.
        AllRejectedError
            If all records were rejected and `fail_when_all_rejected` is set. They are committed.
        """
        detector = self.context.detector
        self.context.metrics.show_bundle(detector.bundle, detector.scorer.threshold)
        try:
            while not self._is_stopping and not self._is_idle():
                try:
                    with _collector_paused():
                        self._process_batch()
                    self._unscored_watch.check()
                    self._clock_watch.check()
                    self._unknown_key_watch.check()
                except StreamDetectorError as error:
                    if not error.retriable or error is self._retry_policy.final:
                        raise
                    self._recover(error)
                self._show_state()
            self.totals.unscored = self._unscored_watch.finish()
            self._rejection_watch.finish()
            self._clock_watch.finish()
            self.totals.n_unknown_keys = self._unknown_key_watch.finish()
        finally:
            self.context.client.close()
        return self.totals

    def _process_batch(self) -> None:
        """Process one batch, from poll to commit."""
        context = self.context
        context.metrics.turned.set(context.clock.now_ms() / 1000)
        self._retry_policy.begin_attempt()
        self._assignment.check_topics()
        self._group_watch.look()
        was_ready = self._assignment.is_ready
        polled = self._poll(self._n_records_max)
        polled_at_s = context.clock.monotonic_s()
        self.polled_at_ms = context.clock.now_ms()
        try:
            batch, step = self._score(polled)
        finally:  # also after a failure: if this took too long, the next attempt must be smaller
            if len(polled):
                self._busy_at_s = context.clock.monotonic_s()
                self._adapt_poll_size(len(polled), self._busy_at_s - polled_at_s)
        if step is None:
            if was_ready and not len(polled):
                self._retry_policy.log_answer()
            return
        self._state, checkpoints = self._restorer.checkpoints(
            step.state, batch.next_offsets, self._assignment.n_partitions
        )
        if self._deliver(batch, step, checkpoints):
            self._count(batch, step)
            for observe in self._observers:
                observe(batch, step)
            self._retry_policy.end_outage()
            self._busy_at_s = context.clock.monotonic_s()

    def _poll(self, n_records_max: int) -> RecordBatch:
        """Poll, and note the time if Kafka has answered since the last poll."""
        context = self.context
        polled = context.client.poll(n_records_max, context.settings.poll_timeout_ms)
        if context.client.has_answered():
            context.metrics.answered.set(context.clock.now_ms() / 1000)
        return polled

    def _score(self, polled: RecordBatch) -> tuple[RecordBatch, Step | None]:
        """Return the live part of what was polled, and its step if it holds a record."""
        batch = self._with_schemas(self._apply_assignment(polled))
        self._state, batch = self._restorer.replay(self._state, batch)
        if not len(batch):
            return batch, None
        content_type = self.context.settings.content_type
        step = self.context.detector.step(self._state, batch, content_type)
        return name_lost_headers(self.context.client, batch, step)

    def _with_schemas(self, batch: RecordBatch) -> RecordBatch:
        """Return the batch with the schemas of its records; without a record if it was dropped.

        While a registry does not answer the batch is held, so that the process stays in its group.
        """
        found = [batch]

        def attempt() -> None:
            found[0] = self.context.schemas.attach(batch)

        if self._hold_and_retry(attempt, batch):
            return found[0]
        return batch.select(np.empty(0, np.intp), {})

    def _apply_assignment(self, polled: RecordBatch) -> RecordBatch:
        """Drop the state of revoked partitions and begin to restore that of new ones.

        Returns
        -------
        The batch without records that will be read again, here or by another member.
        """
        assignment, restorer = self._assignment, self._restorer
        before = assignment.partitions
        change = assignment.update(self._held)
        if change is None:
            return polled
        self._group_watch.on_revoked(before - assignment.partitions)
        if self._held is not None and change.drops_held_batch:
            restorer.rewind(self._held, change.to_rewind)
            self._held = None
        self._state = restorer.drop_partitions(self._state, change.to_drop)
        self._state = restorer.open_partitions(
            self._state, change.to_restore, assignment.n_partitions
        )
        if assignment.become_ready():
            self._busy_at_s = self.context.clock.monotonic_s()
        return restorer.without_stale(polled, assignment.partitions)

    def _adapt_poll_size(self, n_records: int, seconds: float) -> None:
        """Poll as many records next as fit into `BATCH_S_MAX`, and at most twice as many as now."""
        most = min(self.context.settings.poll_records_max, 2 * self._n_records_max)
        n_fitting = int(n_records * BATCH_S_MAX / max(seconds, 1e-9))
        self._n_records_max = max(1, min(most, n_fitting))

    def _deliver(
        self,
        batch: RecordBatch,
        step: Step,
        checkpoints: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> bool:
        """Publish a step and commit; return False if the batch was dropped and is read again."""
        client = self.context.client
        if not self._hold_and_retry(lambda: self._publisher.publish(batch, step), batch):
            return False
        if self.context.settings.delivery == "exactly_once":
            # After a failed commit of a transaction, only the committed offsets say if it was done.
            client.commit(checkpoints)
            return True
        return self._hold_and_retry(lambda: client.commit(checkpoints), batch)

    def _hold_and_retry(self, attempt: Callable[[], None], batch: RecordBatch) -> bool:
        """Retry until it succeeds, and hold the batch meanwhile; False if the batch was dropped."""
        error = _failure_of(attempt)
        if error is None:
            return True
        self._held = batch
        self.context.metrics.held.set(1)
        while error is not None and self._pause_and_heartbeat(error):
            error = _failure_of(attempt)
        self._held = None
        self.context.metrics.held.set(0)
        self.context.client.resume(self._assignment.partitions)
        self._busy_at_s = self.context.clock.monotonic_s()
        return error is None

    def _pause_and_heartbeat(self, error: StreamDetectorError) -> bool:
        """Poll without taking records, to stay in the group; return whether to try again."""
        client = self.context.client
        self.context.metrics.turned.set(self.context.clock.now_ms() / 1000)
        self._retry_policy.record_failure(error)
        self.totals.n_retries += 1
        client.abort()
        client.pause(self._assignment.partitions)
        self._retry_policy.back_off()
        polled = self._poll(1)
        # Partitions that this very poll assigned were not paused.
        self._restorer.rewind(self._apply_assignment(polled))
        return self._held is not None and not self._is_stopping

    def _count(self, batch: RecordBatch, step: Step) -> None:
        """Count a finished batch, and log its dead letters."""
        n_records, n_rejected = len(batch), len(step.rejected)
        self.totals.n_records += n_records
        self.totals.n_alerts += self._publisher.n_alerts
        self.totals.n_dead_letters += self._publisher.n_dead_letters
        self.totals.n_scored_windows += len(step.scores)
        self.totals.n_batches += 1
        metrics = self.context.metrics
        metrics.count(step.counts)
        metrics.observe_scores(step.scores)
        metrics.batch.observe(n_records)
        metrics.set_lag(self.context.client.lag_records())
        if n_rejected:
            first = step.rejected[0]
            metadata = batch.metadata(first.index)
            log_event(
                logging.WARNING,
                "dead-letters",
                n_records=n_rejected,
                first=metadata.place,
                error=type(first.error).__name__,
                n_left_out=self._publisher.n_left_out,
                reason=first.error,
            )

    def _show_state(self) -> None:
        """Show how much the state holds, where it is another one."""
        if self._state is not self._shown:
            self._shown = self._state
            self.context.metrics.show_state(self._state.counts())

    def _is_idle(self) -> bool:
        """Return whether no record has come for `stop_when_idle_s` since all could be read."""
        limit_s = self.context.settings.stop_when_idle_s
        if limit_s is None:
            return False
        now_s = self.context.clock.monotonic_s()
        if not self.is_ready or not self.context.client.has_fetched():
            self._busy_at_s = now_s
        return now_s - self._busy_at_s >= limit_s

    def _recover(self, error: StreamDetectorError) -> None:
        """Drop connections and state, so that the next poll restores them; give up in the end."""
        self._retry_policy.record_failure(error)
        self.totals.n_retries += 1
        self.context.client.reset()
        self._state = self.context.detector.initial_state()
        self._restorer.clear()
        self._assignment.clear()
        self._held = None
        self.context.metrics.held.set(0)
        self._retry_policy.back_off()


def _failure_of(attempt: Callable[[], None]) -> StreamDetectorError | None:
    """Return the error of an attempt that can be retried, None if it succeeded."""
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

    They are in no cycles and are freed when their batch is done, so a collection between two
    batches finds only what is really left over. A benchmark's bare poll loop has no such pause.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
