"""Bytes to samples: records that each hold one or more samples of one series.

Pure. As with whole windows, what cannot be decoded comes back as a value (`Rejected`). Records are
read in bulk, and one by one only where something in the bulk is not plain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.json_format import Read, not_a_time, nothing_there, read_json
from stream_detector.core.codec.windows import TIMESTAMP_MS_MAX, ContentType, group_formats
from stream_detector.core.records import FloatArray, Headers, Rejected, SeriesColumns
from stream_detector.core.timestamps import follow, keep
from stream_detector.errors import (
    DataError,
    RecordShapeError,
    RecordValueError,
)

TIME_HEADER = "timestamp-ms"
"""Of float32 records: the time of the first sample, decimal text of milliseconds. A Kafka record's
own time has no fraction."""

SECONDS_MIN, SECONDS_MAX = 1_000_000_000, 10_000_000_000
"""Seconds since 1970 from 2001 to 2286; as milliseconds they would all lie in early 1970."""

KEY_BYTES_MAX = 4096
"""Longest series key: what is remembered of a key must not be larger than its window."""

AHEAD_MS_MAX = 3_600_000
"""How far a record's samples may be ahead of its own time, the time that they take left out. One
clock far in the future would make all other keys of its partition look idle."""

_BULK = 4096


@dataclass(frozen=True, slots=True)
class DecodedSamples:
    """The samples found in some records.

    Parameters
    ----------
    indices
        Which record of the batch each usable record is, ascending, shape (n_records,).
    counts
        Samples in each, >= 1, shape (n_records,).
    times_ms
        Time of each sample as `times.keep` rounds it, float64, shape (n_samples,); not going
        backwards within a record.
    values
        Float32, C-contiguous, shape (n_samples, n_features), unit: the signal's; NaN is missing.
        May hold infinities; whoever scores checks.
    rejected
        Records that cannot be used, each with its reason.
    """

    indices: NDArray[np.intp]
    counts: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: FloatArray
    rejected: Sequence[Rejected]

    def without(self, errors: dict[int, DataError]) -> "DecodedSamples":
        """Return what is left when some records, by their row here, are put aside."""
        if not errors:
            return self
        stays = np.ones(len(self.indices), dtype=np.bool_)
        stays[list(errors)] = False
        samples = np.repeat(stays, self.counts)
        more = [Rejected(int(self.indices[row]), error, "check") for row, error in errors.items()]
        return DecodedSamples(
            self.indices[stays],
            self.counts[stays],
            self.times_ms[samples],
            self.values[samples],
            [*self.rejected, *more],
        )


def decode_samples(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    series: SeriesColumns,
    shape: tuple[int, float],
    content_type: ContentType,
) -> DecodedSamples:
    """Decode records that each hold samples of one series.

    Parameters
    ----------
    values
        Record values, None for a tombstone. Length n_records.
    headers
        Headers of each record, or None where no record has any.
    series
        Keys and times of the records.
    shape
        Features of a sample, and milliseconds between two samples of a record.
    content_type
        Format of records whose headers do not name one.
    """
    n_features, interval_ms = shape
    bad = _bad_keys(series.keys)
    if headers is None or not any(headers):
        groups: dict[str, range | list[int]] = {content_type: range(len(values))}
        unknown: list[tuple[int, DataError]] = []
    else:
        groups, unknown = group_formats(headers, content_type)  # type: ignore[assignment]
    rejected = list({**dict(unknown), **bad}.items())  # each record once
    parts = []
    for format_, rows in groups.items():
        usable = [row for row in rows if row not in bad] if bad else rows
        read = _read_float32 if format_ == "float32" else read_json
        for start in range(0, len(usable), _BULK):
            some = usable[start : start + _BULK]
            part = read(_pick(values, some), np.asarray(some, dtype=np.intp), n_features)
            if format_ == "float32" and headers is not None:
                part = _with_header_times(part, headers)
            parts.append(part)
            rejected += part.rejected
    return _timed(_joined(parts, n_features), rejected, series.timestamps_ms, interval_ms)


def _pick(values: Sequence[bytes | None], rows: range | Sequence[int]) -> Sequence[bytes | None]:
    """Return some of the values, at once where they follow each other."""
    if isinstance(rows, range):
        return values[rows.start : rows.stop]
    return [values[row] for row in rows]


def _bad_keys(keys: Sequence[bytes | None]) -> dict[int, DataError]:
    """Return what is wrong with keys that name no series, or are too long."""
    try:
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))  # type: ignore[arg-type]
    except TypeError:  # None has no length
        lengths = np.array([len(key) if key is not None else 0 for key in keys], np.int64)
    bad: dict[int, DataError] = {}
    for row in np.flatnonzero((lengths == 0) | (lengths > KEY_BYTES_MAX)).tolist():
        received = f"{lengths[row]:,} bytes" if lengths[row] else "no key"
        bad[row] = RecordValueError(
            f"key: expected a name of the series, 1 to {KEY_BYTES_MAX:,} bytes, received "
            f"{received}; set the record's key"
        )
    return bad


def _read_float32(values: Sequence[bytes | None], rows: NDArray[np.intp], n_features: int) -> Read:
    """Read little-endian float32 values: one join and one view for all records."""
    n_bytes = 4 * n_features
    try:
        lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:  # a tombstone has no length
        lengths = np.array([-1 if value is None else len(value) for value in values], np.int64)
    is_fitting = (lengths > 0) & (lengths % n_bytes == 0)
    rejected: list[tuple[int, DataError]] = []
    if not is_fitting.all():
        rejected += [
            (int(rows[at]), _explain_float32(values[at], n_features))
            for at in np.flatnonzero(~is_fitting).tolist()
        ]
        values = [values[at] for at in np.flatnonzero(is_fitting).tolist()]
    joined = np.frombuffer(b"".join(values), dtype="<f4")  # type: ignore[arg-type]
    counts = (lengths[is_fitting] // n_bytes).astype(np.intp)
    samples = joined.reshape(-1, n_features)
    nothing = np.full(len(counts), np.nan)
    return Read(rows[is_fitting], counts, samples, nothing, {}, rejected)


def _with_header_times(read: Read, headers: Sequence[Headers | None]) -> Read:
    """Return the records with the times that their headers give, without those that give none."""
    texts = [_time_header(headers[row]) for row in read.rows.tolist()]
    if texts.count(None) == len(texts):
        return read
    try:
        first_ms = np.array([math.nan if text is None else float(text) for text in texts])
    except ValueError:
        first_ms = np.array([math.nan if text is None else _number(text) for text in texts])
    is_given = np.array([text is not None for text in texts])
    is_bad = is_given & ~((first_ms >= 0) & (first_ms <= TIMESTAMP_MS_MAX))
    if not is_bad.any():
        return replace(read, first_ms=first_ms)
    bad: list[tuple[int, DataError]] = []
    for at in np.flatnonzero(is_bad).tolist():
        received = (texts[at] or b"").decode(errors="backslashreplace")
        bad.append((int(read.rows[at]), not_a_time(f"header {TIME_HEADER}", received)))
    samples = read.values[np.repeat(~is_bad, read.counts)]
    rows, counts = read.rows[~is_bad], read.counts[~is_bad]
    return Read(rows, counts, samples, first_ms[~is_bad], {}, [*read.rejected, *bad])


def _time_header(header: Headers | None) -> bytes | None:
    """Return what a record's header of its time holds, None where it has no such header."""
    for name, value in header or ():
        if name.lower() == TIME_HEADER:
            return value or b""
    return None


