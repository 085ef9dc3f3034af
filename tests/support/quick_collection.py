"""Collect the tests in less time: each process of a run collects all of them.

It is a plugin that `tests/conftest.py` registers: hooks of a conftest see no files but those below
its own folder, and half of the files are those of the package.
"""

import gc
from collections.abc import Generator
from pathlib import Path

import pytest

Collectors = Generator[None, list[pytest.Collector], list[pytest.Collector]]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector not search what was collected, neither meanwhile nor later.

    A million objects come and all of them stay: to search them takes a fifth of the time here.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Collectors:
    """Look for examples in docstrings only where a prompt is: to look, pytest imports the module.

    Those without one include modules that load TensorFlow.
    """
    found = yield
    if not found or ">>>" in file_path.read_text(encoding="utf-8"):
        return found
    return [each for each in found if type(each) is pytest.Module]
