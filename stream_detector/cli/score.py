"""The command `score`."""

import typer

from stream_detector.cli.options import (
    OFFLINE,
    BundlePath,
    Engine,
    OutFile,
    WindowFile,
    examples,
)
from stream_detector.cli.terminal import csv_rows
from stream_detector.errors import DatasetError, RecordValueError

SCORE_COLUMNS = (
    "key",
    "window_start_ms",
    "window_end_ms",
    "reconstruction_error",
    "threshold",
    "anomaly_score",
    "is_anomalous",
)

EXAMPLES = examples(
    "stream-detector score bundles/ecg5000-dense beats.csv --out scores.csv",
    "stream-detector score bundles/mitdb-dense samples.parquet | head",
    "stream-detector score bundles/mnist-vs-fashion-conv images/",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("score", epilog=EXAMPLES, rich_help_panel=OFFLINE)(score)


def score(
    bundle: BundlePath, file: WindowFile, out: OutFile = None, engine: Engine = "onnx"
) -> None:
    """Score the windows of a file, bit for bit as `detect` scores them live.

    The bundle decides what a row of the file is: a whole window, or a sample (columns key,
    timestamp_ms and one for each feature), from which windows are cut as on a stream. For a bundle
    of images, give an image or a folder of PNG and JPEG files; the key of an image is its file
    name.

    The output has one row a window: key, start and end, reconstruction error, threshold, anomaly
    score and whether the window is anomalous. Whole windows keep the order of the file; windows
    cut from samples come in the order in which they are complete.
    """
    from stream_detector.assembly import open_bundle
    from stream_detector.cli.sources import read_file

    served = open_bundle(bundle, engine)
    found = read_file(file, served.bundle)
    try:
        errors = served.detector.score(found.windows)
    except RecordValueError as problem:
        message = f"{file}: {problem}"
        raise DatasetError(message) from None
    threshold = served.detector.scorer.threshold
    with csv_rows(out) as write_row:
        write_row(SCORE_COLUMNS)
        places = zip(found.keys, found.start_ms, found.end_ms, strict=True)
        for (key, start_ms, end_ms), error in zip(places, errors.tolist(), strict=True):
            is_anomalous = "true" if error > threshold else "false"
            numbers = (repr(error), repr(threshold), repr(error / threshold))
            write_row((key, start_ms, end_ms, *numbers, is_anomalous))
