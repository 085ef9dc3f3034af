"""Alerts of whole windows, from what they say."""

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.alerting.tracking import ScoredWindow, open_alert
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.core.scoring.scorer import Finding


def make_alert(
    metadata: RecordMetadata,
    window_ms: tuple[int, int],
    score: tuple[float, float, str],
    bundle: BundleReference,
    explanation: Explanation,
) -> Alert:
    """Return the alert of a record whose reconstruction error, threshold and severity are given."""
    error, threshold, severity = score
    window = ScoredWindow(
        metadata=lambda: metadata,
        start_ms=window_ms[0],
        end_ms=window_ms[1],
        score=error,
        threshold=threshold,
        score_kind="mae",
        explain=lambda: Finding(explanation, reconstruction_error=error),
    )
    return open_alert(window, ((severity, 1.0),), bundle)
