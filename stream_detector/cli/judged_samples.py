"""The samples that `evaluate` runs a detector over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_detector.bundle import Bundle
from stream_detector.cli.options import Part, SaidColumns
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.datasets import SampleDataset, load_samples
from stream_detector.datasets.feature_order import in_order
from stream_detector.datasets.files.samples import load as load_sample_file
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.several import holds_tables
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import Recipe
from stream_detector.recipes.datasets import built_in
from stream_detector.replay import concatenate


@dataclass(frozen=True, slots=True, eq=False)
class JudgedSamples:
    """Samples over which a detector is to be run.

    Parameters
    ----------
    name
        Name to print.
    dataset, part
        Name of the data set, or path of the file, and which part of it this is: test or all.
    samples
        Their features are in the bundle's order; values of a file are exact.
    train
        Samples to learn from, for detectors that stand beside; None where there are none.
    faults
        Faults of which more than the labels is known.
    notes
        What a person should know of the choice.
    """

    name: str
    dataset: str
    part: Part
    samples: Samples
    train: Samples | None
    faults: Sequence[LabelledEvent]
    notes: Sequence[str] = ()


def load_judged_samples(
    name: str | None,
    part: Part | None,
    bundle: Bundle,
    *,
    with_train: bool,
    said: SaidColumns | None = None,
) -> JudgedSamples:
    """Load samples that a person named on the command line, to run a detector over them.

    Parameters
    ----------
    name
        NAME:SERIES, or the path of a CSV or Parquet file; None takes the recipe's own data.
    part
        "test" for the test part, "all" for everything; None takes all of a named file, and else
        the test part.
    bundle
        Its features are matched with those of the data by name.
    with_train
        Whether samples to learn from are wanted.
    said
        What options say about the columns of a file; None says nothing.

    Raises
    ------
    ConfigError
        If the name is unknown.
    DatasetError
        If the data cannot be read, has other features or no samples.
    """
    from stream_detector.training.data import load_recipe_samples

    recipe, features = bundle.manifest.recipe, bundle.features
    if name is None:
        data = in_order(load_recipe_samples(recipe.data), features)
        return _judged(recipe.data.path or f"{data.name}:{data.split}", data, part or "test")
    if not holds_tables(Path(name)):
        return _judged(name, in_order(_load_series(name), features), part or "test")
    columns = (said or SaidColumns()).over(recipe.data.columns.lenient)
    if part == "test":
        data = in_order(load_sample_file(Path(name), exact=True, columns=columns), features)
        return _judged(name, data, "test")
    table = read_samples(Path(name), features, columns)
    train, notes = _own_train(recipe, features) if with_train else (None, ())
    return JudgedSamples(name, name, "all", table.exact_samples, train, table.faults, notes)


def _judged(name: str, data: SampleDataset, part: Part) -> JudgedSamples:
    """Return one part of a data set."""
    notes: tuple[str, ...] = ()
    if not len(data.test):
        part = "all"
        notes = ("no part of the data was left out of the training, so other data are stranger",)
    samples = concatenate([data.train, data.test]) if part == "all" else data.test
    shown = f"the test part of {name}" if part == "test" else name
    return JudgedSamples(shown, name, part, samples, data.train, data.faults, notes)


def _own_train(recipe: Recipe, features: Features) -> tuple[Samples | None, Sequence[str]]:
    """Return the samples that a bundle was trained on, or why there are none."""
    from stream_detector.training.data import load_recipe_samples

    try:
        return in_order(load_recipe_samples(recipe.data), features).train, ()
    except DatasetError as error:
        why = f"floors that learn are left out, since the training data cannot be read: {error}"
        return None, (why,)


def _load_series(name: str) -> SampleDataset:
    """Load NAME:SERIES."""
    base, _, series = name.partition(":")
    if base not in built_in("samples") or not series:
        known = ", ".join(f"{each}:SERIES" for each in built_in("samples"))
        message = (
            f"--dataset: expected {known} or a .csv or .parquet file of samples, received {name!r}"
        )
        raise ConfigError(message)
    return load_samples(base, series=series)
