"""The command init, up to the recipe that it writes, and once to the end."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from stream_detector import cli
from stream_detector.cli.init_views import false_alarm_text
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.intervals import Interval
from stream_detector.core.records import OutputRecord
from stream_detector.recipes import load_recipe
from stream_detector.recipes.input import InputSection
from stream_detector.training.data import load_training_samples

START = 1_767_225_600_000
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a runner of `init` in an empty folder; what is typed is typed at a terminal."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: object, typed: str | None = None) -> tuple[int, str, str]:
        answers = io.StringIO(typed)
        monkeypatch.setattr(answers, "isatty", lambda: typed is not None)
        monkeypatch.setattr(sys, "stdin", answers)
        monkeypatch.setattr(sys, "argv", ["stream-detector", "init", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return run_here


def fleet(path: str = "Fleet 7.csv", n_steps: int = 600, extra: str = "") -> None:
    """Write two machines of a sample every ten seconds, with an anomaly and a missing value."""
    rng = np.random.default_rng(0)
    lines = [f"when,machine,flow,heat,fault{extra and ',' + extra}"]
    for step in range(n_steps):
        for machine in ("m1", "m2"):
            flow, heat = rng.normal(5, 1), rng.normal(40, 2)
            cell = "" if step == 50 else f"{flow:.3f}"
            fault = int(machine == "m2" and 300 <= step < 320)
            note = ",x" if extra else ""
            lines.append(f"{START // 1_000 + 10 * step},{machine},{cell},{heat:.3f},{fault}{note}")
    Path(path).write_text("\n".join(lines) + "\n")


def test_a_recipe_is_written_with_a_reason_for_each_key(run: Run) -> None:
    fleet(extra="note")
    code, out, err = run("Fleet 7.csv", "--yes", "--recipe-only")
    assert code == 0, err
    recipe = load_recipe(Path("fleet-7.toml"))
    data = recipe.data
    assert (data.key, data.time, data.time_format, data.label) == ("machine", "when", "s", "fault")
    assert data.features == ("flow", "heat")
    assert recipe.window.sample_interval_ms == 10_000
    assert recipe.window.steps == 30
    assert "20 rows are anomalous" in out
    assert "stream-detector detect bundles/fleet-7 --input-topic telemetry" in out
    assert "not promised: " in out


def test_counters_trends_and_traffic_are_scaled_as_what_they_are(run: Run) -> None:
    rng, lines = np.random.default_rng(0), ["when,load,total,disk,traffic"]
    for step in range(600):
        numbers = (rng.normal(5, 1), 3 * step % 1_500, step + rng.normal(), rng.lognormal())
        cells = ",".join(f"{number:.3f}" for number in numbers)
        lines.append(f"{START // 1_000 + 300 * step},{cells}")
    Path("server.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run("server.csv", "--yes", "--recipe-only")
    assert code == 0, err
    scaling = load_recipe(Path("server.toml")).scaling
    assert (scaling.counters, scaling.relative) == (("total",), ("disk",))
    assert scaling.logarithmic == ("traffic",)
    assert "scaling.counters" in out
    assert "scaling.relative" in out
    assert "scaling.logarithmic" in out


def test_what_is_found_is_one_json_object(run: Run) -> None:
    fleet()
    code, out, err = run("Fleet 7.csv", "--yes", "--recipe-only", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["columns"]["machine"]["role"] == "key"
    assert (found["n_rows"], found["n_keys"], found["n_anomalous_rows"]) == (1_200, 2, 20)
    assert found["sample_interval_ms"] == 10_000
    assert found["record"]["key"] == "m1"
    assert set(found["record"]["value"]["values"]) == {"flow", "heat"}
    assert found["next"][0].startswith("stream-detector detect bundles/fleet-7")


def test_the_key_of_the_record_is_as_the_file_has_it(run: Run) -> None:
    fleet()
    text = Path("Fleet 7.csv").read_text().replace(",m1,", ",007,").replace(",m2,", ",010,")
    Path("Fleet 7.csv").write_text(text)
    code, out, err = run("Fleet 7.csv", "--yes", "--recipe-only", "--json")
    assert code == 0, err
    assert json.loads(out)["record"]["key"] == "007"


@pytest.mark.parametrize(
    ("machines", "key"), [(["m1", "m2"], "m1"), (["007", "010"], "007"), ([7, 10], "7")]
)
def test_the_key_of_the_record_is_that_of_a_parquet_file(
    run: Run, machines: list[Any], key: str
) -> None:
    rng = np.random.default_rng(0)
    table = {
        "when": [START + 1_000 * step for step in range(600) for _ in machines],
        "machine": machines * 600,
        "flow": rng.normal(size=1_200),
    }
    parquet.write_table(pa.table(table), "fleet.parquet")
    words = ("--yes", "--recipe-only", "--json", "--key", "machine")
    code, out, err = run("fleet.parquet", *words)
    assert code == 0, err
    assert json.loads(out)["record"]["key"] == key


def test_columns_can_be_left_out(run: Run) -> None:
    fleet()
    code, _, err = run("Fleet 7.csv", "--yes", "--recipe-only", "--ignore", "heat, fault")
    assert code == 0, err
    data = load_recipe(Path("fleet-7.toml")).data
    assert (data.features, data.label) == (("flow",), "")


def test_a_file_with_one_value_a_row_gives_the_recipe_of_one_with_a_column_each(run: Run) -> None:
    fleet()
    _, *rows = Path("Fleet 7.csv").read_text().splitlines()
    lines = ["when,machine,tag,value,fault"]
    for when, machine, *values, fault in (row.split(",") for row in rows):
        for tag, value in zip(("flow", "heat"), values, strict=True):
            lines.append(f"{when},{machine},{tag},{value},{fault}")
    Path("long.csv").write_text("\n".join(lines) + "\n")
    assert run("Fleet 7.csv", "--yes", "--recipe-only")[0] == 0
    code, _, err = run("long.csv", "--long", "tag,value", "--yes", "--recipe-only")
    assert code == 0, err
    wide, long = load_recipe(Path("fleet-7.toml")), load_recipe(Path("long.toml"))
    assert (long.data.feature_name, long.data.feature_value) == ("tag", "value")
    same = {"name", "description", "data"}
    assert long.model_dump(exclude=same) == wide.model_dump(exclude=same)
    same = {"path", "feature_name", "feature_value"}
    assert long.data.model_dump(exclude=same) == wide.data.model_dump(exclude=same)
    expected, found = (load_training_samples(each.data) for each in (wide, long))
    for part in ("train", "test"):
        for name in ("series", "times_ms", "values", "labels"):
            both = [getattr(getattr(each, part), name) for each in (expected, found)]
            np.testing.assert_array_equal(*both)


def test_a_person_may_say_what_the_columns_are(run: Run) -> None:
    fleet()
    said = ("--key", "", "--label", "", "--features", "heat", "--time", "when", "--time-format")
    code, _, err = run("Fleet 7.csv", "--yes", "--recipe-only", *said, "s", "--out", "own.toml")
    assert code == 0, err
    recipe = load_recipe(Path("own.toml"))
    assert (recipe.name, recipe.data.key, recipe.data.label) == ("own", "", "")
    assert recipe.data.features == ("heat",)


def test_at_a_terminal_the_columns_are_asked_for(run: Run) -> None:
    fleet()
    code, _, err = run("Fleet 7.csv", "--recipe-only", typed="n\n\n\n\nheat\ny\n")
    assert code == 0, err
    recipe = load_recipe(Path("fleet-7.toml"))
    assert (recipe.data.key, recipe.data.features) == ("machine", ("heat",))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "expected a file or --from-topic TOPIC, received neither"),
        (("Fleet 7.csv", "--from-topic", "t"), 2, "--from-topic TOPIC, received both"),
        (("Fleet 7.csv",), 2, "expected a terminal to ask, received none; give --yes"),
        (("absent.csv", "--yes"), 6, "absent.csv"),
        (("Fleet 7.csv", "--yes", "--key", "pump"), 2, "--key: expected a column of"),
        (("short.csv", "--yes"), 6, "expected at least 160 samples"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    fleet()
    fleet("short.csv", 50)
    ended, _, err = run(*arguments, "--recipe-only")
    assert ended == code
    assert message in err


def test_a_recipe_is_replaced_only_where_that_is_wanted(run: Run) -> None:
    fleet()
    Path("fleet-7.toml").write_text("mine")
    flags = ("Fleet 7.csv", "--yes", "--recipe-only")
    code, _, err = run(*flags)
    assert (code, Path("fleet-7.toml").read_text()) == (2, "mine")
    assert "fleet-7.toml is there; give another path, or replace it with --overwrite" in err
    assert run(*flags, typed="n\n")[0] == 2
    assert run(*flags, typed="y\n")[0] == 0
    assert run(*flags, "--overwrite")[0] == 0


def test_rows_without_times_are_copied_with_times_at_an_interval(run: Run) -> None:
    rng = np.random.default_rng(0)
    rows = "\n".join(f"{each:.3f}" for each in rng.normal(size=400))
    Path("flow.csv").write_text(f"flow\n{rows}\n")
    code, _, err = run("flow.csv", "--yes", "--recipe-only", "--interval", "5s")
    assert code == 0, err
    assert "the file has no times, so its rows are taken to be 5 s apart (--interval)" in err
    recipe = load_recipe(Path("flow.toml"))
    assert recipe.data.path == "flow.samples.csv"
    assert recipe.window.sample_interval_ms == 5_000
    assert Path("flow.samples.csv").read_text().splitlines()[1].startswith("flow,1767225600000,")


def test_rows_without_a_time_or_a_key_are_left_out_of_a_copy(run: Run) -> None:
    fleet()
    text = Path("Fleet 7.csv").read_text().splitlines()
    text[5] = "," + text[5].partition(",")[2]
    text[6] = text[6].replace("m2", "")
    Path("Fleet 7.csv").write_text("\n".join(text) + "\n")
    code, _, err = run("Fleet 7.csv", "--yes", "--recipe-only")
    assert code == 0, err
    assert "1 rows have no time: a copy that a recipe can read is written" in err
    copied = Path("fleet-7.samples.csv").read_text().splitlines()
    assert len(copied) == len(text) - 2
    assert copied[0] == "key,timestamp_ms,flow,heat,label"
    assert sum(line.endswith(",1") for line in copied) == 20


def test_a_file_as_a_spreadsheet_writes_it_with_two_columns_of_time_is_copied(run: Run) -> None:
    rng = np.random.default_rng(0)
    lines = ["Datum;Uhrzeit;Maschine;Fluss"]
    for step in range(600):
        flow = f"{rng.normal(5, 1):.3f}".replace(".", ",")
        lines.append(f"01.03.2026;{step // 60:02d}:{step % 60:02d};m1;{flow}")
    Path("anlage.csv").write_text("\n".join(lines) + "\n")
    code, _, err = run("anlage.csv", "--yes", "--recipe-only")
    assert code == 0, err
    assert "the time is in two columns, Datum and Uhrzeit" in err
    recipe = load_recipe(Path("anlage.toml"))
    assert recipe.data.path == "anlage.samples.csv"
    assert (recipe.window.sample_interval_ms, recipe.data.features) == (60_000, ("Fluss",))


def test_rows_of_windows_get_a_recipe_of_windows(run: Run) -> None:
    rng = np.random.default_rng(0)
    lines = [",".join(f"v{step}" for step in range(20))]
    lines += [",".join(f"{each:.3f}" for each in rng.normal(size=20)) for _ in range(100)]
    Path("beats.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run("beats.csv", "--yes", "--recipe-only")
    assert code == 0, err
    assert "each row is a whole window of 20 values" in out
    assert load_recipe(Path("beats.toml")).window.record == "window"


def test_samples_of_a_topic_become_a_file_and_a_recipe(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.create_topic("pumps")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    rng = np.random.default_rng(0)
    broker.feed(
        "pumps",
        [
            OutputRecord(
                topic="pumps",
                key=b"p1",
                value=json.dumps({"values": {"flow": rng.normal(), "heat": rng.normal()}}).encode(),
                headers=(),
                timestamp_ms=START + 1_000 * step,
            )
            for step in range(900)
        ],
    )
    flags = ("--minutes", 10, "--yes", "--recipe-only", "--out", "live.toml")
    code, _, err = run("--from-topic", "pumps", *flags)
    assert code == 0, err
    assert "601 samples of 1 keys in 10 min written to live.samples.csv" in err
    recipe = load_recipe(Path("live.toml"))
    assert (recipe.data.path, recipe.data.features) == ("live.samples.csv", ("flow", "heat"))


@pytest.mark.parametrize(
    ("table", "features", "others"),
    [
        ({}, "flow,fixed", None),
        ({"values": "values"}, "flow,fixed", None),
        ({"values": "array"}, "feature_0,feature_1", None),
        ({"feature_name": "tag", "feature_value": "value"}, "flow", "skip"),
        (
            {"feature_name": "tag", "feature_value": "value", "other_features": "reject"},
            "flow",
            "reject",
        ),
    ],
)
def test_a_detector_for_a_topic_reads_its_records(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    table: dict[str, str],
    features: str,
    others: str | None,
) -> None:
    """A feature is left out with a note where records of it are skipped, else with a warning."""
    broker = MemoryBroker()
    broker.create_topic("pumps")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    rng = np.random.default_rng(0)
    for step in range(900):
        flow, tag = rng.normal(), ("flow", "fixed")[step % 2]
        value: dict[str, Any] = {"values": {"flow": flow, "fixed": 5}, "array": [flow, 5]}
        value |= {"tag": tag, "value": 5 if step % 2 else flow}
        at = step - step % 2 if "feature_name" in table else step  # both tags of a time
        record = OutputRecord("pumps", b"a", json.dumps(value).encode(), (), START + 1_000 * at)
        broker.feed("pumps", [record])
    flags: list[str | int] = ["--minutes", 10, "--yes", "--recipe-only", "--out", "live.toml"]
    for key, path in table.items():
        flags += ["--set", f"input.{key}={path}"]
    if others is not None:
        flags += ["--ignore", "fixed"]
    code, _, err = run("--from-topic", "pumps", *flags)
    assert code == 0, err
    recipe = load_recipe(Path("live.toml"))
    assert ",".join(recipe.data.features or ()) == features
    assert recipe.input.other_features == others
    assert ("fixed left out, and records with a feature" in err) is (others == "reject")
    assert ("note: records of fixed are only counted" in err) is (others == "skip")


def test_features_that_records_would_be_rejected_for_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.create_topic("pumps")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    rng = np.random.default_rng(0)
    for step in range(900):
        value = json.dumps({"values": {"flow": rng.normal(), "heat": rng.normal()}}).encode()
        broker.feed("pumps", [OutputRecord("pumps", b"a", value, (), START + 1_000 * step)])
    flags = ("--minutes", 10, "--yes", "--recipe-only", "--out", "live.toml", "--features", "heat")
    code, _, err = run("--from-topic", "pumps", *flags)
    assert code == 0, err
    assert "warning: flow left out" in err
    assert "keep all with --features flow,heat" in err


def test_a_topic_of_other_records_becomes_a_recipe_that_reads_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker()
    broker.create_topic("pumps")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    rng = np.random.default_rng(0)
    for step in range(900):
        value = {"id": "p1", "ts": START // 1_000 + step, "flow": rng.normal(), "heat": step % 7}
        record = OutputRecord("pumps", None, json.dumps(value).encode(), (), START + 1_000 * step)
        broker.feed("pumps", [record])
    flags = ["--minutes", 10, "--yes", "--recipe-only", "--out", "live.toml"]
    for word in ("input.preset=flat", "input.key=id", "input.time_unit=auto"):
        flags += ["--set", word]
    code, _, err = run("--from-topic", "pumps", *flags)
    assert code == 0, err
    recipe = load_recipe(Path("live.toml"))
    assert recipe.input == InputSection(preset="flat", key="id", time_unit="s")
    assert recipe.data.features == ("flow", "heat")
    text = Path("live.toml").read_text()
    assert 'time_unit = "s"' in text


def test_an_input_for_a_file_is_kept_in_the_recipe(run: Run) -> None:
    fleet()
    words = ["--set", "input.key=device", "--set", 'input.features.flow="p.f"']
    code, _, err = run("Fleet 7.csv", "--yes", "--recipe-only", *words)
    assert code == 0, err
    recipe = load_recipe(Path("fleet-7.toml"))
    assert recipe.input == InputSection(key="device", features={"flow": "p.f"})
    flags = ("--yes", "--recipe-only", "--json", "--out", "again.toml")
    _, out, _ = run("Fleet 7.csv", *flags, *words)
    assert json.loads(out)["record"] is None
    code, _, err = run("Fleet 7.csv", "--yes", "--set", "input.kye=device")
    assert code == 2
    assert "input.kye" in err


@pytest.mark.keras
@pytest.mark.parametrize(("days", "is_short"), [(5.9, True), (6.0, False)])
def test_days_in_which_fewer_than_three_false_alarms_were_due_are_few(
    days: float, is_short: bool
) -> None:
    trial: Any = SimpleNamespace(
        false_per_day=Interval(0.0, 0.0, 0.6), n_false=0, days=days, by_reason={}
    )
    assert ("extrapolated: so few days" in false_alarm_text(trial, 0.5)) == is_short


@pytest.mark.slow
# Keras converts its variables in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_bundle_is_trained_and_tried(run: Run) -> None:
    fleet(n_steps=1_500)
    code, out, err = run("Fleet 7.csv", "--yes", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert Path(found["bundle"], "manifest.json").exists()
    trial = found["trial"]
    assert {row["what"] for row in trial["by_feature"]} == {"flow", "heat"}
    by_kind = {row["what"]: row for row in trial["by_kind"]}
    assert by_kind["shift 5 sd"]["n_found"] >= by_kind["shift 5 sd"]["n_faults"] / 2
    assert trial["days"] == pytest.approx(2 * 0.2 * 15_000 / 86_400, rel=0.05)
    assert found["is_likely_faulty"] is False
