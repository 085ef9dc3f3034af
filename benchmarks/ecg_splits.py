"""A recipe of ECG5000 on other splits of the beats, beside detectors without a network.

A split is "official", or the seed of scikit-learn's `train_test_split(test_size=0.2)` of the 4,998
beats: 21 is the tutorial's. The recipe is trained on the normal beats of the training part from a
file without labels, and judged on the test part. The floors are calibrated alike: by each training
beat against the others, at the share of false alarms that is stated.

    python benchmarks/ecg_splits.py [models/ecg5000-best.toml] [--splits official 21 1] [--seeds 3]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from zoo import MODELS

from stream_detector.core.evaluation import evaluate
from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.datasets import load_dataset
from stream_detector.datasets.ecg5000 import tutorial_split
from stream_detector.engines.onnx import load_onnx
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.recipes.sections import DataSection
from stream_detector.training import train

JUDGED = ("21", "1", "2", "3", "4", "5", "official")
SHARE = 0.02
"""Share of false alarms that the floors are calibrated to."""

KEYS = ("auroc", "accuracy", "false alarms")

Figures = dict[str, float]
Found = dict[str, dict[str, list[Figures]]]
"""By split and by detector, one entry a seed."""

Floor = Callable[
    [NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]
]
"""Training and test beats in, the scores of each out."""


class Split(NamedTuple):
    """Normal training beats, and labelled test beats; shape (n_windows, n_steps, 1)."""

    train: FloatArray
    test: FloatArray
    labels: NDArray[np.int8]


def main() -> None:
    """Train on each split and print what recipe and floors reach."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=MODELS / "ecg5000-best.toml")
    parser.add_argument("--splits", nargs="*", default=list(JUDGED))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="change a key, as in train")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.set)
    found: Found = {}
    for name in options.splits:
        split = read_split(name)
        found[name] = {floor: [judge_floor(FLOORS[floor], split)] for floor in FLOORS}
        found[name][recipe.name] = [judge(recipe, split, seed) for seed in range(options.seeds)]
        sys.stderr.write(f"{name}: {found[name]}\n")
    sys.stdout.write("\n".join(table(found)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def read_split(name: str) -> Split:
    """Return the beats of a split."""
    is_official = name == "official"
    data = load_dataset("ecg5000", split="official" if is_official else "tutorial")
    train_labels, test_labels = data.train_labels, data.test_labels
    assert train_labels is not None
    assert test_labels is not None
    if is_official:
        return Split(data.train[train_labels == 0], data.test, test_labels)
    # The tutorial's split undone, and another one made of the same rows.
    rows = np.concatenate(tutorial_split(len(data.train) + len(data.test)))  # (n_beats,)
    in_order = np.argsort(rows)  # (n_beats,)
    beats = np.concatenate([data.train, data.test])[in_order]  # (n_beats, n_steps, 1)
    labels = np.concatenate([train_labels, test_labels])[in_order]  # (n_beats,)
    train_rows, test_rows = tutorial_split(len(beats), int(name))
    train_rows = train_rows[labels[train_rows] == 0]
    return Split(beats[train_rows], beats[test_rows], labels[test_rows])


def judge(recipe: Recipe, split: Split, seed: int) -> Figures:
    """Train the recipe on a split and return what it reaches on the test part."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "beats.csv"
        np.savetxt(path, split.train[:, :, 0], fmt="%.9g", delimiter=",")
        changes = {
            "data": DataSection(name="csv", path=str(path)),
            "training": recipe.training.model_copy(update={"seed": seed}),
        }
        bundle = train(recipe.model_copy(update=changes), Path(folder) / "bundle")
        network = load_onnx(bundle.network_onnx, *split.train.shape[1:])
        scorer = bundle.scorer(network)
        return figures(score_windows(scorer, split.test), scorer.threshold, split.labels)


def judge_floor(floor: Floor, split: Split) -> Figures:
    """Return what a detector without a network reaches on the test part."""
    train, test = (each[:, :, 0].astype(np.float64) for each in (split.train, split.test))
    normal, scores = floor(train, test)
    rank = min(int(np.ceil((1 - SHARE) * (len(normal) + 1))), len(normal))
    return figures(scores, float(np.sort(normal)[rank - 1]), split.labels)


def figures(scores: NDArray[np.float64], threshold: float, labels: NDArray[np.int8]) -> Figures:
    """Return the figures that are compared."""
    found = evaluate(scores, labels, threshold, "anomaly")
    assert found.auroc is not None
    false_share = float((scores[labels == 0] > threshold).mean())
    return {"auroc": found.auroc, "accuracy": found.accuracy, "false alarms": false_share}


def raw_neighbours(
    train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score by the mean distance to the 3 nearest training beats, a training beat by the others."""

    def nearest(beats: NDArray[np.float64], n_self: int) -> NDArray[np.float64]:
        squares = np.square(beats).sum(axis=1)[:, np.newaxis] + np.square(train).sum(axis=1)
        distances = np.sqrt(np.maximum(squares - 2 * beats @ train.T, 0))  # (n_beats, n_train)
        mean: NDArray[np.float64] = np.sort(distances, axis=1)[:, n_self : 3 + n_self].mean(axis=1)
        return mean

    return nearest(train, 1), nearest(test, 0)


def principal_components(
    train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score by the squared distance from the first 4 principal components."""
    middle = train.mean(axis=0)  # (n_steps,)
    axes = np.linalg.svd(train - middle, full_matrices=False)[2][:4]  # (4, n_steps)

    def residuals(beats: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = beats - middle  # (n_beats, n_steps)
        found: NDArray[np.float64] = np.square(rows - rows @ axes.T @ axes).sum(axis=1)
        return found

    return residuals(train), residuals(test)


FLOORS: dict[str, Floor] = {"raw 3-NN": raw_neighbours, "PCA-4": principal_components}


def spread_of(each: list[Figures], key: str) -> str:
    """Return "mean", and with several seeds " (least - most)"."""
    values = [figure[key] for figure in each]
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4f} - {max(values):.4f})"


def table(found: Found) -> Iterator[str]:
    """Yield the table: a row a split and the mean over splits, a column a detector."""
    names = list(next(iter(found.values())))
    yield f"| split: {' / '.join(KEYS)} | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for split, by_name in found.items():
        yield row(split, [by_name[name] for name in names])
    if len(found) > 1:
        means = [[mean_of(by_name[name]) for by_name in found.values()] for name in names]
        yield row("mean", [[mean_of(each)] for each in means])


def row(split: str, columns: list[list[Figures]]) -> str:
    """Return a row of the table."""
    cells = [" / ".join(spread_of(column, key) for key in KEYS) for column in columns]
    return f"| {split} | " + " | ".join(cells) + " |"


def mean_of(each: list[Figures]) -> Figures:
    """Return the mean of each figure."""
    return {key: statistics.mean(figure[key] for figure in each) for key in KEYS}


if __name__ == "__main__":
    main()
