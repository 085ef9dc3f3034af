"""What topics will refuse is said at the start, with the command that mends it."""

import logging
from typing import Any

import pytest

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert import ALERT_BYTES_MAX
from stream_detector.core.records import TOPIC_BYTES_MAX
from stream_detector.service.output_topics import check_output_topics, find_problems
from stream_detector.service.outputs import DEAD_LETTER_ROOM
from stream_detector.settings import DetectSettings, load_settings

UNLIMITED = str(2**63 - 1)
DEFAULTS = {
    "cleanup.policy": "delete",
    "max.message.bytes": str(TOPIC_BYTES_MAX),
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": UNLIMITED,
    "message.timestamp.after.max.ms": UNLIMITED,
}


def problems(*, is_for_alerts: bool = False, **changes: str) -> list[tuple[str, str]]:
    """Return settings and what mends them, of a topic with Kafka's defaults but for some."""
    given = {key.replace("_", "."): value for key, value in changes.items()}
    found = find_problems("t", DEFAULTS | given, 1_000, is_for_alerts=is_for_alerts)
    return [(each.setting, each.mended) for each in found]


@pytest.mark.parametrize("is_for_alerts", [True, False])
def test_a_topic_with_defaults_refuses_nothing(is_for_alerts: bool) -> None:
    assert problems(is_for_alerts=is_for_alerts) == []
    assert list(find_problems("t", {}, 1_000, is_for_alerts=is_for_alerts)) == []


@pytest.mark.parametrize("is_for_alerts", [True, False])
def test_size_and_policy_count_for_both_topics(is_for_alerts: bool) -> None:
    assert problems(is_for_alerts=is_for_alerts, max_message_bytes="1000") == []
    assert problems(is_for_alerts=is_for_alerts, max_message_bytes="999") == [
        ("max.message.bytes", "1000")
    ]
    for policy in ("compact", "delete,compact"):
        found = problems(is_for_alerts=is_for_alerts, cleanup_policy=policy)
        assert found == [("cleanup.policy", "delete")]


def test_times_count_for_dead_letters_where_the_broker_keeps_them() -> None:
    after, before = "message.timestamp.after.max.ms", "message.timestamp.before.max.ms"
    hour: dict[str, Any] = {"message_timestamp_after_max_ms": "3600000"}
    assert problems(**hour) == [(after, UNLIMITED)]
    assert problems(message_timestamp_before_max_ms="1") == [(before, UNLIMITED)]
    assert problems(**hour, message_timestamp_type="LogAppendTime") == []
    assert problems(is_for_alerts=True, **hour) == []
    both = problems(message_timestamp_difference_max_ms="5")
    assert [setting for setting, _ in both] == [before, after]


def lines_of(broker: MemoryBroker, caplog: pytest.LogCaptureFixture, **changes: Any) -> list[str]:
    settings = load_settings(DetectSettings, bootstrap_servers="kafka:9092", **changes)
    with caplog.at_level(logging.DEBUG, "stream_detector"):
        check_output_topics(broker.connect(), settings)
    return caplog.messages


def test_the_line_has_the_effect_and_the_command(caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker()
    broker.topic_settings["dead-letters"] = {"message.timestamp.after.max.ms": "3600000"}
    (line,) = lines_of(broker, caplog)
    assert line.startswith("topic-settings topic=dead-letters ")
    assert "setting=message.timestamp.after.max.ms=3600000" in line
    assert "more than 3,600,000 ms ahead is sent with the time of sending" in line
    assert (
        "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics "
        f"--entity-name dead-letters --add-config message.timestamp.after.max.ms={UNLIMITED}"
    ) in line


def test_the_largest_alert_and_dead_letter_must_fit(caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker()
    n_bytes = 10_000 + DEAD_LETTER_ROOM
    limits = {"alerts": ALERT_BYTES_MAX, "dead-letters": n_bytes}
    for topic, limit in limits.items():
        broker.topic_settings[topic] = {"max.message.bytes": str(limit)}
    assert lines_of(broker, caplog, dead_letter_bytes_max=10_000) == []
    for topic, limit in limits.items():
        broker.topic_settings[topic] = {"max.message.bytes": str(limit - 1)}
    alerts, letters = lines_of(broker, caplog, dead_letter_bytes_max=10_000)
    assert f"--add-config max.message.bytes={ALERT_BYTES_MAX}" in alerts
    assert f"--add-config max.message.bytes={n_bytes}" in letters


def test_nothing_is_said_where_the_settings_are_not_known(caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of(MemoryBroker(), caplog) == []
