"""Training finds normal windows without labels: it says what it kept, and the report shows it."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from html_page import Page  # tests/support
from pulses import PULSES, STRANGE, pulses

from stream_detector import cli
from stream_detector.bundle import read_bundle
from stream_detector.training import load_trained_on

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

Run = Callable[..., tuple[str, str]]

RECIPE = """
name = "pulses"
[data]
name = "csv"
path = "pulses.csv"
[window]
record = "samples"
align = "peaks"
steps = 40
features = 2
sample_interval_ms = 10
[peaks]
band_hz = [2, 15]
[scaling]
kind = "standard"
[network]
kind = "dense"
units = [4]
[training]
epochs = 1
batch_size = 16
trim = true
[threshold]
method = "quantile"
quantile = 0.99
calibration_share = 0.4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recipe and its data: pulses far from zero, of two keys."""
    folder = tmp_path_factory.mktemp("pulses")
    samples = pulses(("a", "b"))
    values = samples.values.astype(np.float64)
    of_b = samples.series == 1
    values[of_b, 1] = values[of_b, 0]  # no pulse of it is strange
    rows = [
        f"{samples.keys[series]},{time_ms:.0f},{flow + 1e8},{heat},0"
        for series, time_ms, (flow, heat) in zip(
            samples.series.tolist(), samples.times_ms.tolist(), values.tolist(), strict=True
        )
    ]
    (folder / "pulses.csv").write_text("\n".join(["key,timestamp_ms,flow,heat,label", *rows]))
    (folder / "pulses.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> Run:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")

    def run_here(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert end.value.code in (0, None), err
        return out, err

    return run_here


def test_train_says_what_it_kept_and_a_report_shows_what_it_left_out(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = run("train", "pulses.toml")
    assert "unlike most of their key, and were left out: a from " in err
    n_train = 0.8 * PULSES
    found = re.findall(r"│ (a|b|all) +│ +(\d+) │ +(\d+) │ +(\d+) │ +([\d.]+)% │", out)
    counts = {key: tuple(map(int, each)) for key, *each, _ in found}
    n_windows = counts["a"][0]
    assert n_train - 10 < n_windows < n_train
    assert counts == {
        "a": (n_windows, n_windows - len(STRANGE), len(STRANGE)),
        "b": (n_windows, n_windows, 0),
        "all": (2 * n_windows, 2 * n_windows - len(STRANGE), len(STRANGE)),
    }
    told = json.loads(run("train", "pulses.toml", "--json")[0])
    assert told["left_out"] == {
        "n_windows": 2 * n_windows,
        "n_left_out": len(STRANGE),
        "n_keys": 2,
        "by_key": [
            {"key": "a", "n_windows": n_windows, "n_left_out": len(STRANGE)},
            {"key": "b", "n_windows": n_windows, "n_left_out": 0},
        ],
    }

    bundle = read_bundle("bundles/pulses")
    assert bundle.features.origin[0] != 0
    dataset = load_trained_on(bundle)
    assert dataset is not None
    left_out = bundle.manifest.left_out
    assert left_out is not None
    shown = dataset.train[list(left_out.by_key[0].left_out)]
    assert (shown[:, :, 1].min(axis=1) < -15).all()
    kept = dataset.train[list(left_out.by_key[0].kept)]
    assert (kept[:, :, 1] > -1).all()

    run("evaluate", "bundles/pulses", "--part", "all", "--report", "report.html")
    page = Page((folder / "report.html").read_text())
    assert page.figures.count("left-out") == 1
    assert f"left out ({len(STRANGE)})" in page.sections["left-out"]
    assert page.figures.count("overlaid") == 2

    lines = (folder / "pulses.csv").read_text().splitlines()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "pulses.csv").write_text("\n".join([*lines[:1_550], *lines[1_551:]]))
    assert load_trained_on(bundle) is not None
    monkeypatch.chdir(folder / "elsewhere")
    assert load_trained_on(bundle) is None  # other data of the same name
    monkeypatch.chdir(folder.parent)
    assert load_trained_on(bundle) is None


def test_without_trimming_nothing_is_said(run: Run) -> None:
    told = json.loads(
        run("train", "pulses.toml", "--json", "--set", "training.trim=false", "--out", "whole")[0]
    )
    assert told["left_out"] is None
