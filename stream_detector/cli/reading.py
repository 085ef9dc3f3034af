"""Reads alerts as a downstream consumer would, for `alerts` and `demo`."""

import sys
import time
from collections.abc import Callable, Iterator

from pydantic import TypeAdapter, ValidationError

from stream_detector.assembly import require_topic
from stream_detector.cli.output import console, time_text
from stream_detector.clients import connect
from stream_detector.core.records import Alert
from stream_detector.core.scoring.explanations import Explanation
from stream_detector.settings import ConnectionSettings

ALERT = TypeAdapter(Alert)
"""Checks an alert's JSON; its JSON Schema is the published one."""

_POLL_MS = 200


def read_alerts(
    settings: ConnectionSettings,
    topic: str,
    *,
    from_beginning: bool,
    as_json: bool,
    idle_s: float | None,
    is_stopping: Callable[[], bool],
    on_alert: Callable[[Alert], None] = lambda _: None,
) -> None:
    """Print alerts as they come.

    Parameters
    ----------
    settings, topic
        Where from.
    from_beginning
        Start with the oldest kept, else with those to come.
    as_json
        Each as the line of JSON it is, else in a form for people.
    idle_s
        Stop after so many seconds without one; None goes on.
    is_stopping
        Asked between polls.
    on_alert
        Called with each, once it is printed.
    """
    for value in alert_values(settings, topic, from_beginning, idle_s, is_stopping):
        try:
            alert = ALERT.validate_json(value)
        except ValidationError as error:
            console().print(f"[yellow]skipped[/] a record that is no alert: {error.errors()[0]}")
            continue
        line = value.decode() if as_json else describe(alert)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        on_alert(alert)


def alert_values(
    settings: ConnectionSettings,
    topic: str,
    from_beginning: bool,
    idle_s: float | None,
    is_stopping: Callable[[], bool],
) -> Iterator[bytes]:
    """Yield the values of a topic as they come; parameters as in `read_alerts`."""
    client = connect(
        settings, topics=[topic], offset_reset="earliest" if from_beginning else "latest"
    )
    try:
        require_topic(client, topic, settings.bootstrap_servers)
        busy_at_s = time.monotonic()
        while not is_stopping():
            batch = client.poll(1_000, _POLL_MS)
            if len(batch):
                busy_at_s = time.monotonic()
            elif idle_s is not None and time.monotonic() - busy_at_s >= idle_s:
                return
            yield from (value for value in batch.values if value is not None)
    finally:
        client.close()


def describe(alert: Alert) -> str:
    """Return one line about an event of an alert for people."""
    explanation, source = alert.explanation, alert.source
    summary = f"  for {alert.n_alerts} alerts" if alert.is_summary else ""
    return (
        f"{time_text(alert.event_time_ms)}  {alert.event:<6} {alert.reason:<12}  "
        f"{alert.severity:<8}  score {alert.anomaly_score:6.2f}  key {alert.key}  "
        f"worst {_worst(explanation)}{summary}  "
        f"{source.topic}[{source.partition}]@{source.offset}  {alert.alert_id[:8]}"
    )


def _worst(explanation: Explanation) -> str:
    """Return in which span and feature, or in which pixels, the error is largest."""
    image = explanation.image
    if image is not None:
        rows, columns = (image.first_row, image.last_row), (image.first_column, image.last_column)
        return f"rows {rows[0]}-{rows[1]} columns {columns[0]}-{columns[1]} ({image.share:.0%})"
    worst = time_text(explanation.worst_start_ms)
    worst = worst.partition("T")[2].removesuffix("+00:00") or worst
    span_s = (explanation.worst_end_ms - explanation.worst_start_ms) / 1000
    top = explanation.features[0]
    return f"{worst} +{span_s:g} s  feature {top.feature} ({top.share:.0%})"
