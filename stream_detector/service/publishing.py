"""What a step has to publish, handed to Kafka until it is acknowledged."""

from collections.abc import Iterator

from stream_detector.core.alerting.alert import encode_alert
from stream_detector.core.codec.dead_letters import encode_dead_letter, is_left_out
from stream_detector.core.records import OutputRecord, RecordBatch
from stream_detector.core.results import Step
from stream_detector.ports import Client, Clock
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics


class Publisher:
    """Writes alerts and dead letters.

    Parameters
    ----------
    client
        Writes.
    settings
        Topics, sizes and time limits.
    metrics
        Counted into.
    clock
        Where time comes from.

    Attributes
    ----------
    n_left_out
        How many dead letters of the last step went without their value.
    """

    def __init__(
        self, client: Client, settings: DetectSettings, metrics: Metrics, clock: Clock
    ) -> None:
        self.n_left_out = 0
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._clock = clock

    def publish(self, batch: RecordBatch, step: Step) -> None:
        """Write alerts and dead letters and wait until all are acknowledged.

        Raises
        ------
        BrokerError
            If they are not. After `Client.abort` all may be published again.
        """
        if not step.alerts and not step.rejected:
            return
        now_ms = self._clock.now_ms()
        self._client.produce(self._outputs(batch, step, now_ms))
        self._client.flush(self._settings.flush_timeout_ms)
        for index, alert, _ in step.alerts:
            self._metrics.alerts.labels(alert.event, alert.severity).inc()
            latency_ms = now_ms - batch.metadata(index).timestamp_ms
            self._metrics.latency.observe(latency_ms / 1000)

    def _outputs(self, batch: RecordBatch, step: Step, now_ms: int) -> Iterator[OutputRecord]:
        """Yield what a step has to publish."""
        settings, self.n_left_out = self._settings, 0
        for _, alert, key in step.alerts:
            yield encode_alert(alert, settings.alerts_topic, key, now_ms)
        for each in step.rejected:
            value, metadata = batch.values[each.index], batch.metadata(each.index)
            topic, bytes_max = settings.dead_letter_topic, settings.dead_letter_bytes_max
            dead_letter = encode_dead_letter(each, value, metadata, topic, bytes_max)
            self.n_left_out += is_left_out(dead_letter)
            yield dead_letter
