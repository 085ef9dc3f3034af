"""Files of whole windows are recognised, and get a recipe of their own."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.errors import DatasetError
from stream_detector.files import read_toml
from stream_detector.inspection.recipe_text import plain
from stream_detector.inspection.table import RawColumn, RawTable, read_raw
from stream_detector.inspection.whole_windows import (
    compose_windows,
    false_alarm_share,
    find_windows,
    why_samples,
)
from stream_detector.recipes import parse_recipe, shipped_recipe
from stream_detector.training import load_windows


def write(path: Path, names: list[str], n_rows: int = 80, extra: str = "") -> Path:
    values = np.random.default_rng(0).normal(size=(n_rows, len(names))).round(3)
    header, cells = [",".join([*([extra] if extra else []), *names])], []
    for number, row in enumerate(values.tolist()):
        first = [str(int(number % 20 == 19))] if extra else []
        cells.append(",".join([*first, *map(str, row)]))
    path.write_text("\n".join([*header, *cells]) + "\n")
    return path


@pytest.mark.parametrize("prefix", ["v", "", "step_", "t"])
def test_numbered_columns_without_a_time_are_the_values_of_a_window(
    tmp_path: Path, prefix: str
) -> None:
    names = [f"{prefix}{number}" for number in range(24)]
    path = write(tmp_path / "beats.csv", names, extra="label")
    table = read_raw(path)
    layout = find_windows(table)
    assert layout is not None
    assert (layout.values, layout.label) == (tuple(names), "label")
    assert (layout.n_normal, layout.n_rows) == (76, 80)
    values = compose_windows("beats", table, layout, read_toml(shipped_recipe("telemetry.toml")))
    recipe = parse_recipe(plain(values), "test")
    assert (recipe.window.record, recipe.window.steps) == ("window", 24)
    data = load_windows(recipe)
    assert data.train.shape[1:] == (24, 1)
    assert len(data.train) + len(data.test) == 80


def test_a_file_with_times_or_few_columns_is_one_of_samples(tmp_path: Path) -> None:
    few = write(tmp_path / "few.csv", [f"sensor_{number}" for number in range(15)])
    assert find_windows(read_raw(few)) is None
    names = [f"sensor_{number:02d}" for number in range(24)]
    lines = write(tmp_path / "many.csv", names).read_text().splitlines()
    timed = [f"2026-01-01 00:{at // 60:02d}:{at % 60:02d},{each}" for at, each in enumerate(lines)]
    (tmp_path / "timed.csv").write_text("\n".join(["time," + lines[0], *timed[1:]]) + "\n")
    assert find_windows(read_raw(tmp_path / "timed.csv")) is None
    assert find_windows(read_raw(tmp_path / "many.csv")) is not None


@pytest.mark.parametrize(("n_values", "are_windows"), [(15, False), (16, True)])
def test_sixteen_numbered_columns_may_be_a_window(
    tmp_path: Path, n_values: int, are_windows: bool
) -> None:
    path = write(tmp_path / "beats.csv", [f"v{number}" for number in range(n_values)])
    assert (find_windows(read_raw(path)) is not None) is are_windows


def table_of(values: NDArray[np.float64]) -> RawTable:
    """Return rows of numbered columns."""
    columns = tuple(RawColumn(f"v{at}", column) for at, column in enumerate(values.T))
    return RawTable(Path("rows.csv"), columns, len(values))


def are_samples(values: NDArray[np.float64]) -> bool:
    """Return whether rows of numbered columns are samples and no windows."""
    table = table_of(values)
    layout = find_windows(table)
    assert layout is not None
    return why_samples(table, layout) is not None


@pytest.mark.parametrize(
    ("n_rows", "n_varying", "expected"),
    [(50, 16, True), (49, 16, False), (50, 2, True), (50, 1, False)],
)
def test_fifty_rows_of_two_columns_tell_whether_they_are_samples(
    n_rows: int, n_varying: int, expected: bool
) -> None:
    steps = np.random.default_rng(0).normal(size=(n_rows, 16))
    values = np.cumsum(steps, axis=0)
    values[:, n_varying:] = 0.0
    assert are_samples(values) is expected


SERVERS = ("1-6", "2-1", "2-7", "3-3")


@pytest.mark.parametrize("name", [f"smd/train/machine-{each}.txt.gz" for each in SERVERS])
def test_rows_that_follow_each_other_are_samples(data_folder: Path, name: str) -> None:
    table = read_raw(data_folder / name)
    layout = find_windows(table)
    assert layout is not None
    assert len(layout.values) == 38
    why = why_samples(table, layout)
    assert why is not None
    assert why.startswith("each row is a sample of 38 features and no window: it is like the row")


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("is_in_order", [True, False])
def test_columns_that_follow_each_other_are_windows(
    tmp_path: Path, n_features: int, is_in_order: bool
) -> None:
    rng = np.random.default_rng(5)
    signal = np.cumsum(rng.normal(size=(400, n_features)), axis=0)
    windows = np.stack([signal[at : at + 30].ravel() for at in range(0, 360, 3)])
    if not is_in_order:
        windows = rng.permutation(windows)
    names = ",".join(f"v{at}" for at in range(windows.shape[1]))
    path = tmp_path / "windows.csv"
    np.savetxt(path, windows, delimiter=",", header=names, comments="")
    table = read_raw(path)
    layout = find_windows(table)
    assert layout is not None
    assert why_samples(table, layout) is None


def test_a_label_without_a_name_is_noticed_and_can_be_said(data_folder: Path) -> None:
    table = read_raw(data_folder / "ecg5000" / "ecg.csv.gz")
    layout = find_windows(table)
    assert layout is not None
    assert why_samples(table, layout) is None
    assert (len(layout.values), layout.maybe_label, layout.label) == (141, "141", "")
    said = find_windows(table, "141", "1")
    assert said is not None
    assert (len(said.values), said.maybe_label, said.label) == (140, "", "141")
    assert (said.n_normal, said.normal_label) == (2919, "1")
    nothing = find_windows(table, "")
    assert nothing is not None
    assert (len(nothing.values), nothing.maybe_label) == (141, "")
    assert find_windows(table, "absent") is None


def test_the_first_column_may_be_the_label_and_values_of_many_kinds_are_none(
    tmp_path: Path,
) -> None:
    names = [f"v{number}" for number in range(24)]
    lines = write(tmp_path / "beats.csv", names).read_text().splitlines()
    for n_kinds, expected in ((1, ""), (2, "v0"), (10, "v0"), (11, "")):
        changed = [f"{at % n_kinds},{line.partition(',')[2]}" for at, line in enumerate(lines[1:])]
        (tmp_path / "ucr.csv").write_text("\n".join([lines[0], *changed]) + "\n")
        layout = find_windows(read_raw(tmp_path / "ucr.csv"))
        assert layout is not None
        assert layout.maybe_label == expected


@pytest.mark.parametrize(("n_usual", "expected"), [(10, ""), (11, "v0")])
def test_a_label_has_fewer_values_than_other_columns(n_usual: int, expected: str) -> None:
    rows = np.arange(110.0)
    values = np.tile(rows[:, np.newaxis] % n_usual + 0.5, 24)
    values[:, 0] = rows % 10
    layout = find_windows(table_of(values))
    assert layout is not None
    assert layout.maybe_label == expected


def test_as_few_windows_as_can_be_told_are_said() -> None:
    assert false_alarm_share(600).why == "one normal window in 200"
    assert false_alarm_share(599).why.startswith("3 of 599 windows")


def test_fifty_windows_are_enough(tmp_path: Path) -> None:
    table = read_raw(write(tmp_path / "beats.csv", [f"v{at}" for at in range(24)], n_rows=50))
    layout = find_windows(table)
    assert layout is not None
    values = compose_windows("beats", table, layout, read_toml(shipped_recipe("telemetry.toml")))
    assert parse_recipe(plain(values), "test").threshold.method == "false_alarm_share"


def test_too_few_windows_are_refused(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(24)]
    table = read_raw(write(tmp_path / "beats.csv", names, n_rows=49))
    layout = find_windows(table)
    assert layout is not None
    with pytest.raises(DatasetError, match="at least 50 normal windows, one a row, received 49"):
        compose_windows("beats", table, layout, {})
