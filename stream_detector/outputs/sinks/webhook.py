"""A webhook: CloudEvents as JSON over HTTP, signed by a secret that both sides know.

One event is sent in the structured mode, several in the batched one. `id` is the same each time
that an event is sent, so a receiver that has seen it can drop it.

Source: CloudEvents 1.0.2, "HTTP Protocol Binding", sections 3.2 (structured content mode) and 3.3
(batched content mode), and "JSON Event Format", sections 3 and 4.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.outputs.routing.state import RoutedEvent
from stream_detector.outputs.sinks.http import HttpPost

SIGNATURE_HEADER = "X-Stream-Detector-Signature"
"""Header with `sha256=` and the HMAC-SHA256 of the body by the secret, in hexadecimal digits."""

_ONE = "application/cloudevents+json; charset=utf-8"
_SEVERAL = "application/cloudevents-batch+json; charset=utf-8"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WebhookSink:
    """Posts events.

    Parameters
    ----------
    post
        Posts to its address.
    secret
        Signs each body; None signs none.
    """

    refresh_s: float | None = None

    def __init__(self, post: HttpPost, secret: str | None = None) -> None:
        self._post = post
        self._secret = None if secret is None else secret.encode()

    def deliver(self, events: Sequence[RoutedEvent], is_open: Sequence[RoutedEvent]) -> None:
        """Post events: one as an object, several as an array."""
        del is_open
        found = [cloud_event(each) for each in events]
        body = orjson.dumps(found[0] if len(found) == 1 else found)
        headers = {} if self._secret is None else {SIGNATURE_HEADER: signature(self._secret, body)}
        self._post.send(body, _ONE if len(found) == 1 else _SEVERAL, headers)


def signature(secret: bytes, body: bytes) -> str:
    """Return the signature of a body.

    Examples
    --------
    >>> signature(b"secret", b"{}")[:20]
    'sha256=77325902caca8'
    """
    return f"sha256={hmac.digest(secret, body, 'sha256').hex()}"


def cloud_event(event: RoutedEvent) -> dict[str, Any]:
    """Return an event as CloudEvents' JSON has it; `data` is the alert with all of its fields."""
    alert = event.alert
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.event_id,
        "type": f"stream-detector.alert.{alert.event}",
        "source": f"/stream-detector/{alert.bundle.name}/{alert.bundle.version}",
        "datacontenttype": "application/json",
        "data": orjson.loads(event.text),
    }
    if alert.key:
        found["subject"] = alert.key
    if 0 <= alert.event_time_ms <= TIMESTAMP_MS_MAX:
        time = _EPOCH + timedelta(milliseconds=alert.event_time_ms)
        found["time"] = time.isoformat(timespec="milliseconds")
    return found
