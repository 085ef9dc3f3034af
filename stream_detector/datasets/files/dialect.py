"""How a CSV file is written: encoding, separator, decimals, comments; decided once a file.

The first lines decide. Others do the reading (`csv_rows`), and everything is decided so that a file
of commas, points and UTF-8 is read as ever.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from stream_detector.datasets.files.remedies import is_number

_N_LINES, _N_BYTES, _CHUNK = 200, 1 << 18, 1 << 20
_SEPARATORS = {";": "semicolon", "\t": "tab", "|": "vertical bar", ",": "comma"}
"""By preference: a comma may stand in a decimal number."""

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ENCODING_NAMES = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
_ENCODING_NAMES |= {"cp1252": "Windows-1252", "latin-1": "Latin-1"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS_POINT = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_HAS_MARK = re.compile(r"[.,]")
_THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one CSV file is written.

    Parameters
    ----------
    encoding
        As Python calls it.
    separator
        Between two cells.
    has_decimal_commas
        Whether numbers have commas for decimals, and may have points between thousands.
    n_skipped
        Lines above the header: comments, and what is for Excel alone.
    is_compressed
        Whether the file is compressed with gzip.
    """

    encoding: str = "utf-8-sig"
    separator: str = ","
    has_decimal_commas: bool = False
    n_skipped: int = 0
    is_compressed: bool = False

    @property
    def words(self) -> list[str]:
        """Return what is worth saying of it.

        Examples
        --------
        >>> Dialect(separator=";", has_decimal_commas=True).words, Dialect("utf-16").words
        (['semicolon', 'decimal comma'], ['comma', 'UTF-16'])
        """
        skipped = (
            f"{self.n_skipped} lines above the table" if self.n_skipped > 1 else "1 line above"
        )
        return [
            _SEPARATORS[self.separator],
            *(["decimal comma"] if self.has_decimal_commas else []),
            *([_ENCODING_NAMES[self.encoding]] if self.encoding in _ENCODING_NAMES else []),
            *([skipped] if self.n_skipped else []),
            *(["gzip"] if self.is_compressed else []),
        ]

    def plain(self, cells: Sequence[str]) -> Sequence[str]:
        """Return cells with their numbers as Python writes them; others stay as they are.

        Examples
        --------
        >>> Dialect(separator=";", has_decimal_commas=True).plain(["1.234,5", "-,5", "7", "a,5"])
        ['1234.5', '-.5', '7', 'a,5']
        """
        if not self.has_decimal_commas or not _HAS_MARK.search("".join(cells)):
            return cells
        return [_plain(cell) for cell in cells]


def _plain(cell: str) -> str:
    """Return a cell of a file with decimal commas as Python writes its number."""
    text = cell.strip()
    if _THOUSANDS_POINT.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else cell


def find_dialect(file: IO[bytes]) -> Dialect:
    """Return how an opened CSV file is written; it is at its beginning again afterwards.

    Parameters
    ----------
    file
        The file, at its beginning. All of it is looked at for its encoding only.
    """
    encoding = _encoding(file)
    file.seek(0)
    sample = file.read(_N_BYTES)
    file.seek(0)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
    lines = text.splitlines()
    if len(sample) == _N_BYTES:
        del lines[-1:]  # it may be cut
    lines = lines[:_N_LINES]
    n_top = next((at for at, line in enumerate(lines) if line.strip()), 0)
    if lines[n_top:] and lines[n_top].strip().lower().startswith("sep="):
        said = lines[n_top].strip()[len("sep=") :]
        separator = said if said in _SEPARATORS else "\t" if said in ("", "\\t") else ","
        return _decided(encoding, separator, lines, n_top + 1)
    n_comments = next((at for at, line in enumerate(lines) if not _is_comment(line)), len(lines))
    separator = _separator(lines[n_comments:] or lines)
    if n_comments and _is_header(lines[n_comments - 1 : n_comments + 1], separator):
        n_comments -= 1
    return _decided(encoding, separator, lines, n_comments)


def _decided(encoding: str, separator: str, lines: Sequence[str], n_skipped: int) -> Dialect:
    """Return the dialect of a file whose separator is known."""
    cells = [cell.strip() for row in _rows(lines[n_skipped:], separator) for cell in row]
    with_comma = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    has_thousands = any(_THOUSANDS_POINT.fullmatch(cell) and "," in cell for cell in cells)
    is_comma = bool(with_comma) or has_thousands
    if separator == ",":  # "1,234" and "1.5" are then thousands and a decimal
        is_clear = any(not _THOUSANDS_COMMA.fullmatch(cell) for cell in with_comma)
        is_comma = has_thousands or (is_clear and not any(map(_has_decimal_point, cells)))
    return Dialect(encoding, separator, is_comma, n_skipped)


def _has_decimal_point(cell: str) -> bool:
    """Return whether a cell is a number with a decimal point."""
    return "." in cell and is_number(cell)


def _encoding(file: IO[bytes]) -> str:
    """Return the encoding of a file; one of eight bits where it is no Unicode."""
    start = file.read(_CHUNK)
    for bom, encoding in _BOMS.items():
        if start.startswith(bom):
            return encoding
    head = start[:1_000]
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[::2].count(0) > len(head) // 4:
        return "utf-16-be"
    decoder, chunk = codecs.getincrementaldecoder("utf-8")(), start
    try:
        while chunk:
            decoder.decode(chunk)
            chunk = file.read(_CHUNK)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _eight_bits(chunk)
    return "utf-8-sig"


def _eight_bits(chunk: bytes) -> str:
    """Return the encoding of eight bits that reads some bytes."""
    try:
        chunk.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _is_comment(line: str) -> bool:
    """Return whether a line is a comment, or blank as one may be above a table."""
    return not line.strip() or line.lstrip().startswith("#")


def _is_header(lines: Sequence[str], separator: str) -> bool:
    """Return whether the first of two lines is a header marked as a comment."""
    rows = list(_rows(lines, separator))
    if len(rows) < len(lines) or len(lines) < 2 or not lines[0].lstrip().startswith("#"):  # noqa: PLR2004
        return False
    header, first = rows
    return len(header) == len(first) and any(is_number(_plain(cell)) for cell in first)


def _separator(lines: Sequence[str]) -> str:
    """Return what separates the cells: what does so equally often in all lines."""
    rows = [line for line in lines if not _is_comment(line)]
    if not rows:
        return ","
    for separator in _SEPARATORS:
        widths = {len(row) for row in _rows(rows, separator)}
        n_commas = _width(rows, ",")
        if len(widths) == 1 and widths != {1} and (separator == "," or max(widths) >= n_commas):
            return separator
    # Ragged rows: the header alone decides, and what is wrong is said once the rows are read.
    widths_of_first = {each: _width(rows, each) for each in _SEPARATORS}
    return max(_SEPARATORS, key=lambda each: (widths_of_first[each], each == ","))


def _width(lines: Sequence[str], separator: str) -> int:
    """Return the number of cells of the first of some lines."""
    return len(next(_rows(lines, separator), ()))


def _rows(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of lines that are not blank."""
    try:
        yield from (row for row in csv.reader(lines, delimiter=separator) if row)
    except csv.Error:
        return
