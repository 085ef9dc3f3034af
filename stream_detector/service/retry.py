"""How long to retry when Kafka does not answer, or does not accept alerts and offsets."""

import logging

from stream_detector.errors import StreamDetectorError
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event

BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 2.0
"""Shortest and longest wait between two attempts; each wait is twice the one before it."""

LOG_EVERY_S = 5.0
"""Shortest time between two log lines about an outage."""


class RetryPolicy:
    """Measures how long an outage lasts, and waits between two attempts.

    An outage begins with a failure. It ends when a batch is finished, or when so much time passes
    without another failure that the next one belongs to a new outage. An empty poll does not end
    it, because it does not show that Kafka accepts alerts.

    Parameters
    ----------
    context
        Of the service.

    Attributes
    ----------
    final
        The error with which it gave up; None before.
    """

    def __init__(self, context: RunContext) -> None:
        self.final: StreamDetectorError | None = None
        self._limit_s = context.settings.broker_timeout_s
        self._metrics = context.metrics
        self._clock = context.clock
        self._attempt_at_s = self._clock.monotonic_s()
        self._failing_since_s: float | None = None
        # Since when Kafka is away, and whether that was logged; only an answer ends it.
        self._away_since_s: float | None = None
        self._is_logged = False
        self._failed_at_s = 0.0
        self._backoff_s = BACKOFF_S_MIN
        self._logged_at_s = -LOG_EVERY_S

    def begin_attempt(self) -> None:
        """Note the time at which a batch begins."""
        self._attempt_at_s = self._clock.monotonic_s()

    def end_outage(self) -> None:
        """Note that a batch is finished."""
        self._failing_since_s = None
        self.log_answer()

    def log_answer(self) -> None:
        """Log that Kafka answers again, once after each outage that was logged.

        An empty poll shows that as well, although it does not end the outage.
        """
        if self._away_since_s is not None and self._is_logged:
            away_s = self._clock.monotonic_s() - self._away_since_s
            log_event(logging.INFO, "connected-again", after_s=f"{away_s:.0f}")
        self._away_since_s, self._is_logged = None, False

    def record_failure(self, error: StreamDetectorError) -> None:
        """Count a failure, and log it at most every `LOG_EVERY_S`.

        Raises
        ------
        StreamDetectorError
            Of the error's own class, once the retry deadline has passed: the outage has lasted for
            `broker_timeout_s`.
        """
        now_s = self._clock.monotonic_s()
        is_new = self._attempt_at_s - self._failed_at_s >= self._limit_s
        if self._failing_since_s is None or is_new:
            self._failing_since_s = now_s
            self._backoff_s = BACKOFF_S_MIN
        if self._away_since_s is None:
            self._away_since_s = now_s
        failing_s = now_s - self._failing_since_s
        if failing_s >= self._limit_s:
            message = f"gave up after {failing_s:.0f} s (--broker-timeout): {error}"
            self.final = type(error)(message)
            raise self.final from error
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s, self._is_logged = now_s, True
            left_s = f"{self._limit_s - failing_s:.0f}"
            log_event(logging.WARNING, "retrying", reason=error, giving_up_in_s=left_s)
        self._metrics.retries.labels(type(error).__name__).inc()

    def back_off(self) -> None:
        """Wait before the next attempt."""
        self._clock.sleep(self._backoff_s)
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_S_MAX)
        self._failed_at_s = self._clock.monotonic_s()
