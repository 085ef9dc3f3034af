"""What the tests of the command line share."""

import pytest

from stream_detector.cli import terminal


@pytest.fixture(autouse=True)
def quiet_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line of progress come between the lines that a test expects, however slow it runs."""
    monkeypatch.setattr(terminal, "PROGRESS_EVERY_S", 3_600)
