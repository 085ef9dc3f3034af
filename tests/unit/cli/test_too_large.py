"""Commands that hold a file refuse one that does not fit into memory; others read it in parts."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle

from stream_detector.cli.terminal import describe_error
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.features import Features
from stream_detector.datasets.files import csv_rows, reading, room
from stream_detector.errors import TooLargeError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training import load_windows

MODELS = Path(__file__).parents[3] / "models"
START = 1_767_225_600_000
N_ROWS, N_STEPS = 300, 4
Run = Callable[..., tuple[int, str, str]]

SAMPLE_KEYS = (
    *("data.series=", "window.features=1", f"window.steps={N_STEPS}", "window.stride=1"),
    *("window.sample_interval_ms=1000", "window.gap_ms_max=2000"),
)
A_PART = "give a part of it, such as some days of all keys"
ON_ALL = "and train the recipe on all of it, as docs/how-to/train-at-scale.md says"
SOME_WINDOWS = "hold some of its windows only, --set data.n_windows_in_memory=50000"
AS_PARQUET = (
    f"write it as Parquet and {SOME_WINDOWS} --set data.name=parquet --set data.path=FILE.parquet"
)
SAYS = "as docs/how-to/train-at-scale.md says; or"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are free: its last number."""
    limits = [1]
    monkeypatch.setattr(room, "available_bytes", lambda: limits[-1])
    return limits


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of samples and windows in each form, and bundles for both."""
    monkeypatch.chdir(tmp_path)
    samples = [(START + 1_000 * row, np.sin(row / 7).round(4)) for row in range(N_ROWS)]
    write("samples.csv", "timestamp_ms,flow", [f"{time},{flow}" for time, flow in samples])
    long = [f"{time},flow,{flow}" for time, flow in samples]
    write("long.csv", "timestamp_ms,tag,value", long)
    header = ",".join([*(f"v{at}" for at in range(20)), "label"])
    write("windows.csv", header, [",".join([f"{row}.5"] * 20 + ["0"]) for row in range(N_ROWS)])
    make_bundle(tmp_path / "of-samples", recipe_of("samples.csv"), features=Features(("flow",)))
    make_bundle(tmp_path / "of-windows", recipe_of("windows.csv"))
    return tmp_path


def write(name: str, header: str, lines: list[str]) -> None:
    """Write a CSV file, and the same as Parquet where pyarrow is installed."""
    Path(name).write_text("\n".join([header, *lines]) + "\n")
    csv = pytest.importorskip("pyarrow.csv")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(csv.read_csv(name), Path(name).with_suffix(".parquet"), row_group_size=40)


def recipe_of(name: str, *overrides: str) -> Recipe:
    """Return a recipe for a file, of samples or of windows."""
    source = [f"data.name={name.rpartition('.')[2]}", f"data.path={name}"]
    if name.startswith("windows"):
        keys = ["window.steps=20", "window.features=1", "data.split="]
        return load_recipe(MODELS / "ecg5000-dense.toml", [*source, *keys, *overrides])
    return load_recipe(MODELS / "mitdb-dense.toml", [*source, *SAMPLE_KEYS, *overrides])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("init samples.SUFFIX --yes", f"{A_PART}, {ON_ALL}"),
        ("init long.SUFFIX --yes --long tag,value", f"{A_PART}, {ON_ALL}"),
        ("init windows.SUFFIX --yes", f"{A_PART}, {ON_ALL}"),
        ("evaluate of-samples --dataset samples.SUFFIX", A_PART),
        ("evaluate of-samples --dataset samples.SUFFIX --part test", A_PART),
        ("evaluate of-samples --dataset long.SUFFIX --long tag,value", A_PART),
        ("evaluate of-windows --dataset windows.SUFFIX", A_PART),
        ("reconstruct of-samples samples.SUFFIX", A_PART),
    ],
)
def test_a_file_that_is_held_is_refused_with_what_to_do(
    run: Run,
    free: list[int],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    remedy: str,
    suffix: str,
) -> None:
    del free
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    words = words.replace("SUFFIX", suffix)
    code, out, err = run(*words.split())
    path = next(word for word in words.split() if word.endswith(suffix))
    assert (code, out) == (6, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"error: {path}: expected data that fit into the 0.00 GB of memory that")
    assert last.endswith(f"that take about 0.00 GB; {remedy}")


@pytest.mark.parametrize("name", ["samples.csv", "samples.parquet", "windows.csv", "long.parquet"])
def test_training_data_that_do_not_fit_are_refused_with_what_to_set(
    run: Run, free: list[int], name: str
) -> None:
    recipe = "ecg5000-dense" if name.startswith("windows") else "mitdb-dense"
    keys = ["data.split="] if name.startswith("windows") else [*SAMPLE_KEYS]
    long = ["data.feature_name=tag", "data.feature_value=value"] * name.startswith("long")
    keys += [f"data.name={name.rpartition('.')[2]}", f"data.path={name}", *long]
    sets = [word for key in keys for word in ("--set", key)]
    code, _, err = run("train", MODELS / f"{recipe}.toml", *sets, "--out", "made")
    assert code == 6, err
    remedy = AS_PARQUET if name.endswith("csv") else SOME_WINDOWS
    assert f"error: {name}: expected data that fit" in err
    assert err.endswith(f"about 0.00 GB; {remedy}, {SAYS} {A_PART}\n")
    assert not Path("made").exists()
    assert free == [1]


def test_windows_that_fit_but_not_with_training_are_refused(
    free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_windows = N_ROWS - N_STEPS + 1
    for keys, times in ((), 6), (("network={kind='pca', components=2}",), 2):
        # Reading would need more than training on so few.
        monkeypatch.setattr(reading, "require_memory", lambda *_: None)
        recipe = recipe_of("samples.csv", *keys)
        free.append(times * n_windows * N_STEPS * 4)
        dataset = load_windows(recipe)
        assert len(dataset.train) == n_windows
        free.append(free[-1] - 1)
        expected = rf"^samples\.csv: training on {n_windows} windows: expected data that .* write"
        with pytest.raises(TooLargeError, match=expected):
            load_windows(recipe)
        assert len(load_windows(recipe, Features(("flow",))).train) == n_windows  # not to train on


def test_what_else_is_trained_on_is_refused_with_what_is_true_of_it(free: list[int]) -> None:
    held = recipe_of("samples.parquet", "data.n_windows_in_memory=100")
    with pytest.raises(TooLargeError, match=r"; hold fewer windows, by a smaller data\.n_win"):
        load_windows(held)
    free.append(sys.maxsize)
    data = load_windows(recipe_of("windows.csv"))
    free.append(1)
    recipe = recipe_of("windows.csv", "data.name=memory", "data.path=")
    with pytest.raises(TooLargeError, match=r"^data memory: training on .*; give less data$"):
        load_windows(recipe, data=data)


def test_scores_are_written_of_files_of_any_size(run: Run, free: list[int]) -> None:
    for words in (
        ("of-samples", "samples.csv"),
        ("of-samples", "samples.parquet", "--points"),
        ("of-samples", "long.csv", "--points", "--long", "tag,value"),
        ("of-windows", "windows.parquet"),
    ):
        code, _, err = run("score", *words, "--out", os.devnull)
        assert code == 0, err
    assert free == [1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_whole_windows_are_sent_some_at_a_time(
    run: Run, free: list[int], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 1)
    monkeypatch.setattr("stream_detector.clients.connect", lambda *_, **__: broker.connect())
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 7)
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 500)
    monkeypatch.setattr("stream_detector.datasets.files.parquet._ROWS_A_PART", 7)
    code, _, err = run("replay", f"windows.{suffix}", "--format", "float32")
    assert code == 0, err
    assert err.count("20 columns of values") <= 1
    assert f"{N_ROWS} records to telemetry" in err
    records = broker.records("telemetry")
    keys = [record.metadata.key for record in records]
    assert keys == [f"windows-{row:05d}".encode() for row in range(N_ROWS)]
    for row in (0, 6, 7, N_ROWS - 1):
        values = np.frombuffer(records[row].value or b"", "<f4")
        assert values.tolist() == [row + 0.5] * 20
        assert dict(records[row].metadata.headers)["label"] == b"0"
    assert free == [1]


def test_a_bad_row_at_the_end_is_found_before_anything_is_sent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 7)
    with Path("windows.csv").open("a") as file:
        file.write(",".join(["1"] * 19 + ["x", "0"]) + "\n")
    code, _, err = run("replay", "windows.csv", "--bootstrap-servers", "127.0.0.1:1")
    assert code == 6
    assert f"row {N_ROWS + 2}, column v19: expected a number" in err
    assert err.endswith("or give --samples, where a row is a sample and not a whole window\n")


def test_samples_that_are_held_to_be_sent_are_refused(
    run: Run, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 1)
    monkeypatch.setattr("stream_detector.clients.connect", lambda *_, **__: broker.connect())
    words = ("replay", "samples.csv", "--samples", "--interval-ms", "1000", "--chunk", "2")
    free.append(2 * 3 * 8 * N_ROWS - 1)  # a value, a time and the number of a series
    code, _, err = run(*words)
    assert code == 6
    assert "error: samples to be sent: expected data that fit into" in err
    assert err.endswith("; send each in a record of its own and without faults, or only some of "
                        "them at a time\n")  # fmt: skip
    assert not broker.records("telemetry")
    free.append(2 * 3 * 8 * N_ROWS)
    assert run(*words)[0] == 0
    assert len(broker.records("telemetry")) == N_ROWS // 2
    free.append(1)
    assert run(*words[:-2])[0] == 0  # each in a record of its own


def test_memory_that_runs_out_all_the_same_is_named() -> None:
    end = "; give less data at once, or this process more memory"
    assert describe_error(MemoryError()) == (1, f"no memory is left{end}")
    said = "Unable to allocate 55 MiB"
    assert describe_error(MemoryError(said)) == (1, f"no memory is left: {said}{end}")
