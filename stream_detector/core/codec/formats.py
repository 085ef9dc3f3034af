"""The registry of record formats: which formats there are, and how a record names its own.

Pure. A new format is one module, with functions that take and give what `RecordFormat` says, and
one entry in `FORMATS`. Everything else follows from the entry: the content types that a header may
name and that `replay --format` writes, the values of the setting `content_type`, the defaults, and
what an error lists as known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec import (
    csv_format,
    float32_format,
    image_format,
    influx_format,
    json_format,
)
from stream_detector.core.codec.decoding import Decoded, RawSamples
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Headers, Unreadable
from stream_detector.errors import DataError, RecordDecodeError

Indices = NDArray[np.intp]

RecordShape = Literal["window", "samples", "image", "mapped"]
"""What each record of a topic holds: a whole window, one or more samples, an image, or a document
in which a mapping says where samples are."""

CONTENT_TYPE_HEADER = "content-type"
"""Header that names the format of a record's value; upper and lower case are the same."""

AVRO_MEDIA_TYPES: Mapping[str, bytes] = {
    "avro": b"application/avro",
    "avro-binary": b"avro/binary",
    "avro-apache": b"application/vnd.apache.avro+binary",
}
"""What the `content-type` header says for Avro, of which no name is registered."""

PROTOBUF_MEDIA_TYPES: Mapping[str, bytes] = {
    "protobuf": b"application/protobuf",
    "x-protobuf": b"application/x-protobuf",
    "google-protobuf": b"application/vnd.google.protobuf",
}
"""Likewise for Protobuf."""

_EXPECTED: Mapping[RecordShape, str] = {
    "window": "a window",
    "samples": "samples",
    "image": "an image",
    "mapped": "samples",
}


def unsupported(*arguments: object) -> NoReturn:
    """Stand in for a function that a format does not have; whoever looks formats up skips it."""
    del arguments
    message = "this format does not hold such records"
    raise ValueError(message)


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """One format of record values: its names, and functions for the record shapes it can hold.

    Parameters
    ----------
    name
        What the setting `content_type` calls it.
    media_types
        What the `content-type` header says, by the name under which `replay` writes it. Most
        formats have one; images have one each for PNG, JPEG and raw pixels.
    decode_windows, encode_window
        For records that each hold one window: values, their record indices and (n_steps,
        n_features) in, `Decoded` out; and the inverse for one window.
    decode_samples, encode_samples
        For records that each hold samples: values, their record indices and the features in,
        `RawSamples` out; and the inverse for samples and their times.
    decode_images, encode_image
        For records that each hold one image: values, their record indices, the image's shape, and
        the name of the media type (or of the format where no header named one) in, `Decoded` out;
        and the inverse for pixels, n_channels and the name of a media type.
    read_document
        For records that another program wrote: the value of one and the mapping in, what the value
        holds as dicts, lists, texts and numbers out. Raises a `DataError` for one that holds none.
    schema_type
        What a Schema Registry calls schemas of this format. Records of it name their schema, and
        that reads them; "" for a format without.
    time_header
        Header with the time of a record's first sample, where the value has no place for it.
    """

    name: str
    media_types: Mapping[str, bytes]
    decode_windows: Callable[[Sequence[bytes], Indices, tuple[int, int]], Decoded] = unsupported
    encode_window: Callable[[FloatArray], bytes] = unsupported
    decode_samples: Callable[[Sequence[bytes], Indices, Features], RawSamples] = unsupported
    encode_samples: Callable[[FloatArray, float | list[float] | None], bytes] = unsupported
    decode_images: Callable[[Sequence[bytes], Indices, ImageShape, str], Decoded] = unsupported
    encode_image: Callable[[FloatArray, int, str], bytes] = unsupported
    read_document: Callable[[bytes, InputMapping], Any] = unsupported
    schema_type: str = ""
    time_header: str | None = None

    @property
    def holds_windows(self) -> bool:
        """Whether records of this format can be windows."""
        return self.decode_windows is not unsupported

    @property
    def holds_samples(self) -> bool:
        """Whether records of this format can be samples."""
        return self.decode_samples is not unsupported

    @property
    def holds_documents(self) -> bool:
        """Whether records of this format can be read by a mapping."""
        return self.read_document is not unsupported or bool(self.schema_type)

    @property
    def holds_images(self) -> bool:
        """Whether records of this format can be images."""
        return self.decode_images is not unsupported

    def serves(self, shape: RecordShape) -> bool:
        """Return whether records of a shape can have this format; a window can be an image."""
        if shape == "samples":
            return self.holds_samples
        if shape == "mapped":
            return self.holds_documents or self.holds_samples
        return self.holds_windows or (shape == "image" and self.holds_images)


