"""Assemble the page on a run over samples: figures, lanes of keys and features, strange spans."""

from collections.abc import Iterator

import numpy as np

from stream_detector.evaluation.tables import N_KEYS_SHOWN, FigureTable, false_alarm_table, tables
from stream_detector.files import AnyPath
from stream_detector.report import html, lanes, overlays, stream_charts
from stream_detector.report.drawing import CLOUD_DPI, house_style
from stream_detector.report.left_out import left_out_section
from stream_detector.report.page import training_parts
from stream_detector.report.stream_findings import StreamFindings

N_KEYS_DRAWN = 4
"""Keys of which the features are drawn: those with the most faults and alerts."""

_MISSING_LABELS = (
    "The data have no labels, so whether an alert is right is not known: every one counts."
)


def write_stream_report(out: AnyPath, findings: StreamFindings) -> None:
    """Write a report on samples.

    Parameters
    ----------
    out
        The file; an older one is replaced.
    findings
        What to show.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    html.write_page(out, stream_page(findings))


def stream_page(findings: StreamFindings) -> str:
    """Return the report as HTML; the same findings give the same bytes."""
    title = f"{findings.bundle.manifest.name} on {findings.where}"
    with house_style():
        return html.document(title, _summary(findings), _sections(findings))


def _summary(findings: StreamFindings) -> str:
    """Return a few sentences on the bundle and the samples."""
    manifest, spans = findings.bundle.manifest, findings.spans_ms.values()
    days = sum(end - start for start, end in spans) / 86_400_000
    events = findings.events
    faults = "without labels" if events is None else f"with {len(events)} labelled faults"
    return (
        f"Bundle {manifest.name}, version {manifest.version[:12]}. {len(findings.samples):,} "
        f"samples of {len(findings.spans_ms):,} keys, {days:.3g} days in all, {faults}; "
        f"{len(findings.run.scores):,} windows. The anomaly score is score / threshold; above 1 is "
        "anomalous."
    )


def _sections(findings: StreamFindings) -> Iterator[str]:
    """Yield the sections in order."""
    found = {table.title: table for table in tables(findings.figures)}
    first, *others = found.values()
    yield html.section("figures", first.title, _first(findings, first))
    yield html.section("keys", "Keys", _keys(findings))
    alarms = false_alarm_table(findings.figures)
    if alarms.rows:
        parts = [html.table(alarms.columns, alarms.rows)]
        yield html.section("false-alarms", alarms.title, parts)
    if stream_charts.is_drawable(findings):
        yield html.section("thresholds", "Other thresholds", _thresholds(findings))
    yield html.section("features", "Features", _features(findings))
    if findings.bundle.manifest.recipe.rules.peaks is not None:
        yield html.section("overlaid", "Windows over each other", _overlaid(findings))
    if findings.figures.strangest:
        table = found["The strangest spans"]
        yield html.section("strangest", table.title, _strangest(findings, table))
    yield html.section("scores", "Scores", _scores(findings))
    for number, table in enumerate(others):
        if table.title != "The strangest spans":
            parts = [html.table(table.columns, table.rows)]
            yield html.section(f"table-{number}", table.title, parts)
    yield from left_out_section(findings.bundle, findings.trained_on)
    yield html.section("training", "Training", training_parts(findings.history))


def _first(findings: StreamFindings, table: FigureTable) -> Iterator[str]:
    """Yield the figures that matter first, with the warnings of the training."""
    for warning in findings.bundle.manifest.warnings:
        yield html.note(f"Warning of the training: {warning}")
    if findings.events is None:
        yield html.note(_MISSING_LABELS)
    yield html.table(table.columns, table.rows)


def _keys(findings: StreamFindings) -> Iterator[str]:
    """Yield the lanes of keys."""
    keys = findings.keys_shown(N_KEYS_SHOWN)
    caption = "A lane for each key: its alerts, in time."
    if findings.events is not None:
        caption = (
            "A lane for each key: its faults above, its alerts below. Alerts that overlap no fault "
            "are false alarms."
        )
    if len(keys) < len(findings.spans_ms):
        caption += f" The {len(keys)} of {len(findings.spans_ms):,} keys with the most to see."
    yield html.figure(lanes.key_lanes(findings, keys), "keys", caption)


def _thresholds(findings: StreamFindings) -> Iterator[str]:
    """Yield the chart of false alarms against the threshold."""
    caption = (
        "What other thresholds would give, the windows above them joined to episodes as alerts "
        "are. Rules that ask for several anomalous windows in a row are left out. No alarm at all "
        "is drawn at the bottom."
    )
    yield html.figure(stream_charts.false_alarm_chart(findings), "thresholds", caption)


def _overlaid(findings: StreamFindings) -> Iterator[str]:
    """Yield the windows round peaks of some keys, over each other."""
    bundle = findings.bundle
    for number, key in enumerate(findings.keys_shown(N_KEYS_DRAWN)):
        found = findings.windows_of(key)
        if not len(found.windows):
            yield html.note(f"Key {key} has no window with a score.")
            continue
        windows = overlays.with_origin(bundle, found.windows.astype(np.float64))
        groups = overlays.judged_groups(windows, found.anomaly_scores > 1, found.labels)
        caption = f"Key {key}: {overlays.caption(bundle, has_labels=found.labels is not None)}"
        yield html.figure(
            overlays.overlay(bundle, groups), f"overlaid-{number}", caption, CLOUD_DPI
        )


def _features(findings: StreamFindings) -> Iterator[str]:
    """Yield the lanes of the features of some keys."""
    marked = [
        key for key in findings.spans_ms if findings.events_of(key) or findings.alerts_of(key)
    ]
    keys = [key for key in findings.keys_shown(N_KEYS_DRAWN) if key in marked]
    keys = keys or findings.keys_shown(1)
    for number, key in enumerate(keys):
        caption = (
            f"Key {key}: each feature, and the anomaly score. Alerts are marked at the top of the "
            "feature that they name"
        )
        faults = ", faults shaded in the feature that labels name."
        caption += "." if findings.events is None else faults
        drawn = lanes.feature_lanes(findings, key)
        yield html.figure(drawn, f"features-{number}", caption)


def _strangest(findings: StreamFindings, table: FigureTable) -> Iterator[str]:
    """Yield the strangest spans, drawn and as a table."""
    spans = findings.figures.strangest[: lanes.N_SPANS_SHOWN]
    caption = (
        "The windows with the highest scores that do not overlap, shaded, with as much time before "
        "and after; the feature is the one that an alert would name."
    )
    yield html.figure(lanes.strange_spans(findings, spans), "strangest", caption)
    told = zip(table.rows, findings.figures.strangest, strict=True)
    rows = [(f"#{at}", *row, span.sentence or None) for at, (row, span) in enumerate(told)]
    yield html.table(("number", *table.columns, "what is unusual"), rows)


def _scores(findings: StreamFindings) -> Iterator[str]:
    """Yield the histogram of the scores."""
    caption = (
        "How often which anomaly score occurred. Windows right of the threshold are anomalous."
    )
    yield html.figure(stream_charts.score_histogram(findings), "scores", caption)
