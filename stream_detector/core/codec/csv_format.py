"""The record format `csv`: one line of CSV, read by a mapping.

Pure. A path is the place of a cell, counted from 0. All cells are text, numbers as well.

Source, as read: RFC 4180, "Common Format and MIME Type for Comma-Separated Values (CSV) Files",
sections 2 and 3.
"""

import csv

from stream_detector.core.codec.mapping import InputMapping
from stream_detector.errors import RecordDecodeError

MEDIA_TYPES = {"csv": b"text/csv"}
"""What the `content-type` header says for this format."""


def read_document(value: bytes, mapping: InputMapping) -> list[str]:
    """Return the cells of a line.

    Parameters
    ----------
    value
        UTF-8, with or without a line end and a byte order mark.
    mapping
        What stands between two cells.

    Raises
    ------
    RecordDecodeError
        If it is no single line of CSV: bad data.

    Examples
    --------
    >>> read_document(b'pump-7,1767225600000,"21,5"', InputMapping())
    ['pump-7', '1767225600000', '21,5']
    """
    try:
        text = value.decode("utf-8-sig").rstrip("\r\n")
        lines = list(csv.reader(text.splitlines(), delimiter=mapping.delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"CSV: expected one line in UTF-8, received {value[:40]!r}: {error}"
        raise RecordDecodeError(message) from None
    if len(lines) != 1:
        message = f"CSV: expected one line, received {len(lines)}: {value[:40]!r}"
        raise RecordDecodeError(message)
    return lines[0]
