"""The page: sections of text, tables and figures in one HTML file.

Whatever comes from data or a recipe is escaped here, in `_text`; figures hold texts of ours only.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stream_detector.core.evaluation import figure_rows
from stream_detector.errors import ConfigError
from stream_detector.report import charts, images, signals
from stream_detector.report.drawing import CLASSES, house_style, to_svg
from stream_detector.report.findings import Findings, Rows

N_WORST = 6
"""Worst misses and worst false alarms of signals, each."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def write_report(out: Path, findings: Findings) -> None:
    """Write a report.

    Parameters
    ----------
    out
        The file; an older one is replaced.
    findings
        What it shows.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    page = report_page(findings)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        message = f"--report: {out} cannot be written: {error}; give another place"
        raise ConfigError(message) from None


def report_page(findings: Findings) -> str:
    """Return the report as HTML, the same bytes for the same findings."""
    manifest = findings.bundle.manifest
    title = f"{manifest.name} on {findings.where}"
    style = resources.files("stream_detector.report").joinpath("page.css").read_text("utf-8")
    with house_style():
        sections = "".join(_sections(findings))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{_text(title)}</h1>\n<p>{_text(_summary(findings))}</p>\n</header>\n"
        f"<main>\n{sections}</main>\n</body>\n</html>\n"
    )


def _summary(findings: Findings) -> str:
    """Return what was judged by what, in a sentence or two."""
    manifest, figures = findings.bundle.manifest, findings.evaluation
    n_normal = figures.n_windows - figures.n_anomalous
    what = "images" if findings.is_image else "windows"
    return (
        f"Bundle {manifest.name}, version {manifest.version[:12]}, {manifest.recipe.network.kind} "
        f"network. {figures.n_windows} {what}, {n_normal} labelled normal and "
        f"{figures.n_anomalous} anomalous. A score is error / threshold; above 1 is anomalous. "
        "#7 is number 7 of the test part, counted from 0."
    )


def _sections(findings: Findings) -> Iterator[str]:
    """Yield the sections in their order."""
    yield _section("figures", "Figures", _figures(findings))
    if findings.is_image:
        for label, name in enumerate(CLASSES):
            rows = findings.examples(label, images.n_in_a_row(findings))
            parts = _image_parts(findings, rows, f"{name}-images", f"no {name} images in the data")
            yield _section(f"{name}-images", f"{name.capitalize()} images", parts)
    else:
        yield _section("windows", "Typical windows", _typical(findings))
    yield _section("training", "Training", _training(findings))
    yield _section("errors", "Errors", _errors(findings))
    yield _section("latent", "Latent space", _latent(findings))
    n_worst = images.n_in_a_row(findings) if findings.is_image else N_WORST
    worst = findings.worst_misses(n_worst)
    why = _why_none(findings, 1, "missed")
    yield _section("misses", "Worst misses", _worst(findings, worst, "misses", why))
    worst = findings.worst_false_alarms(n_worst)
    why = _why_none(findings, 0, "a false alarm")
    yield _section(
        "false-alarms", "Worst false alarms", _worst(findings, worst, "false-alarms", why)
    )


def _figures(findings: Findings) -> Iterator[str]:
    """Yield the table of figures, with what was published where the recipe says so."""
    published = findings.bundle.manifest.recipe.published
    known = published.figures() if published is not None else {}
    rows = figure_rows(findings.evaluation.as_dict(), known)
    if published is None:
        yield _table(("figure", "measured"), [row[:2] for row in rows])
        return
    yield _table(("figure", "measured", "published"), rows)
    yield _note(f"Published: {published.source}")


def _typical(findings: Findings) -> Iterator[str]:
    """Yield the two windows in the middle of their classes."""
    caption = (
        "The window of median error of each class, in the signal's unit, from its start on. The "
        "filled area is the difference between the signal and its reconstruction."
    )
    n_features = findings.windows.shape[2]
    if n_features > signals.N_FEATURES_SHOWN:
        caption += (
            f" Of {n_features} features the {signals.N_FEATURES_SHOWN} with the largest errors."
        )
    yield _figure(signals.typical_windows(findings), "windows", caption)
    yield from _missing_classes(findings)


def _training(findings: Findings) -> Iterator[str]:
    """Yield the curves of the training."""
    if not any(len(values) for values in findings.history.values()):
        yield _note("The bundle does not say how its training went.")
        return
    caption = "The loss after each epoch, on the windows fitted to"
    is_held_out = len(findings.history) > 1
    caption += " and, as validation_loss, on windows held out." if is_held_out else "."
    yield _figure(charts.training_curves(findings.history), "training", caption)


def _errors(findings: Findings) -> Iterator[str]:
    """Yield the charts of errors."""
    caption = "How often which error was found. Right of the threshold a window is anomalous."
    yield _figure(charts.error_histogram(findings), "histogram", caption)
    caption = "Each window in the order of the data. Above the threshold it is anomalous."
    yield _figure(charts.error_scatter(findings), "scatter", caption)
    yield from _missing_classes(findings)


def _latent(findings: Findings) -> Iterator[str]:
    """Yield the plane of codes."""
    latent = findings.latent
    if latent is None:
        yield _note("The bundle's network has no encoder of its own, so there are no codes.")
        return
    n_latent = latent.shape[1]
    caption = f"The latent code of each window, {n_latent} numbers."
    if n_latent > 2:  # noqa: PLR2004  (a plane)
        caption += " Shown are the two directions in which the latent codes differ most (PCA)."
    yield _figure(charts.latent_space(findings, latent), "latent", caption)


def _worst(findings: Findings, rows: Rows, name: str, why_none: str) -> Iterator[str]:
    """Yield windows that were judged wrongly, as pictures and as a table."""
    if findings.is_image:
        yield from _image_parts(findings, rows, name, why_none)
    elif len(rows):
        caption = "The worst one first, its signal in colour and its reconstruction in a thin line."
        if findings.bundle.manifest.recipe.window.record == "samples":
            caption += " Of windows that overlap only the worst is shown."
        yield _figure(signals.small_windows(findings, rows), name, caption)
    else:
        yield _note(f"{why_none.capitalize()}.")
    if len(rows):
        yield _places(findings, rows)


def _image_parts(findings: Findings, rows: Rows, name: str, why_none: str) -> Iterator[str]:
    """Yield images over their reconstructions and differences."""
    if not len(rows):
        yield _note(f"{why_none.capitalize()}.")
        return
    caption = "Number and score above each. Differences are absolute: black 0 to bright 255."
    yield _figure(images.image_rows(findings, rows), name, caption)


def _missing_classes(findings: Findings) -> Iterator[str]:
    """Yield a note where a class has no windows."""
    for label, name in enumerate(CLASSES):
        if not len(findings.of_class(label)):
            yield _note(f"The data holds no {name} windows, so none are shown.")


def _why_none(findings: Findings, label: int, what: str) -> str:
    """Return why no window of a class was judged wrongly."""
    if len(findings.of_class(label)):
        return f"no {CLASSES[label]} window was {what}"
    return f"the data holds no {CLASSES[label]} windows"


def _places(findings: Findings, rows: Rows) -> str:
    """Return the table that says which windows these are and how they scored."""
    columns: dict[str, list[Any]] = {"number": [f"#{row}" for row in rows]}
    if findings.keys is not None:
        columns["key"] = [findings.keys[row] for row in rows]
    if findings.start_ms is not None:
        columns["start"] = [_time(int(findings.start_ms[row])) for row in rows]
    columns["error"] = findings.errors[rows].tolist()
    columns["score"] = (findings.errors[rows] / findings.threshold).tolist()
    return _table(tuple(columns), zip(*columns.values(), strict=True))


def _time(milliseconds: int) -> str:
    """Return a time as ISO 8601 has it, or as the number it is where no calendar has it."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"


def _text(value: object) -> str:
    """Return a value as text that is nothing but text; floats with four digits that count."""
    if value is None:
        return "-"
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _section(name: str, title: str, parts: Iterable[str]) -> str:
    """Return a part of the page with its heading."""
    return f'<section id="{name}">\n<h2>{_text(title)}</h2>\n{"".join(parts)}</section>\n'


def _figure(figure: Figure, name: str, caption: str) -> str:
    """Return a figure with its caption, which is also its name for those who cannot see it."""
    svg = to_svg(figure, name).replace("<svg", f'<svg role="img" aria-label="{_text(caption)}"', 1)
    return f"<figure>\n{svg}\n<figcaption>{_text(caption)}</figcaption>\n</figure>\n"


def _note(text: str) -> str:
    """Return a paragraph."""
    return f'<p class="note">{_text(text)}</p>\n'


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table."""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
