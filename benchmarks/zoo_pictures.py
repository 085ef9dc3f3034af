"""Pictures of the models of the zoo, for models/README.md. Needs the bundles that `zoo.py` left.

python benchmarks/zoo_pictures.py [--folder bundles/zoo]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zoo
from matplotlib.figure import Figure
from zoo_studies import COURSE, FIGURES

from stream_detector.bundle import Bundle
from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.sampling import draw_each
from stream_detector.engines.backend import import_keras
from stream_detector.engines.keras import AutoencoderParts, load_parts
from stream_detector.report import Findings
from stream_detector.report.charts import error_histogram, latent_space
from stream_detector.report.drawing import COLOURS, INK, house_style
from stream_detector.training import evaluate_on, load_windows
from stream_detector.training.pairs import with_noise

N_SHOWN = 10
N_DRAWN = 20
N_CODES = 1_000
BLACK = "#222222"


class Opened(NamedTuple):
    """A bundle with its network's halves and its data."""

    bundle: Bundle
    parts: AutoencoderParts
    data: Dataset


def main() -> None:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=zoo.ROOT / "bundles" / "zoo")
    folder = parser.parse_args().folder
    import_keras()
    FIGURES.mkdir(parents=True, exist_ok=True)
    with house_style():
        save(denoised(open_run(folder, "fashion-denoise")), "fashion-denoise")
        save(course([open_run(folder, name) for name in COURSE]), "three-kinds")
        found = findings(open_run(folder, "mnist-vs-fashion-conv"))
        save(error_histogram(found), "mnist-vs-fashion-errors")
        for kind in ("vae", "adversarial"):
            opened = open_run(folder, f"mnist-{kind}")
            save(drawn_images(opened), f"mnist-{kind}-drawn")
            found = findings(opened._replace(data=draw_each(opened.data, N_CODES, seed=0)))
            assert found.latent is not None
            save(latent_space(found, found.latent), f"mnist-{kind}-codes")
        beats = [open_run(folder, f"ecg5000-{kind}") for kind in ("vae", "adversarial")]
        save(drawn_beats(beats), "ecg5000-drawn")


def save(figure: Figure, name: str) -> None:
    """Write a picture, its text black on white."""
    coloured: list[Any] = figure.findobj(lambda each: hasattr(each, "get_color"))
    for each in coloured:
        if each.get_color() == INK:
            each.set_color(BLACK)
    figure.savefig(FIGURES / f"{name}.png", dpi=110, facecolor="white", transparent=False)


def open_run(folder: Path, name: str) -> Opened:
    """Return what the first seed of a recipe left."""
    bundle = zoo.open_run(folder, name)
    manifest = bundle.manifest
    parts = load_parts(bundle.network_keras, manifest.n_steps, manifest.n_features)
    return Opened(bundle, parts, load_windows(manifest.recipe))


def findings(opened: Opened) -> Findings:
    """Return the verdicts on the test part."""
    bundle, parts, data = opened
    scorer = bundle.scorer(parts.reconstruct)
    evaluation, errors = evaluate_on(data, bundle.manifest.recipe, scorer)
    assert data.test_labels is not None
    return Findings(
        bundle=bundle,
        where=data.name,
        windows=data.test,
        labels=data.test_labels,
        errors=errors,
        evaluation=evaluation,
        reconstruct=parts.reconstruct,
        latent=parts.encode(bundle.scaler.transform(data.test)),
    )


def denoised(opened: Opened) -> Figure:
    """Return clothes, the same with noise, and what is made of these."""
    recipe = opened.bundle.manifest.recipe
    clean = opened.bundle.scaler.transform(opened.data.test[:N_SHOWN])
    rng = np.random.default_rng(recipe.training.seed)
    noisy = with_noise(clean, recipe.training.noise, rng).inputs
    made = opened.parts.reconstruct(np.ascontiguousarray(noisy))
    return image_table({"clean": clean, "with noise": noisy, "reconstructed": made})


def course(opened: Sequence[Opened]) -> Figure:
    """Return digits beside what three kinds of networks, fitted to one of them, make of them."""
    first = opened[0]
    digit, *_ = first.bundle.manifest.recipe.data.normal or (0,)
    labels = first.data.test_labels
    assert labels is not None
    half = N_SHOWN // 2
    rows = [*np.flatnonzero(labels == 0)[:half], *np.flatnonzero(labels == 1)[:half]]
    seen = first.bundle.scaler.transform(first.data.test[rows])
    table = {f"five times {digit}, five others": seen}
    for each in opened:
        table[each.bundle.manifest.name] = each.parts.reconstruct(seen)
    return image_table(table)


def drawn_images(opened: Opened) -> Figure:
    """Return images that are decoded from latent codes drawn from a normal distribution."""
    values = draw(opened, 2 * N_SHOWN)
    return image_table({"drawn": values[:N_SHOWN], " ": values[N_SHOWN:]})


def drawn_beats(opened: Sequence[Opened]) -> Figure:
    """Return beats that are decoded from drawn latent codes, beside real ones."""
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes = figure.subplots(1, len(opened) + 1, sharey=True)
    data = opened[0].data
    real = data.normal_train[:N_DRAWN]
    drawn = {"real": real}
    for each in opened:
        scaled = draw(each, N_DRAWN)
        drawn[each.bundle.manifest.name] = each.bundle.scaler.inverse(scaled).astype(np.float32)
    for place, (name, beats) in zip(axes, drawn.items(), strict=True):
        colour = COLOURS[0] if name == "real" else COLOURS[1]
        place.plot(beats[:, :, 0].T, color=colour, alpha=0.4, linewidth=0.8)
        place.set_title(f"{N_DRAWN} {name}" if name == "real" else f"{N_DRAWN} drawn, {name}")
        place.set_xlabel("step")
    axes[0].set_ylabel("amplitude, z-normalised")
    return figure


def draw(opened: Opened, n: int) -> FloatArray:
    """Return what is decoded from so many drawn latent codes, scaled."""
    latent = np.random.default_rng(0).standard_normal((n, opened.parts.n_latent), dtype=np.float32)
    return opened.parts.decode(latent)


def image_table(rows: dict[str, FloatArray]) -> Figure:
    """Return rows of images, each with its name."""
    figure = Figure(figsize=(7.4, 0.72 * len(rows) + 0.1), layout="constrained")
    axes = figure.subplots(len(rows), N_SHOWN + 2, width_ratios=[1, 1.6, *[1] * N_SHOWN])
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place in line:
            place.set_axis_off()
        line[0].text(0, 0.5, name.replace(", ", ",\n"), va="center", transform=line[0].transAxes)
        for place, image in zip(line[2:], images, strict=True):
            place.imshow(image, cmap="gray", vmin=0, vmax=1)
    return figure


if __name__ == "__main__":
    main()
