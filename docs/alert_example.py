"""The alert's JSON Schema and an example alert, made by the code that makes real ones."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from stream_detector.core.alerting.alert import Alert, Source, encode_alert
from stream_detector.core.alerting.lifecycle import SeriesAlerts, advance
from stream_detector.core.alerting.tracking import ScoredWindow
from stream_detector.core.features import Features
from stream_detector.core.records import (
    BundleReference,
    FloatArray,
    OutputRecord,
    RecordMetadata,
)
from stream_detector.core.scoring.explanation import (
    Explanation,
    FeatureExplanation,
    ImageExplanation,
    RhythmExplanation,
    UnreliableFeature,
    WindowEvidence,
    explain,
)
from stream_detector.core.scoring.reconstruction_error import window_errors
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import Finding
from stream_detector.recipes.alerting import AlertingSection

FEATURES = Features(("vibration", "temperature"))
"""Features of the example."""

PARTS: tuple[type, ...] = (
    Source,
    BundleReference,
    Explanation,
    FeatureExplanation,
    ImageExplanation,
    UnreliableFeature,
    RhythmExplanation,
)
"""Classes of the objects within an alert."""


def descriptions(described: type) -> dict[str, str]:
    """Return the descriptions in a class's NumPy-style docstring, one a parameter, on one line.

    Raises
    ------
    ValueError
        If a field has no entry of its own, or an entry is of no field.
    """
    text = re.sub(r"^ {4}", "", described.__doc__ or "", flags=re.MULTILINE)
    section = re.search(r"^Parameters\n-+\n(.*?)(?:\n\n\S|\Z)", text, re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^(\w+)\n((?: {4}.*\n?)+)", section[1] if section else "", re.MULTILINE)
    found = {name: " ".join(lines.split()) for name, lines in entries}
    fields = list(described.__dataclass_fields__)  # type: ignore[attr-defined]
    if list(found) != fields:
        message = f"{described.__name__}: expected descriptions of {fields}, found {list(found)}"
        raise ValueError(message)
    return found


@cache
def schema() -> dict[str, Any]:
    """Return the alert's JSON Schema, each field described as its class describes it."""
    found = TypeAdapter(Alert).json_schema()
    for part in PARTS:
        section = found["$defs"][part.__name__]
        section["required"] = list(section["properties"])  # what is published has them all
        section["description"] = (part.__doc__ or "").strip().splitlines()[0]
        for name, description in descriptions(part).items():
            section["properties"][name]["description"] = description
    described = descriptions(Alert)
    # In the order in which they are published.
    found["properties"] = {name: found["properties"][name] for name in described}
    found["required"] = list(described)
    for name, description in described.items():
        found["properties"][name]["description"] = description
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "description": "What is published about the anomalous windows of a series.",
    }


@cache
def example() -> OutputRecord:
    """Return an alert as it is published: a pump that shakes more and more, one value missing."""
    bundle = BundleReference(
        "pump", "932f937bd9d3765dbdfc6eb7d69418a249df6ca8410707005d3ecc3354ee96d8"
    )
    scaler = Scaler("min-max", _float32([0.0, 40.0]), _float32([0.25, 0.125]))
    alerts: SeriesAlerts | None = None
    events: tuple[Alert, ...] = ()
    for number, peak in enumerate((3.75, 6.25)):
        scored = _scored_window(number, peak, scaler)
        alerts, events, _ = advance(alerts, scored, AlertingSection().rules, bundle)
    explained = events[0].explanation
    assert explained is not None  # noqa: S101  (a window's alert has one)
    explanation = replace(explained, n_gaps=1)
    return encode_alert(
        replace(events[0], explanation=explanation),
        "alerts",
        b"pump-7",
        events[0].event_time_ms + 12,
    )


def _scored_window(number: int, peak: float, scaler: Scaler) -> ScoredWindow:
    """Return a window of 8 steps and 2 features whose first feature rises to a peak."""
    window = _float32([[1.0, 41.0], [1.25, 41.0], [1.0, 41.0], [1.25, 41.5]] * 2)
    expected = scaler.transform(window[np.newaxis] - _float32([0.0, 0.25]))[0]
    window[4:7, 0] = [peak - 0.5, peak, peak - 0.25]
    imputed = np.zeros(window.shape, np.bool_)
    imputed[5, 1] = True
    start_ms = 1_767_225_600_000 + 4_000 * number
    metadata = RecordMetadata("telemetry", 0, 254 + number, 0, b"pump-7", ())
    evidence = WindowEvidence(window, scaler.transform(window), expected, start_ms, 1_000, imputed)
    error = float(window_errors(evidence.scaled[np.newaxis], expected[np.newaxis], "mae")[0])
    return ScoredWindow(
        metadata=lambda: metadata,
        start_ms=start_ms,
        end_ms=start_ms + 7_000,
        score=error,
        threshold=0.09375,
        score_kind="mae",
        explain=lambda: Finding(explain(evidence, scaler, "mae"), error).described(FEATURES),
        sample_interval_ms=1_000,
    )


def _float32(values: Sequence[object]) -> FloatArray:
    """Return an array."""
    return np.array(values, dtype=np.float32)
