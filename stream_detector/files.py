"""Foreign files: recipes, settings and bundles are read within limits, whatever lies at their path.

A path may name a pipe that never ends, a device, or gigabytes; a small text may nest so deep that
the program's stack ends. All of it is refused as `OSError` or `ValueError` with a message.
"""

import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from os import PathLike
from typing import Any

AnyPath = str | PathLike[str]
"""A path as a program writes it."""

TOML_BYTES_MAX = 1024 * 1024
"""Largest recipe or settings file; a written one has a few kilobytes."""

TOML_DEPTH_MAX = 32
"""Deepest nesting of tables and arrays; a recipe has three levels."""

_TOO_DEEP = f"it is nested deeper than {TOML_DEPTH_MAX} levels"

_PART_OF_KEY = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:{_PART_OF_KEY}){{{TOML_DEPTH_MAX}}}")
"""All but the last part of a dotted key that is too deep. To read one, `tomllib` takes time by the
square of its parts."""

NETWORK_BYTES_MAX = 512 * 1024 * 1024
"""Largest network file, 128 million weights. The largest of `models/` has two megabytes."""

_INTEGER_BITS = 63
"""Integers of TOML have 64 bits, one of them for the sign (TOML 1.0.0, "Integer")."""


class UnusableFileError(OSError):
    """What lies at a path is no regular file, or too large; the message says which."""


@contextmanager
def open_regular(path: AnyPath, n_bytes_max: float = math.inf) -> Iterator[BufferedReader]:
    """Open a regular file, of at most so many bytes where a limit is given, for reading.

    Nothing else is opened: reading a pipe would wait for whoever writes to it, and a device may
    never end.

    Raises
    ------
    UnusableFileError
        If it is no regular file, or larger.
    OSError
        If it cannot be opened.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits; of regular files it changes nothing.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a null character in the path
        message = f"no usable path: {error}"
        raise OSError(message) from None
    with open(descriptor, "rb") as file:  # noqa: PTH123  (a descriptor has no path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            message = "expected a regular file, received a folder, pipe, socket or device"
            raise UnusableFileError(message)
        if status.st_size > n_bytes_max:
            message = f"expected at most {n_bytes_max:,} bytes, received {status.st_size:,}"
            raise UnusableFileError(message)
        yield file


def read_regular(path: AnyPath, n_bytes_max: int) -> bytes:
    """Return the content of a regular file of at most so many bytes.

    Raises
    ------
    OSError
        As `open_regular`, and if the file grows beyond the limit while it is read.
    """
    with open_regular(path, n_bytes_max) as file:
        content = file.read(n_bytes_max + 1)
    if len(content) > n_bytes_max:
        message = f"expected at most {n_bytes_max:,} bytes, received more"
        raise UnusableFileError(message)
    return content


def read_toml(path: AnyPath) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    OSError
        If the file cannot be read; see `read_regular`.
    ValueError
        If it is not UTF-8 or not TOML; see `parse_toml`.
    """
    return parse_toml(read_regular(path, TOML_BYTES_MAX).decode())


def parse_toml(text: str) -> dict[str, Any]:
    r"""Return the values of a TOML document.

    Raises
    ------
    ValueError
        If it is not TOML, is nested deeper than `TOML_DEPTH_MAX`, or holds an integer of more than
        64 bits. `tomllib.TOMLDecodeError` is one.

    Examples
    --------
    >>> parse_toml("[window]\nsteps = 140")
    {'window': {'steps': 140}}
    """
    if _DEEP_KEY.search(text):
        raise ValueError(_TOO_DEEP)
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_values(values)
    return values


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse tables that are nested too deep, or hold an integer that TOML does not have.

    Raises
    ------
    ValueError
        See `parse_toml`.
    """
    level: list[Any] = [values]
    for _ in range(TOML_DEPTH_MAX + 1):
        if any(isinstance(each, int) and each.bit_length() > _INTEGER_BITS for each in level):
            message = "an integer has more than 64 bits"
            raise ValueError(message)
        level = [inner for each in level for inner in _items(each)]
    if level:
        raise ValueError(_TOO_DEEP)


def _items(value: Any) -> list[Any]:
    """Return the values in a table or an array, nothing for any other value."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
