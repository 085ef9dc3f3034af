"""The command `train`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_detector.cli.evaluate import print_figures
from stream_detector.cli.options import (
    OFFLINE,
    FeatureNames,
    Json,
    Key,
    Label,
    Long,
    SaidColumns,
    Time,
    TimeFormat,
    examples,
)
from stream_detector.cli.terminal import is_agreed, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from stream_detector.bundle import Bundle, Calibration
    from stream_detector.recipes import Recipe

EXAMPLES = examples(
    "stream-detector train models/ecg5000-dense.toml",
    "stream-detector train models/ecg5000-dense.toml --seed 7 --out bundles/seed-7",
    "stream-detector train models/ecg5000-dense.toml --set data.name=csv \\",
    "    --set data.path=windows.csv --set window.steps=96",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train", epilog=EXAMPLES, rich_help_panel=OFFLINE)(train)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as models/ecg5000-dense.toml.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; default bundles/NAME.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set training.seed=N.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Same as --set training.epochs=N.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Change any key of the recipe; can be given several times.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the bundle of another recipe without asking."),
    ] = False,
    key: Key = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Label = None,
    long: Long = None,
    features: FeatureNames = None,
    as_json: Json = False,
) -> None:
    """Fit an autoencoder to normal windows, calibrate its threshold and write a bundle.

    Needs the train extra. The bundle is a folder that `detect`, `score` and the other commands
    take: the network, the scaler, the threshold and how it was calibrated. An older bundle of the
    same recipe in that folder is replaced; before one of another recipe is replaced, the command
    asks, and where there is no terminal it needs --overwrite.

    To train on your own windows, start from a recipe and give `--set data.name=csv
    --set data.path=FILE`, with one row a window and optional columns key, timestamp_ms and label
    (0 normal, 1 anomalous). Add `--set window.steps=N --set window.features=N` where these differ
    from the recipe's.
    """
    from stream_detector.core.features import list_names
    from stream_detector.recipes import load_recipe

    changes = list(overrides or [])
    changes += SaidColumns(key, time, time_format, label, features, long).overrides
    changes += [f"training.seed={seed}"] if seed is not None else []
    changes += [f"training.epochs={epochs}"] if epochs is not None else []
    loaded = load_recipe(recipe, changes)
    folder = out or Path("bundles") / loaded.name
    bundle = train_with_progress(
        loaded, folder, overwrite=overwrite or _is_replacing(folder, loaded.name)
    )
    figures, calibration = bundle.manifest.metrics, bundle.manifest.threshold.calibration
    left_out = bundle.manifest.left_out
    for warning in bundle.manifest.warnings:
        say(f"warning: {warning}")
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "version": bundle.manifest.version,
                "threshold": bundle.manifest.threshold.value,
                "calibration": calibration and calibration.model_dump(),
                "logarithmic": bundle.manifest.recipe.scaling.logarithmic,
                "n_key_scales": None if bundle.key_scales is None else len(bundle.key_scales),
                "left_out": left_out and left_out.counts(),
                "metrics": figures,
                "warnings": bundle.manifest.warnings,
            }
        )
        return
    say(f"bundle {bundle.path}, version {bundle.manifest.version[:12]}")
    if bundle.key_scales is not None:
        say(f"{len(bundle.key_scales):,} keys have a scale of their own")
    if logarithmic := bundle.manifest.recipe.scaling.logarithmic:
        say(f"count by their logarithm, since they vary by factors: {list_names(logarithmic)}")
    if calibration is not None:
        say(f"threshold {bundle.manifest.threshold.value:.4g}: {describe_calibration(calibration)}")
    if left_out is not None:
        from stream_detector.evaluation.tables import left_out_table

        print_table(*left_out_table(left_out))
    if figures is not None:
        print_figures(f"{loaded.name} on its test windows", figures, loaded)


def describe_calibration(calibration: "Calibration") -> str:
    """Return in words how often the normal windows calibrated on exceed the threshold."""
    is_share = calibration.unit == "share"
    factor, unit = (100, " %") if is_share else (1, "")
    reached, low, high = (
        f"{factor * each:.3g}{unit}"
        for each in (calibration.reached, calibration.low, calibration.high)
    )
    what = "of the windows calibrated on" if is_share else "false alarms a day and key"
    text = f"{reached} {what} (95 %: {low} to {high})"
    if calibration.days is not None:
        text += f", {calibration.n_clusters} in {calibration.days:.3g} days of a key"
    if calibration.stated is not None:
        text += f"; stated {factor * calibration.stated:.3g}{unit}"
    return text + ", extrapolated" * calibration.extrapolated


def _is_replacing(out: Path, recipe: str) -> bool:
    """Ask, where there is a terminal, whether to replace the bundle of another recipe."""
    from stream_detector.bundle import other_bundle

    other = other_bundle(out, recipe)
    return (
        other is not None and sys.stdin.isatty() and is_agreed(f"{out} holds {other}; replace it?")
    )


def train_with_progress(recipe: "Recipe", out: Path, *, overwrite: bool = False) -> "Bundle":
    """Train with a progress bar that counts epochs and shows the loss."""
    from stream_detector.training import train as fit

    with progress_bar() as progress:
        n_epochs = recipe.n_epochs * recipe.threshold.n_networks
        task = progress.add_task(f"training {recipe.name}", total=n_epochs)

        def on_epoch(n_done: int, loss: float) -> None:
            progress.update(
                task, completed=n_done, description=f"training {recipe.name}, loss {loss:.4f}"
            )

        return fit(recipe, out, on_epoch, overwrite=overwrite)
