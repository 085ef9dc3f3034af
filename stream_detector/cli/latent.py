"""Commands that use a bundle's network for more than its errors: encode, generate, reconstruct."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from stream_detector.assembly import open_bundle, open_parts
from stream_detector.cli.files import WindowFile, csv_rows, read_file
from stream_detector.cli.offline import BundlePath, Engine
from stream_detector.cli.output import console, progress_bar
from stream_detector.cli.pictures import write_pictures
from stream_detector.errors import ConfigError, DatasetError, RecordValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_detector.bundle import Bundle
    from stream_detector.core.records import FloatArray
    from stream_detector.engines.keras import AutoencoderParts
    from stream_detector.recipes.sections import WindowSection

    Run = Callable[[FloatArray], FloatArray]

KINDS_WITH_PRIOR: tuple[str, ...] = ("vae", "adversarial")
"""Kinds of networks whose latent codes follow N(0, I), so that drawn ones can be decoded."""

_SAMPLE_START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z: drawn signals have no time of their own, and a file of samples needs one."""


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("encode")(encode)
    app.command("generate")(generate)
    app.command("reconstruct")(reconstruct)


def encode(
    bundle: BundlePath,
    file: WindowFile,
    out: Annotated[Path | None, typer.Option(help="CSV to write; default standard output.")] = None,
) -> None:
    """Write the latent code of each window: the few values that the network keeps of it.

    Needs the train extra, for it runs the encoder with Keras. The file is read as `score` reads
    it. One row a window: key, window_start_ms, and latent_0 to the last value of the latent code,
    so that they read back exactly. Codes of one bundle can be compared with each other, those of
    two bundles cannot.
    """
    opened, parts = _open_parts(bundle)
    found = read_file(file, opened)
    latent: list[FloatArray] = []

    def run(scaled: "FloatArray") -> "FloatArray":
        latent.append(parts.encode(scaled))
        return parts.decode(latent[-1])

    _go_through(opened, found.windows, run, f"encoding {file.name}")
    with csv_rows(out) as write_row:
        write_row(("key", "window_start_ms", *(f"latent_{n}" for n in range(parts.n_latent))))
        rows = np.concatenate(latent).astype(np.float64).tolist()
        for key, start_ms, row in zip(found.keys, found.start_ms, rows, strict=True):
            write_row((key, start_ms, *map(repr, row)))


def generate(
    bundle: BundlePath,
    n: Annotated[int, typer.Option(min=1, help="How many windows or images.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same ones.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV to write, default standard output; for images a folder of PNGs."),
    ] = None,
) -> None:
    """Draw new windows or images from a network that has learned to make them.

    Needs the train extra. Codes are drawn from a normal distribution and decoded, which only a
    bundle of kind vae or adversarial is trained for. Signals are written as CSV in the form that
    `score` reads for the same bundle, in the signal's unit.
    """
    opened, parts = _open_parts(bundle)
    recipe = opened.manifest.recipe
    if recipe.network.kind not in KINDS_WITH_PRIOR:
        message = (
            f"bundle {bundle}: expected a network of kind {' or '.join(KINDS_WITH_PRIOR)}, "
            f"received {recipe.network.kind!r}; the latent codes of others follow no known "
            "distribution, so decoded draws would look like nothing it was trained on"
        )
        raise ConfigError(message)
    latent = np.random.default_rng(seed).standard_normal((n, parts.n_latent), dtype=np.float32)
    values = opened.scaler.inverse(parts.decode(latent))  # (n, n_steps, n_features)
    keys = [f"sample-{number:05d}" for number in range(n)]
    if recipe.window.record == "image":
        write_pictures(out, keys, values, recipe.window.channels)
    elif recipe.window.record == "samples":
        _write_drawn_samples(out, keys, values, recipe.window)
    else:
        _write_windows(out, keys, [""] * n, values)


