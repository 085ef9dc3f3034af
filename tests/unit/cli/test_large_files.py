"""Files that are read some rows at a time have the scores of files that are held."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from halving_bundle import make_bundle

from stream_detector.assembly import Served, open_bundle
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.datasets import cutting
from stream_detector.datasets.files import csv_rows, ordering
from stream_detector.datasets.files.samples import read_samples
from stream_detector.datasets.files.windows import read_windows
from stream_detector.datasets.windowing import cut_samples
from stream_detector.recipes import load_recipe

if TYPE_CHECKING:
    from stream_detector.core.sample_detector import SampleDetector

MODELS = Path(__file__).parents[3] / "models"
START = 1_767_225_600_000
N_TIMES = 900
KEYS = ("known", "new", "other")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read about 97 lines at a time, and merge runs of few rows."""
    monkeypatch.setattr(csv_rows, "_FIRST_ROWS", 97)
    monkeypatch.setattr(csv_rows, "_BLOCK_CHARACTERS", 2_000)
    monkeypatch.setattr(ordering, "_ROWS_A_RUN", 300)
    monkeypatch.setattr(ordering, "_BYTES_IN_MEMORY", 1_000)
    monkeypatch.setattr(cutting, "_WINDOWS_BYTES", 1)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A bundle of samples of two features, in which each key has a scale of its own."""
    overrides = ["data.name=csv", "data.path=x.csv", "window.steps=4", "window.stride=3"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "window.features=2"]
    overrides += ["scaling.per_key=true", "scaling.warm_up_samples=50"]
    overrides += ["window.missing=reject", "window.key_ttl_ms=60000"]
    scale = np.array([[2, 2], [3, 1]], np.float32)
    scales = KeyScales([b"known", b"other"], scale, np.ones((2, 2), np.float32))
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    features = Features(("flow", "heat"), (1.0, 2.0), scales)
    make_bundle(tmp_path / "bundle", recipe, features=features)
    return open_bundle(tmp_path / "bundle")


def rows_of(order: str) -> list[tuple[str, int, float | str, float]]:
    """Return samples of three keys with missing values and a pause, in some order."""
    rng = np.random.default_rng(5)
    values = rng.normal(size=(N_TIMES, len(KEYS), 2)).round(3).tolist()
    rows: list[tuple[str, int, float | str, float]] = []
    for at in range(N_TIMES):
        late = 120_000 * (at > 500)
        for number, key in enumerate(KEYS):
            flow, heat = values[at][number]
            cell = "" if at % 41 == number else flow
            rows.append((key, START + 1_000 * at + late * (number == 1), cell, heat))
    if order == "by key":
        rows.sort(key=lambda row: row[0])
    if order == "shuffled":
        rng.shuffle(rows)
    return [(key, int(time), flow, float(heat)) for key, time, flow, heat in rows]


def expected_rows(served: Served, path: Path) -> list[list[str]]:
    """Return the rows of the output, from a file that is held."""
    features = served.bundle.features
    samples = read_samples(path, features).samples
    found = cut_samples(samples, served.bundle.manifest.recipe.rules, features)
    assert found.features is not None
    assert found.n_missing > 0
    assert found.n_warm_up > 0
    windows = found.features.to_key_units(found.windows, found.keys)
    scores = cast("SampleDetector", served.detector).score(windows).tolist()
    places = zip(found.keys, found.start_ms.tolist(), found.end_ms.tolist(), strict=True)
    return [[*map(str, place), repr(score)] for place, score in zip(places, scores, strict=True)]


@pytest.mark.parametrize("order", ["by time", "by key", "shuffled"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_samples_in_any_order_have_the_same_scores(
    run: Run,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    order: str,
    kind: str,
) -> None:
    path = tmp_path / f"large.{kind}"
    rows = rows_of(order)
    if kind == "csv":
        lines = [",".join(map(str, row)) for row in rows]
        path.write_text("\n".join(["key,timestamp_ms,flow,heat", *lines]) + "\n")
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = zip(*[(*row[:2], row[2] or None, row[3]) for row in rows], strict=True)
        names = ("key", "timestamp_ms", "flow", "heat")
        table = pyarrow.table(dict(zip(names, map(list, columns), strict=True)))
        if kind == "parquet":
            parquet.write_table(table, path, row_group_size=400)
        else:
            parquet.write_to_dataset(table, path, partition_cols=["key"])
            parquet.write_table(table[:0].drop_columns("key"), path / "key=new" / "none.parquet")
        monkeypatch.setattr("stream_detector.datasets.files.parquet._ROWS_A_PART", 97)
    expected = expected_rows(served, path)
    request.getfixturevalue("in_small_parts")
    caplog.clear()
    code, out, err = run("score", served.bundle.path, path)
    assert code == 0, err
    found = list(csv.reader(io.StringIO(out)))[1:]
    assert [row[:4] for row in found] == expected
    assert err.count("keys not known to training: 1, such as new") == 1
    assert err.count("windows lack too many values") == 1
    assert caplog.text.count("rows-sorted") == (order == "shuffled")


@pytest.mark.usefixtures("in_small_parts")
def test_whole_windows_are_scored_row_by_row(run: Run, tmp_path: Path) -> None:
    overrides = ["data.name=csv", "data.path=x.csv", "window.steps=6"]
    make_bundle(tmp_path / "bundle", load_recipe(MODELS / "ecg5000-dense.toml", overrides))
    served = open_bundle(tmp_path / "bundle")
    values = np.random.default_rng(1).normal(size=(500, 6))
    path = tmp_path / "beats.csv"
    header = ",".join(["key", *(f"v{step}" for step in range(6))])
    lines = [",".join([f"k{row}", *map(str, each)]) for row, each in enumerate(values.tolist())]
    path.write_text("\n".join([header, *lines]) + "\n")
    expected = served.detector.score(read_windows(path, 6).windows).tolist()
    code, out, err = run("score", tmp_path / "bundle", path)
    assert code == 0, err
    found = list(csv.reader(io.StringIO(out)))[1:]
    assert [row[0] for row in found] == [f"k{row}" for row in range(500)]
    assert [float(row[3]) for row in found] == expected
    path.write_text("\n".join([header, *lines, "k,1,2,3,4,5,"]) + "\n")
    code, out, err = run("score", tmp_path / "bundle", path)
    assert code == 6
    assert "beats.csv, row 502, column v5: expected a number, received an empty cell" in err
    path.write_text("\n".join([header, *lines, "k,1,2,3,4,5,1e30"]) + "\n")
    code, out, err = run("score", tmp_path / "bundle", path)
    assert code == 6
    assert "beats.csv: window 500 of key k: values[5]: received 1e+30" in err


@pytest.mark.usefixtures("in_small_parts")
def test_what_is_wrong_with_samples_is_said_before_any_score(
    run: Run, served: Served, tmp_path: Path
) -> None:
    lines = [",".join(map(str, row)) for row in rows_of("by time")]
    path = tmp_path / "large.csv"
    path.write_text("\n".join(["key,timestamp_ms,flow,heat", *lines, "a,b,c,d"]) + "\n")
    code, out, err = run("score", served.bundle.path, path)
    assert (code, out) == (6, "")
    assert f"large.csv, row {len(lines) + 2}, column flow: expected a number" in err


def test_a_large_file_without_a_window_says_why(
    run: Run, served: Served, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lines = [f"known,{START + 10_000 * row},1,{row}" for row in range(1_500)]
    path = tmp_path / "large.csv"
    path.write_text("\n".join(["key,timestamp_ms,flow,heat", *lines]) + "\n")
    code, out, at_once = run("score", served.bundle.path, path)
    assert (code, out) == (6, "")
    assert "received 1500 samples" in at_once
    request.getfixturevalue("in_small_parts")
    assert run("score", served.bundle.path, path) == (6, "", at_once)
