"""Train every recipe of models/ over several seeds and write models/README.md.

What a run gave is kept beside its bundle, so that a second call trains only what is missing or has
another recipe by now. A recipe whose test part is drawn is measured on five draws a seed.

    python benchmarks/zoo.py [--models fashion vae] [--seeds 3] [--folder bundles/zoo] [--no-write]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from stream_detector.bundle import Bundle, read_bundle
from stream_detector.engines.onnx import load_onnx
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import evaluate_on, load_windows, train

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
README = MODELS / "README.md"
START, END = "<!-- measured: {} -->\n", "<!-- end of measured: {} -->\n"

N_SEEDS, N_SEEDS_OF_SLOW = 5, 3
SLOW_S = 120.0
"""A recipe that takes longer is trained with fewer seeds."""

N_DRAWS = 5

Run = dict[str, Any]


def main() -> None:
    """Train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[""], help="parts of recipes' names")
    parser.add_argument("--seeds", type=int, help="of every recipe; default 5, of slow ones 3")
    parser.add_argument("--folder", type=Path, default=ROOT / "bundles" / "zoo")
    parser.add_argument("--no-write", action="store_true", help="print the table only")
    options = parser.parse_args()
    paths = [
        path
        for path in sorted(MODELS.glob("*.toml"))
        if any(part in path.stem for part in options.models)
    ]
    rows: list[str] = []
    for path in paths:
        rows += table_rows(load_recipe(path), list(runs_of(path, options.folder, options.seeds)))
    table = "\n".join((*HEADER, *rows)) + "\n"
    sys.stdout.write(table)
    if not options.no_write and options.models == [""]:
        write_between("zoo", table)


HEADER = (
    "| recipe | data | figure | measured | published | runs | seconds |",
    "|---|---|---|---|---|---|---|",
)


def runs_of(path: Path, folder: Path, n_seeds: int | None) -> Iterator[Run]:
    """Yield what each seed of a recipe gives."""
    first = run(path, folder, 0)
    yield first
    wanted = n_seeds or (N_SEEDS_OF_SLOW if first["seconds"] > SLOW_S else N_SEEDS)
    for seed in range(1, wanted):
        yield run(path, folder, seed)


def run(path: Path, folder: Path, seed: int, *changes: str, name: str | None = None) -> Run:
    """Train and measure one recipe with one seed, or take what is kept of that.

    Parameters
    ----------
    path
        The recipe.
    folder
        Where bundles are.
    seed
        Of the training.
    changes
        Made to the recipe, as `train --set` takes them.
    name
        What the bundle is called, where it is not the recipe as it is.
    """
    recipe = load_recipe(path, [*changes, f"training.seed={seed}"])
    out = folder / f"{name or recipe.name}-{seed}"
    kept = out.with_name(f"{out.name}.json")
    if kept.exists():
        found: Run = json.loads(kept.read_text(encoding="utf-8"))
        if found["recipe"] == recipe.model_dump(mode="json"):
            return found
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(out.name, total=recipe.training.epochs)
        began_s = time.monotonic()
        bundle = train(recipe, out, lambda done, _: progress.update(task, completed=done))
        seconds = time.monotonic() - began_s
    found = {
        "recipe": recipe.model_dump(mode="json"),
        "seconds": seconds,
        "figures": figures(bundle),
    }
    kept.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stderr.write(f"{out.name}: {seconds:.0f} s, {found['figures']}\n")
    return found


def figures(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the figures of each draw of the test part; of one where nothing is drawn."""
    recipe = bundle.manifest.recipe
    is_drawn = recipe.data.test_each is not None or recipe.data.anomalous_share is not None
    if not is_drawn:
        return [bundle.manifest.metrics or {}]
    return [evaluate_draw(bundle, draw) for draw in range(N_DRAWS)]


def evaluate_draw(bundle: Bundle, draw: int, **changes: object) -> dict[str, Any]:
    """Return the figures of one draw of the test part; `changes` are made to the recipe's data."""
    recipe = bundle.manifest.recipe
    data = recipe.data.model_copy(update={"seed": draw, **changes})
    dataset = load_windows(recipe.model_copy(update={"data": data}))
    manifest = bundle.manifest
    scorer = bundle.scorer(load_onnx(bundle.network_onnx, manifest.n_steps, manifest.n_features))
    return evaluate_on(dataset, recipe, scorer)[0].as_dict()


def open_run(folder: Path, name: str, seed: int = 0) -> Bundle:
    """Return the bundle of a run that was made before."""
    return read_bundle(folder / f"{name}-{seed}")


def table_rows(recipe: Recipe, runs: Sequence[Run]) -> Iterator[str]:
    """Yield the rows of one recipe, one a figure."""
    published = recipe.published.figures() if recipe.published else {}
    each = [figure for found in runs for figure in found["figures"]]
    names = [*published, *(name for name in also_shown(each[0]) if name not in published)]
    n_draws = len(runs[0]["figures"])
    n_runs = f"{len(runs)} seeds" + (f" x {n_draws} draws" if n_draws > 1 else "")
    seconds = f"{statistics.mean(found['seconds'] for found in runs):.0f}"
    for row, name in enumerate(names):
        first = (f"[{recipe.name}]({recipe.name}.toml)", data_of(recipe)) if row == 0 else ("", "")
        last = (n_runs, seconds) if row == 0 else ("", "")
        values = [figure[name] for figure in each if figure[name] is not None]
        cells = (*first, name, spread(values), f"{published.get(name, '-')}", *last)
        yield "| " + " | ".join(cells) + " |"


def also_shown(figure: dict[str, Any]) -> tuple[str, ...]:
    """Return the figures that are shown beside published ones."""
    if not figure["n_anomalous"]:
        return ("normal_error",)
    return ("accuracy", "precision", "recall", "auroc")


def data_of(recipe: Recipe) -> str:
    """Return what a recipe is trained on and tried with, in a few words."""
    data = recipe.data
    words = [data.name, data.series or data.split or ""]
    words += [f"class {', '.join(map(str, data.normal))}"] if data.normal else []
    against: list[str] = [data.anomalous_from] if data.anomalous_from else []
    against += [f"class {', '.join(map(str, data.anomalous))}"] if data.anomalous else []
    if data.normal and not against:
        against = ["the rest"]
    if data.anomalous_share is not None:
        against = [f"{data.anomalous_share:.0%} anomalous"]
    text = " ".join(word for word in words if word)
    return f"{text} against {' '.join(against)}" if against else text


def spread(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation (least - most)"."""
    if not values:
        return "-"
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    mean = statistics.mean(values)
    digits = 4 if abs(mean) >= 0.1 else 5
    return (
        f"{mean:.{digits}f} ± {sd:.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"
    )


def write_between(name: str, text: str) -> None:
    """Write a measured part of models/README.md between its marks."""
    start, end = START.format(name), END.format(name)
    before, _, rest = README.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
