"""Record batches byte by byte, as any producer may write them, and what sends them to a broker."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kafka
from kafka.protocol.producer import ProduceRequest
from kafka.record.util import calc_crc32c

BATCH_HEADER = struct.Struct(">hiqqqhii")
ATTRIBUTES_GZIP, ATTRIBUTES_SNAPPY, ATTRIBUTES_LZ4, ATTRIBUTES_ZSTD = 1, 2, 3, 4


@dataclass(frozen=True)
class RawRecord:
    """A record as its bytes say it; names of headers are bytes."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    attributes: int = 0
    timestamp_delta: int = 0


def varint(number: int) -> bytes:
    """Return a number in zigzag varint encoding."""
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left & ~0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


def sized(value: bytes | None) -> bytes:
    """Return bytes behind their length, -1 for None."""
    return varint(-1) if value is None else varint(len(value)) + value


def record_bytes(record: RawRecord, offset_delta: int) -> bytes:
    """Return a record of message format 2."""
    headers = b"".join(sized(name) + sized(value) for name, value in record.headers)
    body = b"".join(
        (
            bytes([record.attributes]),
            varint(record.timestamp_delta),
            varint(offset_delta),
            sized(record.key),
            sized(record.value),
            varint(len(record.headers)),
            headers,
        )
    )
    return sized(body)


def batch_bytes(
    body: bytes, n_records: int, attributes: int = 0, timestamp_ms: int = 1_767_225_600_000
) -> bytes:
    """Return a record batch with a good checksum around its records, which may be compressed."""
    checked = BATCH_HEADER.pack(
        attributes, n_records - 1, timestamp_ms, timestamp_ms, -1, -1, -1, n_records
    )
    checked += body
    head = struct.pack(">ibI", -1, 2, calc_crc32c(checked))
    return struct.pack(">qi", 0, len(head) + len(checked)) + head + checked


def records_body(records: Sequence[RawRecord]) -> bytes:
    """Return the records of a batch, uncompressed."""
    return b"".join(record_bytes(each, number) for number, each in enumerate(records))


def send_batch(servers: str, topic: str, batch: bytes, partition: int = 0) -> tuple[int, str]:
    """Send a record batch as it is; return the broker's error code and message."""
    request: Any = ProduceRequest(
        acks=-1,
        timeout_ms=10_000,
        topic_data=[(topic, [(partition, batch)])],
        max_version=9,
    )
    consumer: Any = kafka.KafkaConsumer(bootstrap_servers=servers)
    try:
        consumer.partitions_for_topic(topic)
        where = kafka.TopicPartition(topic, partition)
        node = consumer._cluster.leader_for_partition(where)
        sent = consumer._manager.send(request, node_id=node)
        answer = consumer._net.run(consumer._manager.wait_for, sent, 10_000)
    finally:
        consumer.close()
    (of_topic,) = answer.responses
    (found,) = of_topic.partition_responses
    return found.error_code, found.error_message or ""


def send(
    servers: str,
    topic: str,
    *records: RawRecord,
    partition: int = 0,
    timestamp_ms: int | None = None,
) -> None:
    """Send records in one uncompressed batch, and require that the broker took them."""
    when = {} if timestamp_ms is None else {"timestamp_ms": timestamp_ms}
    batch = batch_bytes(records_body(records), len(records), **when)
    assert send_batch(servers, topic, batch, partition) == (0, "")
