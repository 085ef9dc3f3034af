"""Idle connections to the metrics, and foreign text on the topics, with both clients."""

import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine  # tests/support

from stream_detector.assembly import connect_writer
from stream_detector.core.codec.windows import encode_window
from stream_detector.core.records import OutputRecord
from stream_detector.settings import ConnectionSettings, load_settings
from stream_detector.text import printable

pytestmark = pytest.mark.kafka

CLIENTS = ("kafka-python", "confluent")
NASTY = "=1+1 \x1b[31m\x9b2J\u202eyek\nerror: forged\r\u2028[/red][bold] :bomb: \x7f"


@contextmanager
def few_files(n_files: int) -> Iterator[None]:
    """Let processes that are started meanwhile open only so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("client", CLIENTS)
def test_idle_connections_to_the_metrics_end_nothing(
    kafka: str,
    halving_bundle: Path,
    windows_csv: Path,
    topic_options: dict[str, str],
    command_line: CommandLine,
    client: str,
) -> None:
    where = ["--bootstrap-servers", kafka]
    options = [part for pair in topic_options.items() for part in pair]
    with few_files(256):
        detect = command_line.start_python(
            *("detect", halving_bundle, *where, *options, "--client", client),
            *("--metrics-port", 0, "--group", f"idle-{client}"),
        )
    detect.wait_for("ready")
    address = detect.output.split("metrics address=")[1].split()[0]
    host, port = address.split(":")
    with ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        replay = ["replay", windows_csv, *where, "--topic", topic_options["--input-topic"]]
        command_line.run(*replay)
        assert detect.wait_until_done(40)  # the metrics are served meanwhile
    assert detect.terminate() == 0
    assert "retrying" not in detect.output


@pytest.mark.parametrize("client", CLIENTS)
def test_what_others_write_harms_no_reader(
    kafka: str,
    halving_bundle: Path,
    topics: Callable[..., str],
    command_line: CommandLine,
    client: str,
) -> None:
    where = ["--bootstrap-servers", kafka, "--client", client]
    telemetry, alerts, dead_letters = (topics(1) for _ in range(3))
    window = np.full((140, 1), 3.5, np.float32)
    key = NASTY.encode() + b"\xff"
    headers = [("reference", NASTY.encode()), ("other", key)]
    writer = connect_writer(load_settings(ConnectionSettings, bootstrap_servers=kafka))
    writer.produce(
        [
            OutputRecord(telemetry, key, encode_window(window, "json"), headers),
            OutputRecord(telemetry, key, NASTY.encode(), [("content-type", key)]),
            OutputRecord(alerts, None, b'{"a":"[/foo]"}'),
        ]
    )
    writer.flush(10_000)
    writer.close()
    detect = command_line.run(
        *("detect", halving_bundle, *where, "--input-topic", telemetry, "--alerts-topic", alerts),
        *("--dead-letter-topic", dead_letters, "--stop-when-idle", "2s", "--group", telemetry),
    )
    shown = command_line.run(
        *("alerts", *where, "--topic", alerts, "--from-beginning", "--stop-when-idle", "2s")
    )
    assert len(shown.stdout.splitlines()) == 1
    assert shown.stderr.startswith("skipped a record that is not an alert")
    as_json = command_line.run(
        *("alerts", *where, "--topic", alerts, "--from-beginning", "--stop-when-idle", "2s"),
        "--json",
    )
    alert = json.loads(as_json.stdout)
    assert (alert["key"], alert["source"]["reference"]) == (NASTY + "\\xff", NASTY)
    listed = command_line.run("dead-letters", "list", *where, "--topic", dead_letters)
    assert listed.stdout.startswith(f"dead letters on {dead_letters}: 1\n")
    assert printable(NASTY) in shown.stdout
    for text in (detect.stderr, shown.stdout, shown.stderr, as_json.stdout, listed.stdout):
        assert [each for each in text if not each.isprintable() and each != "\n"] == []
        assert "\nerror: forged" not in text
