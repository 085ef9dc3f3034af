"""Where routes send alerts to: one module a sink, each of which fits `Sink`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from stream_detector.errors import StreamDetectorError

if TYPE_CHECKING:
    from stream_detector.outputs.routing.state import RoutedEvent


class SinkError(StreamDetectorError):
    """A sink did not take a delivery; the message has no secret in it.

    Parameters
    ----------
    message
        What happened.
    is_final
        Whether the same delivery would be refused again.
    """

    exit_code = 4
    retriable = True

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class Sink(Protocol):
    """Takes what a route sends.

    Attributes
    ----------
    refresh_s
        How often it has to be sent all open alerts; None never.
    """

    refresh_s: float | None

    def deliver(self, events: Sequence["RoutedEvent"], is_open: Sequence["RoutedEvent"]) -> None:
        """Send events, and return once they have arrived.

        Parameters
        ----------
        events
            What is new, in order; none where only the open alerts are due once more.
        is_open
            The last event that the sink was sent of each alert of whose close it was not sent yet.

        Raises
        ------
        SinkError
            If they may not have arrived.
        """
        ...
