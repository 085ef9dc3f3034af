"""What output topics refused lately, how outputs are changed because of it, and what is logged.

Which of several records a topic refused is not always known, nor which of several topics it was, so
the topics' settings are read. Where this user may not read them, or they do not explain it, the
limits are found by sending fewer records together.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from stream_detector.core.records import OutputRecord
from stream_detector.errors import RecordRefusedError, Refusal
from stream_detector.service.context import RunContext
from stream_detector.service.topic_limits import TopicLimits
from stream_detector.telemetry import log_event

LIMITS_KEPT_S = 60.0
"""How long outputs are changed in advance: after that, a topic that was mended meanwhile takes them
as they are again."""


class Change(NamedTuple):
    """An output that was published otherwise than it was.

    Parameters
    ----------
    topic
        What refuses it.
    setting
        Of the topic.
    output
        "alert" or "dead letter".
    published_as
        What was changed, in words.
    record
        Place of its record, as topic[partition]@offset.
    n_bytes
        Its size before, by `OutputRecord.n_bytes`.
    """

    topic: str
    setting: str
    output: str
    published_as: str
    record: str
    n_bytes: int


class Refusals:
    """The limits of output topics that are known because something was refused.

    Parameters
    ----------
    context
        Of the service.
    """

    def __init__(self, context: RunContext) -> None:
        self._client = context.client
        self._clock = context.clock
        self._limits: dict[str, TopicLimits] = {}
        self._learned_at_s: dict[str, float] = {}
        self._apart_since_s: float | None = None
        self._changes: list[Change] = []

    @property
    def has_limits(self) -> bool:
        """Whether anything was refused lately."""
        return bool(self._limits)

    def limits_of(self, topic: str) -> TopicLimits:
        """Return what a topic takes, as far as is known."""
        return self._limits.get(topic, TopicLimits())

    def begin_step(self) -> None:
        """Forget limits that are older than `LIMITS_KEPT_S`, and the changes of the step before."""
        is_asked = bool(self._limits) or self._apart_since_s is not None
        now_s = self._clock.monotonic_s() if is_asked else 0.0
        if self._apart_since_s is not None and now_s - self._apart_since_s >= LIMITS_KEPT_S:
            self._apart_since_s = None
        for topic, learned_at_s in list(self._learned_at_s.items()):
            if now_s - learned_at_s >= LIMITS_KEPT_S:
                del self._limits[topic], self._learned_at_s[topic]
        self._changes.clear()

    def n_together(self, records: Sequence[OutputRecord]) -> int:
        """Return how many of the first records may be sent together, at least one of any."""
        if not self._limits and self._apart_since_s is None:
            return len(records)
        sent: dict[str, int] = {}
        for number, record in enumerate(records):
            if self._apart_since_s is not None and record.topic != records[0].topic:
                return number
            sent[record.topic] = sent.get(record.topic, 0) + record.n_bytes
            if number and sent[record.topic] > self.limits_of(record.topic).request_bytes_max:
                return number
        return len(records)

    def learn(
        self, refused: Sequence[tuple[OutputRecord, Refusal]], error: RecordRefusedError
    ) -> bool:
        """Narrow the limits of topics so that they explain what was refused.

        Returns
        -------
        False if a single record was refused and nothing says why.

        Raises
        ------
        RecordRefusedError
            If a record was refused for the time of sending, which is that of this machine.
        """
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        by_topic: dict[str, list[tuple[OutputRecord, Refusal]]] = {}
        for each in refused:
            by_topic.setdefault(each[0].topic, []).append(each)
        is_explained = False
        for topic, mine in by_topic.items():
            known = TopicLimits.of(self._client.topic_settings(topic))
            if known.explains(mine, now_ms):
                is_explained = True
                self._keep(topic, self.limits_of(topic).narrowed(known))
        if is_explained:
            return True
        if len(by_topic) > 1:  # one of the topics may have lost records only because of another
            self._apart_since_s = now_s
            return True
        (topic,) = by_topic
        limits = replace(self.limits_of(topic))
        if limits.learn(refused):
            self._keep(topic, limits)
            return True
        if refused[0][1] == "timestamp":
            raise error
        return False

    def _keep(self, topic: str, limits: TopicLimits) -> None:
        """Keep the limits of a topic for `LIMITS_KEPT_S`."""
        self._limits[topic] = limits
        self._learned_at_s[topic] = self._clock.monotonic_s()

    def note(self, change: Change) -> None:
        """Keep a change for the log."""
        self._changes.append(change)

    def end_step(self) -> None:
        """Log the changes of a step, those of one kind in one line."""
        kinds: dict[tuple[str, ...], dict[str, Change]] = {}
        for each in self._changes:
            kinds.setdefault(each[:4], {}).setdefault(each.record, each)
        for (topic, setting, output, published_as), changes in kinds.items():
            first = next(iter(changes.values()))
            log_event(
                logging.WARNING,
                "output-refused",
                n_records=len(changes),
                first=first.record,
                output=output,
                topic=topic,
                setting=setting,
                n_bytes=first.n_bytes,
                published_as=published_as,
            )
