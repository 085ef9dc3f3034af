"""Bytes to arrays: records that each hold one whole window.

Pure. What cannot be decoded comes back as a value (`Rejected`), never as an
exception, so one bad record costs its neighbours nothing. Formats are in
the README, section "Record format".
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from stream_detector.core.codec.formats import Decoded, all_have_length, nothing_there
from stream_detector.core.codec.image_format import (
    IMAGE_TYPES,
    ImageFormat,
    ImageShape,
    decode_images,
)
from stream_detector.core.records import Headers, Rejected
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordShapeError,
    RecordValueError,
)

ContentType = Literal["json", "float32", "image"]
"""What records without a header are; an image is PNG, JPEG or raw by its bytes."""

Format = Literal["json", "float32", "png", "jpeg", "uint8"]
"""What a header can name, and a replay can write."""

CONTENT_TYPES: Mapping[str, bytes] = {
    "json": b"application/json",
    "float32": b"application/vnd.stream-detector.float32",
}
"""What the `content-type` header says for each format of numbers; `IMAGE_TYPES` has the others."""

TIMESTAMP_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: a larger number is not a time in milliseconds."""

_FORMATS = {name: format_ for format_, name in CONTENT_TYPES.items()}
_IMAGE_FORMATS = _FORMATS | {name: format_ for format_, name in IMAGE_TYPES.items()}
_BOM = 0xEF
"""First byte of a byte order mark, which one parser forgives and the other does not."""
_NOT_FAST = (ValueError, TypeError, KeyError, AttributeError, RuntimeError)


def decode_windows(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    shape: tuple[int, int],
    content_type: ContentType,
    first_index: int = 0,
    image: ImageShape | None = None,
) -> Decoded:
    """Decode records that each hold one window.

    Parameters
    ----------
    values
        Record values, None for a tombstone. Length n_records.
    headers
        Headers of each record, or None where no record has any.
    shape
        (n_steps, n_features) of a window.
    content_type
        Format of records whose headers do not name one.
    first_index
        Index in the batch of the first of these records.
    image
        What the images are where the bundle takes images; their `window` is `shape`. None refuses
        images.

    Returns
    -------
    Windows and rejected records; together as many as there are records. No records give no
    windows.
    """
    if headers is None or not any(headers):
        indices = np.arange(first_index, first_index + len(values))
        return _decode_all(values, indices, image or shape, content_type)
    formats = _FORMATS if image is None else _IMAGE_FORMATS
    groups, rejected = group_formats(headers, content_type, formats)
    parts = [
        _decode_all(
            [values[row] for row in rows], np.array(rows) + first_index, image or shape, format_
        )
        for format_, rows in groups.items()
    ]
    unknown = [Rejected(first_index + row, error) for row, error in rejected]
    return _merge(parts, unknown, shape)


def group_formats(
    headers: Sequence[Headers | None],
    content_type: str,
    formats: Mapping[bytes, str] = _FORMATS,
) -> tuple[dict[str, list[int]], list[tuple[int, RecordDecodeError]]]:
    """Return the rows of each format, and those whose header names an unknown one.

    Parameters
    ----------
    headers
        Headers of each record, None or empty where it has none.
    content_type
        Format of records whose headers do not name one.
    formats
        What a header may name, each with its format.
    """
    groups: dict[str, list[int]] = {}
    rejected = []
    for row, header in enumerate(headers):
        try:
            groups.setdefault(_format_of(header, content_type, formats), []).append(row)
        except RecordDecodeError as error:
            rejected.append((row, error))
    return groups, rejected


def _format_of(header: Headers | None, content_type: str, formats: Mapping[bytes, str]) -> str:
    """Return the format a record's `content-type` header names, or the given one."""
    for name, value in header or ():
        if name.lower() == "content-type":
            media_type = (value or b"").split(b";")[0].strip().lower()
            if media_type not in formats:
                known = ", ".join(sorted(name.decode() for name in formats))
                message = (
                    f"unknown content type: expected one of {known}, received "
                    f"{(value or b'').decode(errors='backslashreplace')!r}"
                )
                raise RecordDecodeError(message)
            return formats[media_type]
    return content_type


