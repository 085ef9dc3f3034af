"""Files that several commands read windows from and write rows to."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stream_detector.cli.output import console
from stream_detector.errors import ConfigError

if TYPE_CHECKING:
    from stream_detector.bundle import Bundle
    from stream_detector.core.codec.image_format import ImageShape
    from stream_detector.core.records import FloatArray
    from stream_detector.recipes.sections import WindowSection


WindowFile = Annotated[
    Path,
    typer.Argument(help="FILE.csv or FILE.parquet, windows or samples; or a folder of images."),
]


class FileWindows(NamedTuple):
    """Windows of a file, with what stands beside each in the output; "" where unknown."""

    windows: "FloatArray"
    keys: Sequence[str]
    start_ms: Sequence[int | str]
    end_ms: Sequence[int | str]


def read_file(file: Path, bundle: "Bundle") -> FileWindows:
    """Read the windows of a file; what it holds follows from the bundle.

    Parameters
    ----------
    file
        CSV or Parquet, windows or samples; for a bundle of images also a folder of them, or one.
    bundle
        Says which.

    Raises
    ------
    DatasetError
        If the file cannot be used, or holds no window.
    """
    window = bundle.manifest.recipe.window
    if window.record == "samples":
        return _cut_file(file, window)
    if bundle.image is not None and file.suffix.lower() not in (".csv", ".parquet"):
        return _read_images(file, bundle.image)
    return _read_whole(file, window)


def _read_images(path: Path, image: "ImageShape") -> FileWindows:
    """Read a folder of images, or one of them; their names are their keys."""
    from stream_detector.datasets.files.images import read_images

    images = read_images(path, image)
    nothing = [""] * len(images.names)
    return FileWindows(images.windows, images.names, nothing, nothing)


def _read_whole(file: Path, window: "WindowSection") -> FileWindows:
    """Read a file of which each row is a whole window."""
    from stream_detector.datasets.files.windows import read_windows

    table = read_windows(file, window.steps, window.features)
    nothing = [""] * len(table.windows)
    if table.timestamps_ms is None:
        return FileWindows(table.windows, table.keys or nothing, nothing, nothing)
    span_ms = round((window.steps - 1) * window.sample_interval_ms)
    start_ms = table.timestamps_ms.tolist()
    end_ms = (table.timestamps_ms + span_ms).tolist()
    return FileWindows(table.windows, table.keys or nothing, start_ms, end_ms)


def _cut_file(file: Path, window: "WindowSection") -> FileWindows:
    """Cut windows from a file of which each row is a sample."""
    from stream_detector.datasets.files.samples import read_samples
    from stream_detector.datasets.windowing import cut_samples, require_windows

    samples = read_samples(file, window.features).samples
    found = cut_samples(samples, window.rules)
    require_windows(found, str(file), samples, window.rules)
    if found.n_missing:
        console().print(f"{found.n_missing} windows miss too much to be scored")
    return FileWindows(found.windows, found.keys, found.start_ms.tolist(), found.end_ms.tolist())


@contextmanager
def csv_rows(out: Path | None) -> Iterator[Callable[[Iterable[Any]], Any]]:
    """Give what writes a row of CSV, to a file or to standard output.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    if out is None:
        yield csv.writer(sys.stdout, lineterminator="\n").writerow
        return
    try:
        with out.open("w", newline="", encoding="utf-8") as stream:
            yield csv.writer(stream, lineterminator="\n").writerow
    except OSError as error:
        raise cannot_write(out, error) from None


def cannot_write(out: Path, error: OSError) -> ConfigError:
    """Return what is said where an output cannot be written."""
    return ConfigError(f"--out: {out} cannot be written: {error}; give another place")
