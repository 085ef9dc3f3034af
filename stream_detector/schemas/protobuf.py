"""Protobuf schemas, and values read by them with Google's library."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from stream_detector.core.codec.avro_columns import AvroLayout
from stream_detector.errors import RecordDecodeError
from stream_detector.schemas.proto_text import parse_proto
from stream_detector.text import brief

KNOWN = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")
"""Files of Google's that come with the library."""

_WELL_KNOWN = "google/protobuf/"
_FILE = "schema.proto"
"""Name of the file itself, which nobody imports."""

_INDEXES_MAX = 64
"""Deepest nesting of the message that a record names."""

_VARINT_BYTES_MAX = 5
_LOW_BITS = 0x7F
"""Of a byte of a number, those that belong to it; the highest says that there is another byte."""

Convert = Callable[[Any], Any]


class ProtobufSchema:
    """Reads Protobuf values of one schema, as `stream_detector.core.codec.schemas.Schema`.

    A field without presence has its value, which is 0 where nothing was sent. One that may be
    absent, and is, is null. A timestamp is text in ISO 8601, a wrapper is what it wraps, and a
    value of an enumeration its name.

    Parameters
    ----------
    text
        The `.proto` file.
    references
        Names and texts of files that it imports, each after those that it imports itself.

    Raises
    ------
    ValueError
        If it cannot be read, or uses what is not there.
    """

    layout: AvroLayout | None = None

    def __init__(self, text: str, references: Sequence[tuple[str, str]] = ()) -> None:
        pool = DescriptorPool()
        for each in KNOWN:
            module = import_module(f"google.protobuf.{each}_pb2")
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        names = {name for name, _ in references}
        try:
            for name, used in (*references, (_FILE, text)):
                file = parse_proto(used, name)
                # What only options need is not there, and not missed.
                wanted = [each for each in file.dependency if _is_there(each, names)]
                del file.dependency[:], file.public_dependency[:]
                file.dependency.extend(wanted)
                pool.AddSerializedFile(file.SerializeToString())
            self._file = pool.FindFileByName(_FILE)
        except (TypeError, KeyError, ValueError) as error:
            message = f"expected a Protobuf schema, received one that cannot be used: {error}"
            raise ValueError(brief(message, 400)) from None
        self._readers: dict[tuple[int, ...], tuple[type[Message], Convert]] = {}
        self._converters: dict[str, Convert] = {}

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds.

        Parameters
        ----------
        value
            Begins with the indexes that say which message of the file it is.

        Raises
        ------
        RecordDecodeError
            If it does not fit the schema: bad data.
        """
        indexes, start = _read_indexes(value)
        return self.read_message(tuple(indexes), value[start:])

    def read_message(self, indexes: tuple[int, ...], content: bytes) -> Any:
        """Return what a message holds.

        Parameters
        ----------
        indexes
            Which message of the file it is, those of the messages around it first.
        content
            The message and nothing else.

        Raises
        ------
        RecordDecodeError
            If it does not fit the schema: bad data.
        """
        message, convert = self._reader(indexes)
        try:
            return convert(message.FromString(content))
        except (DecodeError, ValueError, OverflowError) as error:
            kind = message.DESCRIPTOR.full_name
            text = f"Protobuf: expected a {kind}, received {content[:20]!r}: {error}"
            raise RecordDecodeError(text) from None

    def values_of(self, name: str | None) -> "ProtobufValues":
        """Return what reads values of one message that do not name it.

        Parameters
        ----------
        name
            Of the message, with or without its package; None for the only one of the file.

        Raises
        ------
        ValueError
            If the file has no such message, or several where none is named.
        """
        messages = list(_messages(self._file.message_types_by_name.values()))
        found = [indexes for indexes, _ in messages]
        if name is None:
            found = [indexes for indexes in found if len(indexes) == 1]
        else:
            full_names = (name, f"{self._file.package}.{name}".removeprefix("."))
            found = [indexes for indexes, each in messages if each.full_name in full_names]
        if len(found) != 1:
            known = ", ".join(each.full_name for _, each in messages)
            text = f"expected one of the messages {known}, received {name or 'none'}"
            raise ValueError(brief(text, 400))
        return ProtobufValues(self, found[0])

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return what many values hold, None where one of them does not fit."""
        try:
            return list(map(self.read_document, values))
        except RecordDecodeError:
            return None

    def _reader(self, indexes: tuple[int, ...]) -> tuple[type[Message], Convert]:
        """Return the class of a message of the file, and what makes a document of it."""
        found = self._readers.get(indexes)
        if found is None:
            descriptor = self._find(indexes)
            found = GetMessageClass(descriptor), self._converter(descriptor)
            self._readers[indexes] = found
        return found

    def _find(self, indexes: Sequence[int]) -> Descriptor:
        """Return the message that indexes name, those of the messages around it first."""
        messages = list(self._file.message_types_by_name.values())
        found: Descriptor | None = None
        for index in indexes:
            if not 0 <= index < len(messages):
                text = f"Protobuf: expected the index of a message, received {list(indexes)}"
                raise RecordDecodeError(text)
            found = messages[index]
            messages = list(found.nested_types)
        assert found is not None  # noqa: S101  (there is at least one index)
        return found

    def _converter(self, descriptor: Descriptor) -> Convert:
        """Return what makes a document of a message."""
        name = descriptor.full_name
        if name in _SPECIAL:
            return _SPECIAL[name]
        if name not in self._converters:
            readers: list[tuple[str, Convert]] = []
            self._converters[name] = lambda message: {
                field: read(message) for field, read in readers
            }
            readers += [(each.name, self._field(each)) for each in descriptor.fields]
        return self._converters[name]

    def _field(self, field: FieldDescriptor) -> Convert:
        """Return what reads a field of a message."""
        name = field.name
        convert = self._value(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_value = self._value(field.message_type.fields_by_name["value"])
            return lambda message: {
                str(key): of_value(each) for key, each in getattr(message, name).items()
            }
        if field.is_repeated:
            return lambda message: list(map(convert, getattr(message, name)))
        if field.has_presence and not field.has_default_value:
            return lambda message: (
                convert(getattr(message, name)) if message.HasField(name) else None
            )
        return lambda message: convert(getattr(message, name))

    def _value(self, field: FieldDescriptor) -> Convert:
        """Return what makes a number, a text or a document of one value."""
        if field.message_type is not None:
            return self._converter(field.message_type)
        if field.enum_type is not None:
            return _names_of(field.enum_type)
        return _as_it_is


class ProtobufValues:
    """Reads values of one message, as `stream_detector.core.codec.schemas.Schema`.

    Parameters
    ----------
    schema
        Has the message.
    indexes
        Which one it is, as in `ProtobufSchema.read_message`.
    """

    layout: AvroLayout | None = None

    def __init__(self, schema: ProtobufSchema, indexes: tuple[int, ...]) -> None:
        self._schema = schema
        self._indexes = indexes

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds.

        Raises
        ------
        RecordDecodeError
            If it does not fit the schema: bad data.
        """
        try:
            return self._schema.read_message(self._indexes, value)
        except RecordDecodeError as error:
            if not value.startswith(b"\0"):
                raise
            text = f"{error}; for values after the id of a schema set schema_registry_url"
            raise RecordDecodeError(text) from None

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return what many values hold, None where one of them does not fit."""
        try:
            return list(map(self.read_document, values))
        except RecordDecodeError:
            return None


def _messages(
    descriptors: Iterable[Descriptor], around: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Descriptor]]:
    """Yield all messages with their indexes, but for those that are items of maps."""
    for number, each in enumerate(descriptors):
        if not each.GetOptions().map_entry:
            yield (*around, number), each
            yield from _messages(each.nested_types, (*around, number))


