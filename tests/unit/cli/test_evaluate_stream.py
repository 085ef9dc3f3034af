"""`evaluate` and `score --points` for a bundle of samples, without Keras or a broker."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson
import pytest
from halving_bundle import make_bundle  # tests/support

from stream_detector.assembly import open_bundle
from stream_detector.cli.score import POINT_COLUMNS, SCORE_COLUMNS
from stream_detector.core.features import Features
from stream_detector.datasets.files.samples import read_samples
from stream_detector.evaluation.offline import point_scores, run_offline
from stream_detector.recipes import load_recipe
from stream_detector.recipes.columns import ColumnMap

if TYPE_CHECKING:
    from stream_detector.core.sample_detector import SampleDetector

MODELS = Path(__file__).parents[3] / "models"
START = 1_767_225_600_000
N = 200

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run commands where a bundle and a labelled file lie."""
    monkeypatch.chdir(tmp_path)
    overrides = ["data.name=csv", "data.path=train.csv", "window.steps=4", "window.stride=2"]
    overrides += ["window.sample_interval_ms=1000", "window.gap_ms_max=", "window.features=2"]
    overrides += ["alerting.open_after=1", "alerting.open_within=1", "alerting.close_after_ms=5000"]
    recipe = load_recipe(MODELS / "mitdb-dense.toml", overrides)
    make_bundle(tmp_path / "bundle", recipe, features=Features(("flow", "heat")))
    (tmp_path / "pumps.csv").write_text(pumps_text())
    (tmp_path / "train.csv").write_text(pumps_text(faults=()))


FAULTS = (("a", 50, 60, "stuck", "flow"), ("b", 100, 104, "spike", "heat"), ("b", 150, 155, "", ""))


def pumps_text(
    faults: tuple[tuple[str, int, int, str, str], ...] = FAULTS, *, is_labelled: bool = True
) -> str:
    """Return two pumps, quiet but for faults; the fault at 150 does not show."""
    lines = ["key,timestamp_ms,heat,flow" + ",label,label_kind,label_feature" * is_labelled]
    rng = np.random.default_rng(0)
    for at in range(N):
        for key in "ab":
            values = {name: float(rng.normal(0, 0.1)) for name in ("heat", "flow")}
            label: tuple[Any, ...] = (0, "", "")
            for of, start, stop, kind, feature in faults:
                if key == of and start <= at < stop:
                    label = (1, kind, feature)
                    if feature:
                        values[feature] += 9.0
            cells = (key, START + 1000 * at, values["heat"], values["flow"])
            lines.append(",".join(map(str, (*cells, *(label if is_labelled else ())))))
    return "\n".join(lines) + "\n"


def figures(run: Run, *arguments: object) -> dict[str, Any]:
    code, out, error = run("evaluate", "bundle", *arguments, "--json")
    assert code == 0, error
    found: dict[str, Any] = orjson.loads(out)
    return found


def test_a_file_is_judged_whole_by_kind_key_and_feature(run: Run) -> None:
    found = figures(run, "--dataset", "pumps.csv")
    assert (found["dataset"], found["part"], found["n_samples"]) == ("pumps.csv", "all", 2 * N)
    events, alerts = found["events"], found["alerts"]
    assert (events["n_events"], events["n_found"]) == (3, 2)
    assert (events["n_feature_right"], events["n_feature_known"]) == (2, 2)
    assert 0 < events["delay_ms"] <= events["delay_ms_p95"] <= 4_000
    assert (alerts["n_alerts"], alerts["n_false"]) == (2, 0)
    assert 0 < alerts["alert_share"] < 0.2
    assert alerts["false_per_day"]["value"] == 0 < alerts["false_per_day"]["high"]
    assert {kind: each["n_found"] for kind, each in found["by_kind"].items()} == {
        "stuck": 1,
        "spike": 1,
    }
    assert found["by_key"]["b"]["events"]["n_events"] == 2
    assert found["points"]["put_back"]["vus_pr"] > 0.5
    assert found["points"]["causal"]["point_adjusted_f1"] is None
    assert found["windows"]["precision"] == 1.0
    assert found["strangest"][0]["feature"] == "flow"
    assert found["floors"] == {}
    assert found["notes"] == []


def test_the_test_part_of_a_file_is_its_last_fifth(run: Run) -> None:
    found = figures(run, "--dataset", "pumps.csv", "--part", "test")
    assert (found["part"], found["events"]["n_events"]) == ("test", 0)
    assert 2 * N / 5 - 2 <= found["n_samples"] <= 2 * N / 5 + 2


def test_without_a_data_set_the_recipe_s_test_part_is_judged(run: Run) -> None:
    found = figures(run)
    assert (found["dataset"], found["part"]) == ("train.csv", "test")
    assert figures(run, "--part", "all")["n_samples"] == 2 * N


