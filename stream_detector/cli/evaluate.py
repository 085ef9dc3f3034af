"""The command `evaluate`, and the report it writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from stream_detector.cli.evaluate_stream import (
    StreamOptions,
    evaluate_stream,
    needs_train_extra,
    trained_on,
)
from stream_detector.cli.options import (
    OFFLINE,
    BundlePath,
    Engine,
    FeatureNames,
    Json,
    Key,
    Label,
    Long,
    Part,
    SaidColumns,
    Time,
    TimeFormat,
    examples,
)
from stream_detector.cli.terminal import print_json, print_table, progress_bar
from stream_detector.errors import BundleMismatchError, ConfigError, DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_detector.assembly import Served
    from stream_detector.bundle import Bundle
    from stream_detector.core.evaluation import Evaluation
    from stream_detector.core.records import FloatArray
    from stream_detector.datasets import Dataset
    from stream_detector.recipes import Recipe

EXAMPLES = examples(
    "stream-detector evaluate bundles/ecg5000-dense",
    "stream-detector evaluate bundles/smd-dense --dataset smd:2-1 --floors",
    "stream-detector evaluate bundles/pumps --dataset pumps.csv --report report.html",
    "stream-detector evaluate bundles/mnist-vs-fashion-conv --report report.html",
)

_WINDOWS_AT_ONCE = 2048


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("evaluate", epilog=EXAMPLES, rich_help_panel=OFFLINE)(evaluate)


def evaluate(
    bundle: BundlePath,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="ecg5000, mitdb:106, FILE.csv, ...; default the data set it was trained on."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="ecg5000: tutorial or official.")] = None,
    part: Annotated[
        Part | None,
        typer.Option(
            help="Samples: all, or the test part; default all of a file, else the test part."
        ),
    ] = None,
    floors: Annotated[
        bool, typer.Option("--floors", help="Samples: simple detectors beside the bundle.")
    ] = False,
    point_adjusted: Annotated[
        bool, typer.Option("--point-adjusted", help="Samples: also the point-adjusted F1.")
    ] = False,
    key: Key = None,
    time: Time = None,
    time_format: TimeFormat = None,
    label: Label = None,
    long: Long = None,
    features: FeatureNames = None,
    engine: Engine = "onnx",
    as_json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file to write, with the results as charts. Needs the train extra."),
    ] = None,
) -> None:
    """Measure how well a bundle tells the normal from the anomalous in a data set.

    Where records are samples, the detector runs over them as it does on a stream. The tables have
    the faults found and how late, false alarms a day, the time on alert, the feature named, by
    kind of fault, check and key; metrics of samples and windows; and the strangest spans, for
    which no labels are needed.

    Where records are whole windows, these are those of the test part, which needs labels. The table
    has accuracy, precision, recall, AUROC and more, with published figures beside them where the
    recipe names some.

    `--report report.html` shows what is behind the figures. It is one file without scripts, and any
    browser opens it.
    """
    from stream_detector.assembly import open_bundle
    from stream_detector.cli.judged_samples import load_judged_samples
    from stream_detector.cli.sources import load_named_dataset
    from stream_detector.cli.unknown_keys import warn_of_unknown_keys
    from stream_detector.training import evaluate_on

    said = SaidColumns(key, time, time_format, label, features, long)
    said.require_file(dataset, "--dataset")
    served = open_bundle(bundle, engine)
    recipe = served.bundle.manifest.recipe
    flags = {"--part": part, "--floors": floors, "--point-adjusted": point_adjusted}
    if recipe.window.record == "samples":
        _refuse({"--split": split}, "whole windows")
        samples = load_judged_samples(dataset, part, served.bundle, with_train=floors, said=said)
        options = StreamOptions(floors=floors, point_adjusted=point_adjusted, report=report)
        evaluate_stream(served, samples, options, as_json=as_json)
        return
    _refuse(flags, "samples")
    data = load_named_dataset(dataset, split, served.bundle, said)
    warn_of_unknown_keys(data.test_keys or (), served.bundle.features)
    if data.test_labels is None or not len(data.test):
        message = (
            f"data set {data.name}: expected labelled test windows, received none; add a column "
            "label (0 normal, 1 anomalous)"
        )
        raise DatasetError(message)
    served.bundle.check_shape(data.test)
    result, errors = evaluate_on(data, recipe, served.bundle.scorer(served.reconstruct))
    where = f"{data.name} {data.split}".strip()
    if report is not None:
        _write_report(report, served, data, errors, result)
    if as_json:
        print_json({"dataset": data.name, "split": data.split, **result.as_dict()})
        return
    print_figures(f"{served.bundle.manifest.name} on {where}", result.as_dict(), recipe)


def _refuse(flags: Mapping[str, object], record: str) -> None:
    """Refuse flags that are for bundles of another record."""
    for flag, value in flags.items():
        if value:
            message = (
                f"{flag}: only for a bundle whose records are {record}, received one of others; "
                "leave it out"
            )
            raise ConfigError(message)


def print_figures(title: str, figures: dict[str, Any], recipe: "Recipe") -> None:
    """Print a table of figures, with the published ones beside them where the recipe has some."""
    from stream_detector.core.evaluation import figure_rows

    published = recipe.published.figures() if recipe.published is not None else {}
    rows = figure_rows(figures, published)
    if published:
        print_table(title, ("figure", "measured", "published"), rows)
    else:
        print_table(title, ("figure", "measured"), [row[:2] for row in rows])


def _write_report(
    out: Path,
    served: "Served",
    data: "Dataset",
    errors: "NDArray[np.float64]",
    evaluation: "Evaluation",
) -> None:
    """Write a report on a data set's test part.

    Parameters
    ----------
    out
        The HTML file.
    served
        The bundle that scored the windows.
    data
        The test part must have labels and at least one window.
    errors, evaluation
        Reconstruction errors of the test windows, shape (n_windows,), and the figures.

    Raises
    ------
    ConfigError
        If Matplotlib or Keras is not installed, or the file cannot be written.
    """
    try:
        from stream_detector.report import Findings, write_report
    except ImportError as error:
        raise needs_train_extra(error) from None

    if data.test_labels is None:
        message = "a report needs labels"
        raise ValueError(message)
    with progress_bar() as progress:
        progress.add_task(f"drawing {out.name}", total=None)
        findings = Findings(
            bundle=served.bundle,
            where=f"{data.name} {data.split}".strip(),
            windows=data.test,
            labels=data.test_labels,
            errors=errors,
            evaluation=evaluation,
            reconstruct=served.reconstruct,
            keys=data.test_keys,
            start_ms=data.test_timestamps_ms,
            latent=_latent(served.bundle, data.test),
            history=served.bundle.manifest.history,
            trained_on=trained_on(served.bundle),
        )
        write_report(out, findings)


def _latent(bundle: "Bundle", windows: "FloatArray") -> "FloatArray | None":
    """Return the latent codes of windows, None where the network has no encoder of its own."""
    from stream_detector.assembly import load_parts

    try:
        parts = load_parts(bundle)
    except BundleMismatchError:  # the report says so
        return None
    starts = range(0, len(windows), _WINDOWS_AT_ONCE)
    return np.concatenate(
        [
            parts.encode(bundle.scaler.transform(windows[start : start + _WINDOWS_AT_ONCE]))
            for start in starts
        ]
    )
