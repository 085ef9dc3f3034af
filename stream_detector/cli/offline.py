"""Commands that need no Kafka: train, evaluate, score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_detector.assembly import open_bundle
from stream_detector.cli.files import WindowFile, csv_rows, read_file
from stream_detector.cli.output import console, print_json, print_table, progress_bar
from stream_detector.cli.reporting import report_on
from stream_detector.core.evaluation import figure_rows
from stream_detector.errors import ConfigError, DatasetError, RecordValueError
from stream_detector.settings import EngineName

if TYPE_CHECKING:
    from stream_detector.bundle import Bundle
    from stream_detector.datasets.base import Dataset
    from stream_detector.recipes import Recipe

BundlePath = Annotated[Path, typer.Argument(help="Folder that `train` wrote.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object instead of a table.")]
Engine = Annotated[EngineName, typer.Option(help="What runs the network.")]

SCORE_COLUMNS = (
    "key",
    "window_start_ms",
    "window_end_ms",
    "reconstruction_error",
    "threshold",
    "anomaly_score",
    "is_anomalous",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train)
    app.command("evaluate")(evaluate_bundle)
    app.command("score")(score)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as models/ecg5000-dense.toml.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default bundles/NAME.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set training.seed=N.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Same as --set training.epochs=N.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change any key; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit an autoencoder to normal windows, calibrate its threshold and write a bundle.

    Needs the train extra. Your own windows: `--set data.name=csv --set data.path=FILE`, one row
    a window, optional columns key, timestamp_ms and label (0 normal, 1 anomalous); and
    `--set window.steps=N --set window.features=N` where they are not the recipe's.
    """
    from stream_detector.recipes import load_recipe

    changes = list(overrides or [])
    changes += [f"training.seed={seed}"] if seed is not None else []
    changes += [f"training.epochs={epochs}"] if epochs is not None else []
    loaded = load_recipe(recipe, changes)
    bundle = train_with_progress(loaded, out or Path("bundles") / loaded.name)
    figures = bundle.manifest.metrics
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "version": bundle.manifest.version,
                "threshold": bundle.manifest.threshold.value,
                "metrics": figures,
            }
        )
        return
    console().print(f"bundle {bundle.path}, version {bundle.manifest.version[:12]}")
    if figures is not None:
        _print_figures(f"{loaded.name} on its test windows", figures, loaded)


def train_with_progress(recipe: "Recipe", out: Path) -> "Bundle":
    """Train with a bar that counts epochs."""
    from stream_detector.training import train as fit

    with progress_bar() as progress:
        n_epochs = recipe.training.epochs
        task = progress.add_task(f"training {recipe.name}", total=n_epochs)

        def on_epoch(n_done: int, loss: float) -> None:
            progress.update(
                task, completed=n_done, description=f"training {recipe.name}, loss {loss:.4f}"
            )

        return fit(recipe, out, on_epoch)


def evaluate_bundle(
    bundle: BundlePath,
    dataset: Annotated[
        str | None,
        typer.Option(help="ecg5000, mitdb:106, FILE.csv, ...; default what it was trained on."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="ecg5000: tutorial or official.")] = None,
    engine: Engine = "onnx",
    as_json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file to write: the verdicts in pictures. Needs the train extra."),
    ] = None,
) -> None:
    """Compare a bundle's verdicts with the labels of a data set's test windows.

    Figures the recipe's author published stand beside ours. `--report report.html` shows what is
    behind them: windows or images beside their reconstructions, the errors of both classes and
    the threshold, the codes, the worst misses and false alarms. It is one file without scripts
    that opens anywhere.
    """
    from stream_detector.training import evaluate_on

    served = open_bundle(bundle, engine)
    recipe = served.bundle.manifest.recipe
    data = load_named_dataset(dataset, split, recipe)
    if data.test_labels is None or not len(data.test):
        message = (
            f"data set {data.name}: expected labelled test windows, received none; add a column "
            "label (0 normal, 1 anomalous)"
        )
        raise DatasetError(message)
    served.bundle.check_shape(data.test)
    result, errors = evaluate_on(data, recipe, served.detector, served.reconstruct)
    where = f"{data.name} {data.split}".strip()
    if report is not None:
        report_on(report, served, data, errors, result)
    if as_json:
        print_json({"dataset": data.name, "split": data.split, **result.as_dict()})
        return
    _print_figures(f"{served.bundle.manifest.name} on {where}", result.as_dict(), recipe)


