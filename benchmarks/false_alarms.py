"""False alarms that a threshold states, against those on later normal windows.

Run as: python benchmarks/false_alarms.py RECIPE [--seeds N] [--stated R ...] [--set KEY=VALUE ...]

The recipe's threshold method is `false_alarms_per_day`, or `false_alarm_share` where records are
whole windows, unless --set gives another. Later windows are those of the test part without a label
of an anomaly. Alerts of one key that follow one another within `alerting.close_after_ms` are one.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from stream_detector.bundle import Bundle
from stream_detector.core.intervals import Interval, rate_interval, share_interval
from stream_detector.core.scoring.scorer import score_windows
from stream_detector.datasets import Dataset
from stream_detector.engines.onnx import load_onnx
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows, train
from stream_detector.training.calibration import calibration_scores


def main() -> None:
    """Train once a seed and stated rate, and print a row of the table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--stated", type=float, nargs="+", default=[])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    is_whole = load_recipe(options.recipe).window.record != "samples"
    method = "false_alarm_share" if is_whole else "false_alarms_per_day"
    stated = [f"threshold.{method}={each}" for each in options.stated] or [""]
    print(
        "| data | seed | stated | calibrated | measured later | ratio |\n|---|---|---|---|---|---|"
    )
    for seed in range(options.seeds):
        for each in stated:
            keys = [f"threshold.method={method}", *options.overrides, f"training.seed={seed}"]
            recipe = load_recipe(options.recipe, [*keys, *([each] if each else [])])
            print(row(recipe), flush=True)


def row(recipe: Recipe) -> str:
    """Train a bundle and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = train(recipe, Path(folder) / "bundle")
        dataset = load_windows(recipe, bundle.features)
        later = measure(recipe, bundle, dataset)
    calibration = bundle.manifest.threshold.calibration
    if calibration is None or calibration.stated is None:
        message = f"{recipe.threshold.method} states no rate of false alarms"
        raise SystemExit(message)
    reached = Interval(calibration.reached, calibration.low, calibration.high)
    stated = f"{calibration.stated:.3g}{' (extrapolated)' if calibration.extrapolated else ''}"
    ratio = f"{later.value / calibration.stated:.2f}"
    cells = (f"{dataset.name} {dataset.split}", f"{recipe.training.seed}", stated, shown(reached))
    return f"| {' | '.join((*cells, shown(later), ratio))} |"


def measure(recipe: Recipe, bundle: Bundle, dataset: Dataset) -> Interval:
    """Return false alarms on later normal windows: a day and key, or a share of the windows."""
    labels = dataset.test_labels
    rows = np.arange(len(dataset.test)) if labels is None else np.flatnonzero(labels == 0)
    reconstruct = load_onnx(bundle.network_onnx, recipe.window.steps, recipe.window.features)
    scorer = bundle.scorer(reconstruct)
    scores = score_windows(scorer, dataset.test[rows])
    later = Dataset(
        dataset.name,
        dataset.split,
        dataset.test,
        None,
        dataset.test[:0],
        None,
        train_keys=dataset.test_keys,
        train_timestamps_ms=dataset.test_timestamps_ms,
    )
    found = calibration_scores(recipe, later, rows, scores)
    if not found.has_times:
        return share_interval(int((scores > scorer.threshold).sum()), len(scores))
    return rate_interval(found.n_clusters_above(scorer.threshold), found.days)


def shown(interval: Interval) -> str:
    """Return a figure with its interval."""
    return f"{interval.value:.3g} ({interval.low:.2g} to {interval.high:.2g})"


if __name__ == "__main__":
    main()
