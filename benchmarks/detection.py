"""What the shipped recipes detect in known streams, beside simple detectors.

    python benchmarks/detection.py smd [--series 1-6 2-7] [--seeds 0 1 2] [--json FILE]
    python benchmarks/detection.py gutentag --folder FOLDER     # from benchmarks/gutentag.py
    python benchmarks/detection.py nab

A bundle is trained for each series and seed, and runs over the test part with the code of `detect`,
without Kafka. Figures: VUS-PR of the newest finished window (causal) and put back on the samples;
events found, false alarms a day outside of events against what was stated, time on alert. For nab
the whole file is heard, and alerts after its training part are scored by the benchmark's standard
profile.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT
from nab_profile import LABELLED, pooled, score_gaussian, score_rows
from numpy.typing import NDArray

from stream_detector.assembly import open_bundle
from stream_detector.core.point_metrics import vus_pr
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.stream_evaluation import labelled_events
from stream_detector.datasets import load_samples, nab, smd
from stream_detector.datasets.files.samples import load as load_file
from stream_detector.evaluation.figures import measure, measure_points
from stream_detector.evaluation.floors import score_floors
from stream_detector.evaluation.offline import StreamRun, point_scores, run_offline
from stream_detector.recipes import load_recipe
from stream_detector.training import train

RECIPES = {"smd": "smd", "gutentag": "telemetry", "nab": "nab"}
COLUMNS = (
    ("VUS-PR causal", "causal", 3),
    ("put back", "put_back", 3),
    ("events", "n_events", 0),
    ("found", "n_found", 0),
    ("alerts", "n_alerts", 0),
    ("false a day", "false_per_day", 2),
    ("time on alert", "alert_share", 3),
)
WEEK_MS = 604_800_000
"""The longest time that a recipe's alerting takes."""

NAB_COLUMNS = (("NAB score", "nab", 1), ("windows", "n_windows", 0), ("alerts", "n_alerts", 0))


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One series to judge on.

    Parameters
    ----------
    name
        Of the series.
    overrides
        Values of the recipe for this series, as for `--set`.
    train, test
        Normal samples, and those that are judged.
    """

    name: str
    overrides: Sequence[str]
    train: Samples
    test: Samples


def main() -> None:
    """Train, detect and print a table."""
    options = parse()
    logging.getLogger("stream_detector").setLevel(logging.ERROR)
    recipe = options.recipe or ROOT / "models" / f"{RECIPES[options.set]}.toml"
    found: dict[str, list[dict[str, Any]]] = {}
    for case in CASES[options.set](options):
        floors = floors_of(case) if options.set != "nab" else gaussian_of(case)
        found[case.name] = []
        for seed in options.seeds:
            figures = judge(options.set, recipe, case, seed, options.overrides)
            print(f"{case.name}: {json.dumps(figures)}", file=sys.stderr, flush=True)
            found[case.name].append({**figures, "floors": floors})
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for line in table(found) if options.set != "nab" else nab_table(found):
        print(line)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=RECIPES)
    parser.add_argument("--recipe", type=Path, help="default: the shipped one for this set")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="KEY=VALUE")
    parser.add_argument("--series", nargs="+", help="default: all; gutentag: numbers of files")
    parser.add_argument("--folder", type=Path, help="gutentag: of benchmarks/gutentag.py")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    return parser.parse_args()


def smd_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the machines."""
    for name in options.series or smd.SERIES:
        data = load_samples("smd", series=name)
        yield Case(name, ["data.name=smd", f"data.series={name}"], data.train, data.test)


def gutentag_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the files of a folder."""
    for path in sorted(options.folder.glob("*.csv")):
        number = path.stem.partition("-")[0]
        if options.series and number not in options.series:
            continue
        data = load_file(path, test_share=0.5)
        yield Case(
            path.stem,
            [
                "data.name=csv",
                f"data.path={path}",
                "data.test_share=0.5",
                "data.series=",
                f"window.features={data.train.values.shape[1]}",
                "window.sample_interval_ms=1000",
            ],
            data.train,
            data.test,
        )


def nab_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the series of the Numenta Anomaly Benchmark, the test part with the training part."""
    for name in options.series or nab.SERIES:
        data = load_samples("nab", series=name)
        both = (data.train, data.test)
        times_ms = np.concatenate([each.times_ms for each in both])
        interval_ms = float(np.median(np.diff(times_ms)))
        whole = replace(
            data.test,
            series=np.zeros(len(times_ms), np.intp),
            times_ms=times_ms,
            values=np.concatenate([each.values for each in both]),
            labels=np.concatenate([labels_of(each) for each in both]),
        )
        overrides = ["data.name=nab", f"data.series={name}", *intervals(interval_ms)]
        yield Case(name, overrides, data.train, whole)


