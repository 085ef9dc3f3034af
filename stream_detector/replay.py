"""Data set or file -> topic, at a steady rate: what a fleet of sensors would send.

Records leave in small ticks on a schedule that does not drift, so that a rate of
1,000 records a second is 10 every 10 milliseconds and not 1,000 at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from stream_detector.core.codec import CONTENT_TYPES, ContentType
from stream_detector.core.records import FloatArray, Headers, OutputRecord
from stream_detector.ports import Client, Clock

TICK_S = 0.01
"""How often records leave; at low rates each record has a tick of its own."""

RECORDS_PER_TICK_MAX = 1_000
"""Most records handed over between two looks at the clock, where no rate is asked for."""

FLUSH_TIMEOUT_MS = 60_000

LABEL_HEADER = "label"
"""Travels along so that the outcome can be checked downstream; the detector never reads it."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How windows become records.

    Parameters
    ----------
    rate
        Records a second; None sends as fast as the client takes them.
    content_type
        "json" or "float32".
    keys
        Series key of each window; None gives every window the key "series-0".
    timestamps_ms
        Record time of each window, milliseconds since 1970-01-01 UTC; None takes the time of
        sending.
    labels
        0 or 1 of each window, sent in the header `label`; None sends none.
    """

    rate: float | None = None
    content_type: ContentType = "json"
    keys: Sequence[str] | None = None
    timestamps_ms: Sequence[int] | None = None
    labels: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            message = f"rate must be above 0 records a second, received {self.rate}"
            raise ValueError(message)
        if self.content_type not in CONTENT_TYPES:
            known = " or ".join(CONTENT_TYPES)
            message = f"content_type must be {known}, received {self.content_type!r}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What was sent.

    Parameters
    ----------
    n_records
        Records that the broker acknowledged.
    seconds
        From the first record to the last acknowledgement.
    """

    n_records: int
    seconds: float


def replay(
    windows: FloatArray,
    client: Client,
    topic: str,
    *,
    options: ReplayOptions,
    clock: Clock,
    on_progress: Progress = lambda _: None,
) -> ReplaySummary:
    """Send each window as one record.

    Parameters
    ----------
    windows
        Float32, shape (n_windows, n_steps, n_features), unit: the signal's own.
    client
        Where to send; not closed here.
    topic
        Topic to send to.
    options
        Rate, format, keys, times and labels.
    clock
        Tells and takes the time.
    on_progress
        Called after each tick with the number of records handed over so far.

    Returns
    -------
    How many records were acknowledged, and in what time. No windows give (0, 0.0).

    Raises
    ------
    BrokerError
        If the broker did not take a record.
    KeyboardInterrupt
        After what was handed over has been acknowledged.
    ValueError
        If keys, times or labels are not one a window: a caller's mistake.
    """
    _require_one_each(len(windows), options)
    start_s = clock.monotonic_s()
    n_sent = 0
    try:
        while n_sent < len(windows):
            n_due = _n_due(options.rate, clock.monotonic_s() - start_s, n_sent, len(windows))
            if n_due > n_sent:
                client.produce(_records(windows[n_sent:n_due], n_sent, topic, options))
                n_sent = n_due
                on_progress(n_sent)
            if options.rate is not None and n_sent < len(windows):
                wait_s = n_sent / options.rate - (clock.monotonic_s() - start_s)
                if wait_s > 0:  # else we are behind, and go on at once
                    clock.sleep(max(wait_s, TICK_S))
    finally:
        # Also on Ctrl-C: what was handed over arrives.
        client.flush(FLUSH_TIMEOUT_MS)
    return ReplaySummary(n_records=n_sent, seconds=clock.monotonic_s() - start_s)


def encode_values(window: FloatArray, content_type: ContentType) -> bytes:
    """Return one window as a record's value.

    Parameters
    ----------
    window
        Float32, shape (n_steps, n_features).
    content_type
        "json": `{"values": [...]}`, one row a step where there are several features;
        "float32": little-endian, step by step.

    Returns
    -------
    Bytes that read back to exactly the same float32 values.

    Examples
    --------
    >>> encode_values(np.array([[0.1], [2.0]], dtype=np.float32), "json")
    b'{"values":[0.10000000149011612,2.0]}'
    >>> encode_values(np.array([[1.0, 2.0]], dtype=np.float32), "json")
    b'{"values":[[1.0,2.0]]}'
    """
    if content_type == "float32":
        return window.astype("<f4").tobytes()
    # A float64 holds a float32 exactly, and its shortest decimal form reads back exactly.
    exact = window.astype(np.float64)  # (n_steps, n_features)
    rows = exact[:, 0] if exact.shape[1] == 1 else exact
    return orjson.dumps({"values": rows.tolist()})


def _n_due(rate: float | None, elapsed_s: float, n_sent: int, n_windows: int) -> int:
    """Return how many records should have left by now, counted from the start: no drift."""
    if rate is None:
        return min(n_sent + RECORDS_PER_TICK_MAX, n_windows)
    n_due = int(elapsed_s * rate) + 1
    return min(max(n_due, n_sent), n_sent + RECORDS_PER_TICK_MAX, n_windows)


def _records(
    windows: FloatArray, first: int, topic: str, options: ReplayOptions
) -> Iterator[OutputRecord]:
    """Yield the records of some windows, of which `first` is the number of the first."""
    content_type = ("content-type", CONTENT_TYPES[options.content_type])
    for index, window in enumerate(windows, start=first):
        headers: Headers = [content_type]
        if options.labels is not None:
            headers = [content_type, (LABEL_HEADER, b"1" if options.labels[index] else b"0")]
        timestamps_ms = options.timestamps_ms
        yield OutputRecord(
            topic=topic,
            key=(options.keys[index] if options.keys is not None else "series-0").encode(),
            value=encode_values(window, options.content_type),
            headers=headers,
            timestamp_ms=None if timestamps_ms is None else int(timestamps_ms[index]),
        )


def _require_one_each(n_windows: int, options: ReplayOptions) -> None:
    """Refuse columns of another length than the windows."""
    for name in ("keys", "timestamps_ms", "labels"):
        column = getattr(options, name)
        if column is not None and len(column) != n_windows:
            message = f"{name} must be one a window: expected {n_windows}, received {len(column)}"
            raise ValueError(message)
