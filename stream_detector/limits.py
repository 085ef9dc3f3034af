"""Tell what this process lacks itself from the faults of others.

A process that may open no more files, or start no more threads, fails where it connects to a
broker, and the broker is not to blame.
"""

import errno
import os

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_NO_FILES = (errno.EMFILE, errno.ENFILE)
_NO_THREAD = ("can't start new thread", "failed to create thread", "unable to create thread")


def own_shortage(error: object = "") -> str | None:
    """Return what this process lacks and what to do, None where it lacks nothing.

    Parameters
    ----------
    error
        What failed, or its text: libraries drop the number of an error and keep its words. Whether
        a file can be opened now counts too.
    """
    text = str(error).lower()
    if any(os.strerror(each).lower() in text for each in _NO_FILES) or _is_full():
        limit = "" if resource is None else f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
        return (
            f"this process has as many files and connections open as it may{limit}; raise the "
            "limit with `ulimit -n`, or LimitNOFILE= of systemd; see docs/how-to/troubleshooting.md"
        )
    if any(each in text for each in _NO_THREAD):
        return (
            "this process may start no more threads; raise the limit with `ulimit -u`, "
            "TasksMax= of systemd, or the limit of processes of the container"
        )
    return None


def _is_full() -> bool:
    """Return whether no file can be opened now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in _NO_FILES
    return False
