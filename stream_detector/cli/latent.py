"""The commands `encode`, `reconstruct` and `generate`: a network's two halves and its output."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from stream_detector.cli.options import (
    OFFLINE,
    BundlePath,
    Engine,
    OutFile,
    OutFileOrFolder,
    WindowFile,
    examples,
)
from stream_detector.cli.terminal import csv_rows, progress_bar, say
from stream_detector.errors import ConfigError, DatasetError, RecordValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_detector.assembly import ServedParts
    from stream_detector.bundle import Bundle
    from stream_detector.core.features import Features
    from stream_detector.core.records import FloatArray

    Run = Callable[[FloatArray], FloatArray]

KINDS_WITH_PRIOR: tuple[str, ...] = ("vae", "adversarial")
"""Kinds of networks whose latent codes follow N(0, I), so that codes drawn from it decode to
something like the training data."""

ENCODE_EXAMPLES = examples(
    "stream-detector encode bundles/ecg5000-dense beats.csv --out latent.csv"
)
RECONSTRUCT_EXAMPLES = examples(
    "stream-detector reconstruct bundles/ecg5000-dense beats.csv --out reconstructed.csv",
    "stream-detector reconstruct bundles/fashion-denoise images/ --out denoised/",
)
GENERATE_EXAMPLES = examples(
    "stream-detector generate bundles/mnist-vae --n 25 --out digits/",
    "stream-detector generate bundles/ecg5000-adversarial --seed 7 --out beats.csv",
)

_GENERATED_START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z: generated signals have no time of their own, and a file of samples needs
one."""


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("encode", epilog=ENCODE_EXAMPLES, rich_help_panel=OFFLINE)(encode)
    app.command("reconstruct", epilog=RECONSTRUCT_EXAMPLES, rich_help_panel=OFFLINE)(reconstruct)
    app.command("generate", epilog=GENERATE_EXAMPLES, rich_help_panel=OFFLINE)(generate)


def encode(bundle: BundlePath, file: WindowFile, out: OutFile = None) -> None:
    """Write the latent code of each window, the few values to which the encoder reduces it.

    Needs the train extra, because Keras runs the encoder. The file is read as `score` reads it.
    The output has one row a window: key, window_start_ms, and the values of the latent code as
    latent_0, latent_1 and so on, printed so that they read back exactly. Latent codes of one bundle
    can be compared with each other, those of two bundles cannot.
    """
    from stream_detector.cli.sources import read_file

    opened, parts = _open_parts(bundle)
    found = read_file(file, opened)
    latent: list[FloatArray] = []

    def run(scaled: "FloatArray") -> "FloatArray":
        latent.append(parts.encode(scaled))
        return parts.decode(latent[-1])

    _run_scaled(opened, found.windows, run, f"encoding {file.name}")
    with csv_rows(out) as write_row:
        write_row(("key", "window_start_ms", *(f"latent_{n}" for n in range(parts.n_latent))))
        rows = np.concatenate(latent).astype(np.float64).tolist()
        for key, start_ms, row in zip(found.keys, found.start_ms, rows, strict=True):
            write_row((key, start_ms, *map(repr, row)))


def generate(
    bundle: BundlePath,
    n: Annotated[int, typer.Option(min=1, help="How many windows or images.")] = 16,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random draw; the same seed, the same output.")
    ] = 0,
    out: OutFileOrFolder = None,
) -> None:
    """Generate windows or images like those a network was trained on.

    Needs the train extra. Latent codes are drawn from a normal distribution and decoded, which
    needs a bundle of kind vae or adversarial: only these are trained for it. Signals are written
    in their unit, as CSV that `score` reads for the same bundle; images as PNG files.
    """
    from stream_detector.cli.images import write_images

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
    made = opened.scaler.inverse(parts.decode(latent))  # (n, n_steps, n_features)
    values = opened.features.from_key_units(made)
    keys = [f"sample-{number:05d}" for number in range(n)]
    if recipe.window.record == "image":
        write_images(out, keys, values, recipe.window.channels)
    elif recipe.window.record == "samples":
        _write_generated_samples(out, keys, values, opened)
    else:
        _write_windows(out, keys, [""] * n, values)


