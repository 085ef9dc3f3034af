"""Which column is what, found out from names and content, as people's files have them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.datasets.files.samples import read_samples
from stream_detector.errors import ConfigError
from stream_detector.inspection.roles import Layout, Said, find_roles
from stream_detector.inspection.table import RawColumn, RawTable, read_raw

START = datetime(2026, 3, 1, tzinfo=UTC)
START_MS = START.timestamp() * 1_000
N_ROWS = 400


class Fleet:
    """Rows of a made-up fleet, as columns to which a test adds its own."""

    def __init__(self, n_keys: int = 4, interval_s: float = 10.0) -> None:
        rng = np.random.default_rng(n_keys)
        self.n_steps = N_ROWS // n_keys
        self.seconds = np.repeat(np.arange(self.n_steps) * interval_s, n_keys)
        self.machine = np.tile(np.arange(n_keys), self.n_steps)
        self.flow = rng.normal(5.0, 1.0, N_ROWS).round(3)
        self.heat = (self.machine + rng.normal(40.0, 0.5, N_ROWS)).round(3)

    def dates(self, pattern: str) -> list[str]:
        """Return the times as text."""
        return [(START + timedelta(seconds=float(each))).strftime(pattern) for each in self.seconds]

    def epoch(self, factor: float) -> list[int]:
        """Return the times as numbers since 1970."""
        return [round((START.timestamp() + float(each)) * factor) for each in self.seconds]


Write = Callable[[Mapping[str, Any]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(columns: Mapping[str, Any]) -> Path:
        path = tmp_path / "fleet.csv"
        lines = [",".join(columns)]
        lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to_file


def layout_of(path: Path, said: Said | None = None) -> Layout:
    """Return what is found, checked by reading the file with it."""
    table = read_raw(path)
    layout = find_roles(table, said or Said())
    if layout.columns.time:
        samples = read_samples(path, columns=layout.columns).samples
        order = np.argsort(layout.times_ms, kind="stable")
        np.testing.assert_array_equal(np.sort(samples.times_ms), layout.times_ms[order])
        assert set(samples.keys) == set(layout.keys)
        if samples.labels is not None:
            assert int(samples.labels.sum()) == int((~layout.is_normal).sum())
    return layout


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("machine_id", True),
        ("Device", True),
        ("pumpId", True),
        ("sensor name", True),
        ("asset", True),
        ("host", True),
        ("colour", True),  # by content: without it, times repeat
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_a_key_is_found_by_name_or_content(
    write: Write, name: str, key: bool, is_text: bool
) -> None:
    fleet = Fleet()
    texts = [f"m-{each}" if is_text else str(each + 100) for each in fleet.machine]
    columns = {"time": fleet.dates("%Y-%m-%dT%H:%M:%SZ"), name: texts, "flow": fleet.flow}
    layout = layout_of(write(columns | {"heat": fleet.heat}))
    assert (layout.columns.key == name) is key
    assert len(layout.keys) == 4
    assert layout.features == ("flow", "heat")


def test_one_series_has_no_key(write: Write) -> None:
    fleet = Fleet(1)
    layout = layout_of(write({"ts": fleet.epoch(1), "flow": fleet.flow, "heat": fleet.heat}))
    assert layout.columns.key == ""
    assert layout.keys == ("fleet",)
    assert layout.features == ("flow", "heat")


def test_one_machine_that_is_named_is_a_key(write: Write) -> None:
    fleet = Fleet(1)
    columns = {"machine": ["press-1"] * N_ROWS, "ts": fleet.epoch(1), "flow": fleet.flow}
    layout = layout_of(write(columns))
    assert layout.keys == ("press-1",)
    assert layout.why["machine"] == ("key", "called as keys are")


def test_a_level_that_changes_within_a_series_is_a_feature(write: Write) -> None:
    fleet = Fleet(1)
    level = np.random.default_rng(0).integers(1, 4, N_ROWS)
    columns = {"ts": fleet.epoch(1_000), "gear": level, "flow": fleet.flow}
    layout = layout_of(write(columns))
    assert (layout.columns.key, layout.features) == ("", ("gear", "flow"))


def roles_of(**columns: Any) -> Layout:
    """Return what columns of numbers or texts are; `flow` is added as a feature."""
    n_rows = len(columns["ts"])
    columns["flow"] = np.random.default_rng(0).normal(size=n_rows)
    found = []
    for name, cells in columns.items():
        is_text = isinstance(cells[0], str)
        numbers = None if is_text else np.array(cells, np.float64)
        found.append(RawColumn(name, numbers, cells if is_text else ()))
    return find_roles(RawTable(Path("fleet.csv"), tuple(found), n_rows), Said())


@pytest.mark.parametrize(("n_keys", "key"), [(20, "machine"), (21, "")])
def test_a_key_has_five_rows_or_more(n_keys: int, key: str) -> None:
    layout = roles_of(ts=START_MS + np.arange(100), machine=np.arange(100) % n_keys)
    assert layout.columns.key == key


def with_repeats(n_repeats: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return times of a hundred steps, of which some are zero, and which rows repeat a time."""
    is_repeat = np.arange(101) % 2 == 1
    is_repeat[2 * n_repeats :] = False
    return START_MS + 1_000.0 * np.cumsum(~is_repeat), is_repeat


