"""A person's own files at the command line: what is wrong ends with code 6 and what to do."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from halving_bundle import make_bundle

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.datasets.base import SampleDataset
from stream_detector.recipes import load_recipe

MODELS = Path(__file__).parents[3] / "models"
START = 1_767_225_600_000
N_ROWS = 40
SIGNAL = np.random.default_rng(0).normal(size=(N_ROWS, 6))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def windows_bundle(tmp_path: Path) -> Path:
    """A bundle of windows of 6 steps."""
    overrides = ["data.name=csv", "data.path=x.csv", "window.steps=6"]
    make_bundle(tmp_path / "windows", load_recipe(MODELS / "ecg5000-dense.toml", overrides))
    return tmp_path / "windows"


@pytest.fixture
def samples_bundle(tmp_path: Path) -> Path:
    """A bundle of samples of two features, windows of 4."""
    overrides = ["data.name=csv", "data.path=x.csv", "window.steps=4", "window.stride=4"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "window.features=2"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    make_bundle(tmp_path / "samples", recipe, features=Features(("flow", "heat")))
    return tmp_path / "samples"


def window_text(extra: str, cells: list[object]) -> str:
    lines = [",".join([extra, *(f"v{step}" for step in range(6))])]
    pairs = zip(cells, SIGNAL.tolist(), strict=True)
    lines += [",".join(map(str, (cell, *values))) for cell, values in pairs]
    return "\n".join(lines) + "\n"


def sample_text() -> str:
    lines = ["timestamp_ms,flow,heat"]
    lines += [f"{START + 1000 * row},{SIGNAL[row, 0]},{SIGNAL[row, 1]}" for row in range(N_ROWS)]
    return "\n".join(lines) + "\n"


def two_leads() -> SampleDataset:
    samples = Samples(
        keys=("100",),
        series=np.zeros(8, np.intp),
        times_ms=START + 1000.0 * np.arange(8, dtype=np.float64),
        values=np.ones((8, 2), np.float32),
    )
    return SampleDataset("mitdb", "100", samples, samples, ("MLII", "V5"))


def obey(message: str) -> Path:
    found = re.search(r"in Python: (.*?); then give (\S+?)(?:;|$)", message.strip())
    assert found is not None, message
    exec(found[1], {})  # noqa: S102
    return Path(found[2])


def test_score_names_an_extra_column_and_the_message_mends_it(
    run: Run, windows_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "beats.csv"
    path.write_text(window_text("Unnamed: 0", list(range(N_ROWS))))
    code, out, error = run("score", windows_bundle, path)
    assert (code, out) == (6, "")
    assert "column Unnamed: 0 is an index and not a value: remove it" in error
    assert "Traceback" not in error
    code, out, error = run("score", windows_bundle, obey(error))
    assert (code, len(out.splitlines())) == (0, N_ROWS + 1), error


@pytest.mark.parametrize("steps", [6, 7])
def test_train_names_a_label_instead_of_advising_other_steps(
    run: Run, tmp_path: Path, steps: int
) -> None:
    path = tmp_path / "beats.csv"
    path.write_text(window_text("class", [row % 2 for row in range(N_ROWS)]))
    own = ("--set", "data.name=csv", "--set", f"data.path={path}", "--set", f"window.steps={steps}")
    code, _, error = run("train", MODELS / "ecg5000-dense.toml", *own, "--out", tmp_path / "out")
    assert code == 6
    assert "column class is a label and not a value: name it label (0 normal, 1 anom" in error
    assert "window.steps =" not in error
    assert not (tmp_path / "out").exists()


def test_a_header_of_numbers_is_a_header_and_said(
    run: Run, windows_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "beats.csv"
    rows = [",".join(map(str, row)) for row in SIGNAL.tolist()]
    path.write_text("\n".join(["0,1,2,3,4,5", *rows]))
    code, out, _ = run("score", windows_bundle, path)
    assert (code, len(out.splitlines())) == (0, N_ROWS + 1)
    assert "header-of-numbers" in caplog.text
    assert 'header="0, 1, .., 5"' in caplog.text


@pytest.mark.parametrize("command", ["score", "train", "evaluate", "replay"])
def test_every_command_says_the_same_of_a_layout_that_is_none(
    run: Run, samples_bundle: Path, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "pump.csv"
    path.write_text(sample_text().replace(",", " "))
    own = ["--set", "data.name=csv", "--set", f"data.path={path}", "--set", "window.steps=4"]
    lines = {
        "score": ("score", samples_bundle, path),
        "train": ("train", MODELS / "mitdb-dense.toml", *own, "--out", tmp_path / "out"),
        "evaluate": ("evaluate", samples_bundle, "--dataset", path),
        "replay": ("replay", path, "--samples"),
    }
    code, _, error = run(*lines[command])
    assert code == 6
    assert "blanks between its cells; expected commas, semicolons, tabs" in error
    code, out, error = run("score", samples_bundle, obey(error))
    assert (code, len(out.splitlines())) == (0, N_ROWS // 4 + 1), error


def test_a_file_as_a_spreadsheet_writes_it_has_the_same_scores(
    run: Run, samples_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, german = tmp_path / "pump.csv", tmp_path / "german" / "pump.csv"
    german.parent.mkdir()
    plain.write_text(sample_text())
    german.write_text("sep=;\n" + sample_text().replace(",", ";").replace(".", ","))
    expected = run("score", samples_bundle, plain)
    assert expected[0] == 0
    code, out, _ = run("score", samples_bundle, german)
    assert (code, out) == (0, expected[1])
    decided = "semicolon, decimal comma, 1 line above, time column 'timestamp_ms'"
    assert f"{german}: {decided}" in caplog.text


def swapped(text: str) -> str:
    """Return a table of samples with its last two columns in the other order."""
    rows = [line.split(",") for line in text.splitlines()]
    return "".join(f"{time},{last},{first}\n" for time, first, last in rows)


def test_columns_in_another_order_have_the_same_scores(
    run: Run, samples_bundle: Path, tmp_path: Path
) -> None:
    outputs = []
    for number, text in enumerate((sample_text(), swapped(sample_text()))):
        path = tmp_path / str(number) / "pump.csv"
        path.parent.mkdir()
        path.write_text(text)
        code, out, error = run("score", samples_bundle, path)
        assert code == 0, error
        outputs.append(out)
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].splitlines())) == N_ROWS // 4 + 1


@pytest.mark.parametrize("command", ["score", "evaluate", "replay", "reconstruct"])
def test_every_command_lists_missing_and_unknown_features(
    run: Run, samples_bundle: Path, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "pump.csv"
    path.write_text(sample_text().replace("heat", "temperature"))
    lines: dict[str, tuple[object, ...]] = {
        "score": ("score", samples_bundle, path),
        "evaluate": ("evaluate", samples_bundle, "--dataset", path),
        "replay": ("replay", path, "--bundle", samples_bundle),
        "reconstruct": ("reconstruct", samples_bundle, path),
    }
    code, _, error = run(*lines[command])
    assert code == 6
    assert "expected the features flow, heat; missing heat, unknown temperature" in error


def test_a_built_in_series_of_other_features_is_refused(
    run: Run, samples_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_detector.cli.sources.load_samples", lambda *_, **__: two_leads())
    for line in (("evaluate", samples_bundle, "--dataset"), ("replay", "--bundle", samples_bundle)):
        code, _, error = run(*line, "mitdb:100")
        assert code == 6
        assert "data mitdb: expected the features flow, heat; missing flow, heat, unknown" in error


def test_replay_of_samples_as_windows_says_what_to_give(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "pump.csv"
    path.write_text("ts;device;flow\n2026-01-01T00:00:00Z;p1;1,5\n")
    code, _, error = run("replay", path)
    assert code == 6
    assert "column ts: expected a number" in error
    assert "or give --samples, where a row is a sample and not a whole window" in error


def test_replay_sends_the_features_in_the_order_of_the_bundle(
    run: Run, samples_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 1)
    monkeypatch.setattr("stream_detector.clients.connect", lambda *_, **__: broker.connect())
    path = tmp_path / "pump.csv"
    path.write_text(swapped(sample_text()))
    code, _, error = run("replay", path, "--bundle", samples_bundle, "--chunk", 3)
    assert code == 0, error
    records = [orjson.loads(record.value or b"") for record in broker.records("telemetry")]
    values = [sample for record in records for sample in record["values"]]
    np.testing.assert_array_equal(np.array(values, np.float32), SIGNAL[:, :2].astype(np.float32))


def test_parquet_with_an_index_of_times_and_missing_keys(
    run: Run, samples_bundle: Path, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "timestamp_ms": [START + 1000 * row for row in range(8)],
            "key": pandas.array([7] * 8, dtype="Int64"),
            "flow": [True, False] * 4,
            "heat": ["1.5"] * 8,
        }
    )
    path = tmp_path / "pump.pq"
    frame.set_index("timestamp_ms").to_parquet(path)
    code, out, error = run("score", samples_bundle, path)
    assert code == 0, error
    assert [line.split(",")[0] for line in out.splitlines()] == ["key", "7", "7"]
    frame.loc[3, "key"] = pandas.NA
    frame.to_parquet(path)
    code, _, error = run("score", samples_bundle, path)
    assert code == 6
    assert "row 4, column key: expected the name of a series, received an empty cell" in error


def test_a_recipe_of_the_data_set_parquet_takes_both_ends_of_names(run: Run) -> None:
    for name, other in (("parquet", "pump.csv"), ("csv", "pump.pq")):
        own = ("--set", f"data.name={name}", "--set", f"data.path={other}")
        code, _, error = run("train", MODELS / "ecg5000-dense.toml", *own)
        assert code == 2
        assert ".parquet or .pq file for data.name = " in error


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_train_and_the_report_warn_of_a_threshold_that_cannot_be_trusted(
    run: Run, tmp_path: Path
) -> None:
    path, out = tmp_path / "pump.csv", tmp_path / "out"
    rows = [f"{START + 1000 * row},5,7,{int(row == 399)}" for row in range(400)]
    path.write_text("timestamp_ms,flow,heat,label\n" + "\n".join(rows))
    keys = ["data.name=csv", f"data.path={path}", "window.steps=4", "window.stride=4"]
    keys += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "network.units=[3]"]
    # Nothing to learn: what is zero is reconstructed as zero.
    keys += ["scaling.kind=min-max", "training.epochs=1"]
    options = [part for key in keys for part in ("--set", key)]
    code, shown, error = run("train", MODELS / "mitdb-dense.toml", *options, "--out", out, "--json")
    assert code == 0, error
    found = orjson.loads(shown)
    floor = "the threshold is at its floor, 1e-09: the network reconstructs the data exactly"
    few = "the threshold is fitted to 16 normal windows, and its method wants at least 30"
    assert found["threshold"] == pytest.approx(1e-9)
    calibration = found["calibration"]
    assert (calibration["unit"], calibration["n_clusters"], calibration["reached"]) == (
        "per day",
        0,
        0.0,
    )
    for text in (floor, few, "these features never change in it: flow, heat"):
        assert text in error
        assert text in " ".join(found["warnings"])
    report = tmp_path / "report.html"
    code, _, error = run("evaluate", out, "--report", report)
    assert code == 0, error
    assert "Warning of the training: the threshold is at its floor" in report.read_text()


OFFSET = 1.7e9


def meter_text(as_windows: bool) -> str:
    """Return a small wave far from zero, which is larger for some seconds near the end."""
    step = np.arange(2_000)
    wave = OFFSET + np.sin(step / 3) + 0.5 * (step // 40 == 45)
    if as_windows:
        rows = [
            f"{int(row == 45)},{','.join(map(repr, wave[40 * row : 40 * row + 40].tolist()))}"
            for row in range(50)
        ]
        return "label," + ",".join(f"v{at}" for at in range(40)) + "\n" + "\n".join(rows)
    rows = [
        f"{START + 1000 * at},{float(wave[at])!r},{int(at // 40 == 45)}" for at in step.tolist()
    ]
    return "timestamp_ms,meter,label\n" + "\n".join(rows)


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("as_windows", [True, False])
def test_a_signal_far_from_zero_is_learnt_and_its_change_found(
    run: Run, tmp_path: Path, as_windows: bool
) -> None:
    path, out = tmp_path / "meter.csv", tmp_path / "out"
    path.write_text(meter_text(as_windows))
    keys = ["data.name=csv", f"data.path={path}", "window.steps=40", "network.units=[8]"]
    keys += ["training.epochs=20", "training.batch_size=4", "threshold.calibrate_on=train"]
    keys += ["threshold.method=sigma", "threshold.n_sigma=4", "scaling.kind=standard"]
    keys += ["training.learning_rate=0.01"]
    recipe = "synthetic-ecg-dense" if as_windows else "mitdb-dense"
    if as_windows:
        keys += ["data.seed=", "data.n_windows=", "network.output_activation="]
    else:
        keys += ["window.stride=40", "window.sample_interval_ms=1000", "window.gap_ms_max="]
        keys += ["window.features=1"]
    options = [part for key in keys for part in ("--set", key)]
    code, shown, error = run("train", MODELS / f"{recipe}.toml", *options, "--out", out, "--json")
    assert code == 0, error
    assert orjson.loads(shown)["threshold"] > 1e-3
    code, scores, error = run("score", out, path)
    assert code == 0, error
    rows = [line.split(",") for line in scores.splitlines()[1:]]
    assert [at for at, row in enumerate(rows) if row[-1] == "true"] == [45]
    # The same from a topic, as replay sends it.
    served = open_bundle(out)
    (origin,) = served.bundle.features.origin
    assert abs(origin - OFFSET) < 2
    code, _, error = run("replay", path, "--bundle", out, "--format", "float32")
    assert code == 2
    assert "expected json for --bundle" in error
    assert live_errors(run, served, path, out) == [float(row[3]) for row in rows]


def live_errors(run: Run, served: Served, path: Path, bundle: Path) -> list[float]:
    """Return the errors of what `replay` sends of a file, in small batches."""
    broker = MemoryBroker()
    broker.create_topic("telemetry", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream_detector.clients.connect", lambda *_, **__: broker.connect())
        code, _, error = run("replay", path, "--bundle", bundle)
    assert code == 0, error
    client = broker.connect(topics=["telemetry"])
    state, errors = served.detector.initial_state(), []
    while len(batch := client.poll(7, 0)):
        step = served.detector.step(state, batch)
        assert not step.rejected
        state = step.state
        errors += step.scores.scores.tolist()
    return errors


def test_what_even_an_offset_cannot_save_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    rows = [
        f"m{meter},{START + 1000 * row},{float((meter + 1) * OFFSET + SIGNAL[row, 0])!r}"
        for row in range(N_ROWS)
        for meter in range(2)
    ]
    path.write_text("key,timestamp_ms,energy\n" + "\n".join(rows))
    keys = ["data.name=csv", f"data.path={path}", "window.features=1"]
    options = [part for key in keys for part in ("--set", key)]
    code, _, error = run("train", MODELS / "mitdb-dense.toml", *options, "--out", tmp_path / "out")
    assert code == 6
    assert "the variation of feature energy within a series or window (" in error
    assert "float32 can hold of values from 1699999" in error
    assert "for each series its own" in error