FORMATS = (
    RecordFormat(
        "json",
        json_format.MEDIA_TYPES,
        decode_windows=json_format.decode_windows,
        encode_window=json_format.encode_window,
        decode_samples=json_format.decode_samples,
        encode_samples=json_format.encode_samples,
        read_document=json_format.read_document,
    ),
    RecordFormat(
        "float32",
        float32_format.MEDIA_TYPES,
        decode_windows=float32_format.decode_windows,
        encode_window=float32_format.encode_window,
        decode_samples=float32_format.decode_samples,
        encode_samples=float32_format.encode_samples,
        time_header=float32_format.TIME_HEADER,
    ),
    RecordFormat(
        "image",
        image_format.MEDIA_TYPES,
        decode_images=image_format.decode_images,
        encode_image=image_format.encode_image,
    ),
    RecordFormat("csv", csv_format.MEDIA_TYPES, read_document=csv_format.read_document),
    RecordFormat("influx", influx_format.MEDIA_TYPES, read_document=influx_format.read_document),
    RecordFormat("avro", AVRO_MEDIA_TYPES, schema_type="AVRO"),
    RecordFormat("protobuf", PROTOBUF_MEDIA_TYPES, schema_type="PROTOBUF"),
)
"""Every record format, the default of windows and samples first."""

CONTENT_TYPES: Mapping[str, bytes] = {
    name: media_type
    for each in FORMATS
    for name, media_type in each.media_types.items()
    if each.holds_windows or each.holds_samples or each.holds_images
}
"""What the `content-type` header says, by the name under which `replay` writes a format."""

if TYPE_CHECKING:
    ContentType = str
    DocumentFormat = str
    FormatName = str
else:
    ContentType = Literal[tuple(each.name for each in FORMATS)]
    DocumentFormat = Literal[tuple(each.name for each in FORMATS if each.holds_documents)]
    FormatName = Literal[tuple(CONTENT_TYPES)]
# ContentType is the format of records without a header, a value of the setting `content_type`;
# DocumentFormat is one that a mapping can read; FormatName is what a header can name and `replay`
# can write. Type checkers see text, and what reads options while the program runs sees the names,
# so that a format is registered only once.


class FormatGroup(NamedTuple):
    """The records of a batch that have one format.

    Parameters
    ----------
    format
        The format.
    name
        Name of the media type that their headers name, or of the format where they name none.
    rows
        Which records, ascending.
    """

    format: RecordFormat
    name: str
    rows: range | list[int]


def formats_of(shape: RecordShape) -> Mapping[str, bytes]:
    """Return the media types of the formats that records of a shape can have, by name."""
    return {
        name: media_type
        for each in FORMATS
        if each.serves(shape)
        for name, media_type in each.media_types.items()
    }


def find_format(name: str, shape: RecordShape) -> RecordFormat:
    """Return a format that records of a shape can have.

    Parameters
    ----------
    name
        Name of the format, or of one of its media types.
    shape
        What each record holds.

    Raises
    ------
    ValueError
        If records of this shape cannot have that format: the caller's mistake.
    """
    served = [each for each in FORMATS if each.serves(shape)]
    for each in served:
        if name == each.name or name in each.media_types:
            return each
    known = " or ".join(each.name for each in served)
    message = f"content_type: expected {known} for this bundle, received {name!r}"
    raise ValueError(message)


def default_format(shape: RecordShape) -> ContentType:
    """Return the format of records whose headers name none where no setting gives another.

    Examples
    --------
    >>> default_format("samples"), default_format("image")
    ('json', 'image')
    """
    if shape == "image":
        return next(each.name for each in FORMATS if each.holds_images)
    return next(each.name for each in FORMATS if each.serves(shape))