@pytest.mark.parametrize(("n_repeats", "is_noted"), [(2, False), (3, True)])
def test_times_that_repeat_within_a_key_are_noted(n_repeats: int, is_noted: bool) -> None:
    times_ms, _ = with_repeats(n_repeats)
    layout = roles_of(ts=times_ms, machine=["press-1"] * 101)
    noted = f"{n_repeats}% of the rows have the same time as another row of their key"
    assert any(note.startswith(noted) for note in layout.notes) is is_noted


@pytest.mark.parametrize(
    ("name", "n_repeats", "key"),
    [("part_id", 2, ""), ("part_id", 3, "part_id"), ("colour", 20, ""), ("colour", 21, "colour")],
)
def test_what_tells_repeated_times_apart_is_a_key(name: str, n_repeats: int, key: str) -> None:
    times_ms, is_repeat = with_repeats(n_repeats)
    layout = roles_of(ts=times_ms, **{name: np.where(is_repeat, "b", "a").tolist()})
    assert layout.columns.key == key


@pytest.mark.parametrize(
    ("n_odd", "steps", "key"), [(20, 1.6, ""), (21, 1.6, "part_id"), (21, 1.5, "")]
)
def test_a_column_that_may_be_a_key_is_one_where_times_alone_are_irregular(
    n_odd: int, steps: float, key: str
) -> None:
    apart_ms = np.where(np.arange(100) < n_odd, 1_000 * steps, 1_000)
    times_ms = START_MS + np.append(0, np.cumsum(apart_ms))
    layout = roles_of(ts=times_ms, part_id=["a"] * 51 + ["b"] * 50)
    assert layout.columns.key == key


@pytest.mark.parametrize("name", ["error_code", "batch_id", "programNo", "mode"])
def test_what_changes_over_time_in_one_series_is_no_key(write: Write, name: str) -> None:
    fleet = Fleet(1)
    codes = np.random.default_rng(0).choice([0, 3, 7], N_ROWS, p=[0.94, 0.03, 0.03])
    texts = [f"p-{each}" for each in codes]
    for cells in (codes, texts):
        layout = layout_of(write({"ts": fleet.epoch(1), name: cells, "flow": fleet.flow}))
        assert layout.columns.key == ""


def test_of_site_and_machine_the_machine_is_the_key(write: Write) -> None:
    fleet = Fleet(4)
    columns = {
        "site": np.where(fleet.machine < 2, "north", "south"),
        "machine": [f"m-{each}" for each in fleet.machine],
        "time": fleet.dates("%Y-%m-%d %H:%M:%S"),
        "flow": fleet.flow,
    }
    layout = layout_of(write(columns))
    assert layout.columns.key == "machine"
    assert layout.why["site"] == ("left out", "is text, such as 'north'")


