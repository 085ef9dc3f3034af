"""Mail, Slack, PagerDuty, Teams and a hundred others, through the library apprise.

Its addresses hold passwords and tokens, so none is shown, and what the library logs is not written.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from stream_detector.core.alerting.alert import Alert
from stream_detector.errors import ConfigError
from stream_detector.outputs.routing.state import RoutedEvent
from stream_detector.outputs.sinks import SinkError
from stream_detector.text import printable, shorten

TITLE_CHARACTERS_MAX = 120
SENTENCE_CHARACTERS_MAX = 256
KEY_CHARACTERS_MAX = 100

_WORDS = {"open": "opened", "update": "is open", "close": "closed"}


class AppriseSink:
    """Sends events as a title and text.

    Parameters
    ----------
    name
        Name of the route.
    url
        The library's address of the sink.

    Raises
    ------
    ConfigError
        If the library is not installed, or does not know such an address.
    """

    refresh_s: float | None = None

    def __init__(self, name: str, url: str) -> None:
        try:
            import apprise  # noqa: PLC0415  (an extra)
        except ModuleNotFoundError as error:
            message = (
                f"route {name}: sink = apprise needs the package {error.name}, which is not "
                "installed; run: pip install 'stream-detector[route]'"
            )
            raise ConfigError(message) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url) or len(self._apprise) != 1:
            message = f"route {name}: url: expected one address of apprise, such as mailtos://..."
            raise ConfigError(message)

    def deliver(self, events: Sequence[RoutedEvent], is_open: Sequence[RoutedEvent]) -> None:
        """Send events as one message."""
        del is_open
        title, body = message_of(events)
        is_over = all(each.alert.event == "close" for each in events)
        kind = "success" if is_over else "warning"
        if not self._apprise.notify(body=body, title=title, notify_type=kind, body_format="text"):
            message = "apprise could not send; the library does not say why"
            raise SinkError(message)


def message_of(events: Sequence[RoutedEvent]) -> tuple[str, str]:
    """Return the title and the text of a message about events; foreign text in it is printable."""
    first = events[0].alert
    title = f"{_key_of(first)} {_word_of(first)}: {_sentence_of(first)}"
    if len(events) > 1:
        keys = sorted({_key_of(each.alert) for each in events})
        title = f"{len(events)} events of alerts, keys: {', '.join(keys)}"
    return shorten(title, TITLE_CHARACTERS_MAX), "\n\n".join(map(_text_of, events))


def _text_of(event: RoutedEvent) -> str:
    """Return what is said of one event."""
    alert = event.alert
    score = "" if alert.anomaly_score is None else f", score {alert.anomaly_score:.2f}"
    facts = [
        f"{_key_of(alert)} {_word_of(alert)} ({alert.reason}): {_sentence_of(alert)}",
        f"severity {printable(alert.severity)}{score}, event time {_time(alert.event_time_ms)}",
        f"bundle {printable(alert.bundle.name)}, id {printable(event.event_id)}",
    ]
    return "\n".join(facts)


def _word_of(alert: Alert) -> str:
    """Return what has become of an alert."""
    is_update = alert.event == "open" and alert.continues_alert_id is not None
    return _WORDS["update" if is_update else alert.event]


def _key_of(alert: Alert) -> str:
    """Return a key as people see it."""
    return shorten(printable(alert.key), KEY_CHARACTERS_MAX) or "(no key)"


def _sentence_of(alert: Alert) -> str:
    """Return what is unusual."""
    return shorten(printable(alert.sentence), SENTENCE_CHARACTERS_MAX) or alert.reason


def _time(time_ms: int) -> str:
    """Return a time in UTC, or milliseconds where no date can express it."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
