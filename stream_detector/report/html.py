"""Parts of a page: sections, figures, notes and tables, and the document around them.

Everything that comes from data or a recipe is escaped in `to_text`, for HTML and against characters
that reverse the direction of writing.
"""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath
from stream_detector.report.drawing import DPI, to_svg
from stream_detector.text import printable, shorten

TEXT_CHARACTERS_MAX = 1_024
"""How much of a text is shown. Our own are shorter; those of data, such as keys, may be longer."""

_LONG_FROM = 30
"""Characters from which a cell is set as text: to the left, and in a wide column."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def document(title: str, summary: str, sections: Iterable[str]) -> str:
    """Return a page as HTML; the same parts give the same bytes."""
    style = resources.files("stream_detector.report").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{to_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{to_text(title)}</h1>\n<p>{to_text(summary)}</p>\n</header>\n"
        f"<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def write_page(out: AnyPath, page: str) -> None:
    """Write a page; an older file is replaced.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    try:
        Path(out).write_text(page, encoding="utf-8")
    except OSError as error:
        message = f"--report: {out} cannot be written: {error}; give another path"
        raise ConfigError(message) from None


def to_text(value: object) -> str:
    """Return a value as escaped text; floats have four significant digits."""
    if value is None:
        return "-"
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return escape(shorten(printable(shown), TEXT_CHARACTERS_MAX))


def section(name: str, title: str, parts: Iterable[str]) -> str:
    """Return a section of the page with its heading."""
    return f'<section id="{name}">\n<h2>{to_text(title)}</h2>\n{"".join(parts)}</section>\n'


def figure(drawn: Figure, name: str, caption: str, dpi: int = DPI) -> str:
    """Return a figure with its caption, which is also its label for screen readers."""
    label = to_text(caption)
    svg = to_svg(drawn, name, dpi).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>\n{svg}\n<figcaption>{label}</figcaption>\n</figure>\n"


def note(text: str) -> str:
    """Return a paragraph."""
    return f'<p class="note">{to_text(text)}</p>\n'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table."""
    head = "".join(f"<th>{to_text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _cell(value: object) -> str:
    """Return a cell of a table."""
    is_long = isinstance(value, str) and len(value) >= _LONG_FROM
    return f'<td class="long">{to_text(value)}</td>' if is_long else f"<td>{to_text(value)}</td>"
