"""Files with one value a row give the samples of a file with a column for each feature."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.features import Features
from stream_detector.datasets.files import long_form
from stream_detector.datasets.files.ordering import in_time_order
from stream_detector.datasets.files.reading import read_columns
from stream_detector.datasets.files.samples import load, read_samples, sample_parts
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.recipes import load_recipe
from stream_detector.recipes.columns import ColumnMap

START = 1_767_225_600_000
RECIPE = Path(__file__).parents[4] / "models" / "nab-dense.toml"
LONG = ColumnMap(key="device", time="ts", feature_name="tag", feature_value="value")
ROWS = (
    ("p1", 0, "temp", "20,5"),
    ("p1", 0, "flow", "1,5"),
    ("p2", 0, "flow", "3"),
    ("p1", 1, "flow", "1,75"),
    ("p1", 1, "flow", "9"),
    ("p2", 0, "temp", "NA"),
    ("p1", 2, "temp", "21"),
)


def write(path: Path, header: str = "device;ts;tag;value", extra: str = "") -> Path:
    rows = [f"{key};2026-01-01T00:00:0{at}Z;{tag};{value}{extra}" for key, at, tag, value in ROWS]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_features_of_a_sample_meet_by_key_and_time(tmp_path: Path) -> None:
    found = read_samples(write(tmp_path / "a.csv"), columns=LONG)
    assert found.feature_names == ("temp", "flow")
    assert found.samples.keys == ("p1", "p2")
    assert found.samples.series.tolist() == [0, 1, 0, 0]
    assert (found.samples.times_ms - START).tolist() == [0, 0, 1000, 2000]
    expected = [[20.5, 1.5], [np.nan, 3], [np.nan, 1.75], [21, np.nan]]
    np.testing.assert_array_equal(found.exact, expected)
    assert found.rows.tolist() == [2, 4, 5, 8]


def test_named_features_are_those_of_the_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    columns = ColumnMap(
        "device", "ts", features=("flow",), feature_name="tag", feature_value="value"
    )
    found = read_samples(path, columns=columns)
    assert found.feature_names == ("flow",)
    np.testing.assert_array_equal(found.exact[:, 0], [1.5, 3, 1.75])
    columns = ColumnMap(
        "device", "ts", features=("flow", "rpm"), feature_name="tag", feature_value="value"
    )
    with pytest.raises(DatasetError, match="features rpm in the column tag, received temp, flow"):
        read_samples(path, columns=columns)


@pytest.mark.parametrize("labelled", ["flow;1,5", "temp;20,5"])
def test_a_sample_is_labelled_if_one_of_its_values_is(tmp_path: Path, labelled: str) -> None:
    path = write(tmp_path / "a.csv", "device;ts;tag;value;label", ";0")
    path.write_text(path.read_text().replace(f"{labelled};0", f"{labelled};1"))
    labels = read_samples(path, columns=LONG).samples.labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 0, 0]
    assert len(load(path, columns=LONG).test) == 1


def test_several_files_meet_too(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a1.csv"), tmp_path / "a2.csv"
    text = first.read_text().splitlines()
    first.write_text("\n".join(text[:2]) + "\n")
    second.write_text("\n".join([text[0], *text[2:]]) + "\n")
    found = read_samples(tmp_path / "a*.csv", columns=LONG)
    np.testing.assert_array_equal(found.exact[0], [20.5, 1.5])


def test_parquet_is_read_in_the_same_way(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["device", "ts", "tag", "value"])
    frame["value"] = frame["value"].str.replace(",", ".").replace("NA", None).astype(float)
    frame["ts"] = pandas.to_datetime(START + 1000 * frame["ts"], unit="ms", utc=True)
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_samples(tmp_path / "a.parquet", columns=LONG)
    wanted = read_samples(write(tmp_path / "a.csv"), columns=LONG)
    np.testing.assert_array_equal(found.exact, wanted.exact)
    np.testing.assert_array_equal(found.samples.times_ms, wanted.samples.times_ms)


def test_a_wide_file_is_read_by_a_recipe_of_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"key,timestamp_ms,flow\nx,{START},1\n")
    assert read_samples(path, columns=LONG.lenient).feature_names == ("flow",)
    with pytest.raises(DatasetError, match="expected the columns device, ts, tag, value that"):
        read_samples(path, columns=LONG)


def test_it_is_said_and_times_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    described = read_columns(path, blank_is_missing=True, columns=LONG).described
    assert "one value a row, named by column 'tag', 1 column of values" in described
    path.write_text("tag,value\nflow,1\n")
    columns = ColumnMap(feature_name="tag", feature_value="value")
    with pytest.raises(DatasetError, match=r"expected a column of times, .* received tag, value"):
        read_samples(path, columns=columns)


def test_a_recipe_needs_both_names_and_samples() -> None:
    own = ["data.name=csv", "data.path=a.csv", "data.feature_name=tag"]
    with pytest.raises(ConfigError, match=r"data\.feature_value: expected the name of a column"):
        load_recipe(RECIPE, own)
    both = [*own, "data.feature_value=value"]
    assert load_recipe(RECIPE, both).data.columns.feature_value == "value"
    windows = RECIPE.with_name("synthetic-ecg-dense.toml")
    with pytest.raises(ConfigError, match=r"data\.feature_name: expected only with window\.record"):
        load_recipe(windows, both)


def write_many(path: Path, seed: int, n_rows: int = 120) -> Path:
    """Write rows of few keys, times and features, so that many meet, and some are there twice."""
    rng = np.random.default_rng(seed)
    keys, times, names = (rng.integers(0, n, n_rows) for n in (3, 12, 4))
    tags = ["temp", "flow", "", "rpm"]
    rows = [
        f"p{key};{START + 1_000 * at};{tags[name]};{number / 7!r};{('ok', 'bad')[number % 9 == 0]}"
        for number, (key, at, name) in enumerate(zip(keys, times, names, strict=True))
    ]
    path.write_text("\n".join(["device;ts;tag;value;state", *rows]) + "\n")
    return path


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("wanted", [(), ("rpm", "temp")])
def test_samples_in_parts_are_those_of_the_file_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, wanted: tuple[str, ...]
) -> None:
    n_at_once = 1 + seed % 10
    monkeypatch.setattr(long_form, "_ROWS_AT_ONCE", n_at_once)
    path, names = write_many(tmp_path / "a.csv", seed), wanted or ("flow", "temp", "rpm")
    columns = replace(LONG, label="state", normal_label="ok", features=wanted)
    features, n_at_most = Features(names, (0.25,) * len(names)), 3 * len(names) * 12 + n_at_once
    whole = read_samples(path, features, columns)
    for exact, values in ((False, whole.samples.values), (True, whole.exact)):
        parts = list(sample_parts(path, features, columns, exact=exact))
        assert {each.keys for each in parts} == {whole.samples.keys}
        times = [set(each.times_ms.tolist()) for each in parts]
        assert all(first.isdisjoint(second) for first, second in combinations(times, 2))
        assert max(map(len, parts)) <= n_at_most
        (found,) = in_time_order(parts, 1_000)
        order = np.argsort(whole.samples.times_ms, kind="stable")
        np.testing.assert_array_equal(found.values, values[order])
        for name in ("series", "times_ms", "labels"):
            expected = getattr(whole.samples, name)[order]
            np.testing.assert_array_equal(getattr(found, name), expected)


@pytest.mark.parametrize("seed", range(4))
def test_samples_are_numbered_by_the_rows_before_them_in_all_files(
    tmp_path: Path, seed: int
) -> None:
    first, second = (
        write_many(tmp_path / f"{name}.csv", 2 * seed + at) for at, name in enumerate("ab")
    )
    columns, names = replace(LONG, features=("flow",)), Features(("flow",))
    (*parts,) = sample_parts(tmp_path / "*.csv", names, columns, numbered=True)
    rows = [line.split(";") for each in (first, second) for line in each.read_text().split()[1:]]
    found = [
        (part.keys[number], time_ms, before)
        for part in parts
        for number, time_ms, before in zip(
            part.series.tolist(), part.times_ms.tolist(), part.values[:, -1].tolist(), strict=True
        )
    ]
    expected: dict[tuple[str, float], int] = {}
    for number, (key, time, tag, *_) in enumerate(rows):
        if tag == "flow":
            expected.setdefault((key, float(time)), number)
    assert {(key, time_ms): before for key, time_ms, before in found} == expected
    assert len(found) == len(expected)


def test_keys_of_other_features_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    columns = replace(LONG, features=("flow",))
    path.write_text(path.read_text() + "p3;2026-01-01T00:00:03Z;temp;1\n")
    (*parts,) = sample_parts(path, Features(("flow",)), columns)
    assert {each.keys for each in parts} == {("p1", "p2")}


def test_a_file_without_keys_is_one_series_in_parts_too(tmp_path: Path) -> None:
    path = tmp_path / "tank.csv"
    path.write_text(f"ts,tag,value\n{START},flow,1\n{START},temp,2\n{START + 1000},flow,3\n")
    (*parts,) = sample_parts(path, Features(("flow", "temp")), replace(LONG, key=""))
    assert [each.keys for each in parts] == [("tank",), ("tank",)]
    np.testing.assert_array_equal(parts[0].values, [[1, 2]])
    np.testing.assert_array_equal(parts[1].values, [[3, np.nan]])


def test_rows_that_go_back_are_said_but_not_those_of_one_feature_after_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.csv"
    header = "device,ts,tag,value"
    rows = [f"p1,{START + at},{tag},{at}" for tag in ("flow", "temp") for at in range(3)]
    path.write_text("\n".join([header, *rows]) + "\n")
    list(sample_parts(path, Features(("flow", "temp")), LONG))
    assert "rows-sorted" not in caplog.text
    rows[4:] = rows[:3:-1]
    path.write_text("\n".join([header, *rows]) + "\n")
    list(sample_parts(path, Features(("flow", "temp")), LONG))
    assert "rows-sorted" in caplog.text
    assert "row=7" in caplog.text
    assert "p1 temp" in caplog.text


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("p1,x,flow,1", r"a.csv, row 5002, column ts: expected a number, received 'x'"),
        (f",{START},flow,1", r"a.csv, row 5002, column key: expected the name of a series"),
        (f"p1,{START + 1},temp,1e39", r"a.csv, row 5002, column temp: expected a finite number"),
        (f"p1,{START},temp,x", r"a.csv, row 5002, column value: expected a number, received 'x'"),
    ],
)
def test_what_is_wrong_far_down_is_named_by_its_row(tmp_path: Path, row: str, what: str) -> None:
    path = tmp_path / "a.csv"
    rows = [f"p1,{START + 1_000 * number},flow,{number}" for number in range(5_000)]
    path.write_text("\n".join(["device,ts,tag,value", *rows, row]) + "\n")
    with pytest.raises(DatasetError, match=what):
        list(sample_parts(path, columns=replace(LONG, time_format="ms")))


def test_a_file_without_names_of_features_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"device,ts,tag,value\np1,{START},,1\n")
    what = "expected names of features in the column tag, received $"
    with pytest.raises(DatasetError, match=what):
        read_samples(path, columns=LONG)
    with pytest.raises(DatasetError, match=what):
        list(sample_parts(path, columns=LONG))
