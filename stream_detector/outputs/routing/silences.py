"""Silences: alerts about which nobody wants to hear for some time, as records on a topic.

A record's key is the silence's id, and its value the silence as JSON; a later record of the same id
replaces it, and one without a value removes it. So the topic is to be compacted. Times are event
times: a replay is silenced as the stream was.
"""

import logging
import math
import threading
import uuid
from collections.abc import Callable
from heapq import nsmallest
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import OutputRecord, RecordBatch
from stream_detector.errors import BrokerUnavailableError, DataError, RecordDecodeError
from stream_detector.outputs.routing.matching import AlertFacts, Match, facts_of
from stream_detector.ports import Client, Clock
from stream_detector.telemetry import log_event

SILENCES_MAX = 10_000
"""Most silences that are known; beyond it those go that ended first."""

WORDS_CHARACTERS_MAX = 1_024

READ_S_MAX = 30.0
"""Longest time that reading a topic of silences to its end may take."""

RENEW_S = 1.0
"""How often new silences are asked for while no alerts come."""

MISSING_S = 60.0
"""How often a topic that is not there is looked for: clients wait 2 s for one that may be new."""

_POLL_RECORDS_MAX = 1_000
_POLL_MS = 200


class Silence(BaseModel):
    """Which alerts are silenced, when, by whom and why."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, populate_by_name=True)

    silence_id: str = Field(pattern=r"^[0-9a-f]{1,32}$")
    match: Match
    from_ms: int
    until_ms: int
    by: str = Field(max_length=WORDS_CHARACTERS_MAX)
    why: str = Field(max_length=WORDS_CHARACTERS_MAX)

    def takes(self, alert: Alert | AlertFacts) -> bool:
        """Return whether it holds an event of an alert: from its first moment, up to its last."""
        return self.from_ms <= alert.event_time_ms < self.until_ms and self.match.takes(alert)

    def state(self, now_ms: int) -> Literal["pending", "active", "expired"]:
        """Return what it is at a time."""
        if now_ms < self.from_ms:
            return "pending"
        return "active" if now_ms < self.until_ms else "expired"

    def describe(self) -> str:
        """Return it in a few words."""
        return f"silence {self.silence_id} by {self.by}: {self.why}"


def new_silence(match: Match, from_ms: int, until_ms: int, by: str, why: str) -> Silence:
    """Return a silence with an id of its own."""
    return Silence(
        silence_id=uuid.uuid4().hex[:12],
        match=match,
        from_ms=from_ms,
        until_ms=until_ms,
        by=by,
        why=why,
    )


def encode_silence(silence: Silence, topic: str) -> OutputRecord:
    """Write a silence as a record."""
    value = orjson.dumps({"schema_version": 1, **silence.model_dump(exclude_none=True)})
    headers = [("content-type", b"application/json")]
    return OutputRecord(topic, silence.silence_id.encode(), value, headers)


def parse_silence(value: bytes) -> Silence:
    """Return the silence that a record's value holds.

    Raises
    ------
    RecordDecodeError
        If it holds none.
    """
    try:
        return Silence.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"not a silence: {where + ': ' if where else ''}{first['msg']}"
        raise RecordDecodeError(message) from None


class SilenceBook:
    """The silences that are known; may be read while another thread adds to it."""

    def __init__(self) -> None:
        self._silences: dict[str, Silence] = {}

    def take(self, batch: RecordBatch) -> None:
        """Add the silences of some records; a record that holds none is logged and skipped."""
        known = dict(self._silences)
        for index, value in enumerate(batch.values):
            metadata = batch.metadata(index)
            try:
                if value is None:
                    known.pop((metadata.key or b"").decode(errors="replace"), None)
                else:
                    silence = parse_silence(value)
                    known[silence.silence_id] = silence
            except DataError as problem:
                topic, reason = metadata.topic, str(problem)
                log_event(logging.WARNING, "not-a-silence", topic=topic, reason=reason)
        n_over = len(known) - SILENCES_MAX
        for each in nsmallest(n_over, known.values(), key=lambda silence: silence.until_ms):
            del known[each.silence_id]
        self._silences = known

    def all(self) -> list[Silence]:
        """Return every silence, the one that ends last first."""
        return sorted(self._silences.values(), key=lambda each: -each.until_ms)

    def why_held(self, alert: Alert | AlertFacts) -> str | None:
        """Return which silence holds an event of an alert, in a few words; None where none does."""
        facts = alert if isinstance(alert, AlertFacts) else facts_of(alert)
        found = (each.describe() for each in self._silences.values() if each.takes(facts))
        return next(found, None)


class SilenceTopic:
    """Reads silences from their topic, whenever it is asked to, up to its present end.

    May be used by several threads. A topic that does not exist holds no silences.

    Parameters
    ----------
    topic
        The topic.
    connect
        Returns a client that reads it from its oldest record on, in no group.
    clock
        The time.
    """

    def __init__(self, topic: str, connect: Callable[[], Client], clock: Clock) -> None:
        self.book = SilenceBook()
        self._topic = topic
        self._connect = connect
        self._clock = clock
        self._client: Client | None = None
        self._is_missing = False
        self._read_at_s = -math.inf
        self._lock = threading.Lock()

    def catch_up(self, *, is_quick: bool = False) -> None:
        """Read what was written until now.

        Parameters
        ----------
        is_quick
            Whether what was read less than `RENEW_S` ago is new enough.

        Raises
        ------
        BrokerError
            If Kafka does not answer, or refuses.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            renew_s = MISSING_S if self._is_missing else RENEW_S if is_quick else 0.0
            if now_s - self._read_at_s < renew_s:
                return
            client = self._client or self._connect()
            self._client = client
            is_read = False
            try:
                self._read(client)
                is_read = True
            finally:
                if not is_read:
                    self.close()
            self._read_at_s = now_s

    def close(self) -> None:
        """Close the connection; the next `catch_up` makes another, and reads all once more."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _read(self, client: Client) -> None:
        """Read to the end."""
        if not client.assignment():
            if client.n_partitions(self._topic) == 0:
                if not self._is_missing:
                    log_event(logging.WARNING, "no-silences", topic=self._topic)
                self._is_missing = True
                return
            self._is_missing = False
            self.book.take(client.poll(_POLL_RECORDS_MAX, 0))  # the first poll assigns partitions
        ends = client.end_offsets(client.assignment())
        until_s = self._clock.monotonic_s() + READ_S_MAX
        while any(client.positions([each]).get(each, 0) < end for each, end in ends.items()):
            if self._clock.monotonic_s() > until_s:
                message = f"{self._topic} was not read to its end within {READ_S_MAX:.0f} s"
                raise BrokerUnavailableError(message)
            self.book.take(client.poll(_POLL_RECORDS_MAX, _POLL_MS))
