"""From where in a partition one must read to know again what was known at an offset.

Pure. It travels as the text that Kafka keeps with a committed offset.
"""

import math
from typing import Any, NamedTuple

import orjson

from stream_detector.errors import StateError

_FIELDS = {"rewind": int, "judge": int, "restless": bool, "digest": str, "bundle": str}


class Rewind(NamedTuple):
    """What to read again.

    Parameters
    ----------
    offset
        The first record; the committed offset itself where nothing is remembered.
    clock_ms
        The partition's clock before it, milliseconds since 1970-01-01 UTC; -inf where it had none.
    judge_offset
        From here on windows are judged again, where that is needed.
    is_restless
        Whether it is: whether there are alerts, or gaps to be told in one.
    digest
        16 hexadecimal digits made of all that is remembered; empty where nothing is.
    """

    offset: int
    clock_ms: float
    judge_offset: int
    is_restless: bool
    digest: str

    @classmethod
    def nothing(cls, offset: int) -> "Rewind":
        """Return that of a detector that remembers nothing."""
        return cls(offset, -math.inf, offset, is_restless=False, digest="")


class Note(NamedTuple):
    """What is committed with an offset.

    Parameters
    ----------
    rewind
        From where to read again.
    bundle_version
        What scored.
    n_partitions
        How many partitions the topic had: with another number, keys lie elsewhere.
    """

    rewind: Rewind
    bundle_version: str
    n_partitions: int

    def encode(self) -> str:
        """Return it as JSON, some 250 characters."""
        rewind = self.rewind
        fields = {
            "rewind": rewind.offset,
            "clock_ms": None if math.isinf(rewind.clock_ms) else rewind.clock_ms,
            "judge": rewind.judge_offset,
            "restless": rewind.is_restless,
            "digest": rewind.digest,
            "bundle": self.bundle_version,
            "partitions": self.n_partitions,
        }
        return orjson.dumps(fields).decode()

    @classmethod
    def decode(cls, text: str, where: str) -> "Note":
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
            If it is something else: the offset was committed by another program.
        """
        try:
            fields: dict[str, Any] = orjson.loads(text)
            values = [kind(fields[name]) for name, kind in _FIELDS.items()]
            clock_ms = fields["clock_ms"]
            clock_ms = -math.inf if clock_ms is None else float(clock_ms)
            n_partitions = int(fields["partitions"])
        except (orjson.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            message = (
                f"the offset committed for {where} carries a note that is not ours "
                f"({text[:80]!r}: {type(error).__name__}): another program commits to this group; "
                "use a group of its own, or reset its offsets to go on without what was remembered"
            )
            raise StateError(message) from None
        offset, judge_offset, is_restless, digest, bundle_version = values
        rewind = Rewind(offset, clock_ms, judge_offset, is_restless, digest)
        return cls(rewind, bundle_version, n_partitions)
