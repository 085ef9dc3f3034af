"""What a file is that is read as CSV, by its first bytes.

CSV that gzip compressed is read as if it were not. What is no CSV at all would give an error about
some row of it; instead, the message says what it is and how it becomes CSV.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from stream_detector.errors import DatasetError

_N_BYTES = 4_096
_GZIP = b"\x1f\x8b"

_OTHERS = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "excel"),
    (b"PAR1", "Parquet under another name", "parquet"),
    (b"\x89HDF", "HDF5", "hdf"),
    (b"ARROW1", "Arrow", "feather"),
)
"""First bytes, what that is, and which of pandas' readers reads it."""

_COMPRESSED = ((b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "Zstandard"))


@contextmanager
def opened_csv(path: Path, file: BufferedReader) -> Iterator[tuple[IO[bytes], bool]]:
    """Yield a file without compression, and whether it had some.

    Parameters
    ----------
    path
        The file, for messages.
    file
        The same, opened and at its beginning.

    Raises
    ------
    DatasetError
        If it is something else than CSV.
    OSError
        If it is damaged, at any time until it is closed.
    """
    head = file.read(_N_BYTES)
    file.seek(0)
    _refuse_others(path, head)
    if not head.startswith(_GZIP):
        yield file, False
        return
    try:
        with gzip.GzipFile(fileobj=file) as plain:
            _refuse_others(path, plain.read(_N_BYTES))
            plain.seek(0)
            yield cast("IO[bytes]", plain), True
    except (EOFError, zlib.error) as error:
        message = f"damaged gzip: {error}"
        raise OSError(message) from None


def _refuse_others(path: Path, head: bytes) -> None:
    """Refuse a file that is no CSV by its first bytes."""
    for magic, what, reader in _OTHERS:
        if head.startswith(magic):
            raise _refusal(path, what, f"pandas.read_{reader}")
    for magic, what in _COMPRESSED:
        if head.startswith(magic):
            raise _refusal(path, f"a file that {what} compressed", "pandas.read_csv")
    first = head.decode("utf-8-sig", "ignore").lstrip().partition("\n")[0].strip()
    if _is_json(first):
        is_lines = first.startswith("{") and first.endswith("}")
        raise _refusal(path, "JSON", "pandas.read_json", ", lines=True" * is_lines)


def _refusal(path: Path, what: str, read: str, more: str = "") -> DatasetError:
    """Return the error about a file of another kind."""
    name = path.name.partition(".")[0] or "data"
    target = path.with_name(f"{name}.csv")
    if target == path:
        target = path.with_name(f"{name}.mended.csv")
    return DatasetError(
        f"{path}: expected CSV, received {what}; in Python: import pandas; "
        f"{read}({str(path)!r}{more}).to_csv({str(target)!r}, index=False); then give {target}"
    )


def _is_json(line: str) -> bool:
    """Return whether a line is a JSON object or array, or begins one that goes on.

    Examples
    --------
    >>> _is_json('{"time": 0, "a": 1.5}'), _is_json("["), _is_json("[a],[b]"), _is_json("1,2")
    (True, True, False, False)
    """
    if line in ("{", "["):
        return True
    if not line.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(line), dict | list)
    except ValueError:
        return line.startswith(("[{", '{"'))
