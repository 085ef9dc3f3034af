"""A person who has only a file with semicolons, decimal commas and ISO times, and edits nothing."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream_detector import cli
from stream_detector.clients.memory import MemoryBroker
from stream_detector.recipes import load_recipe

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

N_ROWS = 800
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert not end.value.code, err
        return out

    return run_here


def write(path: str, n_faulty: int = 0) -> None:
    rng, steps = np.random.default_rng(0), np.arange(N_ROWS)
    flow = 5 + np.sin(steps / 7) + rng.normal(0, 0.1, N_ROWS)
    flow[600 : 600 + n_faulty] += 8
    lines = ["sep=;", "Zeit;Maschine;Durchfluß"]
    for step in range(N_ROWS):
        minutes, seconds = divmod(step, 60)
        cell = f"{flow[step]:.4f}".replace(".", ",")
        lines.append(f"2026-03-01T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}Z;p7;{cell}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="cp1252")


def test_every_command_reads_the_file_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write("pumps.csv")
    run("init", "pumps.csv", "--yes", "--recipe-only")
    assert sorted(path.name for path in Path().iterdir()) == ["pumps.csv", "pumps.toml"]
    recipe = load_recipe("pumps.toml")
    assert (recipe.data.path, recipe.data.time, recipe.data.key) == (
        "pumps.csv",
        "Zeit",
        "Maschine",
    )
    assert recipe.data.features == ("Durchfluß",)
    fast = ("--set", "network.kind=pca", "--set", "network.components=4")
    run("train", "pumps.toml", *fast, "--out", "bundle")

    write("pumps.csv", n_faulty=20)
    rows = list(csv.DictReader(io.StringIO(run("score", "bundle", "pumps.csv"))))
    anomalous = {row["key"] for row in rows if row["is_anomalous"] == "true"}
    assert anomalous == {"p7"}
    assert '"n_samples":800' in run("evaluate", "bundle", "--dataset", "pumps.csv", "--json")

    broker = MemoryBroker()
    broker.create_topic("telemetry")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    run("replay", "pumps.csv", "--bundle", "bundle")
    sent = broker.records("telemetry")
    assert len(sent) == N_ROWS
    assert {each.metadata.key for each in sent} == {b"p7"}
    assert '"timestamp_ms":1772323200000' in (sent[0].value or b"").decode()
