"""Limit the memory that this process may take while a stranger's file is loaded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATISTICS = Path("/proc/self/statm")
"""The first number in it is the size of this process' address space, in pages (Linux, proc(5))."""


_ONE_AT_A_TIME = threading.Lock()
"""The limit is one of the whole process: of two blocks at a time, each would undo the other's."""


@contextmanager
def memory_limit(n_bytes: int | None) -> Iterator[None]:
    """Let this process take at most so many bytes more while the block lasts; None sets no limit.

    Beyond them an allocation fails, which raises `MemoryError`, or what a library makes of it. On
    systems without this statistic there is no limit.
    """
    if n_bytes is None:
        yield
        return
    try:
        import resource  # noqa: PLC0415  (not on Windows)

        n_pages = int(_STATISTICS.read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    with _ONE_AT_A_TIME:
        before = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = n_pages * resource.getpagesize() + n_bytes
        if soft != resource.RLIM_INFINITY:
            limit = min(limit, soft)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
