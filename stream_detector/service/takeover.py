"""Close the alerts whose state is lost, before the first record is judged without that state.

State is lost where another bundle takes over, which has no use for it (reason `bundle_changed`),
where the rules of alerts were changed (`rules_changed`), and where it cannot be restored: retention
deleted records that a replay needs, or the topic has more partitions (`state_reset`). What was open
is then read from where readers see it, the alerts topic. For each such partition, with its
committed offset C:

1. **Search.** Read the alerts topic backwards, block by block, for events of the alerts of the
   bundle that committed C. Each commit says how many alerts were open, so reading stops once all of
   them were found, and at the latest after `ALERTS_MAX` records or `SEARCH_S_MAX`. One block is
   read in any case: with delivery at least once, another bundle may have published events that it
   never committed. (The same bundle publishes those again, so they are left alone.)
2. **Close.** For each alert whose last event is no close, publish a close with the next event
   number, which is made of that last event alone.
3. **Commit.** Commit C again, as this bundle, with an empty state.

With delivery exactly once, steps 2 and 3 are one transaction. With delivery at least once, a
process that stops between them does them again, finds the closes that have arrived, and publishes
the others. No record has been judged without the state before step 3.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from stream_detector.core.alerting.alert import (
    ALERT_BYTES_MAX,
    AlertReason,
    Source,
    encode_close,
)
from stream_detector.core.records import OutputRecord, RecordBatch, TopicPartition
from stream_detector.core.state.restore_plan import CommitMetadata
from stream_detector.errors import BrokerError, DataError, RecordRefusedError
from stream_detector.ports import Client
from stream_detector.recipes.alerting import SEVERITY_CHARACTERS_MAX
from stream_detector.service.context import RunContext
from stream_detector.telemetry import log_event

BLOCK_RECORDS = 10_000
"""Records of each partition of the alerts topic in the first block; each block has twice as many as
the one after it."""

ALERTS_MAX = 1_000_000
"""Most records that are read. An open alert has its last event further back only where other
programs write a million alerts meanwhile."""

SEARCH_S_MAX = 60.0
"""Longest time of a search; the group removes a member that has not polled for 300 s."""

N_SEARCHES = 3
SEARCH_AGAIN_AFTER_S = 0.5
"""The last transaction of the bundle before may show to readers of alerts a little later than its
offsets do."""

_POLL_RECORDS_MAX, _POLL_MS = 10_000, 200


class Lost(NamedTuple):
    """A partition whose state is lost.

    Parameters
    ----------
    offset
        The committed offset, from which records are judged without that state.
    metadata
        What was committed with it.
    reason
        Why its alerts close.
    """

    offset: int
    metadata: CommitMetadata
    reason: AlertReason


@dataclass(slots=True)
class _Seen:
    """What was read of one alert.

    Parameters
    ----------
    partition
        Of the input topic.
    number, value, key
        Its last event; no value where that is a close.
    is_committed, is_closed
        Whether an event, and a close, of a record before the committed offset is there.
    """

    partition: int
    number: int = 0
    value: dict[str, Any] | None = None
    key: bytes | None = None
    is_committed: bool = False
    is_closed: bool = False


@dataclass(slots=True)
class _Search:
    """The alerts whose state is lost, as far as the alerts topic was read.

    Parameters
    ----------
    topic
        The input topic.
    lost
        By partition of the input topic.
    read_alert
        Returns an alert as JSON, or raises a `DataError`.
    """

    topic: str
    lost: Mapping[int, Lost]
    read_alert: Callable[[bytes], bytes]
    alerts: dict[str, _Seen] = field(default_factory=dict)

    @property
    def n_missing(self) -> int:
        """How many alerts must be open that were not found."""
        n_found = sum(each.is_committed and not each.is_closed for each in self.alerts.values())
        plans = [each.metadata.restore_plan for each in self.lost.values()]
        return max(0, sum(each.n_open_alerts or 0 for each in plans) - n_found)

    def add(self, batch: RecordBatch) -> None:
        """Note the events of these alerts among some records of the alerts topic."""
        versions = {each.metadata.bundle_version.encode() for each in self.lost.values()}
        for index, value in enumerate(batch.values):
            if value is None or len(value) > ALERT_BYTES_MAX:
                continue
            metadata = batch.metadata(index)
            source = next((each for name, each in metadata.headers if name == "ce_source"), None)
            if source is not None and source.rpartition(b"/")[2] in versions:
                self._add_event(value, metadata.key)

    def closes(self, alerts_topic: str, now_ms: int) -> Iterator[tuple[OutputRecord, str]]:
        """Yield the close of each alert that is open, and its severity."""
        for _, seen in sorted(self.alerts.items()):
            offset, _, reason = self.lost[seen.partition]
            if seen.value is None or not (seen.is_committed or reason == "bundle_changed"):
                continue
            source = Source(self.topic, seen.partition, offset)
            record = encode_close(seen.value, reason, source, alerts_topic, seen.key, now_ms)
            yield record, str(seen.value["severity"])

    def _add_event(self, value: bytes, key: bytes | None) -> None:
        """Note one event; what is no event of a lost bundle's alert is passed over."""
        try:
            event = orjson.loads(self.read_alert(value))
            source, number = event["source"], event["event_number"]
            partition, offset = source["partition"], source["offset"]
            lost = self.lost.get(partition)
            is_ours = (
                source["topic"] == self.topic
                and lost is not None
                and event["bundle"]["version"] == lost.metadata.bundle_version
                and isinstance(number, int)
                and len(str(event["severity"])) <= SEVERITY_CHARACTERS_MAX
            )
            if not is_ours or lost is None:
                return
            encode_close(event, lost.reason, Source(self.topic, partition, 0), "", key, 0)
            name, is_close = str(event["alert_id"]), event["event"] == "close"
            is_committed = bool(offset < lost.offset)
        except (DataError, ValueError, TypeError, KeyError, OverflowError):
            return
        seen = self.alerts.setdefault(name, _Seen(partition))
        seen.is_committed |= is_committed
        seen.is_closed |= is_close and is_committed
        if number > seen.number:
            seen.number, seen.value, seen.key = number, None if is_close else event, key


