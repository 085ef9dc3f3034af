"""Files with one value a row give the samples of a file with a column for each feature."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.features import Features
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


def test_a_sample_is_labelled_if_one_of_its_values_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "device;ts;tag;value;label", ";0")
    path.write_text(path.read_text().replace("flow;1,5;0", "flow;1,5;1"))
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


def test_samples_in_parts_are_those_of_the_file_held(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, features = write(tmp_path / "a.csv"), Features(("flow", "temp"))
    with caplog.at_level("INFO", "stream_detector"):
        (found,) = sample_parts(path, features, LONG)
    assert "a.csv: held in memory, since the values of a sample may be anywhere" in caplog.text
    whole = read_samples(path, features, LONG).samples
    assert found.keys == whole.keys
    for name in ("series", "times_ms", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
