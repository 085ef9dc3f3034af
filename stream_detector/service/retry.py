"""How long to go on trying where Kafka does not answer, or does not take what it is given."""

import logging

from stream_detector.errors import StreamDetectorError
from stream_detector.ports import Clock
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics, log_event

BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 2.0
"""Between two tries: doubled from the first to the second."""

LOG_EVERY_S = 5.0
"""How often an outage is spoken of."""


class RetryPolicy:
    """Measures an outage, and waits between two tries.

    Parameters
    ----------
    settings
        Say when to give up.
    metrics
        Counted into.
    clock
        Where time comes from.
    """

    def __init__(self, settings: DetectSettings, metrics: Metrics, clock: Clock) -> None:
        self._limit_s = settings.broker_timeout_s
        self._metrics = metrics
        self._clock = clock
        self._attempt_at_s = clock.monotonic_s()
        self._failing_since_s: float | None = None
        self._failed_at_s = 0.0
        self._backoff_s = BACKOFF_S_MIN
        self._logged_at_s = -LOG_EVERY_S

    @property
    def is_outage(self) -> bool:
        """Whether there is an outage: something failed, and no batch was finished since."""
        return self._failing_since_s is not None

    def begin_attempt(self) -> None:
        """Take notice that a turn begins."""
        self._attempt_at_s = self._clock.monotonic_s()

    def end_outage(self) -> None:
        """Take notice that a batch was finished."""
        self._failing_since_s = None

    def record_failure(self, error: StreamDetectorError) -> None:
        """Count a failure; raises the same error, with its history, once patience is at its end.

        Empty polls after a failure prove nothing about the sink, so only a finished batch ends an
        outage, or so long without another failure that the next one is a new outage.
        """
        now_s = self._clock.monotonic_s()
        is_new = self._attempt_at_s - self._failed_at_s >= self._limit_s
        if self._failing_since_s is None or is_new:
            self._failing_since_s = now_s
            self._backoff_s = BACKOFF_S_MIN
        failing_s = now_s - self._failing_since_s
        if failing_s >= self._limit_s:
            message = f"gave up after {failing_s:.0f} s (--broker-timeout): {error}"
            raise type(error)(message) from error
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            left_s = f"{self._limit_s - failing_s:.0f}"
            log_event(logging.WARNING, "retrying", reason=error, giving_up_in_s=left_s)
        self._metrics.retries.labels(type(error).__name__).inc()

    def back_off(self) -> None:
        """Sleep before the next try."""
        self._clock.sleep(self._backoff_s)
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_S_MAX)
        self._failed_at_s = self._clock.monotonic_s()
