"""The samples of `input_forms` as Protobuf."""

from typing import Any

from google.protobuf.message_factory import GetMessageClass

from stream_detector.schemas.protobuf import ProtobufSchema

TEXT = """
// A reading, as a producer has it.
syntax = "proto3";
package plant.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "confluent/meta.proto";
option java_package = "com.example";

message Other { int32 a = 1; }

message Reading {
  option (confluent.message_meta).doc = "a { reading }";
  reserved 9, 12 to 15; reserved "old";
  enum State { OFF = 0; ON = 1 [deprecated = true]; }
  message Data {
    double temperature = 1 [json_name = "t", (my.opt) = { a: [1, 2] }];
    /* presence: what is not
       sent is missing */
    optional float pressure = 2;
  }
  string device = 1;
  google.protobuf.Timestamp at = 2;
  Data data = 3;
  State state = 4;
  repeated int64 counts = 5;
  map<string, string> labels = 6;
  oneof more { string note = 7; Other other = 8; }
  google.protobuf.DoubleValue level = 10;
  sint64 ts = 11;
}
"""

TABLE = {"key": "device", "time": "at", "time_unit": "iso8601", "values": "data"}


def message_of(schema: ProtobufSchema, *indexes: int) -> Any:
    """Return the class of a message."""
    return GetMessageClass(schema._find(indexes))


def encode(schema: ProtobufSchema, key: str, time_ms: int, values: dict[str, float]) -> bytes:
    """Return a reading, after the indexes that name its message: the second of the file."""
    reading = message_of(schema, 1)(device=key, data=values)
    reading.at.FromMilliseconds(time_ms)
    content: bytes = reading.SerializeToString()
    return b"\2\2" + content