def intervals(interval_ms: float) -> list[str]:
    """Return the times of the recipe nab, which are for 5 minutes, for another interval."""
    factors = {
        "window.sample_interval_ms": 1,
        "window.gap_ms_max": 72,
        "window.key_ttl_ms": 288,
        "alerting.no_data_after_ms": 12,
        "alerting.close_after_ms": 96,
        "alerting.open_ms_max": 576,
        "alerting.flood_window_ms": 288,
    }
    return [f"{key}={min(round(factor * interval_ms), WEEK_MS)}" for key, factor in factors.items()]


CASES = {"smd": smd_cases, "gutentag": gutentag_cases, "nab": nab_cases}


def judge(kind: str, recipe: Path, case: Case, seed: int, changes: Sequence[str]) -> dict[str, Any]:
    """Train a recipe for a series, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bundle"
        train(load_recipe(recipe, [*case.overrides, f"training.seed={seed}", *changes]), out)
        detector = open_bundle(out).detector
    assert isinstance(detector, SampleDetector)
    run = run_offline(detector, case.test)
    if kind == "nab":
        return {"seed": seed, **nab_figures(run, case)}
    rules = detector.windows
    figures = measure(run, case.test, labelled_events(case.test), rules)
    scores = point_scores(run, case.test, rules.sample_interval_ms)
    points = measure_points(scores, case.test, run.threshold)
    total = figures.evaluation.total
    return {
        "seed": seed,
        "causal": points["causal"].vus_pr,
        "put_back": points["put_back"].vus_pr,
        "n_events": total.events.n_events,
        "n_found": total.events.n_found,
        "n_alerts": total.alerts.n_alerts,
        "false_per_day": total.alerts.false_per_day.value,
        "alert_share": total.alerts.alert_share,
    }


def floors_of(case: Case) -> dict[str, dict[str, float]]:
    """Return VUS-PR of simple detectors."""
    labels = labels_of(case.test)
    return {
        name: {key: vus_pr(scores, labels) for key, scores in floor._asdict().items()}
        for name, floor in score_floors(case.test, case.train).items()
    }


def labels_of(samples: Samples) -> NDArray[np.int8]:
    """Return labels, which every set here has."""
    assert samples.labels is not None
    return samples.labels


def nab_figures(run: StreamRun, case: Case) -> dict[str, Any]:
    """Return the score of alerts that were raised after the training part."""
    raised = [each.opened_ms if each.raised_ms is None else each.raised_ms for each in run.alerts]
    rows = np.searchsorted(case.test.times_ms, raised)
    labels = labels_of(case.test)
    return score_rows(rows[rows >= len(case.train)], labels, len(case.train))


def gaussian_of(case: Case) -> dict[str, Any]:
    """Return what the windowed Gaussian would have detected, at some thresholds."""
    values = case.test.values[:, 0].astype(np.float64)
    return score_gaussian(values, labels_of(case.test), len(case.train))


def table(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield a table: the series, their mean, and the means of the floors."""
    yield f"| series | {' | '.join(title for title, _, _ in COLUMNS)} |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    n_seeds = len(next(iter(found.values())))
    means = [
        {key: statistics.mean(rows[seed][key] for rows in found.values()) for _, key, _ in COLUMNS}
        for seed in range(n_seeds)
    ]
    for name, seeds in {**found, "mean": means}.items():
        cells = [tell([seed[key] for seed in seeds], digits) for _, key, digits in COLUMNS]
        yield f"| {name} | {' | '.join(cells)} |"
    for name in next(iter(found.values()))[0]["floors"]:
        cells = [
            f"{statistics.mean(rows[0]['floors'][name][key] for rows in found.values()):.3f}"
            for key in ("causal", "put_back")
        ]
        yield f"| {name}, mean | {' | '.join(cells)} |" + " |" * (len(COLUMNS) - 2)


def nab_table(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield a table: the series, all together, and the windowed Gaussian."""
    yield f"| series | {' | '.join(title for title, _, _ in NAB_COLUMNS)} |"
    yield "|---" * (len(NAB_COLUMNS) + 1) + "|"
    for name, seeds in found.items():
        cells = [tell([seed[key] for seed in seeds], digits) for _, key, digits in NAB_COLUMNS]
        yield f"| {name} | {' | '.join(cells)} |"
    n_seeds = len(next(iter(found.values())))
    together = [pooled([rows[seed] for rows in found.values()]) for seed in range(n_seeds)]
    n_windows = sum(rows[0][LABELLED] for rows in found.values())
    yield f"| all together | {tell(together, 1)} | {n_windows} | |"
    floors = [rows[0]["floors"] for rows in found.values()]
    for name in floors[0]:
        at = {level: pooled([each[name][level] for each in floors]) for level in floors[0][name]}
        best = max(at, key=lambda level: at[level])
        yield f"| {name}, best threshold {best} (chosen with the labels) | {at[best]:.1f} | | |"


def tell(values: Iterable[float], digits: int) -> str:
    """Return the mean over seeds, with least and most where they differ."""
    known = list(values)
    mean, least, most = (
        f"{each:.{digits}f}" for each in (statistics.mean(known), min(known), max(known))
    )
    return mean if least == most else f"{mean} ({least} - {most})"


if __name__ == "__main__":
    main()
