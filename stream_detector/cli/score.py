"""The command `score`."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
import typer
from numpy.typing import NDArray

from stream_detector.cli.options import (
    OFFLINE,
    BundlePath,
    Engine,
    FeatureNames,
    Key,
    Label,
    Long,
    OutFile,
    SaidColumns,
    Set,
    Time,
    TimeFormat,
    WindowFile,
    examples,
    run_changes,
)
from stream_detector.cli.terminal import csv_rows, say
from stream_detector.core.records import Samples
from stream_detector.core.scoring.scorer import (
    describe_bad_value,
    score_column,
    usable_windows,
)
from stream_detector.errors import ConfigError, DatasetError, RecordValueError
from stream_detector.text import shorten

if TYPE_CHECKING:
    from stream_detector.assembly import Served
    from stream_detector.cli.sources import FileWindows
    from stream_detector.core.sample_detector import SampleDetector
    from stream_detector.evaluation.point_stream import ScoredPoints

SCORE_COLUMNS = (
    "key",
    "window_start_ms",
    "window_end_ms",
    "reconstruction_error",
    "threshold",
    "anomaly_score",
    "is_anomalous",
)

POINT_COLUMNS = (
    "key",
    "timestamp_ms",
    "causal_score",
    "put_back_score",
    "threshold",
    "is_anomalous",
)

EXAMPLES = examples(
    "stream-detector score bundles/ecg5000-dense beats.csv --out scores.csv",
    "stream-detector score bundles/mitdb-dense samples.parquet | head",
    "stream-detector score bundles/pumps pumps.csv --points --out points.csv",
    "stream-detector score bundles/mnist-vs-fashion-conv images/",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("score", epilog=EXAMPLES, rich_help_panel=OFFLINE)(score)


def score(
    bundle: BundlePath,
    file: WindowFile,
    out: OutFile = None,
    points: Annotated[
        bool, typer.Option("--points", help="One row a sample in place of one a window.")
    ] = False,
    key: Key = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Label = None,
    long: Long = None,
    features: FeatureNames = None,
    engine: Engine = "onnx",
    overrides: Set = None,
) -> None:
    """Score the windows of a file, bit for bit as `detect` scores them live.

    The bundle decides what a row of the file is: a whole window, or a sample (columns key,
    timestamp_ms and one for each feature), from which windows are cut as on a stream. For a bundle
    of images, give an image or a folder of PNG and JPEG files; the key of an image is its file
    name.

    The output has one row a window: key, start and end, reconstruction error, threshold, anomaly
    score and whether the window is anomalous. With checks, the column score is in the place of
    reconstruction_error. Whole windows keep the order of the file; windows cut from samples come in
    the order in which they are complete. A file is read some rows at a time, so it may be larger
    than memory.

    With `--points` it has one row a sample: key, time, the score of the newest window that was
    complete when the sample came, which is what `detect` knew then; the mean score of all windows
    that cover the sample, which says better where the anomaly is; and whether the first exceeds the
    threshold. A sample without such a window has an empty cell.
    """
    from stream_detector.assembly import open_bundle
    from stream_detector.cli.sources import file_parts

    served = open_bundle(bundle, engine, changes=run_changes(overrides))
    said = SaidColumns(key, time, time_format, label, features, long)
    if points:
        _score_points(served, file, out, said)
        return
    parts = file_parts(file, served.bundle, said)
    first, n_before = next(parts), 0
    threshold = served.detector.scorer.threshold
    with csv_rows(out) as write_row:
        write_row(columns_of(served.detector.scorer.score_kind))
        for found in chain([first], parts):
            errors = _scores_of(served, file, found, n_before)
            n_before += len(errors)
            places = zip(found.keys, found.start_ms, found.end_ms, strict=True)
            for (series, start_ms, end_ms), error in zip(places, errors.tolist(), strict=True):
                is_anomalous = "true" if error > threshold else "false"
                numbers = (repr(error), repr(threshold), repr(error / threshold))
                write_row((series, start_ms, end_ms, *numbers, is_anomalous))


def _scores_of(
    served: "Served", file: Path, found: "FileWindows", n_before: int
) -> NDArray[np.float64]:
    """Return the scores of windows of a file, shape (n_windows,), `n_before` after its first.

    Raises
    ------
    DatasetError
        If a window has a value that cannot be scored.
    """
    try:
        if not served.detector.keeps_state:
            return served.detector.score(found.windows)
        detector = cast("SampleDetector", served.detector)
        return detector.score(found.windows, found.intervals, found.keys)
    except RecordValueError:
        scorer = served.detector.scorer
        row = int(np.flatnonzero(~usable_windows(scorer, found.windows))[0])
        key, start_ms = found.keys[row], found.start_ms[row]
        whose = f" of key {shorten(key, 64)}" * bool(key) + f" from {start_ms}" * (start_ms != "")
        problem = describe_bad_value(scorer, found.windows[row])
        message = f"{file}: window {n_before + row}{whose}: {problem}"
        raise DatasetError(message) from None


def columns_of(score_kind: str) -> tuple[str, ...]:
    """Return the columns for a kind of score; see `Scorer.score_kind`.

    Examples
    --------
    >>> columns_of("mae")[3], columns_of("checks")[3]
    ('reconstruction_error', 'score')
    """
    own = score_column(score_kind)
    return tuple(own if name == "reconstruction_error" else name for name in SCORE_COLUMNS)


def _score_points(served: "Served", file: Path, out: Path | None, said: SaidColumns) -> None:
    """Write one row for each sample of a file.

    Raises
    ------
    ConfigError
        If records of the bundle are whole windows, or the output cannot be written.
    DatasetError
        If the file cannot be used.
    """
    from stream_detector.cli.unknown_keys import warn_of_unknown_keys
    from stream_detector.datasets.files.ordering import FileOrder, in_time_order
    from stream_detector.datasets.files.samples import sample_parts
    from stream_detector.evaluation.offline import SAMPLES_AT_ONCE
    from stream_detector.evaluation.point_stream import PointStream

    recipe = served.bundle.manifest.recipe
    if recipe.window.record != "samples":
        message = "--points: only for a bundle whose records are samples; leave it out"
        raise ConfigError(message)
    columns, order = said.over(recipe.data.columns.lenient), FileOrder(file)
    parts = sample_parts(file, served.bundle.features, columns, numbered=True)
    ordered = order.numbered(in_time_order(order.follow(parts), SAMPLES_AT_ONCE))
    first = next(ordered)  # all of the file is read before
    warn_of_unknown_keys(first.keys, served.bundle.features)
    stream = PointStream(cast("SampleDetector", served.detector))
    scored = (_by_place(points) for points in stream.score(chain([first], ordered)))
    found = in_time_order((each for each in scored if len(each)), SAMPLES_AT_ONCE)
    top = next(found)  # all is scored before
    if stream.first_rejection:
        n_rejected = sum(stream.rejected.values())
        say(f"{n_rejected:,} samples cannot be scored: {stream.first_rejection}")
    with csv_rows(out) as write_row:
        write_row(POINT_COLUMNS)
        for part in chain([top], found):
            for row in _point_rows(part, served.detector.scorer.threshold):
                write_row(row)


def _by_place(points: "ScoredPoints") -> Samples:
    """Return points in the form in which they are sorted: their time is their place in the file."""
    values = np.column_stack([points.times_ms, points.causal, points.put_back])
    return Samples(points.keys, points.series, points.numbers, values)


def _point_rows(part: Samples, threshold: float) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the output for some points."""
    cells = ([*map(_cell, column.tolist())] for column in part.values.T)
    is_anomalous = np.where(part.values[:, 1] > threshold, "true", "false").tolist()
    for series, time, causal, put_back, anomalous in zip(
        part.series.tolist(), *cells, is_anomalous, strict=True
    ):
        yield part.keys[series], time, causal, put_back, repr(threshold), anomalous


def _cell(number: float) -> str:
    """Return a number so that it reads back exactly, whole ones without a point; empty for NaN."""
    if np.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and number else repr(number)
