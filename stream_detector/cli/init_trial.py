"""The training and the trial of the command `init`."""

import tempfile
from pathlib import Path
from typing import Any

from stream_detector.assembly import open_bundle
from stream_detector.cli.init_recipe import Made, Target, leave_out
from stream_detector.cli.init_views import show_strange, show_trial
from stream_detector.cli.terminal import progress_bar, say
from stream_detector.cli.train import train_with_progress
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.datasets.feature_order import in_order
from stream_detector.errors import DatasetError
from stream_detector.inspection.strange import find_strange_in
from stream_detector.inspection.trial import Trial, try_out
from stream_detector.training.data import load_training_samples, load_windows

TEST_SHARE = 0.2
"""Share of the time, at the end, that the trial is made on."""


def train_and_try(made: Made, target: Target, *, is_shown: bool) -> dict[str, Any]:
    """Train the recipe, and try a detector of four fifths of the data on the rest.

    Returns
    -------
    What was found, for `--json`.
    """
    strange = find_strange_in(load_windows(made.recipe), made.recipe.rules.span_ms)
    if is_shown:
        show_strange(strange, target)
    if strange.left_out:
        made = leave_out(made, target, strange.left_out)
    trial = _try(made)
    if trial is not None and is_shown:
        show_trial(trial, made)
    bundle = train_with_progress(made.recipe, target.bundle, overwrite=target.is_replacing)
    for warning in bundle.manifest.warnings:
        say(f"warning: {warning}")
    return {
        "bundle": str(bundle.path),
        "version": bundle.manifest.version,
        "warnings": list(bundle.manifest.warnings),
        "strange": [each._asdict() for each in strange.windows],
        "is_likely_faulty": strange.is_likely_faulty,
        "left_out": [list(span) for span in strange.left_out],
        "trial": None if trial is None else trial.as_dict(),
    }


def _try(made: Made) -> Trial | None:
    """Try a detector of the first four fifths on the rest; None if these are too little."""
    data = made.recipe.data.model_copy(update={"test_share": TEST_SHARE})
    recipe = made.recipe.model_copy(update={"data": data})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trial"
        try:
            train_with_progress(recipe, out)
        except DatasetError as error:
            say(f"no trial: with the last fifth held out, {error}")
            return None
        served = open_bundle(out)
    detector = served.detector
    assert isinstance(detector, SampleDetector)  # noqa: S101  (the recipe's records are samples)
    dataset = in_order(load_training_samples(recipe.data), detector.features)
    with progress_bar() as progress:
        task = progress.add_task("trying artificial faults", total=None)

        def on_pass(n_done: int, n_all: int) -> None:
            progress.update(task, completed=n_done, total=n_all)

        return try_out(detector, dataset, seed=recipe.training.seed, on_pass=on_pass)
