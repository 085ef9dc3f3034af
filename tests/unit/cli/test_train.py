"""`train` asks before it replaces another recipe's bundle, and says what its threshold reaches."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from halving_bundle import make_bundle  # tests/support

from stream_detector import cli
from stream_detector.bundle import Calibration, read_bundle
from stream_detector.cli.train import describe_calibration

RECIPE = Path(__file__).parents[3] / "models" / "synthetic-ecg-dense.toml"
REFUSED, NO_DATA = 2, 6
"""Exit codes: the bundle was not replaced, or the command came to load its data, which are not
there."""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a runner of `train` into a folder with a bundle; what is typed is the answer."""
    monkeypatch.chdir(tmp_path)

    def run_here(*flags: str, typed: str | None = None) -> tuple[int, str]:
        own = ("--set", "data.name=csv", "--set", "data.path=absent.csv", "--out", "bundle")
        answers = io.StringIO(typed)
        monkeypatch.setattr(answers, "isatty", lambda: typed is not None)
        monkeypatch.setattr(sys, "stdin", answers)
        monkeypatch.setattr(sys, "argv", ["stream-detector", "train", str(RECIPE), *own, *flags])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run_here


@pytest.mark.parametrize(
    ("name", "flags", "typed", "code"),
    [
        ("pumps", [], None, REFUSED),
        ("pumps", [], "n\n", REFUSED),
        ("pumps", [], "\n", REFUSED),
        ("pumps", [], "", REFUSED),
        ("pumps", [], "y\n", NO_DATA),
        ("pumps", ["--overwrite"], None, NO_DATA),
        ("pumps", ["--overwrite"], "n\n", NO_DATA),
        ("synthetic-ecg-dense", [], None, NO_DATA),
        ("synthetic-ecg-dense", [], "n\n", NO_DATA),
    ],
)
def test_another_recipe_s_bundle_is_replaced_only_where_that_is_wanted(
    run: Run, tmp_path: Path, name: str, flags: list[str], typed: str | None, code: int
) -> None:
    make_bundle(tmp_path / "bundle", name=name)
    ended, err = run(*flags, typed=typed)
    assert ended == code, err
    is_asked = name == "pumps" and typed is not None and not flags
    assert ("bundle holds the bundle of pumps; replace it?" in err) == is_asked
    assert ("--overwrite" in err) == (code == REFUSED)
    assert read_bundle(tmp_path / "bundle").manifest.name == name


def test_where_nothing_is_replaced_nothing_is_asked(run: Run) -> None:
    assert run(typed="n\n")[0] == NO_DATA


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            "0.5 false alarms a day and key (95 %: 0.0605 to 1.81), 2 in 4 days of a key; "
            "stated 0.2, extrapolated",
        ),
        (
            {"stated": None, "extrapolated": False},
            "0.5 false alarms a day and key (95 %: 0.0605 to 1.81), 2 in 4 days of a key",
        ),
        (
            {"unit": "share", "reached": 0.01, "low": 0.005, "high": 0.02, "stated": 0.01}
            | {"extrapolated": False, "days": None},
            "1 % of the windows calibrated on (95 %: 0.5 % to 2 %); stated 1 %",
        ),
    ],
)
def test_what_was_reached_is_said_with_its_interval(changes: dict[str, Any], text: str) -> None:
    calibration = Calibration(
        unit="per day",
        days=4.0,
        n_clusters=2,
        stated=0.2,
        reached=0.5,
        low=0.0605,
        high=1.806,
        extrapolated=True,
    )
    assert describe_calibration(calibration.model_copy(update=changes)) == text
