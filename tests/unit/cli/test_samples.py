"""Train, score and evaluate on samples from a file; live scores are the same."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from stream_detector import cli
from stream_detector.assembly import open_bundle
from stream_detector.cli.score import SCORE_COLUMNS
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns

pytestmark = [
    pytest.mark.keras,
    # Keras converts its variables in a way that NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RECIPE = Path(__file__).parents[3] / "models" / "mitdb-dense.toml"
START_MS = 1_767_225_600_000
N_SAMPLES = 300
WINDOW = (
    "steps=8",
    "stride=4",
    "features=2",
    "sample_interval_ms=10",
    "gap_ms_max=40",
    "missing_share_max=0.1",
)

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a runner of the command line in this process; gives what it wrote."""

    def run_here(*arguments: object) -> str:
        line = ["stream-detector", *(str(each) for each in arguments)]
        monkeypatch.setattr(sys, "argv", line)
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        ended = capsys.readouterr()
        assert code == 0, ended.err
        return ended.out

    return run_here


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two pumps, one value missing, one sample missing, and an anomaly at the end."""
    values = np.random.default_rng(0).normal(size=(N_SAMPLES, 2, 2))
    values[-10:] += 50
    lines = ["key,timestamp_ms,flow,pressure,label"]
    for number in range(N_SAMPLES):
        for pump in range(2):
            flow, pressure = values[number, pump].tolist()
            label = int(number >= N_SAMPLES - 10)
            shown = "" if (number, pump) == (6, 0) else flow
            row = (f"pump-{pump}", START_MS + 10 * number, shown, pressure, label)
            lines += [",".join(map(str, row))] if (number, pump) != (9, 1) else []
    path = tmp_path / "pumps.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def trained(run: Run, file: Path, tmp_path: Path) -> Any:
    """Return what `train` says of a bundle fitted to the pumps."""
    overrides = [f"window.{each}" for each in WINDOW]
    overrides += ["data.name=csv", f"data.path={file}", "network.units=[3]", "training.epochs=1"]
    options = [part for each in overrides for part in ("--set", each)]
    return orjson.loads(run("train", RECIPE, "--out", tmp_path / "bundle", "--json", *options))


def test_samples_of_one_s_own_are_trained_on_scored_and_evaluated(
    run: Run, file: Path, tmp_path: Path, trained: Any
) -> None:
    bundle, out = Path(trained["bundle"]), tmp_path / "scores.csv"
    assert trained["metrics"]["n_windows"] > 10

    run("score", bundle, file, "--out", out)
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == SCORE_COLUMNS
    # The two windows that miss a whole sample miss more than the recipe allows.
    assert len(rows) == 2 * ((N_SAMPLES - 8) // 4 + 1) - 2
    assert [row["key"] for row in rows[:2]] == ["pump-0", "pump-1"]
    first = rows[0]
    assert int(first["window_end_ms"]) - int(first["window_start_ms"]) == 70
    assert (first["is_anomalous"], rows[-1]["is_anomalous"]) == ("false", "true")
    assert [float(row["reconstruction_error"]) for row in rows] == live_errors(bundle, file)

    found = orjson.loads(run("evaluate", bundle, "--dataset", file, "--json"))
    assert found["part"] == "all"
    assert found["n_samples"] == 2 * N_SAMPLES - 1
    assert found["windows"]["n_windows"] == len(rows)
    assert found["windows"]["recall"] == 1.0
    assert (found["events"]["n_events"], found["events"]["n_found"]) == (2, 2)
    tested = orjson.loads(run("evaluate", bundle, "--json"))
    assert tested["part"] == "test"
    assert tested["windows"] == trained["metrics"]


def test_a_file_that_makes_no_window_is_refused(
    trained: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, interval_ms in (("short", 10), ("microseconds", 10_000)):
        n_samples = 7 if name == "short" else N_SAMPLES
        rows = [f"{START_MS + interval_ms * number},1,2" for number in range(n_samples)]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["timestamp_ms,flow,pressure", *rows]))
        monkeypatch.setattr(sys, "argv", ["stream-detector", "score", trained["bundle"], str(path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert (ended.value.code, shown.out) == (6, "")
        assert f"received {n_samples} samples about {interval_ms:g} ms apart that make" in shown.err


def live_errors(bundle: Path, file: Path) -> list[float]:
    """Return what a stream of the file's rows, one a record, is scored with, in small batches."""
    served = open_bundle(bundle)
    state, errors = served.detector.initial_state(), []
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for start in range(0, len(rows), 37):
        some = rows[start : start + 37]
        record_metadata = [
            RecordMetadata("t", 0, start + at, int(row["timestamp_ms"]), row["key"].encode(), ())
            for at, row in enumerate(some)
        ]
        texts = [(row["flow"] or None, row["pressure"]) for row in some]
        values = [[[text and float(text) for text in pair]] for pair in texts]
        batch = RecordBatch.from_columns(
            "t",
            [orjson.dumps({"values": each}) for each in values],
            series_columns(record_metadata),
            [each.offset for each in record_metadata],
        )
        step = served.detector.step(state, batch)
        assert not step.rejected
        errors += step.scores.scores.tolist()
        state = step.state
    return errors
