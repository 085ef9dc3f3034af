"""What the columns are of tables with one value a row: those of the table with a column each."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.errors import ConfigError, DatasetError
from stream_detector.inspection.long_form import find_layout
from stream_detector.inspection.roles import Said
from stream_detector.inspection.table import read_raw

LONG = Said(feature_name="tag", feature_value="reading")
N_TIMES = 120


def write(path: Path, *, seed: int = 3, header: str = "ts;valve_id;tag;reading;fault") -> Path:
    """Write two keys with three features each, one of which comes every other time."""
    rng = np.random.default_rng(seed)
    lines = [header]
    for at in range(N_TIMES):
        for key in ("v1", "v2"):
            for tag in ("temp", "flow", "rpm"):
                if tag == "rpm" and at % 2:
                    continue
                value = f"{rng.normal():.3f}".replace(".", ",")
                fault = int(key == "v2" and tag == "flow" and at == 30)
                time = f"2026-01-01T00:{at // 60:02d}:{at % 60:02d}Z"
                lines.append(f"{time};{key};{tag};{value};{fault}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_with_a_column_for_each_feature_is_made(tmp_path: Path) -> None:
    long = read_raw(write(tmp_path / "long.csv"))
    table, layout = find_layout(long, LONG)
    columns = layout.columns
    assert (columns.key, columns.time, columns.label) == ("valve_id", "ts", "fault")
    assert (columns.feature_name, columns.feature_value) == ("tag", "reading")
    assert columns.features == ("temp", "flow", "rpm")
    assert columns.time_format == "iso"
    assert layout.why["ts"] != ("time", "as you said")
    assert table.n_rows == 2 * N_TIMES
    assert layout.keys == ("v1", "v2")
    assert np.diff(layout.times_ms[layout.series == 1]).tolist() == [1_000.0] * (N_TIMES - 1)
    assert np.flatnonzero(~layout.is_normal).tolist() == [2 * 30 + 1]
    rpm = table.named("rpm")
    assert rpm is not None
    assert rpm.is_missing.tolist() == [bool(at % 2) for at in range(N_TIMES) for _ in range(2)]
    assert any("a row has one value: reading, of the feature in tag" in n for n in layout.notes)


def test_the_first_of_two_values_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "long.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace(lines[1].split(";")[3], "99")]) + "\n")
    table, _ = find_layout(read_raw(path), LONG)
    temp = table.named("temp")
    assert temp is not None
    assert temp.numbers is not None
    assert temp.numbers[0] == float(lines[1].split(";")[3].replace(",", "."))


def test_features_may_be_chosen_and_rows_of_others_make_no_sample(tmp_path: Path) -> None:
    said = Said(features=("rpm",), feature_name="tag", feature_value="reading")
    table, layout = find_layout(read_raw(write(tmp_path / "long.csv")), said)
    assert layout.columns.features == ("rpm",)
    assert table.n_rows == N_TIMES


def test_features_may_be_ignored(tmp_path: Path) -> None:
    said = Said(ignored=("rpm",), feature_name="tag", feature_value="reading")
    layout = find_layout(read_raw(write(tmp_path / "long.csv")), said)[1]
    assert layout.columns.features == ("temp", "flow")


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            Said(feature_name="name", feature_value="reading"),
            ConfigError,
            r"--long: expected a column of .*long.csv, one of ts, valve_id, tag, reading, fault, "
            "received 'name'",
        ),
        (
            Said(feature_name="tag", feature_value="value"),
            ConfigError,
            r"--long: expected a column of .*received 'value'",
        ),
        (
            Said(features=("heat",), feature_name="tag", feature_value="reading"),
            ConfigError,
            r"--features: expected names in the column tag of .*, some of temp, flow, rpm, "
            "received 'heat'",
        ),
        (
            Said(ignored=("heat",), feature_name="tag", feature_value="reading"),
            ConfigError,
            r"--ignore: expected names in the column tag of .*, received 'heat'",
        ),
        (
            Said(key="pump", feature_name="tag", feature_value="reading"),
            ConfigError,
            r"--key: expected a column of .*received 'pump'",
        ),
        (
            Said(time="", feature_name="tag", feature_value="reading"),
            DatasetError,
            r"expected a column of times, by which the features of a sample meet, received ts, "
            "valve_id, tag, reading, fault; name it with --time",
        ),
        (
            Said(feature_name="tag", feature_value="valve_id"),
            DatasetError,
            r"long.csv: column valve_id: expected numbers, received 'v1'",
        ),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    tmp_path: Path, said: Said, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_layout(read_raw(write(tmp_path / "long.csv")), said)


def test_a_table_with_a_column_for_each_feature_stays(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("ts,flow\n" + "".join(f"{1_767_225_600 + n},{n % 7}\n" for n in range(60)))
    given = read_raw(path)
    table, layout = find_layout(given, Said())
    assert table is given
    assert layout.columns.feature_name is None