@pytest.mark.parametrize(
    ("form", "time_format"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", "iso"),
        ("%Y-%m-%dT%H:%M:%S+00:00", "iso"),
        ("%Y-%m-%d %H:%M:%S", "iso"),
        ("%Y/%m/%d %H:%M:%S", "iso"),
        ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S"),
        ("%b %d %Y %H:%M:%S", "%b %d %Y %H:%M:%S"),
    ],
)
@pytest.mark.parametrize("name", ["time", "recorded_at", "Zeitstempel", "x"])
def test_dates_are_times_in_any_usual_form(
    write: Write, form: str, time_format: str, name: str
) -> None:
    fleet = Fleet(1)
    layout = layout_of(write({"flow": fleet.flow, name: fleet.dates(form)}))
    assert (layout.columns.time, layout.columns.time_format) == (name, time_format)
    assert layout.times_ms[0] == START_MS
    assert layout.times_ms[-1] == START_MS + 3_990_000


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "s"), (1_000, "ms"), (1_000_000, "us"), (1_000_000_000, "ns")]
)
@pytest.mark.parametrize("name", ["t", "epoch", "x"])
def test_numbers_since_1970_are_times_in_their_unit(
    write: Write, factor: int, unit: str, name: str
) -> None:
    fleet = Fleet(1)
    layout = layout_of(write({name: fleet.epoch(factor), "flow": fleet.flow}))
    assert (layout.columns.time, layout.columns.time_format) == (name, unit)
    assert layout.times_ms[0] == START_MS


@pytest.mark.parametrize(
    ("name", "step", "interval_ms"),
    [
        ("time", 0.5, 500),
        ("time", 1, 1_000),
        ("time", 60, 60_000),
        ("time", 100, 100),
        ("time_ms", 10, 10),
        ("elapsed_s", 20, 20_000),
        ("Time (s)", 40, 40_000),
    ],
)
def test_numbers_from_another_beginning_are_read_by_name_or_step(
    write: Write, name: str, step: float, interval_ms: float
) -> None:
    fleet = Fleet(1)
    layout = layout_of(write({name: np.arange(N_ROWS) * step, "flow": fleet.flow}))
    assert layout.columns.time == name
    assert np.diff(layout.times_ms).tolist() == pytest.approx([interval_ms] * (N_ROWS - 1))
    assert "since some beginning" in layout.notes[0]


@pytest.mark.parametrize("day_first", [True, False])
def test_the_order_of_day_and_month_is_found_from_all_rows(write: Write, day_first: bool) -> None:
    fleet = Fleet(1, interval_s=3_600.0)  # from 1 to 17 March
    form = "%d/%m/%Y %H:%M" if day_first else "%m/%d/%Y %H:%M"
    layout = layout_of(write({"when": fleet.dates(form), "flow": fleet.flow}))
    assert layout.columns.time_format == form
    assert layout.times_ms[-1] == START_MS + 399 * 3_600_000


@pytest.mark.parametrize("form", ["%H:%M:%S", "%H.%M.%S", "%I:%M:%S %p"])
def test_a_date_and_a_time_of_day_are_one_time(write: Write, form: str) -> None:
    fleet = Fleet(1, interval_s=300.0)
    columns = {"Date": fleet.dates("%d/%m/%Y"), "Time": fleet.dates(form), "flow": fleet.flow}
    layout = find_roles(read_raw(write(columns)), Said())
    assert (layout.columns.time, layout.time_of_day) == ("Date", "Time")
    assert layout.times_ms[1] - layout.times_ms[0] == 300_000
    assert layout.features == ("flow",)


def test_of_two_times_the_better_named_is_taken(write: Write) -> None:
    fleet = Fleet(1)
    columns = {
        "stored": fleet.dates("%Y-%m-%d %H:%M:%S"),
        "event_time": fleet.dates("%Y-%m-%d %H:%M:%S"),
        "flow": fleet.flow,
    }
    layout = layout_of(write(columns))
    assert layout.columns.time == "event_time"
    assert layout.why["stored"] == ("left out", "is a time too, and event_time was taken")


LABELS: list[tuple[str, Any, Any, str | None]] = [
    ("label", 0, 1, None),
    ("is_anomaly", "False", "True", None),
    ("Fault", "none", "leak", "none"),
    ("anomaly", 1, -1, "1"),
    ("fault_code", 0, 7, "0"),
    ("machine_status", "NORMAL", "BROKEN", "normal"),
    ("failure_type", "", "wear", "normal"),
    ("failure_code", "", 7, "normal"),
    ("attack", 0.0, 1.0, None),
]


