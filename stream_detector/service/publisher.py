"""Publish the alerts and dead letters of a step, and wait until all are acknowledged.

What a topic refuses does not stop the service if it can be published in another way. An alert
becomes a dead letter of its record. A dead letter is sent without parts that are too large, with
the time of sending, or with a key, and a header says so.
"""

from collections.abc import Iterator

from stream_detector.core.alerting.alert import RaisedAlert
from stream_detector.core.codec.dead_letters import is_left_out, with_place_as_key, without_time
from stream_detector.core.records import RecordBatch, Rejected
from stream_detector.core.results import Step
from stream_detector.errors import AlertRefusedError, BrokerError, RecordRefusedError, Refusal
from stream_detector.service.context import RunContext
from stream_detector.service.outputs import Output, OutputWriter
from stream_detector.service.refusals import Change, Refusals


class Publisher:
    """Writes scores, alerts and dead letters.

    Parameters
    ----------
    context
        Of the service.

    Attributes
    ----------
    n_alerts, n_dead_letters
        How many were published of the last step.
    n_left_out
        How many dead letters of the last step were published without a part, which was too large or
        could not be read.
    """

    def __init__(self, context: RunContext) -> None:
        self.n_alerts = self.n_dead_letters = self.n_left_out = 0
        self._context = context
        self._writer = OutputWriter(context.settings, context.detector, context.schemas)
        self._refusals = Refusals(context)
        self._set_aside: set[int] = set()

    def publish(self, batch: RecordBatch, step: Step) -> None:
        """Write scores, alerts and dead letters and wait until all are acknowledged.

        Raises
        ------
        BrokerError
            If they are not acknowledged. After `Client.abort` they may all be published again.
        """
        self.n_alerts = self.n_dead_letters = self.n_left_out = 0
        if not step.alerts and not step.rejected and step.scores.details is None:
            return
        self._set_aside.clear()
        self._refusals.begin_step()
        now_ms = self._context.clock.now_ms()
        published = self._send(batch, list(self._writer.outputs(batch, step, now_ms)))
        self._refusals.end_step()
        self._count(batch, published, now_ms)

    def _send(self, batch: RecordBatch, outputs: list[Output]) -> list[Output]:
        """Send outputs until all are acknowledged, and return them as they were published."""
        client, settings = self._context.client, self._context.settings
        published: list[Output] = []
        waiting = list(self._fitting(batch, outputs))
        while waiting:
            some = waiting[: self._refusals.n_together([each.record for each in waiting])]
            rest = waiting[len(some) :]
            try:
                client.produce(each.record for each in some)
                client.flush(settings.flush_timeout_ms)
            except RecordRefusedError as error:
                client.abort()
                lost = set(error.undelivered)
                arrived = [each for number, each in enumerate(some) if number not in lost]
                changed = self._after_refusal(batch, some, error)
                waiting = [changed[number] for number in error.undelivered] + rest
                published += arrived
                if settings.delivery == "exactly_once":  # all of the transaction was aborted
                    waiting, published = [*published, *waiting], []
                waiting = list(self._fitting(batch, waiting))
            else:
                published += some
                waiting = rest
        return published

    def _after_refusal(
        self, batch: RecordBatch, sent: list[Output], error: RecordRefusedError
    ) -> list[Output]:
        """Learn from records that were refused; return what was sent, changed if none is known why.

        Raises
        ------
        RecordRefusedError
            If a dead letter is refused although nothing more about it can be changed.
        """
        refused = [(sent[number].record, reason) for number, reason in error.refusals.items()]
        if self._refusals.learn(refused, error):
            return sent
        changed = list(sent)
        for number in error.refusals:
            if not isinstance(sent[number].content, RaisedAlert):
                raise error
            changed[number] = self._set_alert_aside(batch, sent[number], f"{error}", "not known")
        return changed

    def _fitting(self, batch: RecordBatch, outputs: list[Output]) -> Iterator[Output]:
        """Yield outputs as their topics take them, by what is known of these."""
        if not self._refusals.has_limits:
            yield from outputs
            return
        now_ms = self._context.clock.now_ms()
        for each in outputs:
            output = each
            limits = self._refusals.limits_of(output.record.topic)
            while (problem := limits.problem(output.record, now_ms)) is not None:
                output = self._changed(batch, output, problem)
                limits = self._refusals.limits_of(output.record.topic)
            if output is each or output.name == each.name or self._is_first(output):
                yield output

    def _is_first(self, output: Output) -> bool:
        """Return whether a record whose alert was set aside had no other alert set aside before."""
        is_first = output.row not in self._set_aside
        self._set_aside.add(output.row)
        return is_first

    def _changed(self, batch: RecordBatch, output: Output, problem: Refusal) -> Output:
        """Return an output without what its topic refuses.

        Raises
        ------
        BrokerError
            If a dead letter is too large even without all parts that can be left out.
        """
        record, metadata = output.record, batch.metadata(output.row)
        limit = self._refusals.limits_of(record.topic).bytes_max
        if problem == "content":
            self._note(batch, output, "cleanup.policy", "with its record's place as key")
            return output._replace(record=with_place_as_key(record, metadata))
        if problem == "timestamp":
            is_ahead = (record.timestamp_ms or 0) > self._context.clock.now_ms()
            setting = f"message.timestamp.{'after' if is_ahead else 'before'}.max.ms"
            self._note(batch, output, setting, "with the time of sending")
            return output._replace(record=without_time(record))
        if output.content is None:
            message = (
                f"{_place(batch, output)}: its score has {record.n_bytes:,} bytes, and topic "
                f"{record.topic} takes at most {limit:,.0f}; raise its max.message.bytes"
            )
            raise BrokerError(message)
        if isinstance(output.content, RaisedAlert):
            reason = (
                f"the alert has {record.n_bytes:,} bytes, and topic {record.topic} takes at most "
                f"{limit:,.0f}; raise its max.message.bytes"
            )
            return self._set_alert_aside(batch, output, reason, "max.message.bytes")
        smaller = self._writer.dead_letter(batch, output.content, limit)
        if smaller.record.n_bytes >= record.n_bytes:
            message = (
                f"{_place(batch, output)}: its dead letter cannot have fewer than "
                f"{record.n_bytes:,} bytes, and topic {record.topic} takes at most {limit:,.0f}; "
                "raise its max.message.bytes"
            )
            raise BrokerError(message)
        self._note(batch, output, "max.message.bytes", "without parts that are too large")
        return smaller

    def _set_alert_aside(
        self, batch: RecordBatch, output: Output, reason: str, setting: str
    ) -> Output:
        """Return a dead letter of the record whose alert was refused."""
        self._note(batch, output, setting, "a dead letter of its record")
        rejected = Rejected(output.row, AlertRefusedError(reason), "publish")
        return self._writer.dead_letter(batch, rejected)

    def _note(self, batch: RecordBatch, output: Output, setting: str, published_as: str) -> None:
        """Keep for the log that an output is changed."""
        place, n_bytes = _place(batch, output), output.record.n_bytes
        change = Change(output.record.topic, setting, output.name, published_as, place, n_bytes)
        self._refusals.note(change)

    def _count(self, batch: RecordBatch, published: list[Output], now_ms: int) -> None:
        """Count what was published."""
        metrics = self._context.metrics
        for record, row, content in published:
            if isinstance(content, RaisedAlert):
                self.n_alerts += 1
                metrics.alerts.labels(content.alert.event, content.alert.severity).inc()
                timestamp_ms = batch.metadata(row).timestamp_ms
                if timestamp_ms >= 0:
                    # A sender's clock may be ahead of ours.
                    metrics.latency.observe(max(0, now_ms - timestamp_ms) / 1000)
                continue
            if content is None:
                continue
            self.n_dead_letters += 1
            self.n_left_out += is_left_out(record)
            if content.stage == "publish":
                metrics.rejected.labels(type(content.error).__name__).inc()


def _place(batch: RecordBatch, output: Output) -> str:
    """Return where the record of an output is, as topic[partition]@offset."""
    return batch.metadata(output.row).place
