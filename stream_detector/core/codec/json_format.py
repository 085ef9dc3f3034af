"""The record format `json`: an object whose `"values"` are numbers.

Pure. A window is `{"values": [1, 2, 3]}`, or `{"values": [[1, 2], [3, 4]]}` with one inner array a
step, and may give `"timestamp_ms"`, its start in whole milliseconds since 1970. Samples look the
same, one inner array each, or an object that names the features, in any order; a single one
needs no outer array. `"timestamp_ms"` is then the time of the first one, or
`"timestamps_ms"` gives one time each, with or without a fraction; null is a missing value.

Plain documents take a fast path. Any other document is parsed a second time by a slow path that
names exactly what is wrong with it; both give the same values, bit for bit.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import (
    PREFIX_BYTES,
    Decoded,
    RawSamples,
    without_prefix,
    wrong_shape,
)
from stream_detector.core.codec.json_samples import (
    NOT_PLAIN,
    NUMBERS,
    TIME,
    TIMES,
    VALUES,
    nested,
    plain_numbers,
    plain_times,
    sample_times,
    sample_values,
)
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Rejected
from stream_detector.core.timestamps import SECONDS_MAX, TIMESTAMP_MS_MAX, invalid_time
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordValueError,
)
from stream_detector.text import brief, json_kind

OWN = "values"
"""Name of a media type whose records look as here whatever `[input]` says of others."""

MEDIA_TYPES = {"json": b"application/json", OWN: b"application/vnd.stream-detector.values+json"}
"""What the `content-type` header says for this format."""

_BOM = 0xEF
"""First byte of a byte order mark, which simdjson skips and orjson refuses."""


def decode_windows(
    values: Sequence[bytes], indices: NDArray[np.intp], shape: tuple[int, int]
) -> Decoded:
    """Decode records that each hold one window.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    indices
        Which record of the batch each one is, shape (n_records,).
    shape
        (n_steps, n_features) of a window.
    """
    parser = simdjson.Parser()
    buffers: list[Any] = []
    kept: list[int] = []
    rejected: list[Rejected] = []
    timestamps_ms: dict[int, int] = {}
    n_steps, n_features = shape
    for index, value in zip(indices.tolist(), without_prefix(values) or values, strict=True):
        plain = read_plain_window(parser, value, n_steps) if n_features == 1 else None
        try:
            buffer, timestamp_ms = plain or read_window(value, shape)
        except DataError as error:
            rejected.append(Rejected(index, error))
            continue
        buffers.append(buffer)
        kept.append(index)
        if timestamp_ms is not None:
            timestamps_ms[index] = timestamp_ms
    doubles = np.frombuffer(b"".join(buffers), dtype=np.float64)
    windows = doubles.reshape(-1, *shape)  # (n_windows, n_steps, n_features)
    return Decoded(np.asarray(kept, dtype=np.intp), windows, timestamps_ms, rejected)


def read_plain_window(parser: Any, value: bytes, n_steps: int) -> tuple[Any, int | None] | None:
    """Return the numbers and the time of a document with one flat array of the right length.

    The document must be released before the parser is used again, hence a function of its own.

    Returns
    -------
    A buffer of n_steps float64 values, and the time or None. None for any other document.
    """
    try:
        document = parser.parse(value)
        array = document[VALUES]
        if len(array) != n_steps or value.find(b"[") != value.rfind(b"[") or value[0] == _BOM:
            return None
        buffer = array.as_buffer(of_type="d")
        if len(document) == 1:
            return buffer, None
        timestamp_ms = document.get(TIME)
        if len(set(document)) < len(document):  # of equal keys, orjson takes the last
            return None
    except NOT_PLAIN:
        return None
    if timestamp_ms is not None and not _is_whole_time(timestamp_ms):
        return None
    return buffer, timestamp_ms


def read_window(value: bytes, shape: tuple[int, int]) -> tuple[bytes, int | None]:
    """Return the numbers and the time of one document, or name exactly what is wrong with it.

    Returns
    -------
    n_steps * n_features float64 values as bytes, and the time or None.

    Raises
    ------
    DataError
        If the value holds no window of this shape: bad data.
    """
    document = _parse_object(value)
    timestamp_ms = document.get(TIME)
    if timestamp_ms is not None and not _is_whole_time(timestamp_ms):
        raise invalid_time(TIME, timestamp_ms, "whole milliseconds")
    return _window_values(document[VALUES], shape).tobytes(), timestamp_ms


def decode_samples(
    values: Sequence[bytes], rows: NDArray[np.intp], features: Features
) -> RawSamples:
    """Decode records that each hold one or more samples.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    features
        Values of a sample, in order.
    """
    plain = _read_plain_samples(values, rows, features)
    if plain is None and (bare := without_prefix(values)) is not None:
        plain = _read_plain_samples(bare, rows, features)
    if plain is not None:
        return plain
    kept: list[int] = []
    samples: list[NDArray[np.float64]] = []
    first_ms: list[float] = []
    each_ms: dict[int, list[float]] = {}
    rejected: list[tuple[int, DataError]] = []
    for row, value in zip(rows.tolist(), values, strict=True):
        try:
            array, times = _read_samples(value, features)
        except DataError as error:
            rejected.append((row, error))
            continue
        kept.append(row)
        samples.append(array)
        first_ms.append(math.nan if times is None or isinstance(times, list) else times)
        if isinstance(times, list):
            each_ms[row] = times
    return RawSamples(
        rows=np.array(kept, dtype=np.intp),
        counts=np.array([len(array) for array in samples], dtype=np.intp),
        values=np.concatenate([np.empty((0, len(features))), *samples]),
        first_ms=np.array(first_ms, dtype=np.float64),
        each_ms=each_ms,
        rejected=rejected,
    )


def read_document(value: bytes, mapping: InputMapping) -> Any:
    """Return what a record that another program wrote holds.

    Raises
    ------
    DataError
        If it is no JSON: bad data.
    """
    del mapping
    return parse_json(value)


def encode_window(window: FloatArray) -> bytes:
    """Return one window, shape (n_steps, n_features), as a record's value."""
    # A float64 holds a float32 exactly, and its shortest decimal form reads back exactly.
    exact = window.astype(np.float64)  # (n_steps, n_features)
    rows = exact[:, 0] if exact.shape[1] == 1 else exact
    return orjson.dumps({VALUES: rows.tolist()})


