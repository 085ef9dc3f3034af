"""Progress without a terminal: lines at intervals, and none once it is over."""

import re
import time

import pytest

from stream_detector.cli import terminal

PROGRESS_EVERY_S = terminal.PROGRESS_EVERY_S
"""As it is for users; every test of the command line replaces it."""


def test_without_a_terminal_progress_is_a_line_at_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PROGRESS_EVERY_S", 0.02)
    with terminal.progress_bar() as progress:
        task = progress.add_task("training pumps", total=4)
        progress.add_task("loading", total=None)
        progress.update(task, completed=3, description="training pumps, loss 0.1250")
        deadline_s = time.monotonic() + 10
        err = ""
        while err.count("\n") < 4 and time.monotonic() < deadline_s:
            time.sleep(0.01)
            err += capsys.readouterr().err
    lines = err.splitlines()
    assert re.fullmatch(r"training pumps, loss 0\.1250: 3 of 4, \d+ s", lines[0])
    assert re.fullmatch(r"loading: \d+ s", lines[1])
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_short_task_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRESS_EVERY_S == 10
    with terminal.progress_bar() as progress:
        progress.add_task("training pumps", total=4)
    assert capsys.readouterr().err == ""