def test_without_labels_there_are_alerts_scores_and_the_strangest_spans(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "bare.csv").write_text(pumps_text(is_labelled=False))
    (tmp_path / "train.csv").write_text(pumps_text(is_labelled=False))
    found = figures(run, "--dataset", "bare.csv", "--floors")
    assert found["events"] is None
    assert found["alerts"]["n_alerts"] == 2
    assert found["alerts"]["n_false"] is None
    assert (found["points"], found["floors"], found["windows"]) == ({}, {}, None)
    assert found["anomaly_scores"]["max"] > 1
    assert [each["key"] for each in found["strangest"]][:1] == ["a"]
    code, out, _ = run("evaluate", "bundle", "--dataset", "bare.csv")
    assert code == 0
    assert "The strangest spans" in out
    assert "faults found" not in out
    own = figures(run)
    assert own["part"] == "all"
    assert "left out of the training" in own["notes"][0]


def test_the_tables_name_what_they_show(run: Run) -> None:
    code, out, error = run(
        "evaluate", "bundle", "--dataset", "pumps.csv", "--floors", "--point-adjusted"
    )
    assert code == 0, error
    for text in (
        "mitdb-dense on pumps.csv: Faults and alerts",
        "2 of 3",
        "By kind of fault",
        "Floors, with 0 false alarms at most",
        "3-NN of 20 samples",
        "affiliation recall",
        "point-adjusted F1",
        "NAB score",
        "Windows against their labels",
    ):
        assert text in out
    assert "note: point-adjusted F1 counts a whole fault" in error


def test_floors_that_learn_are_left_out_where_the_training_data_is_gone(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").unlink()
    found = figures(run, "--dataset", "pumps.csv", "--floors")
    assert "last value" in found["floors"]
    assert "3-NN of 20 samples" not in found["floors"]
    assert "training data cannot be read" in found["notes"][0]


def test_a_data_set_of_samples_is_judged_by_its_test_part(run: Run) -> None:
    code, _, error = run("evaluate", "bundle", "--dataset", "pumps:0")
    assert code == 6
    assert "expected the features flow, heat; missing flow, heat, unknown temperature" in error
    code, _, error = run("evaluate", "bundle", "--dataset", "pumps")
    assert code == 2
    assert "expected mitdb:SERIES, smd:SERIES, nab:SERIES, pumps:SERIES" in error


@pytest.mark.parametrize("flag", [("--part", "all"), ("--floors",), ("--point-adjusted",)])
def test_flags_for_samples_are_refused_for_whole_windows(
    run: Run, tmp_path: Path, flag: tuple[str, ...]
) -> None:
    make_bundle(tmp_path / "whole")
    code, _, error = run("evaluate", "whole", *flag)
    assert code == 2
    assert f"{flag[0]}: only for a bundle whose records are samples" in error


def test_a_split_is_refused_for_samples(run: Run) -> None:
    code, _, error = run("evaluate", "bundle", "--split", "official")
    assert code == 2
    assert "--split: only for a bundle whose records are whole windows" in error


def test_samples_that_make_no_window_are_refused(run: Run, tmp_path: Path) -> None:
    head, *rows = pumps_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([head, *rows[:6]]))
    code, _, error = run("evaluate", "bundle", "--dataset", "few.csv")
    assert code == 6
    assert "expected at least one window of 4 samples" in error
    bad = [f"a,{START + 1000 * at},1e30,0,0,," for at in range(10)]
    (tmp_path / "far.csv").write_text("\n".join([head, *bad]))
    code, _, error = run("evaluate", "bundle", "--dataset", "far.csv")
    assert code == 6
    assert "expected at least one window that can be scored" in error
    assert "times the range trained on" in error


@pytest.mark.parametrize("flags", [(), ("--points",)])
@pytest.mark.parametrize(("value", "is_anomalous"), [(1.0, "false"), (1.0000001, "true")])
def test_a_score_is_anomalous_above_the_threshold(
    run: Run, tmp_path: Path, flags: tuple[str, ...], value: float, is_anomalous: str
) -> None:
    """The network halves each value, and the threshold is 0.5."""
    rows = [f"a,{START + 1000 * at},{value!r},{value!r}" for at in range(8)]
    (tmp_path / "flat.csv").write_text("\n".join(["key,timestamp_ms,flow,heat", *rows]))
    code, _, error = run("score", "bundle", "flat.csv", "--out", "scores.csv", *flags)
    assert code == 0, error
    with (tmp_path / "scores.csv").open(newline="") as stream:
        assert [*csv.DictReader(stream)][-1]["is_anomalous"] == is_anomalous


