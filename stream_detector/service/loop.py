"""The loop: poll, judge, publish, commit. The only place that orders effects.

One poll is one batch is one commit. With delivery at least once, alerts and dead letters are
flushed and every acknowledgement is checked before the offsets are committed, so whatever stops the
process, the records it had not finished are read again, and a repeated alert has the same
`alert_id`. With delivery exactly once the client makes one transaction of the same calls.

After any failure everything is dropped and begun anew: what was known before is read again
(`restoring`).
"""

import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stream_detector.core.dead_letters import encode_dead_letter, is_left_out
from stream_detector.core.detector import Detector
from stream_detector.core.publishing import encode_alert
from stream_detector.core.records import OutputRecord, Progress, RecordBatch, TopicPartition
from stream_detector.core.rewind import Note, Rewind
from stream_detector.core.step import Step
from stream_detector.errors import StreamDetectorError, missing_topics
from stream_detector.ports import Client, Clock, Reconstructor
from stream_detector.service.restoring import Restorer
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event

BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 2.0
"""Between two tries of a broker that does not answer: doubled from the first to the second."""

BATCH_S_MAX = 20.0
"""A batch that takes longer is followed by a smaller one. The group gives a member up that has not
polled for 300 s."""

POLL_RECORDS_FIRST = 256
"""Most records in the first poll, when it is not known how long one takes: even where the network
takes a second for each, the next poll is in time."""

