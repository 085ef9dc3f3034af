"""Decode a batch of records that each hold one or more samples of a series, in any mix of formats.

Pure. A record that cannot be decoded is returned as a `Rejected` value and never raised. Which
formats there are, and how a record names its own, is said by `stream_detector.core.codec.formats`;
here each sample gets its time, and records whose key or time cannot be right are rejected.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples, lost_in_float32
from stream_detector.core.codec.formats import (
    ContentType,
    FormatName,
    find_format,
    group_by_format,
    select_records,
    unreadable,
)
from stream_detector.core.codec.keys import unusable_keys
from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import FloatArray, Headers, Rejected, SeriesColumns
from stream_detector.core.timestamps import (
    AHEAD_MS_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    TIMESTAMP_MS_MAX,
    follow,
    invalid_time,
    keep,
    looks_like,
)
from stream_detector.errors import DataError, RecordValueError

_RECORDS_AT_ONCE = 4096
"""Records decoded together: one of them that is not plain sends so many through the slow path."""


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
        Time of each sample as `timestamps.keep` rounds it, float64, shape (n_samples,); never
        decreasing within a record.
    values
        Float32, C-contiguous, shape (n_samples, n_features), unit: the signal's; NaN is missing.
        May hold infinities; the detector checks for them.
    rejected
        Records that cannot be used, each with its reason.
    """

    indices: NDArray[np.intp]
    counts: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: FloatArray
    rejected: Sequence[Rejected]

    def without(self, errors: Mapping[int, DataError], stage: str = "check") -> "DecodedSamples":
        """Return the samples of the other records, and the given ones as rejected.

        Parameters
        ----------
        errors
            Reason of each record to reject, by its row in `indices`.
        stage
            Where it was found, as in `Rejected`.
        """
        if not errors:
            return self
        is_kept = np.ones(len(self.indices), dtype=np.bool_)  # (n_records,)
        is_kept[list(errors)] = False
        samples = np.repeat(is_kept, self.counts)  # (n_samples,)
        more = [Rejected(int(self.indices[row]), error, stage) for row, error in errors.items()]
        return DecodedSamples(
            self.indices[is_kept],
            self.counts[is_kept],
            self.times_ms[samples],
            self.values[samples],
            [*self.rejected, *more],
        )


