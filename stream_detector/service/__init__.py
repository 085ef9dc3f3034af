"""The service: poll, judge, publish, commit (`loop`), and what was known before (`restoring`)."""

from stream_detector.service.loop import BACKOFF_S_MAX, BACKOFF_S_MIN, Service, Totals

__all__ = ["BACKOFF_S_MAX", "BACKOFF_S_MIN", "Service", "Totals"]
