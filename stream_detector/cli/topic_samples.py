"""Samples of a topic, read and written to a file, for the commands `init` and `capture`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream_detector.cli.terminal import StopFlag, csv_rows, progress_bar, say
from stream_detector.core.windowing.diagnosis import WHAT_TO_DO
from stream_detector.inspection.plan import duration
from stream_detector.outputs.recording import Recording

N_KEYS_SHOWN = 5


def write_newest(
    read: Callable[..., Recording], topic: str, minutes: float, path: Path | None
) -> Recording:
    """Write the newest minutes of a topic to a CSV file, and say what they hold.

    Parameters
    ----------
    read
        Reads the topic: `record_samples` or `record_samples_for`, given all but `span_ms`,
        `is_stopping` and `on_progress`.
    topic
        The topic.
    minutes
        How much is wanted.
    path
        The file to write; None writes to standard output.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    DatasetError
        If no record could be read.
    ConfigError
        If the file cannot be written, or `input` is wrong.
    """
    stop = StopFlag()
    with stop.on_signals(), progress_bar() as progress:
        task = progress.add_task(f"reading {topic}", total=minutes)

        def on_progress(n_records: int, span_ms: float) -> None:
            progress.update(
                task,
                completed=min(round(span_ms / 60_000, 1), minutes),
                description=f"reading {topic}, minutes of {n_records:,} records",
            )

        recording = read(
            span_ms=60_000 * minutes, is_stopping=lambda: stop.is_set, on_progress=on_progress
        )
    write_recording(recording, path)
    samples = recording.samples
    span = duration(float(np.ptp(samples.times_ms)))
    note = f"{len(samples):,} samples of {len(samples.keys):,} keys in {span}"
    say(note if path is None else f"{note} written to {path}")
    if recording.n_rejected:
        first = recording.first_rejection
        say(f"{recording.n_rejected:,} of the records were rejected, the first: {first}")
    if recording.spread_keys:
        keys = recording.spread_keys
        say(
            f"warning: {len(keys):,} keys, such as {', '.join(keys[:N_KEYS_SHOWN])}, have records "
            "on several partitions, where no detector puts them together; "
            f"{WHAT_TO_DO['key_on_several_partitions']}"
        )
    return recording


def write_recording(recording: Recording, path: Path | None) -> None:
    """Write samples as CSV, in the order in which they came.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    samples = recording.samples
    values = np.where(np.isnan(samples.values), "", samples.values.astype(str)).tolist()
    with csv_rows(path) as write_row:
        write_row(("key", "timestamp_ms", *recording.features))
        rows = zip(samples.series.tolist(), samples.times_ms.tolist(), values, strict=True)
        for series, time_ms, row in rows:
            write_row((samples.keys[series], f"{time_ms:.16g}", *row))
