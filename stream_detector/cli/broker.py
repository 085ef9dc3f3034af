"""The command `broker`."""

import sys
import time
from typing import Annotated

import typer

from stream_detector.cli.options import ONLINE, examples
from stream_detector.cli.terminal import StopFlag, say, write_line
from stream_detector.errors import ConfigError

EXAMPLES = examples(
    "stream-detector broker",
    "stream-detector broker --port 0 --topics telemetry:8,alerts:1,dead-letters:1",
)

_CHECK_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("broker", epilog=EXAMPLES, rich_help_panel=ONLINE)(broker)


def broker(
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65_535)
    ] = 9092,
    topics: Annotated[
        str, typer.Option(help="Topics to create, NAME:PARTITIONS,...")
    ] = "telemetry:4,alerts:1,dead-letters:1,silences:1",
) -> None:
    """Run an embedded broker for trials, until Ctrl-C. It keeps its records in memory only.

    The address is written to standard output, for `--bootstrap-servers` of the other commands.

    Needs the confluent extra. It is librdkafka's mock cluster, which keeps 5 MiB a partition; the
    command ends with an error when the broker had to drop records. Use it to try things, not to
    prove a guarantee: it implements too little of transactions for that.
    """
    from stream_detector.assembly import embedded_broker

    wanted = _parse_topics(topics)
    stop = StopFlag()
    with embedded_broker(port) as embedded, stop.on_signals():
        for name, n_partitions in wanted.items():
            embedded.create_topic(name, n_partitions)
        write_line(embedded.bootstrap_servers)
        sys.stdout.flush()
        say(f"embedded broker on {embedded.bootstrap_servers}, topics {topics}; Ctrl-C ends it")
        while not stop.is_set:
            time.sleep(_CHECK_S)
            embedded.check_retention()


def _parse_topics(text: str) -> dict[str, int]:
    """Return partitions by topic for "NAME:PARTITIONS,..."."""
    topics = {}
    for item in text.split(","):
        name, _, count = item.partition(":")
        if not name or not count.isdecimal() or not int(count):
            message = f"--topics: expected NAME:PARTITIONS,..., received {item!r}"
            raise ConfigError(message)
        topics[name] = int(count)
    return topics
