"""Payloads of Sparkplug B, as edge nodes send them, made into documents.

A payload has the time at which it was sent and metrics, each with a name, a time, a type and a
value in one of several fields. Whole numbers travel in fields without a sign, so negative ones
stand there as two's complement: of the width of their type, or of that of the field. A message of
data may leave out the type, and then the sign of a number with the highest bit is not known. It
may have an alias in place of a name, too, which only the message at the start of a session tells.

Sources, as read: Eclipse Foundation, "Sparkplug Specification" 3.0, chapter "Payloads"; the numbers
of the fields as in the descriptors that pysparkplug 0.6.1 and Eclipse Tahu have.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from stream_detector.core.codec.avro_columns import AvroLayout
from stream_detector.errors import RecordDecodeError, RecordShapeError
from stream_detector.schemas.proto_text import parse_proto

SCHEMA = """
syntax = "proto2";
message Payload {
  optional uint64 timestamp = 1;
  repeated Metric metrics = 2;
}
message Metric {
  optional bytes name = 1;
  optional uint64 alias = 2;
  optional uint64 timestamp = 3;
  optional uint32 datatype = 4;
  optional bool is_null = 7;
  oneof value {
    uint32 int_value = 10;
    uint64 long_value = 11;
    float float_value = 12;
    double double_value = 13;
    bool boolean_value = 14;
    bytes string_value = 15;
    bytes bytes_value = 16;
    bytes dataset_value = 17;
    bytes template_value = 18;
    bytes extension_value = 19;
  }
}
"""
"""What is read of a payload; other fields are skipped.

Text is read as bytes, so that one that is no UTF-8 spoils nothing else, and so are the messages
within a metric, which hold no number to score."""

_SIGNED = {1: ("Int8", 8), 2: ("Int16", 16), 3: ("Int32", 32), 4: ("Int64", 64)}
"""Types of whole numbers with a sign, with their bits."""

_FIELD_BITS = {"int_value": 32, "long_value": 64}
_NUMBERS = ("float_value", "double_value")


@cache
def payload_class() -> type[Any]:
    r"""Return the class of payloads.

    Examples
    --------
    >>> payload_class()(timestamp=5, metrics=[{"name": b"t"}]).SerializeToString()
    b'\x08\x05\x12\x03\n\x01t'
    """
    pool = DescriptorPool()
    pool.AddSerializedFile(parse_proto(SCHEMA, "sparkplug.proto").SerializeToString())
    found: type[Any] = GetMessageClass(pool.FindMessageTypeByName("Payload"))
    return found


class SparkplugSchema:
    """Reads payloads of Sparkplug B, as `stream_detector.core.codec.schemas.Schema`.

    A document has `metrics`, each with `name` and `value`; where they have a time, a metric has
    `timestamp` and the document `payload_timestamp`. A boolean is 0 or 1, null is None, and a
    value that is no number, or one whose sign is not known, is text that says so.

    Parameters
    ----------
    by_alias
        Whether metrics are told apart by `alias` in place of `name`; those without one are left
        out.
    """

    layout: AvroLayout | None = None

    def __init__(self, *, by_alias: bool = False) -> None:
        self._payload = payload_class()
        self._by_alias = by_alias

    def read_document(self, value: bytes) -> Any:
        """Return what a payload holds.

        Raises
        ------
        RecordDecodeError
            If it is none: bad data.
        RecordShapeError
            If one of its metrics has no name, and `by_alias` is not given: bad data.
        """
        try:
            payload = self._payload.FromString(value)
        except DecodeError as error:
            message = f"Sparkplug B: expected a payload, received {value[:20]!r}: {error}"
            raise RecordDecodeError(message) from None
        sent = {"payload_timestamp": payload.timestamp} if payload.HasField("timestamp") else {}
        metrics = payload.metrics
        if self._by_alias:
            metrics = [metric for metric in metrics if metric.HasField("alias")]
        return {**sent, "metrics": [_document_of(each, self._by_alias) for each in metrics]}

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return None: payloads have readings, which are read one by one."""
        del values
        return None


def _document_of(metric: Any, by_alias: bool) -> dict[str, Any]:
    """Return a metric as a document; raise where it has no name, and needs one."""
    if not metric.name and not by_alias:
        received = "a metric without a name"
        if metric.HasField("alias"):
            received = f"the alias {metric.alias} alone, whose name only a birth message tells"
        message = (
            f"Sparkplug B: expected metrics with names, received {received}; let the edge node "
            "send names, or the bridge between MQTT and Kafka write them in place of aliases; or "
            'set input.feature_name = "alias", and the alias of each feature in input.features'
        )
        raise RecordShapeError(message)
    found: dict[str, Any] = {"alias": metric.alias} if by_alias else {"name": _text(metric.name)}
    if metric.HasField("timestamp"):
        found["timestamp"] = metric.timestamp
    kind = metric.WhichOneof("value")
    if metric.is_null:
        found["value"] = None
    elif kind is not None:
        found["value"] = _value_of(metric, kind)
    return found


def _value_of(metric: Any, kind: str) -> float | str:
    """Return the value of a metric."""
    if kind in _FIELD_BITS:
        return _whole_number(getattr(metric, kind), metric.datatype, _FIELD_BITS[kind])
    if kind in _NUMBERS:
        return float(getattr(metric, kind))
    if kind == "boolean_value":
        return int(metric.boolean_value)
    return _text(metric.string_value) if kind == "string_value" else kind


def _whole_number(number: int, datatype: int, field_bits: int) -> int | str:
    """Return a whole number with its sign, or text where the sign is not known.

    Parameters
    ----------
    number
        As it stands in a field without a sign.
    datatype
        Of the metric, 0 where it has none.
    field_bits
        Of the field.

    Examples
    --------
    >>> _whole_number(254, 1, 32), _whole_number(2**32 - 2, 1, 32), _whole_number(254, 5, 32)
    (-2, -2, 254)
    >>> _whole_number(2**32 - 2, 0, 32), _whole_number(300, 1, 32)
    ('4294967294 without a datatype', '300 as Int8')
    """
    if datatype == 0 and number >> (field_bits - 1):
        return f"{number} without a datatype"
    if datatype not in _SIGNED:
        return number
    name, bits = _SIGNED[datatype]
    low = number % 2**bits
    signed = low - 2**bits if low >> (bits - 1) else low
    # Some senders fill the field with the sign, and some write zeros.
    return signed if number in (low, signed % 2**field_bits) else f"{number} as {name}"


def _text(content: bytes) -> str:
    """Return text that is said to be UTF-8."""
    return content.decode(errors="backslashreplace")
