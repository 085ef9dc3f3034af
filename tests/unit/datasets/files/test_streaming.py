"""Windows of Parquet that are not held in memory are those that would be, in any order and cut."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.datasets import Dataset
from stream_detector.datasets.files.row_groups import WindowSource
from stream_detector.datasets.files.streaming import load_streamed
from stream_detector.datasets.files.windows import load
from stream_detector.errors import DatasetError
from stream_detector.recipes.columns import ColumnMap

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N_WINDOWS, N_STEPS, N_FEATURES = 230, 3, 2
START = 1_767_225_600_000


def table_of(rows: slice = slice(None), **changes: Any) -> Any:
    """Return a table of windows with keys, times and labels."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=(N_WINDOWS, N_STEPS * N_FEATURES)).astype(np.float32)
    columns: dict[str, Any] = {f"v{at}": column for at, column in enumerate(values.T)}
    columns["key"] = [f"pump-{number}" for number in rng.integers(0, 3, N_WINDOWS).tolist()]
    columns["timestamp_ms"] = START + 1_000 * rng.permutation(N_WINDOWS)
    columns["label"] = (rng.random(N_WINDOWS) < 0.1).astype(np.int8)
    columns |= changes
    return pyarrow.table({name: column[rows] for name, column in columns.items()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of row groups of 37 windows."""
    path = tmp_path / "windows.parquet"
    parquet.write_table(table_of(), path, row_group_size=37)
    return path


def streamed(path: Path, n_windows: int = 100, seed: int = 0, **options: Any) -> Dataset:
    return load_streamed(path, N_FEATURES, n_windows, seed, **options).in_float32()


def held(path: Path, **options: Any) -> Dataset:
    return load(path, N_FEATURES, exact=True, **options).in_float32()


def all_of(dataset: Dataset) -> np.ndarray[Any, Any]:
    """Return the normal training windows of a stream, in the order of the file."""
    parts = [windows for _, windows in present(dataset.stream).parts()]
    return np.concatenate(parts)


def test_a_file_with_no_more_windows_is_held_as_ever(file: Path) -> None:
    found, expected = streamed(file, N_WINDOWS), held(file)
    assert found.stream is None
    for each in fields(Dataset):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(expected, each.name))
    assert found.fingerprint == expected.fingerprint
    assert streamed(file, N_WINDOWS - 1).stream is not None


@pytest.mark.parametrize("test_share", [None, 0.0, 0.4])
def test_what_is_read_is_the_normal_training_part_of_the_whole_file(
    file: Path, test_share: float | None
) -> None:
    found, expected = (each(file, test_share=test_share) for each in (streamed, held))
    np.testing.assert_array_equal(all_of(found), expected.normal_train)
    assert len(present(found.stream)) == len(expected.normal_train)
    every = np.concatenate([windows for _, windows in present(found.stream).every.parts()])
    np.testing.assert_array_equal(every, expected.train)
    assert len(found.train) + len(found.test) == 100
    assert (len(found.test) > 0) == (test_share != 0)


def test_windows_that_are_held_are_those_of_the_file_with_what_belongs_to_them(file: Path) -> None:
    found, expected = streamed(file), held(file)
    for part in ("train", "test"):
        windows, others = getattr(found, part), getattr(expected, part)
        rows = [int((others == window).all(axis=(1, 2)).argmax()) for window in windows]
        assert rows == sorted(set(rows))
        np.testing.assert_array_equal(windows, others[rows])
        for what in ("labels", "timestamps_ms"):
            name = f"{part}_{what}"
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[rows])
        keys = getattr(expected, f"{part}_keys")
        assert getattr(found, f"{part}_keys") == tuple(keys[row] for row in rows)


def test_the_draw_depends_on_the_seed_alone(file: Path) -> None:
    first, again, other = (streamed(file, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train, again.train)
    assert first.train.shape != other.train.shape or (first.train != other.train).any()


def test_windows_held_out_are_not_read(file: Path) -> None:
    found = streamed(file, test_share=0.0)
    normal = np.flatnonzero(present(found.train_labels) == 0)
    out = normal[:9]
    stream = present(found.stream).without(out)
    read = np.concatenate([windows for _, windows in stream.parts()])
    assert len(read) == len(stream) == len(present(found.stream)) - 9
    for row in normal:
        is_read = (read == found.train[row]).all(axis=(1, 2)).any()
        assert is_read == (row not in out)


def test_files_folders_and_row_groups_make_no_difference(file: Path, tmp_path: Path) -> None:
    expected = streamed(file)
    folder = tmp_path / "several"
    (folder / "deep").mkdir(parents=True)
    parquet.write_table(table_of(slice(150)), folder / "a.parquet", row_group_size=11)
    parquet.write_table(table_of(slice(150, None)), folder / "deep" / "b.parquet")
    names = table_of().column_names[::-1]
    parquet.write_table(table_of(slice(150, None)).select(names), folder / "c.pq")
    for path in (folder / "*.p*q*", folder / "[ac].p*"):
        found = streamed(path)
        np.testing.assert_array_equal(found.train, expected.train)
        assert found.fingerprint == expected.fingerprint
    (folder / "c.pq").unlink()
    found = streamed(folder)
    np.testing.assert_array_equal(all_of(found), all_of(expected))
    assert found.fingerprint == expected.fingerprint


def test_a_key_in_the_path_of_a_file_is_a_column(tmp_path: Path) -> None:
    table = table_of().drop_columns(["key"])
    for number in range(2):
        (tmp_path / f"key=pump-{number}").mkdir()
        rows = table.slice(115 * number, 115)
        parquet.write_table(rows, tmp_path / f"key=pump-{number}" / "part-0.parquet")
    found, expected = streamed(tmp_path), held(tmp_path)
    assert set(present(found.train_keys)) == {"pump-0", "pump-1"}
    np.testing.assert_array_equal(all_of(found), expected.normal_train)


def test_the_fingerprint_is_of_all_values_and_labels(file: Path, tmp_path: Path) -> None:
    before = streamed(file, seed=1).fingerprint
    table = table_of()
    for column in ("v3", "label"):
        cells = table[column].to_numpy().copy()
        cells[77] = 1 - cells[77]
        path = tmp_path / f"{column}.parquet"
        parquet.write_table(table_of(**{column: cells}), path, row_group_size=50)
        assert streamed(path, seed=1).fingerprint != before


def test_times_keys_and_labels_are_those_that_a_recipe_names(tmp_path: Path) -> None:
    table = table_of().rename_columns([*(f"v{at}" for at in range(6)), "who", "when", "what"])
    words = ["good" if label == 0 else "bad" for label in table["what"].to_pylist()]
    table = table.set_column(8, "what", [words]).append_column("note", [["x"] * N_WINDOWS])
    path = tmp_path / "named.parquet"
    parquet.write_table(table, path, row_group_size=40)
    columns = ColumnMap(
        key="who",
        time="when",
        time_format="ms",
        label="what",
        normal_label="good",
        features=tuple(f"v{at}" for at in range(6)),
    )
    found, expected = streamed(path, columns=columns), held(path, columns=columns)
    np.testing.assert_array_equal(all_of(found), expected.normal_train)
    assert found.train_keys is not None


def test_a_value_that_is_no_number_is_named_by_its_row(tmp_path: Path) -> None:
    cells = table_of()["v1"].to_numpy().copy()
    cells[123] = np.nan
    path = tmp_path / "gap.parquet"
    parquet.write_table(table_of(v1=cells), path, row_group_size=50)
    with pytest.raises(DatasetError, match=r"gap\.parquet, row 124, column v1: expected a finite"):
        streamed(path)


def test_files_of_other_columns_and_indexes_without_rows_are_refused(tmp_path: Path) -> None:
    parquet.write_table(table_of(slice(150)), tmp_path / "a.parquet")
    other = table_of(slice(150, None)).rename_columns(["w", *table_of().column_names[1:]])
    parquet.write_table(other, tmp_path / "b.parquet")
    with pytest.raises(DatasetError, match=r"b\.parquet: expected the columns of"):
        streamed(tmp_path)
    pandas = pytest.importorskip("pandas")
    frame = table_of().drop_columns(["timestamp_ms"]).to_pandas()
    frame.index = pandas.RangeIndex(START, START + N_WINDOWS, name="timestamp_ms")
    frame.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DatasetError, match=r"expected timestamp_ms as a column.*reset_index"):
        streamed(tmp_path / "c.parquet")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    parquet.write_table(table_of(slice(0)), tmp_path / "none.parquet")
    with pytest.raises(DatasetError, match="has no rows"):
        WindowSource(tmp_path / "none.parquet", N_FEATURES)
