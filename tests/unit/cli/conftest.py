"""What the tests of the command line share."""

import sys
from collections.abc import Callable

import pytest

from stream_detector import cli
from stream_detector.cli import terminal


@pytest.fixture(autouse=True)
def quiet_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line of progress come between the lines that a test expects, however slow it runs."""
    monkeypatch.setattr(terminal, "PROGRESS_EVERY_S", 3_600)


@pytest.fixture(autouse=True)
def own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program have the name that a test gives it, also under `python -m pytest`.

    A program that is a package's `__main__` is called by the package's name in messages.
    """
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a runner of the command line in this process: exit code, output and errors."""

    def run_here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return code, *capsys.readouterr()

    return run_here
