"""Another bundle takes over on a real Kafka, and two bundles notice each other in one group."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from command_line import CommandLine  # tests/support
from delivery_stream import DELIVERIES, detector_of, record_of
from halving_bundle import make_bundle

from stream_detector.clients import connect
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import ClientName, DetectSettings
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.kafka

N_BEFORE, N_RECORDS = 80, 180
"""After the first of the records, alerts of two keys are open."""

each_client = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


def send(settings: DetectSettings, numbers: range) -> None:
    with closing(connect(settings)) as writer:
        writer.produce(record_of(number, "samples", settings.input_topic) for number in numbers)
        writer.flush(10_000)


def detect(settings: DetectSettings, version: str) -> None:
    """Run a service with a bundle of this version until the topic is read."""
    group = settings.group_of("pumps")
    is_exact = settings.delivery == "exactly_once"
    client = connect(
        settings,
        topics=[settings.input_topic],
        group=group,
        transactional_id=f"{group}-1" if is_exact else None,
    )
    Service(client, detector_of("samples", version), settings, Metrics(), SystemClock()).run()


def read_alerts(settings: DetectSettings) -> Iterator[dict[str, Any]]:
    """Yield the alerts in the order of the topic, which has one partition."""
    with closing(connect(settings, topics=[settings.alerts_topic])) as reader:
        (end,) = reader.end_offsets(_assigned(reader)).values()
        n_polls = 0
        while (
            next(iter(reader.positions(reader.assignment()).values()), 0) < end
        ) and n_polls < 50:
            n_polls += 1
            batch = reader.poll(1_000, 200)
            yield from (orjson.loads(value) for value in batch.values if value is not None)


def _assigned(reader: Any) -> Any:
    reader.poll(1, 0)
    for each in reader.assignment():
        reader.seek(each, 0)
    return reader.assignment()


@each_client
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_open_alerts_close_once_before_anything_of_the_new_bundle(
    client: ClientName, delivery: Any, kafka: str, topics: Callable[..., str]
) -> None:
    settings = DetectSettings(
        bootstrap_servers=kafka,
        client=client,
        group=uuid.uuid4().hex,
        delivery=delivery,
        stop_when_idle_s=1.0,
        input_topic=topics(2, retention_ms="-1"),
        alerts_topic=topics(1),
        dead_letter_topic=topics(1),
    )
    send(settings, range(N_BEFORE))
    detect(settings, "v1")
    last = {each["alert_id"]: each for each in read_alerts(settings)}
    left = {name for name, each in last.items() if each["event"] != "close"}
    assert len(left) == 2
    send(settings, range(N_BEFORE, N_RECORDS))

    for _ in range(2):  # the second time there is nothing to take over
        detect(settings, "v2")

    alerts = list(read_alerts(settings))
    closed = [n for n, each in enumerate(alerts) if each["reason"] == "bundle_changed"]
    of_new = [n for n, each in enumerate(alerts) if each["bundle"]["version"] == "v2"]
    assert sorted(alerts[n]["alert_id"] for n in closed) == sorted(left)
    assert max(closed) < min(of_new)
    assert {alerts[n]["event_number"] for n in closed} == {
        last[name]["event_number"] + 1 for name in left
    }


@each_client
def test_two_bundles_in_one_group_say_so(
    client: ClientName,
    kafka: str,
    topic_options: dict[str, str],
    windows_csv: Path,
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    for name, factor in (("one", 0.5), ("two", 0.4)):
        make_bundle(tmp_path / name, factor=factor)
    where = ["--bootstrap-servers", kafka, "--client", client]
    options = [part for pair in topic_options.items() for part in pair]
    group = f"shared-{client}"
    first, second = (
        ["detect", tmp_path / name, *where, *options, "--group", group, "--metrics-port", 0]
        for name in ("one", "two")
    )
    one = command_line.start(*first)
    one.wait_for("ready")
    replay = ["replay", windows_csv, "--bootstrap-servers", kafka]
    command_line.run(*replay, "--topic", topic_options["--input-topic"])
    one.wait_until_done(1)
    two = command_line.start(*second)
    two.wait_for("bundle-changed")
    assert f"group={group}" in two.output
    one.wait_for("revoked")
    one.wait_for("group-shared")
    assert "give each bundle a group of its own" in one.output
    assert (one.terminate(), two.terminate()) == (0, 0)
