"""The rights of docs/how-to/security.md are enough, and each is needed, by Kafka's authoriser."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from command_line import CommandLine
from delivery_stream import detector_of, record_of
from secure_kafka import CLIENTS, GRANTS, MARKER, Grant, SecureKafka, Settings, write_one

from stream_detector.clients import connect
from stream_detector.errors import BrokerError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def run_without(
    grants: list[Grant],
    command: Sequence[object],
    secure_kafka: SecureKafka,
    command_line: CommandLine,
) -> Iterator[tuple[Grant, str]]:
    """Run a command once for each of its rights without it; yields the right and the error."""
    for missing in grants:
        secure_kafka.allow(*(grant for grant in grants if grant != missing))
        start_s = time.monotonic()
        done = command_line.run(*command, check=False)
        assert time.monotonic() - start_s < 30  # a broker that is away is tried for 60 s
        assert done.returncode == 4, (missing, done.stderr)
        assert MARKER not in done.stdout + done.stderr
        assert "rdkafka" not in done.stderr
        yield missing, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_documented_right_is_needed(
    client: str,
    secure_kafka: SecureKafka,
    halving_bundle: Path,
    windows_csv: Path,
    give_settings: Callable[[Settings, str], list[str]],
    command_line: CommandLine,
) -> None:
    assert {user: len(grants) for user, grants in GRANTS.items()} == {
        "detector": 5,
        "producer": 1,
        "reader": 1,
        "operator": 2,
    }
    common = [*give_settings(secure_kafka.sasl(), "environment"), "--client", client]
    idle = ["--stop-when-idle", "1s"]
    detect = ["detect", halving_bundle, *common, "--group", "ecg", *idle]
    replay_letters = ["dead-letters", "redrive", *common, "--foreign", "--to", "telemetry", "--yes"]
    secure_kafka.allow(Grant("Write", "topic", "dead-letters"))
    write_one(client, secure_kafka.sasl(), "dead-letters")
    commands: list[tuple[list[Grant], Sequence[object]]] = [
        (GRANTS["detector"], [*detect, "--delivery", "exactly_once"]),
        (GRANTS["producer"], ["replay", windows_csv, *common]),
        (GRANTS["reader"], ["alerts", *common, *idle]),
        (GRANTS["operator"], replay_letters),
    ]
    for grants, command in commands:
        for missing, error in run_without(grants, command, secure_kafka, command_line):
            cause = error.partition("; check")[0]
            assert "denied access" in cause
            assert missing.kind.replace("-", "") in cause.lower().replace("_", "")
            assert missing.kind == "group" or missing.name in cause


@pytest.mark.parametrize("client", CLIENTS)
def test_a_takeover_without_the_right_to_read_alerts_leaves_them_open_and_goes_on(
    client: str, secure_kafka: SecureKafka, caplog: pytest.LogCaptureFixture
) -> None:
    topics = [f"takeover-{client}-{name}" for name in ("in", "alerts", "dead")]
    secure_kafka.create_topics(*topics)
    settings = DetectSettings(
        client=client,  # type: ignore[arg-type]
        input_topic=topics[0],
        alerts_topic=topics[1],
        dead_letter_topic=topics[2],
        group=topics[0],
        stop_when_idle_s=1.0,
        **secure_kafka.sasl(),  # type: ignore[arg-type]
    )
    needed = [
        Grant("Read", "topic", topics[0]),
        Grant("Read", "group", topics[0]),
        *(Grant("Write", "topic", name) for name in topics),
    ]
    secure_kafka.allow(*needed)
    records = [record_of(number, "samples", topics[0]) for number in range(80)]
    with closing(connect(settings)) as writer:
        writer.produce([each for each in records if each.partition == 0])
        writer.flush(10_000)
    for version in ("v1", "v2"):
        reader = connect(settings, topics=topics[:1], group=topics[0])
        detector = detector_of("samples", version)
        Service(reader, detector, settings, Metrics(), SystemClock()).run()
    assert "alerts-left-open n_alerts=2" in caplog.text
    assert "the alerts topic cannot be read" in caplog.text
    assert MARKER not in caplog.text


@pytest.mark.parametrize("transactional_id", [None, "ecg-1"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_that_may_only_be_described_cannot_be_written(
    client: str, transactional_id: str | None, secure_kafka: SecureKafka
) -> None:
    given, options = secure_kafka.sasl(), {"transactional_id": transactional_id}
    described = [Grant("Read", "topic", "alerts"), Grant("Write", "transactional-id", "ecg-1")]
    secure_kafka.allow(*described)
    with pytest.raises(BrokerError, match=r"denied access") as nothing_writable:
        write_one(client, given, "alerts", **options)
    secure_kafka.allow(*described, Grant("Write", "topic", "dead-letters"))
    with pytest.raises(BrokerError, match=r"denied access.*alerts") as other_writable:
        write_one(client, given, "alerts", **options)
    for caught in (nothing_writable, other_writable):
        assert not caught.value.retriable