def load_named_dataset(name: str | None, split: str | None, recipe: "Recipe") -> "Dataset":
    """Load a data set named on the command line, or the recipe's own, as windows."""
    from stream_detector.datasets import (
        DATASET_NAMES,
        IMAGE_DATASET_NAMES,
        load_dataset,
        load_images,
    )
    from stream_detector.training import load_windows

    if name is None:
        changes = {"split": split} if split is not None else {}
        data = recipe.data.model_copy(update=changes)
        return load_windows(recipe.model_copy(update={"data": data}))
    suffix = Path(name).suffix.lower()
    if recipe.window.record == "samples":
        return _load_named_samples(name, suffix, recipe)
    if suffix in (".csv", ".parquet"):
        return load_dataset(suffix[1:], path=Path(name), n_features=recipe.window.features)
    if name in IMAGE_DATASET_NAMES:
        return load_images(name)
    if name not in DATASET_NAMES:
        message = (
            "--dataset: expected ecg5000, synthetic-ecg, mnist, fashion-mnist or a .csv or "
            f".parquet file, received {name!r}"
        )
        raise ConfigError(message)
    return load_dataset(name, split=split)


def _load_named_samples(name: str, suffix: str, recipe: "Recipe") -> "Dataset":
    """Load NAME:SERIES or a file of samples, cut into windows as the recipe says."""
    from stream_detector.datasets import SAMPLE_DATASET_NAMES, load_samples
    from stream_detector.datasets.windowing import to_windows

    if suffix in (".csv", ".parquet"):
        return to_windows(load_samples(suffix[1:], path=Path(name)), recipe.window.rules)
    base, _, series = name.partition(":")
    if base not in SAMPLE_DATASET_NAMES or not series:
        message = (
            "--dataset: expected mitdb:RECORD, smd:MACHINE, nab:SERIES or a .csv or .parquet file "
            f"of samples, received {name!r}"
        )
        raise ConfigError(message)
    return to_windows(load_samples(base, series=series), recipe.window.rules)


def score(
    bundle: BundlePath,
    file: WindowFile,
    out: Annotated[Path | None, typer.Option(help="CSV to write; default standard output.")] = None,
    engine: Engine = "onnx",
) -> None:
    """Score a file, with the same numbers, bit for bit, as `detect` gives live.

    What a row of the file is follows from the bundle: a whole window, or a sample (columns key,
    timestamp_ms and one a feature), from which windows are cut as on a stream. For a bundle of
    images, give an image or a folder of PNG and JPEG files, the keys of which are their names, in
    their order. One row a window is written, in the order of the file, or of the windows'
    completion.
    """
    served = open_bundle(bundle, engine)
    found = read_file(file, served.bundle)
    try:
        errors = served.detector.score(found.windows, served.reconstruct)
    except RecordValueError as problem:
        message = f"{file}: {problem}"
        raise DatasetError(message) from None
    threshold = served.detector.threshold
    with csv_rows(out) as write_row:
        write_row(SCORE_COLUMNS)
        places = zip(found.keys, found.start_ms, found.end_ms, strict=True)
        for (key, start_ms, end_ms), error in zip(places, errors.tolist(), strict=True):
            is_anomalous = "true" if error > threshold else "false"
            numbers = (repr(error), repr(threshold), repr(error / threshold))
            write_row((key, start_ms, end_ms, *numbers, is_anomalous))


def _print_figures(title: str, figures: dict[str, Any], recipe: "Recipe") -> None:
    """Print figures, the published ones beside them where the recipe has some."""
    published = recipe.published.figures() if recipe.published is not None else {}
    rows = figure_rows(figures, published)
    if published:
        print_table(title, ("figure", "measured", "published"), rows)
    else:
        print_table(title, ("figure", "measured"), [row[:2] for row in rows])
