"""Assemble the page: sections of text, tables and figures in one HTML file.

Everything that comes from data or a recipe is escaped in `html`. Figures contain fixed texts and
names of features and keys, which are printable, and which Matplotlib escapes and does not read as
formulas.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stream_detector.core.evaluation import figure_rows
from stream_detector.files import AnyPath
from stream_detector.report import charts, html, images, overlays, signals
from stream_detector.report.drawing import CLASSES, CLOUD_DPI, house_style
from stream_detector.report.findings import Findings, Rows
from stream_detector.report.left_out import left_out_section

N_WORST = 6
"""How many of the worst misses and of the worst false alarms are drawn, for signals."""


def write_report(out: AnyPath, findings: Findings) -> None:
    """Write a report.

    Parameters
    ----------
    out
        The file; an older one is replaced.
    findings
        The windows to show.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    html.write_page(out, report_page(findings))


def report_page(findings: Findings) -> str:
    """Return the report as HTML; the same findings give the same bytes."""
    manifest = findings.bundle.manifest
    title = f"{manifest.name} on {findings.where}"
    with house_style():
        return html.document(title, _summary(findings), _sections(findings))


def _summary(findings: Findings) -> str:
    """Return a few sentences on the bundle, the windows and the score."""
    manifest, figures = findings.bundle.manifest, findings.evaluation
    n_normal = figures.n_windows - figures.n_anomalous
    what = "images" if findings.is_image else "windows"
    return (
        f"Bundle {manifest.name}, version {manifest.version[:12]}, {manifest.recipe.network.kind} "
        f"network. {figures.n_windows} {what}, {n_normal} labelled normal and "
        f"{figures.n_anomalous} anomalous. The score is error / threshold; above 1 is anomalous. "
        "#7 is number 7 of the test part, counted from 0."
    )


def _sections(findings: Findings) -> Iterator[str]:
    """Yield the sections in order."""
    yield html.section("figures", "Figures", _figures(findings))
    if findings.is_image:
        for label, name in enumerate(CLASSES):
            rows = findings.examples(label, images.n_in_a_row(findings))
            parts = _image_parts(findings, rows, f"{name}-images", f"no {name} images in the data")
            yield html.section(f"{name}-images", f"{name.capitalize()} images", parts)
    else:
        yield html.section("windows", "Typical windows", _typical(findings))
        yield html.section("overlaid", "Windows over each other", _overlaid(findings))
    yield from left_out_section(findings.bundle, findings.trained_on)
    yield html.section("training", "Training", training_parts(findings.history))
    yield html.section("errors", "Errors", _errors(findings))
    yield html.section("latent", "Latent space", _latent(findings))
    n_worst = images.n_in_a_row(findings) if findings.is_image else N_WORST
    worst = findings.worst_misses(n_worst)
    why = _why_none(findings, 1, "missed")
    yield html.section("misses", "Worst misses", _worst(findings, worst, "misses", why))
    worst = findings.worst_false_alarms(n_worst)
    why = _why_none(findings, 0, "a false alarm")
    yield html.section(
        "false-alarms", "Worst false alarms", _worst(findings, worst, "false-alarms", why)
    )


def _figures(findings: Findings) -> Iterator[str]:
    """Yield the table of figures, with published ones beside them where the recipe has some."""
    for warning in findings.bundle.manifest.warnings:
        yield html.note(f"Warning of the training: {warning}")
    published = findings.bundle.manifest.recipe.published
    known = published.figures() if published is not None else {}
    rows = figure_rows(findings.evaluation.as_dict(), known)
    if published is None:
        yield html.table(("figure", "measured"), [row[:2] for row in rows])
        return
    yield html.table(("figure", "measured", "published"), rows)
    yield html.note(f"Published: {published.source}")


def _typical(findings: Findings) -> Iterator[str]:
    """Yield the window of median error of each class."""
    caption = (
        "The window with the median error of each class, in the signal's unit. The filled area is "
        "the difference between the signal and its reconstruction."
    )
    n_features = findings.windows.shape[2]
    if n_features > signals.N_FEATURES_SHOWN:
        caption += (
            f" The {signals.N_FEATURES_SHOWN} of {n_features} features with the largest errors are "
            "shown."
        )
    yield html.figure(signals.typical_windows(findings), "windows", caption)
    yield from _missing_classes(findings)


