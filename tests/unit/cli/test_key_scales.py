"""A scale for each key at the command line: signals go in and come out in their own unit."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle

from stream_detector import cli
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.recipes import load_recipe

MODELS = Path(__file__).parents[3] / "models"
START = 1_767_225_600_000
N_STEPS = 4
OFFSET = np.array([[40.0], [0.04]], np.float32)
SCALE = np.array([[0.5], [500.0]], np.float32)
ORIGIN = 1_000.0

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a runner of the command line in this process: output and errors."""

    def run_here(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, capsys.readouterr().err  # noqa: PT017
        shown = capsys.readouterr()
        return shown.out, shown.err

    return run_here


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of samples of one feature, windows of 4, in the units of two keys."""
    overrides = ["data.name=csv", "data.path=x.csv", f"window.steps={N_STEPS}", "window.stride=4"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "window.features=1"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", [*overrides, "scaling.per_key=true"])
    features = Features(("bar",), (ORIGIN,), KeyScales([b"big", b"small"], OFFSET, SCALE))
    make_bundle(tmp_path / "bundle", recipe, features=features)
    return tmp_path / "bundle"


def write(path: Path, levels: dict[str, float], label: str = "", n_windows: int = 2) -> Path:
    """Write windows of each key, each value a little above the one before."""
    lines = ["key,timestamp_ms,bar" + (",label" if label else "")]
    for key, level in levels.items():
        lines += [
            f"{key},{START + 1_000 * step},{ORIGIN + level * (1 + step / 100)!r}{label and ',0'}"
            for step in range(n_windows * N_STEPS)
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


def test_score_counts_in_the_units_of_each_key_and_says_which_it_does_not_know(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", {"big": 40.0, "small": 0.04, "new\x1b": 20.0})
    out, err = run("score", bundle, path)
    assert r"keys not known to training: 1, such as new\x1b; their windows" in err
    found = {(row["key"][:5], row["window_start_ms"]): row for row in rows_of(out)}
    # The network halves, so the error is half of the mean distance from the median.
    for key, level, scale in (("big", 40, 0.5), ("small", 0.04, 500)):
        error = float(found[key, str(START)]["reconstruction_error"])
        assert error == pytest.approx(0.5 * level * scale * 0.015, rel=1e-3)
    fleet, spread = 20.02, np.median(1 / SCALE)
    error = float(
        found[next(key for key, _ in found if key.startswith("new")), str(START)][
            "reconstruction_error"
        ]
    )
    values = 20 * (1 + np.arange(N_STEPS) / 100)
    assert error == pytest.approx(0.5 * np.abs(values - fleet).mean() / spread, rel=1e-3)
    _, err = run("score", bundle, write(tmp_path / "b.csv", {"big": 40.0}))
    assert "warning" not in err


def test_reconstruct_gives_the_signal_in_its_own_unit(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", {"big": 40.0, "small": 0.04, "new": 20.0})
    out, err = run("reconstruct", bundle, path)
    assert "keys not known to training: 1, such as new" in err
    given = {
        (row["key"], row["timestamp_ms"]): float(row["bar"]) for row in rows_of(path.read_text())
    }
    middles = {"big": 40.0, "small": 0.04, "new": 20.02}
    for row in rows_of(out):
        middle = middles[row["key"]]
        value = given[row["key"], row["timestamp_ms"]] - ORIGIN
        expected = ORIGIN + middle + 0.5 * (value - middle)
        assert float(row["bar"]) == pytest.approx(expected, abs=1e-5 * middle)


def test_evaluate_says_which_keys_it_does_not_know(run: Run, bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"big": 40.0, "new": 20.0}, "label", 20)
    out, err = run("evaluate", bundle, "--dataset", path, "--json")
    assert "keys not known to training: 1, such as new" in err
    assert '"n_windows"' in out