def _decode_all(
    values: Sequence[bytes | None],
    indices: NDArray[np.intp],
    shape: tuple[int, int] | ImageShape,
    format_: str,
) -> Decoded:
    """Decode records of one format; `indices` says which record of the batch each one is."""
    window = shape.window if isinstance(shape, ImageShape) else shape
    if format_ == "json":
        return _decode_json(values, indices, window)
    if format_ == "float32":
        return _decode_float32(values, indices, window)
    if isinstance(shape, ImageShape):
        return decode_images(values, indices, shape, cast("ImageFormat", format_))
    message = f"content_type: expected json or float32 for this bundle, received {format_!r}"
    raise ValueError(message)


def _merge(parts: list[Decoded], rejected: list[Rejected], shape: tuple[int, int]) -> Decoded:
    """Put the windows of several formats back into the order of the batch."""
    if len(parts) == 1 and not rejected:
        return parts[0]
    indices = np.concatenate([part.indices for part in parts] + [np.empty(0, np.intp)])
    windows = np.concatenate([part.windows for part in parts] + [np.empty((0, *shape), np.float32)])
    timestamps_ms: dict[int, int] = {}
    for part in parts:
        timestamps_ms.update(part.timestamps_ms)
        rejected.extend(part.rejected)
    order = np.argsort(indices)
    rejected.sort(key=lambda each: each.index)
    return Decoded(indices[order], windows[order], timestamps_ms, rejected)


def _decode_float32(
    values: Sequence[bytes | None], indices: NDArray[np.intp], shape: tuple[int, int]
) -> Decoded:
    """Decode little-endian float32 values: one join and one view for all records."""
    n_bytes = 4 * shape[0] * shape[1]
    rejected: list[Rejected] = []
    if not all_have_length(values, n_bytes):
        is_fitting = np.array([value is not None and len(value) == n_bytes for value in values])
        for row in np.flatnonzero(~is_fitting).tolist():
            error = _explain_float32(values[row], shape)
            rejected.append(Rejected(int(indices[row]), error))
        values = [values[row] for row in np.flatnonzero(is_fitting).tolist()]
        indices = indices[is_fitting]
    joined = b"".join(values)  # type: ignore[arg-type]
    windows = np.frombuffer(joined, dtype="<f4").reshape(-1, *shape)
    windows = windows.astype(np.float32, copy=False)  # another byte order only
    return Decoded(indices, windows, {}, rejected)


def _explain_float32(value: bytes | None, shape: tuple[int, int]) -> DataError:
    """Return what is wrong with a value that is no float32 window."""
    if not value:
        return nothing_there(value)
    if len(value) % 4:
        return RecordDecodeError(
            f"float32 value: expected a multiple of 4 bytes, received {len(value)} bytes"
        )
    return _wrong_shape(f"{len(value) // 4} values", shape)


def _decode_json(
    values: Sequence[bytes | None], indices: NDArray[np.intp], shape: tuple[int, int]
) -> Decoded:
    """Decode JSON objects, each fast where it is plain and slowly where it is not."""
    parser = simdjson.Parser()
    buffers: list[Any] = []
    kept: list[int] = []
    rejected: list[Rejected] = []
    timestamps_ms: dict[int, int] = {}
    n_steps, n_features = shape
    for index, value in zip(indices.tolist(), values, strict=True):
        fast = _read_plain(parser, value, n_steps) if n_features == 1 and value else None
        try:
            buffer, timestamp_ms = fast or _read_json(value, shape)
        except DataError as error:
            rejected.append(Rejected(index, error))
            continue
        buffers.append(buffer)
        kept.append(index)
        if timestamp_ms is not None:
            timestamps_ms[index] = timestamp_ms
    doubles = np.frombuffer(b"".join(buffers), dtype=np.float64)
    with np.errstate(over="ignore"):  # infinite is found where the windows are checked
        windows = doubles.astype(np.float32).reshape(-1, *shape)
    return Decoded(np.asarray(kept, dtype=np.intp), windows, timestamps_ms, rejected)


