"""The command `scores`."""

import sys
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
from stream_detector.text import json_line, quoted

if TYPE_CHECKING:
    from stream_detector.core.score_records import PublishedScore

EXAMPLES = examples(
    "stream-detector scores --from-beginning --stop-when-idle 5s",
    "stream-detector scores --json | jq -r .score",
)

NAME_CHARACTERS_MAX = 256
"""How much of a name is shown; `--json` writes all of it."""

N_PARTS_SHOWN = 3
"""How many checks and features are shown, those farthest from normal."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("scores", epilog=EXAMPLES, rich_help_panel=ONLINE)(scores)


def scores(
    topic: Annotated[str, typer.Option(help="Topic of the scores.")] = "scores",
    bootstrap_servers: Servers = None,
    as_json: JsonLines = False,
    from_beginning: FromBeginning = False,
    stop_when_idle: StopWhenIdle = None,
    client: Client = None,
    settings_file: SettingsFile = None,
) -> None:
    """Print the scores that `detect --scores-topic` publishes, until Ctrl-C.

    One line a window: when it ends, the anomaly score (above 1 is anomalous), the key, and the
    checks and features that are farthest from normal. The command joins no group and commits
    nothing, so it takes no score away from another consumer.
    """
    from stream_detector.outputs.scores import read_scores

    settings = connection_settings(bootstrap_servers, client, settings_file)
    idle_s = seconds(stop_when_idle, "--stop-when-idle")
    stop = StopFlag()
    with stop.on_signals():
        found = read_scores(
            settings,
            topic,
            Skips(),
            from_beginning=from_beginning,
            idle_s=idle_s,
            is_stopping=lambda: stop.is_set,
        )
        for each in found:
            write_line(_as_json(each) if as_json else describe(each))
            sys.stdout.flush()


def describe(score: "PublishedScore") -> str:
    """Return one line about the score of a window."""
    ratio = score.score / score.threshold if score.threshold else float("inf")
    parts = [*_worst(score.checks), *_worst(score.features)]
    return "  ".join(
        (
            time_text(score.window_end_ms),
            f"score {ratio:>6.2f}",
            f"key {quoted(score.key, NAME_CHARACTERS_MAX)}",
            *parts,
        )
    )


def _worst(parts: dict[str, float]) -> list[str]:
    """Return the parts that are farthest from normal."""
    worst = sorted(parts.items(), key=lambda part: -part[1])[:N_PARTS_SHOWN]
    return [f"{quoted(name, NAME_CHARACTERS_MAX)} {each:.2f}" for name, each in worst]


def _as_json(score: "PublishedScore") -> str:
    """Return a score as one line of JSON."""
    import orjson

    return json_line(orjson.dumps(score._asdict()).decode())
