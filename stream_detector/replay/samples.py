"""Send samples to a topic; a record holds one or more samples of one series.

`chunking` cuts the samples into records, and `faults` injects faults into these. A record carries
the exact time of its first sample; its Kafka timestamp is that time in whole milliseconds.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stream_detector.core.codec.float32_format import TIME_HEADER
from stream_detector.core.codec.formats import CONTENT_TYPES, ContentType, formats_of
from stream_detector.core.codec.samples import encode_samples
from stream_detector.core.records import Headers, OutputRecord, Samples
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.datasets.files.room import require_memory
from stream_detector.ports import Client, Clock
from stream_detector.replay.chunking import Chunks, chunk, whole_times
from stream_detector.replay.faults import NO_FAULTS, FaultCounts, Faults, Sending, apply_faults
from stream_detector.replay.fleet import concatenate
from stream_detector.replay.pacing import (
    LABEL_HEADER,
    Part,
    ReplaySummary,
    Schedule,
    send,
)
from stream_detector.telemetry import log_event

_DAY_MS = 86_400_000
USUAL_RETENTION_MS = 7 * _DAY_MS
"""Kafka's default for a topic's retention.ms, which counts from a record's timestamp."""

_HELD_TIMES = 2
"""How many times samples are held, beside themselves, while they are joined and made records of."""

_REMEDY = "send each in a record of its own and without faults, or only some of them at a time"

SampleTimes = Literal["first", "each"]
"""Whether a record carries the time of its first sample or of each sample."""

SampleProgress = Callable[[int, int | None], None]
"""Takes, after each tick, the number of records produced so far and that of all records, None where
that is not known."""


@dataclass(frozen=True, slots=True)
class SampleReplayOptions:
    """How samples become records, and when these are sent.

    Parameters
    ----------
    sample_interval_ms
        Time from one sample of a series to the next, above 0; it must be the bundle's. None if it
        is not known; records of several samples then need `times` "each".
    chunk_samples
        Largest number of samples in a record, >= 1.
    rate
        Records a second.
    speed
        Event time per second: 1 sends as it was recorded, 60 sends a recorded minute each second.
        A record is due at the time of its first sample. With neither `rate` nor `speed` records
        are sent as fast as the client accepts them.
    content_type
        "json", "values" (the same for a bundle whose `[input]` says that JSON looks otherwise) or
        "float32".
    times
        "first": a record carries the time of its first sample, and the others follow at the
        interval. "each": every sample has a time of its own, for series without a fixed interval;
        json only.
    start_ms
        New time of the earliest sample, whole milliseconds since 1970-01-01 UTC; all others are
        shifted by as much. None leaves the times as they are.
    faults
        Faults to inject.
    """

    sample_interval_ms: float | None = None
    chunk_samples: int = 1
    rate: float | None = None
    speed: float | None = None
    content_type: ContentType = "json"
    times: SampleTimes = "first"
    start_ms: int | None = None
    faults: Faults = NO_FAULTS

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected {expected}, received {getattr(self, name)!r}"
            for name, expected, is_wrong in (
                ("rate", "records a second above 0", not _is_above_0(self.rate)),
                ("speed", "event time a second above 0", not _is_above_0(self.speed)),
                (
                    "content_type",
                    " or ".join(formats_of("samples")),
                    self.content_type not in formats_of("samples"),
                ),
                ("times", "first or each", self.times not in ("first", "each")),
            )
            if is_wrong
        ]
        if self.rate is not None and self.speed is not None:
            problems.append("rate and speed: expected at most one of them, received both")
        if self.times == "each" and self.content_type == "float32":
            problems.append("times: float32 records have no place for each; use json")
        if self.times == "first" and self.chunk_samples > 1 and self.sample_interval_ms is None:
            problems.append(
                "sample_interval_ms: expected the time between samples, received none, while a "
                "record of several samples gives the first one's time only; give it, send one "
                'sample a record, or use times "each"'
            )
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, slots=True)
class SampleReplaySummary(ReplaySummary):
    """How many records were made and sent, and which faults were injected.

    Parameters
    ----------
    n_made
        Records that the samples were cut into; n_records = n_made - n_dropped + n_duplicated.
    counts
        Numbers of injected faults.
    """

    n_made: int
    counts: FaultCounts


def replay_samples(
    samples: Samples | Iterable[Samples],
    client: Client,
    topic: str,
    *,
    options: SampleReplayOptions,
    clock: Clock,
    on_progress: SampleProgress = lambda _n_sent, _n_records: None,
) -> SampleReplaySummary:
    """Send samples, one or more to a record, in the order of their times.

    Parameters
    ----------
    samples
        Any number of series, which may be mixed, each ascending in time. Or parts of them, all with
        the same `keys` and in the order of their times, which are sent one after the other: so they
        need not be held, except where faults or records of several samples concern those far apart.
    client
        Sends the records; not closed here.
    topic
        Topic to send to. The key of a record names its series.
    options
        How samples become records, when these are sent, and which faults are injected.
    clock
        Source of the time.
    on_progress
        Called after each tick with the number of records produced so far and that of all records.

    Returns
    -------
    How many records were acknowledged, how long it took, and the injected faults. No samples give
    no records.

    Raises
    ------
    BrokerError
        If the broker did not accept a record.
    KeyboardInterrupt
        After all records produced so far have been acknowledged.
    TooLargeError
        If samples have to be held, and do not fit into memory; none was sent.
    ValueError
        If a time lies before 1970 or after the year 9999 or goes backwards in its series, or a
        value is infinite, which JSON cannot express: the caller's mistake.
    """
    if isinstance(samples, Samples):
        parts: Iterable[Samples] = [samples]
    elif options.faults != NO_FAULTS or options.chunk_samples > 1:
        parts = [_joined(samples)]
    else:
        parts = whole_times(samples)
    sending = _Parts(parts, topic, options, clock)
    is_held = isinstance(parts, list)

    def report(n_sent: int) -> None:
        on_progress(n_sent, sending.n_records if is_held else None)

    done = send(sending, client, clock, report)
    return SampleReplaySummary(done.n_records, done.seconds, sending.n_made, sending.counts)


