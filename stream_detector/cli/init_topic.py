"""Samples of a topic for the command `init`, written to a file."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stream_detector.cli.terminal import StopFlag, csv_rows, progress_bar, say
from stream_detector.core.windowing.diagnosis import WHAT_TO_DO
from stream_detector.inspection.plan import duration
from stream_detector.outputs.recording import Recording, record_samples
from stream_detector.settings import DetectSettings


class Recorded(NamedTuple):
    """What was recorded of a topic.

    Parameters
    ----------
    path
        The file with its samples.
    table
        Keys of `[input]` by which its records were read; empty where they need none.
    """

    path: Path
    table: dict[str, Any]


def record_topic(settings: DetectSettings, topic: str, minutes: float, out: Path) -> Recorded:
    """Record the newest minutes of a topic to a CSV file beside the recipe.

    Parameters
    ----------
    settings
        How to reach Kafka, and in `input` where in the records things are.
    topic
        The topic.
    minutes
        How much to record.
    out
        The recipe to write.

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

        recording = record_samples(
            settings,
            topic,
            60_000 * minutes,
            is_stopping=lambda: stop.is_set,
            on_progress=on_progress,
        )
    path = out.with_name(f"{out.stem}.samples.csv")
    write_recording(recording, path)
    samples = recording.samples
    span = duration(float(np.ptp(samples.times_ms)))
    say(f"{len(samples):,} samples of {len(samples.keys):,} keys in {span} written to {path}")
    if recording.n_rejected:
        first = recording.first_rejection
        say(f"{recording.n_rejected:,} records were rejected, the first: {first}")
    if recording.spread_keys:
        keys = recording.spread_keys
        shown = ", ".join([*keys[:5], *(["..."] if len(keys) > 5 else [])])  # noqa: PLR2004
        say(
            f"warning: {len(keys):,} keys have records on several partitions, where no detector "
            f"puts them together: {shown}; {WHAT_TO_DO['key_on_several_partitions']}"
        )
    return Recorded(path, recording.table.model_dump(exclude_none=True))


def write_recording(recording: Recording, path: Path) -> None:
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
