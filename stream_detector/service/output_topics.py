"""Say at the start which alerts and dead letters their topics will refuse."""

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from stream_detector.core.alerting.alert import ALERT_BYTES_MAX
from stream_detector.ports import Client
from stream_detector.service.outputs import DEAD_LETTER_ROOM
from stream_detector.service.topic_limits import UNLIMITED_MS, TopicLimits
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import log_event


class TopicProblem(NamedTuple):
    """A setting of a topic with which it refuses some alerts or dead letters.

    Parameters
    ----------
    topic, setting, value
        Which, and what it is now.
    effect
        What happens because of it.
    mended
        A value with which it does not happen.
    """

    topic: str
    setting: str
    value: str
    effect: str
    mended: str


def find_problems(
    topic: str, topic_settings: Mapping[str, str], n_bytes_max: int, *, is_for_alerts: bool
) -> Iterator[TopicProblem]:
    """Yield what a topic will refuse.

    Parameters
    ----------
    topic
        Its name.
    topic_settings
        Its settings by Kafka's names; nothing is said about those that are missing.
    n_bytes_max
        Largest record that is sent to it, by `OutputRecord.n_bytes`.
    is_for_alerts
        Whether alerts are sent to it, else dead letters.
    """
    limits = TopicLimits.of(topic_settings)
    if limits.bytes_max < n_bytes_max:
        name = "max.message.bytes"
        effect = f"dead letters of more than {limits.bytes_max:,.0f} bytes lack their value"
        if is_for_alerts:
            effect = f"an alert of more than {limits.bytes_max:,.0f} bytes becomes a dead letter"
        yield TopicProblem(topic, name, topic_settings[name], effect, str(n_bytes_max))
    if limits.needs_key:
        name = "cleanup.policy"
        effect = (
            "records without key get their place as one, and of those with the same key only the "
            "newest is kept"
        )
        yield TopicProblem(topic, name, topic_settings[name], effect, "delete")
    if is_for_alerts:
        return  # they are sent with the time of sending
    for side, limit_ms in (("behind", limits.before_ms), ("ahead", limits.after_ms)):
        if limit_ms < UNLIMITED_MS:
            name = f"message.timestamp.{'before' if side == 'behind' else 'after'}.max.ms"
            effect = (
                f"the dead letter of a record whose time is more than {limit_ms:,.0f} ms {side} "
                "is sent with the time of sending"
            )
            value = topic_settings.get(name, f"{limit_ms:.0f}")
            yield TopicProblem(topic, name, value, effect, str(UNLIMITED_MS))


def check_output_topics(client: Client, settings: DetectSettings) -> None:
    """Log what the topics of alerts and dead letters will refuse, each with the command to mend it.

    Parameters
    ----------
    client
        Asks for the topics' settings; nothing is said where this user may not.
    settings
        Names of the topics, and the largest dead letter.
    """
    n_bytes = settings.dead_letter_bytes_max + DEAD_LETTER_ROOM
    for topic, n_bytes_max, is_for_alerts in (
        (settings.alerts_topic, ALERT_BYTES_MAX, True),
        (settings.dead_letter_topic, n_bytes, False),
    ):
        found = client.topic_settings(topic)
        for each in find_problems(topic, found, n_bytes_max, is_for_alerts=is_for_alerts):
            log_event(
                logging.WARNING,
                "topic-settings",
                topic=each.topic,
                setting=f"{each.setting}={each.value}",
                effect=each.effect,
                mend_with=(
                    f"kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter "
                    f"--entity-type topics --entity-name {each.topic} "
                    f"--add-config {each.setting}={each.mended}"
                ),
            )