def _joined(parts: Iterable[Samples]) -> Samples:
    """Return the samples of all parts as one; refuse them before they fill the memory."""
    held, n_bytes = [], 0
    for part in parts:
        held.append(part)
        n_bytes += part.values.nbytes + part.times_ms.nbytes + part.series.nbytes
        require_memory("samples to be sent", _HELD_TIMES * n_bytes, _REMEDY)
    return concatenate(held)


class _Parts:
    """Makes records of samples, part by part."""

    def __init__(
        self, parts: Iterable[Samples], topic: str, options: SampleReplayOptions, clock: Clock
    ) -> None:
        self.n_made = 0
        self.n_records = 0
        self.counts = FaultCounts()
        self._parts = parts
        self._topic = topic
        self._options = options
        self._clock = clock
        self._shift_ms = 0.0
        self._start_ms = 0.0

    def __iter__(self) -> Iterator[Part]:
        for number, samples in enumerate(self._parts):
            yield self._part(samples, is_first=number == 0)

    def _part(self, samples: Samples, *, is_first: bool) -> Part:
        """Return the records of some samples."""
        options = self._options
        if is_first and options.start_ms is not None and len(samples):
            self._shift_ms = options.start_ms - float(samples.times_ms.min())
        chunks = chunk(
            replace(samples, times_ms=samples.times_ms + self._shift_ms),
            options.sample_interval_ms if options.times == "first" else None,
            options.chunk_samples,
        )
        _require_sendable(chunks, options.content_type)
        sending = apply_faults(chunks, options.faults)
        if is_first:
            _warn_of_retention(chunks, self._clock.now_ms())
            self.counts = sending.counts
            self._start_ms = float(sending.due_ms[0]) if len(sending.due_ms) else 0.0
        schedule = Schedule.at_rate(len(sending.due_ms), options.rate, self.n_records)
        if options.speed is not None:
            due_s = (sending.due_ms - self._start_ms) / 1_000 / options.speed
            schedule = Schedule(len(due_s), due_s)
        self.n_made += len(chunks)
        self.n_records += schedule.n_records

        def make(first: int, stop: int) -> Iterator[OutputRecord]:
            return _records(chunks, sending, slice(first, stop), self._topic, options)

        return Part(schedule, make)


def _warn_of_retention(chunks: Chunks, now_ms: int) -> None:
    """Warn that a topic with Kafka's default settings would delete records so old at once."""
    if not len(chunks) or int(chunks.times_ms.min()) >= now_ms - USUAL_RETENTION_MS:
        return
    log_event(
        logging.WARNING,
        "old-times",
        n_days=(now_ms - int(chunks.times_ms.min())) // _DAY_MS,
        reason="Kafka deletes records by their time, 7 days old by default; make the topic with "
        "retention.ms=-1, or shift the times with --start-ms",
    )


def _is_above_0(value: float | None) -> bool:
    """Return whether an option is None or above zero; NaN is neither."""
    return value is None or value > 0


def _require_sendable(chunks: Chunks, content_type: ContentType) -> None:
    """Raise for times out of range, and for values that the format cannot express."""
    times_ms = chunks.samples.times_ms
    if len(times_ms) and not (times_ms.min() >= 0 and times_ms.max() <= TIMESTAMP_MS_MAX):
        message = (
            "times_ms: expected milliseconds since 1970 up to the year 9999, received "
            f"{times_ms.min():.0f} to {times_ms.max():.0f}; give start_ms to shift them"
        )
        raise ValueError(message)
    if content_type != "float32" and np.isinf(chunks.samples.values).any():
        message = "values: expected finite numbers or NaN, received an infinity, unknown to JSON"
        raise ValueError(message)


def _records(
    chunks: Chunks, sending: Sending, part: slice, topic: str, options: SampleReplayOptions
) -> Iterator[OutputRecord]:
    """Yield some of the records to send, in order."""
    numbers = sending.records[part]
    content_type = options.content_type
    plain: Headers = [("content-type", CONTENT_TYPES[content_type])]
    normal, anomalous = [*plain, (LABEL_HEADER, b"0")], [*plain, (LABEL_HEADER, b"1")]
    columns = (chunks.starts, chunks.stops, chunks.series, chunks.times_ms)
    rows = zip(*(column[numbers].tolist() for column in columns), strict=True)
    labels = [None] * len(numbers) if chunks.labels is None else chunks.labels[numbers].tolist()
    for (start, stop, series, time_ms), label in zip(rows, labels, strict=True):
        times_ms: float | list[float] = time_ms
        if options.times == "each":
            times_ms = chunks.samples.times_ms[start:stop].tolist()
        headers = plain if label is None else anomalous if label else normal
        if content_type == "float32" and not time_ms.is_integer():
            headers = [*headers, (TIME_HEADER, repr(time_ms).encode())]
        yield OutputRecord(
            topic=topic,
            key=chunks.samples.keys[series].encode(),
            value=encode_samples(sending.values[start:stop], content_type, times_ms),
            headers=headers,
            timestamp_ms=round(time_ms),
        )
