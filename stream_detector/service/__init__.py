"""The service: poll, score, publish, commit (`loop`), and state recovery (`recovery`)."""

from stream_detector.service.loop import Service, StepObserver, Totals
from stream_detector.service.retry import BACKOFF_S_MAX, BACKOFF_S_MIN

__all__ = ["BACKOFF_S_MAX", "BACKOFF_S_MIN", "Service", "StepObserver", "Totals"]