def _read_plain(parser: Any, value: bytes, n_steps: int) -> tuple[Any, int | None] | None:
    """Read `{"values": [..]}` with one flat array of the right length; None for all else.

    The document must be gone before the parser is used again, hence a function of its own.
    """
    try:
        document = parser.parse(value)
        array = document["values"]
        if len(array) != n_steps or value.find(b"[") != value.rfind(b"[") or value[0] == _BOM:
            return None
        buffer = array.as_buffer(of_type="d")
        if len(document) == 1:
            return buffer, None
        timestamp_ms = document.get("timestamp_ms")
        if len(set(document)) < len(document):  # the other parser takes the last of equal keys
            return None
    except _NOT_FAST:
        return None
    if timestamp_ms is not None and not is_timestamp(timestamp_ms):
        return None
    return buffer, timestamp_ms


def _read_json(value: bytes | None, shape: tuple[int, int]) -> tuple[bytes, int | None]:
    """Read one record in full and name exactly what is wrong with it."""
    if not value:
        raise nothing_there(value)
    document = parse_json(value)
    if not isinstance(document, dict) or "values" not in document:
        found = sorted(document) if isinstance(document, dict) else type(document).__name__
        message = f'JSON value: expected an object with "values", received {str(found)[:80]}'
        raise RecordDecodeError(message)
    timestamp_ms = document.get("timestamp_ms")
    if timestamp_ms is not None and not is_timestamp(timestamp_ms):
        message = (
            "timestamp_ms: expected whole milliseconds since 1970 up to the year 9999, "
            f"received {str(timestamp_ms)[:80]!r}"
        )
        raise RecordValueError(message)
    return _read_values(document["values"], shape).tobytes(), timestamp_ms


def parse_json(value: bytes) -> Any:
    """Parse JSON; a NaN or Infinity in it is a bad value, anything else is bad JSON."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    message = f"not JSON: {reason}"
    if _holds_non_finite(value):
        message = "JSON value holds NaN or an infinity; expected finite numbers"
        raise RecordValueError(message)
    raise RecordDecodeError(message)


def _holds_non_finite(value: bytes) -> bool:
    """Return whether a value is JSON but for numbers that no double holds."""
    found: list[float] = []

    def note(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            found.append(number)
        return number

    try:
        json.loads(value.decode(), parse_constant=note, parse_float=note, parse_int=note)
    except (ValueError, RecursionError):
        return False
    return bool(found)


def _read_values(values: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the numbers of `"values"`, flat or nested, as one array of n_steps * n_features."""
    n_steps, n_features = shape
    if not isinstance(values, list):
        message = f'"values": expected an array, received {type(values).__name__}'
        raise RecordDecodeError(message)
    is_nested = bool(values) and all(type(row) is list for row in values)
    if not is_nested and n_features > 1:
        received = f"a flat array of {len(values)}"
        raise _wrong_shape(received, shape)
    if len(values) != n_steps:
        received = f"{len(values)} steps"
        raise _wrong_shape(received, shape)
    rows = values if is_nested else [[value] for value in values]
    for step, row in enumerate(rows):
        if not set(map(type, row)) <= {int, float}:
            message = f"values[{step}]: expected numbers, received {str(values[step])[:40]!r}"
            raise RecordDecodeError(message)
        if is_nested and len(row) != n_features:
            received = f"{len(row)} features at values[{step}]"
            raise _wrong_shape(received, shape)
    return np.array(rows, dtype=np.float64).ravel()


def is_timestamp(value: object) -> bool:
    """Return whether a JSON value is a time in whole milliseconds."""
    return type(value) is int and 0 <= value <= TIMESTAMP_MS_MAX


def _wrong_shape(received: str, shape: tuple[int, int]) -> RecordShapeError:
    """Return the error for another number of values than the bundle's."""
    n_steps, n_features = shape
    features = f" of {n_features} features" if n_features > 1 else ""
    return RecordShapeError(f"expected {n_steps} steps{features}, received {received}")
