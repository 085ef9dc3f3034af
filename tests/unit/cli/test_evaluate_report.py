"""The option --report of evaluate: the same figures, and an HTML file."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle, untrained_network  # tests/support

from stream_detector import cli
from stream_detector.recipes import Recipe, load_recipe

RECIPE = Path(__file__).parents[3] / "models" / "synthetic-ecg-dense.toml"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a runner of `evaluate` in this process, where a bundle and labelled windows lie."""
    monkeypatch.chdir(tmp_path)
    windows = np.random.default_rng(0).normal(size=(50, 4))
    rows = [",".join(map(str, [number % 2, *row])) for number, row in enumerate(windows.tolist())]
    (tmp_path / "windows.csv").write_text("\n".join(["label,a,b,c,d", *rows]))

    def run_here(*arguments: str) -> tuple[int, str, str]:
        line = ["stream-detector", "evaluate", "bundle", "--dataset", "windows.csv", *arguments]
        monkeypatch.setattr(sys, "argv", line)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return (code, *capsys.readouterr())

    return run_here


def small_recipe() -> Recipe:
    changes = ("data.name=csv", "data.path=windows.csv", "window.steps=4", "network.units=[3,2]")
    return load_recipe(RECIPE, [*changes, "network.output_activation=linear"])


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_report_is_written_beside_the_figures(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", small_recipe(), untrained_network(small_recipe()))
    plain = run("--json")
    assert run("--json", "--report", "report.html") == plain
    assert plain[0] == 0
    text = (tmp_path / "report.html").read_text()
    assert "<h1>synthetic-ecg-dense on windows.csv</h1>" in text
    assert "latent_1" in text
    assert "epoch" in text
    assert ">key<" not in text


def test_a_report_needs_the_extra(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "bundle", small_recipe())
    monkeypatch.setitem(sys.modules, "stream_detector.report", None)
    code, out, err = run("--report", "report.html")
    assert (code, out) == (2, "")
    assert err.startswith("error: --report: ")
    assert "pip install 'stream-detector[train]'" in err


@pytest.mark.parametrize("name", ["csv", "cifar", "mitdb:106"])
def test_a_data_set_without_windows_of_its_own_is_refused(
    run: Run, tmp_path: Path, name: str
) -> None:
    make_bundle(tmp_path / "bundle", small_recipe())
    code, _, error = run("--dataset", name)
    assert code == 2
    expected = (
        "--dataset: expected ecg5000, synthetic-ecg, mnist, fashion-mnist or a .csv or .parquet "
        f"file, received '{name}'"
    )
    assert expected in " ".join(error.split())
