"""A first SIGTERM or Ctrl-C asks a command to stop, a second one ends it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Turns the first SIGTERM or SIGINT into a wish to stop, and the second into an exit."""

    def __init__(self, on_stop: Any = None) -> None:
        self.is_set = False
        self._on_stop = on_stop

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle both signals while the block lasts."""
        before = {each: signal.signal(each, self._handle) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Ask to stop; the second time leave with nothing finished and nothing committed."""
        del frame
        if self.is_set:
            os._exit(128 + number)
        self.is_set = True
        if self._on_stop is not None:
            self._on_stop()
