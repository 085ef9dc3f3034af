"""From where in a partition the state at an offset can be rebuilt.

Pure. A plan is stored as the metadata text that Kafka keeps with a committed offset.
"""

import math
from typing import Any, NamedTuple

import orjson

from stream_detector.core.windowing.keyed_state import Jump
from stream_detector.errors import StateError

_FIELDS = {
    "restore_offset": int,
    "score_from": int,
    "has_active_keys": bool,
    "digest": str,
    "bundle": str,
}


class RestorePlan(NamedTuple):
    """Which records to replay to rebuild the state at an offset.

    Parameters
    ----------
    offset
        The first record; the committed offset itself where there is no state.
    stream_time_ms
        The partition's stream time before it, milliseconds since 1970-01-01 UTC; -inf where it had
        none.
    score_from_offset
        From here on windows are scored again, where there are active keys.
    has_active_keys
        Whether any key has an alert, or a gap that an alert may report.
    digest
        16 hexadecimal digits made of the whole state; empty where there is none, or where the
        replay need not give the same state (`sample_state.NO_DIGEST`).
    n_open_alerts
        How many alerts are open, for another bundle that takes over; None where alerts never close,
        because each record is a whole window.
    jump
        What was about to advance the stream time before the first record.
    scales
        The scales of keys that training did not know, before the first record, as text
        (`stream_detector.core.state.new_keys`); empty where there are none.
    incidents
        When the last incidents began, at the committed offset, which no replay could tell
        (`stream_detector.core.alerting.incidents`).
    """

    offset: int
    stream_time_ms: float
    score_from_offset: int
    has_active_keys: bool
    digest: str
    n_open_alerts: int | None = None
    jump: Jump | None = None
    scales: str = ""
    incidents: tuple[int, ...] = ()

    @classmethod
    def nothing(cls, offset: int, incidents: tuple[int, ...] = ()) -> "RestorePlan":
        """Return the plan of a detector without keyed state."""
        return cls(offset, -math.inf, offset, has_active_keys=False, digest="", incidents=incidents)


class CommitMetadata(NamedTuple):
    """What is committed with an offset, as metadata.

    Parameters
    ----------
    restore_plan
        Which records to replay.
    bundle_version
        What scored.
    n_partitions
        How many partitions the topic had; with another number, keys are in other partitions.
    rules
        Digest of the rules of alerts; empty where they were the bundle's own.
    """

    restore_plan: RestorePlan
    bundle_version: str
    n_partitions: int
    rules: str = ""

    def encode(self) -> str:
        """Return the metadata as JSON: about 250 characters, and the scales of new keys."""
        restore_plan = self.restore_plan
        fields: dict[str, Any] = {
            "restore_offset": restore_plan.offset,
            "stream_time_ms": None
            if math.isinf(restore_plan.stream_time_ms)
            else restore_plan.stream_time_ms,
            "score_from": restore_plan.score_from_offset,
            "has_active_keys": restore_plan.has_active_keys,
            "digest": restore_plan.digest,
            "bundle": self.bundle_version,
            "partitions": self.n_partitions,
            "open_alerts": restore_plan.n_open_alerts,
        }
        if restore_plan.jump is not None:
            fields["jump"] = list(restore_plan.jump)
        if restore_plan.scales:
            fields["scales"] = restore_plan.scales
        if restore_plan.incidents:
            fields["incidents"] = restore_plan.incidents
        if self.rules:
            fields["rules"] = self.rules
        return orjson.dumps(fields).decode()

    @classmethod
    def decode(cls, text: str, where: str) -> "CommitMetadata":
        """Read what `encode` wrote.

        Parameters
        ----------
        text
            From the group's committed offset.
        where
            Which partition and offset, for the message.

        Raises
        ------
        StateError
            If the text is something else: another program committed the offset.
        """
        try:
            fields: dict[str, Any] = orjson.loads(text)
            values = [kind(fields[name]) for name, kind in _FIELDS.items()]
            stream_time_ms = fields["stream_time_ms"]
            stream_time_ms = -math.inf if stream_time_ms is None else float(stream_time_ms)
            n_partitions = int(fields["partitions"])
            n_open = fields.get("open_alerts")
            n_open = None if n_open is None else int(n_open)
            jump = _jump_of(fields.get("jump"))
            scales = str(fields.get("scales", ""))
            incidents = tuple(map(int, fields.get("incidents", ())))
            rules = str(fields.get("rules", ""))
        except (orjson.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            message = (
                f"the offset committed for {where} carries metadata of another program "
                f"({text[:80]!r}: {type(error).__name__}), which commits to this group too; use a "
                "group of its own, or reset its offsets to start without keyed state"
            )
            raise StateError(message) from None
        offset, score_from_offset, has_active_keys, digest, bundle_version = values
        restore_plan = RestorePlan(
            *(offset, stream_time_ms, score_from_offset, has_active_keys, digest),
            *(n_open, jump, scales, incidents),
        )
        return cls(restore_plan, bundle_version, n_partitions, rules)


def _jump_of(value: Any) -> Jump | None:
    """Return a jump as it was encoded; ValueError or TypeError for anything else."""
    if value is None:
        return None
    name, from_ms, newest_ms = value
    return Jump(int(name), float(from_ms), float(newest_ms))