def _number(text: bytes) -> float:
    """Return the number in a header, NaN where it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _explain_float32(value: bytes | None, n_features: int) -> DataError:
    """Return what is wrong with a value that holds no float32 samples."""
    if not value:
        return nothing_there(value)
    return RecordShapeError(
        f"float32 value: expected samples of {n_features} features, a multiple of "
        f"{4 * n_features} bytes, received {len(value)} bytes"
    )


def _joined(parts: Sequence[Read], n_features: int) -> Read:
    """Return all records in the order of the batch."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([np.empty(0, np.intp), *(part.rows for part in parts)])
    counts = np.concatenate([np.empty(0, np.intp), *(part.counts for part in parts)])
    with np.errstate(invalid="ignore"):  # a NaN may be a signalling one
        samples = [part.values.astype(np.float64) for part in parts]
    values = np.concatenate([np.empty((0, n_features)), *samples])
    first_ms = np.concatenate([np.empty(0), *(part.first_ms for part in parts)])
    each_ms: dict[int, list[float]] = {}
    for part in parts:
        each_ms |= part.each_ms
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows)
        starts = (np.cumsum(counts) - counts)[order]
        rows, counts, first_ms = rows[order], counts[order], first_ms[order]
        shift = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        values = values[shift + np.arange(len(values))]
    return Read(rows, counts, values, first_ms, each_ms, [])


