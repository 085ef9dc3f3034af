"""A broker in this process, for tests and trials: topics, groups, transactions and faults.

It is held to the same contract tests as the real clients. Faults are data: items between the
records of a log (`EOF`, `ABORT`, `PAUSE`) or a list of calls that fail (`Fault`), so that a crash
at any step of a loop is a short test.

Examples
--------
>>> from stream_detector.core.records import OffsetAndMetadata, TopicPartition
>>> broker = MemoryBroker()
>>> broker.create_topic("telemetry")
>>> broker.feed("telemetry", [b"1", b"2", ABORT, b"3"])
>>> client = broker.connect(topics=["telemetry"], group="g")
>>> client.poll(100, 0).values
[b'1', b'2']
>>> client.commit({TopicPartition("telemetry", 0): OffsetAndMetadata(2)})
>>> client.poll(100, 0)  # doctest: +IGNORE_EXCEPTION_DETAIL
Traceback (most recent call last):
    ...
Aborted: the process dies here (ABORT in telemetry[0])
>>> broker.connect(topics=["telemetry"], group="g").poll(100, 0).values
[b'3']
"""

from stream_detector.clients.memory.broker import MemoryBroker
from stream_detector.clients.memory.client import MemoryClient
from stream_detector.clients.memory.log import (
    ABORT,
    EOF,
    PAUSE,
    Aborted,
    Fault,
    Item,
    Operation,
    PartitionLog,
    StoredRecord,
)
from stream_detector.clients.memory.state import BrokerState, Member

__all__ = [
    "ABORT",
    "EOF",
    "PAUSE",
    "Aborted",
    "BrokerState",
    "Fault",
    "Item",
    "Member",
    "MemoryBroker",
    "MemoryClient",
    "Operation",
    "PartitionLog",
    "StoredRecord",
]
