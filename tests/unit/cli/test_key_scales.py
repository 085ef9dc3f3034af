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
    """A bundle whose new keys have the scale of the fleet."""
    return make(tmp_path, warm_up_samples=0)


@pytest.fixture
def learning(tmp_path: Path) -> Path:
    """A bundle whose new keys have a scale from their first 20 samples."""
    return make(tmp_path, warm_up_samples=20)


def make(tmp_path: Path, *, warm_up_samples: int, n_keys: int = 2) -> Path:
    """Make a bundle of samples of one feature, windows of 4, in the units of two keys."""
    overrides = ["data.name=csv", "data.path=x.csv", f"window.steps={N_STEPS}", "window.stride=4"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "window.features=1"]
    overrides += ["scaling.per_key=true", f"scaling.warm_up_samples={warm_up_samples}"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    features = Features(
        ("bar",), (ORIGIN,), KeyScales([b"big", b"small"][:n_keys], OFFSET[:n_keys], SCALE[:n_keys])
    )
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


def test_score_gives_a_new_key_a_scale_from_its_first_samples(
    run: Run, learning: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", {"big": 40.0, "new": 20.0}, n_windows=8)
    out, err = run("score", learning, path)
    said = "first 20 samples, before which it has no score (here 5 windows); the first 159 such"
    assert said in err
    rows = [row for row in rows_of(out) if row["key"] == "new"]
    assert [int(row["window_start_ms"]) - START for row in rows] == [20_000, 24_000, 28_000]
    first = 20 * (1 + np.arange(20) / 100)
    spread = 1.4826 * np.median(np.abs(first - np.median(first)))
    last = 20 * (1 + np.arange(28, 32) / 100)
    expected = 0.5 * (last - np.median(first)).mean() / spread
    assert float(rows[-1]["reconstruction_error"]) == pytest.approx(expected, rel=1e-3)
    points, err = run("score", learning, path, "--points")
    assert "keys not known to training: 1, such as new; each gets a scale" in err
    causal = {
        (row["key"], int(row["timestamp_ms"])): row["causal_score"] for row in rows_of(points)
    }
    assert causal["new", START + 22_000] == ""
    for row in rows_of(out):
        assert causal[row["key"], int(row["window_end_ms"])] == row["reconstruction_error"]


def test_reconstruct_gives_a_new_key_in_its_own_unit(
    run: Run, learning: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", {"new": 20.0}, n_windows=6)
    out, err = run("reconstruct", learning, path)
    assert "20 of 24 samples lie in no window" in err
    middle = 20 * 1.095
    for row in rows_of(out)[20:]:
        step = (int(row["timestamp_ms"]) - START) // 1_000
        value = 20 * (1 + step / 100)
        expected = ORIGIN + middle + 0.5 * (value - middle)
        assert float(row["bar"]) == pytest.approx(expected, abs=1e-4)


def test_a_file_of_a_warm_up_alone_is_refused(run: Run, learning: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"new": 20.0}, n_windows=5)
    with pytest.raises(AssertionError, match="5 came before their key had a scale"):
        run("score", learning, path)


def test_of_one_series_the_scale_is_that_of_any_key(run: Run, tmp_path: Path) -> None:
    bundle = make(tmp_path, warm_up_samples=20, n_keys=1)
    scores = []
    for key in ("big", "other"):
        out, err = run("score", bundle, write(tmp_path / "a.csv", {key: 40.0}))
        scores.append([row["reconstruction_error"] for row in rows_of(out)])
        assert ("warning: keys not known to training" in err) == (key == "other")
    assert len(scores[0]) == 2
    assert scores[0] == scores[1]


def test_evaluate_says_which_keys_it_does_not_know(run: Run, bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"big": 40.0, "new": 20.0}, "label", 20)
    out, err = run("evaluate", bundle, "--dataset", path, "--json")
    assert "keys not known to training: 1, such as new" in err
    assert '"n_windows"' in out
