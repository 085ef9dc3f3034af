"""What a program may give, what is decided of it, and what is refused; no network is fitted."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from halving_bundle import make_bundle, make_bundle_of_samples

from stream_detector import AutoencoderDetector, score
from stream_detector.errors import ConfigError, DatasetError
from stream_detector.estimator.inputs import take
from stream_detector.estimator.making import Wishes, in_python, prepare

pd = pytest.importorskip("pandas")

TIMES = pd.date_range("2026-01-01", periods=400, freq="5s")


def wishes(**changes: Any) -> Wishes:
    values = AutoencoderDetector(**changes).get_params()
    return Wishes(*values.values())


def series(n_rows: int = 400) -> Any:
    return np.random.default_rng(0).normal(size=n_rows)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros(3), ValueError, r"received shape \(3,\). Reshape your data"),
        (np.zeros((1, 2, 3, 4)), ValueError, r"received shape \(1, 2, 3, 4\)"),
        (np.zeros((0, 2)), ValueError, r"0 sample\(s\) \(shape=\(0, 2\)\)"),
        (np.zeros((2, 0)), ValueError, r"0 feature\(s\) \(shape=\(2, 0\)\)"),
        (np.zeros((2, 2), complex), ValueError, "Complex data not supported"),
        ([["a", "b"]], ValueError, "could not convert string"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
        (pd.DataFrame({"a": [1, "x", object()]}), DatasetError, "columns of one kind"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), DatasetError, "different names"),
    ],
)
def test_what_cannot_be_taken_is_said(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        take(data).raw()


def test_a_sparse_matrix_is_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"give X\.toarray"):
        take(sparse.eye(3).tocsr())


@pytest.mark.parametrize(
    ("frame", "time", "time_format", "key", "features"),
    [
        (pd.DataFrame({"a": series()}, index=TIMES), "time", "iso", "", ("a",)),
        (pd.DataFrame({"a": series()}, index=TIMES.rename("at")), "at", "iso", "", ("a",)),
        (pd.Series(series(), index=TIMES), "time", "iso", "", ("value",)),
        (pd.Series(series(), index=TIMES, name="flow"), "time", "iso", "", ("flow",)),
        (pd.DataFrame({"a": series(), "b": series()}), "timestamp_ms", "ms", "", ("a", "b")),
        (
            pd.DataFrame({"ts": TIMES.astype(str), "a": series()}, index=[*range(7, 407)]),
            *("ts", "iso", "", ("a",)),
        ),
        (
            pd.DataFrame({"a": series(), "unit": ["x", "y"] * 200}, index=TIMES.repeat(2)[:400]),
            *("time", "iso", "unit", ("a",)),
        ),
    ],
)
def test_the_columns_of_a_table_are_found(
    frame: Any, time: str, time_format: str, key: str, features: tuple[str, ...]
) -> None:
    recipe, data = prepare(take(frame), wishes())
    section = recipe.data
    assert (section.name, section.path) == ("memory", None)
    assert (section.time, section.time_format, section.key) == (time, time_format, key)
    assert section.features == features
    assert recipe.window.sample_interval_ms == (1_000 if time == "timestamp_ms" else 5_000)
    assert len(data.train) == 400


def test_what_is_asked_for_is_in_the_recipe() -> None:
    asked = wishes(
        window=24,
        interval_s=0.5,
        false_alarms_per_day=1.5,
        overrides=("training.seed=7", "name=pump"),
        columns={"features": ["b"], "key": ""},
    )
    recipe, data = prepare(take(pd.DataFrame({"a": series(), "b": series()})), asked)
    assert (recipe.window.steps, recipe.window.sample_interval_ms) == (24, 500)
    assert (recipe.name, recipe.training.seed) == ("pump", 7)
    assert recipe.threshold.false_alarms_per_day == 1.5  # type: ignore[union-attr]
    assert data.feature_names == ("b",)


@pytest.mark.parametrize(
    ("shape", "record", "window"),
    [
        ((400, 15), "auto", ("samples", 15)),
        ((400, 16), "auto", ("window", 1)),
        ((400, 16), "samples", ("samples", 16)),
        ((400, 3), "window", ("window", 1)),
        ((400, 3, 2), "auto", ("window", 2)),
    ],
)
def test_what_an_array_holds(shape: tuple[int, ...], record: str, window: tuple[str, int]) -> None:
    array = np.random.default_rng(0).normal(size=shape)
    recipe, _ = prepare(take(array), wishes(record=record))
    assert (recipe.window.record, recipe.window.features) == window
    assert recipe.data.features is None


def test_counters_are_found_in_tables_and_arrays() -> None:
    both = np.column_stack([series(), 3.0 * (np.arange(400) // 2)])
    for data, counter in (
        (pd.DataFrame(both, TIMES, ["a", "total"]), "total"),
        (both, "feature_1"),
    ):
        assert prepare(take(data), wishes()).recipe.scaling.counters == (counter,)


def test_a_table_of_windows_is_one() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 16)))
    frame["label"] = [0] * 190 + [1] * 10
    recipe, data = prepare(take(frame), wishes())
    assert (recipe.window.record, recipe.window.steps) == ("window", 16)
    assert (recipe.data.label, len(data.train), len(data.test)) == ("label", 160, 40)
    with pytest.raises(DatasetError, match="numbered columns and no times, received a"):
        prepare(take(pd.DataFrame({"a": series()})), wishes(record="window"))


def test_a_window_may_be_one_step() -> None:
    wanted = wishes(window=1)
    wanted.check()
    assert wanted.n_steps == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": 0}, ValueError, "window: expected 'auto' or a number of steps, received 0"),
        ({"window": "long"}, ValueError, "received 'long'"),
        ({"record": "row"}, ValueError, "record: expected auto, samples or window"),
        ({"interval_s": 0}, ValueError, "interval_s: expected a number above 0, received 0"),
        ({"false_alarms_per_day": -1}, ValueError, "false_alarms_per_day"),
        ({"columns": {"id": "a"}}, ValueError, "columns: expected some of key, time, .* 'id'"),
        (
            {"columns": {"key": "pump"}},
            ConfigError,
            "--key: expected a column .* a, time, received",
        ),
        ({"overrides": ("training.epoch=1",)}, ConfigError, "training.epoch"),
    ],
)
def test_what_has_no_meaning_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(take(pd.DataFrame({"a": series()}, index=TIMES)), wishes(**changes))


def test_errors_name_parameters_and_not_flags() -> None:
    detector = AutoencoderDetector(columns={"time": "when"})
    expected = (
        r"^columns\['time'\]: expected a column of DataFrame, one of a, time, received 'when'"
    )
    with pytest.raises(ConfigError, match=expected):
        detector.fit(pd.DataFrame({"a": series()}, index=TIMES))
    assert str(in_python(ConfigError("give --time-format"))) == "give columns['time_format']"


def test_too_little_is_refused() -> None:
    with pytest.raises(DatasetError, match="expected at least 160 samples"):
        prepare(take(series(100)[:, np.newaxis]), wishes())
    with pytest.raises(ValueError, match="window: expected 3 or 'auto', received 4"):
        prepare(take(np.ones((60, 3, 1))), wishes(window=4))
    two = pd.DataFrame({"day": ["01.02.2026"] * 400, "clock": TIMES.strftime("%H:%M:%S")})
    with pytest.raises(DatasetError, match="join them: frame"):
        prepare(take(two.assign(a=series())), wishes())


def test_a_bundle_of_any_origin_scores_arrays_and_tables(tmp_path: Path) -> None:
    make_bundle_of_samples(tmp_path / "pumps")
    detector = AutoencoderDetector.load(str(tmp_path / "pumps"))
    values = np.zeros((60, 1))
    values[25, 0] = 100.0
    scores = detector.decision_function(values)
    assert np.isnan(scores).tolist() == [True] * 19 + [False] * 41
    assert scores[19:39].tolist() == [0.0] * 20
    assert scores[39:59].tolist() == [scores[39]] * 20
    assert scores[39] == 0.5 * 100 / 20 / 0.5
    assert scores[59] == 0.0
    assert detector.predict(values).tolist() == [0] * 39 + [1] * 20 + [0]
    frame = pd.DataFrame({"timestamp_ms": 1_000 * np.arange(60) + 10**12, "x": values[:, 0]})
    np.testing.assert_array_equal(score(tmp_path / "pumps", frame).to_numpy(), scores)
    mixed = frame.iloc[::-1]
    np.testing.assert_array_equal(detector.decision_function(mixed).to_numpy(), scores[::-1])
    (opened, *_) = detector.alerts(frame)
    assert (opened.key, opened.anomaly_score) == ("DataFrame", scores[39])


def test_errors_at_scoring_list_what_there_is(tmp_path: Path) -> None:
    make_bundle_of_samples(tmp_path / "pumps")
    detector = AutoencoderDetector.load(tmp_path / "pumps")
    two = pd.DataFrame({"timestamp_ms": [10**12], "x": [1.0], "y": [1.0]})
    with pytest.raises(DatasetError, match="unknown x, y"):
        detector.decision_function(two)
    with pytest.raises(DatasetError, match=r"column x .*expected a column of numbers"):
        detector.decision_function(pd.DataFrame({"timestamp_ms": [10**12], "x": [[1.0]]}))
    make_bundle(tmp_path / "beats", "ecg5000-dense")
    beats = AutoencoderDetector.load(tmp_path / "beats")
    with pytest.raises(DatasetError, match=r"windows of 140 steps x 1 features.*\(.*, 140, 2\)"):
        beats.predict(np.zeros((3, 140, 2)))
    bad = np.zeros((3, 140))
    bad[1, 5] = np.nan
    with pytest.raises(DatasetError, match="array, row 2, column feature_5: expected a finite"):
        beats.predict(bad)
    assert beats.predict(np.stack([np.zeros(140), np.full(140, 3.0)])).tolist() == [0, 1]


def test_a_window_at_the_threshold_is_normal(tmp_path: Path) -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("agg")
    make_bundle(tmp_path / "beats", "ecg5000-dense")
    beats = AutoencoderDetector.load(tmp_path / "beats")
    windows = np.stack([np.full(140, size) for size in (0.0, 1.0, 3.0)])
    assert beats.predict(windows).tolist() == [0, 0, 1]
    *_, scores = beats.plot(windows)
    assert [each.get_x() for each in scores.patches] == [280]
    mpl.pyplot.close("all")


def test_parameters_are_those_of_the_constructor() -> None:
    detector = AutoencoderDetector(window=5, columns={"key": "m"})
    assert repr(detector) == "AutoencoderDetector(window=5, columns={'key': 'm'})"
    assert detector.set_params(window="auto").window == "auto"
    with pytest.raises(ValueError, match=r"expected one of the parameters window, .* 'windows'"):
        detector.set_params(windows=3)
    with pytest.raises(ValueError, match="not fitted yet"):
        detector.save("nowhere")


def test_tables_need_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs pyarrow"):
        take(pd.DataFrame({"a": [1.0]}))