def _timed(
    read: Read,
    rejected: list[tuple[int, DataError]],
    record_ms: NDArray[np.int64],
    interval_ms: float,
) -> DecodedSamples:
    """Return the samples with a time each, without records whose times cannot be right."""
    own_ms = record_ms[read.rows]
    first = np.where(np.isnan(read.first_ms), own_ms, read.first_ms)
    starts = np.cumsum(read.counts) - read.counts
    within = np.arange(len(read.values)) - np.repeat(starts, read.counts)
    times = follow(np.repeat(first, read.counts), within, interval_ms)
    for row, each in read.each_ms.items():
        at = int(np.searchsorted(read.rows, row))
        times[starts[at] : starts[at] + read.counts[at]] = keep(np.array(each, dtype=np.float64))
        first[at] = each[0]
    with np.errstate(over="ignore"):  # infinite is found where the values are checked
        values = np.ascontiguousarray(read.values, dtype=np.float32)
    decoded = DecodedSamples(
        read.rows, read.counts, times, values, [Rejected(row, error) for row, error in rejected]
    )
    last = times[starts + read.counts - 1] if len(starts) else first
    # A record's own time may be that of its first sample, however many it holds.
    ahead_ms = last - (read.counts - 1) * interval_ms - own_ms
    return decoded.without(_bad_times(first, last, np.where(own_ms >= 0, ahead_ms, 0)))


def _bad_times(
    first: NDArray[np.float64], last: NDArray[np.float64], ahead_ms: NDArray[np.float64]
) -> dict[int, DataError]:
    """Return what is wrong with the times of records, by row."""
    is_seconds = (first >= SECONDS_MIN) & (first < SECONDS_MAX)
    is_ahead = ahead_ms > AHEAD_MS_MAX
    is_no_time = last > TIMESTAMP_MS_MAX
    bad: dict[int, DataError] = {}
    for row in np.flatnonzero((first < 0) | is_seconds | is_ahead | is_no_time).tolist():
        received = f"{first[row]:.16g}"
        if is_seconds[row]:
            reason = f"{received}, which looks like seconds; multiply it by 1,000"
        elif is_no_time[row]:
            reason = f"{received}, which ends after the year 9999; correct the sender's clock"
        elif is_ahead[row]:
            hours = ahead_ms[row] / 3_600_000
            reason = (
                f"{received} and samples up to {hours:.1f} hours ahead of the record's own time; "
                "at most 1 may be: correct the sender's clock, or send the record with that time"
            )
        else:
            reason = "none; set timestamp_ms, or the record's time"
        bad[row] = RecordValueError(
            f"time: expected milliseconds since 1970-01-01 UTC, received {reason}"
        )
    return bad
