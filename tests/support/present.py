"""A value that is there, where its type says that it may be None."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """Return the value; fails the test where there is none."""
    assert value is not None
    return value