def _as_it_is(value: Any) -> Any:
    """Return a value."""
    return value


def _names_of(enum: EnumDescriptor) -> Convert:
    """Return what makes a name of a number, of an unknown one the number."""
    names: Mapping[int, str] = {each.number: each.name for each in enum.values}
    return lambda number: names.get(number, number)


def _iso(timestamp: Any) -> str:
    """Return a timestamp as text."""
    text: str = timestamp.ToJsonString()
    return text


_SPECIAL: Mapping[str, Convert] = {
    "google.protobuf.Timestamp": _iso,
    **{
        f"google.protobuf.{name}Value": lambda wrapper: wrapper.value
        for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")
    },
}
"""Messages that stand for a single value."""


def _is_there(name: str, references: set[str]) -> bool:
    """Return whether an imported file is known."""
    own = name.removeprefix(_WELL_KNOWN).removesuffix(".proto")
    return name in references or (name.startswith(_WELL_KNOWN) and own in KNOWN)


def _read_indexes(value: bytes) -> tuple[list[int], int]:
    """Return the indexes of a message, and where the message begins.

    They are numbers as zigzag, their count first; no index means the first message.
    """
    count, at = _read_number(value, 0)
    if not 0 <= count <= _INDEXES_MAX:
        text = f"Protobuf: expected the indexes of a message, received {value[:20]!r}"
        raise RecordDecodeError(text)
    indexes = []
    for _ in range(count):
        index, at = _read_number(value, at)
        indexes.append(index)
    return indexes or [0], at


def _read_number(value: bytes, at: int) -> tuple[int, int]:
    """Return a number as zigzag, and where the next one begins."""
    bits = 0
    for shift in range(_VARINT_BYTES_MAX):
        if at >= len(value):
            break
        byte = value[at]
        at += 1
        bits |= (byte & _LOW_BITS) << 7 * shift
        if byte <= _LOW_BITS:
            return (bits >> 1) ^ -(bits & 1), at
    text = f"Protobuf: expected the indexes of a message, received {value[:20]!r}"
    raise RecordDecodeError(text)