@pytest.mark.parametrize(("name", "normal", "bad", "normal_label"), LABELS)
def test_labels_are_found_in_any_usual_form(
    write: Write, name: str, normal: Any, bad: Any, normal_label: str | None
) -> None:
    fleet = Fleet(1)
    label = [bad if 300 <= row < 320 else normal for row in range(N_ROWS)]
    layout = layout_of(write({"ts": fleet.epoch(1), "flow": fleet.flow, name: label}))
    assert (layout.columns.label, layout.columns.normal_label) == (name, normal_label)
    assert np.flatnonzero(~layout.is_normal).tolist() == list(range(300, 320))
    assert layout.features == ("flow",)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("y", [row % 7 for row in range(N_ROWS)]),
        ("target", [20 + 5 * (row // 200) for row in range(N_ROWS)]),
        ("class", [int(row % 2) for row in range(N_ROWS)]),
        ("fault_code", [row % 3 for row in range(N_ROWS)]),
    ],
)
def test_a_number_that_is_called_as_a_label_may_be_and_says_too_much_is_a_feature(
    write: Write, name: str, cells: list[int]
) -> None:
    fleet = Fleet(1)
    layout = layout_of(write({"ts": fleet.epoch(1), "flow": fleet.flow, name: cells}))
    assert layout.columns.label == ""
    assert layout.is_normal.all()


def test_a_mode_of_operation_is_no_label(write: Write) -> None:
    fleet = Fleet(1)
    state = ["running" if row % 50 else "idle" for row in range(N_ROWS)]
    layout = layout_of(write({"ts": fleet.epoch(1), "state": state, "flow": fleet.flow}))
    assert layout.columns.label == ""
    assert layout.why["state"][0] == "left out"


def test_a_second_label_is_no_feature(write: Write) -> None:
    fleet = Fleet(1)
    label = [int(300 <= row < 320) for row in range(N_ROWS)]
    kind = [3 * each for each in label]
    columns = {"ts": fleet.epoch(1), "flow": fleet.flow, "fault_kind": kind, "anomaly": label}
    layout = layout_of(write(columns))
    assert layout.features == ("flow",)
    assert layout.why["fault_kind"][0] != "feature"
    assert layout.why["anomaly"][0] != "feature"


def test_columns_that_say_nothing_are_left_out_with_the_reason(write: Write) -> None:
    fleet = Fleet(2)
    columns = {
        "Unnamed: 0": np.arange(N_ROWS),
        "ts": fleet.epoch(1),
        "pump": fleet.machine,
        "flow": fleet.flow,
        "rated_kw": 10 * fleet.machine,
        "energy": np.arange(N_ROWS) * 0.5,
        "note": ["", "x"] * (N_ROWS // 2),
        "empty": [""] * N_ROWS,
        "rare": [5.5 if row % 4 == 0 else "" for row in range(N_ROWS)],
        "broken": [fleet.heat[row] if row != 7 else "ERR" for row in range(N_ROWS)],
        "gappy": [fleet.heat[row] if row % 3 else "NA" for row in range(N_ROWS)],
    }
    layout = layout_of(write(columns))
    reasons = {name: why for name, (role, why) in layout.why.items() if role == "left out"}
    assert reasons == {
        "Unnamed: 0": "counts the rows",
        "rated_kw": "never changes within a key",
        "energy": "goes on by the same step from row to row, as a row number does",
        "note": "is always 'x'",
        "empty": "is empty",
        "rare": "has values in 25% of the rows only",
        "broken": "is numbers, but for cells such as 'ERR': leave these empty to use it",
    }
    assert layout.features == ("flow", "gappy")
    assert layout.why["gappy"] == ("feature", "numbers, 33.5% missing")
    assert layout.columns.key == "pump"


SAME_STEP = "goes on by the same step from row to row, as a row number does"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (np.arange(50), "numbers"),
        (np.arange(51), "counts the rows"),
        (np.arange(51) * 0.5, "numbers"),
        (np.arange(52) * 0.5, SAME_STEP),
        (np.arange(52) // 2, "numbers"),
        (["1", "x"] * 25, "is text, such as 'x'"),
        (["1", "x"] * 25 + ["1"], "is numbers, but for cells such as 'x'"),
    ],
)
def test_what_a_column_counts_is_no_feature(cells: Any, why: str) -> None:
    layout = roles_of(ts=START_MS + 1_000.0 * np.arange(len(cells)), energy=cells)
    assert layout.why["energy"][1].startswith(why)


def test_what_a_person_says_is_not_questioned(write: Write) -> None:
    fleet = Fleet(2)
    columns = {"ts": fleet.epoch(1), "pump": fleet.machine, "flow": fleet.flow, "kw": [7] * N_ROWS}
    path = write(columns | {"label": [0] * N_ROWS})
    said = Said(key="", time="ts", time_format="s", label="", features=("flow", "kw"))
    layout = find_roles(read_raw(path), said)
    assert (layout.columns.key, layout.columns.label) == ("", "")
    assert layout.features == ("flow", "kw")
    assert layout.keys == ("fleet",)
    with pytest.raises(ConfigError, match=r"--key: expected a column of .*, received 'nothing'"):
        find_roles(read_raw(path), Said(key="nothing"))


def test_a_column_to_ignore_is_neither_feature_nor_key(write: Write) -> None:
    fleet = Fleet(2)
    columns = {"ts": fleet.epoch(1), "pump": fleet.machine, "flow": fleet.flow, "kw": fleet.flow}
    path = write(columns)
    layout = find_roles(read_raw(path), Said(ignored=("kw", "pump"), features=("flow", "kw")))
    assert layout.features == ("flow",)
    assert layout.columns.key == ""
    assert [layout.why[name] for name in ("kw", "pump")] == [("left out", "as you said")] * 2
    with pytest.raises(ConfigError, match=r"--ignore: expected a column of .*, received 'speed'"):
        find_roles(read_raw(path), Said(ignored=("kw", "speed")))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(time="note"), r"--time: .*, received note of .*, in which the first cell is 'ok'"),
        (Said(time="kw"), r"--time: .* received kw of .*; the columns are ts, note, kw, flow"),
        (Said(time_format="%d.%m.%Y"), r"--time-format: expected .* %d.%m.%Y, received ts of"),
        (Said(time="ts", time_format="iso"), r"--time-format: expected .* iso, received ts of"),
    ],
)
def test_a_time_that_holds_none_is_refused(write: Write, said: Said, message: str) -> None:
    fleet = Fleet(1)
    columns = {"ts": fleet.epoch(1), "note": ["ok"] * N_ROWS, "kw": [-1, 5] * (N_ROWS // 2)}
    path = write(columns | {"flow": fleet.flow})
    with pytest.raises(ConfigError, match=message):
        find_roles(read_raw(path), said)


def test_a_file_without_features_is_refused_with_the_reasons(write: Write) -> None:
    fleet = Fleet(1)
    path = write({"ts": fleet.epoch(1), "kw": [7] * N_ROWS})
    with pytest.raises(ConfigError, match=r"received none: .*kw: always 7"):
        find_roles(read_raw(path), Said())


def test_a_feature_that_never_changes_is_judged_beside_others(write: Write) -> None:
    fleet = Fleet(1)
    alarm = ["" if row == 3 else 0 for row in range(N_ROWS)]
    path = write({"ts": fleet.epoch(1), "flow": fleet.flow, "alarm": alarm, "empty": [""] * N_ROWS})
    layout = find_roles(read_raw(path), Said())
    assert (layout.features, layout.constant) == (("flow", "alarm"), ("alarm",))
    assert layout.why["alarm"] == ("feature", "always 0, so others are anomalous, 0.2% missing")
    alone = find_roles(read_raw(path), Said(features=("alarm",)))
    assert (alone.features, alone.constant) == (("alarm",), ("alarm",))


def test_parquet_is_read_alike(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    fleet = Fleet(2)
    table = pandas.DataFrame({"pump": fleet.machine, "flow": fleet.flow, "on": fleet.flow > 5})
    table["when"] = pandas.to_datetime(fleet.seconds, unit="s", origin="2026-03-01", utc=True)
    path = tmp_path / "fleet.parquet"
    table.to_parquet(path)
    layout = layout_of(path)
    assert (layout.columns.key, layout.columns.time) == ("pump", "when")
    assert layout.features == ("flow", "on")
    assert layout.times_ms[0] == START_MS
