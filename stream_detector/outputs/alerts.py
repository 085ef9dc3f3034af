"""Read alerts from their topic, and the records that alerts are about from theirs."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from stream_detector.assembly import connect_reader, require_topic, schemas_for
from stream_detector.core.alerting.alert import Alert, Source
from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.errors import ConfigError, DataError, RecordDecodeError
from stream_detector.ports import Client, Clock, SystemClock
from stream_detector.settings import ConnectionSettings, load_settings
from stream_detector.telemetry import log_event

ALERT = TypeAdapter(Alert)
"""Checks an alert's JSON; its JSON Schema is the published one."""

READ_S_MAX = 10.0
"""Longest wait for a source record that its topic should still hold."""

OFFSET_MAX = 2**63 - 1
"""Highest offset that Kafka can have."""

_POLL_MS = 200
_POLL_RECORDS_MAX = 1_000
_N_AHEAD = 64
"""Records of a partition that are kept from one alert to the next: a seek takes far longer than
reading a few more records."""
_TOPIC = re.compile("[a-zA-Z0-9._-]{1,249}")


def alerts(
    bootstrap_servers: str,
    topic: str = "alerts",
    *,
    from_beginning: bool = False,
    idle_s: float | None = None,
    **settings: Any,
) -> Iterator[Alert]:
    """Yield the alerts of a topic as they are published, for as long as they are asked for.

    Joins no group and commits nothing. A record that holds no alert is skipped, and logged.

    Parameters
    ----------
    bootstrap_servers
        Where Kafka is, such as "localhost:9092".
    topic
        The topic of the alerts.
    from_beginning
        Start with the oldest alert kept, else with the next one published.
    idle_s
        Stop after so many seconds without a record; None never stops.
    settings
        Further settings of the connection, such as `client` or `security_protocol`.

    Raises
    ------
    ConfigError
        If a setting is unknown or does not fit.
    BrokerError
        If the topic does not exist or no broker answers.
    """
    unknown = sorted(set(settings) - set(ConnectionSettings.model_fields))
    if unknown:
        known = ", ".join(ConnectionSettings.model_fields)
        message = f"alerts: expected settings of the connection, {known}, received {unknown[0]!r}"
        raise ConfigError(message)
    connection = load_settings(ConnectionSettings, bootstrap_servers=bootstrap_servers, **settings)

    def log_problem(problem: DataError) -> None:
        log_event(logging.WARNING, "not-an-alert", topic=topic, reason=str(problem))

    values = read_values(connection, topic, from_beginning=from_beginning, idle_s=idle_s)
    for _, alert in parse_alerts(values, connection, log_problem):
        yield alert


def parse_alerts(
    values: Iterable[bytes], settings: ConnectionSettings, on_problem: Callable[[DataError], None]
) -> Iterator[tuple[bytes, Alert]]:
    """Yield the alerts in values of records, each also as JSON.

    Parameters
    ----------
    values
        JSON, or Avro whose schema a Schema Registry has.
    settings
        Where that is.
    on_problem
        Takes what is wrong with a value that holds no alert.

    Raises
    ------
    SchemaRegistryError
        If the registry does not answer, or refuses.
    """
    schemas = schemas_for(settings)
    for value in values:
        try:
            text = schemas.read_alert(value)
            alert = parse_alert(text)
        except DataError as problem:
            on_problem(problem)
        else:
            yield text, alert