def reconstruct(
    bundle: BundlePath,
    file: WindowFile,
    out: OutFileOrFolder = None,
    engine: Engine = "onnx",
) -> None:
    """Write what the network makes of a file: the signal without what it never learned.

    With a network trained to remove noise, this is the denoised signal. The output is in the
    signal's unit and in the form of the file. Windows: one row a window. Samples: the same rows,
    each value the mean over all windows that contain it; a value that no window contains is left
    empty, and the command prints how many these are. Images: PNG files of the same names.
    """
    from stream_detector.assembly import open_bundle
    from stream_detector.cli.images import write_images
    from stream_detector.cli.sources import read_file

    served = open_bundle(bundle, engine)
    window = served.bundle.manifest.recipe.window
    made: list[FloatArray] = []

    def run(scaled: "FloatArray") -> "FloatArray":
        made.append(served.reconstruct(scaled))
        return made[-1]

    def clean(
        windows: "FloatArray", keys: Sequence[str], features: "Features"
    ) -> "NDArray[np.float64]":
        _run_scaled(served.bundle, windows, run, f"reconstructing {file.name}")
        reconstructed = served.bundle.scaler.inverse(np.concatenate(made), windows)
        return features.from_key_units(reconstructed, keys)

    if window.record == "samples":
        _reconstruct_samples(file, out, served.bundle, clean)
        return
    found, features = read_file(file, served.bundle), served.bundle.features
    if window.record == "image":
        write_images(out, found.keys, clean(found.windows, found.keys, features), window.channels)
    else:
        _write_windows(out, found.keys, found.start_ms, clean(found.windows, found.keys, features))


def _open_parts(path: Path) -> "ServedParts":
    """Open a bundle with its encoder and decoder; Keras takes some seconds to load."""
    from stream_detector.assembly import open_parts

    with progress_bar() as progress:
        progress.add_task("loading the network", total=None)
        return open_parts(path)


def _run_scaled(bundle: "Bundle", windows: "FloatArray", run: "Run", what: str) -> None:
    """Call `run` with the windows scaled, checked and in slices, exactly as scoring does.

    Raises
    ------
    DatasetError
        If a window cannot be scored.
    """
    from stream_detector.core.scoring.scorer import score_windows

    with progress_bar() as progress:
        task = progress.add_task(what, total=len(windows))

        def advance(scaled: "FloatArray") -> "FloatArray":
            result = run(scaled)
            progress.advance(task, len(scaled))
            return result

        try:
            score_windows(bundle.scorer(advance), windows)
        except RecordValueError as problem:
            message = f"{what}: {problem}"
            raise DatasetError(message) from None


def _write_windows(
    out: Path | None,
    keys: Sequence[str],
    start_ms: Sequence[int | str],
    values: "NDArray[np.float64]",
) -> None:
    """Write one row a window: its key and time where they are known, then its values."""
    columns = {"key": keys, "timestamp_ms": start_ms}
    known = {name: column for name, column in columns.items() if column[0] != ""}
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


def _write_generated_samples(
    out: Path | None, keys: Sequence[str], values: "NDArray[np.float64]", bundle: "Bundle"
) -> None:
    """Write windows as samples; each is a series of its own, so that `score` cuts it whole."""
    window = bundle.manifest.recipe.window
    times_ms = _GENERATED_START_MS + window.sample_interval_ms * np.arange(window.steps)
    places = [(key, time_ms) for key in keys for time_ms in times_ms.tolist()]
    _write_samples(out, bundle.features.names, places, values.reshape(-1, window.features))


def _reconstruct_samples(
    file: Path,
    out: Path | None,
    bundle: "Bundle",
    clean: "Callable[[FloatArray, Sequence[str], Features], NDArray[np.float64]]",
) -> None:
    """Cut a file of samples into windows, clean these and join them to a signal again."""
    from stream_detector.cli.unknown_keys import warn_of_unknown_keys
    from stream_detector.datasets.files.samples import read_samples
    from stream_detector.datasets.windowing import cut_with_rows, join_windows, require_windows

    recipe, rules = bundle.manifest.recipe, bundle.manifest.recipe.rules
    table = read_samples(file, bundle.features, recipe.data.columns.lenient)
    samples = table.samples
    found, rows = cut_with_rows(samples, rules, bundle.features)
    warn_of_unknown_keys(samples.keys, bundle.features, found.n_warm_up)
    require_windows(found, str(file), samples, rules, bundle.features)
    features = found.features or bundle.features
    cleaned = clean(found.in_key_units(features).windows, found.keys, features)
    joined = join_windows(cleaned, rows, len(samples))  # (n_samples, n_features)
    n_outside = int(np.isnan(joined[:, 0]).sum())
    if n_outside:
        say(f"{n_outside} of {len(samples)} samples lie in no window and are left empty")
    keys = (samples.keys[number] for number in samples.series.tolist())
    places = zip(keys, samples.times_ms.tolist(), strict=True)
    _write_samples(out, table.feature_names, places, joined)