def test_points_have_a_causal_and_a_put_back_score(run: Run, tmp_path: Path) -> None:
    code, _, error = run("score", "bundle", "pumps.csv", "--points", "--out", "points.csv")
    assert code == 0, error
    with (tmp_path / "points.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == POINT_COLUMNS
    assert len(rows) == 2 * N
    assert [(row["key"], row["timestamp_ms"]) for row in rows[:3]] == [
        ("a", str(START)), ("b", str(START)), ("a", str(START + 1000))
    ]  # fmt: skip
    assert (rows[0]["causal_score"], rows[0]["is_anomalous"]) == ("", "false")
    assert rows[0]["put_back_score"] != ""
    assert {row["threshold"] for row in rows} == {"0.5"}
    of_a = [row for row in rows if row["key"] == "a"]
    anomalous = [at for at, row in enumerate(of_a) if row["is_anomalous"] == "true"]
    assert 50 <= min(anomalous) <= 52
    assert 60 <= max(anomalous) <= 64
    put_back = [float(row["put_back_score"]) for row in of_a if row["put_back_score"]]
    assert 50 <= int(np.argmax(put_back)) < 60

    code, out, _ = run("score", "bundle", "pumps.csv")
    windows = list(csv.DictReader(out.splitlines()))
    assert tuple(windows[0]) == SCORE_COLUMNS
    errors = {(row["key"], row["window_end_ms"]): row["reconstruction_error"] for row in windows}
    for row in rows:
        if (row["key"], row["timestamp_ms"]) in errors:
            assert errors[row["key"], row["timestamp_ms"]] == row["causal_score"]


def test_points_are_of_samples_only(run: Run, tmp_path: Path) -> None:
    make_bundle(tmp_path / "whole")
    (tmp_path / "beats.csv").write_text("1,2,3\n")
    code, _, error = run("score", "whole", "beats.csv", "--points")
    assert code == 2
    assert "--points: only for a bundle whose records are samples" in error


def test_a_report_is_written_beside_the_figures(run: Run, tmp_path: Path) -> None:
    plain = run("evaluate", "bundle", "--dataset", "pumps.csv", "--json")
    assert (
        run("evaluate", "bundle", "--dataset", "pumps.csv", "--json", "--report", "r.html") == plain
    )
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<h1>mitdb-dense on pumps.csv</h1>" in text
    assert "By kind of fault" in text


def test_a_report_needs_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stream_detector.report", None)
    code, _, error = run("evaluate", "bundle", "--dataset", "pumps.csv", "--report", "r.html")
    assert code == 2
    assert "it needs the train extra" in error


def as_long(text: str) -> str:
    """Return a table with one value a row, the rows of one feature after those of the other."""
    rows = list(csv.DictReader(text.splitlines()))
    lines = [
        f"{row['key']},{row['timestamp_ms']},{name},{row[name]}"
        for name in ("heat", "flow")
        for row in rows
    ]
    return "\n".join(["key,timestamp_ms,tag,value", *lines]) + "\n"


def in_form(form: str) -> tuple[str, list[str]]:
    """Return the samples in another order or form, and the options that are needed for it."""
    head, *lines = pumps_text(is_labelled=False).splitlines()
    if "by key" in form:
        lines.sort(key=lambda line: line[0], reverse=True)
    if "shuffled" in form:
        lines = [lines[at] for at in np.random.default_rng(1).permutation(len(lines))]
    text = "\n".join([head, *lines]) + "\n"
    return (as_long(text), ["--long", "tag,value"]) if "long" in form else (text, [])


@pytest.mark.parametrize(
    "form", ["by time", "by key", "shuffled", "long", "long by key", "long shuffled"]
)
def test_points_are_those_of_the_file_held_in_its_order(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    text, options = in_form(form)
    (tmp_path / "file.csv").write_text(text)
    monkeypatch.setattr("stream_detector.datasets.files.csv_rows._BLOCK_CHARACTERS", 5_000)
    monkeypatch.setattr("stream_detector.datasets.files.long_form._ROWS_AT_ONCE", 50)
    monkeypatch.setattr("stream_detector.evaluation.offline.SAMPLES_AT_ONCE", 37)
    monkeypatch.setattr("stream_detector.evaluation.point_stream._SAMPLES_AT_ONCE", 60)
    code, out, error = run("score", "bundle", "file.csv", "--points", *options)
    assert code == 0, error
    columns = ColumnMap(feature_name="tag", feature_value="value").lenient
    served = open_bundle(tmp_path / "bundle")
    samples = read_samples(tmp_path / "file.csv", served.bundle.features, columns).exact_samples
    detector = cast("SampleDetector", served.detector)
    whole = run_offline(detector, samples)
    scores = point_scores(whole, samples, 1_000.0)
    found = [line.split(",") for line in out.splitlines()[1:]]
    assert [row[0] for row in found] == [samples.keys[at] for at in samples.series.tolist()]
    assert [float(row[1]) for row in found] == samples.times_ms.tolist()
    for at, expected in ((2, scores.causal), (3, scores.put_back)):
        np.testing.assert_array_equal([float(row[at] or "nan") for row in found], expected)
    is_anomalous = (scores.causal > whole.threshold).tolist()
    assert [row[5] == "true" for row in found] == is_anomalous
    assert True in is_anomalous