def read_values(
    settings: ConnectionSettings,
    topic: str,
    *,
    from_beginning: bool = False,
    idle_s: float | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Iterator[bytes]:
    """Yield the values of a topic of alerts as they come; joins no group and commits nothing.

    Parameters
    ----------
    settings
        How to reach Kafka.
    topic
        The topic of the alerts.
    from_beginning
        Start with the oldest alert kept, else with the next one published.
    idle_s
        Stop after so many seconds without a record; None never stops.
    is_stopping
        Asked between polls; stops where it returns True.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    """
    batches = read_batches(
        settings, topic, from_beginning=from_beginning, idle_s=idle_s, is_stopping=is_stopping
    )
    for batch in batches:
        yield from (value for value in batch.values if value is not None)


def read_batches(
    settings: ConnectionSettings,
    topic: str,
    *,
    from_beginning: bool,
    idle_s: float | None,
    is_stopping: Callable[[], bool],
) -> Iterator[RecordBatch]:
    """Yield the records of a topic as they come; parameters and errors as of `read_values`."""
    client = connect_reader(settings, topic, "earliest" if from_beginning else "latest")
    with closing(client):
        require_topic(client, topic, settings.bootstrap_servers)
        busy_at_s = time.monotonic()
        while not is_stopping():
            batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
            if len(batch) or not client.has_fetched():
                busy_at_s = time.monotonic()
            elif idle_s is not None and time.monotonic() - busy_at_s >= idle_s:
                return
            yield batch


def parse_alert(value: bytes) -> Alert:
    """Return the alert that a record's value holds.

    Raises
    ------
    RecordDecodeError
        If it holds none.
    """
    try:
        alert = ALERT.validate_json(value)
        orjson.dumps(alert)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"not an alert: {where + ': ' if where else ''}{first['msg']}"
        raise RecordDecodeError(message) from None
    except TypeError as error:  # a whole number that 64 bits cannot hold
        message = f"not an alert: {error}"
        raise RecordDecodeError(message) from None
    return alert


class SourceReader:
    """Read single records by the topic, partition and offset that alerts name.

    Parameters
    ----------
    connect
        Returns a client that reads a topic from its oldest record on, in no group.
    clock
        Measures how long no record came.
    """

    def __init__(self, connect: Callable[[str], Client], clock: Clock | None = None) -> None:
        self._connect = connect
        self._clock = clock or SystemClock()
        self._clients: dict[str, Client | None] = {}
        self._ahead: dict[TopicPartition, dict[int, bytes | None]] = {}

    def read(self, source: Source) -> bytes | None:
        """Return the value of a record; None where it is no longer there, or cannot be anywhere."""
        if not 0 <= source.offset <= OFFSET_MAX:  # Kafka's clients fail, or read from elsewhere
            return None
        partition = TopicPartition(source.topic, source.partition)
        if source.offset not in self._ahead.get(partition, {}):
            self._ahead[partition] = self._fetch(partition, source.offset)
        return self._ahead[partition].get(source.offset)

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            if client is not None:
                client.close()

    def _fetch(self, partition: TopicPartition, offset: int) -> dict[int, bytes | None]:
        """Return values by offset of the first records from an offset on; empty if none comes."""
        client = self._client(partition.topic)
        if client is None or partition not in client.assignment():
            return {}
        client.pause(client.assignment())
        client.seek(partition, offset)
        client.resume([partition])
        deadline_s = self._clock.monotonic_s() + READ_S_MAX
        while self._clock.monotonic_s() < deadline_s:
            batch = client.poll(_N_AHEAD, _POLL_MS)
            record_metadata = map(batch.metadata, range(len(batch)))
            found = {
                metadata.offset: value
                for metadata, value in zip(record_metadata, batch.values, strict=True)
                if metadata.partition == partition.partition
            }
            # Where the offset is gone, the client returns the oldest records that are kept.
            if found or client.positions([partition]).get(partition, 0) > offset:
                return found
        return {}

    def _client(self, topic: str) -> Client | None:
        """Return the client of a topic, None where the topic does not exist."""
        if topic not in self._clients:
            client = self._connect(topic) if _TOPIC.fullmatch(topic) else None
            self._clients[topic] = client
            if client is not None and client.n_partitions(topic) == 0:
                client.close()
                self._clients[topic] = None
            elif client is not None:
                client.poll(1, 0)  # the first poll assigns the partitions
        return self._clients[topic]