def encode_samples(values: FloatArray, times_ms: float | list[float] | None = None) -> bytes:
    """Return samples, shape (n_samples, n_features), as a record's value; NaN becomes null.

    Parameters
    ----------
    values
        Float32; NaN is a missing value.
    times_ms
        Milliseconds since 1970-01-01 UTC: the time of the first sample, or a list with the time
        of each one. None gives no time.
    """
    exact = np.ascontiguousarray(values, dtype=np.float64)  # (n_samples, n_features)
    document: dict[str, Any] = {VALUES: exact}
    if isinstance(times_ms, list):
        document[TIMES] = [_shortest(time_ms) for time_ms in times_ms]
    elif times_ms is not None:
        document[TIME] = _shortest(times_ms)
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _shortest(time_ms: float) -> float:
    """Return a time as an int where it is a whole number, so that JSON shows no fraction."""
    return int(time_ms) if float(time_ms).is_integer() else time_ms


def _parse_object(value: bytes) -> dict[str, Any]:
    """Return the JSON object of a record's value, which has `"values"`."""
    document = parse_json(value)
    if not isinstance(document, dict) or VALUES not in document:
        found = sorted(document) if isinstance(document, dict) else json_kind(document)
        message = (
            f'JSON value: expected an object with "values", received {brief(found, 80)}; the '
            "recipe's [input] says where values are in other records"
        )
        raise RecordDecodeError(message)
    return document


def parse_json(value: bytes) -> Any:
    """Parse JSON; NaN and Infinity are a bad value, anything else that fails is bad JSON.

    The prefix of a Schema Registry is skipped.

    Raises
    ------
    RecordValueError, RecordDecodeError
        If it is no JSON: bad data.
    """
    if value.startswith(b"\0"):
        value = value[PREFIX_BYTES:]
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    message = f"not JSON: {reason}"
    if _has_non_finite(value):
        message = "JSON value holds NaN or an infinity; expected finite numbers"
        raise RecordValueError(message)
    raise RecordDecodeError(message)


def _has_non_finite(value: bytes) -> bool:
    """Return whether a value would be JSON but for numbers that float64 cannot hold."""
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


def _window_values(values: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the numbers of `"values"`, flat or nested, shape (n_steps * n_features,)."""
    n_steps, n_features = shape
    if not isinstance(values, list):
        message = f'"values": expected an array, received {json_kind(values)}'
        raise RecordDecodeError(message)
    is_nested = bool(values) and all(type(row) is list for row in values)
    if not is_nested and n_features > 1:
        received = f"a flat array of {len(values)}"
        raise wrong_shape(received, shape)
    if len(values) != n_steps:
        received = f"{len(values)} steps"
        raise wrong_shape(received, shape)
    rows = values if is_nested else [[value] for value in values]
    for step, row in enumerate(rows):
        if not set(map(type, row)) <= NUMBERS:
            message = f"values[{step}]: expected numbers, received {brief(values[step])!r}"
            raise RecordDecodeError(message)
        if is_nested and len(row) != n_features:
            received = f"{len(row)} features at values[{step}]"
            raise wrong_shape(received, shape)
    return np.array(rows, dtype=np.float64).ravel()  # (n_steps * n_features,)


def _read_plain_samples(
    values: Sequence[bytes], rows: NDArray[np.intp], features: Features
) -> RawSamples | None:
    """Return all samples where every record has numbers and one time; else None."""
    try:
        documents = list(map(orjson.loads, values))
        lists = [document[VALUES] for document in documents]
        first_ms = plain_times(documents)  # (n_records,)
        lists = nested(lists, features)
        numbers = plain_numbers(lists, features)  # (n_samples, n_features)
    except NOT_PLAIN:
        return None
    if numbers is None or first_ms is None:
        return None
    counts = np.fromiter(map(len, lists), np.intp, len(lists))  # (n_records,)
    return RawSamples(rows, counts, numbers, first_ms, {}, [])


def _read_samples(
    value: bytes, features: Features
) -> tuple[NDArray[np.float64], float | list[float] | None]:
    """Return the samples and times of one document, or name exactly what is wrong with it."""
    try:
        document = _parse_object(value)
    except RecordValueError as error:
        message = f"{error}, or null for a missing value"
        raise RecordValueError(message) from None
    samples = sample_values(document[VALUES], features)  # (n_samples, n_features)
    return samples, sample_times(document, len(samples))


def _is_whole_time(value: object) -> bool:
    """Return whether a JSON value is a time in whole milliseconds, and not in another unit.

    The time of a whole window only dates its alert. So nothing is gained by times that count from
    another beginning, while samples may have such.
    """
    return type(value) is int and SECONDS_MAX <= value <= TIMESTAMP_MS_MAX