def group_by_format(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    content_type: ContentType | None,
    shape: RecordShape,
) -> tuple[list[FormatGroup], dict[int, DataError]]:
    """Return the records of each format, and the records that have none.

    A record that could not be read whole, a tombstone and an empty value are rejected before their
    format is looked up, so no format needs to think of them.

    Parameters
    ----------
    values
        Record values, None for a tombstone. Length n_records.
    headers
        Headers of each record, or None where no record has any.
    content_type
        Format of records whose headers do not name one; None takes `default_format`.
    shape
        What each record holds.

    Returns
    -------
    The groups, together with the rejected records as many as there are records; and the reason
    of each rejected record, by row. No records give no groups.

    Raises
    ------
    ValueError
        If records of this shape cannot have the format `content_type`: the caller's mistake.
    """
    content_type = content_type or default_format(shape)
    default = find_format(content_type, shape)
    rejected: dict[int, DataError] = {}
    if not all(values):
        rejected = {row: _no_value(each, shape) for row, each in enumerate(values) if not each}
    if headers is None or not any(headers):
        rows: range | list[int] = range(len(values))
        if rejected:
            rows = [row for row in rows if row not in rejected]
        return [FormatGroup(default, content_type, rows)] if rows else [], rejected
    groups: dict[str, list[int]] = {}
    names = {media_type: name for name, media_type in formats_of(shape).items()}
    spellings: dict[bytes | None, str | None] = {None: content_type}
    for row, header in enumerate(headers):
        if type(header) is Unreadable:
            rejected[row] = header.error
        if row in rejected:
            continue
        received = _content_type_of(header)
        if received not in spellings:
            media_type = (received or b"").split(b";")[0].strip().lower()
            if media_type not in names and media_type.endswith(b"+json"):
                media_type = b"application/json"  # RFC 6839: whatever else it is
            spellings[received] = names.get(media_type)
        name = spellings[received]
        if name is None:
            rejected[row] = _unknown_content_type(received, names)
        else:
            groups.setdefault(name, []).append(row)
    found = [FormatGroup(find_format(name, shape), name, rows) for name, rows in groups.items()]
    return found, rejected


def unreadable(
    headers: Sequence[Headers | None] | None, rejected: Mapping[int, DataError]
) -> dict[int, DataError]:
    """Return those of some rejected records that could not be read whole.

    Parameters
    ----------
    headers
        Headers of each record, or None where no record has any.
    rejected
        The reason of each rejected record, by row.
    """
    if headers is None:
        return {}
    return {row: error for row, error in rejected.items() if type(headers[row]) is Unreadable}


def select_records(
    values: Sequence[bytes | None], rows: range | list[int]
) -> tuple[Sequence[bytes], Indices]:
    """Return the values and the row numbers of some records, fast where they follow each other.

    Parameters
    ----------
    values
        Values of all records. Length n_records.
    rows
        Which records; none of them without a value.
    """
    if isinstance(rows, range):
        chosen = values if len(rows) == len(values) else values[rows.start : rows.stop]
        return cast("Sequence[bytes]", chosen), np.arange(rows.start, rows.stop)
    chosen = [values[row] for row in rows]
    return cast("Sequence[bytes]", chosen), np.array(rows, dtype=np.intp)


def _content_type_of(header: Headers | None) -> bytes | None:
    """Return the first content type in a record's headers, None where there is none."""
    for name, value in header or ():
        if name == CONTENT_TYPE_HEADER or name.lower() == CONTENT_TYPE_HEADER:
            return value or b""
    return None


def _unknown_content_type(received: bytes | None, names: Mapping[bytes, str]) -> RecordDecodeError:
    """Return the error for a header that names a format which records of this kind cannot have."""
    known = ", ".join(sorted(name.decode() for name in names))
    text = (received or b"").decode(errors="backslashreplace")
    return RecordDecodeError(f"unknown content type: expected one of {known}, received {text!r}")


def _no_value(value: bytes | None, shape: RecordShape) -> RecordDecodeError:
    """Return the error for a tombstone or an empty value."""
    received = "no value (a tombstone)" if value is None else "an empty value"
    return RecordDecodeError(f"expected {_EXPECTED[shape]}, received {received}")
