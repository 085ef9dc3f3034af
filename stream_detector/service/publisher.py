"""Publish the alerts and dead letters of a step, and wait until all are acknowledged."""

from collections.abc import Iterator

from stream_detector.core.alerting.alert import encode_alert
from stream_detector.core.codec.dead_letters import encode_dead_letter, is_left_out
from stream_detector.core.records import OutputRecord, RecordBatch
from stream_detector.core.results import Step
from stream_detector.service.context import RunContext


class Publisher:
    """Writes alerts and dead letters.

    Parameters
    ----------
    context
        Of the service.

    Attributes
    ----------
    n_left_out
        How many dead letters of the last step were published without their value, because of its
        size.
    """

    def __init__(self, context: RunContext) -> None:
        self.n_left_out = 0
        self._context = context

    def publish(self, batch: RecordBatch, step: Step) -> None:
        """Write alerts and dead letters and wait until all are acknowledged.

        Raises
        ------
        BrokerError
            If they are not acknowledged. After `Client.abort` they may all be published again.
        """
        if not step.alerts and not step.rejected:
            return
        client, metrics = self._context.client, self._context.metrics
        now_ms = self._context.clock.now_ms()
        client.produce(self._outputs(batch, step, now_ms))
        client.flush(self._context.settings.flush_timeout_ms)
        for index, alert, _ in step.alerts:
            metrics.alerts.labels(alert.event, alert.severity).inc()
            latency_ms = now_ms - batch.metadata(index).timestamp_ms
            metrics.latency.observe(latency_ms / 1000)

    def _outputs(self, batch: RecordBatch, step: Step, now_ms: int) -> Iterator[OutputRecord]:
        """Yield the alerts of a step and then its dead letters, as records."""
        settings, self.n_left_out = self._context.settings, 0
        for _, alert, key in step.alerts:
            yield encode_alert(alert, settings.alerts_topic, key, now_ms)
        for each in step.rejected:
            value, metadata = batch.values[each.index], batch.metadata(each.index)
            topic, bytes_max = settings.dead_letter_topic, settings.dead_letter_bytes_max
            dead_letter = encode_dead_letter(each, value, metadata, topic, bytes_max)
            self.n_left_out += is_left_out(dead_letter)
            yield dead_letter