SAY_EVERY_S = 5.0
"""How often a broker that does not answer is spoken of."""


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
    reconstruct
        The loaded network.
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
        reconstruct: Reconstructor,
        settings: DetectSettings,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.totals = Totals()
        self.on_step: Callable[[RecordBatch, Step], None] | None = None
        self._client = client
        self._detector = detector
        self._reconstruct = metrics.timed(reconstruct)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._state = detector.start()
        self._restorer = Restorer(client, detector, self._reconstruct, settings, metrics, clock)
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._is_stopping = False
        self.is_ready = False
        self._n_partitions = 0
        self._n_records_max = min(settings.poll_records_max, POLL_RECORDS_FIRST)
        self._busy_at_s = clock.monotonic_s()
        self._turn_at_s = self._busy_at_s
        self._failing_since_s: float | None = None
        self._failed_at_s = 0.0
        self._backoff_s = BACKOFF_S_MIN
        self._said_at_s = -SAY_EVERY_S
        self._n_left_out = 0

    def stop(self) -> None:
        """Finish the batch in hand, commit and return from `run`. Safe in a signal handler."""
        self._is_stopping = True

    def run(self) -> Totals:
        """Work until `stop` is called or the stream has been idle for `stop_when_idle_s`.

        Returns
        -------
        What was done. The group has been left.

        Raises
        ------
        BrokerError
            If the broker did not answer for `broker_timeout_s`, or refused.
        StateError
            If what was committed cannot be trusted.
        BundleError
            If the network gave a non-finite score. Nothing of that batch is committed.
        """
        try:
            while not self._is_stopping and not self._is_idle():
                try:
                    with _collector_paused():
                        self._turn()
                except StreamDetectorError as error:
                    if not error.retriable:
                        raise
                    self._recover(error)
        finally:
            self._client.close()
        return self.totals

    def _turn(self) -> None:
        """Do one batch from poll to commit."""
        self._turn_at_s = self._clock.monotonic_s()
        if not self._n_partitions:
            self._check_topics()
        batch = self._client.poll(self._n_records_max, self._settings.poll_timeout_ms)
        polled_at_s = self._clock.monotonic_s()
        try:
            self._finish(batch)
        finally:  # where it failed too: what took too long must not be tried again at that size
            if len(batch):
                self._busy_at_s = self._clock.monotonic_s()
                self._adapt(len(batch), self._busy_at_s - polled_at_s)

    def _finish(self, batch: RecordBatch) -> None:
        """Judge what was polled, publish and commit."""
        batch = self._check_assignment(batch)
        self._state, batch = self._restorer.take(self._state, batch)
        if len(batch):
            step = self._detector.step(
                self._state, batch, self._reconstruct, self._settings.content_type
            )
            self._state, rewinds = self._detector.rewinds(
                step.state, {each.partition: at for each, at in batch.next_offsets.items()}
            )
            self._publish(batch, step)
            self._client.commit(self._progress(batch, rewinds))
            self._count(batch, step)
            self._failing_since_s = None

    def _progress(
        self, batch: RecordBatch, rewinds: Mapping[int, Rewind]
    ) -> dict[TopicPartition, Progress]:
        """Return what to commit: where to go on, and how to know again what is known now."""
        version = self._detector.bundle.version
        return {
            each: Progress(
                offset, Note(rewinds[each.partition], version, self._n_partitions).encode()
            )
            for each, offset in batch.next_offsets.items()
        }

    def _adapt(self, n_records: int, seconds: float) -> None:
        """Take in as many records next as fit into `BATCH_S_MAX`, and at most twice as many."""
        most = min(self._settings.poll_records_max, 2 * self._n_records_max)
        n_fitting = int(n_records * BATCH_S_MAX / max(seconds, 1e-9))
        self._n_records_max = max(1, min(most, n_fitting))

    def _publish(self, batch: RecordBatch, step: Step) -> None:
        """Write alerts and dead letters and wait until all are acknowledged."""
        if not step.alerts and not step.rejected:
            return
        now_ms = self._clock.now_ms()
        self._client.produce(self._outputs(batch, step, now_ms))
        self._client.flush(self._settings.flush_timeout_ms)
        for index, alert, _ in step.alerts:
            self._metrics.alerts.labels(alert.event, alert.severity).inc()
            latency_ms = now_ms - batch.origin(index).timestamp_ms
            self._metrics.latency.observe(latency_ms / 1000)

    def _outputs(self, batch: RecordBatch, step: Step, now_ms: int) -> Iterator[OutputRecord]:
        """Yield what a step has to publish."""
        settings, self._n_left_out = self._settings, 0
        for _, alert, key in step.alerts:
            yield encode_alert(alert, settings.alerts_topic, key, now_ms)
        for each in step.rejected:
            value, origin = batch.values[each.index], batch.origin(each.index)
            topic, bytes_max = settings.dead_letter_topic, settings.dead_letter_bytes_max
            dead_letter = encode_dead_letter(each, value, origin, topic, bytes_max)
            self._n_left_out += is_left_out(dead_letter)
            yield dead_letter

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
            origin = batch.origin(first.index)
            log_event(
                logging.WARNING,
                "dead-letters",
                n_records=n_rejected,
                first=f"{origin.topic}[{origin.partition}]@{origin.offset}",
                error=type(first.error).__name__,
                n_left_out=self._n_left_out,
                reason=first.error,
            )
        if self.on_step is not None:
            self.on_step(batch, step)

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
        """Forget what went away, begin to restore what came, and say once that there is some.

        Returns
        -------
        The batch without records that come again, here or to another member.
        """
        assigned, gained = self._client.assignment(), self._client.gained()
        if assigned == self._assigned and not gained:
            return batch
        if gained:
            n_before, topic = self._n_partitions, self._settings.input_topic
            self._n_partitions = self._client.n_partitions(topic)
            if self._n_partitions != n_before:
                gained = assigned  # keys may have moved from the partitions that stay, too
        gone = sorted((self._assigned - assigned) | (self._assigned & gained))
        if gone:
            self._restorer.forget(gone)
            self._state = self._detector.forget(self._state, [each.partition for each in gone])
        self._assigned = assigned
        self._metrics.partitions.set(len(assigned))
        if gained:
            self._state = self._restorer.begin(self._state, gained, self._n_partitions)
        if assigned and not self.is_ready:
            self.is_ready = True
            self._busy_at_s = self._clock.monotonic_s()
            log_event(
                logging.INFO,
                "ready",
                topic=self._settings.input_topic,
                group=self._settings.group,
                n_partitions=len(assigned),
                bundle=f"{self._detector.bundle.name}/{self._detector.bundle.version[:12]}",
            )
        return self._restorer.readable(batch, assigned)

    def _is_idle(self) -> bool:
        """Return whether no record has come for `stop_when_idle_s` since we were ready."""
        limit_s = self._settings.stop_when_idle_s
        if limit_s is None or not self.is_ready:
            return False
        return self._clock.monotonic_s() - self._busy_at_s >= limit_s

    def _recover(self, error: StreamDetectorError) -> None:
        """Wait, drop the connections and go on at the committed offsets; give up in the end."""
        now_s = self._clock.monotonic_s()
        limit_s = self._settings.broker_timeout_s
        # Empty polls after a failure prove nothing about the sink, so only a finished batch ends
        # an outage, or so long without another failure that the next one is a new outage.
        is_new = self._turn_at_s - self._failed_at_s >= limit_s
        if self._failing_since_s is None or is_new:
            self._failing_since_s = now_s
            self._backoff_s = BACKOFF_S_MIN
        failing_s = now_s - self._failing_since_s
        if failing_s >= limit_s:
            message = f"gave up after {failing_s:.0f} s (--broker-timeout): {error}"
            raise type(error)(message) from error
        if now_s - self._said_at_s >= SAY_EVERY_S:
            self._said_at_s = now_s
            left_s = f"{limit_s - failing_s:.0f}"
            log_event(logging.WARNING, "retrying", reason=error, giving_up_in_s=left_s)
        self.totals.n_retries += 1
        self._metrics.retries.labels(type(error).__name__).inc()
        self._client.reset()
        self._state = self._detector.start()
        self._restorer.forget()
        self._assigned = frozenset()
        self.is_ready = False
        self._metrics.partitions.set(0)
        self._clock.sleep(self._backoff_s)
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_S_MAX)
        self._failed_at_s = self._clock.monotonic_s()


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
