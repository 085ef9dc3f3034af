"""What an output topic takes, as it is configured or as it was seen to refuse.

Whoever sends records decides how large an alert or a dead letter is, when it was and whether it has
a key. A topic may be configured so that it refuses one of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Self

from stream_detector.core.records import OutputRecord
from stream_detector.errors import Refusal

UNLIMITED_MS = 2**63 - 1
"""Kafka's value for a time that is not limited."""


@dataclass(slots=True)
class TopicLimits:
    """What a topic takes; by default everything.

    Parameters
    ----------
    bytes_max
        Largest record, by `OutputRecord.n_bytes`.
    request_bytes_max
        Most bytes of records that are sent together.
    needs_key
        Whether it takes only records with a key, as a compacted topic does.
    before_ms, after_ms
        How far the time of a record may lie behind and ahead of the broker's.
    takes_time
        Whether records may have a time of their own at all.
    """

    bytes_max: float = inf
    request_bytes_max: float = inf
    needs_key: bool = False
    before_ms: float = inf
    after_ms: float = inf
    takes_time: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Self:
        """Return the limits of a topic by its settings; a setting that is not known limits nothing.

        Examples
        --------
        >>> limits = TopicLimits.of({"cleanup.policy": "compact,delete"})
        >>> limits.needs_key, limits.bytes_max
        (True, inf)
        """
        bytes_max = float(settings.get("max.message.bytes", inf))
        # Kafka before 4.0 has one setting for both directions, which the two newer ones replace.
        both_ms = settings.get("message.timestamp.difference.max.ms", inf)
        before_ms = min(float(settings.get("message.timestamp.before.max.ms", inf)), float(both_ms))
        after_ms = min(float(settings.get("message.timestamp.after.max.ms", inf)), float(both_ms))
        if settings.get("message.timestamp.type") == "LogAppendTime":
            before_ms = after_ms = inf  # the broker takes its own time
        needs_key = "compact" in settings.get("cleanup.policy", "").split(",")
        return cls(bytes_max, bytes_max, needs_key, before_ms, after_ms)

    def problem(self, record: OutputRecord, now_ms: int) -> Refusal | None:
        """Return why the topic refuses a record; None where it takes it.

        Parameters
        ----------
        record
            To be sent.
        now_ms
            The broker's time, milliseconds since 1970-01-01 UTC.
        """
        if record.n_bytes > self.bytes_max:
            return "size"
        if self.needs_key and record.key is None:
            return "content"
        if record.timestamp_ms is not None:
            ahead_ms = record.timestamp_ms - now_ms
            if not (self.takes_time and -self.before_ms <= ahead_ms <= self.after_ms):
                return "timestamp"
        return None

    def learn(self, refused: Sequence[tuple[OutputRecord, Refusal]]) -> bool:
        """Narrow the limits by records that were refused together, one of them or more at fault.

        Returns
        -------
        False if nothing about a record can be changed that the topic may take then.
        """
        records = [record for record, _ in refused]
        reasons = {reason for _, reason in refused}
        if "size" not in reasons and any(record.key is None for record in records):
            self.needs_key = True
        elif "size" not in reasons and any(record.timestamp_ms is not None for record in records):
            self.takes_time = False
        elif len(records) > 1:  # sent in ever smaller requests, those at fault are found
            self.request_bytes_max = sum(record.n_bytes for record in records) // 2
        elif "size" in reasons:
            self.bytes_max = records[0].n_bytes - 1
        else:
            return False
        return True

    def narrowed(self, other: "TopicLimits") -> "TopicLimits":
        """Return limits that are as narrow as both."""
        return TopicLimits(
            min(self.bytes_max, other.bytes_max),
            min(self.request_bytes_max, other.request_bytes_max),
            self.needs_key or other.needs_key,
            min(self.before_ms, other.before_ms),
            min(self.after_ms, other.after_ms),
            self.takes_time and other.takes_time,
        )

    def explains(self, refused: Sequence[tuple[OutputRecord, Refusal]], now_ms: int) -> bool:
        """Return whether these limits are why records that were sent together were refused."""
        n_bytes = sum(record.n_bytes for record, _ in refused)
        return n_bytes > self.request_bytes_max or any(
            self.problem(record, now_ms) is not None for record, _ in refused
        )