def reconstruct(
    bundle: BundlePath,
    file: WindowFile,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV to write, default standard output; for images a folder of PNGs."),
    ] = None,
    engine: Engine = "onnx",
) -> None:
    """Write what the network makes of a file: the signal without what it never learned.

    With a network trained to remove noise, this is the cleaned signal, in the signal's unit and in
    the form the file has. Windows: one row a window. Samples: the same rows, each value the mean
    of all windows that it lies in; a value that lies in none stays empty, and how many these are
    is said. Images: PNG files of the same names.
    """
    served = open_bundle(bundle, engine)
    window = served.bundle.manifest.recipe.window
    made: list[FloatArray] = []

    def run(scaled: "FloatArray") -> "FloatArray":
        made.append(served.reconstruct(scaled))
        return made[-1]

    def clean(windows: "FloatArray") -> "NDArray[np.float64]":
        _go_through(served.bundle, windows, run, f"reconstructing {file.name}")
        return served.bundle.scaler.inverse(np.concatenate(made))

    if window.record == "samples":
        _reconstruct_samples(file, out, window, clean)
        return
    found = read_file(file, served.bundle)
    if window.record == "image":
        write_pictures(out, found.keys, clean(found.windows), window.channels)
    else:
        _write_windows(out, found.keys, found.start_ms, clean(found.windows))


def _open_parts(path: Path) -> "tuple[Bundle, AutoencoderParts]":
    """Open a bundle in halves; Keras takes some seconds to load."""
    with progress_bar() as progress:
        progress.add_task("loading the network", total=None)
        return open_parts(path)


def _go_through(bundle: "Bundle", windows: "FloatArray", run: "Run", what: str) -> None:
    """Hand windows to `run` scaled, checked and in slices, exactly as they are scored.

    Raises
    ------
    DatasetError
        If a window cannot be scored.
    """
    with progress_bar() as progress:
        task = progress.add_task(what, total=len(windows))

        def advance(scaled: "FloatArray") -> "FloatArray":
            result = run(scaled)
            progress.advance(task, len(scaled))
            return result

        try:
            bundle.detector().score(windows, advance)
        except RecordValueError as problem:
            message = f"{what}: {problem}"
            raise DatasetError(message) from None


def _write_windows(
    out: Path | None,
    keys: Sequence[str],
    start_ms: Sequence[int | str],
    values: "NDArray[np.float64]",
) -> None:
    """Write one row a window, its place before its values where it is known."""
    beside = {"key": keys, "timestamp_ms": start_ms}
    known = {name: column for name, column in beside.items() if column[0] != ""}
    flat = values.reshape(len(values), -1)  # (n_windows, n_steps * n_features)
    with csv_rows(out) as write_row:
        write_row((*known, *(f"v{number}" for number in range(flat.shape[1]))))
        for number, row in enumerate(flat.tolist()):
            write_row((*(column[number] for column in known.values()), *map(repr, row)))


def _write_samples(
    out: Path | None,
    names: Iterable[str],
    places: Iterable[tuple[str, float]],
    values: "NDArray[np.float64]",
) -> None:
    """Write one row a sample; NaN becomes an empty cell."""
    with csv_rows(out) as write_row:
        write_row(("key", "timestamp_ms", *names))
        for (key, time_ms), row in zip(places, values.tolist(), strict=True):
            shown_ms = int(time_ms) if time_ms == int(time_ms) else time_ms
            write_row((key, shown_ms, *("" if np.isnan(cell) else repr(cell) for cell in row)))


def _write_drawn_samples(
    out: Path | None, keys: Sequence[str], values: "NDArray[np.float64]", window: "WindowSection"
) -> None:
    """Write drawn windows as samples, each a series of its own, so that each is cut whole again."""
    times_ms = _SAMPLE_START_MS + window.sample_interval_ms * np.arange(window.steps)
    places = [(key, time_ms) for key in keys for time_ms in times_ms.tolist()]
    names = [f"feature_{number}" for number in range(window.features)]
    _write_samples(out, names, places, values.reshape(-1, window.features))


def _reconstruct_samples(
    file: Path,
    out: Path | None,
    window: "WindowSection",
    clean: "Callable[[FloatArray], NDArray[np.float64]]",
) -> None:
    """Cut a file of samples, clean the windows and put them together again."""
    from stream_detector.datasets.files.samples import read_samples
    from stream_detector.datasets.windowing import cut_with_rows, join_windows, require_windows

    table = read_samples(file, window.features)
    samples = table.samples
    found, rows = cut_with_rows(samples, window.rules)
    require_windows(found, str(file), samples, window.rules)
    joined = join_windows(clean(found.windows), rows, len(samples))  # (n_samples, n_features)
    n_outside = int(np.isnan(joined[:, 0]).sum())
    if n_outside:
        console().print(f"{n_outside} of {len(samples)} samples lie in no window and stay empty")
    keys = (samples.keys[number] for number in samples.series.tolist())
    places = zip(keys, samples.times_ms.tolist(), strict=True)
    _write_samples(out, table.feature_names, places, joined)
