"""Send windows to a topic; each record is one whole window."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from stream_detector.core.alerting.alert import REFERENCE_HEADER
from stream_detector.core.codec.formats import CONTENT_TYPES, FormatName
from stream_detector.core.codec.windows import encode_window
from stream_detector.core.records import FloatArray, OutputRecord
from stream_detector.ports import Client, Clock
from stream_detector.replay.pacing import (
    LABEL_HEADER,
    Part,
    Progress,
    ReplaySummary,
    Schedule,
    send,
)


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How windows become records.

    Parameters
    ----------
    rate
        Records a second; None sends as fast as the client accepts them.
    content_type
        "json" or "float32"; for images also "png", "jpeg" or "uint8".
    n_channels
        Number of values of a pixel if the windows are images: 1 or 3.
    keys
        Series key of each window; with None every window has the key "series-0".
    timestamps_ms
        Timestamp of each record, milliseconds since 1970-01-01 UTC; None takes the time of
        sending.
    labels
        Label of each window, 0 or 1, sent in the header `label`; None sends no labels.
    references
        Where each window comes from, sent in the header `reference`, which alerts repeat; None
        sends no references.
    """

    rate: float | None = None
    content_type: FormatName = "json"
    n_channels: int = 1
    keys: Sequence[str] | None = None
    timestamps_ms: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    references: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            message = f"rate must be above 0 records a second, received {self.rate}"
            raise ValueError(message)
        if self.content_type not in CONTENT_TYPES:
            known = " or ".join(CONTENT_TYPES)
            message = f"content_type must be {known}, received {self.content_type!r}"
            raise ValueError(message)


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
        Sends the records; not closed here.
    topic
        Topic to send to.
    options
        Rate, format, keys, timestamps, labels and references.
    clock
        Source of the time.
    on_progress
        Called after each tick with the number of records produced so far.

    Returns
    -------
    How many records were acknowledged, and how long it took. No windows give (0, 0.0).

    Raises
    ------
    BrokerError
        If the broker did not accept a record.
    KeyboardInterrupt
        After all records produced so far have been acknowledged.
    ValueError
        If keys, timestamps, labels or references are not one a window, or a window to be sent as
        an image has values that no pixel can have: the caller's mistake.
    """
    _require_one_each(len(windows), options)
    return replay_parts([(windows, options)], client, topic, clock=clock, on_progress=on_progress)


def replay_parts(
    parts: Iterable[tuple[FloatArray, ReplayOptions]],
    client: Client,
    topic: str,
    *,
    clock: Clock,
    on_progress: Progress = lambda _: None,
) -> ReplaySummary:
    """Send windows part by part, so that they need not be held; the rate is that of all of them.

    Parameters
    ----------
    parts
        Some windows at a time, each part with the options of its own windows.
    client, topic, clock, on_progress
        See `replay`.

    Returns
    -------
    As `replay` of all windows does.

    Raises
    ------
    As there, once the part is reached.
    """
    return send(_parts(parts, topic), client, clock, on_progress)


def _parts(parts: Iterable[tuple[FloatArray, ReplayOptions]], topic: str) -> Iterator[Part]:
    """Yield the records of each part, due after those before them."""
    n_before = 0
    for windows, options in parts:
        _require_one_each(len(windows), options)
        make = partial(_made, windows, topic, options)
        yield Part(Schedule.at_rate(len(windows), options.rate, n_before), make)
        n_before += len(windows)


def _made(
    windows: FloatArray, topic: str, options: ReplayOptions, first: int, stop: int
) -> Iterator[OutputRecord]:
    """Return the records of some windows of a part."""
    return _records(windows[first:stop], first, topic, options)


def _records(
    windows: FloatArray, first: int, topic: str, options: ReplayOptions
) -> Iterator[OutputRecord]:
    """Yield the records of some windows; `first` is the index of the first in all windows."""
    for index, window in enumerate(windows, start=first):
        headers = [("content-type", CONTENT_TYPES[options.content_type])]
        if options.labels is not None:
            headers.append((LABEL_HEADER, b"1" if options.labels[index] else b"0"))
        if options.references is not None:
            headers.append((REFERENCE_HEADER, options.references[index].encode()))
        timestamps_ms = options.timestamps_ms
        yield OutputRecord(
            topic=topic,
            key=(options.keys[index] if options.keys is not None else "series-0").encode(),
            value=encode_window(window, options.content_type, options.n_channels),
            headers=headers,
            timestamp_ms=None if timestamps_ms is None else int(timestamps_ms[index]),
        )


def _require_one_each(n_windows: int, options: ReplayOptions) -> None:
    """Raise for columns that have another length than the windows."""
    for name in ("keys", "timestamps_ms", "labels", "references"):
        column = getattr(options, name)
        if column is not None and len(column) != n_windows:
            message = f"{name} must be one a window: expected {n_windows}, received {len(column)}"
            raise ValueError(message)