def close_open_alerts(context: RunContext, lost: Mapping[TopicPartition, Lost]) -> None:
    """Publish the closes of all alerts that other bundles left open in some partitions.

    Nothing is committed. Alerts that cannot be found, or whose close Kafka refuses, are left open,
    and the log says so.

    Parameters
    ----------
    context
        Of the service.
    lost
        Partitions of the input topic that other bundles read until now.

    Raises
    ------
    BrokerError
        If the broker does not answer, or does not acknowledge the closes.
    """
    keeping = {
        each.partition: one
        for each, one in lost.items()
        if one.metadata.restore_plan.n_open_alerts is not None
    }
    if not keeping:
        return
    settings = context.settings
    schemas = context.schemas
    search = _Search(settings.input_topic, keeping, schemas.read_alert)
    reason = _find(context, search)
    closes = list(search.closes(settings.alerts_topic, context.clock.now_ms()))
    n_refused = _publish(context, [schemas.write_alert(record) for record, _ in closes])
    for _, severity in closes:
        context.metrics.alerts.labels("close", severity).inc()
    if closes:
        log_event(logging.INFO, "alerts-closed", n_alerts=len(closes) - n_refused)
    n_left = search.n_missing + n_refused
    if n_left:
        reason = reason or "they are no longer in the alerts topic, or it refused their close"
        log_event(logging.WARNING, "alerts-left-open", n_alerts=n_left, reason=reason)


def _find(context: RunContext, search: _Search) -> str:
    """Search the alerts topic; return why it could not be read, else nothing."""
    client, topic = context.client, context.settings.alerts_topic
    try:
        for attempt in range(N_SEARCHES):
            if attempt:
                context.clock.sleep(SEARCH_AGAIN_AFTER_S)
            with closing(client.connect_reader(topic)) as reader:
                _read_back(context, reader, search)
            if not search.n_missing:
                break
    except BrokerError as error:
        if error.retriable:
            raise
        return f"the alerts topic cannot be read: {error}"
    return ""


def _read_back(context: RunContext, reader: Client, search: _Search) -> None:
    """Read a topic backwards until nothing is missing, or a limit is reached."""
    deadline_s = context.clock.monotonic_s() + SEARCH_S_MAX
    reader.poll(1, 0)  # the first poll assigns the partitions
    partitions = reader.assignment()
    firsts, ends = reader.beginning_offsets(partitions), reader.end_offsets(partitions)
    n_read, n_block = 0, BLOCK_RECORDS
    while n_read < ALERTS_MAX and context.clock.monotonic_s() < deadline_s:
        begins = {each: max(firsts[each], ends[each] - n_block) for each in partitions}
        waiting = {each for each in partitions if begins[each] < ends[each]}
        if not waiting:
            return
        reader.pause(partitions)
        for each in waiting:
            reader.seek(each, begins[each])
        reader.resume(waiting)
        while waiting and context.clock.monotonic_s() < deadline_s:
            batch = reader.poll(_POLL_RECORDS_MAX, _POLL_MS)
            n_read += len(batch)
            search.add(batch)
            positions = reader.positions(waiting)
            done = {each for each in waiting if positions.get(each, -1) >= ends[each]}
            reader.pause(done)
            waiting -= done
        if not search.n_missing:
            return
        ends, n_block = begins, 2 * n_block


def _publish(context: RunContext, closes: Sequence[OutputRecord]) -> int:
    """Publish closes until all are acknowledged or refused; return how many were refused.

    A library may name all that was sent together with the one at fault, so after a refusal each
    close is tried alone.
    """
    is_transaction = context.settings.delivery == "exactly_once"
    refusal = _refusal_of(context, closes) if closes else None
    if refusal is None:
        return 0
    numbers = range(len(closes)) if is_transaction else refusal.undelivered
    taken: list[OutputRecord] = []
    for number in numbers:
        if _refusal_of(context, [closes[number]]) is None:
            taken.append(closes[number])
            if is_transaction:
                context.client.abort()
    for close in taken if is_transaction else ():  # together they may be too large
        refusal = _refusal_of(context, [close])
        if refusal is not None:
            raise refusal
    return len(numbers) - len(taken)


def _refusal_of(context: RunContext, closes: Sequence[OutputRecord]) -> RecordRefusedError | None:
    """Publish closes together; return the error if Kafka refuses some of them."""
    client = context.client
    try:
        client.produce(closes)
        client.flush(context.settings.flush_timeout_ms)
    except RecordRefusedError as error:
        client.abort()
        return error
    return None
