"""Whether what is to be held fits into the memory that is free.

What does not fit is refused before it is read, with what to do instead: a system without memory
ends a process without a word. Needed is what reading was measured to hold at its peak, so that the
first rows of a file and their number say how much it will be.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stream_detector.datasets.files.file_kinds import opened_csv
from stream_detector.datasets.files.parquet import opened
from stream_detector.datasets.files.several import files_of, is_parquet_source
from stream_detector.errors import TooLargeError
from stream_detector.files import open_regular

A_PART = "give a part of it, such as some days of all keys"
"""What can be done about any file that is too large."""

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")

_COUNTED_BYTES = 1 << 24
"""So much of a CSV file is looked at for the length of its rows."""

_BYTES_A_NUMBER = 16
"""Twice a float64: parts that were read, and the whole that they are joined to."""

_BYTES_A_REFERENCE = 16
"""A cell that is no number is an object, to which two lists refer for the same reason."""


def require_memory(what: str, n_bytes: float, remedy: str = A_PART) -> None:
    """Refuse what this process cannot hold, before it fills the memory.

    Parameters
    ----------
    what
        What is to be held, such as a path.
    n_bytes
        Memory that it will take, beside what is taken already.
    remedy
        What to do instead.

    Raises
    ------
    TooLargeError
        If less is free. Nothing is refused where the system does not say how much is.
    """
    free = available_bytes()
    if free is not None and n_bytes > free:
        problem = (
            f"{what}: expected data that fit into the {max(free, 0) / 1e9:.2f} GB of memory that "
            f"are free, received data that take about {n_bytes / 1e9:.2f} GB"
        )
        raise TooLargeError(problem, remedy)


def available_bytes() -> int | None:
    """Return how much memory this process may still take; None where the system does not say.

    On Linux that is what the machine has left, or less where a control group (a container) or the
    address space of the process (`ulimit -v`) is limited; elsewhere it is what the machine has.
    """
    limits = [*_left_by_machine(), *_left_by_groups(), *_left_by_process()]
    return min(limits, default=None)


def bytes_a_row(n_numbers: int, others: Iterable[Sequence[object]]) -> float:
    """Return what a row takes while it is read.

    Parameters
    ----------
    n_numbers
        How many of its cells are held as float64.
    others
        The first cells of each other column, which are objects; those of one object count once.

    Examples
    --------
    >>> bytes_a_row(2, [])
    32.0
    """
    taken = 0.0
    for cells in others:
        objects = {id(cell): cell for cell in cells}.values()
        taken += sum(map(sys.getsizeof, objects)) / max(len(cells), 1) + _BYTES_A_REFERENCE
    return _BYTES_A_NUMBER * n_numbers + taken


def count_rows(path: Path) -> float:
    """Return how many rows a file has, a pattern that several fit, or a folder of them.

    Parquet files say so. Of CSV, the length of the first rows does, as far as all are as long. A
    file that cannot be read counts nothing: whoever reads it says why.
    """
    return sum(map(_count_rows, files_of(path)))


def _count_rows(path: Path) -> float:
    """Return how many rows one file has."""
    if is_parquet_source(path):
        with opened(path) as parquet:
            fragments = parquet.ParquetDataset(path).fragments
            return float(sum(fragment.count_rows() for fragment in fragments))
    try:
        with open_regular(path) as file, opened_csv(path, file) as (plain, _):
            text = plain.read(_COUNTED_BYTES)
            share = file.tell() / os.fstat(file.fileno()).st_size  # of what may be compressed
    except OSError:
        return 0.0
    return max(text.count(b"\n"), text.count(b"\r")) / share


def _left_by_machine() -> Iterator[int]:
    """Yield what the machine has left, or all that it has."""
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
        yield next(1_024 * int(each.split()[1]) for each in lines if "MemAvailable" in each)
    except (OSError, StopIteration):
        try:
            yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # not on Windows
            return


def _left_by_groups() -> Iterator[int]:
    """Yield what each control group may still take that this process is in (Linux, cgroups(7))."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        if not controllers:
            files = ("memory.max", "memory.current", "")
        root = _GROUPS / controllers
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                yield from _left_by_group(folder, *files)


def _left_by_group(folder: Path, limit: str, usage: str, prefix: str) -> Iterator[int]:
    """Yield what a group may still take, what it would give back included; nothing if no limit."""
    try:
        left = int((folder / limit).read_text()) - int((folder / usage).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
        found = dict(line.split() for line in lines)
        yield left + sum(int(found[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
    except (OSError, ValueError, KeyError):  # "max", or not seen from within a container
        return


def _left_by_process() -> Iterator[int]:
    """Yield what is left of a limited address space (Linux)."""
    try:
        import resource  # noqa: PLC0415  (not on Windows)

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        n_pages = int((_PROC / "self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    if limit != resource.RLIM_INFINITY:
        yield limit - n_pages * resource.getpagesize()
