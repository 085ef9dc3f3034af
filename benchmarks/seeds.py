"""A recipe's figures over several seeds, as the command line gives them.

Run as: python benchmarks/seeds.py models/ecg5000-dense.toml [--seeds 5] [--json FILE]
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from common import run_worker

FIGURES = ("accuracy", "precision", "recall", "auroc")


def main() -> None:
    """Train and evaluate once a seed and print mean, standard deviation and range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    command = [sys.executable, "-m", "stream_detector"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            bundle = str(Path(folder) / f"seed-{seed}")
            train = ["train", str(options.recipe), "--seed", str(seed), "--out", bundle, "--json"]
            run_worker([*command, *train])
            figures = run_worker([*command, "evaluate", bundle, "--json"])
            found.append(figures.get("windows", figures))  # of a bundle of samples
            print(f"seed {seed}: {found[-1]}", file=sys.stderr)
    positive = found[0]["positive_class"]
    print(f"| figure ({positive} is positive) | mean | sd | least | most |\n|---|---|---|---|---|")
    for name in FIGURES:
        values = [each[name] for each in found]
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"| {name} | {statistics.mean(values):.4f} | {sd:.4f} | {min(values):.4f} | "
            f"{max(values):.4f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
