"""--key, --time, --label and --features of every command that reads a file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from halving_bundle import make_bundle_of_samples

from stream_detector import cli
from stream_detector.cli.options import SaidColumns, count_or_names
from stream_detector.clients.memory import MemoryBroker
from stream_detector.errors import ConfigError
from stream_detector.recipes.columns import BY_NAME, ColumnMap

MODELS = Path(__file__).parents[3] / "models"
N_ROWS = 80
Run = Callable[..., tuple[int, str, str]]
NAMED = ("--key", "device", "--time", "at", "--label", "fault", "--features", "flow")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    make_bundle_of_samples(tmp_path / "pumps")
    rows = ["device;at;flow;note;fault"]
    for step in range(N_ROWS):
        flow = "4,5" if 40 <= step < 60 else "0,25"
        rows.append(
            f"p7;2026-01-01T00:{step // 60:02d}:{step % 60:02d}Z;{flow};x;{int(step >= 40)}"
        )
    Path("pumps.csv").write_text("\n".join(rows) + "\n")

    def run_here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stream-detector", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return run_here


def test_score_reads_the_columns_that_are_named(run: Run) -> None:
    code, out, err = run("score", "pumps", "pumps.csv", *NAMED)
    assert code == 0, err
    lines = [line.split(",") for line in out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["p7"] * 4
    assert [line[-1] for line in lines] == ["false", "false", "true", "false"]
    code, points, err = run("score", "pumps", "pumps.csv", "--points", *NAMED)
    assert (code, len(points.splitlines())) == (0, N_ROWS + 1), err


def test_evaluate_reads_the_columns_that_are_named(run: Run) -> None:
    code, out, err = run("evaluate", "pumps", "--dataset", "pumps.csv", "--json", *NAMED)
    assert code == 0, err
    found = json.loads(out)
    assert (found["n_samples"], found["n_keys"]) == (80, 1)
    code, _, err = run("evaluate", "pumps", *NAMED)
    assert code == 2
    assert "--key: expected only with --dataset FILE.csv or FILE.parquet" in err


def test_replay_sends_the_columns_that_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    code, _, err = run("replay", "pumps.csv", "--samples", *NAMED)
    assert code == 0, err
    records = broker.records("telemetry")
    assert len(records) == N_ROWS
    assert {record.metadata.key for record in records} == {b"p7"}
    assert b'"values":[[4.5]]' in (records[40].value or b"")
    code, _, err = run("replay", "mitdb:106", "--key", "device")
    assert (code, "--key: expected only with" in err) == (2, True)


def test_train_puts_the_columns_into_the_recipe(run: Run) -> None:
    own = ("--set", "data.name=csv", "--set", "data.path=pumps.csv", "--set", "window.steps=400")
    code, _, err = run("train", MODELS / "nab-dense.toml", *own, *NAMED, "--out", "made")
    assert code == 6
    assert "expected at least one window of 400 samples" in err
    assert SaidColumns("a", 'b"', "iso", "", "x, y").overrides == [
        'data.key="a"',
        'data.time="b\\""',
        'data.time_format="iso"',
        'data.label=""',
        'data.features=["x", "y"]',
    ]
    assert SaidColumns().overrides == []


def test_one_value_a_row_is_scored(run: Run) -> None:
    wide = Path("pumps.csv").read_text().splitlines()
    rows = [line.split(";") for line in wide[1:]]
    lines = ["device,ts,tag,value", *(f'{r[0]},{r[1]},feature_0,"{r[2]}"' for r in rows)]
    Path("long.csv").write_text("\n".join(lines) + "\n")
    flags = ("--key", "device", "--long", "tag,value")
    code, out, err = run("score", "pumps", "long.csv", *flags)
    assert code == 0, err
    assert out == run("score", "pumps", "pumps.csv", *NAMED)[1]
    code, _, err = run("score", "pumps", "long.csv", "--long", "tag")
    assert (code, "--long: expected two columns, as in tag,value, received 'tag'" in err) == (
        2,
        True,
    )


@pytest.mark.parametrize("option", ["key", "time", "label", "features"])
def test_a_wrong_name_is_named_with_what_there_is(run: Run, option: str) -> None:
    named = dict(zip(NAMED[::2], NAMED[1::2], strict=True)) | {f"--{option}": "absent"}
    flags = [word for pair in named.items() for word in pair]
    code, _, err = run("score", "pumps", "pumps.csv", *flags)
    assert code == 6
    assert "expected the columns absent that [data] or an option names, received device, at" in err


def test_what_is_said_stands_above_the_recipe() -> None:
    recipe = ColumnMap("m", "t", "s", "l", "ok", ("a",)).lenient
    assert SaidColumns().over(recipe) is recipe
    said = SaidColumns(time="when", features="b, c").over(recipe)
    assert (said.key, said.time, said.time_format) == ("m", "when", None)
    assert (said.features, said.normal_label) == (("b", "c"), "ok")
    assert said.roles(["when", "b", "c", "m"]) == ["timestamp_ms", "b", "c", "key"]
    assert SaidColumns(time_format="ms").over(recipe).time_format == "ms"
    none = SaidColumns(key="").over(recipe)
    assert none.roles(["key", "t", "a"]) == [None, "timestamp_ms", "a"]
    with pytest.raises(ConfigError, match="--time-format: expected s, ms, us, ns, iso"):
        SaidColumns(time_format="noon").over(BY_NAME)


def test_features_are_a_number_or_names() -> None:
    assert count_or_names(None) == (None, None)
    assert count_or_names("3") == (3, None)
    assert count_or_names("flow,heat") == (None, "flow,heat")
    with pytest.raises(ConfigError, match="--features: expected a number of at least 1"):
        count_or_names("0")


def test_files_with_another_time_than_the_recipe_are_read(tmp_path: Path) -> None:
    from stream_detector.datasets.files.samples import read_samples

    path = tmp_path / "a.csv"
    path.write_text("ts,a\n2026-01-01T00:00:00Z,1\n")
    columns = ColumnMap(time="when", time_format="s").lenient
    times_ms = read_samples(path, columns=columns).samples.times_ms
    np.testing.assert_array_equal(times_ms, [1_767_225_600_000])