def _overlaid(findings: Findings) -> Iterator[str]:
    """Yield the windows of the data over each other."""
    bundle = findings.bundle
    windows = overlays.in_signal_unit(bundle, findings.windows, findings.keys)
    groups = overlays.judged_groups(windows, findings.is_anomalous, findings.labels)
    text = overlays.caption(bundle, has_labels=True)
    drawn = overlays.overlay(bundle, groups)
    yield html.figure(drawn, "overlaid", text[:1].upper() + text[1:], CLOUD_DPI)


def training_parts(history: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the training curves: name -> value after each epoch."""
    if not any(len(values) for values in history.values()):
        yield html.note("The bundle has no training history.")
        return
    caption = "Loss after each epoch, on the training windows"
    caption += " and, as validation_loss, on held-out windows." if len(history) > 1 else "."
    yield html.figure(charts.training_curves(history), "training", caption)


def _errors(findings: Findings) -> Iterator[str]:
    """Yield the charts of errors."""
    caption = "Histogram of the errors. Windows to the right of the threshold are anomalous."
    yield html.figure(charts.error_histogram(findings), "histogram", caption)
    caption = "Each window in the order of the data. Windows above the threshold are anomalous."
    yield html.figure(charts.error_scatter(findings), "scatter", caption)
    yield from _missing_classes(findings)


def _latent(findings: Findings) -> Iterator[str]:
    """Yield the chart of latent codes."""
    latent = findings.latent
    if latent is None:
        yield html.note(
            "The bundle's network has no encoder of its own, so there are no latent codes."
        )
        return
    n_latent = latent.shape[1]
    caption = f"The latent code of each window, {n_latent} values."
    if n_latent > 2:  # noqa: PLR2004  (a plane)
        caption += " Projected on the two directions in which the latent codes vary most (PCA)."
    yield html.figure(charts.latent_space(findings, latent), "latent", caption)


def _worst(findings: Findings, rows: Rows, name: str, why_none: str) -> Iterator[str]:
    """Yield wrongly scored windows as a figure and a table."""
    if findings.is_image:
        yield from _image_parts(findings, rows, name, why_none)
    elif len(rows):
        caption = "The worst first: the signal in colour, its reconstruction as a thin line."
        if findings.bundle.manifest.recipe.window.record == "samples":
            caption += " Of overlapping windows only the worst is shown."
        yield html.figure(signals.small_windows(findings, rows), name, caption)
    else:
        yield html.note(f"{why_none.capitalize()}.")
    if len(rows):
        yield _window_table(findings, rows, is_explained=name == "false-alarms")


def _image_parts(findings: Findings, rows: Rows, name: str, why_none: str) -> Iterator[str]:
    """Yield images with their reconstructions and differences."""
    if not len(rows):
        yield html.note(f"{why_none.capitalize()}.")
        return
    caption = "Number and score above each image. Differences are absolute: black 0 to bright 255."
    yield html.figure(images.image_rows(findings, rows), name, caption)


def _missing_classes(findings: Findings) -> Iterator[str]:
    """Yield a note for each class that has no windows."""
    for label, name in enumerate(CLASSES):
        if not len(findings.of_class(label)):
            yield html.note(f"The data contain no {name} windows, so none are shown.")


def _why_none(findings: Findings, label: int, what: str) -> str:
    """Return why there is no wrongly scored window of a class."""
    if len(findings.of_class(label)):
        return f"no {CLASSES[label]} window was {what}"
    return f"the data contain no {CLASSES[label]} windows"


def _window_table(findings: Findings, rows: Rows, *, is_explained: bool) -> str:
    """Return a table with number, key, start, error and score of windows, and why they score so."""
    columns: dict[str, list[Any]] = {"number": [f"#{row}" for row in rows]}
    if findings.keys is not None:
        columns["key"] = [findings.keys[row] for row in rows]
    if findings.start_ms is not None:
        columns["start"] = [_time(int(findings.start_ms[row])) for row in rows]
    columns["error"] = findings.errors[rows].tolist()
    columns["score"] = (findings.errors[rows] / findings.threshold).tolist()
    if is_explained:
        columns["what is unusual"] = findings.sentences(rows)
    return html.table(tuple(columns), zip(*columns.values(), strict=True))


def _time(milliseconds: int) -> str:
    """Return a time in ISO 8601, or as a number of milliseconds where no date can express it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
