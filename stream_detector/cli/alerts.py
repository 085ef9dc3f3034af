"""The command `alerts`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.options import (
    ONLINE,
    Client,
    FromBeginning,
    JsonLines,
    Servers,
    SettingsFile,
    StopWhenIdle,
    connection_settings,
    examples,
    seconds,
)
from stream_detector.cli.terminal import Skips, StopFlag, time_text, write_line
from stream_detector.text import json_line, printable, quoted, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_detector.core.alerting.alert import Alert
    from stream_detector.core.scoring.explanation import Explanation
    from stream_detector.settings import ConnectionSettings

EXAMPLES = examples(
    "stream-detector alerts --from-beginning --stop-when-idle 5s",
    "stream-detector alerts --json | jq -r .key",
)

NAME_CHARACTERS_MAX = 256
"""How much of a key is shown, more than any topic's name has; `--json` writes all of it."""

N_UNRELIABLE_SHOWN = 3
"""How many features are shown that were not believed."""

SENTENCE_CHARACTERS_MAX = 256
"""How much of a sentence is shown, as long as ours can be."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("alerts", epilog=EXAMPLES, rich_help_panel=ONLINE)(alerts)


def alerts(
    topic: Annotated[str, typer.Option(help="Topic of the alerts.")] = "alerts",
    bootstrap_servers: Servers = None,
    as_json: JsonLines = False,
    from_beginning: FromBeginning = False,
    stop_when_idle: StopWhenIdle = None,
    save_images: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the heat maps of images to, and the images themselves, which "
            "are read from their topic."
        ),
    ] = None,
    silences_topic: Annotated[
        str | None,
        typer.Option(help="Topic of silences; a line then says which of them holds its alert."),
    ] = None,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Print alerts as they are published, until Ctrl-C.

    One line an event: its time, open, update or close, the reason, the severity, the anomaly
    score (above 1 is anomalous), the check that decided it where the bundle has checks, the key,
    where the error is largest, the record that caused the event, the first digits of the alert's
    id, and what is unusual in one sentence. The command joins no group and commits nothing, so it
    takes no alert away from another consumer.
    """
    from stream_detector.cli.images import saving_images
    from stream_detector.outputs.alerts import parse_alerts, read_values

    settings = connection_settings(bootstrap_servers, client, settings_file)
    idle_s = seconds(stop_when_idle, "--stop-when-idle")
    why_held = _silences(settings, silences_topic)
    stop = StopFlag()
    with stop.on_signals(), saving_images(settings, save_images) as save:
        values = read_values(
            settings,
            topic,
            from_beginning=from_beginning,
            idle_s=idle_s,
            is_stopping=lambda: stop.is_set,
        )
        found = parse_alerts(values, settings, Skips())
        for text, alert in found:
            write_line(json_line(text.decode()) if as_json else describe(alert, why_held(alert)))
            sys.stdout.flush()
            save(alert)


def _silences(settings: "ConnectionSettings", topic: str | None) -> "Callable[[Alert], str | None]":
    """Return what says which silence of a topic holds an alert; nothing without a topic."""
    from stream_detector.assembly import connect_reader
    from stream_detector.outputs.routing.silences import SilenceTopic
    from stream_detector.ports import SystemClock

    if topic is None:
        return lambda _: None
    silences = SilenceTopic(topic, lambda: connect_reader(settings, topic), SystemClock())

    def why_held(alert: "Alert") -> str | None:
        silences.catch_up(is_quick=True)
        return silences.book.why_held(alert)

    return why_held


def describe(alert: "Alert", held: str | None = None) -> str:
    """Return one line about an event of an alert, which a silence may hold."""
    score, source = alert.anomaly_score, alert.source
    summary = f"  for {alert.n_alerts} alerts" if alert.is_summary else ""
    # The last field, so it needs no quotes; alerts of others may hold anything.
    sentence = f"  {shorten(printable(alert.sentence), SENTENCE_CHARACTERS_MAX)}"
    sentence = sentence if alert.sentence else ""
    check = f"  check {quoted(alert.check, NAME_CHARACTERS_MAX)}" if alert.check else ""
    key, topic = (quoted(text, NAME_CHARACTERS_MAX) for text in (alert.key, source.topic))
    return (
        f"{time_text(alert.event_time_ms)}  {alert.event:<6} {alert.reason:<12}  "
        f"{alert.severity:<8}  score {'-' if score is None else f'{score:.2f}':>6}{check}  "
        f"key {key}  {_about(alert)}{summary}  "
        f"{topic}[{source.partition}]@{source.offset}  {alert.alert_id[:8]}"
        f"{f'  silenced {quoted(held, NAME_CHARACTERS_MAX)}' if held else ''}{sentence}"
    )


def _about(alert: "Alert") -> str:
    """Return where the error is largest, or which data does not come and since when."""
    if alert.explanation is not None:
        return f"worst {_worst(alert, alert.explanation)}"
    name = quoted(alert.feature or "nothing", NAME_CHARACTERS_MAX)
    return (
        f"{name} {'missing' if alert.feature else 'sent'} since {time_text(alert.window_start_ms)}"
    )


def _worst(alert: "Alert", explanation: "Explanation") -> str:
    """Return in which span and feature, or in which pixels, the error is largest."""
    image = explanation.image
    if image is not None:
        rows, columns = (image.first_row, image.last_row), (image.first_column, image.last_column)
        return f"rows {rows[0]}-{rows[1]} columns {columns[0]}-{columns[1]} ({image.share:.0%})"
    start_ms, end_ms = explanation.worst_start_ms, explanation.worst_end_ms
    if alert.span_start_ms is not None and alert.span_end_ms is not None:  # older alerts have none
        start_ms, end_ms = alert.span_start_ms, alert.span_end_ms
    worst = time_text(start_ms)
    worst = worst.partition("T")[2].removesuffix("+00:00") or worst
    span_s = (end_ms - start_ms) / 1000
    where = f"{worst} +{span_s:g} s"
    for top in explanation.features[:1]:  # an alert that others wrote may name none
        # Older alerts have no names.
        name = quoted(top.name, NAME_CHARACTERS_MAX) if top.name else f"feature {top.feature}"
        where += f"  {name} ({top.share:.0%})"
    for each in explanation.unreliable[:N_UNRELIABLE_SHOWN]:
        where += f"  not believed {quoted(each.name, NAME_CHARACTERS_MAX)} ({each.reason})"
    return where