def decode_samples(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None,
    series: SeriesColumns,
    content_type: ContentType | None,
    *,
    features: Features,
    interval_ms: float,
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
    content_type
        Format of records whose headers do not name one; None takes the default, "json".
    features
        Values of a sample, in order.
    interval_ms
        Time between two samples of a record that gives only the time of the first.

    Returns
    -------
    Samples and rejected records. No records give no samples.

    Raises
    ------
    ValueError
        If these records cannot have the format `content_type`: the caller's mistake.
    """
    groups, unusable = group_by_format(values, headers, content_type, "samples")
    without_key = unusable_keys(series.keys, is_required=True)
    # Each record once; of one that could not be read, the key may be what is missing.
    rejected = list({**unusable, **without_key, **unreadable(headers, unusable)}.items())
    parts = []
    for group in groups:
        rows = [row for row in group.rows if row not in without_key] if without_key else group.rows
        for start in range(0, len(rows), _RECORDS_AT_ONCE):
            some, numbers = select_records(values, rows[start : start + _RECORDS_AT_ONCE])
            part = group.format.decode_samples(some, numbers, features)
            if group.format.time_header is not None and headers is not None:
                part = with_header_times(part, headers, group.format.time_header)
            rejected += part.rejected
            if features.origin and part.values.dtype == np.float32:
                rejected += [(row, lost_in_float32()) for row in part.rows.tolist()]
            else:
                parts.append(part)
    samples = join_samples(parts, features)
    return with_times(samples, rejected, series.timestamps_ms, interval_ms)


def encode_samples(
    values: FloatArray, format_name: FormatName, times_ms: float | list[float] | None = None
) -> bytes:
    """Return samples of one series as a record's value.

    Parameters
    ----------
    values
        Float32, shape (n_samples, n_features); NaN is a missing value.
    format_name
        "json": `{"values": [[..], ..]}`, an array of features a sample, null where a value is
        missing; "float32": little-endian, sample by sample.
    times_ms
        JSON only, milliseconds since 1970-01-01 UTC: the time of the first sample, or a list with
        the time of each one. The time of a float32 record is that of the Kafka record, or is in
        its headers.

    Returns
    -------
    Bytes that read back to exactly the same float32 values and the same times.

    Raises
    ------
    ValueError
        If records of samples cannot have that format: the caller's mistake.

    Examples
    --------
    >>> values = np.array([[0.5, 1.0], [np.nan, 2.0]], dtype=np.float32)
    >>> encode_samples(values, "json", 1767225600000)
    b'{"values":[[0.5,1.0],[null,2.0]],"timestamp_ms":1767225600000}'
    >>> encode_samples(values[:1], "json", [1767225600002.75])
    b'{"values":[[0.5,1.0]],"timestamps_ms":[1767225600002.75]}'
    """
    return find_format(format_name, "samples").encode_samples(values, times_ms)


def with_header_times(
    samples: RawSamples, headers: Sequence[Headers | None], time_header: str
) -> RawSamples:
    """Return the samples with the times that headers give, without records of an invalid one.

    Parameters
    ----------
    samples
        Samples of one format, without times.
    headers
        Headers of each record of the batch.
    time_header
        Name of the header, in lower case.
    """
    texts = [find_header(headers[row], time_header) for row in samples.rows.tolist()]
    if texts.count(None) == len(texts):
        return samples
    try:
        first_ms = np.array([math.nan if text is None else float(text) for text in texts])
    except ValueError:
        first_ms = np.array([math.nan if text is None else _number(text) for text in texts])
    is_given = np.array([text is not None for text in texts])  # (n_records,)
    is_invalid = is_given & ~((first_ms >= 0) & (first_ms <= TIMESTAMP_MS_MAX))  # (n_records,)
    if not is_invalid.any():
        return replace(samples, first_ms=first_ms)
    invalid: list[tuple[int, DataError]] = []
    for at in np.flatnonzero(is_invalid).tolist():
        received = (texts[at] or b"").decode(errors="backslashreplace")
        invalid.append((int(samples.rows[at]), invalid_time(f"header {time_header}", received)))
    kept = replace(samples, first_ms=first_ms).select(~is_invalid)
    return replace(kept, rejected=[*samples.rejected, *invalid])


def find_header(header: Headers | None, wanted: str) -> bytes | None:
    """Return the value of a record's first header of that name, None where there is none.

    Parameters
    ----------
    header
        All headers of the record.
    wanted
        The name, in lower case.
    """
    for name, value in header or ():
        if name == wanted or name.lower() == wanted:
            return value or b""
    return None


def _number(text: bytes) -> float:
    """Return the number in a header, NaN where it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def join_samples(parts: Sequence[RawSamples], features: Features) -> RawSamples:
    """Return the samples of all formats in the order of the batch, in float32 less the origin.

    Parameters
    ----------
    parts
        Samples of each format.
    features
        Their features.
    """
    samples = _join(parts, len(features))
    return replace(samples, values=to_float32(samples.values, features.origin))


def _join(parts: Sequence[RawSamples], n_features: int) -> RawSamples:
    """Return the samples of all formats in the order of the batch."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([np.empty(0, np.intp), *(part.rows for part in parts)])  # (n_records,)
    counts = np.concatenate([np.empty(0, np.intp), *(part.counts for part in parts)])
    with np.errstate(invalid="ignore"):  # converting a signalling NaN
        samples = [part.values.astype(np.float64) for part in parts]
    values = np.concatenate([np.empty((0, n_features)), *samples])  # (n_samples, n_features)
    first_ms = np.concatenate([np.empty(0), *(part.first_ms for part in parts)])  # (n_records,)
    each_ms: dict[int, list[float]] = {}
    for part in parts:
        each_ms |= part.each_ms
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows)  # (n_records,)
        starts = (np.cumsum(counts) - counts)[order]  # (n_records,), of each record's samples
        rows, counts, first_ms = rows[order], counts[order], first_ms[order]
        shift = np.repeat(starts - (np.cumsum(counts) - counts), counts)  # (n_samples,)
        values = values[shift + np.arange(len(values))]  # (n_samples, n_features)
    return RawSamples(rows, counts, values, first_ms, each_ms, [])


def with_times(
    samples: RawSamples,
    rejected: list[tuple[int, DataError]],
    record_ms: NDArray[np.int64],
    interval_ms: float,
) -> DecodedSamples:
    """Return the samples with a time each, without records whose times cannot be right.

    Parameters
    ----------
    samples
        Samples of the batch, in its order.
    rejected
        Records that were rejected before: row and reason.
    record_ms
        Time of each Kafka record, -1 where it has none, shape (n_records_of_batch,).
    interval_ms
        Time between two samples of a record that gives only the time of the first.
    """
    counts = samples.counts
    own_ms = record_ms[samples.rows]  # (n_records,)
    first = np.where(np.isnan(samples.first_ms), own_ms, samples.first_ms)  # (n_records,)
    starts = np.cumsum(counts) - counts  # (n_records,)
    within = np.arange(len(samples.values)) - np.repeat(starts, counts)  # (n_samples,)
    times = follow(np.repeat(first, counts), within, interval_ms)  # (n_samples,)
    for row, each in samples.each_ms.items():
        at = int(np.searchsorted(samples.rows, row))
        times[starts[at] : starts[at] + counts[at]] = keep(np.array(each, dtype=np.float64))
        first[at] = each[0]
    # The detector rejects the infinities that this may give.
    values = to_float32(samples.values)  # (n_samples, n_features)
    decoded = DecodedSamples(
        samples.rows, counts, times, values, [Rejected(row, error) for row, error in rejected]
    )
    last = times[starts + counts - 1] if len(starts) else first  # (n_records,)
    # A record's own time may be that of its first sample, however many it holds.
    ahead_ms = last - (counts - 1) * interval_ms - own_ms  # (n_records,)
    return decoded.without(_invalid_times(first, last, np.where(own_ms >= 0, ahead_ms, 0)))


def _invalid_times(
    first: NDArray[np.float64], last: NDArray[np.float64], ahead_ms: NDArray[np.float64]
) -> dict[int, DataError]:
    """Return the reason of each record whose times cannot be right, by row.

    Parameters
    ----------
    first, last
        Times of each record's first and last sample, shape (n_records,).
    ahead_ms
        How far each record's samples are ahead of its own time, shape (n_records,).
    """
    is_seconds = (first >= SECONDS_MIN) & (first < SECONDS_MAX)  # (n_records,)
    is_ahead = ahead_ms > AHEAD_MS_MAX  # (n_records,)
    is_after_9999 = last > TIMESTAMP_MS_MAX  # (n_records,)
    invalid: dict[int, DataError] = {}
    for row in np.flatnonzero((first < 0) | is_seconds | is_ahead | is_after_9999).tolist():
        received = f"{first[row]:.16g}"
        if is_seconds[row]:
            reason = f"{received}{looks_like(first[row])}"
        elif is_after_9999[row]:
            words = looks_like(first[row]) or (
                ", which ends after the year 9999; correct the sender's clock"
            )
            reason = f"{received}{words}"
        elif is_ahead[row]:
            hours = ahead_ms[row] / 3_600_000
            reason = (
                f"{received} and samples up to {hours:.1f} hours ahead of the record's own time; "
                "at most 1 may be: correct the sender's clock, or send the record with that time"
            )
        else:
            reason = "none; set timestamp_ms, or the record's time"
        invalid[row] = RecordValueError(
            f"time: expected milliseconds since 1970-01-01 UTC, received {reason}"
        )
    return invalid
