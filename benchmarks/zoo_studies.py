"""Three questions to the models of the zoo, answered in models/README.md.

How well do the three kinds of a course tell one digit from the rest? How much does a latent code
keep, beside principal components of the same number? What do precision and recall become where
anomalies are rare? Runs are kept as `zoo.py` keeps them.

    python benchmarks/zoo_studies.py [--studies digits latent shares] [--folder bundles/zoo]
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zoo
from sklearn.decomposition import PCA

from stream_detector.datasets import load_images

COURSE = ("undercomplete-simple", "undercomplete-deep", "overcomplete-sparse")
SIZES = (2, 8, 16, 32)
SHARES = (0.01, 0.05, 0.10)
N_SEEDS = 3
FIGURES = zoo.ROOT / "docs" / "figures"


def main() -> None:
    """Answer the questions and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", nargs="*", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--folder", type=Path, default=zoo.ROOT / "bundles" / "zoo")
    options = parser.parse_args()
    for name in options.studies:
        table = "\n".join(STUDIES[name](options.folder)) + "\n"
        sys.stdout.write(table)
        zoo.write_between(name, table)


def digits(folder: Path) -> Iterator[str]:
    """Yield a table: each kind fitted to one digit after the other, against the other nine."""
    yield "| recipe | error of the digit (MSE) | error of the others | AUROC, over ten digits |"
    yield "|---|---|---|---|"
    for name in COURSE:
        found = [
            zoo.run(
                zoo.MODELS / f"{name}.toml",
                folder,
                0,
                f"data.normal=[{digit}]",
                name=f"{name}-digit-{digit}",
            )["figures"][0]
            for digit in range(10)
        ]
        columns = ("normal_error", "anomalous_error", "auroc")
        cells = [zoo.spread([each[column] for each in found]) for column in columns]
        yield f"| [{name}]({name}.toml) | " + " | ".join(cells) + " |"


def latent(folder: Path) -> Iterator[str]:
    """Yield a table: error of the test images by the size of the latent code, and draw it."""
    path = zoo.MODELS / "mnist-latent.toml"
    errors = {
        size: [
            zoo.run(
                path,
                folder,
                seed,
                f"network.units=[256,64,{size}]",
                name=f"mnist-latent-{size}",
            )["figures"][0]["normal_error"]
            for seed in range(N_SEEDS)
        ]
        for size in SIZES
    }
    principal = principal_errors()
    yield "| numbers in the latent code | autoencoder (MSE) | principal components (MSE) | ratio |"
    yield "|---|---|---|---|"
    for size in SIZES:
        ratio = statistics.mean(errors[size]) / principal[size]
        yield f"| {size} | {zoo.spread(errors[size])} | {principal[size]:.5f} | {ratio:.2f} |"
    draw_latent(errors, principal)


def principal_errors() -> dict[int, float]:
    """Return the error of the test images by the number of principal components."""
    data = load_images("mnist")
    train, test = (part.reshape(len(part), -1) / 255 for part in (data.train, data.test))
    fitted = PCA(max(SIZES), random_state=0).fit(train)
    found = {}
    for size in SIZES:
        components = fitted.components_[:size]
        drawn = (test - fitted.mean_) @ components.T @ components + fitted.mean_
        found[size] = float(np.square(drawn - test).mean())
    return found


def draw_latent(errors: dict[int, list[float]], principal: dict[int, float]) -> None:
    """Draw the errors of both by the size of the code."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(SIZES, [principal[size] for size in SIZES], "s--", color="#E69F00", label="PCA")
    means = [statistics.mean(errors[size]) for size in SIZES]
    axes.plot(SIZES, means, "o-", color="#0072B2", label="autoencoder")
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("numbers in the latent code")
    axes.set_ylabel("mean squared error, pixels in [0, 1]")
    axes.set_title("MNIST test images: what a latent code keeps")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "latent-against-pca.png", dpi=120)


def shares(folder: Path) -> Iterator[str]:
    """Yield a table: precision and recall by the share of anomalies."""
    name = "ecg5000-unbalanced"
    for seed in range(zoo.N_SEEDS):
        zoo.run(zoo.MODELS / f"{name}.toml", folder, seed)
    bundles = [zoo.open_run(folder, name, seed) for seed in range(zoo.N_SEEDS)]
    columns = ("precision", "recall", "f1", "auroc")
    yield "| anomalous | precision | recall | F1 | AUROC |"
    yield "|---|---|---|---|---|"
    for share in SHARES:
        found = [
            zoo.evaluate_draw(bundle, draw, anomalous_share=share)
            for bundle in bundles
            for draw in range(zoo.N_DRAWS)
        ]
        cells = [
            zoo.spread([each[column] for each in found if each[column] is not None])
            for column in columns
        ]
        yield f"| {share:.0%} | " + " | ".join(cells) + " |"


STUDIES: dict[str, Callable[[Path], Iterator[str]]] = {
    "digits": digits,
    "latent": latent,
    "shares": shares,
}


if __name__ == "__main__":
    main()
