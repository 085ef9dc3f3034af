"""Write a CSV file of another layout again: semicolons, tabs, decimal commas, another encoding."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from stream_detector.datasets.files.remedies import layout_problem
from stream_detector.files import open_regular
from stream_detector.recipes.datasets import is_parquet

_SEPARATORS = (";", "\t", "|")
_ENCODINGS = ("utf-8-sig", "latin-1")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_N_LOOKED_AT = 200


def mended_text(path: Path) -> str | None:
    """Return the content of a CSV file with commas between cells, None where it has them already.

    Parameters
    ----------
    path
        The file. Cells are separated by semicolons, tabs or vertical bars, decimals may have
        commas, and text is UTF-8 or Latin-1.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if is_parquet(path):
        return None
    with open_regular(path) as file:
        content = file.read()
    text, is_utf_8 = _decoded(content)
    lines = text.splitlines()[:_N_LOOKED_AT]
    separator = next((each for each in _SEPARATORS if _separates(lines, each)), None)
    if separator is None or layout_problem(path, [line.split(",") for line in lines[:2]]) is None:
        return None if is_utf_8 else text
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    width = len(rows[0])
    while width > 1 and all(not "".join(row[width - 1 : width]).strip() for row in rows):
        width -= 1  # a separator at the end of every line
    decimals = [_has_decimal_commas(rows[1 : _N_LOOKED_AT + 1], at) for at in range(width)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0][:width])
    for row in rows[1:]:
        cells = zip(row[:width], decimals, strict=False)
        writer.writerow([cell.replace(",", ".") if comma else cell for cell, comma in cells])
    return out.getvalue()


def _decoded(content: bytes) -> tuple[str, bool]:
    """Return bytes as text, and whether they are UTF-8."""
    for encoding in _ENCODINGS:
        try:
            return content.decode(encoding), encoding == _ENCODINGS[0]
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), False


def _separates(lines: Sequence[str], separator: str) -> bool:
    """Return whether a character stands equally often in all lines."""
    counts = {line.count(separator) for line in lines if line.strip()}
    return len(counts) == 1 and counts != {0}


def _has_decimal_commas(rows: Sequence[Sequence[str]], at: int) -> bool:
    """Return whether a column has decimals with a comma."""
    cells = [row[at].strip() for row in rows if at < len(row) and row[at].strip()]
    return any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
